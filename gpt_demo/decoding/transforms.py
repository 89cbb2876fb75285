"""The five transforms between a model's logits and the draw, and a trace of what each one did.

A transform maps (logits (B, V) float32, ids (B, T) int64) to new logits (B, V); the ids are the context the logits
belong to. Nothing is changed in place. A removed token has the logit -inf, and stays removed whatever comes after, so
the transforms work in any order. At least one token per row always stays.

Shapes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gpt_demo.decoding.steps import STEPS


class Transform(ABC):
    """One step from logits to logits: its name and the range of its one field are those of the table in steps.py.

    Raises UserError on a value out of range.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        step = STEPS[self.name]
        step.check(getattr(self, step.field))

    @abstractmethod
    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        """logits (B, V), ids (B, T) -> logits (B, V)."""


@dataclass(frozen=True)
class RepetitionPenalty(Transform):
    """Penalizes tokens in the context: positive logits are divided by `penalty`, negative ones multiplied; 1 is off.

    Once per token, however often it occurs. Keskar et al., "CTRL" (2019), section 4.1; negative logits are multiplied,
    as in transformers, because dividing would favor them. A penalty below 1 favors repetition.
    """

    name: ClassVar[str] = "repetition_penalty"
    penalty: float

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        seen = logits.gather(1, ids)
        return logits.scatter(1, ids, torch.where(seen < 0, seen * self.penalty, seen / self.penalty))


@dataclass(frozen=True)
class Temperature(Transform):
    """Logits divided by `t`: below 1 sharpens, above 1 flattens, 1 is off. 0 is greedy decoding, not a temperature."""

    name: ClassVar[str] = "temperature"
    t: float

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        return logits / self.t


@dataclass(frozen=True)
class TopK(Transform):
    """Keeps exactly the `k` most probable tokens, ties by the lowest id. 0 is off.

    Fan et al., "Hierarchical Neural Story Generation" (2018), section 5.4.
    """

    name: ClassVar[str] = "top_k"
    k: int

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        if not 0 < self.k < logits.shape[1]:
            return logits.clone()
        last = logits.topk(self.k, dim=1).values[:, -1:]  # a threshold alone would keep all of its equals
        above, equal = logits > last, logits == last
        room = self.k - above.sum(dim=1, keepdim=True)
        return logits.masked_fill(~(above | (equal & (equal.cumsum(dim=1) <= room))), -torch.inf)


@dataclass(frozen=True)
class TopP(Transform):
    """Keeps the most probable tokens up to and including the one at which their sum reaches `p`. 1 is exactly off.

    Ties by the lowest id. Holtzman et al., "The Curious Case of Neural Text Degeneration"
    (2020), section 3.1.
    """

    name: ClassVar[str] = "top_p"
    p: float

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        if self.p == 1:  # rounding in the sum would cut the tail
            return logits.clone()
        # From the least probable up: a token goes if it and all below it weigh at most 1 - p. Small numbers first
        # loses least, and gives transformers' sums to the bit; the stable sort puts the lower of equal ids on top.
        values, order = logits.sort(dim=1, descending=True, stable=True)
        removed = values.flip(1).softmax(dim=1).cumsum(dim=1).flip(1) <= 1 - self.p
        removed[:, 0] = False
        return logits.masked_fill(torch.empty_like(removed).scatter_(1, order, removed), -torch.inf)


@dataclass(frozen=True)
class MinP(Transform):
    """Keeps tokens with at least `p` times the highest probability. 0 is off.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling" (2024).
    """

    name: ClassVar[str] = "min_p"
    p: float

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        probabilities = logits.softmax(dim=1)
        return logits.masked_fill(probabilities < self.p * probabilities.amax(dim=1, keepdim=True), -torch.inf)


TRANSFORMS: dict[str, Callable[[Any], Transform]] = {
    cls.name: cls for cls in (RepetitionPenalty, Temperature, TopK, TopP, MinP)
}


def chain(
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
) -> tuple[Transform, ...]:
    """The transforms in the order of the table, without those that are off.

    Temperature 0 means greedy decoding, which is not a transform (see `Sampling`): here it raises UserError like any
    other value out of range.
    """
    values = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }  # fmt: skip
    return in_order((name, values[name]) for name in STEPS)


def in_order(values: Iterable[tuple[str, Any]]) -> tuple[Transform, ...]:
    """The transforms for (name, value) pairs in the given order, without those that are off. Raises UserError."""
    made = [(TRANSFORMS[name](value), value != STEPS[name].off) for name, value in values]
    return tuple(transform for transform, on in made if on)


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Stage:
    """One row after one transform of a chain: what it kept and removed."""

    name: str  # "model" for what the model gave, else the transform's name
    logits: Tensor  # (V,) float32; -inf where removed
    probabilities: Tensor  # (V,) float32; softmax of the logits
    kept: int  # tokens not removed
    ties: int  # tokens removed here although as probable as one that was kept (the lowest ids are kept)
    removed_mass: float  # probability that the tokens removed here had in the stage before
    renormalizer: float  # 1 / (1 - removed_mass): what cutting them multiplied the others' probabilities by
    entropy: float  # of the probabilities, in nats; 0 log 0 = 0

    @property
    def perplexity(self) -> float:
        """exp(entropy): as uncertain as a choice among this many equally likely tokens."""
        return math.exp(self.entropy)


def trace(logits: Tensor, ids: Tensor, transforms: Iterable[Transform]) -> tuple[Stage, ...]:
    """The row logits (V,) or (1, V) after the context ids (1, T): as the model gave it, then after each transform."""
    row = logits.detach().reshape(1, -1).float()
    stages = [_stage("model", row, None)]
    for transform in transforms:
        row = transform(row, ids)
        stages.append(_stage(transform.name, row, stages[-1]))
    return tuple(stages)


def _stage(name: str, row: Tensor, before: Stage | None) -> Stage:
    """The stage of row (1, V) after the stage `before`."""
    logits = row[0]
    probabilities = logits.softmax(dim=0)
    kept = int((logits > -torch.inf).sum())
    ties, removed_mass = 0, 0.0
    if before is not None and kept < before.kept:
        stays = logits > -torch.inf
        ties = int((~stays & (before.logits == before.logits[stays].min())).sum())
        removed_mass = before.probabilities.masked_fill(stays, 0).sum(dtype=torch.float64).item()
    entropy = torch.special.entr(probabilities).sum().item()
    return Stage(name, logits, probabilities, kept, ties, removed_mass, 1 / (1 - removed_mass), entropy)
