"""A run: a job on a thread plus its folder on disk, so that it survives its browser tab and its process."""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gpt_demo.errors import UserError
from gpt_demo.events import Event, Stepped
from gpt_demo.jobs import Job, State, Turns
from gpt_demo.paths import writing
from gpt_demo.runs.folder import RunFolder, Status
from gpt_demo.store.folder import check_name, remove_folder
from gpt_demo.training.history import History

__all__ = ["Run", "RunFolder", "Runs", "Status"]

Work = Callable[[RunFolder, Callable[[], bool]], Iterator[Event]]  # it may ask whether to stop
Ending = Literal["paused", "stopped", "discarded", "waiting"]
Keep = Callable[[RunFolder], object]  # what is done with a run that was stopped to be kept


class Run(Job[Event]):
    """A run on a thread of this process. Raises UserError if another process has it.

    minutes: it pauses after so many minutes of work; None: it may take as long as it wants.
    """

    def __init__(
        self,
        folder: RunFolder,
        work: Work,
        turns: Turns,
        keep: Keep = lambda folder: None,
        minutes: float | None = None,
    ) -> None:
        self.folder = folder
        self.history = History()  # includes earlier records; `events` are those of this thread
        self.ends_as: Ending = "stopped"
        self._work_on = work
        self._keep_model = keep
        self._minutes = minutes
        self._until: float | None = None  # on the monotonic clock
        self._why = ""  # it was paused by itself
        self._asked = self._noticed = False
        self._lock = folder.lock()
        try:
            folder.update(status="waiting", message="", queued=time.time())
            for event in folder.events():
                self.history.add(event)
        except BaseException:
            self._lock.release()
            raise
        super().__init__(self._events, turns=turns)

    def stop(self, ends_as: Ending = "stopped") -> None:
        """Ask the run to end after its current step. Returns at once; `join` waits.

        Its own thread then saves its state and, for "stopped", keeps its model or, for "discarded", removes its folder.
        """
        if self.ends_as != "discarded":
            self.ends_as = ends_as
        super().stop()

    def _events(self) -> Iterator[Event]:
        self.folder.update(status="running")
        if self._minutes is not None:
            self._until = time.monotonic() + 60 * self._minutes
        with contextlib.closing(self._work_on(self.folder, self._is_to_stop)) as events:  # type: ignore[type-var]
            for event in events:
                self.history.add(event)
                self._look_at_the_clock()
                yield event

    def _look_at_the_clock(self) -> None:
        if self._until is not None and time.monotonic() >= self._until and not self.stopping:
            self._why = (
                f"Paused after {self._minutes:g} minutes, the longest that a run may train at once on this server. "
                "Resume continues exactly where it stopped."
            )
            self.stop("paused")

    def _is_to_stop(self) -> bool:
        self._look_at_the_clock()
        self._asked, self._noticed = True, self.stopping
        return self._noticed

    def may_end_after(self, event: Event) -> bool:
        """After a step; work that asks whether to stop must have had the chance to react first."""
        return isinstance(event, Stepped) and (self._noticed or not self._asked)

    def ending(self, state: State) -> None:
        stopped: Status = "stopped" if self.ends_as == "discarded" else self.ends_as
        statuses: dict[State, Status] = {"done": "finished", "stopped": stopped}
        message = self.message or (self._why if state == "stopped" else "")
        try:
            if state == "stopped" and self.ends_as == "stopped":
                self._keep_model(self.folder)
        except UserError as error:
            message = str(error)
        finally:
            # The folder may be gone or the disk full: the status becomes "interrupted".
            with contextlib.suppress(UserError, OSError):
                self.folder.update(status=statuses.get(state, "failed"), message=message)
            self._lock.release()
        if self.ends_as == "discarded":
            with contextlib.suppress(OSError):
                remove_folder(self.folder.path)


