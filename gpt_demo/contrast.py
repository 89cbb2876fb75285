"""Two models on one text, token by token: how probable each found it, and where they differ.

Models with different tokenizers cut the text at different places. It is compared in segments: the shortest pieces at
whose ends both have a cut. A segment's log-probability is the sum of its tokens'.
Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.evaluation import perplexity
from gpt_demo.model import GPT
from gpt_demo.scores import log_probabilities
from gpt_demo.tokenizer import Tokenizer

MOST_TOKENS = 1024
Known = tuple[GPT, Tokenizer]


@dataclass(frozen=True)
class Segment:
    """A piece of the text that is whole tokens for both models."""

    text: str
    logprobs: tuple[float, float]  # natural logarithm of its probability under the first and the second model
    tokens: tuple[int, int]  # how many it is for each
    divergence: float | None  # Jensen-Shannon, nats, mean over its tokens; None where the vocabularies differ

    @property
    def gain(self) -> float:
        """By how many nats the second model found it more probable."""
        return self.logprobs[1] - self.logprobs[0]


@dataclass(frozen=True)
class Contrast:
    """The whole text under both models."""

    segments: tuple[Segment, ...]
    losses: tuple[float, float]  # nats per token of each model's own
    perplexities: tuple[float, float]
    bits_per_byte: tuple[float, float]


def contrast(first: Known, second: Known, text: str) -> Contrast:
    """Score the text under both models, each token given what stands before it; the first after <|endoftext|>.

    Raises UserError where there is no text or too much of it.
    """
    pieces = [tokenizer.boundaries(text) for _, tokenizer in (first, second)]
    longest = max(map(len, pieces))
    if not 0 < longest <= MOST_TOKENS:
        raise UserError(f"The text has {longest:,} tokens; from 1 to {MOST_TOKENS:,} can be compared. Change the text.")
    ids = [[piece.id for piece in own] for own in pieces]
    logprobs, divergences = _scores(first, second, ids)
    segments = tuple(_segments([[piece.data for piece in own] for own in pieces], logprobs, divergences))
    losses = tuple(-sum(own) / len(own) for own in logprobs)
    n_bytes = sum(len(piece.data) for piece in pieces[0])
    bits = tuple(-sum(own) / n_bytes / math.log(2) for own in logprobs)
    return Contrast(segments, losses, tuple(map(perplexity, losses)), bits)  # type: ignore[arg-type]


def _scores(first: Known, second: Known, ids: list[list[int]]) -> tuple[list[list[float]], list[float] | None]:
    """Each model's log-probability of each of its tokens, and the divergences where the tokens are the same."""
    rows = [
        log_probabilities(model, tokenizer.n_vocab, [tokenizer.end_of_text, *own], 1)
        for (model, tokenizer), own in zip((first, second), ids, strict=True)
    ]
    if not _same_vocabulary(first[1], second[1]):
        return [[float(row[id]) for row, id in zip(*pair, strict=True)] for pair in zip(rows, ids, strict=True)], None
    logprobs: list[list[float]] = [[], []]
    divergences = []
    for id, p, q in zip(ids[0], *rows, strict=True):
        logprobs[0].append(float(p[id]))
        logprobs[1].append(float(q[id]))
        divergences.append(jensen_shannon(p, q))
    return logprobs, divergences


def _same_vocabulary(a: Tokenizer, b: Tokenizer) -> bool:
    return (a.kind, a.merges) == (b.kind, b.merges)


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
    """Whether no character is cut in two here."""
    return end == len(data) or data[end] & 0b1100_0000 != 0b1000_0000
