"""Jobs that the browser polls for events, computed ahead on their own threads.

A job continues between two polls, so a slow network does not slow it down. It pauses when it has not been polled for
some seconds, or many events are unread. The processor is shared by all visitors, see share.py.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.format import size
from gpt_demo.jobs import Job
from gpt_demo.memory import give_back_memory
from gpt_demo.ui.share import Share, Ticket

AHEAD = 2000  # events that may be unread
LARGE = 2**24  # bytes of a job's memory that are worth giving back to the system


class Batch(NamedTuple):
    """What a job has done since it was last asked."""

    events: list[Event]
    done: bool
    seconds: float  # that the job has computed, from its beginning; waiting for its turn or for its reader left out


@dataclass(frozen=True)
class Bounds:
    """How many jobs there may be, and when one is forgotten."""

    most: int = 128
    of_visitor: int = 8
    of_address: int = 96  # a class may have one address
    bytes: int = 2**31  # of all jobs together
    forgotten: float = 300.0  # seconds after which a job that nobody asks for is dropped: a hidden tab asks each minute
    hurried: float = 30.0  # the same while there is no room


BOUNDS = Bounds()


class Session(Ticket):
    """A job and its reader."""

    def __init__(self, events: Iterator[Event], share: Share, visitor: str, address: str, bytes: int) -> None:
        super().__init__(visitor, address)
        self.bytes = bytes
        self.lock = threading.Lock()  # held by who reads
        self.read = 0
        self.seconds = 0.0
        self._share = share
        self.job = Job(lambda: self._work(events), ahead=AHEAD, keep=AHEAD)

    def close(self) -> None:
        """Stop computing; events so far can still be read."""
        self.closed = True
        self.job.stop()
        self._share.hand_out()

    def _work(self, events: Iterator[Event]) -> Iterator[Event]:
        try:
            with contextlib.closing(events):  # type: ignore[type-var]  # with its keys and values
                while (event := self._next(events)) is not None:
                    yield event
        finally:  # also where it was closed
            if self.bytes >= LARGE:
                give_back_memory()

    def _next(self, events: Iterator[Event]) -> Event | None:
        """The next event, computed when it is this job's turn."""
        with self._share.turn(self):
            began = time.monotonic()
            try:
                return None if self.closed else next(events, None)
            finally:
                self.seconds += time.monotonic() - began


class Sessions:
    """The jobs by name. One too many is refused: none makes room that somebody is reading."""

    def __init__(self, share: Share | None = None, bounds: Bounds = BOUNDS, moment: float = 0.1) -> None:
        self.share = share or Share()
        self.bounds = bounds
        self._sessions: dict[str, Session] = {}
        self._moment = moment
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def start(self, job: Iterator[Event], visitor: str = "", address: str = "", bytes: int = 0) -> str:
        """Begin the job; the name under which to ask for more. `bytes`: of memory that it takes.

        Raises UserError where the visitor has too many, or there are too many in all.
        """
        name = secrets.token_urlsafe(12)
        self.forget(self.bounds.forgotten)
        with self._lock:
            if self._fault(visitor, address, bytes):
                self._forget(self.bounds.hurried)
            fault = self._fault(visitor, address, bytes)
            if fault:
                raise UserError(fault)
            self._sessions[name] = Session(job, self.share, visitor, address, bytes)
        return name

    def _fault(self, visitor: str, address: str, bytes: int) -> str:
        """Why there is no room; else empty."""
        bounds, going_on = self.bounds, list(self._sessions.values())
        if bytes > bounds.bytes:
            return (
                f"This needs {size(bytes)} of memory; the server has {size(bounds.bytes)} for writing. Use fewer "
                "lanes or beams, fewer tokens, or a smaller model."
            )
        if sum(session.visitor == visitor for session in going_on) >= bounds.of_visitor:
            return f"{bounds.of_visitor} texts of yours are being written. Stop one, or wait until it has ended."
        if sum(session.address == address for session in going_on) >= bounds.of_address or len(going_on) >= bounds.most:
            return "The server is writing as many texts as it can. Try again in a moment."
        if sum(session.bytes for session in going_on) + bytes > bounds.bytes:
            return "The server's memory for writing is used up. Try again in a moment, or use fewer lanes."
        return ""

    def forget(self, seconds: float) -> None:
        """Drop the jobs that nobody has asked for in so many seconds."""
        with self._lock:
            self._forget(seconds)

    def _forget(self, seconds: float) -> None:
        before = time.monotonic() - seconds
        for name in [name for name, session in self._sessions.items() if session.asked < before]:
            self._sessions.pop(name).close()

    def more(self, name: str) -> Batch:
        """The events since the last call, those of a moment to come included. UserError on a job that is not there."""
        with self._lock:
            session = self._sessions.get(name)
        if session is None:
            raise UserError("The server has lost this job: it was restarted, or nobody asked for it. Start it again.")
        session.asked = time.monotonic()
        self.share.hand_out()
        with session.lock:
            session.job.join(self._moment)
            over = not session.job.alive
            events, session.read = session.job.read(session.read, 0)
        error = session.job.error
        if error is not None and over and not events:
            self.close(name)
            raise error
        done = over and error is None
        if done:
            self.close(name)
        return Batch(events, done, session.seconds)

    def close(self, name: str) -> None:
        """Forget the job."""
        with self._lock:
            session = self._sessions.pop(name, None)
        if session is not None:
            session.close()
