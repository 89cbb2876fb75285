"""Errors for visitors: the core's messages, with the page's names of settings."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS, data_home
from gpt_demo.training.config import EXPLANATIONS
from gpt_demo.ui.logs import note

_FIELD = re.compile(r"\b(an? )?(" + "|".join(name for name in EXPLANATIONS if "_" in name) + r")\b")


def in_words(sentence: str) -> str:
    """A message of the core with the page's names of settings: n_ctx becomes "Context length"."""
    return _FIELD.sub(lambda match: f'{match[1] or ""}"{EXPLANATIONS[match[2]][0]}"', without_paths(sentence))


def without_paths(sentence: str) -> str:
    """Where the server keeps its files is not the visitors' business: of a path only its last part is left."""
    cache = os.environ.get("GRADIO_TEMP_DIR") or gettempdir()
    places = [place for path in (data_home(), ASSETS.parent, Path(cache)) for place in (path, path.resolve())]
    roots = sorted({str(place) for place in places if place.is_absolute()} - {"/"}, key=len, reverse=True)
    inside = re.compile("(?:" + "|".join(map(re.escape, roots)) + r")((?:[/\\][\w.-]+)*)")
    return inside.sub(lambda match: re.split(r"[/\\]", match[1])[-1] or "the server's folder", sentence)


def disk_trouble(error: OSError) -> str:
    """The disk is full or read-only, or a file has gone."""
    reason = error.strerror or type(error).__name__
    return f"The server's disk refused it ({reason}). Try again later; on your own machine, free some space first."


@contextmanager
def sentences(*, plain: bool = False) -> Iterator[None]:
    """Show UserErrors, and what the disk refuses, to the visitor, without printing them on the server.

    The page's messages are HTML, so their text is escaped; `plain` is for programs.
    """
    try:
        yield
    except (UserError, OSError) as error:
        note("refusal", error=type(error).__name__)
        said = str(error) if isinstance(error, UserError) else disk_trouble(error)
        message = without_paths(said) if plain else html.escape(in_words(said), quote=False)
        raise gr.Error(message, title="That did not work", duration=15, print_exception=False) from error
