"""Drawing a token by a dart: one uniform number per position hits the cumulative bar of the distribution.

The most probable token comes first on the bar (inverse transform sampling). The same seed gives the same darts at the
same positions, whatever the strategy: so strategies can be compared under common random numbers, and a moved slider
shows what the same dart would have hit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError, check_whole

LARGEST_SEED = 2**32 - 1  # of all draws: what the page, its links and numpy take too
MAX_DARTS = 1_000_000


def dart(seed: int, position: int) -> float:
    """The uniform number in [0, 1) that is thrown for the token at `position` (the index it will have)."""
    check_whole("seed", seed, 0, LARGEST_SEED)
    if not 0 <= position < MAX_DARTS:
        raise UserError(f"Position {position} is out of range; up to {MAX_DARTS:,} tokens are drawn.")
    generator = torch.Generator().manual_seed(seed)
    return float(torch.rand(position + 1, generator=generator, dtype=torch.float64)[position])


def hit(probabilities: Tensor, u: float) -> int:
    """The token that the dart `u` hits on the bar of probabilities (V,), sorted from the most probable, ties by id.

    It is the first one whose cumulative probability is above u; tokens without probability have no part of the bar.
    """
    ids = probabilities.nonzero()[:, 0]
    p, order = probabilities[ids].double().sort(descending=True, stable=True)
    cumulative = p.cumsum(0)
    index = int(torch.searchsorted(cumulative, u * float(cumulative[-1]), right=True))
    return int(ids[order[min(index, len(ids) - 1)]])


def draw_toy(logits: Tensor, temperature: float, top_k: int, seed: int, draws: int) -> list[int]:
    """How often each of a few tokens comes in so many single draws of torch.multinomial: the book's way, (V,) -> V."""
    check_whole("draws", draws, 1, 10_000)
    if not 1 <= len(logits) <= 1000:
        raise UserError("The toy vocabulary has 1 to 1,000 words.")
    row = logits[None]
    for transform in chain(temperature=temperature, top_k=top_k):
        row = transform(row, torch.empty(1, 0, dtype=torch.int64))
    probabilities, generator = row.softmax(1), torch.Generator().manual_seed(seed)
    drawn = [int(torch.multinomial(probabilities, 1, generator=generator)) for _ in range(draws)]
    return torch.bincount(torch.tensor(drawn), minlength=len(logits)).tolist()
