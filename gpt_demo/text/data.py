"""From files to batches: reading uploads as text, the train/validation split, windows and batches of token ids.

Shapes: N tokens or windows, B batch, T time (tokens of a window). Ids are int64 throughout. A target is the token that
follows its input.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gpt_demo.errors import UserError
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIXES = (".txt", ".md", ".csv")

# Reading --------------------------------------------------------------------------------------------------------------


def read_text(path: Path | str, name: str | None = None, columns: Sequence[str] | None = None) -> str:
    r"""The text of a .txt, .md or .csv file, with \n as its only line end; never empty.

    `name` is the file's name where the path is a temporary one. Encodings: UTF-8, UTF-16 with a byte order mark,
    Windows-1252, Latin-1. Of a table, `columns` are read (default: all that hold text): the cells of a row on lines of
    their own, a blank line between rows. Raises UserError on other files, binary data, a broken or an empty one.
    """
    name = name or Path(path).name
    text = _read(path, name)
    if name.lower().endswith(".csv"):
        text = _table_text(_table(text, name), name, columns)
    if not text.strip():
        raise UserError(f"{name} holds no text. Choose a file with something to learn from.")
    return text


def read_texts(paths: Sequence[Path | str], columns: Sequence[str] | None = None) -> str:
    """Several files as one text with `<|endoftext|>`, and nothing else, between one file and the next.

    The mark is a token of its own wherever it stands, so it needs no line end around it. `columns` are those of the
    .csv files. Raises UserError as `read_text` does, and where there is no file.
    """
    if not paths:
        raise UserError("There is no file to read. Choose at least one .txt, .md or .csv file.")
    return END_OF_TEXT.join(read_text(path, columns=columns) for path in paths)


def csv_columns(path: Path | str, name: str | None = None) -> list[str]:
    """The columns of a .csv file that hold text: any cell that is no number. Raises UserError as `read_text` does."""
    name = name or Path(path).name
    return _text_columns(_table(_read(path, name), name))


def clean_text(text: str) -> str:
    r"""Pasted text as a file would give it: line ends \n, no byte order mark, lone surrogates as U+FFFD.

    Raises UserError where nothing but blanks is left.
    """
    text = _normal(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if not text.strip():
        raise UserError("The text is empty. Paste some text or choose a file.")
    return text


def _normal(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _read(path: Path | str, name: str) -> str:
    """The decoded file. Raises UserError where it is none of SUFFIXES, can't be read or is not text."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        kind = f"a {suffix} file" if suffix else "a file without an ending"
        raise UserError(f"{name} is {kind}. Text can be read from .txt, .md and .csv files: save it as one of these.")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{name} can't be read: {error.strerror or error}. Choose another file.") from error
    return _normal(_decode(data, name))


