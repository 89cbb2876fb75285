"""Jobs that outlive the page that asked for them: downloads, and whatever else several visitors may share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Literal

from gpt_demo.errors import UserError
from gpt_demo.events import Downloading, Event

State = Literal["running", "cancelled", "failed", "done"]
RATE_SECONDS = 10.0  # the speed shown is that of the last so many seconds


class Task:
    """A job drained by a thread. What it told last, and how it ended, can be read at any time."""

    def __init__(self, job: Callable[[], Generator[Event, None, None]]) -> None:
        self.event: Event | None = None
        self.state: State = "running"
        self.message = ""  # why it failed: a sentence
        self.cancelling = False
        self._marks: deque[tuple[float, int]] = deque()  # (seconds, bytes received)
        self._thread = threading.Thread(target=self._work, args=(job,), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to end at its next event. Returns at once; `join` waits."""
        self.cancelling = True

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    @property
    def bytes_per_second(self) -> float:
        """Of a download, over the last seconds; 0 where nothing came."""
        marks = list(self._marks)
        if len(marks) < 2 or marks[-1][0] == marks[0][0]:
            return 0.0
        end = max(marks[-1][0], time.monotonic() if self.state == "running" else 0.0)
        return max(0.0, (marks[-1][1] - marks[0][1]) / (end - marks[0][0]))

    def _work(self, job: Callable[[], Generator[Event, None, None]]) -> None:
        try:
            with contextlib.closing(job()) as events:
                for event in events:
                    self._note(event)
                    if self.cancelling:
                        break
                else:
                    self.cancelling = False  # too late: it is done
            self.state = "cancelled" if self.cancelling else "done"
        except UserError as error:
            self.message, self.state = str(error), "cancelled" if self.cancelling else "failed"
        except Exception as error:  # kept for every reader; the page says it in a sentence
            self.message = f"It ended because of an error in the app: {type(error).__name__}: {error}"
            self.state = "failed"

    def _note(self, event: Event) -> None:
        self.event = event
        if isinstance(event, Downloading):
            now = time.monotonic()
            self._marks.append((now, event.all_received))
            while now - self._marks[0][0] > RATE_SECONDS and len(self._marks) > 2:
                self._marks.popleft()


class Tasks:
    """Tasks by what they are about: who asks for one that is going on gets that one."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()

    def start(self, key: str, job: Callable[[], Generator[Event, None, None]]) -> Task:
        """The task of this key that is going on, or a new one. UserError while it is being cancelled."""
        with self._lock:
            task = self._tasks.get(key)
            if task is None or task.state != "running":
                task = self._tasks[key] = Task(job)
            elif task.cancelling:
                raise UserError(f"{key} is just being cancelled. Try again in a moment.")
            return task

    def get(self, key: str) -> Task | None:
        """The last task of this key, however it stands."""
        return self._tasks.get(key)

    def running(self) -> list[str]:
        """The keys of what is going on."""
        return [key for key, task in list(self._tasks.items()) if task.state == "running"]

    def close(self) -> None:
        """Cancel all, and wait a moment for them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            task.join(5)
