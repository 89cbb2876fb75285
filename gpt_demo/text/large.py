"""Texts of many megabytes: cut into tokens once, on all cores, into a file that training reads window by window.

In memory a text of 1 GB and its ids (int64) would take several. Here at most a few pieces of it are there at a time;
the ids lie in a file of uint16 or uint32, which is mapped: the system reads the pages that a batch touches.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from gpt_demo.paths import check_space, data_home, writing
from gpt_demo.text.data import Split, SplitBy
from gpt_demo.text.encodings import detect
from gpt_demo.text.reading import decoded
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer

LARGE = 16_000_000  # bytes from which a text is large
PIECE = 1_000_000  # bytes cut into tokens at a time, by one thread
SAMPLE = 10_000_000  # bytes of a large text that a tokenizer is learned from
LOOKED_AT = 64_000  # bytes at each of 16 places that tell the encoding

Ids = np.ndarray[Any, np.dtype[Any]]


def is_large(paths: Sequence[Path]) -> bool:
    """Whether the files together are a large text that can be read piece by piece: tables can't."""
    return (
        all(path.suffix.lower() in (".txt", ".md") and path.is_file() for path in paths)
        and sum(path.stat().st_size for path in paths) >= LARGE
    )


def copy_text(paths: Sequence[Path], target: Path, encoding: str | None) -> None:
    r"""The files as one text in UTF-8, as `read_texts` gives it: joined with <|endoftext|>, with \n as the line end.

    The encoding of each is the given one, or told from 16 places in it. Raises UserError where one is not text.
    """
    check_space(target.parent, sum(path.stat().st_size for path in paths), "A copy of the text")
    with writing("A copy of the text"), target.open("w", encoding="utf-8", newline="") as out:
        for i, path in enumerate(paths):
            out.write(END_OF_TEXT if i else "")
            with path.open(encoding=encoding or _encoding(path), errors="replace", newline=None) as file:
                out.write(file.read(PIECE).removeprefix("\ufeff"))
                while block := file.read(PIECE):
                    out.write(block)


