"""Loss, speed and memory of one model in fp32, bf16 and int8, measured on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.model.compiled import PRODUCT
from gpt_demo.model.decode_step import suits
from gpt_demo.model.gpt import GPT
from gpt_demo.model.quantization import PRECISIONS
from gpt_demo.store.store import ModelStore
from gpt_demo.text.data import covering_windows
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.evaluation import mean_loss, perplexity

TOKENS = 2048  # read from the text, at most
WINDOW = 512  # tokens read at once, at most
PROMPT = "The old clock on the wall"


@dataclass(frozen=True)
class PrecisionMeasured(Event):
    """A model in one precision."""

    kind: ClassVar[str] = "precision_measured"
    precision: str
    loss: float  # nats per token
    perplexity: float
    tokens: int  # scored
    tokens_per_second: float  # while generating one text, after the prompt
    bytes: int  # of the weights, in memory


@dataclass(frozen=True)
class PrecisionRefused(Event):
    """This precision can't be used here; `message` says why and what to do."""

    kind: ClassVar[str] = "precision_refused"
    precision: str
    message: str


def measure_precisions(
    store: ModelStore, name: str, text: str, owner: str | None = None, *, most_tokens: int = TOKENS
) -> Iterator[PrecisionMeasured | PrecisionRefused]:
    """Load the model in one precision after another, never two at once, and measure it on the beginning of `text`.

    Afterwards the model is in memory as before. Raises UserError at the call if there is no such model.
    """
    before = store.memory.precision_of(store.get(name, owner).folder)
    return _measure(store, name, text, owner, most_tokens, before)


def _measure(
    store: ModelStore, name: str, text: str, owner: str | None, most_tokens: int, before: str | None
) -> Iterator[PrecisionMeasured | PrecisionRefused]:
    try:
        for precision in PRECISIONS:
            store.unload(name, owner)
            try:
                event: PrecisionMeasured | PrecisionRefused
                event = measure(*store.load(name, owner, precision), text, precision, most_tokens)
            except UserError as error:
                event = PrecisionRefused(precision, str(error))
            yield event
    finally:
        with contextlib.suppress(UserError):  # it may have been deleted, or no longer fit
            store.unload(name, owner)
            if before is not None:
                store.load(name, owner, before)


def measure(
    model: GPT, tokenizer: Tokenizer, text: str, precision: str, most_tokens: int = TOKENS
) -> PrecisionMeasured:
    """Measure a loaded model on the first `most_tokens` tokens of the text. Raises UserError below two tokens."""
    ids = torch.tensor(tokenizer.encode(text)[:most_tokens])
    if len(ids) < 2:
        raise UserError(
            f"The text has {len(ids)} tokens; at least 2 are needed, one to read and one to predict. Use a longer text."
        )
    loss, tokens = mean_loss(model, covering_windows(ids, min(WINDOW, model.config.n_ctx)))
    speed = tokens_per_second(model, tokenizer)
    return PrecisionMeasured(precision, loss, perplexity(loss), tokens, speed, weights_size(model))


def tokens_per_second(model: GPT, tokenizer: Tokenizer, seconds: float = 1.0, most: int = 32) -> float:
    """How fast this model generates here, over up to `most` tokens or about `seconds`, without the first token.

    (The first one includes reading the prompt and loading pages of a memory-mapped file.) Waits for what is compiled.
    """
    if suits(model):
        PRODUCT.wait()
    events = generate(model, tokenizer, PROMPT, Sampling(temperature=0), most + 2, stop_at_end_of_text=False)
    with contextlib.closing(events):  # type: ignore[type-var]
        next(events)
        start, tokens = time.perf_counter(), 0
        while tokens < most and (tokens == 0 or time.perf_counter() - start < seconds):
            next(events)
            tokens += 1
        return tokens / max(time.perf_counter() - start, 1e-9)


def weights_size(model: GPT) -> int:
    """Bytes of all parameters and buffers, a shared one counted once."""
    tensors: Sequence[torch.Tensor] = [*model.parameters(), *model.buffers()]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
