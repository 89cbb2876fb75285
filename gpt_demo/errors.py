"""The one exception a user may see."""

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
def called(path: Path, name: str) -> Iterator[None]:
    """In the sentences of errors raised within, `path` is called `name`: it only lies there for the moment."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path.resolve()), name).replace(str(path), name)) from error


MOST_QUOTED = 200  # characters of a value in a sentence: a file may hold any number of them


def quoted(value: object) -> str:
    """A value from a file or a visitor as a sentence shows it: in quotes, with its end left out where it is long."""
    return repr(cut(value)) if isinstance(value, str) else cut(repr(value))


def cut(text: str) -> str:
    """The first MOST_QUOTED characters of a text that stands in a sentence."""
    return text if len(text) <= MOST_QUOTED else text[: MOST_QUOTED - 1] + "\N{HORIZONTAL ELLIPSIS}"
