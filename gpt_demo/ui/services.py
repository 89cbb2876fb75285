"""Who a visitor is: a secret token in their browser. Runs and models belong to its hash."""

from __future__ import annotations

import html
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.runs.recipes import train_job
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelInfo, ModelStore, owner_key
from gpt_demo.training.config import EXPLANATIONS

# How a listener runs. Quiet: at once, however many wait, for what happens often and raises nothing a visitor must see.
# Queued: the only way that Gradio shows an error's sentence; for buttons.
QUIET: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
QUEUED: dict[str, Any] = {"concurrency_limit": 16, "api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Limits:
    """What anonymous visitors may ask for on a public server."""

    params: int = 30_000_000
    characters: int = 3_000_000
    steps: int = 5_000
    tokens_per_step: int = 16_384
    runs: int = 5
    waiting: int = 8
    new_tokens: int = 1_000
    imports: int = 3  # imported models kept
    import_bytes: int = 160_000_000  # of an uploaded model, unpacked
    measured_tokens: int = 512


@dataclass(frozen=True)
class Services:
    """What the page is a view of; made once by build_app and passed to every tab."""

    store: ModelStore
    runs: Runs
    limits: Limits | None  # None: a private machine, no quotas
    measuring: threading.Lock = field(default_factory=threading.Lock)  # held while steps are timed: no run starts then
    downloads: Jobs[Event] = field(default_factory=Jobs)  # by the model's name; all visitors share them
    speeds: dict[tuple[str, float, str], float] = field(default_factory=dict)  # tokens/s here, see loading.py

    def runs_of(self, token: str | None) -> list[RunFolder]:
        """The visitor's runs, the newest first. On a private machine also those of the command line."""
        return self.runs.list(owner(token), shared=not self.limits)

    def run(self, name: str | None, token: str | None) -> RunFolder:
        """One of the visitor's runs; UserError where it is none of theirs."""
        if not name:
            raise UserError("No run is chosen. Start one, or choose one from the list.")
        return self.runs.get(name, owner(token), shared=not self.limits)

    def may_delete(self, info: ModelInfo, token: str | None) -> bool:
        """Not the starter; on a public server only what the visitor has made."""
        return not self.store.is_starter(info) and (not self.limits or info.owner == owner(token) is not None)

    def work(self, folder: RunFolder) -> None:
        """Put the run to work, after the timing of steps that may be going on."""
        with self.measuring:
            self.runs.start(folder, lambda f: train_job(f, self.store))


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
