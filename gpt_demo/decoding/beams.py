"""Beam search, alone or as a lane of a race.

Shapes: B batch (beams), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gpt_demo.decoding.transforms import TopK
from gpt_demo.decoding.window import MAX_NEW_TOKENS, Window
from gpt_demo.errors import UserError, check_number, check_whole
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT

MAX_BEAMS = 64


@dataclass(frozen=True)
class Hypothesis:
    """A path of beam search."""

    ids: tuple[int, ...]  # the new tokens, the end-of-text token included
    logprob: float  # sum over the new tokens, natural logarithm
    score: float  # logprob / length ** length_penalty: what finished hypotheses are ranked by
    parent: int  # which of the live hypotheses of the step before it extends; 0 in the first step (the prompt)
    finished: bool  # it ends with the end-of-text token, or has max_new_tokens tokens

    @property
    def id(self) -> int:
        """The last token."""
        return self.ids[-1]


@dataclass(frozen=True)
class BeamsAdvanced(Event):
    """One step of beam search is done. The last event's `best` is the result."""

    kind: ClassVar[str] = "beams"
    step: int  # from 0; hypotheses of this step have step + 1 tokens
    live: tuple[Hypothesis, ...]  # those to be extended, by logprob; none once the maximum length is reached
    finished: tuple[Hypothesis, ...]  # those that ended in this step
    pruned: tuple[Hypothesis, ...]  # the next best candidates, dropped
    best: tuple[Hypothesis, ...]  # the n_beams best of all finished so far, by score