def _encoding(path: Path) -> str:
    """Told from places spread evenly over the file, each cut at ends of lines. Raises UserError where it is binary."""
    step = max(LOOKED_AT, path.stat().st_size // 16)
    with path.open("rb") as file:
        places = [_at(file, i * step, LOOKED_AT) for i in range(16)]
    seen = b"".join(place[: place.rfind(b"\n") + 1] if b"\n" in place else place for place in places)
    encoding = detect(seen)
    if encoding != "utf-16":  # whose places do not fit together
        decoded(seen, path.name, encoding)
    return encoding


def _at(file: BinaryIO, start: int, count: int) -> bytes:
    """From the first line that begins at `start` or later."""
    file.seek(start)
    data = file.read(count)
    return data[data.find(b"\n") + 1 :] if start else data


def sample_of(path: Path, most: int = SAMPLE) -> str:
    """At most about `most` bytes of a text in UTF-8, from 64 places spread evenly over it; all of a shorter one."""
    size = path.stat().st_size
    if size <= most:
        return path.read_text(encoding="utf-8")
    with path.open("rb") as file:
        places = [_at(file, i * size // 64, most // 64) for i in range(64)]
    return "".join(place.decode("utf-8", "ignore") for place in places)


def head_of(path: Path) -> str:
    """The first megabyte."""
    with path.open(encoding="utf-8") as file:
        return file.read(PIECE)


def split_file(path: Path, tokenizer: Tokenizer, val_fraction: float, by: SplitBy) -> Generator[int, None, Split]:
    """What `split_text` gives, of a text in UTF-8, with ids in a mapped file. Yields the bytes done, unless the ids are
    there from an earlier time: they are kept by the hash of text and tokenizer, in the folder `tokens`.

    Where a text has no blank or line end in four pieces, it is cut anywhere: two tokens may stand there for one.
    """
    with path.open("rb") as file:
        cut = _place_of(file, 1 - val_fraction) if by == "characters" else path.stat().st_size
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
    digest.update(json.dumps([tokenizer.to_dict(), cut]).encode())
    dtype, ending = (np.uint16, "u16") if tokenizer.n_vocab <= 2**16 else (np.uint32, "u32")
    folder, key = data_home() / "tokens", digest.hexdigest()[:32]
    found = next(folder.glob(f"{key}-*.{ending}"), None)
    if found is None:
        found = yield from _write(path, tokenizer, cut, folder / key, np.dtype(dtype))
    ids = np.memmap(found, np.uint16 if dtype is np.uint16 else np.int32, "c")  # ids never need the 32nd bit
    train = int(found.stem.rpartition("-")[2]) if by == "characters" else int((1 - val_fraction) * len(ids))
    whole = torch.from_numpy(ids)
    return Split(whole[:train], whole[train:])


def _digest(file: BinaryIO) -> Any:
    digest = hashlib.sha256()  # Python 3.10 has no file_digest
    while block := file.read(PIECE):
        digest.update(block)
    return digest


def _place_of(file: BinaryIO, share: float) -> int:
    """The byte where the first int(share * characters) characters of a file in UTF-8 end."""
    counts = []
    while block := file.read(PIECE):
        counts.append(int(_beginnings(block).sum()))
    left, place = int(share * sum(counts)), 0
    file.seek(0)
    for count in counts:
        block = file.read(PIECE)
        if left < count:
            return place + int(np.flatnonzero(_beginnings(block))[left])
        left, place = left - count, place + len(block)
    return place


def _beginnings(block: bytes) -> Ids:
    """Which bytes begin a character."""
    beginnings: Ids = (np.frombuffer(block, np.uint8) & 0xC0) != 0x80
    return beginnings


def _write(path: Path, tokenizer: Tokenizer, cut: int, stem: Path, dtype: np.dtype[Any]) -> Generator[int, None, Path]:
    """The ids of both parts of the text, one behind the other; the file's name tells how many are of the first."""
    size = path.stat().st_size
    stem.parent.mkdir(parents=True, exist_ok=True)
    check_space(stem.parent, size, "The tokens of the text")  # a token seldom has fewer bytes than its id
    fresh, done, counts = stem.with_name(f".{stem.name}.{os.getpid()}"), 0, []
    try:
        with writing("The tokens of the text"), fresh.open("wb") as out:
            for begin, end in ((0, cut), (cut, size)):
                count = 0
                for ids, read in _encoded(path, begin, end, tokenizer):
                    out.write(ids.astype(dtype).tobytes())
                    count, done = count + len(ids), done + read
                    yield done
                counts.append(count)
        target = stem.with_name(f"{stem.name}-{counts[0]}.u{8 * dtype.itemsize}")
        os.replace(fresh, target)
        return target
    finally:
        fresh.unlink(missing_ok=True)


def _encoded(path: Path, begin: int, end: int, tokenizer: Tokenizer) -> Iterator[tuple[Ids, int]]:
    """The ids of each piece and its bytes, in order. tiktoken works outside Python's lock, so threads are enough."""
    workers = os.cpu_count() or 1
    waiting: deque[tuple[Future[Ids], int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for piece in pieces(path, begin, end):
            waiting.append((pool.submit(_encode, tokenizer, piece), len(piece.encode())))
            if len(waiting) > 2 * workers:
                future, read = waiting.popleft()
                yield future.result(), read
        for future, read in waiting:
            yield future.result(), read


def _encode(tokenizer: Tokenizer, text: str) -> Ids:
    quick: Callable[..., Ids] | None = getattr(tokenizer.encoding, "encode_to_numpy", None)
    try:
        if quick is not None:
            return quick(text, allowed_special={END_OF_TEXT}, disallowed_special=())
    except ValueError:  # many blanks: see Tokenizer.encode
        pass
    return np.array(tokenizer.encode(text), np.uint32)


def pieces(path: Path, begin: int, end: int) -> Iterator[str]:
    """The text from byte `begin` to `end`, cut where the patterns of all tokenizers cut: the tokens stay the same."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with path.open("rb") as file:
        file.seek(begin)
        rest = ""
        while begin < end:
            data = file.read(min(PIECE, end - begin))
            begin += len(data)
            rest += decoder.decode(data, final=begin >= end)
            cut = len(rest) if begin >= end else _last_cut(rest)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]


def _last_cut(text: str) -> int:
    """Before the last blank after a non-blank, or else behind the last line end between two non-blanks; 0: nowhere."""
    for mark, behind in ((" ", 0), ("\n", 1)):
        i = text.rfind(mark, 1, len(text) - 1)
        while i > 0:
            if not text[i - 1].isspace() and (not behind or not text[i + 1].isspace()):
                return i + behind
            i = text.rfind(mark, 1, i)
    return len(text) if len(text) > 4 * PIECE else 0
