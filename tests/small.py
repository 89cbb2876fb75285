"""Runs that take no time, for the tests of runs, recipes and the command line."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from gpt_demo.events import Event, Started, Stepped
from gpt_demo.runs.recipes import create_run, train_job
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.text.samples import sample_story
from gpt_demo.training.config import RunConfig, preset

TEXT = sample_story()[:1500]
# A model of 5,000 parameters on bytes; random batches, an evaluation and a sample every other step.
SETTINGS: dict[str, Any] = {
    "tokenizer": "bytes", "n_ctx": 8, "n_embd": 8, "n_head": 2, "n_layer": 1, "dropout": 0.1, "max_steps": 6,
    "batch_size": 2, "eval_interval": 2, "eval_batches": 1, "sample_interval": 2, "sample_tokens": 4,
    "warmup_steps": 3, "patience": 0, "save_seconds": 1000.0, "precision": "fp32",
}  # fmt: skip

# What can't be a name.
HOSTILE = [
    "", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "~", ".hidden", "-rf", "a" * 300, "a b", "naïve", "名前",
    "a\n", "a\0b", "x.", "$HOME", "%2e%2e", "CON", "nul.txt", "com1", "a:b", "٣",
]  # fmt: skip


def small(**changes: Any) -> RunConfig:
    """The configuration of a run of six steps."""
    return preset("quick", {**SETTINGS, **changes})


def options(**changes: Any) -> list[str]:
    """The same as options of the command line."""
    return [
        word
        for name, value in {**SETTINGS, **changes}.items()
        for word in (f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value))
    ]


class Home:
    """A folder with models and runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = ModelStore(path, starter=None)
        self.runs = Runs(path)

    def run(self, name: str = "", owner: str | None = None, base: str | None = None, **changes: Any) -> RunFolder:
        """A new run that nobody works on yet."""
        config = small(**changes)
        return create_run(self.runs, self.store, TEXT, config, name=name, owner=owner, base=base, source="small.txt")

    def job(self, folder: RunFolder, stopping: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
        return train_job(folder, self.store, stopping)

    def train(self, folder: RunFolder) -> list[Event]:
        """Train to the end, here and now."""
        return list(self.job(folder))


def steps(events: Iterable[Event]) -> list[tuple[int, float]]:
    """(step, loss) of every optimizer step."""
    return [(event.step, event.loss) for event in events if isinstance(event, Stepped)]


def started(**changes: Any) -> Started:
    fields: dict[str, Any] = {
        "run": "r", "step": 0, "total_steps": 9, "steps_per_epoch": 3, "tokens_per_epoch": 30, "total_tokens": 90,
        "n_params": 5, "n_vocab": 7, "train_tokens": 30, "val_tokens": 0, "device": "cpu", "precision": "fp32",
        "references": {"uniform": 1.9}, "config": {"train": {"min_learning_rate": None}},
    }  # fmt: skip
    return Started(**{**fields, **changes})


def step(i: int, loss: float = 2.0) -> Stepped:
    return Stepped(i, 10 * (i + 1), loss, 1e-3, 1.5, 1000.0)
