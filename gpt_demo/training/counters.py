"""The rulers of a loss: what counting tokens, and pairs of tokens, predicts. Trained on one text, scored on another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST = 8_000_000  # tokens of each text that are counted: more would take memory and change little


def reference_losses(train: Tensor, val: Tensor, n_vocab: int) -> dict[str, float]:
    """What predictors that only count lose, in nats per token; all predict every token but the first, as a model does.

    uniform: ln V, knowing nothing. unigram: how often each token comes in `train` (N,). bigram: how often it follows
    the one before. Both counted on `train` and scored on `val` (M,): on text they have not seen, as the validation loss
    is. Without a validation text they are scored on `train` itself, as "unigram_in_sample" and "bigram_in_sample".

    Smoothed so that no token is impossible, by Witten and Bell's method C (1991): of n tokens seen in a place, t of
    them different, a share t / (n + t) is kept for what has not been seen there, and given out as the next simpler
    predictor would: after a token as the unigram, without one evenly. Of a text of more than MOST tokens, so many are
    counted, from 64 places spread evenly over it.
    """
    train, val = _counted(train), _counted(val)
    uniform = math.log(n_vocab)
    if len(val) >= 2:
        unigram, bigram = _losses(train, val, n_vocab)
        return {"uniform": uniform, "unigram": unigram, "bigram": bigram}
    if len(train) < 2:
        return {"uniform": uniform}
    unigram, bigram = _losses(train, train, n_vocab)
    return {"uniform": uniform, "unigram_in_sample": unigram, "bigram_in_sample": bigram}


def _counted(ids: Tensor) -> Tensor:
    """All of a text, or what is counted of a longer one: int64."""
    if len(ids) <= MOST:
        return ids.long()
    return torch.cat([ids[len(ids) * i // 64 :][: MOST // 64] for i in range(64)]).long()


def _losses(train: Tensor, scored: Tensor, n_vocab: int) -> tuple[float, float]:
    """Of the unigram and of the bigram, over the tokens of `scored` but the first."""
    counts = torch.bincount(train, minlength=n_vocab).double()  # (V,)
    types, total = (counts > 0).sum(), counts.sum()
    p = (counts + types / n_vocab) / (total + types)  # (V,)

    pairs, times = torch.unique(train[:-1] * n_vocab + train[1:], return_counts=True)  # sorted
    before = pairs // n_vocab
    followers = torch.bincount(before, minlength=n_vocab).double()  # different tokens seen after each, (V,)
    seen = torch.zeros(n_vocab, dtype=torch.double).index_add(0, before, times.double())  # tokens seen after each, (V,)

    first, second = scored[:-1], scored[1:]
    p_second = p[second]
    n, t = seen[first], followers[first]
    after = (_times(pairs, times, first * n_vocab + second) + t * p_second) / (n + t).clamp(min=1)
    after = torch.where(n > 0, after, p_second)  # after a token never seen before another: as the unigram
    return float(-p_second.log().mean()), float(-after.log().mean())


def _times(pairs: Tensor, times: Tensor, wanted: Tensor) -> Tensor:
    """How often each of `wanted` (M,) was counted: pairs (P,) in ascending order, times (P,)."""
    if len(pairs) == 0:
        return torch.zeros(len(wanted), dtype=torch.double)
    place = torch.searchsorted(pairs, wanted).clamp(max=len(pairs) - 1)
    return torch.where(pairs[place] == wanted, times[place], 0).double()
