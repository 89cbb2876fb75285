"""A run on disk: everything needed to show it, and to resume it after its process has died."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from gpt_demo.errors import UserError
from gpt_demo.events import Evaluating, Event, training_event
from gpt_demo.paths import writing
from gpt_demo.training.history import History

_DAMAGED = "Put its run.json back, or delete the run."
Status = Literal["waiting", "running", "paused", "stopped", "interrupted", "finished", "failed"]


class RunFolder:
    """One run: run.json (its settings and status), text.txt, tokenizer.json, events.jsonl, a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def info(self) -> dict[str, Any]:
        """run.json. Raises UserError if it is missing or damaged."""
        try:
            record = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"The run {self.name} can't be read: {error}. {_DAMAGED}") from error
        if not isinstance(record, dict):
            raise UserError(f"The run {self.name} can't be read: its run.json contains no settings. {_DAMAGED}")
        return record

    def update(self, **changes: Any) -> None:
        """Change entries of run.json atomically."""
        record = self.info if (self.path / "run.json").exists() else {}
        fresh = self.path / f".run.json.{os.getpid()}.{threading.get_ident()}"
        fresh.write_text(json.dumps({**record, **changes}, indent=2), encoding="utf-8")
        os.replace(fresh, self.path / "run.json")

    @property
    def status(self) -> Status:
        """The status in run.json; a run that no process is working on was interrupted."""
        status = self._said()
        if status in ("running", "waiting") and not self.is_locked():
            status = (
                self._said()
            )  # read again, as the run may just have ended: its status is written before the lock is released
            return "interrupted" if status in ("running", "waiting") else status
        return status

    def _said(self) -> Status:
        status: Status = self.info.get("status", "interrupted")
        return status if status in get_args(Status) else "interrupted"

    @property
    def message(self) -> str:
        return str(self.info.get("message", ""))

    def lock(self) -> FileLock:
        """Lock the run for this process, until `release` or the process ends. Raises UserError if it is locked."""
        lock = self._file_lock()
        try:
            lock.acquire(timeout=0.5, poll_interval=0.01)  # reading the status holds it for a moment
        except Timeout:
            raise UserError(f"The run {self.name} is already running.") from None
        return lock

    def is_locked(self) -> bool:
        """Whether a process is working on it."""
        try:
            with self._file_lock().acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _file_lock(self) -> FileLock:
        return FileLock(self.path / ".lock", thread_local=False)

    @contextlib.contextmanager
    def working(self) -> Iterator[Callable[[Status], None]]:
        """Lock the run while this process works on it in the foreground; yields a function to set its final status.

        Raises UserError if another process is working on it; after a UserError inside, the run has failed.
        """
        endings: list[Status] = []
        lock = self.lock()
        try:
            self.update(status="running", message="")
            yield endings.append
            self.update(status=endings[-1] if endings else "interrupted")
        except BaseException as error:
            ended: dict[str, Any] = {"status": "interrupted"}
            if isinstance(error, UserError):
                ended = {"status": "failed", "message": str(error)}
            with contextlib.suppress(UserError, OSError):  # the folder is gone, or the disk is full
                self.update(**ended)
            raise
        finally:
            lock.release()

    def events(self) -> Iterator[Event]:
        """The recorded events. Lines of other versions, or incomplete because a process died, are skipped."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return
        with path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    yield training_event(line)

    def record(self, events: Generator[Event, None, None], step: int = 0) -> Generator[Event, None, None]:
        """Pass the events on and append each to events.jsonl; earlier records of steps from `step` on are dropped."""
        path, fresh = self.path / "events.jsonl", self.path / ".events.jsonl.new"
        with writing(f"The log of the run {self.name}"), fresh.open("w", encoding="utf-8") as file:
            file.writelines(e.to_json() + "\n" for e in self.events() if _belongs_before(e, step))
        os.replace(fresh, path)
        with path.open("a", encoding="utf-8") as file, contextlib.closing(events):
            for event in events:
                if not isinstance(event, Evaluating):
                    with writing(f"The log of the run {self.name}"):
                        file.write(event.to_json() + "\n")
                        file.flush()
                yield event

    def history(self) -> History:
        """All recorded events as columns."""
        history = History()
        for event in self.events():
            history.add(event)
        return history


def _belongs_before(event: Event, step: int) -> bool:
    """Whether a run resumed at `step` keeps this event. At step 0, nothing is kept."""
    return step > 0 and event.kind != "finished" and getattr(event, "step", 0) < step
