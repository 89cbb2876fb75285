"""The encoding of a file: given, or guessed."""

from __future__ import annotations

import codecs
import re

from gpt_demo.errors import UserError

# What can be chosen, by the names that Python knows.
ENCODINGS = (
    "utf-8", "utf-16", "cp1252", "cp1251", "koi8-r", "cp1250", "cp1253", "cp1254", "iso8859-2", "gb18030", "big5",
    "shift_jis", "euc_jp", "euc_kr",
)  # fmt: skip
# What is guessed: without those that differ from Windows-1252 in few letters, which a short text does not distinguish.
GUESSED = ("cp1252", "cp1251", "koi8-r", "cp1253", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
ACCENTS = 0.3  # where fewer of the letters are not ASCII, they are those of a language in Latin letters
SAMPLE = 200_000  # bytes that are looked at


def check_encoding(name: str) -> str:
    """The encoding; UserError naming those there are."""
    if name.lower().replace("_", "-") in {known.replace("_", "-") for known in ENCODINGS}:
        return name.lower()
    raise UserError(f"encoding is {name[:40]!r}; it must be one of {', '.join(ENCODINGS)}.")


def decode(data: bytes, encoding: str) -> str:
    """The text; bytes that mean nothing become U+FFFD. Raises UnicodeDecodeError only for damaged UTF-16."""
    return data.decode(encoding, "strict" if encoding == "utf-16" else "replace")


def detect(data: bytes) -> str:
    """The name of the encoding: UTF-16 by its mark, UTF-8 where it is valid or only damaged; Windows-1252
    where most letters are ASCII (Latin-1 where a byte has no meaning there); else what charset-normalizer says.

    UTF-8 is only damaged where it has fewer bad places than whole non-ASCII characters.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    if bad == 0 or sum(map(len, re.findall(r"[^\x00-\x7f]+", text))) > 2 * bad:
        return "utf-8"
    latin = "cp1252" if _is_valid(data, "cp1252") else "latin-1"
    high, letters = (len(re.findall(pattern, data[:SAMPLE])) for pattern in (rb"[\x80-\xff]", rb"[A-Za-z\x80-\xff]"))
    return latin if high < ACCENTS * letters else _guess(data[:SAMPLE]) or latin


def _guess(data: bytes) -> str | None:
    from charset_normalizer import from_bytes  # a tenth of a second, and few files need it

    found = from_bytes(data, cp_isolation=list(GUESSED)).best()
    return found.encoding if found is not None else None


def _is_valid(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
