"""What commands print: events as JSON, the progress of downloads, and nothing once nobody reads."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable

from gpt_demo.events import Converting, Downloading, Event, Kept, Saved
from gpt_demo.format import duration


def print_json(event: Event) -> None:
    print(event.to_json(), flush=True)


def leave_output() -> None:
    """Discard all further output."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Reader:
    """The reader of the output, who may stop reading, as in `train ... | head`."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.gone = False
        self._show = show

    def show(self, event: Event) -> None:
        try:
            self._show(event)
        except BrokenPipeError:
            leave_output()
            self.gone = True


class ProgressPrinter:
    """Prints events: on a terminal progress rewrites one line, elsewhere it prints a line every 10 %."""

    def __init__(self) -> None:
        self._rewrites = sys.stdout.isatty()
        self._width = 0  # of the line that can be rewritten
        self._last: tuple[str, int] = ("", -1)  # the last line printed: its job and tenths
        self._start: tuple[float, int] | None = None  # time of the first event, and the bytes received by then

    def show(self, event: Event) -> None:
        if isinstance(event, Downloading):
            self._progress(
                f"downloading {event.trouble}", event.all_received, event.all_total, self._download_line(event)
            )
        elif isinstance(event, Converting):
            self._progress("converting", event.done, event.total, f"converting {event.done} of {event.total} tensors")
        elif isinstance(event, Saved):
            self._say(f"The downloaded files are kept in {event.path}")
        elif isinstance(event, Kept):
            self._say(f"{event.model}: {event.bytes / 1e6:,.1f} MB in {event.path}, after {event.seconds:,.1f} s")

    def _download_line(self, event: Downloading) -> str:
        total = "" if event.all_total is None else f" of {event.all_total / 1e6:,.1f}"
        trouble = f"  {event.trouble}" if event.trouble else ""
        return f"{event.all_received / 1e6:,.1f}{total} MB{self._speed(event)}  {event.file}{trouble}"

    def _speed(self, event: Downloading) -> str:
        """The average since the command started, without bytes from earlier attempts."""
        now = time.monotonic()
        self._start = self._start or (now, event.all_received)
        seconds, received = now - self._start[0], event.all_received - self._start[1]
        if seconds < 0.5 or not received:
            return ""
        speed = received / seconds
        left = "" if event.all_total is None else f", {duration((event.all_total - event.all_received) / speed)} left"
        return f"  {speed / 1e6:,.1f} MB/s{left}"

    def _progress(self, job: str, done: int, total: int | None, line: str) -> None:
        if self._rewrites:
            print("\r" + line.ljust(self._width), end="", flush=True)
            self._width = len(line)
            return
        now = (job, 10 * done // total if total else done // 100_000_000)  # where the total is not known: every 100 MB
        if now != self._last:
            self._last = now
            print(line, flush=True)

    def _say(self, line: str) -> None:
        self.end_line()
        print(line, flush=True)

    def end_line(self) -> None:
        """End the line being rewritten."""
        if self._width:
            print(flush=True)
            self._width = 0
