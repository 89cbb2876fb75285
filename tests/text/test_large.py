"""Large texts: the same tokens and batches as in memory, made once, and a run that resumes."""

from __future__ import annotations

import json
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Home, options

from gpt_demo.cli.main import main
from gpt_demo.errors import UserError
from gpt_demo.text import large
from gpt_demo.text.data import Split, covering_windows, epoch_batches, random_batch, split_text, windows
from gpt_demo.text.large import copy_text, is_large, pieces, sample_of, split_file
from gpt_demo.text.reading import read_texts
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer, byte_level, gpt2, train_bpe
from gpt_demo.training.counters import reference_losses

TEXT = (sample_story() + "\n\n  Zwei  Wörter,\n名前は 中黒・です。\n" + END_OF_TEXT + "x " * 500 + "\n" * 40) * 3


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large, "PIECE", 1000)
    monkeypatch.setattr(large, "LARGE", 20_000)
    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def run(work: Generator[int, None, Split]) -> tuple[list[int], Split]:
    told = []
    while True:
        try:
            told.append(next(work))
        except StopIteration as end:
            return told, end.value


@pytest.mark.parametrize("by", ["characters", "tokens"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37])
@pytest.mark.parametrize("tokenizer", [byte_level(), gpt2(), train_bpe(TEXT, 500)], ids=lambda t: t.kind)
def test_the_ids_are_those_of_the_text_in_memory(file: Path, tokenizer: Tokenizer, by: Any, fraction: float) -> None:
    expected = split_text(TEXT, tokenizer, fraction, by)
    told, split = run(split_file(file, tokenizer, fraction, by))
    assert split.train.dtype == torch.uint16
    assert split.train.tolist() == expected.train.tolist()
    assert split.val.tolist() == expected.val.tolist()
    assert told == sorted(told)
    assert told[-1] == file.stat().st_size
    assert len(told) > 50, "piece by piece"
    again, same = run(split_file(file, tokenizer, fraction, by))
    assert (again, same.train.tolist()) == ([], expected.train.tolist()), "made once"


def test_other_texts_and_tokenizers_have_other_files(file: Path, tmp_path: Path) -> None:
    def made(path: Path, tokenizer: Tokenizer) -> bool:
        return bool(run(split_file(path, tokenizer, 0.1, "tokens"))[0])

    other = tmp_path / "other.txt"
    other.write_bytes(TEXT.encode() + b".")
    assert [made(file, byte_level()), made(file, gpt2()), made(other, gpt2()), made(file, gpt2())] == [True] * 3 + [
        False
    ]
    kept = sorted((tmp_path / "home" / "tokens").iterdir())
    assert [path.suffix for path in kept] == [".u16"] * 3


def test_a_vocabulary_above_65536_takes_32_bits(file: Path, cl100k_base: Tokenizer) -> None:
    split = run(split_file(file, cl100k_base, 0.1, "characters"))[1]
    assert split.train.dtype == torch.int32
    assert split.train.tolist() == split_text(TEXT, cl100k_base, 0.1, "characters").train.tolist()


def test_a_broken_off_file_is_not_taken_for_a_whole_one(file: Path, tmp_path: Path) -> None:
    work = split_file(file, byte_level(), 0.1, "tokens")
    next(work)
    work.close()
    assert list((tmp_path / "home" / "tokens").iterdir()) == []
    assert len(run(split_file(file, byte_level(), 0.1, "tokens"))[1].train) > 0


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab.' \n\t\u00a0\u3000é名1"), min_size=1, max_size=3000))
def test_pieces_are_the_text_and_their_tokens_its_tokens(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("pieces") / "text.txt"
    path.write_bytes(text.encode())
    parts = list(pieces(path, 0, path.stat().st_size))
    assert "".join(parts) == text
    assert [id for part in parts for id in gpt2().encode(part)] == gpt2().encode(text)


def test_batches_are_the_same_and_int64(file: Path) -> None:
    split, expected = run(split_file(file, gpt2(), 0.1, "tokens"))[1], split_text(TEXT, gpt2(), 0.1, "tokens")

    def batches(ids: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        torch.manual_seed(1)
        drawn = [random_batch(ids, 16, 4) for _ in range(3)]
        return [*drawn, *epoch_batches(*windows(ids, 64, 64), 8, True, True), *covering_windows(ids[:5000], 64, 4)]

    for got, wanted in zip(batches(split.train), batches(expected.train), strict=True):
        for one, other in zip(got, wanted, strict=True):
            assert one.dtype == torch.int64
            assert torch.equal(one, other)
    assert reference_losses(split.train, split.val, 50257) == reference_losses(expected.train, expected.val, 50257)


def test_a_copy_is_what_is_read_in_memory(tmp_path: Path) -> None:
    files = {
        "a.txt": "\ufeffone\r\ntwo\rthree ".encode() * 400, "b.md": "naïve café ".encode("cp1252") * 900,
        "c.txt": "привет мир\n".encode("cp1251") * 900, "d.txt": "wide wörds\n".encode("utf-16"),
    }  # fmt: skip
    paths = [tmp_path / name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    copy_text(paths, tmp_path / "copy.txt", None)
    assert (tmp_path / "copy.txt").read_bytes().decode() == read_texts(paths)
    assert is_large([tmp_path / "copy.txt"])
    assert not is_large([tmp_path / "d.txt"])
    assert not is_large([tmp_path / "copy.txt", tmp_path / "table.csv"])
    (tmp_path / "e.txt").write_bytes(bytes(range(256)) * 200)
    with pytest.raises(UserError, match=r"e\.txt seems to hold binary data"):
        copy_text([tmp_path / "e.txt"], tmp_path / "copy.txt", None)


def test_a_sample_is_from_all_over_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {i} é\n" for i in range(100_000)))
    numbers = [int(line.split()[1]) for line in sample_of(path, 64_000).splitlines() if len(line.split()) == 3]
    assert len(sample_of(path, 64_000).encode()) <= 64_000
    assert min(numbers) == 0
    assert max(numbers) > 98_000
    assert max(b - a for a, b in pairwise(numbers)) < 2000
    assert sample_of(path, 10**9) == path.read_text()


def test_a_large_text_trains_as_in_memory_and_resumes(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(*words: str) -> tuple[list[float], str]:
        assert main(["train", "--json", *words]) == 0
        said = capsys.readouterr()
        events = [json.loads(line) for line in said.out.splitlines()]
        return [event["loss"] for event in events if event["event"] == "stepped"], said.err

    streamed, err = losses(str(file), "--name", "streamed", *options())
    assert "tokens: 100% of 0.1 MB" in err
    more, _ = losses("--resume", "streamed", "--max-steps", "9")
    monkeypatch.setattr(large, "LARGE", 10**9)
    assert losses(str(file), "--name", "whole", *options()) == (streamed, "")
    assert losses("--resume", "whole", "--max-steps", "9")[0] == more
    home = Home(Path(large.data_home()))
    assert [(home.runs.get(name).path / "text.txt").read_bytes() for name in ("streamed", "whole")] == [
        TEXT.encode()
    ] * 2
    assert not list(home.path.glob(".text*"))


def test_a_learned_tokenizer_says_what_it_was_learned_from(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = options(tokenizer="bpe", n_vocab=300, max_steps=1)
    assert main(["train", str(file), "--name", "learned", *settings]) == 0
    assert "The tokenizer is learned from 10 MB spread evenly over the text." in capsys.readouterr().err


def test_what_needs_the_whole_text_is_read_whole(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(file), "--name", "each", "--val-from", "each", *options(max_steps=1)]) == 0
    assert "tokens:" not in capsys.readouterr().err