class Runs:
    """All runs under one folder. This process trains one run at a time; the others wait in a queue."""

    def __init__(self, home: Path, *, see_all: bool = False) -> None:
        self.home = home / "runs"
        self._see_all = see_all
        self._live: dict[str, Run] = {}
        self._turns = Turns()
        self._lock = threading.Lock()
        self._read: dict[str, tuple[object, History]] = {}  # histories of runs that are not live, and of which file

    def create(self, name: str, owner: str | None, files: Mapping[str, str | Path], **info: Any) -> RunFolder:
        """Create a new run's folder with its files, atomically. A file's content is its text, or a file that is moved.

        Raises UserError if the name is taken, or the disk is full or read-only.
        """
        with writing(f"The run {check_name(name)}"):
            return self._create(name, owner, files, info)

    def _create(self, name: str, owner: str | None, files: Mapping[str, str | Path], info: dict[str, Any]) -> RunFolder:
        folder, fresh = self.home / name, self.home / f".{name}.new.{threading.get_ident()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            for file, content in files.items():
                if isinstance(content, Path):
                    shutil.move(content, fresh / file)
                else:
                    (fresh / file).write_text(content, encoding="utf-8", newline="")
            RunFolder(fresh).update(name=name, owner=owner, created=time.time(), status="paused", message="", **info)
            with self._lock:
                if folder.exists():
                    raise FileExistsError
                fresh.rename(folder)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not folder.exists():
                raise
            raise UserError(f"There is already a run named {name}. Choose another name, or resume that one.") from None
        return RunFolder(folder)

    def free_name(self, stem: str, is_taken: Callable[[str], bool] = lambda name: False) -> str:
        """`stem-1`, `stem-2`, ...: the first name that is free."""
        names = (f"{stem}-{i}" for i in range(1, 1_000_000))
        return next(name for name in names if not (self.home / name).exists() and not is_taken(name))

    def list(self, owner: str | None = None, *, shared: bool = True) -> list[RunFolder]:
        """The runs `owner` may see, newest first. `shared`: those without an owner are everybody's, else nobody's."""
        found = []
        for path in self.home.glob("[!.]*/run.json"):
            with contextlib.suppress(UserError):
                info = RunFolder(path.parent).info
                if self._may_see(info, owner, shared) and not self._is_discarded(path.parent.name):
                    found.append((when(info.get("created")), path.parent))
        return [RunFolder(path) for _, path in sorted(found, reverse=True)]

    def damaged(self) -> Sequence[str]:
        """The names of runs whose run.json can't be read; whose they are can't be read either."""
        found = []
        for path in sorted(self.home.glob("[!.]*/run.json")):
            try:
                _ = RunFolder(path.parent).info
            except UserError:
                found.append(path.parent.name)
        return found

    def _may_see(self, info: dict[str, Any], owner: str | None, shared: bool) -> bool:
        whose = info.get("owner")
        return self._see_all or (shared if whose is None else whose == owner)

    def _is_discarded(self, name: str) -> bool:
        """Whether the run will be gone as soon as its current step has ended."""
        run = self.live(name)
        return run is not None and run.ends_as == "discarded"

    def get(self, name: str, owner: str | None = None, *, shared: bool = True) -> RunFolder:
        """A run from `list`. Raises UserError naming the available runs."""
        with contextlib.suppress(UserError):
            check_name(name)
            folder = RunFolder(self.home / name)
            if self._may_see(folder.info, owner, shared) and not self._is_discarded(name):
                return folder
        if shared and name in self.damaged():
            _ = RunFolder(self.home / name).info  # raises
        names = ", ".join(folder.name for folder in self.list(owner, shared=shared)[:20]) or "none yet"
        raise UserError(f"There is no run named {name[:80]!r}. Available: {names}.")

    def live(self, name: str) -> Run | None:
        """The run of this name on a thread of this process, if any."""
        run = self._live.get(name)
        return run if run is not None and run.alive else None

    def history(self, folder: RunFolder) -> History:
        """A live run's history, else the one on disk. Read-only."""
        run = self.live(folder.name)
        if run is not None:
            return run.history
        try:
            stat = (folder.path / "events.jsonl").stat()
        except OSError:
            return History()
        stamp = (stat.st_mtime_ns, stat.st_size)
        if folder.name not in self._read or self._read[folder.name][0] != stamp:
            self._read = {**dict(list(self._read.items())[-15:]), folder.name: (stamp, folder.history())}
        return self._read[folder.name][1]

    def running(self) -> Sequence[Run]:
        """The runs that this process works on now, without those in the queue."""
        return [run for run in list(self._live.values()) if run.state == "running"]

    def busy(self) -> bool:
        """Whether a training is running or waiting in this process."""
        return bool(self._turns.jobs)

    def waiting(self) -> int:
        """How many trainings of this process are queued."""
        return max(0, len(self._turns.jobs) - 1)

    def start(
        self, folder: RunFolder, work: Work, keep: Keep = lambda folder: None, minutes: float | None = None
    ) -> Run:
        """Start the run on a thread, see Run. Raises UserError if it is already running."""
        with self._lock:
            run = Run(folder, work, self._turns, keep, minutes)
            self._live = {**{name: old for name, old in self._live.items() if old.alive}, folder.name: run}
            return run

    def delete(self, name: str, owner: str | None = None, *, shared: bool = True) -> None:
        """Remove the run's folder; that of a live run goes when its current step has ended, and is no longer listed.

        Returns at once. Raises UserError if another process has it.
        """
        if name in self.damaged() and shared:
            return remove_folder(self.home / name)
        folder = self.get(name, owner)
        run = self.live(name)
        if run is not None:
            run.stop("discarded")
            return
        if folder.is_locked():
            raise UserError(f"Another process is working on the run {name}. Stop it there first.")
        remove_folder(folder.path)

    def left_waiting(self) -> Sequence[RunFolder]:
        """The runs that were waiting for their turn when their process ended, in the order of the queue."""
        found = []
        for folder in (RunFolder(path.parent) for path in self.home.glob("[!.]*/run.json")):
            with contextlib.suppress(UserError):
                if folder.info.get("status") == "waiting" and not folder.is_locked():
                    found.append((when(folder.info.get("queued")), folder.name, folder))
        return [folder for _, _, folder in sorted(found)]

    def pause(self) -> None:
        """Ask all runs of this process to save their states and end; those that wait stay queued, see `left_waiting`.

        Returns at once, and may be called by a signal's handler.
        """
        for run in [run for run in list(self._live.values()) if run.alive and not run.stopping]:
            run.stop("waiting" if run.state == "waiting" else "paused")

    def close(self, seconds: float = 10.0) -> None:
        """`pause`, and wait until the states are saved, at most so many seconds."""
        self.pause()
        end = time.monotonic() + seconds
        for run in [run for run in list(self._live.values()) if run.alive]:
            run.join(max(0.0, end - time.monotonic()))


def when(seconds: Any) -> float:
    """A time of run.json; 0 where it is none."""
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0
