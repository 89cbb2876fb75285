"""Two models on one text, token by token: how probable each found it, and where they differ.

Models with different tokenizers cut the text at different places. It is compared in segments: the shortest pieces at
whose ends both have a cut. A segment's log-probability is the sum of its tokens'.
Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from gpt_demo.compare.losses import Load, Measuring
from gpt_demo.decoding.scores import log_probabilities
from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import Piece, Tokenizer
from gpt_demo.training.evaluation import perplexity

MOST_TOKENS = 1024


@dataclass(frozen=True)
class Segment:
    """A piece of the text that consists of whole tokens for both models."""

    text: str
    logprobs: tuple[float, float]  # natural logarithm of its probability under the first and the second model
    tokens: tuple[int, int]  # how many for each
    divergence: float | None  # Jensen-Shannon, nats, mean over its tokens; None where the vocabularies differ


@dataclass(frozen=True)
class Contrast(Event):
    """The whole text under both models."""

    kind: ClassVar[str] = "contrasted"
    segments: tuple[Segment, ...]
    tokens: tuple[int, int]
    losses: tuple[float, float]  # nats per token of each model's own
    perplexities: tuple[float, float]
    bits_per_byte: tuple[float, float]


def contrast(names: tuple[str, str], load: Load, text: str) -> Iterator[Measuring | Contrast]:
    """Score the text under both models, each token given the text before it, the first one given <|endoftext|>.

    The models are loaded one after the other; the first is freed before the second is loaded, and only its
    distributions are kept (4 V bytes per token, 0.2 GB for 1,024 GPT-2 tokens). The last event is a Contrast.
    Raises UserError if the text is empty or too long.
    """
    pieces, tokenizer, kept, logprobs = yield from _first(names[0], load, text)
    others, divergences, second = yield from _second(names[1], load, text, kept, tokenizer)
    both = (pieces, others)
    if b"".join(piece.data for piece in pieces) != b"".join(piece.data for piece in others):
        raise UserError(
            f"{names[0]} and {names[1]} read this text as different characters, because one of their tokenizers "
            "changes it. Choose two models that read it the same way."
        )
    segments = tuple(_segments([[piece.data for piece in own] for own in both], (logprobs, second), divergences))
    n_bytes = sum(len(piece.data) for piece in pieces)
    losses = (-sum(logprobs) / len(logprobs), -sum(second) / len(second))
    yield Contrast(
        segments=segments,
        tokens=(len(pieces), len(others)),
        losses=losses,
        perplexities=(perplexity(losses[0]), perplexity(losses[1])),
        bits_per_byte=(-sum(logprobs) / n_bytes / math.log(2), -sum(second) / n_bytes / math.log(2)),
    )


def _first(
    name: str, load: Load, text: str
) -> Generator[Measuring, None, tuple[list[Piece], Tokenizer, list[Tensor], list[float]]]:
    """Its tokens, tokenizer, the distributions at each token and the tokens' log-probabilities."""
    model, tokenizer = load(name)
    pieces = _pieces(tokenizer, text)
    rows: list[Tensor] = []
    for row in _rows(model, tokenizer, pieces):
        rows.append(row.float())
        yield Measuring(name, len(rows), len(pieces))
    return pieces, tokenizer, rows, [float(row[piece.id]) for row, piece in zip(rows, pieces, strict=True)]


def _second(
    name: str, load: Load, text: str, kept: list[Tensor], other: Tokenizer
) -> Generator[Measuring, None, tuple[list[Piece], list[float] | None, list[float]]]:
    """Its tokens, the divergences from the kept distributions (if the vocabularies are equal), log-probabilities."""
    model, tokenizer = load(name)
    pieces = _pieces(tokenizer, text)
    divergences: list[float] | None = [] if same_vocabulary(tokenizer, other) else None
    logprobs: list[float] = []
    for row, piece in zip(_rows(model, tokenizer, pieces), pieces, strict=True):
        if divergences is not None:
            divergences.append(jensen_shannon(kept[len(logprobs)].double(), row.float().double()))
        logprobs.append(float(row.float()[piece.id]))
        yield Measuring(name, len(logprobs), len(pieces))
    return pieces, divergences, logprobs


def _pieces(tokenizer: Tokenizer, text: str) -> list[Piece]:
    pieces = tokenizer.boundaries(text)
    if not 0 < len(pieces) <= MOST_TOKENS:
        raise UserError(f"The text has {len(pieces):,} tokens; 1 to {MOST_TOKENS:,} can be compared. Change the text.")
    return pieces


def _rows(model: GPT, tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Iterator[Tensor]:
    """The distribution before each token: natural logarithms (V,)."""
    ids = [tokenizer.end_of_text, *(piece.id for piece in pieces)]
    return log_probabilities(model, tokenizer.n_vocab, ids, 1)


def same_vocabulary(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether an id means the same to both."""
    return a.same_ids(b)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Of two distributions given as natural logarithms (V,): 0 where they are equal, at most ln 2 (Lin 1991, eq. 4.1).

    The mean of the two Kullback-Leibler divergences from their mixture.
    """
    mixture = torch.logaddexp(p, q) - math.log(2)
    parts = (torch.where(one > -math.inf, one.exp() * (one - mixture), 0.0).sum() for one in (p, q))
    return max(0.0, float(sum(parts)) / 2)


def _segments(
    pieces: Sequence[Sequence[bytes]], logprobs: Sequence[Sequence[float]], divergences: Sequence[float] | None
) -> Iterator[Segment]:
    ends = [list(accumulate(map(len, own))) for own in pieces]
    data = b"".join(pieces[0])
    places, starts, begin = [dict(zip(own, range(1, len(own) + 1), strict=True)) for own in ends], [0, 0], 0
    for end in sorted(set(ends[0]) & set(ends[1])):
        if not _is_boundary(data, end):
            continue
        stops = [own[end] for own in places]
        sums = [sum(own[a:b]) for own, a, b in zip(logprobs, starts, stops, strict=True)]
        own = divergences[starts[0] : stops[0]] if divergences else []
        yield Segment(
            data[begin:end].decode("utf-8", "replace"),
            (sums[0], sums[1]),
            (stops[0] - starts[0], stops[1] - starts[1]),
            sum(own) / len(own) if own else None,
        )
        starts, begin = stops, end


def _is_boundary(data: bytes, end: int) -> bool:
    """Whether `end` is between two characters."""
    return end == len(data) or data[end] & 0b1100_0000 != 0b1000_0000
