"""Errors for visitors: the core's messages, with the page's names of settings."""

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
    """A message of the core with the page's names of settings: n_ctx becomes "Context length"."""
    return _FIELD.sub(lambda match: f'{match[1] or ""}"{EXPLANATIONS[match[2]][0]}"', sentence)


@contextmanager
def sentences(*, plain: bool = False) -> Iterator[None]:
    """Show UserErrors to the visitor, without printing them on the server.

    The page's messages are HTML, so their text is escaped; `plain` is for programs.
    """
    try:
        yield
    except UserError as error:
        message = str(error) if plain else html.escape(in_words(str(error)), quote=False)
        raise gr.Error(message, title="That did not work", duration=15, print_exception=False) from error
