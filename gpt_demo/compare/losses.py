"""Several models on the same text: how well each predicts it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT
from gpt_demo.text.data import covering_windows, split_text
from gpt_demo.text.samples import VERDICT_SHA256
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.evaluation import mean_loss, perplexity

Load = Callable[[str], tuple[GPT, Tokenizer]]

# Losses reported for OpenAI's weights on "The Verdict", in nats per token, to one digit.
REPORTED_ON_THE_VERDICT = {"124M": 3.5, "774M": 3.2, "1558M": 3.1}
WINDOW = 256  # tokens per window, as for those losses


@dataclass(frozen=True)
class Measuring(Event):
    """A model has read a part of a text."""

    kind: ClassVar[str] = "measuring"
    model: str
    done: int  # tokens
    total: int


@dataclass(frozen=True)
class Compared(Event):
    """How well one model predicts the two parts of a text."""

    kind: ClassVar[str] = "compared"
    model: str
    train_loss: float  # nats per token
    val_loss: float
    train_perplexity: float
    val_perplexity: float
    bits_per_byte: float  # of the validation part; comparable across tokenizers
    tokens: int  # scored, of both parts


def losses(names: Sequence[str], load: Load, text: str, val_fraction: float = 0.1) -> Iterator[Measuring | Compared]:
    """Each model's losses on the first and last part of the text, split by characters, in windows of WINDOW tokens.

    Raises UserError at the call if the text is too short, and later if its last part is a single token.
    """
    if not names:
        raise UserError("Choose at least one model.")
    if len(text.split()) < 20:
        raise UserError(
            f"The text has {len(text.split())} words; at least 20 are needed to measure a loss. Use a longer text."
        )
    return (event for name in names for event in _losses(name, *load(name), text, val_fraction))


def _losses(
    name: str, model: GPT, tokenizer: Tokenizer, text: str, val_fraction: float
) -> Iterator[Measuring | Compared]:
    split = split_text(text, tokenizer, val_fraction, "characters")
    if len(split.val) < 2:
        raise UserError(f"The last tenth of the text has fewer than two tokens for {name}. Use a longer text.")
    scored, total = (len(split.train) - 1, len(split.val) - 1), len(split.train) + len(split.val) - 2
    means, done = [], 0
    for ids, count in zip((split.train, split.val), scored, strict=True):
        nats = 0.0
        for part, tokens in _nats(model, ids):
            nats, done = nats + part, done + tokens
            yield Measuring(name, done, total)
        means.append(nats / count)
    val_bytes = sum(len(tokenizer.token_bytes(id)) for id in split.val[1:].tolist())
    yield Compared(
        model=name,
        train_loss=means[0],
        val_loss=means[1],
        train_perplexity=perplexity(means[0]),
        val_perplexity=perplexity(means[1]),
        bits_per_byte=means[1] * scored[1] / val_bytes / math.log(2),
        tokens=total,
    )


def _nats(model: GPT, ids: Tensor) -> Iterator[tuple[float, int]]:
    """The negative log-likelihood of ids[1:] and their number, about WINDOW tokens at a time."""
    window = min(WINDOW, model.config.n_ctx)
    for batch in covering_windows(ids, window, WINDOW // window):
        loss, tokens = mean_loss(model, [batch])
        yield loss * tokens, tokens


def reported_loss(size: str | None, text: str) -> float | None:
    """The loss reported for a GPT-2 size on this text, if there is one."""
    if hashlib.sha256(text.encode()).hexdigest() != VERDICT_SHA256:
        return None
    return REPORTED_ON_THE_VERDICT.get(size or "")
