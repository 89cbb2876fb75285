"""The server's log: one line of JSON for each thing that happened, without any visitor's text, name or token."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gradio.queueing
import gradio.routes

LOG = logging.getLogger("gpt_demo.server")
LOG.setLevel(logging.INFO)


def note(event: str, **facts: int | float | str) -> None:
    """Log it. Facts are numbers and words of the app's own: what a visitor has typed is never one of them."""
    LOG.info(json.dumps({"event": event, **facts}), extra={"event": event})


def noted(events: Iterator[Any], what: str, **facts: int | float | str) -> Iterator[Any]:
    """The events of a run or a download; the log says when it begins, ends, is stopped or fails."""
    note(f"{what} started", **facts)
    ended, why = "stopped", {}
    try:
        yield from events
        ended = "ended"
    except Exception as error:
        ended, why = "failed", {"error": type(error).__name__}
        raise
    finally:
        note(f"{what} {ended}", **facts, **why)


class Counts(logging.Handler):
    """How often each event was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()
        self._counting = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        with self._counting:
            self.of[getattr(record, "event", "other")] += 1


class _WithoutValues:
    """In the place of the module `traceback` in Gradio, which prints exceptions with the values that caused them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    @staticmethod
    def print_exc(*_: Any, **__: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            last = traceback.extract_tb(error.__traceback__)[-1:]
            place = f"{last[0].filename.rsplit('/', 1)[-1]}:{last[0].lineno}" if last else ""
            note("error", error=type(error).__name__, place=place)


def write_to_stderr() -> None:
    """For a server: log lines with their times; Gradio's tracebacks as lines without values."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.propagate = False
    for module in (gradio.queueing, gradio.routes):
        module.traceback = _WithoutValues()  # type: ignore[attr-defined]
