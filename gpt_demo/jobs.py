"""Jobs: a thread drains a generator into a list, and any number of readers follow it.

A job outlives the page that asked for it. It is not interrupted in the middle of something: `stop` sets a flag, and
the generator is closed where it has just yielded. (Closing it from another thread would raise ValueError.)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, TypeVar

from gpt_demo.errors import UserError

State = Literal["waiting", "running", "done", "stopped", "failed"]
E = TypeVar("E")


class Turns:
    """A first-come, first-served queue: of the jobs that share it, one works at a time."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # notified of every change: of the queue, and of its jobs
        self.jobs: list[Job[Any]] = []


class Job(Generic[E]):
    """Drains the generator `work()` on its own thread, starting at once.

    turns: the job waits until it is first in this queue.
    ahead: the job pauses while this many events are unread; None: it never waits for a reader.
    keep: number of latest events to keep; None: all. At least `ahead`, or unread ones would be lost.
    """

    def __init__(
        self,
        work: Callable[[], Iterator[E]],
        *,
        turns: Turns | None = None,
        ahead: int | None = None,
        keep: int | None = None,
    ) -> None:
        self.events: list[E] = []
        self.state: State = "waiting"
        self.error: Exception | None = None  # why it failed
        self.stopping = False
        self._work = work
        self._turns = turns or Turns()
        self._changed = self._turns.changed
        self._ahead = ahead
        self._keep = keep
        self._dropped = 0  # events that are no longer kept
        self._read = 0  # events that a reader has
        with self._changed:
            self._turns.jobs.append(self)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def count(self) -> int:
        """The number of events so far, including those no longer kept."""
        return self._dropped + len(self.events)

    @property
    def message(self) -> str:
        """Why it failed, as a sentence; else empty."""
        if self.error is None or isinstance(self.error, UserError):
            return " ".join(str(self.error or "").split())
        return " ".join(f"It failed because of an error in the app: {type(self.error).__name__}: {self.error}".split())

    def stop(self) -> None:
        """Ask the job to end after its next event. Returns at once; `join` waits."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def read(self, start: int, seconds: float | None = None, *, past_stop: bool = True) -> tuple[list[E], int]:
        """The events from number `start` on, and the number to continue with.

        Waits until there are some, or the job has ended, or `seconds` have passed, or, unless `past_stop`, the job
        has been asked to stop: then there may be none.
        """
        with self._changed:
            self._read = max(self._read, start)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self.count > start or not self.alive or (self.stopping and not past_stop), seconds
            )
            return self.events[max(0, start - self._dropped) :], self.count

    def follow(self, start: int = 0, *, past_stop: bool = True) -> Iterator[list[E]]:
        """Batches of events from number `start` on, as they arrive, until the end; then its exception is raised."""
        batch, start = self.read(start, past_stop=past_stop)
        while batch:
            yield batch
            batch, start = self.read(start, past_stop=past_stop)
        if self.error is not None:
            raise self.error

    # On the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        state: State = "failed"
        try:
            self._wait(lambda: self._turns.jobs[0] is self)
            state = "stopped" if self.stopping else self._drain()
        except Exception as error:  # kept for every reader
            self.error = error
        finally:
            try:
                self.ending(state)
            finally:
                with self._changed:
                    self.state = state
                    self._turns.jobs.remove(self)
                    self._changed.notify_all()

    def _drain(self) -> State:
        self.state = "running"
        with contextlib.closing(self._work()) as events:  # type: ignore[type-var]
            for event in events:
                self._add(event)
                if self.stopping and self.may_end_after(event):
                    return "stopped"
        return "done"

    def _add(self, event: E) -> None:
        with self._changed:
            self.events.append(event)
            if self._keep is not None and len(self.events) > self._keep:
                self._dropped += 1
                del self.events[0]
            self._changed.notify_all()
        if self._ahead is not None:
            ahead = self._ahead
            self._wait(lambda: self.count - self._read < ahead)

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: ready() or self.stopping)

    def may_end_after(self, event: E) -> bool:
        """Whether a stop may take effect here; for subclasses whose state is not always consistent."""
        return True

    def ending(self, state: State) -> None:
        """For subclasses: runs once, before readers see the end; `error` is set if the job failed."""


class Jobs(Generic[E]):
    """Jobs by key: a second request for a running job gets the same job."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job[E]] = {}
        self._lock = threading.Lock()

    def start(self, key: str, work: Callable[[], Iterator[E]]) -> Job[E]:
        """The running job with this key, or a new one. Raises UserError while it is being stopped."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or not job.alive:
                job = self._jobs[key] = Job(work, keep=1)
            elif job.stopping:
                raise UserError(f"{key} is being stopped. Try again in a moment.")
            return job

    def get(self, key: str) -> Job[E] | None:
        """The last job with this key, whatever its state."""
        return self._jobs.get(key)

    def running(self) -> list[str]:
        """The keys of running jobs."""
        return [key for key, job in list(self._jobs.items()) if job.alive]

    def close(self) -> None:
        """Stop all jobs and wait briefly for them."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        for job in jobs:
            job.join(5)
