"""A run: a job on a thread plus its folder on disk, so that it outlives its browser tab and its process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from gpt_demo.errors import UserError
from gpt_demo.events import Event, Saved, Stepped, training_event
from gpt_demo.history import History
from gpt_demo.store import check_name

Status = Literal["waiting", "running", "paused", "stopped", "interrupted", "finished", "failed"]
Job = Callable[["RunFolder"], Iterator[Event]]


class RunFolder:
    """One run on disk: run.json (what it is and how it stands), text.txt, tokenizer.json, events.jsonl, a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def info(self) -> dict[str, Any]:
        """run.json; UserError where it is missing or damaged."""
        try:
            record: dict[str, Any] = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"The run {self.name} can't be read: {error}") from error
        return record

    def update(self, **changes: Any) -> None:
        """Change entries of run.json: whole or not at all."""
        record = self.info if (self.path / "run.json").exists() else {}
        fresh = self.path / f".run.json.{threading.get_ident()}"
        fresh.write_text(json.dumps({**record, **changes}, indent=2), encoding="utf-8")
        os.replace(fresh, self.path / "run.json")

    @property
    def status(self) -> Status:
        """As run.json says; a run that no process works on any more was interrupted."""
        status: Status = self.info.get("status", "interrupted")
        if status in ("running", "waiting") and not self._is_locked():
            return "interrupted"
        return status

    @property
    def message(self) -> str:
        return str(self.info.get("message", ""))

    def lock(self) -> FileLock:
        """Held by the process that works on the run. Freed by the system when that process dies."""
        return FileLock(self.path / ".lock", timeout=0, thread_local=False)

    def _is_locked(self) -> bool:
        try:
            with self.lock():
                return False
        except Timeout:
            return True

    @contextlib.contextmanager
    def working(self) -> Iterator[Callable[[Status], None]]:
        """Hold the run while this process works on it in the foreground; gives a function that says how it ended.

        Raises UserError if somebody else works on it; an exception inside makes the run failed.
        """
        endings: list[Status] = []
        try:
            lock = self.lock().acquire()
        except Timeout:
            raise UserError(f"The run {self.name} is already going on.") from None
        with lock:
            self.update(status="running", message="")
            try:
                yield endings.append
            except UserError as error:
                self.update(status="failed", message=str(error))
                raise
            self.update(status=endings[-1] if endings else "interrupted")

    def is_finished(self) -> bool:
        """Whether the last recorded event is the run's end."""
        *_, last = [None, *self.events()]
        return last is not None and last.kind == "finished"

    def events(self) -> Iterator[Event]:
        """What has been recorded; a half-written last line (the process died) ends it."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    yield training_event(line)

    def record(self, events: Iterator[Event], step: int = 0) -> Iterator[Event]:
        """Pass the events on and append each to events.jsonl; what was recorded from `step` on is dropped first."""
        kept = [e for e in self.events() if getattr(e, "step", -1) < step and e.kind not in ("started", "finished")]
        with (self.path / "events.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(e.to_json() + "\n" for e in kept)
            with contextlib.closing(events) as source:  # type: ignore[type-var]
                for event in source:
                    file.write(event.to_json() + "\n")
                    file.flush()
                    yield event

    def history(self) -> History:
        """All recorded events as columns."""
        history = History()
        for event in self.events():
            history.add(event)
        return history


class Run:
    """A run being worked on by a thread of this process."""

    def __init__(self, folder: RunFolder, job: Job, turn: threading.Semaphore) -> None:
        self.folder = folder
        self.history = History()
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self._job = job
        self._turn = turn
        self._ending: Status | None = None  # what stop() asked for
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"run-{folder.name}", daemon=True)
        self.lock = folder.lock()
        self.lock.acquire()
        folder.update(status="waiting", message="")
        for event in folder.events():
            self.history.add(event)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, ending: Literal["paused", "stopped"] = "stopped") -> None:
        """Ask the run to end after its present step, its state saved. Returns at once; `join` waits."""
        self._ending = ending

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def follow(self, start: int = 0) -> Iterator[list[Event]]:
        """Batches of events from number `start` on, as they come, until the run ends; its exception is raised then."""
        while True:
            with self._news:
                self._news.wait_for(lambda: len(self.events) > start or not self.alive, timeout=1)
            batch = self.events[start:]
            if batch:
                yield batch
                start += len(batch)
            elif not self.alive:
                break
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        ending: Status = "finished"
        message = ""
        try:
            if self._wait_for_turn():
                try:
                    self.folder.update(status="running")
                    self._drain()
                finally:
                    self._turn.release()
            ending = self._ending if self._ending and not self._finished() else "finished"
        except UserError as error:
            self.error, ending, message = error, "failed", str(error)
        except Exception as error:  # kept for every reader; the page says it in a sentence
            self.error, ending = error, "failed"
            message = f"The run ended because of an error in the app: {type(error).__name__}: {error}"
        finally:
            if self.folder.path.exists():
                self.folder.update(status=ending, message=message)
            self.lock.release()
            with self._news:
                self._news.notify_all()

    def _finished(self) -> bool:
        return bool(self.events) and self.events[-1].kind == "finished"

    def _wait_for_turn(self) -> bool:
        """Trainings of one process take turns: they share the processor and torch's random state."""
        while not self._ending:
            if self._turn.acquire(timeout=0.1):
                return True
        return False

    def _drain(self) -> None:
        with contextlib.closing(self._job(self.folder)) as events:  # type: ignore[type-var]
            for event in events:
                self.history.add(event)
                self.events.append(event)
                with self._news:
                    self._news.notify_all()
                if self._ending and isinstance(event, (Stepped, Saved)):
                    break


