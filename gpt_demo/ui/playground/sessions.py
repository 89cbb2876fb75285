"""Jobs that the browser polls for events, computed ahead on their own threads.

A job continues between two polls, so a slow network does not slow it down. It pauses when it has not been polled for
`patience` seconds, or many events are unread. The processor is shared by all visitors: few jobs compute at once, and
after each event the one that has waited longest is next.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.jobs import Job

AHEAD = 2000  # events that may be unread


class Batch(NamedTuple):
    """What a job has done since it was last asked."""

    events: list[Event]
    done: bool
    seconds: float  # that the job has computed, from its beginning; waiting for its turn or for its reader left out


class Session:
    """A job and its reader."""

    def __init__(self, events: Iterator[Event], share: Share) -> None:
        self.lock = threading.Lock()  # held by who reads
        self.read = 0
        self.asked = time.monotonic()
        self.seconds = 0.0
        self.closed = False
        self.turn = threading.Event()
        self._events = events
        self._share = share
        self.job = Job(self._work, ahead=AHEAD, keep=AHEAD)

    def close(self) -> None:
        """Stop computing; events so far can still be read."""
        self.closed = True
        self.job.stop()
        self._share.hand_out()

    def _work(self) -> Iterator[Event]:
        event = self._next()
        while event is not None:
            yield event
            event = self._next()

    def _next(self) -> Event | None:
        """The next event, computed when it is this job's turn."""
        self._share.take(self)
        began = time.monotonic()
        try:
            return None if self.closed else next(self._events, None)
        finally:
            self.seconds += time.monotonic() - began
            self._share.give_back()


class Share:
    """Who may compute: `at_once` sessions at a time, in the order of their asking, those left out that nobody reads."""

    def __init__(self, at_once: int, patience: float) -> None:
        self.waiting: list[Session] = []
        self._free = at_once
        self._patience = patience
        self._lock = threading.Lock()

    def take(self, session: Session) -> None:
        """Returns when it is the session's turn."""
        session.turn.clear()
        with self._lock:
            self.waiting.append(session)
        self.hand_out()
        session.turn.wait()

    def give_back(self) -> None:
        with self._lock:
            self._free += 1
        self.hand_out()

    def hand_out(self) -> None:
        """Call this when a turn may start: a place is free, or a job is being read again."""
        with self._lock:
            for session in [session for session in self.waiting if self._awaited(session)][: self._free]:
                self.waiting.remove(session)
                self._free -= 1
                session.turn.set()

    def _awaited(self, session: Session) -> bool:
        return session.closed or time.monotonic() - session.asked < self._patience


class Sessions:
    """The jobs by name. Abandoned ones are dropped, oldest first."""

    def __init__(self, most: int = 32, moment: float = 0.1, at_once: int = 2, patience: float = 5.0) -> None:
        self.share = Share(at_once, patience)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._most = most
        self._moment = moment
        self._lock = threading.Lock()

    def start(self, job: Iterator[Event]) -> str:
        """Begin the job; the name under which to ask for more."""
        name, session = secrets.token_urlsafe(12), Session(job, self.share)
        with self._lock:
            self._sessions[name] = session
            abandoned = list(self._sessions)[: -self._most]
        for old in abandoned:
            self.close(old)
        return name

    def more(self, name: str) -> Batch:
        """The events since the last call, those of a moment to come included. UserError on a job that is not there."""
        with self._lock:
            session = self._sessions.get(name)
            if session is None:
                raise UserError(
                    "The server has lost this job: it was restarted, or is busy with other requests. Start it again."
                )
            self._sessions.move_to_end(name)
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
