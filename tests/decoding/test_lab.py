"""The Playground's jobs: lanes of a race against decoding one by one, darts, lanes from JSON, sessions."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_demo.decoding import lab
from gpt_demo.decoding.generate import Sampling, beam_search, generate
from gpt_demo.decoding.lab import MAX_DARTS, BeamsNow, Drawn, Lane, Sessions, choose, dart, draw_toy, hit, lane_of, race
from gpt_demo.decoding.transforms import LARGEST_SEED, RepetitionPenalty, Temperature, TopK, TopP, chain, trace
from gpt_demo.errors import UserError
from gpt_demo.events import Event, TokenChosen
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.tokenizer import byte_level

PROMPT = [7, 20, 3, 11]
GREEDY = Lane("greedy", greedy=True)
DRAWN = Lane("drawn", chain(temperature=1.3))
EVERYTHING = Lane("everything", chain(0.9, 40, 0.95, 0.01, 1.2))
TURNED = Lane("turned", (TopP(0.9), TopK(30), Temperature(1.5), RepetitionPenalty(1.3)))
BEAM = Lane("beams", beams=3, length_penalty=0.7)
LANES = [GREEDY, DRAWN, EVERYTHING, BEAM, TURNED]


@cache
def peaked(n_ctx: int = 48, seed: int = 1) -> GPT:
    """A random model that is sure of some tokens: PyTorch's embeddings have a standard deviation of 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = GPTConfig(n_vocab=257, n_ctx=n_ctx, n_embd=32, n_head=4, n_layer=2, tied_head=False)
        model = GPT(shape, "pytorch")
        assert model.lm_head is not None
        torch.nn.init.normal_(model.lm_head.weight, std=0.25)
    return model.eval()


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
    """One lane without batch and cache, written anew: the whole context at every step, numbers from trace()."""
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


# Races ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_ctx", [48, 12], ids=["fits", "slides"])
def test_a_lane_of_a_batch_is_the_lane_alone_and_a_plain_loop(n_ctx: int) -> None:
    model = peaked(n_ctx)
    together = run(LANES, model=model)
    for i, lane in enumerate(LANES):
        if not lane.beams:
            check_same(of(together, i), of(run([lane], model=model), 0))
            check_same(of(together, i), plain_loop(model, PROMPT, lane, 5, 20))


@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize("n_ctx", [48, 12])
def test_the_greedy_lane_is_generate(penalty: float, n_ctx: int) -> None:
    model, lane = peaked(n_ctx), lane_of({"greedy": True, "steps": [{"name": "repetition_penalty", "value": penalty}]})
    sampling = Sampling(temperature=0, repetition_penalty=penalty)
    events = generate(model, byte_level(), PROMPT, sampling, 25, stop_at_end_of_text=False)
    expected = [event for event in events if isinstance(event, TokenChosen)]
    drawn = of(run([DRAWN, lane], 25, model=model), 1)
    assert [d.id for d in drawn] == [event.id for event in expected]
    assert [d.logprob for d in drawn] == pytest.approx([event.logprob for event in expected], abs=1e-5)
    assert {d.u for d in drawn} == {None}


@pytest.mark.parametrize("n_ctx", [48, 12])
@pytest.mark.parametrize("end", [None, "seventh"])
def test_the_beam_lane_is_beam_search(n_ctx: int, end: str | None) -> None:
    model = peaked(n_ctx)
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
    model, prompt = peaked(12), [(i * 37) % 256 for i in range(40)]
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


# Darts ----------------------------------------------------------------------------------------------------------------


def test_darts_are_one_row_of_uniform_numbers_per_seed() -> None:
    row = torch.rand(300, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert [dart(9, i) for i in range(300)] == row.tolist()
    assert dart(9, 5) != dart(10, 5)
    assert 0 <= dart(LARGEST_SEED, MAX_DARTS - 1) < 1


@pytest.mark.parametrize("position", [-1, MAX_DARTS])
def test_positions_out_of_range(position: int) -> None:
    with pytest.raises(UserError, match="out of range"):
        dart(1, position)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    run([DRAWN], 3)
    draw_toy(torch.zeros(3), 1.0, 0, 1, 10)
    assert torch.equal(torch.get_rng_state(), state)


@st.composite
def bars(draw: st.DrawFn) -> Tensor:
    """Probabilities with ties and zeros, and at least one that is none."""
    weights = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 30, 1000]), min_size=1, max_size=30).filter(any))
    return torch.tensor(weights, dtype=torch.float64) / sum(weights)


