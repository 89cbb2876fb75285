"""What the page shows, and its visitors: a secret token in the browser, whose hash owns runs and models."""

from __future__ import annotations

import contextlib
import secrets
import threading
from dataclasses import dataclass, field

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.runs.keeping import keep_model
from gpt_demo.runs.preparing import Prepared
from gpt_demo.runs.recipes import train_job
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelInfo, ModelStore, owner_key
from gpt_demo.ui.logs import noted
from gpt_demo.ui.share import Share


@dataclass(frozen=True)
class Limits:
    """Limits for anonymous visitors of a public server."""

    params: int = 30_000_000
    n_ctx: int = 1_024
    n_layer: int = 48
    n_vocab: int = 101_000
    characters: int = 3_000_000
    steps: int = 5_000
    tokens_per_step: int = 16_384
    sample_tokens: int = 1_000
    minutes: float = 30.0  # of a run at a time
    runs: int = 5
    runs_of_address: int = 4  # at once: tokens are for the asking
    waiting: int = 8
    new_tokens: int = 1_000
    prompt: int = 20_000  # characters
    imports: int = 3  # imported models kept
    import_bytes: int = 160_000_000  # of an uploaded model, unpacked
    measured_tokens: int = 512


@dataclass(frozen=True)
class Services:
    """What the page shows; made once by build_app and passed to every tab."""

    store: ModelStore
    runs: Runs
    limits: Limits | None  # None: a private machine, no quotas
    measuring: threading.Lock = field(default_factory=threading.Lock)  # held while steps are timed: no run starts then
    downloads: Jobs[Event] = field(default_factory=Jobs)  # by the model's name; all visitors share them
    speeds: dict[tuple[str, float, str], float] = field(default_factory=dict)  # tokens/s here, see loading.py
    share: Share = field(default_factory=Share)  # of the processor, among those who write
    asking: list[tuple[str | None, str]] = field(default_factory=list)  # owner and address of runs about to start
    asking_lock: threading.Lock = field(default_factory=threading.Lock)
    addresses: dict[str, str] = field(default_factory=dict)  # of who started a run; never written to disk

    def runs_of(self, token: str | None) -> list[RunFolder]:
        """The visitor's runs, the newest first. On a private machine also those of the command line."""
        return self.runs.list(owner(token), shared=not self.limits)

    def run(self, name: str | None, token: str | None) -> RunFolder:
        """One of the visitor's runs. Raises UserError if it is not theirs."""
        if not name:
            raise UserError("No run is chosen. Start one, or choose one from the list.")
        return self.runs.get(name, owner(token), shared=not self.limits)

    def delete_run(self, name: str, token: str | None) -> None:
        """One of the visitor's runs; on a private machine also one that is damaged. Raises UserError."""
        shared = not self.limits
        name = name if shared else self.run(name, token).name
        self.runs.delete(name, owner(token), shared=shared)

    def may_delete(self, info: ModelInfo, token: str | None) -> bool:
        """Not those that come with the app; on a public server only what the visitor has made."""
        return not self.store.is_shipped(info) and (not self.limits or info.owner == owner(token) is not None)

    def take_up(self) -> None:
        """Queue the runs again that were waiting when the server ended."""
        for folder in self.runs.left_waiting():
            with contextlib.suppress(UserError):
                self.work(folder)

    def work(self, folder: RunFolder, prepared: Prepared | None = None, address: str = "") -> None:
        """Start the run, after any timing of steps in progress. `address`: of the visitor who asked for it."""
        with self.measuring:
            self.runs.start(
                folder,
                lambda f, stopping: noted(train_job(f, self.store, stopping, prepared), "run"),
                lambda f: keep_model(f, self.store),
                self.limits.minutes if self.limits else None,
            )
        with self.asking_lock:
            for name in [name for name in self.addresses if self.runs.live(name) is None]:
                del self.addresses[name]
            self.addresses[folder.name] = address


def owner_state() -> gr.BrowserState:
    """The visitor's token; key and secret are fixed, or it would be lost at a restart of the server."""
    return gr.BrowserState("", storage_key="gpt_demo_owner", secret="gpt_demo: the token itself is the secret")


def ensure_token(token: str) -> str:
    """The token there is, or a new one."""
    return token if isinstance(token, str) and len(token) >= 32 else secrets.token_urlsafe(32)


def owner(token: str | None) -> str | None:
    """The owner of the visitor's runs and models; None before the page has loaded."""
    return owner_key(token) if token else None
