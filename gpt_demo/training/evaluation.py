"""How good a model is on a text: loss and perplexity weighted by tokens, and lines to compare them with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_demo.devices import autocast
from gpt_demo.errors import UserError
from gpt_demo.events import Measured
from gpt_demo.model.gpt import GPT
from gpt_demo.text.data import covering_windows
from gpt_demo.text.tokenizer import Tokenizer


def perplexity(loss: float) -> float:
    """exp(loss): the number of equally likely tokens that would be as hard to guess. loss in nats per token."""
    return math.inf if loss > 700 else math.exp(loss)


@torch.no_grad()
def mean_loss(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> tuple[float, int]:
    """Total negative log-likelihood / tokens, in nats, and the tokens counted, over batches of (x, y), each (B, T).

    Batches may differ in size: every token weighs the same. Eval mode (no dropout) while it runs. No batches: (nan, 0).
    """
    training, device = model.training, model.device
    model.eval()
    total, tokens = 0.0, 0
    try:
        for x, y in batches:
            with autocast(device, precision):
                logits, _ = model(x.to(device))
            total += F.cross_entropy(logits.flatten(0, 1).float(), y.flatten().to(device)).item() * y.numel()
            tokens += y.numel()
    finally:
        model.train(training)
    return (total / tokens, tokens) if tokens else (math.nan, 0)


def evaluate(model: GPT, tokenizer: Tokenizer, text: str) -> Iterator[Measured]:
    """Loss and perplexity of `model` on `text`: every token but the first is predicted once.

    Each window of n_ctx tokens starts without context. Raises UserError if there are fewer than two tokens.
    """
    ids = torch.tensor(tokenizer.encode(text))
    if len(ids) < 2:
        raise UserError(f"The text has {len(ids)} tokens; at least 2 are needed, one to read and one to predict.")
    loss, tokens = mean_loss(model, covering_windows(ids, model.config.n_ctx))
    yield Measured(loss, perplexity(loss), tokens)


def reference_losses(ids: Tensor, n_vocab: int) -> dict[str, float]:
    """What simpler predictors lose on the tokens `ids` (N,), in nats per token.

    uniform: ln V, knowing nothing. unigram: the entropy of the token frequencies. bigram: the conditional entropy of a
    token given the one before, H(X, Y) - H(X) (Shannon 1948, section 6). The last two are counted on `ids` themselves.
    All predict every token but the first, as a model does, so 0 <= bigram <= unigram <= uniform (0 of fewer than two).
    """
    pairs = ids[:-1] * n_vocab + ids[1:]
    return {
        "uniform": math.log(n_vocab),
        "unigram": _entropy(ids[1:]),
        "bigram": max(0.0, _entropy(pairs) - _entropy(ids[:-1])),
    }


def _entropy(values: Tensor) -> float:
    counts = torch.unique(values, return_counts=True)[1].double()
    p = counts / counts.sum()
    return max(0.0, float(-(p * p.log()).sum()))
