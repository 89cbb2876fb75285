"""What nobody needs any more is removed from the disk: at the start, then every ten minutes."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt_demo.errors import UserError
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.runs import Runs
from gpt_demo.store.folder import remove_folder
from gpt_demo.store.store import ModelStore
from gpt_demo.ui.logs import note

HOUR, DAY, GB = 3600.0, 86_400.0, 10**9


@dataclass(frozen=True)
class Keeping:
    """For how long (seconds since the last change) and how much (bytes in all, the oldest going first)."""

    files: float = DAY  # uploads and what was saved, in Gradio's cache
    files_bytes: int = 10 * GB
    fresh: float = 600.0  # a file so new is being saved or read
    leftovers: float = HOUR  # of what was being written when a process died
    visitors: float | None = None  # runs and models of visitors; None: for ever
    visitors_bytes: int | None = None


PRIVATE = Keeping()
PUBLIC = Keeping(files_bytes=2 * GB, visitors=30 * DAY, visitors_bytes=20 * GB)


class Sweeper:
    """A thread that sweeps."""

    def __init__(
        self, store: ModelStore, runs: Runs, keeping: Keeping, cache: Path | None = None, every: float = 600.0
    ) -> None:
        """`cache`: Gradio's folder, if it is this server's alone."""
        self.store, self.runs, self.keeping, self.cache = store, runs, keeping, cache
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()

    def _work(self) -> None:
        while True:
            try:
                self.sweep(time.time())
            except Exception as error:  # a file that came or went meanwhile must not end it for good
                note("sweeping failed", error=type(error).__name__)
            if self._ended.wait(self._every):
                return

    def sweep(self, now: float) -> None:
        """Once. What can't be read or removed is left for the next time."""
        kept = self.keeping
        for path in self._leftovers():
            if now - changed(path) > kept.leftovers:
                shutil.rmtree(path, ignore_errors=True)
        if self.cache is not None:
            files = [(changed(path), path) for path in entries(self.cache)]
            for path in self._old(files, now, kept.files, kept.files_bytes):
                if now - changed(path) > kept.fresh:
                    remove(path)
        if kept.visitors is not None:
            for path in self._old(self._of_visitors(), now, kept.visitors, kept.visitors_bytes):
                self._forget(path)

    @staticmethod
    def _old(found: list[tuple[float, Path]], now: float, seconds: float, most: int | None) -> list[Path]:
        """The ones that are too old, and the oldest of the others while all together are too large."""
        found.sort()
        old = [path for at, path in found if now - at > seconds]
        rest = [path for _, path in found[len(old) :]]
        sizes = [size_of(path) for path in rest]
        while most is not None and sum(sizes) > most:
            old.append(rest.pop(0))
            sizes.pop(0)
        return old

    def _leftovers(self) -> Iterator[Path]:
        """Folders that a process was writing when it died; those of a live one are new."""
        for home in (self.runs.home, self.store.home / "models"):
            for path in entries(home):
                if path.name.startswith(".") and not path.name.endswith(".old"):
                    yield path
        yield from (path for path in entries(self.store.home / "downloads") if path.name.startswith(".import-"))
        for path in entries(self.runs.home):
            fresh = path / ".checkpoint.new"
            if fresh.exists() and not RunFolder(path).is_locked():
                yield fresh

    def _of_visitors(self) -> list[tuple[float, Path]]:
        """Runs that nobody works on, and models, that belong to a visitor; with the time of their last change."""
        found = []
        for path in entries(self.runs.home):
            folder = RunFolder(path)
            try:
                if folder.info.get("owner") and not folder.is_locked():
                    found.append(((path / "run.json").stat().st_mtime, path))
            except (UserError, OSError):
                continue
        return found + [(info.modified, info.folder) for info in self.store.everybodys() if info.owner]

    def _forget(self, path: Path) -> None:
        try:
            if path.parent == self.runs.home:
                self.runs.delete(path.name, RunFolder(path).info.get("owner"))
            else:
                remove_folder(path)
                self.store.memory.forget(path)
        except (UserError, OSError):  # somebody has just begun to use it, or has removed it
            return


def entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def changed(path: Path) -> float:
    """Seconds since 1970; that of a folder is that of its entries."""
    try:
        return max(one.stat().st_mtime for one in (path, *entries(path)))
    except OSError:  # it has just gone
        return time.time()


def size_of(path: Path) -> int:
    """Bytes on disk; a file with two names counts twice."""
    try:
        return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    except OSError:
        return 0


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
