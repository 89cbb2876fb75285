"""Jobs: followed, stopped, failed, ahead of slow readers, shared, in turns; never lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt_demo.errors import UserError
from gpt_demo.jobs import Job, Jobs, State, Turns

PATIENCE = 30.0  # seconds, for a machine that is busy with other things


class Gate:
    """A job that yields 1, waits until it is let through, and yields 2."""

    def __init__(self, error: Exception | None = None) -> None:
        self.open = threading.Event()
        self.waits = threading.Event()
        self.closed = False
        self.starts = 0
        self.error = error

    def job(self) -> Iterator[int]:
        self.starts += 1
        try:
            yield 1
            self.waits.set()
            assert self.open.wait(PATIENCE)
            if self.error:
                raise self.error
            yield 2
        finally:
            self.closed = True


def counting(most: int, made: list[int]) -> Callable[[], Iterator[int]]:
    """Numbers from 0 on; `made` gets each when it is computed."""

    def job() -> Iterator[int]:
        for number in range(most):
            made.append(number)
            yield number

    return job


def ended(job: Job[int]) -> State:
    job.join(PATIENCE)
    assert not job.alive
    return job.state


# Readers --------------------------------------------------------------------------------------------------------------


def test_readers_get_everything_in_order_whenever_they_come() -> None:
    gate = Gate()
    job = Job(gate.job)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(lambda n=n: [e for batch in job.follow(n) for e in batch]) for n in (0, 1, 9)]
        gate.open.set()
        assert [future.result(PATIENCE) for future in futures] == [[1, 2], [2], []]
    assert [event for batch in job.follow() for event in batch] == job.events == [1, 2]
    assert (ended(job), gate.closed) == ("done", True)


def test_a_reader_does_not_wait_for_ever() -> None:
    gate = Gate()
    job = Job(gate.job)
    assert job.read(0) == ([1], 1)
    assert job.read(1, 0.0) == ([], 1)
    gate.open.set()
    assert job.read(1) == ([2], 2)
    assert job.read(2) == ([], 2)
    assert ended(job) == "done"


def test_a_job_computes_ahead_of_its_reader_but_not_without_bound() -> None:
    made: list[int] = []
    job = Job(counting(100, made), ahead=5, keep=5)
    read: list[int] = []
    while True:
        batch, start = job.read(len(read), PATIENCE)
        if not batch:
            break
        read += batch[:1]  # a slow reader
        assert start <= len(read) - 1 + 5
        assert len(made) <= len(read) + 5
        assert len(job.events) <= 5
    assert read == list(range(100))
    assert (ended(job), job.count) == ("done", 100)


def test_a_job_that_is_ahead_can_be_stopped() -> None:
    made: list[int] = []
    job = Job(counting(100, made), ahead=5)
    while job.count < 5:
        job.read(0)
    job.stop()
    assert ended(job) == "stopped"
    assert job.events == made == [0, 1, 2, 3, 4]


def test_without_readers_only_the_last_events_are_kept() -> None:
    job = Job(counting(1000, []), keep=3)
    assert ended(job) == "done"
    assert (job.events, job.count) == ([997, 998, 999], 1000)
    assert job.read(0) == ([997, 998, 999], 1000)
    assert job.read(999) == ([999], 1000)


# Endings --------------------------------------------------------------------------------------------------------------


def test_stop_ends_after_the_next_event_and_closes_the_generator() -> None:
    gate = Gate()
    job = Job(gate.job)
    assert gate.waits.wait(PATIENCE)
    job.stop()
    assert (job.state, gate.closed) == ("running", False)
    assert list(job.follow(1, past_stop=False)) == []  # this reader does not wait for that event
    gate.open.set()
    assert (ended(job), gate.closed) == ("stopped", True)
    assert [event for batch in job.follow() for event in batch] == [1, 2]


@pytest.mark.parametrize(
    ("error", "message"),
    [(UserError("The disk\n is full."), "The disk is full."), (ValueError("odd"), "error in the app: ValueError: odd")],
)
def test_every_reader_gets_the_failure(error: Exception, message: str) -> None:
    gate = Gate(error)
    gate.open.set()
    job = Job(gate.job)
    for _ in range(2):
        events: list[int] = []
        with pytest.raises(type(error)) as raised:
            events += [event for batch in job.follow() for event in batch]
        assert raised.value is job.error is error
        assert message in job.message
    assert (ended(job), job.events, gate.closed) == ("failed", [1], True)


class Even(Job[int]):
    """Ends after even numbers only."""

    def may_end_after(self, event: int) -> bool:
        return event % 2 == 0

    def ending(self, state: State) -> None:
        assert self.alive
        self.last_words = state


def test_a_subclass_says_where_a_job_may_end_and_what_is_done_last() -> None:
    made: list[int] = []
    job = Even(counting(100, made), ahead=2)
    job.read(1)
    job.stop()
    assert ended(job) == job.last_words == "stopped"
    assert made[-1] == 2 == job.events[-1]


# Turns ----------------------------------------------------------------------------------------------------------------


def test_jobs_take_turns_in_the_order_they_came() -> None:
    turns, gates = Turns(), [Gate() for _ in range(3)]
    jobs = [Job(gate.job, turns=turns) for gate in gates]
    for i, gate in enumerate(gates):
        assert gate.waits.wait(PATIENCE)
        assert [job.state for job in jobs[i:]] == ["running", *["waiting"] * (2 - i)]
        gate.open.set()
        assert ended(jobs[i]) == "done"
    assert turns.jobs == []


def test_a_job_that_waits_for_its_turn_can_be_stopped() -> None:
    turns, first, second, third = Turns(), Gate(), Gate(), Gate()
    running, waiting, last = (Job(gate.job, turns=turns) for gate in (first, second, third))
    waiting.stop()
    assert ended(waiting) == "stopped"
    assert (second.starts, list(waiting.follow())) == (0, [])
    assert (running.state, last.state) == ("running", "waiting")
    first.open.set()
    third.open.set()
    assert ended(last) == "done"


# Shared ---------------------------------------------------------------------------------------------------------------


def test_whoever_asks_for_what_is_going_on_gets_that() -> None:
    jobs, gate = Jobs[int](), Gate()
    job = jobs.start("x", gate.job)
    assert jobs.start("x", gate.job) is job is jobs.get("x")
    assert jobs.running() == ["x"]
    gate.open.set()
    assert (ended(job), job.events, gate.starts) == ("done", [2], 1)
    assert jobs.running() == []
    again = jobs.start("x", gate.job)
    assert again is not job
    assert ended(again) == "done"


def test_a_new_one_waits_for_the_end_of_the_stopped() -> None:
    jobs, gate = Jobs[int](), Gate()
    job = jobs.start("x", gate.job)
    assert gate.waits.wait(PATIENCE)
    job.stop()
    with pytest.raises(UserError, match="x is being stopped"):
        jobs.start("x", gate.job)
    gate.open.set()
    assert (ended(job), gate.closed) == ("stopped", True)
    assert ended(jobs.start("x", gate.job)) == "done"


def test_closing_stops_everything() -> None:
    jobs, gates = Jobs[int](), [Gate(), Gate()]
    for key, gate in zip("ab", gates, strict=True):
        jobs.start(key, gate.job)
        assert gate.waits.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(jobs.close)
        for key, gate in zip("ab", gates, strict=True):
            job = jobs.get(key)
            assert job is not None
            job.read(2, PATIENCE, past_stop=False)  # until it has been asked to stop
            assert job.stopping
            gate.open.set()
        closing.result(PATIENCE)
    assert jobs.running() == []
    assert all(gate.closed for gate in gates)
