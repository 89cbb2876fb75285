"""The one loop that chooses tokens, for any number of strategies (lanes) decoded as one batch; and races of them.

A single lane is how the Playground, the command line and the endpoints write.

Shapes: B rows decoded as one batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gpt_demo.decoding.beams import BeamLane, BeamSearch, BeamsNow
from gpt_demo.decoding.darts import Darts, Draw
from gpt_demo.decoding.steps import STEPS
from gpt_demo.decoding.transforms import Transform, in_order
from gpt_demo.decoding.window import Window
from gpt_demo.errors import UserError, check_number, check_whole
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT

MAX_LANES, MAX_RACE = 12, 5000


# Lanes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lane:
    """One strategy: transforms in their order and a draw, or greedy, or (in a race) beam search."""

    name: str
    transforms: tuple[Transform, ...] = ()
    greedy: bool = False
    beams: int = 0
    length_penalty: float = 1.0


def lane_of(record: Mapping[str, Any]) -> Lane:
    """A lane from JSON: {"name", "steps": [{"name", "value"}, ...] in order, "greedy", "beams", "length_penalty"}.

    Steps at their off value are omitted; temperature 0 is greedy. Raises UserError on unknown steps, values out of
    range, and anything that is not a lane.
    """
    try:
        values = [(str(step["name"]), step["value"]) for step in record.get("steps") or ()]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            'A lane is {"name": ..., "steps": [{"name": ..., "value": ...}, ...]}; this one is not.'
        ) from error
    beams, length_penalty = record.get("beams", 0), record.get("length_penalty", 1.0)
    check_whole("beams", beams, 0, 10)
    check_number("length_penalty", length_penalty, -10, 10)
    transforms, greedy = how(values, greedy=bool(record.get("greedy")))
    return Lane(str(record.get("name", "")), transforms, greedy, beams, float(length_penalty))


def how(values: Iterable[tuple[str, Any]], *, greedy: bool = False) -> tuple[tuple[Transform, ...], bool]:
    """The transforms for the steps in their order, and whether decoding is greedy.

    With greedy decoding only the repetition penalty applies. Raises UserError.
    """
    values = list(values)
    for name, value in values:
        if name not in STEPS:
            raise UserError(f"There is no step named {name[:40]!r}. Available: {', '.join(STEPS)}.")
        STEPS[name].check(value, setting=True)
    greedy = greedy or any(value == STEPS[name].greedy for name, value in values)
    if greedy:
        values = [(name, value) for name, value in values if name == "repetition_penalty"]
    return in_order(values), greedy


# The loop -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Choice:
    """A token that was chosen in a lane."""

    lane: int
    id: int
    u: float | None  # the dart; None where there was none
    logprob: float  # in the distribution it was chosen from, natural logarithm
    last: bool  # the end-of-text token, which ends the lane
    logits: Tensor  # the model's own, (V,)

    @property
    def raw_logprob(self) -> float:
        """In the model's own distribution."""
        return float(self.logits.double().log_softmax(0)[self.id])


@torch.no_grad()
def choose(
    lane: int, strategy: Lane, logits: Tensor, ids: Tensor, draw: Draw, position: int, end: int | None = None
) -> Choice:
    """Choose the token after the context ids (1, T) from its logits (V,); `position` is the index it will have."""
    row = logits[None]
    for transform in strategy.transforms:
        row = transform(row, ids)
    id, u = (int(row[0].argmax()), None) if strategy.greedy else draw.pick(row[0], position)
    return Choice(lane, id, u, float(row[0].double().log_softmax(0)[id]), id == end, logits)


def decode(
    window: Window, n_vocab: int, start: int, lanes: Sequence[Lane], draw: Draw, count: int, end: int | None
) -> Iterator[Choice | BeamsNow]:
    """Up to `count` tokens per lane, continuing the window; `start` is the position of the first one.

    Ids from `n_vocab` (the tokenizer's) on are never chosen. A lane ends with the token `end`.
    """
    places = [i for i, lane in enumerate(lanes) if not lane.beams]  # lanes with a row of their own, in row order
    beams = next((_beam_lane(i, lane, count, end) for i, lane in enumerate(lanes) if lane.beams), None)
    logits = window.logits().cpu()[:, :n_vocab].expand(len(places) + (beams is not None), -1)
    rows, first = [0] * len(places), 0  # which row of the window each lane continues, and the first one of the beams
    for position in range(start, start + count):
        context = window.ids.cpu()  # draws on the CPU: a seed means the same on every device
        chosen = [
            choose(lane, lanes[lane], logits[i], context[rows[i]][None], draw, position, end)
            for i, lane in enumerate(places)
        ]
        yield from chosen
        going = [i for i, token in enumerate(chosen) if not token.last]
        kept, new = [rows[i] for i in going], [chosen[i].id for i in going]
        if beams is not None:
            advanced = beams.advance(logits[len(places) :])
            yield advanced
            kept += [first + h.parent for h in beams.live]
            new += [h.id for h in beams.live]
            beams = None if advanced.done else beams
        places = [places[i] for i in going]
        if not new or position + 1 == start + count:
            return
        window.reorder(kept)
        window.append(new)
        rows, first = list(range(len(places))), len(places)
        logits = window.logits().cpu()[:, :n_vocab]


def _beam_lane(place: int, lane: Lane, count: int, end: int | None) -> BeamLane:
    return BeamLane(place, BeamSearch(lane.beams, count, lane.length_penalty, end, early_stopping=False))


# Races ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn(Event):
    """One token was chosen in one lane."""

    kind: ClassVar[str] = "drawn"
    lane: int
    id: int
    u: float | None  # the dart; None where nothing is drawn
    logprob: float  # in the distribution it was chosen from, natural logarithm
    raw_logprob: float  # in the model's own distribution
    rank: int  # 0: the model's most probable token
    entropy: float  # of the model's own distribution, nats
    last: bool  # the end-of-text token, which ends the lane


def race(
    model: GPT, n_vocab: int, prompt_ids: Sequence[int], lanes: Sequence[Lane], seed: int, count: int, end: int | None
) -> Iterator[Drawn | BeamsNow]:
    """All lanes continue one prompt, decoded as one batch, with the same dart for all at each position.

    `n_vocab` is the tokenizer's: ids beyond it are never chosen. Raises UserError at the call on bad numbers.
    """
    darts = Darts(seed)
    if not 1 <= count <= MAX_RACE or not 1 <= len(lanes) <= MAX_LANES:
        raise UserError(f"A race has 1 to {MAX_LANES} lanes of 1 to {MAX_RACE:,} tokens. Change the numbers.")
    if sum(lane.beams > 0 for lane in lanes) > 1:
        raise UserError("Only one lane of a race can be a beam search.")
    prompt = list(prompt_ids)
    steps = decode(Window(model, prompt, count), n_vocab, len(prompt), lanes, darts, count, end)
    return (_drawn(step) if isinstance(step, Choice) else step for step in steps)


@torch.no_grad()
def _drawn(choice: Choice) -> Drawn:
    raw, id = choice.logits.double().log_softmax(0), choice.id
    p = raw.exp()
    return Drawn(
        lane=choice.lane,
        id=id,
        u=choice.u,
        logprob=choice.logprob,
        raw_logprob=float(raw[id]),
        rank=int((raw > raw[id]).sum()) + int((raw[:id] == raw[id]).sum()),
        entropy=float(-torch.special.xlogy(p, p).sum()),
        last=choice.last,
    )
