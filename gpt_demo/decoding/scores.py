"""Scores of a given text under a model: each token's log-probability and rank, and the entropy it was chosen from.

Shapes: B windows, T time, C = n_embd, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT

_ROWS_AT_ONCE = 64  # rows of V float64 numbers in memory


@dataclass(frozen=True)
class Score:
    """One token, in the model's own distribution given the tokens before it."""

    logprob: float  # natural logarithm
    rank: int  # 0: the most probable token; of equal ones the lower id comes first
    entropy: float  # of the whole distribution, nats


def token_scores(model: GPT, n_vocab: int, ids: Sequence[int], first: int, last: int | None = None) -> list[Score]:
    """The scores of ids[first:last], each given up to n_ctx tokens before it, as if it had been generated.

    Up to the context length this takes one forward pass; beyond it, one pass of n_ctx tokens per token. `n_vocab` is
    the tokenizer's. Raises UserError if nothing comes before the first one, or it is not in the text.
    """
    last = len(ids) if last is None else min(last, len(ids))
    if not 1 <= first <= last:
        raise UserError(f"Token {first} of {len(ids)} can't be scored; the first has nothing before it.")
    text = torch.tensor(ids, device=model.device)
    return [
        score
        for place, hidden in _hidden_states(model, text, first, last)
        for score in _scores(model, n_vocab, hidden, text[place : place + len(hidden)])
    ]


@torch.inference_mode()
def log_probabilities(model: GPT, n_vocab: int, ids: Sequence[int], first: int) -> Iterator[Tensor]:
    """For each of ids[first:], the distribution it was sampled from: natural logarithms (V,), float64.

    Context and cost are those of `token_scores`.
    """
    text = torch.tensor(ids, device=model.device)
    for _, hidden in _hidden_states(model, text, first, len(ids)):
        for row in hidden:
            yield model.head(row).float()[:n_vocab].double().log_softmax(0).cpu()


@torch.inference_mode()
def _hidden_states(model: GPT, text: Tensor, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
    """(place, what the head reads (n, C) to predict text[place : place + n]), from `first` up to `last`."""
    n_ctx = model.config.n_ctx
    inside = min(last, n_ctx + 1)  # tokens before this place have all of the text before them in the context
    if first < inside:
        yield first, model.hidden_states(text[None, : inside - 1])[0, first - 1 :]
    for place in range(max(first, inside), last):
        yield place, model.hidden_states(text[None, place - n_ctx : place])[0, -1:]


@torch.inference_mode()
def _scores(model: GPT, n_vocab: int, hidden: Tensor, chosen: Tensor) -> list[Score]:
    """hidden (T, C), the token chosen after each (T,)."""
    scores = []
    for rows, ids in zip(torch.split(hidden, _ROWS_AT_ONCE), torch.split(chosen, _ROWS_AT_ONCE), strict=True):
        logits = model.head(rows).float()[:, :n_vocab]
        raw, ids = logits.double().log_softmax(1), ids[:, None]
        own = raw.gather(1, ids)
        before = torch.arange(n_vocab, device=raw.device)[None] < ids
        ranks = ((raw > own) | ((raw == own) & before)).sum(1)
        entropies = torch.special.entr(raw.exp()).sum(1)
        values = zip(own[:, 0].tolist(), ranks.tolist(), entropies.tolist(), strict=True)
        scores += [Score(logprob, rank, entropy) for logprob, rank, entropy in values]
    return scores
