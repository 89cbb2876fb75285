"""Jobs that the browser asks for a moment's events at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from peaked import PROMPT, peaked

from gpt_demo.decoding.race import Drawn, Lane, race
from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.ui import share as share_module
from gpt_demo.ui.playground import sessions as sessions_module
from gpt_demo.ui.playground.sessions import Bounds, Sessions
from gpt_demo.ui.share import Places, Share

LANES = [Lane("greedy", greedy=True), Lane("drawn", chain(temperature=1.3)), Lane("beams", beams=3)]


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
        events, done, _ = sessions.more(name)
        got += [number(event) for event in events]
    return got


def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(4000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never came true")


def test_events_come_in_order_and_all_of_them() -> None:
    sessions = Sessions()
    one, other = sessions.start(job(7)), sessions.start(job(4))
    assert one != other
    assert pull(sessions, other) == list(range(4))
    assert pull(sessions, one) == list(range(7))


def test_a_call_gives_what_has_come_and_does_not_wait_for_the_end() -> None:
    gate, asked = threading.Event(), list[int]()

    def work() -> Iterator[Event]:
        yield from job(3)
        asked.append(1)
        gate.wait(20)
        yield from job(2)

    sessions = Sessions(moment=0.0)
    name = sessions.start(work())
    eventually(lambda: bool(asked))
    events, done, _ = sessions.more(name)
    assert ([number(event) for event in events], done) == ([0, 1, 2], False)
    assert sessions.more(name)[:2] == ([], False)
    gate.set()
    assert pull(sessions, name) == [0, 1]


def test_a_call_ends_with_the_job() -> None:
    sessions = Sessions(moment=1000.0)
    events, done, _ = sessions.more(sessions.start(job(5)))
    assert (len(events), done) == (5, True)


def test_a_job_goes_on_between_two_calls() -> None:
    """So a network that takes seconds for a question costs one of them, not one for every few tokens."""
    sessions, made = Sessions(), list[int]()
    name = sessions.start(job(300, meanwhile=lambda: made.append(1)))
    eventually(lambda: len(made) == 300)
    events, done, _ = sessions.more(name)
    assert (len(events), done) == (300, True)


class Clock:
    """A time that goes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (sessions_module, share_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def go(self, seconds: float) -> None:
        self.now += seconds


def test_a_job_pauses_while_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sessions, made = Clock(monkeypatch), Sessions(Share(patience=3.0), moment=0.0), list[int]()

    def meanwhile() -> None:
        made.append(1)
        clock.go(1.0)

    name = sessions.start(job(8, meanwhile=meanwhile))
    for computed in (3, 6, 8):
        eventually(lambda computed=computed: len(made) == computed and (made[7:] or sessions.share.waiting != []))
        sessions.more(name)
    assert len(made) == 8


def test_seconds_are_those_of_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sessions = Clock(monkeypatch), Sessions(Share(patience=1.0), moment=1000.0)
    name = sessions.start(job(1, meanwhile=lambda: clock.go(2.0)))
    eventually(lambda: sessions.share.waiting != [])  # for a reader
    clock.go(60.0)
    events, done, seconds = sessions.more(name)
    assert (len(events), done, seconds) == (1, True, 2.0)


def test_jobs_take_turns() -> None:
    sessions, order, gate = Sessions(Share(at_once=1)), list[str](), threading.Event()

    def meanwhile(who: str) -> None:
        """Computed while the other one waits, so that it could go on at once if the turns were not held."""
        gate.wait(20)
        order.append(who)
        eventually(lambda: len(sessions.share.waiting) == 1 or len(order) > 6)

    names = [sessions.start(job(4, meanwhile=lambda who=who: meanwhile(who))) for who in "ab"]
    gate.set()
    for name in names:
        pull(sessions, name)
    assert "".join(order[:7]) in ("abababa", "bababab")


def test_a_closed_job_stops_and_makes_room() -> None:
    gate, made = threading.Event(), list[int]()

    def meanwhile() -> None:
        made.append(1)
        gate.wait(20)

    sessions = Sessions(Share(at_once=1))
    first, second = sessions.start(job(9, meanwhile=meanwhile)), sessions.start(job(2))
    eventually(lambda: made == [1])
    sessions.close(first)
    gate.set()
    assert pull(sessions, second) == [0, 1]
    assert made == [1]


def test_a_job_that_is_done_closed_or_unknown_says_so() -> None:
    sessions = Sessions()
    done, closed = sessions.start(job(2)), sessions.start(job(2))
    assert sessions.more(done)[1]
    sessions.close(closed)
    sessions.close("never there")
    for name in (done, closed, "never there"):
        with pytest.raises(UserError, match="has lost this job"):
            sessions.more(name)


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        (Bounds(of_visitor=3), "3 texts of yours are being written"),
        (Bounds(of_address=3), "as many texts as it can"),
        (Bounds(most=3), "as many texts as it can"),
        (Bounds(bytes=35), "memory for writing is used up"),
    ],
)
def test_one_job_too_many_is_refused_and_none_makes_room(bounds: Bounds, sentence: str) -> None:
    """32 starts by one visitor ended what another one was reading."""
    gate = threading.Event()
    sessions = Sessions(bounds=bounds, moment=0.0)

    def start() -> str:
        return sessions.start(job(9, meanwhile=lambda: gate.wait(20)), "visitor", "1.2.3.4", 10)

    names = [start() for _ in range(3)]
    with pytest.raises(UserError, match=sentence):
        start()
    gate.set()
    assert [pull(sessions, name)[-1] for name in names] == [8, 8, 8]
    assert len(sessions) == 0
    pull(sessions, start())  # there is room again