class Runs:
    """All runs under one folder. One training at a time works in this process; the others wait for their turn."""

    def __init__(self, home: Path, *, see_all: bool = False) -> None:
        self.home = home / "runs"
        self._see_all = see_all
        self._live: dict[str, Run] = {}
        self._turn = threading.Semaphore(1)
        self._lock = threading.Lock()

    def create(self, name: str, owner: str | None, files: dict[str, str], **info: Any) -> RunFolder:
        """A new run's folder with its files; UserError if the name is taken."""
        folder = RunFolder(self.home / check_name(name))
        try:
            folder.path.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"There is already a run called {name}. Choose another name, or resume that one (--resume {name})."
            ) from None
        for file, content in files.items():
            (folder.path / file).write_text(content, encoding="utf-8", newline="")
        folder.update(name=name, owner=owner, created=time.time(), status="paused", message="", **info)
        return folder

    def free_name(self, stem: str) -> str:
        """`stem-1`, `stem-2`, ...: the first that no run has."""
        return next(f"{stem}-{i}" for i in range(1, 1_000_000) if not (self.home / f"{stem}-{i}").exists())

    def list(self, owner: str | None = None) -> list[RunFolder]:
        """The runs `owner` may see, the newest first."""
        found = []
        for path in self.home.glob("*/run.json"):
            with contextlib.suppress(UserError):
                info = RunFolder(path.parent).info
                if self._see_all or info.get("owner") in (None, owner):
                    found.append((info.get("created", 0.0), path.parent))
        return [RunFolder(path) for _, path in sorted(found, reverse=True)]

    def get(self, name: str, owner: str | None = None) -> RunFolder:
        """Raises UserError naming the runs there are."""
        folders = self.list(owner)
        for folder in folders:
            if folder.name == name:
                return folder
        names = ", ".join(folder.name for folder in folders[:20]) or "none yet"
        raise UserError(f"There is no run called {name[:80]!r}. There are: {names}.")

    def live(self, name: str) -> Run | None:
        """The run of that name that this process works on, if any."""
        run = self._live.get(name)
        return run if run is not None and run.alive else None

    def history(self, folder: RunFolder) -> History:
        """Of a live run what its thread collects, of another what is on disk."""
        run = self._live.get(folder.name)
        return run.history if run is not None else folder.history()

    def busy(self) -> bool:
        """Whether a training is running or waiting in this process."""
        return any(run.alive for run in self._live.values())

    def waiting(self) -> int:
        """How many runs of this process are training or wait for their turn."""
        return sum(run.alive for run in self._live.values())

    def start(self, folder: RunFolder, job: Job) -> Run:
        """Put a thread to work on the run; UserError if somebody already does."""
        with self._lock:
            try:
                run = Run(folder, job, self._turn)
            except Timeout:
                raise UserError(f"The run {folder.name} is already going on.") from None
            self._live[folder.name] = run
            return run

    def delete(self, name: str, owner: str | None = None) -> None:
        """Stop the run if it is going on, and remove its folder."""
        folder = self.get(name, owner)
        run = self._live.pop(name, None)
        if run is not None:
            run.stop()
            run.join()
        shutil.rmtree(folder.path)

    def close(self) -> None:
        """Stop all runs of this process and wait until their states are saved."""
        live = [run for run in self._live.values() if run.alive]
        for run in live:
            run.stop("paused")
        for run in live:
            run.join(60)