_MAGIC = (
    (b"%PDF-", "a PDF document"),
    (rb"{\rtf", "a rich text (RTF) document"),
    (b"PK\x03\x04", "a zip archive or an Office document (docx, xlsx, odt)"),
    (b"\xd0\xcf\x11\xe0", "an old Office document (doc, xls)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # those that no text needs


def _decode(data: bytes, name: str) -> str:
    """The text of a file's bytes. Raises UserError where they seem to be no text."""
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise _binary(name, f"to be {what}")
    try:
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16") if utf16 else _decode_bytes(data)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is marked as UTF-16 but is damaged. Save it again, as UTF-8.") from error
    if "\x00" in text or len(_CONTROLS.findall(text)) > len(text) / 50:
        raise _binary(name, "to hold binary data")
    return text


def _decode_bytes(data: bytes) -> str:
    """UTF-8 where it is valid or only damaged: fewer bad places than whole non-ASCII characters; they become U+FFFD.
    Else Windows-1252, and Latin-1 where a byte has no meaning in that."""
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    if bad == 0 or sum(map(len, re.findall(r"[^\x00-\x7f]+", text))) > 2 * bad:
        return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _binary(name: str, what: str) -> UserError:
    hint = "Open it in the program it comes from and save its text as a .txt file in UTF-8."
    return UserError(f"{name} seems {what}, not plain text. {hint}")


def _table(text: str, name: str) -> DataFrame:
    """All cells as strings, empty ones as ""; the first line names the columns. Raises UserError on a broken table."""
    import pandas as pd  # half a second, and only tables need it

    try:
        cells = pd.read_csv(io.StringIO(text), sep=_separator(text), dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' EmptyDataError and ParserError, whose message names the line
        raise UserError(f"{name} is no well-formed table: {str(error).strip()}. Mend it or save it anew.") from error
    table: DataFrame = cells.fillna("")
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the surplus cells for row names
        raise UserError(
            f"{name} is no well-formed table: its rows have more cells than the first line has column names. "
            'Put cells that hold a separator in "quotes".'
        )
    return table


def _separator(text: str) -> str:
    """Comma, semicolon or tab: the one that cuts the most of the first rows into as many cells as the first line."""
    scores: list[tuple[int, int, str]] = []
    for separator in ",;\t":
        try:
            widths = [len(row) for row in islice(csv.reader(io.StringIO(text), delimiter=separator), 20)]
        except csv.Error:  # a cell above the csv module's limit
            continue
        if widths and widths[0] > 1:
            scores.append((widths.count(widths[0]), widths[0], separator))
    return max(scores)[2] if scores else "\x1f"  # one column: a separator that no text holds


_NUMBER = re.compile(r"\s*([-+]?[\d.,]+(e[-+]?\d+)?\s*(%\s*)?)?", re.IGNORECASE)  # or nothing


def _text_columns(table: DataFrame) -> list[str]:
    return [str(column) for column in table if not all(_NUMBER.fullmatch(cell) for cell in table[column])]


def _table_text(table: DataFrame, name: str, columns: Sequence[str] | None) -> str:
    """The cells of `columns` (default: all with text), joined by a line end, and the rows by a blank line."""
    unknown = [column for column in columns or () if column not in table]
    if unknown:
        there = ", ".join(map(str, table))
        raise UserError(f"{name} has no column {', '.join(unknown)}. Choose among its columns: {there}.")
    chosen = columns or _text_columns(table)
    rows = zip(*(table[column] for column in chosen), strict=True)
    texts = ("\n".join(cell for cell in row if cell) for row in rows)
    return "\n\n".join(text for text in texts if text)


# Splitting ------------------------------------------------------------------------------------------------------------

SplitBy = Literal["characters", "tokens"]


@dataclass(frozen=True, eq=False)
class Split:
    """A text as token ids, int64."""

    train: Tensor  # (N,)
    val: Tensor  # (M,), empty where nothing is held out


@dataclass(frozen=True)
class Preview:
    """What a text is, before anything is done with it."""

    head: str  # its first lines
    characters: int
    tokens: int  # of the whole text; a split by characters may cut one of them in two
    train_tokens: int
    val_tokens: int


def split_text(text: str, tokenizer: Tokenizer, val_fraction: float, by: SplitBy) -> Split:
    """The first int((1 - val_fraction) * length) characters or tokens train, the rest validate.

    By characters, each part is tokenised on its own. Raises UserError where val_fraction is not in [0, 0.5].
    """
    if not 0 <= val_fraction <= 0.5:
        raise UserError(f"val_fraction is {val_fraction}; it must be from 0 (no validation) to 0.5.")
    if by not in get_args(SplitBy):
        raise UserError(f"split is {by!r}; it must be one of {', '.join(get_args(SplitBy))}.")
    if by == "characters":
        cut = int((1 - val_fraction) * len(text))
        train, val = tokenizer.encode(text[:cut]), tokenizer.encode(text[cut:])
    else:
        ids = tokenizer.encode(text)
        cut = int((1 - val_fraction) * len(ids))
        train, val = ids[:cut], ids[cut:]
    return Split(torch.tensor(train, dtype=torch.int64), torch.tensor(val, dtype=torch.int64))


def preview(text: str, tokenizer: Tokenizer, val_fraction: float, by: SplitBy, n_lines: int = 10) -> Preview:
    """The first lines of a text (at most 1,000 characters) and its size. Raises UserError as `split_text` does."""
    split = split_text(text, tokenizer, val_fraction, by)
    head = "\n".join(text[:1000].split("\n")[:n_lines])
    return Preview(head, len(text), len(tokenizer.encode(text)), len(split.train), len(split.val))


def check_length(split: Split, n_ctx: int, setting: str = "n_ctx") -> None:
    """Raises UserError where the text is too short to train on windows of `n_ctx` tokens, or to validate at all."""
    train, val = len(split.train), len(split.val)
    if train <= n_ctx:
        shorter = f"{setting} of at most {train - 1}" if train > 1 else f"smaller {setting}"
        raise UserError(
            f"The training text has {train} tokens, but {setting} {n_ctx} needs at least {n_ctx + 1}. "
            f"Use a longer text, a {shorter}, a smaller val_fraction, or a tokenizer that makes more tokens of it "
            "(bytes makes the most)."
        )
    if val == 1:
        raise UserError(
            "The validation text has 1 token, but at least 2 are needed. Use a longer text, a larger val_fraction, "
            "or val_fraction 0 to train without validation."
        )


# Windows and batches --------------------------------------------------------------------------------------------------


def windows(ids: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """ids (N,) -> inputs and targets, both (W, T = length): views that start at `range(0, N - length, stride)`.

    Full windows only; a target stands one token behind its input. Raises UserError where length or stride is below 1.
    """
    if length < 1 or stride < 1:
        raise UserError(f"The window length is {length} and the stride {stride}; both must be at least 1.")
    if len(ids) <= length:
        return ids.new_empty(0, length), ids.new_empty(0, length)
    return ids[:-1].unfold(0, length, stride), ids[1:].unfold(0, length, stride)


class _Windows(Dataset[tuple[Tensor, Tensor]]):
    """Gathers the windows of a batch at once: DataLoader prefers `__getitems__`, and index_select copies whole rows."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(rows)
        return self.inputs.index_select(0, index), self.targets.index_select(0, index)


def epoch_batches(
    inputs: Tensor, targets: Tensor, batch_size: int, shuffle: bool, drop_last: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """inputs, targets (W, T) -> batches (B, T) that hold every window once; the last may be smaller, or is dropped.

    A real DataLoader, so it draws from torch's global generator what the book's loops draw: an epoch without shuffling
    draws too. No windows, no batches.
    """
    if len(inputs) == 0:
        return iter(())
    dataset = _Windows(inputs, targets)
    return iter(DataLoader(dataset, batch_size, shuffle=shuffle, drop_last=drop_last, collate_fn=lambda batch: batch))


def random_batch(ids: Tensor, n_ctx: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """ids (N,) -> inputs and targets (B, T = n_ctx) from random places, drawn from torch's global generator.

    N must be above n_ctx (see `check_length`).
    """
    starts = torch.randint(len(ids) - n_ctx, (batch_size,))
    inputs, targets = windows(ids, n_ctx, 1)
    return inputs.index_select(0, starts), targets.index_select(0, starts)


def covering_windows(ids: Tensor, length: int, batch_size: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """ids (N,) -> batches (B, T) in which every token but the first is a target exactly once.

    Full windows side by side, T = length and B up to `batch_size`; then, as a batch of its own, a shorter one (1, T).
    """
    inputs, targets = windows(ids, length, length)
    for i in range(0, len(inputs), batch_size):
        yield inputs[i : i + batch_size], targets[i : i + batch_size]
    rest = ids[len(inputs) * length :]
    if len(rest) > 1:
        yield rest[None, :-1], rest[None, 1:]
