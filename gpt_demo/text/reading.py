"""Uploads and pasted texts as text: what a file is, its encoding, the columns of a table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_demo.errors import UserError
from gpt_demo.text.encodings import decode, detect
from gpt_demo.text.tokenizer import END_OF_TEXT

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIXES = (".txt", ".md", ".csv")


def read_text(
    path: Path | str, name: str | None = None, columns: Sequence[str] | None = None, encoding: str | None = None
) -> str:
    r"""The text of a .txt, .md or .csv file, with \n as its only line end; never empty.

    `name` is the file's name where the path is a temporary one. `encoding`: one of ENCODINGS, or None for what it seems
    to be (see encodings.py). Of a table, `columns` are read (default: all that hold text): the cells of a row on lines
    of their own, a blank line between rows. Raises UserError on other files, binary data, a broken or an empty one.
    """
    name = name or Path(path).name
    text = _read(path, name, encoding)
    if name.lower().endswith(".csv"):
        text = _table_text(_table(text, name), name, columns)
    if not text.strip():
        raise UserError(f"{name} contains no text. Choose another file.")
    return text


def read_texts(paths: Sequence[Path | str], columns: Sequence[str] | None = None, encoding: str | None = None) -> str:
    """Several files as one text, joined with `<|endoftext|>` alone.

    The mark is a token of its own wherever it stands, so it needs no line end around it. `columns` are those of the
    .csv files: of each file those that it has. Raises UserError as `read_text` does, where there is no file, and where
    a column is in no file or a .csv file has none of them.
    """
    if not paths:
        raise UserError("There is no file to read. Choose at least one .txt, .md or .csv file.")
    chosen = _columns_of_each(paths, columns, encoding) if columns else {}
    return END_OF_TEXT.join(read_text(path, columns=chosen.get(path), encoding=encoding) for path in paths)


def _columns_of_each(
    paths: Sequence[Path | str], columns: Sequence[str], encoding: str | None
) -> dict[Path | str, list[str]]:
    """Of each .csv file those of `columns` that it has."""
    tables = [path for path in paths if str(path).lower().endswith(".csv")]
    there = {path: list(map(str, _table(_read(path, Path(path).name, encoding), Path(path).name))) for path in tables}
    unknown = [column for column in columns if not any(column in names for names in there.values())]
    if unknown:
        names = ", ".join(dict.fromkeys(name for names in there.values() for name in names)) or "none"
        raise UserError(f"No file has a column {', '.join(unknown)}. The columns there are: {names}.")
    for path, own in there.items():
        if not set(columns) & set(own):
            raise UserError(
                f"{Path(path).name} has none of the columns {', '.join(columns)}, but {', '.join(own)}. "
                "Choose one of these too, or leave the file out."
            )
    return {path: [column for column in columns if column in names] for path, names in there.items()}


def csv_columns(path: Path | str, name: str | None = None, encoding: str | None = None) -> list[str]:
    """The columns of a .csv file with text, i.e. any non-numeric cell. Raises UserError as `read_text` does."""
    name = name or Path(path).name
    return _text_columns(_table(_read(path, name, encoding), name))


def clean_text(text: str) -> str:
    r"""Pasted text as a file would give it: line ends \n, no byte order mark, lone surrogates as U+FFFD.

    Raises UserError if nothing but whitespace is left.
    """
    text = _normal(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if not text.strip():
        raise UserError("The text is empty. Paste some text or choose a file.")
    return text


def _normal(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _read(path: Path | str, name: str, encoding: str | None) -> str:
    """The decoded file. Raises UserError if it has none of SUFFIXES, can't be read or is not text."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        kind = f"a {suffix} file" if suffix else "a file without an extension"
        raise UserError(f"{name} is {kind}. Only .txt, .md and .csv files can be read: save it as one of these.")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{name} can't be read: {error.strerror or error}. Choose another file.") from error
    return _normal(decoded(data, name, encoding))


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


def decoded(data: bytes, name: str, encoding: str | None) -> str:
    """The text of a file's bytes. Raises UserError if they don't look like text."""
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise _binary(name, f"to be {what}")
    try:
        text = decode(data, encoding or detect(data))
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is marked as UTF-16 but is damaged. Save it again, as UTF-8.") from error
    if "\x00" in text or len(_CONTROLS.findall(text)) > len(text) / 50:
        raise _binary(name, "to hold binary data")
    return text


def _binary(name: str, what: str) -> UserError:
    hint = "Open it in its own program and save it as a .txt file in UTF-8."
    return UserError(f"{name} seems {what}, not plain text. {hint}")


def _table(text: str, name: str) -> DataFrame:
    """All cells as strings, empty ones as ""; the first line names the columns. Raises UserError on a broken table."""
    import pandas as pd  # half a second, and only tables need it

    try:
        cells = pd.read_csv(io.StringIO(text), sep=_separator(text), dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' EmptyDataError and ParserError, whose message names the line
        raise UserError(f"{name} is not a well-formed table: {str(error).strip()}. Fix it or save it again.") from error
    table: DataFrame = cells.fillna("")
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the surplus cells for row names
        raise UserError(
            f"{name} is not a well-formed table: its rows have more cells than the first line has column names. "
            'Put cells that contain a separator in "quotes".'
        )
    return table


def _separator(text: str) -> str:
    """Comma, semicolon or tab: the one that splits most of the first rows into as many cells as the first line."""
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
        raise UserError(f"{name} has no column {', '.join(unknown)}. Available: {there}.")
    chosen = columns or _text_columns(table)
    rows = zip(*(table[column] for column in chosen), strict=True)
    texts = ("\n".join(cell for cell in row if cell) for row in rows)
    return "\n\n".join(text for text in texts if text)
