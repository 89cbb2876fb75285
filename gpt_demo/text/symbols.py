"""How the bytes of tokens are written in files: each as a printable character."""

from __future__ import annotations

from functools import cache


@cache
def byte_of_symbol() -> dict[str, int]:
    """The characters that represent bytes in merges, in the order of GPT-2's first 256 ids: printable Latin-1 is
    itself, all other bytes are, in order, U+0100, U+0101, ... (OpenAI's encoder.py)."""
    printable = [value for value in range(256) if chr(value).isprintable() and chr(value) != " "]
    others = [value for value in range(256) if value not in printable]
    symbols = {chr(value): value for value in printable}
    return symbols | {chr(256 + i): value for i, value in enumerate(others)}
