"""Texts from outside the repository: taken from a folder, fetched once, or missed with a sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import outside
import pytest

from gpt_demo.errors import UserError
from gpt_demo.text.samples import sample_story


def test_what_can_not_be_fetched_is_skipped_and_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries: list[Path] = []

    def refuse(home: Path) -> str:
        tries.append(home)
        raise UserError("There is no network.")

    monkeypatch.delenv(outside.VARIABLE, raising=False)
    monkeypatch.setattr(outside, "the_verdict", refuse)
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception, match=r"needs The Verdict.*Run the tests with .*verdict.txt"):
            outside.verdict(tmp_path)
    assert tries == [outside.CACHE]


def test_what_is_given_is_taken_and_may_not_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(outside.VARIABLE, str(tmp_path))
    assert outside.ranks_folder() == str(tmp_path / "tiktoken_cache")
    text = tmp_path / "data" / "the-verdict.txt"
    text.parent.mkdir()
    for number, (content, reason) in enumerate([(None, "There is no"), (b"Once upon a time", "is another text")]):
        if content:
            text.write_bytes(content)
        notes = tmp_path / str(number)
        notes.mkdir()
        with pytest.raises(pytest.fail.Exception, match=f"{outside.VARIABLE} is set, but .*{reason}"):
            outside.verdict(notes)
    text.write_bytes(sample_story().encode())
    monkeypatch.setattr(outside, "VERDICT_SHA256", hashlib.sha256(sample_story().encode()).hexdigest())
    assert outside.verdict(tmp_path) == sample_story()
