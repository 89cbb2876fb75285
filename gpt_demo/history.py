"""What happened in a run, as columns: for charts, tables and exports."""

from __future__ import annotations

import math
from typing import Any

from gpt_demo.events import Evaluated, Event, Finished, Sampled, Started, Stepped

STEP_COLUMNS = ("step", "tokens_seen", "loss", "learning_rate", "grad_norm", "tokens_per_second")
EVALUATION_COLUMNS = ("step", "tokens_seen", "epoch", "train_loss", "val_loss")


class History:
    """Collects a run's events; every view of it is cheap, however long the run."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.samples: list[Sampled] = []
        self.steps: dict[str, list[float]] = {name: [] for name in STEP_COLUMNS}
        self.evaluations: dict[str, list[float]] = {name: [] for name in EVALUATION_COLUMNS}

    def add(self, event: Event) -> None:
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Stepped):
            _append(self.steps, event)
        elif isinstance(event, Evaluated):
            _append(self.evaluations, event)
        elif isinstance(event, Sampled):
            self.samples.append(event)
        elif isinstance(event, Finished):
            self.finished = event

    @property
    def steps_done(self) -> int:
        return int(self.steps["step"][-1]) + 1 if self.steps["step"] else 0

    @property
    def best(self) -> int | None:
        """Index of the evaluation with the lowest validation loss."""
        losses = self.evaluations["val_loss"]
        known = [i for i, loss in enumerate(losses) if not math.isnan(loss)]
        return min(known, key=losses.__getitem__) if known else None

    @property
    def overfits(self) -> bool:
        """Whether the validation loss has risen for three evaluations at least and by 1 % since its best."""
        losses, best = self.evaluations["val_loss"], self.best
        return best is not None and len(losses) - 1 - best >= 3 and min(losses[-3:]) > 1.01 * losses[best]

    def columns(self, most: int = 400) -> dict[str, dict[str, list[float | None]]]:
        """Steps and evaluations, at most about `most` rows of each: every k-th and the last, real values all."""
        return {"stepped": _thin(self.steps, most), "evaluated": _thin(self.evaluations, most)}

    def table(self) -> Any:
        """A pandas DataFrame with a row for every step; evaluations stand at their step, empty elsewhere."""
        import pandas as pd

        steps, evaluations = pd.DataFrame(self.steps), pd.DataFrame(self.evaluations)
        return steps.merge(evaluations.drop(columns="tokens_seen"), on="step", how="outer")


def _append(columns: dict[str, list[float]], event: Event) -> None:
    for name, column in columns.items():
        column.append(getattr(event, name))


def _thin(columns: dict[str, list[float]], most: int) -> dict[str, list[float | None]]:
    n = min(len(column) for column in columns.values())  # a writer may be half way through a row
    stride = max(1, math.ceil(n / most))
    chosen = list(range(0, n, stride))
    if n and chosen[-1] != n - 1:
        chosen.append(n - 1)
    return {name: [_number(column[i]) for i in chosen] for name, column in columns.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
