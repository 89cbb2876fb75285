"""Jobs that the browser asks for a moment's events at a time."""

from __future__ import annotations

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
from gpt_demo.ui.playground import sessions as sessions_module
from gpt_demo.ui.playground.sessions import Sessions

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
    monkeypatch.setattr(sessions_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
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
    def job() -> Iterator[Event]:
        return race(peaked(), 257, PROMPT, LANES, 5, 20, None)

    sessions = Sessions(moment=0.0)
    name = sessions.start(job())
    events: list[Event] = []
    done = False
    while not done:
        more, done = sessions.more(name)
        events += more
    assert events == list(job())
