"""The one exception shown to users, and the checks of numbers that raise it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """Something the user gave can't be used.

    The message is a whole sentence (or two) that says what happened and what to do. The page shows it as a message,
    the command line prints it on one line and exits with 2.
    """


@contextmanager
def shown_as(path: Path, name: str) -> Iterator[None]:
    """Inside, error messages name `name` instead of the temporary `path`."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace(str(path.resolve()), name).replace(str(path), name),)
        raise


MOST_QUOTED = 200  # characters of a value shown in a message


def quoted(value: object) -> str:
    """A value from a file or a visitor as messages show it: in quotes, truncated if long."""
    return repr(cut(value)) if isinstance(value, str) else cut(repr(value))


def cut(text: str, most: int = MOST_QUOTED) -> str:
    """The text, truncated to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def check_number(
    name: str, value: float, low: float, high: float, off: str | None = None, *, open_low: bool = False
) -> None:
    """Raises UserError unless `value` is a number from `low` (with open_low: above it) to `high`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (open_low and value == low):
        bounds = f"above {low:g} and at most {high:g}" if open_low else f"from {low:g} to {high:g}"
        raise UserError(f"{name} is {quoted(value)}; it must be a number {bounds}{f' ({off})' if off else ''}.")


def check_whole(name: str, value: int, low: int, high: int | None, off: str | None = None) -> None:
    """Raises UserError unless `value` is a whole number from `low` to `high` (None: any number above)."""
    if type(value) is not int or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"{name} is {quoted(value)}; it must be a whole number {bounds}{f' ({off})' if off else ''}.")
