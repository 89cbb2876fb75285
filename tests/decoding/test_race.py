"""The Playground's jobs: lanes of a race against decoding one by one, darts, lanes from JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from peaked import PROMPT, peaked
from torch import Tensor

from gpt_demo.decoding.beams import BeamsNow, beam_search
from gpt_demo.decoding.darts import dart, hit
from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.decoding.race import Drawn, Lane, lane_of, race
from gpt_demo.decoding.transforms import RepetitionPenalty, Temperature, TopK, TopP, chain, trace
from gpt_demo.errors import UserError
from gpt_demo.events import TokenChosen
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.tokenizer import byte_level

GREEDY = Lane("greedy", greedy=True)
DRAWN = Lane("drawn", chain(temperature=1.3))
EVERYTHING = Lane("everything", chain(0.9, 40, 0.95, 0.01, 1.2))
TURNED = Lane("turned", (TopP(0.9), TopK(30), Temperature(1.5), RepetitionPenalty(1.3)))
BEAM = Lane("beams", beams=3, length_penalty=0.7)
LANES = [GREEDY, DRAWN, EVERYTHING, BEAM, TURNED]


def run(
    lanes: Sequence[Lane], count: int = 20, end: int | None = None, seed: int = 5, **more: Any
) -> list[Drawn | BeamsNow]:
    model, prompt = more.get("model") or peaked(), more.get("prompt", PROMPT)
    return list(race(model, more.get("n_vocab", 257), prompt, lanes, seed, count, end))


def of(events: Sequence[Drawn | BeamsNow], lane: int) -> list[Drawn]:
    return [event for event in events if isinstance(event, Drawn) and event.lane == lane]


def ids_of(events: Sequence[Drawn | BeamsNow], lane: int) -> list[int]:
    return [event.id for event in of(events, lane)]


def beams_of(events: Sequence[Drawn | BeamsNow]) -> list[BeamsNow]:
    return [event for event in events if isinstance(event, BeamsNow)]


@torch.no_grad()
def plain_loop(model: GPT, prompt: list[int], lane: Lane, seed: int, count: int) -> list[Drawn]:
    """One lane without batch and cache, written out: the whole context at every step, numbers from trace()."""
    ids, drawn = list(prompt), []
    for _ in range(count):
        context = torch.tensor([ids[-model.config.n_ctx :]])
        stages = trace(model(context)[0][:, -1], context, lane.transforms)
        first, last = stages[0], stages[-1]
        u = dart(seed, len(ids))
        id = int(last.logits.argmax()) if lane.greedy else hit(last.probabilities, u)
        drawn.append(
            Drawn(
                lane=0,
                id=id,
                u=None if lane.greedy else u,
                logprob=math.log(last.probabilities[id]),
                raw_logprob=math.log(first.probabilities[id]),
                rank=first.logits.argsort(descending=True, stable=True).tolist().index(id),
                entropy=first.entropy,
                last=False,
            )
        )
        ids.append(id)
    return drawn


def check_same(ours: Sequence[Drawn], expected: Sequence[Drawn], tolerance: float = 1e-5) -> None:
    assert [(d.id, d.u, d.rank, d.last) for d in ours] == [(d.id, d.u, d.rank, d.last) for d in expected]
    for mine, theirs in zip(ours, expected, strict=True):
        numbers = (mine.logprob, mine.raw_logprob, mine.entropy)
        assert numbers == pytest.approx((theirs.logprob, theirs.raw_logprob, theirs.entropy), abs=tolerance)


class FixedRow(GPT):
    """A model that always gives the same logits."""

    def __init__(self, row: list[float]) -> None:
        super().__init__(GPTConfig(n_vocab=len(row), n_ctx=16, n_embd=4, n_head=1, n_layer=1))
        self.row = torch.tensor([row])

    def head(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), -1)


# Races ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_ctx", [48, 12], ids=["fits", "slides"])
def test_a_lane_of_a_batch_is_the_lane_alone_and_a_plain_loop(n_ctx: int) -> None:
    model = peaked(n_ctx=n_ctx)
    together = run(LANES, model=model)
    for i, lane in enumerate(LANES):
        if not lane.beams:
            check_same(of(together, i), of(run([lane], model=model), 0))
            check_same(of(together, i), plain_loop(model, PROMPT, lane, 5, 20))


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize("n_ctx", [48, 12])
def test_a_lane_is_generate_with_the_same_seed(temperature: float, penalty: float, n_ctx: int) -> None:
    steps = {"repetition_penalty": penalty, "temperature": temperature}
    lane = lane_of({"steps": [{"name": name, "value": value} for name, value in steps.items()]})
    model, sampling = peaked(n_ctx=n_ctx), Sampling(**steps, seed=5)  # type: ignore[arg-type]
    events = generate(model, byte_level(), PROMPT, sampling, 25, stop_at_end_of_text=False)
    expected = [event for event in events if isinstance(event, TokenChosen)]
    drawn = of(run([DRAWN, lane], 25, model=model), 1)
    assert [d.id for d in drawn] == [event.id for event in expected]
    assert [d.logprob for d in drawn] == pytest.approx([event.logprob for event in expected], abs=1e-5)
    assert {d.u is None for d in drawn} == {temperature == 0}


@pytest.mark.parametrize("n_ctx", [48, 12])
@pytest.mark.parametrize("end", [None, "seventh"])
def test_the_beam_lane_is_beam_search(n_ctx: int, end: str | None) -> None:
    model = peaked(n_ctx=n_ctx)
    stop = ids_of(run([GREEDY], model=model), 0)[6] if end else None
    *_, last = beam_search(model, PROMPT, 3, 20, 0.7, stop)
    events = run(LANES, end=stop, model=model)
    steps = beams_of(events)
    assert steps[-1].ids == last.best[0].ids
    assert steps[-1].logprob == pytest.approx(last.best[0].logprob, abs=1e-4)
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    alone = beams_of(run([BEAM], end=stop, model=model))
    assert [step.ids for step in steps] == [step.ids for step in alone]


def test_the_beam_lane_tells_each_tokens_logprob() -> None:
    steps = beams_of(run([GREEDY, BEAM]))
    for step in steps:
        assert len(step.logprobs) == len(step.ids)
        assert sum(step.logprobs) == pytest.approx(step.logprob, abs=1e-9)
    ids = [*PROMPT, *steps[-1].ids]
    with torch.no_grad():
        rows = peaked()(torch.tensor([ids[:-1]]))[0][0].double().log_softmax(1)
    expected = [float(rows[len(PROMPT) - 1 + i, id]) for i, id in enumerate(steps[-1].ids)]
    assert list(steps[-1].logprobs) == pytest.approx(expected, abs=1e-4)


def test_one_beam_is_greedy() -> None:
    events = run([GREEDY, Lane("one", beams=1)])
    assert list(beams_of(events)[-1].ids) == ids_of(events, 0)


def test_lanes_that_end_early_leave_the_others_alone() -> None:
    free = run(LANES)
    ends = ids_of(free, 0)[4]
    events = run(LANES, end=ends)
    assert ids_of(events, 0) == ids_of(free, 0)[:5]
    assert [d.last for d in of(events, 0)] == [False] * 4 + [True]
    for i in (1, 2, 4):
        ids = ids_of(free, i)
        kept = ids[: ids.index(ends) + 1] if ends in ids else ids
        check_same([d for d in of(events, i) if not d.last], [d for d in of(free, i)[: len(kept)] if d.id != ends])
        assert ids_of(events, i) == kept


def test_a_race_of_which_all_lanes_ended_is_over() -> None:
    ends = ids_of(run([GREEDY]), 0)[0]
    events = run([GREEDY, GREEDY], end=ends)
    assert [event.last for event in events if isinstance(event, Drawn)] == [True, True]


def test_a_prompt_longer_than_the_context_is_cut_and_its_darts_are_not_moved() -> None:
    model, prompt = peaked(n_ctx=12), [(i * 37) % 256 for i in range(40)]
    check_same(of(run([EVERYTHING], model=model, prompt=prompt), 0), plain_loop(model, prompt, EVERYTHING, 5, 20))


def test_ids_that_the_tokenizer_does_not_know_are_never_chosen() -> None:
    events = run([Lane("flat", chain(temperature=50)), BEAM], n_vocab=90)
    assert max(ids_of(events, 0)) < 90
    assert max(beams_of(events)[-1].ids) < 90


def test_the_same_seed_throws_the_same_darts_at_all_lanes() -> None:
    events = run([DRAWN, EVERYTHING, TURNED])
    darts = [[d.u for d in of(events, i)] for i in range(3)]
    assert darts[0] == darts[1] == darts[2] == [dart(5, len(PROMPT) + i) for i in range(20)]
    assert ids_of(run([DRAWN]), 0) == ids_of(events, 0) != ids_of(run([DRAWN], seed=6), 0)


def test_events_are_strict_json() -> None:
    sure = Lane("sure", chain(temperature=1e-9))
    for event in run([sure, DRAWN, BEAM], 4):
        assert json.loads(event.to_json())["event"] in ("drawn", "beam_lane")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": 0}, "1 to 5,000 tokens"),
        ({"count": 5001}, "1 to 5,000 tokens"),
        ({"lanes": []}, "1 to 12 lanes"),
        ({"lanes": [GREEDY] * 13}, "1 to 12 lanes"),
        ({"lanes": [BEAM, BEAM]}, "Only one lane"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is"),
    ],
)
def test_bad_races_are_refused_at_the_call(change: Mapping[str, Any], sentence: str) -> None:
    given = {"lanes": [GREEDY], "seed": 1, "count": 5, **change}
    with pytest.raises(UserError, match=sentence):
        race(peaked(), 257, PROMPT, given["lanes"], given["seed"], given["count"], None)


def test_of_equal_tokens_the_lower_id_ranks_first() -> None:
    """Probabilities 0.37, 0.37, 0.13, 0.13 ... of ids 1, 3, 0, 2, 4: every dart's token and rank by hand."""
    flat = FixedRow([1.0, 2.0, 1.0, 2.0, 1.0])
    drawn = [of(run([Lane("flat")], 1, 4, seed, model=flat, prompt=[0], n_vocab=5), 0)[0] for seed in range(40)]
    for d in drawn:
        assert d.u is not None
        p = math.exp(1) / (2 * math.exp(1) + 3)
        place = int(d.u // p) if d.u < 2 * p else 2 + int((d.u - 2 * p) // (p / math.e))
        assert (d.id, d.rank, d.last) == ([1, 3, 0, 2, 4][place], place, place == 4)
    assert len({d.rank for d in drawn}) == 5
    assert of(run([GREEDY], 1, model=flat, prompt=[0], n_vocab=5), 0)[0].id == 1


# Lanes from JSON ------------------------------------------------------------------------------------------------------


def test_steps_keep_their_order_and_those_that_are_off_are_left_out() -> None:
    steps = [("top_p", 0.9), ("temperature", 0.7), ("min_p", 0), ("top_k", 0), ("repetition_penalty", 1.2)]
    lane = lane_of({"name": "mine", "steps": [{"name": name, "value": value} for name, value in steps]})
    assert lane == Lane("mine", (TopP(0.9), Temperature(0.7), RepetitionPenalty(1.2)))
    assert lane_of({}) == Lane("")


@pytest.mark.parametrize("greedy", [{"greedy": True}, {"steps": [{"name": "temperature", "value": 0}]}])
def test_with_greedy_decoding_only_the_repetition_penalty_applies(greedy: dict[str, Any]) -> None:
    others = [{"name": "top_k", "value": 3}, {"name": "repetition_penalty", "value": 2}]
    lane = lane_of({**greedy, "steps": greedy.get("steps", []) + others})
    assert lane.greedy
    assert lane.transforms == (RepetitionPenalty(2),)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"steps": [{"name": "top_q", "value": 1}]}, "no step named 'top_q'"),
        ({"steps": [{"name": "x" * 1000, "value": 1}]}, "no step named"),
        ({"steps": [{"name": "top_k", "value": -1}]}, "top_k is -1"),
        ({"greedy": True, "steps": [{"name": "top_k", "value": -1}]}, "top_k is -1"),
        ({"steps": [{"name": "top_p", "value": 1.5}]}, "top_p is 1.5"),
        ({"steps": [{"name": "temperature", "value": None}]}, "temperature is None"),
        ({"steps": [{"name": "temperature", "value": "0.8"}]}, "temperature is '0.8'"),
        ({"steps": [{"name": "min_p", "value": True}]}, "min_p is True"),
        ({"steps": [{"name": "min_p"}]}, "A lane is"),
        ({"steps": 5}, "A lane is"),
        ({"steps": ["top_k"]}, "A lane is"),
        ("greedy", "A lane is"),
        ({"beams": 11}, "beams is 11"),
        ({"beams": 2.0}, "beams is 2.0"),
        ({"beams": True}, "beams is True"),
        ({"beams": 2, "length_penalty": 11}, "length_penalty is 11"),
        ({"beams": 2, "length_penalty": None}, "length_penalty is None"),
    ],
)
def test_what_is_no_lane_is_refused_with_a_sentence(record: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        lane_of(record)
