"""What the training chart draws (ui/train/snapshot.py, assets/train/)."""

from __future__ import annotations

from typing_extensions import TypedDict

Column = list[float | None]  # null: not finite, or not known


class StepColumns(TypedDict):
    """Optimizer steps, at most 400 of them; `loss` in nats per token."""

    step: Column
    tokens: Column
    epoch: Column
    loss: Column
    learning_rate: Column
    grad_norm: Column
    tokens_per_second: Column


class EvaluationColumns(TypedDict):
    """Evaluations; losses in nats per token."""

    step: Column
    tokens: Column
    epoch: Column
    train_loss: Column
    val_loss: Column


class Place(TypedDict):
    """An evaluation that is marked."""

    step: float | None
    tokens: float | None
    epoch: float | None
    val_loss: float | None


class ChartRun(TypedDict):
    """One run; the columns of a table have one length."""

    name: str
    color_index: int
    current: bool
    stepped: StepColumns
    evaluated: EvaluationColumns
    best: Place | None
    overfit_from: Place | None


class Snapshot(TypedDict):
    """All that the chart draws: the current run first, the others behind it; reference losses in nats per token."""

    runs: list[ChartRun]
    references: dict[str, float | None]
    total_tokens: int | None
    tokens_per_epoch: int | None
