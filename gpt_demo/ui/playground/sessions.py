"""Jobs that the browser asks for a moment's events at a time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator

from gpt_demo.errors import UserError
from gpt_demo.events import Event


class Sessions:
    """Jobs that readers pull: each call gives what came within a moment. Abandoned ones are forgotten, oldest first."""

    def __init__(self, most: int = 32, moment: float = 0.1, at_once: int = 2) -> None:
        self._jobs: OrderedDict[str, tuple[Iterator[Event], threading.Lock]] = OrderedDict()
        self._most = most
        self._moment = moment
        self._lock = threading.Lock()
        self._working = threading.Semaphore(at_once)  # the processor is shared by all visitors

    def start(self, job: Iterator[Event]) -> str:
        """Keep the job; the name under which to ask for more."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._jobs[name] = (job, threading.Lock())
            while len(self._jobs) > self._most:
                self._jobs.popitem(last=False)
        return name

    def more(self, name: str) -> tuple[list[Event], bool]:
        """The next events, for about a moment, and whether that was all. UserError on a job that is not there."""
        with self._lock:
            job, lock = self._jobs.get(name, (None, None))
            if job is None or lock is None:
                raise UserError(
                    "The server has let go of this: it was restarted, or too much else was asked for. Start it again."
                )
            self._jobs.move_to_end(name)
        events: list[Event] = []
        try:
            with lock, self._working:
                until = time.monotonic() + self._moment
                for event in job:
                    events.append(event)
                    if time.monotonic() >= until:
                        return events, False
        except BaseException:
            self.close(name)  # what has failed can't go on
            raise
        self.close(name)
        return events, True

    def close(self, name: str) -> None:
        """Forget the job."""
        with self._lock:
            self._jobs.pop(name, None)