@settings(max_examples=80, deadline=None)
@given(bars(), st.floats(0, 1, exclude_max=True))
def test_a_dart_hits_the_part_it_falls_into(p: Tensor, u: float) -> None:
    id = hit(p, u)
    order = sorted((i for i in range(len(p)) if p[i] > 0), key=lambda i: (-float(p[i]), i))
    before = sum(float(p[i]) for i in order[: order.index(id)])
    assert before - 1e-12 <= u < before + float(p[id]) + 1e-12


@settings(max_examples=25, deadline=None)
@given(bars())
def test_darts_at_the_ends_and_at_even_distances(p: Tensor) -> None:
    order = sorted((i for i in range(len(p)) if p[i] > 0), key=lambda i: (-float(p[i]), i))
    assert hit(p, 0.0) == order[0]
    assert hit(p, math.nextafter(1.0, 0.0)) == order[-1]
    n = 200
    counts = Counter(hit(p, (i + 0.5) / n) for i in range(n))
    assert all(abs(counts[i] - n * float(p[i])) <= 1 for i in range(len(p)))


def test_boundaries_belong_to_the_token_that_begins_there() -> None:
    p = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    assert [hit(p, u) for u in (0.0, 0.499, 0.5, 0.749, 0.75, 0.999)] == [1, 1, 0, 0, 2, 2]


def test_tokens_without_probability_are_never_hit() -> None:
    p = torch.tensor([0.0, 1e-300, 0.0, 1.0, 0.0], dtype=torch.float64)
    assert {hit(p, u) for u in (0.0, 0.5, 1 - 2**-53)} == {3}
    assert hit(torch.tensor([0.0, 1e-40]), 1 - 2**-53) == 1


def test_of_equal_tokens_the_lower_id_ranks_first() -> None:
    logits, ids = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), torch.tensor([[0]])
    drawn = [choose(0, Lane("flat"), logits, ids, u, 4) for u in (0.0, 0.4, 0.7, 0.85, 0.99)]
    assert [(d.id, d.rank, d.last) for d in drawn] == [
        (1, 0, False),
        (3, 1, False),
        (0, 2, False),
        (2, 3, False),
        (4, 4, True),
    ]
    assert choose(0, GREEDY, logits, ids, 0.99, None).id == 1


# The toy vocabulary ---------------------------------------------------------------------------------------------------


def test_the_books_counts_come_out_exactly(golden: Mapping[str, Any]) -> None:
    toy = golden["toy_vocabulary"]
    for temperature, counts in toy["counts_of_1000_draws_seed_123"].items():
        assert draw_toy(torch.tensor(toy["logits"]), float(temperature), 0, 123, 1000) == counts
    three = draw_toy(torch.tensor(toy["logits"]), 1.0, 3, 123, 1000)
    assert [count > 0 for count in three] == [p > 0 for p in toy["top_k_3_probabilities"]]


@pytest.mark.parametrize(
    ("words", "temperature", "draws"), [(9, 1.0, 0), (9, 1.0, 10_001), (0, 1.0, 5), (1001, 1.0, 5), (9, 0.0, 5)]
)
def test_bad_toys_are_refused(words: int, temperature: float, draws: int) -> None:
    with pytest.raises(UserError):
        draw_toy(torch.zeros(words), temperature, 0, 1, draws)


# Lanes from JSON ------------------------------------------------------------------------------------------------------


def test_steps_keep_their_order_and_those_that_are_off_are_left_out() -> None:
    steps = [("top_p", 0.9), ("temperature", 0.7), ("min_p", 0), ("top_k", 0), ("repetition_penalty", 1.2)]
    lane = lane_of({"name": "mine", "steps": [{"name": name, "value": value} for name, value in steps]})
    assert lane == Lane("mine", (TopP(0.9), Temperature(0.7), RepetitionPenalty(1.2)))
    assert lane_of({}) == Lane("")


@pytest.mark.parametrize("greedy", [{"greedy": True}, {"steps": [{"name": "temperature", "value": 0}]}])
def test_greedy_heeds_the_penalty_and_nothing_else(greedy: dict[str, Any]) -> None:
    others = [{"name": "top_k", "value": 3}, {"name": "repetition_penalty", "value": 2}]
    lane = lane_of({**greedy, "steps": greedy.get("steps", []) + others})
    assert lane.greedy
    assert lane.transforms == (RepetitionPenalty(2),)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"steps": [{"name": "top_q", "value": 1}]}, "no step called 'top_q'"),
        ({"steps": [{"name": "x" * 1000, "value": 1}]}, "no step called"),
        ({"steps": [{"name": "top_k", "value": -1}]}, "top_k is -1"),
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


