"""Sampling a token: with darts, as everywhere in this app, or with torch.multinomial, as in the book.

A dart is one uniform number per position. It hits the cumulative bar of the distribution, the most probable token first
(inverse transform sampling). The same seed throws the same darts at the same positions, whatever the strategy: so
strategies can be compared under common random numbers, and a moved slider shows what the same dart would have hit.

Shapes: V vocabulary.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError, check_whole

DrawName = Literal["darts", "multinomial"]

LARGEST_SEED = 2**32 - 1  # of all draws: what the page, its links and numpy take too
MAX_DARTS = 1_000_000
_HEAD = 512  # tokens sorted first: most darts hit one of them, and sorting all takes ten times as long


class Draw(Protocol):
    """A sequence of random picks, fixed by its seed."""

    def pick(self, logits: Tensor, position: int) -> tuple[int, float | None]:
        """A token from the softmax of the logits (V,), and the dart that hit it (None where there are no darts).

        `position` is the index that the token will have in the text.
        """


class Darts:
    """One uniform number in [0, 1) per position, the same for every lane."""

    def __init__(self, seed: int) -> None:
        self._seed, self._generator = seed, _generator(seed)
        self._next = 0  # position of the next dart of the generator
        self._u = 0.0  # the dart before it

    def at(self, position: int) -> float:
        """The dart of a position. Raises UserError if it is out of range."""
        if not 0 <= position < MAX_DARTS:
            raise UserError(f"Position {position:,} is out of range; up to {MAX_DARTS:,} tokens can be drawn.")
        if position < self._next - 1:
            self._generator, self._next = _generator(self._seed), 0
        if position >= self._next:
            count = position + 1 - self._next
            self._u = float(torch.rand(count, generator=self._generator, dtype=torch.float64)[-1])
            self._next = position + 1
        return self._u

    def pick(self, logits: Tensor, position: int) -> tuple[int, float | None]:
        u = self.at(position)
        return hit(logits.double().softmax(0), u), u


class Multinomial:
    """Successive calls of torch.multinomial: the book's draws."""

    def __init__(self, seed: int) -> None:
        self._generator = _generator(seed)

    def pick(self, logits: Tensor, position: int) -> tuple[int, float | None]:
        return int(torch.multinomial(logits.softmax(0), 1, generator=self._generator)), None


def draw_of(name: DrawName, seed: int) -> Draw:
    """The draw with this name. Raises UserError if there is none."""
    draws: dict[str, type[Darts] | type[Multinomial]] = {"darts": Darts, "multinomial": Multinomial}
    if name not in draws:
        raise UserError(f"There is no draw named {str(name)[:40]!r}. Available: {', '.join(draws)}.")
    return draws[name](seed)


def dart(seed: int, position: int) -> float:
    """The uniform number in [0, 1) that is thrown for the token at `position` (the index it will have)."""
    return Darts(seed).at(position)


def hit(probabilities: Tensor, u: float) -> int:
    """The token that the dart `u` hits on the bar of probabilities (V,), sorted from the most probable, ties by id.

    It is the first one whose cumulative probability is above u; tokens without probability have no part of the bar.
    """
    ids = probabilities.nonzero()[:, 0]
    p = probabilities[ids].double()
    point = u * float(p.sum())
    if len(p) > _HEAD:
        head = p >= p.topk(_HEAD).values[-1]
        if point < float(p[head].sum()) * (1 - 1e-12):
            ids, p = ids[head], p[head]
    p, order = p.sort(descending=True, stable=True)
    index = int(torch.searchsorted(p.cumsum(0), point, right=True))
    return int(ids[order[min(index, len(ids) - 1)]])


def draw_toy(logits: Tensor, temperature: float, top_k: int, seed: int, draws: int) -> list[int]:
    """How often each of V tokens comes up in `draws` single calls of torch.multinomial, as in the book: (V,) -> V."""
    check_whole("draws", draws, 1, 10_000)
    if not 1 <= len(logits) <= 1000:
        raise UserError("The toy vocabulary has 1 to 1,000 words.")
    row = logits[None]
    for transform in chain(temperature=temperature, top_k=top_k):
        row = transform(row, torch.empty(1, 0, dtype=torch.int64))
    draw = Multinomial(seed)
    drawn = [draw.pick(row[0], position)[0] for position in range(draws)]
    return torch.bincount(torch.tensor(drawn), minlength=len(logits)).tolist()


def _generator(seed: int) -> torch.Generator:
    """Its own generator: torch's global one is not touched."""
    check_whole("seed", seed, 0, LARGEST_SEED)
    return torch.Generator().manual_seed(seed)
