"""How good a model is on a text: loss and perplexity weighted by tokens."""

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

LOGITS = 2**22  # numbers in the logits of a batch: with small models, several windows at once are faster


def perplexity(loss: float) -> float:
    """exp(loss): the number of equally likely tokens that would be as hard to guess. loss in nats per token."""
    return math.inf if loss > 700 else math.exp(loss)


def mean_loss(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32") -> tuple[float, int]:
    """Total negative log-likelihood / tokens, in nats, and the tokens counted, over batches of (x, y), each (B, T).

    Batches may differ in size: every token weighs the same. Eval mode (no dropout) while it runs. No batches: (nan, 0).
    """
    total, tokens = 0.0, 0
    for surprise, count in batch_losses(model, batches, precision):
        total, tokens = total + surprise, tokens + count
    return (total / tokens, tokens) if tokens else (math.nan, 0)


@torch.no_grad()
def batch_losses(
    model: GPT, batches: Iterable[tuple[Tensor, Tensor]], precision: str = "fp32"
) -> Iterator[tuple[float, int]]:
    """Of each batch (x, y), (B, T) each: negative log-likelihood in nats, and tokens. Eval mode until the end."""
    training, device = model.training, model.device
    model.eval()
    try:
        for x, y in batches:
            with autocast(device, precision):
                logits, _ = model(x.to(device))
            mean = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten().to(device))
            yield mean.item() * y.numel(), y.numel()
    finally:
        model.train(training)


def evaluate(model: GPT, tokenizer: Tokenizer, text: str) -> Iterator[Measured]:
    """Loss and perplexity of `model` on `text`: every token but the first is predicted once.

    Each window of n_ctx tokens starts without context. Raises UserError if there are fewer than two tokens.
    """
    ids = torch.tensor(tokenizer.encode(text))
    if len(ids) < 2:
        raise UserError(f"The text has {len(ids)} tokens; at least 2 are needed, one to read and one to predict.")
    length = model.config.n_ctx
    batch = max(1, min(64, LOGITS // (length * model.config.n_vocab)))
    loss, tokens = mean_loss(model, covering_windows(ids, length, batch))
    yield Measured(loss, perplexity(loss), tokens)