def beam_search(
    model: GPT,
    prompt_ids: list[int],
    n_beams: int,
    max_new_tokens: int,
    length_penalty: float = 1.0,
    end_of_text: int | None = None,
    early_stopping: bool | Literal["never"] = False,
    use_cache: bool = True,
    n_vocab: int | None = None,
) -> Iterator[BeamsAdvanced]:
    """Beam search with `n_beams` beams: one event per step, the same result as transformers.

    Of the 2 * n_beams best continuations, those among the first n_beams that end are finished; of the others, the first
    n_beams stay live. Finished ones are ranked by log-probability / length ** length_penalty, where the length counts
    the new tokens, end-of-text included: 0 ignores the length, more favors long ones. The search ends after
    max_new_tokens, or once n_beams are finished and, if `early_stopping` is False, the best live one scored at its
    current length is no better than the worst of them; if "never", nor could be at full length. Ids from `n_vocab` on
    are never chosen.

    An empty prompt starts from `end_of_text`. Context and cache are as in `generate`. Raises UserError at the call.
    """
    check_whole("n_beams", n_beams, 1, MAX_BEAMS)
    check_whole("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    check_number("length_penalty", length_penalty, -10, 10, "0 ranks by log-probability alone")
    if early_stopping not in (True, False, "never"):
        raise UserError(f'early_stopping is {early_stopping!r}; it must be True, False or "never".')
    if not prompt_ids and end_of_text is None:
        raise UserError("The prompt is empty. Give at least one token to start from.")
    search = BeamSearch(n_beams, max_new_tokens, length_penalty, end_of_text, early_stopping)
    window = Window(model, list(prompt_ids) or [end_of_text or 0], max_new_tokens, use_cache)
    return _beam_search(window, search, n_vocab)


def _beam_search(window: Window, search: BeamSearch, n_vocab: int | None) -> Iterator[BeamsAdvanced]:
    event = None
    while event is None or search.goes_on(event):
        if event is not None:
            window.reorder([h.parent for h in event.live])
            window.append([h.id for h in event.live])
        event = search.advance(window.logits()[:, :n_vocab], event)
        yield event


@dataclass(frozen=True)
class BeamSearch:
    """The rules of one search."""

    n_beams: int
    max_new_tokens: int
    length_penalty: float
    end_of_text: int | None
    early_stopping: bool | Literal["never"]

    def advance(self, logits: Tensor, before: BeamsAdvanced | None) -> BeamsAdvanced:
        """The step after `before`, given logits (B, V) after each of its live hypotheses."""
        candidates = self.candidates(logits, before.live if before else (Hypothesis((), 0.0, 0.0, 0, False),))
        finished = tuple(h for h in candidates[: self.n_beams] if h.finished)
        live = tuple(h for h in candidates if not h.finished)[: self.n_beams]
        pruned = tuple(h for h in candidates if h not in finished + live)
        best = sorted((before.best if before else ()) + finished, key=lambda h: -h.score)[: self.n_beams]
        return BeamsAdvanced(before.step + 1 if before else 0, live, finished, pruned, tuple(best))

    def candidates(self, logits: Tensor, live: tuple[Hypothesis, ...]) -> list[Hypothesis]:
        """The 2 * n_beams most probable continuations of all live hypotheses, the most probable first."""
        V, length = logits.shape[1], len(live[0].ids) + 1
        found = []
        for logprob, index in self._top(logits.detach().cpu(), [h.logprob for h in live]):
            parent, id = divmod(index, V)
            finished = id == self.end_of_text or length == self.max_new_tokens
            found.append(Hypothesis((*live[parent].ids, id), logprob, logprob / self.penalty(length), parent, finished))
        return found

    def _top(self, logits: Tensor, logprobs: list[float]) -> list[tuple[float, int]]:
        """(log-probability, row * V + id) of the best 2 * n_beams: a row can end in one way, so n_beams stay live.

        In float64, which keeps the order of the logits, with ties by index: so one beam is greedy decoding.
        """
        sums = logits.double().log_softmax(dim=1) + torch.tensor(logprobs, dtype=torch.float64)[:, None]
        kept = TopK(2 * self.n_beams)(sums.reshape(1, -1), torch.empty(1, 0, dtype=torch.int64))[0]
        index = (kept > -torch.inf).nonzero()[:, 0]
        values, order = kept[index].sort(descending=True, stable=True)
        return list(zip(values.tolist(), index[order].tolist(), strict=True))

    def penalty(self, length: int) -> float:
        return math.pow(length, self.length_penalty)

    def goes_on(self, event: BeamsAdvanced) -> bool:
        """Whether another step can change the result."""
        if not event.live or len(event.best) < self.n_beams:
            return bool(event.live)
        longest = self.early_stopping == "never" and self.length_penalty > 0
        reachable = event.live[0].logprob / self.penalty(self.max_new_tokens if longest else event.step + 1)
        return self.early_stopping is not True and reachable > event.best[-1].score


# As a lane of a race --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BeamsNow(Event):
    """The beam lane of a race after one step: its best hypothesis so far."""

    kind: ClassVar[str] = "beam_lane"
    lane: int
    ids: tuple[int, ...]
    logprob: float  # of all of them, in the model's own distribution
    done: bool
    logprobs: tuple[float, ...]  # of each of them


class BeamLane:
    """The beam search of a race; its rows come after those of the other lanes."""

    def __init__(self, lane: int, search: BeamSearch) -> None:
        self.lane = lane
        self.search = search
        self.event: BeamsAdvanced | None = None
        self.live: tuple[Hypothesis, ...] = ()  # those to be extended
        self.logprobs: dict[tuple[int, ...], tuple[float, ...]] = {
            (): ()
        }  # token by token, of what may become the best

    def advance(self, logits: Tensor) -> BeamsNow:
        """One step, given logits (B, V) after each live hypothesis (at first: after the prompt)."""
        event, before = self.search.advance(logits, self.event), self.logprobs
        sums = [h.logprob for h in self.live] or [0.0]
        self.logprobs = {h.ids: before[h.ids] for h in event.best if h.ids in before} | {
            h.ids: (*before[h.ids[:-1]], h.logprob - sums[h.parent]) for h in (*event.live, *event.finished)
        }
        done = not self.search.goes_on(event)
        best = event.best[0] if done else max((*event.live, *event.best), key=lambda h: h.score)
        self.event, self.live = event, () if done else event.live
        return BeamsNow(self.lane, best.ids, best.logprob, done, self.logprobs[best.ids])
