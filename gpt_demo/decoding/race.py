"""Several strategies side by side from one prompt, under the same darts, decoded as one batch.

Shapes: B rows decoded as one batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gpt_demo.decoding.beams import BeamsAdvanced, BeamSearch, Hypothesis
from gpt_demo.decoding.darts import LARGEST_SEED, dart, hit
from gpt_demo.decoding.transforms import Transform, chain
from gpt_demo.decoding.window import Window
from gpt_demo.errors import UserError, check_number, check_whole
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT


@dataclass(frozen=True)
class Lane:
    """One strategy: transforms in their order and a dart, or greedy, or (in a race) beam search."""

    name: str
    transforms: tuple[Transform, ...] = ()
    greedy: bool = False
    beams: int = 0
    length_penalty: float = 1.0


@dataclass(frozen=True)
class Drawn(Event):
    """One token was chosen in one lane, with what a reader may ask about it."""

    kind: ClassVar[str] = "drawn"
    lane: int
    id: int
    u: float | None  # the dart; None where nothing is drawn
    logprob: float  # in the distribution it was chosen from, natural logarithm
    raw_logprob: float  # in the model's own distribution
    rank: int  # 0: the model's most probable token
    entropy: float  # of the model's own distribution, nats
    last: bool  # the end-of-text token, which ends the lane


@dataclass(frozen=True)
class BeamsNow(Event):
    """The beam lane of a race after one step: its best hypothesis so far."""

    kind: ClassVar[str] = "beam_lane"
    lane: int
    ids: tuple[int, ...]
    logprob: float  # of all of them, in the model's own distribution
    done: bool
    logprobs: tuple[float, ...]  # of each of them


@torch.no_grad()
def choose(lane: int, how: Lane, logits: Tensor, ids: Tensor, u: float, end: int | None) -> Drawn:
    """Choose the token after ids (1, T) from its logits (V,)."""
    raw = logits.double().log_softmax(0)
    row = logits[None]
    for transform in how.transforms:
        row = transform(row, ids)
    final = row[0].double().softmax(0)
    id = int(row[0].argmax()) if how.greedy else hit(final, u)
    p = raw.exp()
    rank = int((raw > raw[id]).sum()) + int((raw[:id] == raw[id]).sum())
    return Drawn(
        lane=lane,
        id=id,
        u=None if how.greedy else u,
        logprob=float(final[id].log()),
        raw_logprob=float(raw[id]),
        rank=rank,
        entropy=float(-torch.special.xlogy(p, p).sum()),
        last=id == end,
    )


def race(
    model: GPT, n_vocab: int, prompt_ids: Sequence[int], lanes: Sequence[Lane], seed: int, count: int, end: int | None
) -> Iterator[Drawn | BeamsNow]:
    """All lanes go on from one prompt, decoded as one batch, the same dart for all at each position.

    A single lane is how the Playground writes. `n_vocab` is the tokenizer's: ids beyond it are never chosen.
    Raises UserError at the call on bad numbers.
    """
    check_whole("seed", seed, 0, LARGEST_SEED)
    if not 1 <= count <= 5000 or not 1 <= len(lanes) <= 12:
        raise UserError("Ask for 1 to 5,000 tokens in 1 to 12 lanes.")
    if sum(lane.beams > 0 for lane in lanes) > 1:
        raise UserError("Only one lane of a race can be a beam search.")
    return _race(model, n_vocab, list(prompt_ids), lanes, seed, count, end)


def _race(
    model: GPT, n_vocab: int, prompt: list[int], lanes: Sequence[Lane], seed: int, count: int, end: int | None
) -> Iterator[Drawn | BeamsNow]:
    window = Window(model, prompt, count)
    places = [i for i, lane in enumerate(lanes) if not lane.beams]  # lanes with a row of their own, in row order
    beams = next((_BeamLane(i, lane, count, end) for i, lane in enumerate(lanes) if lane.beams), None)
    logits = window.logits().cpu()[:, :n_vocab].expand(len(places) + (beams is not None), -1)
    rows, first = [0] * len(places), 0  # which row of the window each lane continues, and the first one of the beams
    for step in range(count):
        u = dart(seed, len(prompt) + step)
        context = window.ids.cpu()
        drawn = [choose(lane, lanes[lane], logits[i], context[rows[i]][None], u, end) for i, lane in enumerate(places)]
        yield from drawn
        going = [i for i, token in enumerate(drawn) if not token.last]
        kept, new = [rows[i] for i in going], [drawn[i].id for i in going]
        if beams is not None:
            told = beams.advance(logits[len(places) :])
            yield told
            kept += [first + h.parent for h in beams.live]
            new += [h.id for h in beams.live]
            beams = None if told.done else beams
        places = [places[i] for i in going]
        if not new or step + 1 == count:
            return
        window.reorder(kept)
        window.append(new)
        rows, first = list(range(len(places))), len(places)
        logits = window.logits().cpu()[:, :n_vocab]


class _BeamLane:
    """The beam search of a race; its rows come after those of the other lanes."""

    def __init__(self, lane: int, how: Lane, count: int, end: int | None) -> None:
        self.lane = lane
        self.search = BeamSearch(how.beams, count, how.length_penalty, end, False)
        self.event: BeamsAdvanced | None = None
        self.live: tuple[Hypothesis, ...] = ()  # what goes on
        self.logprobs: dict[tuple[int, ...], tuple[float, ...]] = {
            (): ()
        }  # token by token, of what may become the best

    def advance(self, logits: Tensor) -> BeamsNow:
        """One step, given logits (B, V) after each hypothesis that goes on (at first: after the prompt)."""
        event, before = self.search.advance(logits, self.event), self.logprobs
        sums = [h.logprob for h in self.live] or [0.0]
        self.logprobs = {h.ids: before[h.ids] for h in event.best if h.ids in before} | {
            h.ids: (*before[h.ids[:-1]], h.logprob - sums[h.parent]) for h in (*event.live, *event.finished)
        }
        done = not self.search.goes_on(event)
        best = event.best[0] if done else max((*event.live, *event.best), key=lambda h: h.score)
        self.event, self.live = event, () if done else event.live
        return BeamsNow(self.lane, best.ids, best.logprob, done, self.logprobs[best.ids])


OFF = {"repetition_penalty": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def lane_of(record: Mapping[str, Any]) -> Lane:
    """A lane from JSON: {"name", "steps": [{"name", "value"}, ...] in order, "greedy", "beams", "length_penalty"}.

    A step at its off value is left out; temperature 0 is greedy. Greedy heeds the repetition penalty and nothing else.
    Raises UserError on unknown steps and impossible values, and on what is no lane at all.
    """
    try:
        values = [(str(step["name"]), step["value"]) for step in record.get("steps") or ()]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            'A lane is {"name": ..., "steps": [{"name": ..., "value": ...}, ...]}; this one is not.'
        ) from error
    unknown = [name for name, _ in values if name not in OFF]
    if unknown:
        raise UserError(f"There is no step called {unknown[0][:40]!r}. There are: {', '.join(OFF)}.")
    greedy = bool(record.get("greedy")) or any(name == "temperature" and value == 0 for name, value in values)
    transforms: list[Transform] = []
    for name, value in values:
        if not greedy or name == "repetition_penalty":
            transforms += chain(**{name: value})
    beams, length_penalty = record.get("beams", 0), record.get("length_penalty", 1.0)
    check_whole("beams", beams, 0, 10)
    check_number("length_penalty", length_penalty, -10, 10)
    return Lane(str(record.get("name", "")), tuple(transforms), greedy, beams, float(length_penalty))