def test_a_job_larger_than_all_memory_for_jobs_is_refused() -> None:
    with pytest.raises(UserError, match=r"This needs 200 MB of memory; the server has 100 MB for writing\. Use fewer"):
        Sessions(bounds=Bounds(bytes=10**8)).start(job(1), bytes=2 * 10**8)


def test_a_job_that_nobody_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    sessions = Sessions(bounds=Bounds(most=2, forgotten=300, hurried=30), moment=0.0)
    begun, closed = list[str](), list[str]()

    def work(name: str) -> Iterator[Event]:
        begun.append(name)
        try:
            yield from job(5000)  # more than is computed ahead
        finally:
            closed.append(name)

    old, asked = sessions.start(work("old")), sessions.start(work("asked"))
    eventually(lambda: sorted(begun) == ["asked", "old"])
    clock.go(20)
    with pytest.raises(UserError, match="as many texts as it can"):
        sessions.start(job(1))
    clock.go(20)
    sessions.more(asked)
    sessions.start(work("new"))  # there is no room but that of the one that nobody has asked for in 40 seconds
    eventually(lambda: closed == ["old"])  # and its memory is given back
    with pytest.raises(UserError, match="has lost this job"):
        sessions.more(old)
    eventually(lambda: sorted(begun) == ["asked", "new", "old"])
    clock.go(301)
    sessions.forget(300)
    assert len(sessions) == 0
    eventually(lambda: sorted(closed) == ["asked", "new", "old"])


def test_turns_go_to_the_address_that_has_waited_longest_then_to_the_visitor() -> None:
    """However many tokens a visitor invents, and however many jobs each of them has."""
    sessions, order, gate = Sessions(Share(at_once=1)), list[str](), threading.Event()

    def meanwhile(who: str) -> None:
        gate.wait(20)
        order.append(who)

    who = ["greedy 1", "greedy 1", "greedy 2", "honest 1"]
    names = [sessions.start(job(6, meanwhile=lambda name=name: meanwhile(name)), name, name.split()[0]) for name in who]
    eventually(lambda: len(sessions.share.waiting) == 3)
    gate.set()
    eventually(lambda: order.count("honest 1") == 6)
    honest = [i for i, name in enumerate(order) if name == "honest 1"]
    assert max(b - a for a, b in itertools.pairwise(honest)) <= 3
    for name in names:
        pull(sessions, name)
    assert len(order) == 24


@pytest.mark.parametrize("closed", [False, True])
def test_the_memory_of_a_large_job_is_given_back(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    """After its keys and values are free; a small job is not worth it."""
    happened, begun = list[str](), threading.Event()
    monkeypatch.setattr(sessions_module, "give_back_memory", lambda: happened.append("given back"))

    def work(n: int) -> Iterator[Event]:
        try:
            begun.set()
            yield from job(n)
        finally:
            happened.append("freed")

    sessions = Sessions(moment=0.0)
    pull(sessions, sessions.start(work(1), bytes=1000))
    assert happened == ["freed"]
    begun.clear()
    name = sessions.start(work(5000 if closed else 1), bytes=10**8)
    assert begun.wait(20)
    if closed:
        sessions.close(name)
    else:
        pull(sessions, name)
    eventually(lambda: happened == ["freed", "freed", "given back"])


def test_places() -> None:
    places = Places(most=3, each=2)
    with places.one("a"), places.one("a"):
        with pytest.raises(UserError, match="2 requests of yours"), places.one("a"):
            pass
        with places.one("b"), pytest.raises(UserError, match="too many requests"), places.one("c"):
            pass
    with places.one("a"), places.one("a"), places.one("c"):
        pass


def test_a_job_that_fails_is_over() -> None:
    def failing() -> Iterator[Event]:
        yield from job(1)
        raise UserError("That was too much.")

    sessions = Sessions()
    name = sessions.start(failing())
    with pytest.raises(UserError, match="too much"):
        pull(sessions, name)
    with pytest.raises(UserError, match="has lost this job"):
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
            while True:
                got.extend(number(event) for event in sessions.more(name)[0])
        except UserError:
            pass

    in_threads([read] * 4)
    assert sorted(got) == list(range(200))


def test_two_jobs_work_at_once_and_never_three() -> None:
    sessions, both, lock = Sessions(Share(at_once=2)), threading.Barrier(2), threading.Lock()
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
    def job() -> Iterator[Event]:
        return race(peaked(), 257, PROMPT, LANES, 5, 20, None)

    sessions = Sessions(moment=0.0)
    name = sessions.start(job())
    events: list[Event] = []
    done = False
    while not done:
        more, done, _ = sessions.more(name)
        events += more
    assert events == list(job())