# Sessions -------------------------------------------------------------------------------------------------------------


def job(n: int, *, meanwhile: Callable[[], object] = lambda: None) -> Iterator[Event]:
    """n events of a kind; `meanwhile` is what happens while one is made."""
    for i in range(n):
        meanwhile()
        yield Drawn(0, i, None, 0.0, 0.0, 0, 0.0, False)


def number(event: Event) -> int:
    assert isinstance(event, Drawn)
    return event.id


def pull(sessions: Sessions, name: str) -> list[int]:
    got: list[int] = []
    done = False
    while not done:
        events, done = sessions.more(name)
        got += [number(event) for event in events]
    return got


def test_events_come_in_order_and_all_of_them() -> None:
    sessions = Sessions(moment=0.0)
    one, other = sessions.start(job(7)), sessions.start(job(4))
    assert one != other
    events, done = sessions.more(one)
    assert ([number(event) for event in events], done) == ([0], False)
    assert pull(sessions, other) == list(range(4))
    assert pull(sessions, one) == list(range(1, 7))


def test_a_call_takes_about_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(lab, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    sessions = Sessions(moment=0.1)
    name = sessions.start(job(8, meanwhile=lambda: clock.append(clock.pop() + 0.04)))
    calls = [sessions.more(name) for _ in range(3)]
    assert [(len(events), done) for events, done in calls] == [(3, False), (3, False), (2, True)]


def test_a_job_that_is_done_closed_or_unknown_says_so() -> None:
    sessions = Sessions()
    done, closed = sessions.start(job(2)), sessions.start(job(2))
    assert sessions.more(done)[1]
    sessions.close(closed)
    sessions.close("never there")
    for name in (done, closed, "never there"):
        with pytest.raises(UserError, match="has let go of this"):
            sessions.more(name)


def test_the_job_longest_not_asked_for_makes_room() -> None:
    sessions = Sessions(most=3, moment=0.0)
    names = [sessions.start(job(9)) for _ in range(3)]
    sessions.more(names[0])
    names.append(sessions.start(job(9)))
    with pytest.raises(UserError, match="has let go of this"):
        sessions.more(names[1])
    assert [pull(sessions, names[i])[-1] for i in (0, 2, 3)] == [8, 8, 8]


def test_a_job_that_fails_is_over() -> None:
    def failing() -> Iterator[Event]:
        yield from job(1)
        raise UserError("That was too much.")

    sessions = Sessions()
    name = sessions.start(failing())
    with pytest.raises(UserError, match="too much"):
        sessions.more(name)
    with pytest.raises(UserError, match="has let go of this"):
        sessions.more(name)


def in_threads(tasks: Sequence[Any]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_two_readers_of_one_job_share_its_events() -> None:
    sessions, got = Sessions(moment=0.0), list[int]()
    name = sessions.start(job(200))

    def read() -> None:
        try:
            for _ in range(100):
                got.extend(number(event) for event in sessions.more(name)[0])
        except UserError:
            pass

    in_threads([read] * 4)
    assert sorted(got) == list(range(200))


def test_two_jobs_work_at_once_and_never_three() -> None:
    sessions, both, lock = Sessions(at_once=2), threading.Barrier(2), threading.Lock()
    working, most, got = [0], [0], list[list[int]]()

    def meet() -> None:
        with lock:
            working[0] += 1
            most[0] = max(most[0], working[0])
        both.wait(20)  # until a second job is at work
        both.wait(20)  # and both have been counted
        with lock:
            working[0] -= 1

    names = [sessions.start(job(1, meanwhile=meet)) for _ in range(6)]
    in_threads([lambda name=name: got.append(pull(sessions, name)) for name in names])
    assert got == [[0]] * 6
    assert most == [2]


def test_a_race_pulled_in_moments_is_the_race() -> None:
    sessions = Sessions(moment=0.0)
    name = sessions.start(race(peaked(), 257, PROMPT, LANES, 5, 20, None))
    events: list[Event] = []
    done = False
    while not done:
        more, done = sessions.more(name)
        events += more
    assert events == run(LANES)
