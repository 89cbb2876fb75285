"""What the page says to a visitor: the core's sentences, in the page's words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.training.config import EXPLANATIONS

_FIELD = re.compile(r"\b(an? )?(" + "|".join(name for name in EXPLANATIONS if "_" in name) + r")\b")


def in_words(sentence: str) -> str:
    """A sentence of the core with the settings called as the page calls them: n_ctx becomes "Context length"."""
    return _FIELD.sub(lambda match: f'{match[1] or ""}"{EXPLANATIONS[match[2]][0]}"', sentence)


@contextmanager
def sentences(*, plain: bool = False) -> Iterator[None]:
    """What a user caused is said to them in its own words, and not printed on the server.

    The page's messages are HTML, so what stands in them is escaped; `plain` is for programs.
    """
    try:
        yield
    except UserError as error:
        message = str(error) if plain else html.escape(in_words(str(error)), quote=False)
        raise gr.Error(message, title="That did not work", duration=15, print_exception=False) from error
