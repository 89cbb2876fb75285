"""What tests use and the repository does not hold: "The Verdict", and the ranks of cl100k_base.

They come from the folder that GPT_DEMO_TEST_DATA names (`data/the-verdict.txt`, `tiktoken_cache/`). Without it they are
fetched as the app does and kept in pytest's cache; where that fails, the test is skipped. With it nothing is skipped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gpt_demo.errors import UserError
from gpt_demo.text.samples import VERDICT_SHA256, the_verdict
from gpt_demo.text.tokenizer import Tokenizer, cl100k_base

VARIABLE = "GPT_DEMO_TEST_DATA"
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "outside"
Found = TypeVar("Found")


def given() -> Path | None:
    """The folder that GPT_DEMO_TEST_DATA names."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def ranks_folder() -> str:
    """What TIKTOKEN_CACHE_DIR is set to in tests."""
    folder = given()
    return str(folder / "tiktoken_cache") if folder else os.environ.get("TIKTOKEN_CACHE_DIR") or str(CACHE)


def verdict(notes: Path) -> str:
    """The text that the golden figures were measured on."""
    return _once("The Verdict", "data/the-verdict.txt", notes, _verdict)


def ranks(notes: Path) -> Tokenizer:
    """cl100k_base."""
    return _once("cl100k_base", "tiktoken_cache/", notes, cl100k_base)


def _verdict() -> str:
    folder = given()
    if not folder:
        return the_verdict(CACHE)
    path = folder / "data" / "the-verdict.txt"
    if not path.is_file():
        raise UserError(f"There is no {path}.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != VERDICT_SHA256:
        raise UserError(f"{path} is another text.")
    return content.decode("utf-8")


def _once(name: str, place: str, notes: Path, find: Callable[[], Found]) -> Found:
    """What `find` finds; after a failure nobody tries again in this run: the processes share the folder `notes`."""
    note = notes / f"no {name}"
    if not note.exists():
        try:
            return find()
        except UserError as error:
            note.write_text(str(error), encoding="utf-8")
    reason = note.read_text(encoding="utf-8")
    if given():
        pytest.fail(f"{VARIABLE} is set, but {name} can't be read from it: {reason}", pytrace=False)
    pytest.skip(
        f"This test needs {name}, which is not in the repository and could not be fetched. Run the tests with a "
        f"network, or set {VARIABLE} to a folder that holds {place}. ({reason})"
    )
