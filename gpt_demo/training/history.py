"""What happened in a run, as columns: for charts, tables and exports."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from operator import mul
from statistics import fmean
from typing import TYPE_CHECKING

from gpt_demo.events import Evaluated, Evaluating, Event, Finished, Sampled, Started, Stepped

if TYPE_CHECKING:
    from pandas import DataFrame

STEP_COLUMNS = ("step", "tokens_seen", "loss", "learning_rate", "grad_norm", "tokens_per_second")
EVALUATION_COLUMNS = ("step", "tokens_seen", "epoch", "train_loss", "val_loss")
CHANCE = 0.03  # see History.overfits


class History:
    """Collects a run's events; every view of it is cheap, however long the run.

    One thread may add events while others look: a view never sees half a row.
    """

    def __init__(self) -> None:
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.samples: list[Sampled] = []
        self.evaluating: Evaluating | None = None  # how far the present evaluation is
        self.eval_seconds = self.sample_seconds = 0.0  # that the last one took
        self.steps: dict[str, list[float]] = {name: [] for name in STEP_COLUMNS}
        self.evaluations: dict[str, list[float]] = {name: [] for name in EVALUATION_COLUMNS}

    def add(self, event: Event) -> None:
        if isinstance(event, Started):
            self._forget_from(event.step)
            self.started, self.finished, self.evaluating = event, None, None
        elif isinstance(event, Stepped):
            _append(self.steps, event)
            self.evaluating = None
        elif isinstance(event, Evaluated):
            _append(self.evaluations, event)
            self.evaluating, self.eval_seconds = None, event.seconds
        elif isinstance(event, Evaluating):
            self.evaluating = event
        elif isinstance(event, Sampled):
            self.samples.append(event)
            self.sample_seconds = event.seconds
        elif isinstance(event, Finished):
            self.finished = event

    def _forget_from(self, step: int) -> None:
        """A run resumed from its last checkpoint repeats what it had done since."""
        self.steps = _rows_before(self.steps, step)
        self.evaluations = _rows_before(self.evaluations, step)
        self.samples = [sample for sample in self.samples if sample.step < step]

    @property
    def steps_done(self) -> int:
        last = self.steps["step"][-1:]
        return int(last[0]) + 1 if last else 0

    @property
    def best(self) -> int | None:
        """Index of the evaluation with the lowest validation loss."""
        losses = self.evaluations["val_loss"]
        known = [i for i, loss in enumerate(losses) if not math.isnan(loss)]
        return min(known, key=losses.__getitem__) if known else None

    @property
    def overfits(self) -> bool:
        """Whether the validation loss has been rising since its best, and not by chance.

        The last three evaluations must lie 1 % above the best one, and the line through what has come since must
        explain so much of it that noise alone would seldom do that: (1 - r^2)^((k - 2) / 2), the chance of k points of
        noise to lie so close to a line, must be below CHANCE / n, for it has had n chances. Of simulated runs whose
        loss falls, under 5 % are ever called so (tests/training/test_history.py).
        """
        losses = [loss for loss in list(self.evaluations["val_loss"]) if math.isfinite(loss)]
        since = losses[losses.index(min(losses)) :] if losses else []
        if len(since) < 4 or min(since[-3:]) <= 1.01 * since[0]:
            return False
        slope, unexplained = _line(since)
        return slope > 0 and unexplained ** ((len(since) - 2) / 2) < CHANCE / len(losses)

    def columns(self, most: int = 400) -> dict[str, dict[str, list[float | None]]]:
        """Steps and evaluations, at most about `most` rows of each: every k-th and the last, real values all."""
        return {"stepped": _thin(self.steps, most), "evaluated": _thin(self.evaluations, most)}

    def table(self) -> DataFrame:
        """A row for every step; evaluations are at their step, empty elsewhere."""
        import pandas as pd  # half a second, and only this needs it

        whole = {"step": "int64", "tokens_seen": "int64"}
        steps, evaluations = (pd.DataFrame(_rows(c)).astype(whole) for c in (self.steps, self.evaluations))
        table: DataFrame = steps.merge(evaluations.drop(columns="tokens_seen"), on="step", how="left")
        return table


def _line(values: Sequence[float]) -> tuple[float, float]:
    """The slope of the straight line of least squares, and the share of the values' variance that it leaves."""
    middle, mean = (len(values) - 1) / 2, fmean(values)
    xs, ys = [i - middle for i in range(len(values))], [value - mean for value in values]
    slope = sum(map(mul, xs, ys)) / sum(map(mul, xs, xs))
    variance = sum(map(mul, ys, ys))
    return slope, max(0.0, 1 - slope * sum(map(mul, xs, ys)) / variance) if variance else 1.0


def _append(columns: dict[str, list[float]], event: Event) -> None:
    for name, column in columns.items():
        column.append(getattr(event, name))


def _rows(columns: dict[str, list[float]]) -> dict[str, list[float]]:
    """A copy; a row that is only half written is left out."""
    n = min(map(len, columns.values()))
    return {name: column[:n] for name, column in columns.items()}


def _rows_before(columns: dict[str, list[float]], step: int) -> dict[str, list[float]]:
    n = bisect_left(columns["step"], step)
    return {name: column[:n] for name, column in columns.items()}


def _thin(columns: dict[str, list[float]], most: int) -> dict[str, list[float | None]]:
    rows = _rows(columns)
    n = len(rows["step"])
    chosen = list(range(0, n, math.ceil(n / most) or 1))
    if n and chosen[-1] != n - 1:
        chosen.append(n - 1)
    return {name: [_number(column[i]) for i in chosen] for name, column in rows.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
