"""Who a visitor is: a secret token in their browser. Runs and models belong to its hash."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.runs import Runs
from gpt_demo.store import ModelStore, owner_key


@dataclass(frozen=True)
class Limits:
    """What anonymous visitors may ask for on a public server."""

    params: int = 30_000_000
    characters: int = 3_000_000
    steps: int = 5_000
    tokens_per_step: int = 16_384
    runs: int = 5
    waiting: int = 8


@dataclass(frozen=True)
class Services:
    """What the page is a view of; made once by build_app and passed to every tab."""

    store: ModelStore
    runs: Runs
    limits: Limits | None  # None: a private machine, no quotas


def is_public() -> bool:
    """Whether many anonymous visitors are expected: GPT_DEMO_PUBLIC=1, or on a Hugging Face Space."""
    return os.environ.get("GPT_DEMO_PUBLIC", "1" if os.environ.get("SPACE_ID") else "0") == "1"


def owner_state() -> gr.BrowserState:
    """The visitor's token; key and secret are fixed, or it would be lost at a restart of the server."""
    return gr.BrowserState("", storage_key="gpt_demo_owner", secret="gpt_demo: the token itself is the secret")


def ensure_token(token: str) -> str:
    """The token there is, or a new one."""
    return token if isinstance(token, str) and len(token) >= 32 else secrets.token_urlsafe(32)


def owner(token: str | None) -> str | None:
    """Whose runs and models are meant; None before the page has loaded."""
    return owner_key(token) if token else None


@contextmanager
def sentences() -> Iterator[None]:
    """What a user caused is said to them in its own words, and not printed on the server."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), title="That did not work", duration=15, print_exception=False) from error
