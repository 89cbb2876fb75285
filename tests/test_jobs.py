"""Tasks: shared, cancelled, failed; never lost."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from gpt_demo.errors import UserError
from gpt_demo.events import Downloading, Event
from gpt_demo.jobs import Tasks


class Gate:
    """A job that tells one event, waits until it is let through, and tells another."""

    def __init__(self, error: Exception | None = None) -> None:
        self.open = threading.Event()
        self.told = threading.Event()
        self.closed = False
        self.starts = 0
        self.error = error

    def job(self) -> Generator[Event, None, None]:
        self.starts += 1
        try:
            yield Downloading("a", 1, 10, 1, 10)
            self.told.set()
            self.open.wait(20)
            if self.error:
                raise self.error
            yield Downloading("a", 10, 10, 10, 10)
        finally:
            self.closed = True


def test_who_asks_for_what_is_going_on_gets_that() -> None:
    tasks, gate = Tasks(), Gate()
    task = tasks.start("x", gate.job)
    assert tasks.start("x", gate.job) is task is tasks.get("x")
    assert tasks.running() == ["x"]
    gate.open.set()
    task.join(20)
    assert (task.state, task.event, gate.starts) == ("done", Downloading("a", 10, 10, 10, 10), 1)
    assert task.bytes_per_second >= 0
    assert tasks.running() == []
    again = tasks.start("x", gate.job)
    assert again is not task
    again.join(20)


def test_cancelling_closes_the_job_and_a_new_one_waits_for_that() -> None:
    tasks, gate = Tasks(), Gate()
    task = tasks.start("x", gate.job)
    assert gate.told.wait(20)
    task.cancel()
    with pytest.raises(UserError, match="x is just being cancelled"):
        tasks.start("x", gate.job)
    gate.open.set()
    task.join(20)
    assert (task.state, gate.closed) == ("cancelled", True)
    tasks.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [(UserError("The disk is full."), "The disk is full."), (ValueError("odd"), "error in the app: ValueError: odd")],
)
def test_failures_are_kept_as_sentences(error: Exception, message: str) -> None:
    gate = Gate(error)
    gate.open.set()
    task = Tasks().start("x", gate.job)
    task.join(20)
    assert task.state == "failed"
    assert message in task.message


def test_closing_cancels_everything() -> None:
    tasks, gate = Tasks(), Gate()
    task = tasks.start("x", gate.job)
    assert gate.told.wait(20)
    threading.Timer(0, gate.open.set).start()
    tasks.close()
    assert task.state in ("cancelled", "done")
