"""Downloads that can be interrupted at any point, resume where they stopped, and are complete once reported done.

For several files, their sizes are requested, then free disk space is checked, then they are fetched one by one. A file
gets its name only when its length and checksum match (a checksum known beforehand, else the host's).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from gpt_demo.download.part_file import PartFile, agrees, checksums_of, size_of
from gpt_demo.download.transfer import Broken, Changed, Facts, Refused, host_of, look_up, make_client, open_body
from gpt_demo.errors import UserError
from gpt_demo.events import Downloading
from gpt_demo.paths import check_space

EVENT_SECONDS = 0.1  # between two events, at least
ATTEMPTS = 5  # at one address, without a new byte
PAUSES = (0.5, 1.0, 2.0, 4.0, 4.0)  # seconds before retrying an address, after 0, 1, ... fruitless attempts


class DownloadFailed(UserError):
    """A file could not be fetched. Its partial download is kept."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. Raises UserError on a name that would leave the folder."""

    name: str  # in the folder
    urls: tuple[str, ...]  # tried in order
    size: int | None = None  # bytes, where known beforehand
    checksum: str | None = None  # "md5:HEX", "sha1:HEX" or "sha256:HEX", where known beforehand
    headers: Mapping[str, str] = field(default_factory=dict)  # sent to the hosts of `urls`, not to redirect targets

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or Path(self.name).name != self.name or "\\" in self.name:
            raise UserError(f"{self.name!r} is not a valid file name. Choose another source.")
        if self.checksum and self.checksum.partition(":")[0] not in ("md5", "sha1", "sha256"):
            raise UserError(f"{self.checksum!r} is not a supported checksum. Choose another source.")


def fetch_all(files: Sequence[RemoteFile], folder: Path) -> Iterator[Downloading]:
    """Fetch the files that are not in `folder` yet. Can be closed at any time; the next call resumes.

    Raises DownloadFailed naming the host, what happened and what to do; UserError if the disk has too little space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with make_client() as client:
            progress = _Progress({file.name: file.size for file in files})
            down: set[str] = set()
            jobs = [_Job(client, file, folder, progress, down) for file in files]
            for job in jobs:  # all before the first event, so that files already here don't look like progress
                job.count_present()
            for job in jobs:
                yield from job.ask()
            check_space(folder, sum(job.missing for job in jobs), "The rest of the download")
            for job in jobs:
                yield from job.run()
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise DownloadFailed(
            f"{folder} can't be written ({what}). Free some disk space or choose another folder."
        ) from error


class _Progress:
    """Bytes received and expected for each file, and the time of the last event."""

    def __init__(self, totals: dict[str, int | None]) -> None:
        self.totals = totals
        self.received = dict.fromkeys(totals, 0)
        self._last = -EVENT_SECONDS

    def due(self, name: str) -> Iterator[Downloading]:
        """An event, if enough time has passed since the last one."""
        if time.monotonic() - self._last >= EVENT_SECONDS:
            yield from self.now(name)

    def now(self, name: str, trouble: str = "") -> Iterator[Downloading]:
        self._last = time.monotonic()
        totals = [total for total in self.totals.values() if total is not None]
        total = sum(totals) if len(totals) == len(self.totals) else None
        yield Downloading(name, self.received[name], self.totals[name], sum(self.received.values()), total, trouble)


class _Job:
    """One file of a download. `down`: failing hosts, which all files try last."""

    def __init__(
        self, client: httpx.Client, file: RemoteFile, folder: Path, progress: _Progress, down: set[str]
    ) -> None:
        self.file = file
        self.target = folder / file.name
        self.part = PartFile(self.target)
        self._client = client
        self._progress = progress
        self._down = down
        self._facts: dict[str, Facts] = {}
        # Not per thread: the generator may be advanced by one thread and closed by another.
        self._lock = FileLock(self.target.with_name(f".{file.name}.lock"), thread_local=False)

    @property
    def total(self) -> int | None:
        return self._progress.totals[self.file.name]

    @property
    def missing(self) -> int:
        """Bytes still to fetch, as far as known."""
        total = self.total or 0
        return 0 if size_of(self.target) == total else max(0, total - self.part.size)

    def count_present(self) -> None:
        """Count what is already here as received: the part file, else the file, taken as complete for now."""
        self._received(self.part.size or size_of(self.target) or 0)

    def ask(self) -> Iterator[Downloading]:
        """Request the size, if it is not known beforehand."""
        if self.total is None:
            yield from self._persist(self._ask)
        self._received(self.total if self.total and self.missing == 0 else self.part.size)
        yield from self._progress.due(self.file.name)

    def _ask(self, url: str) -> Iterator[Downloading]:
        """The facts reported by the host of `url`, completed by and checked against what is known beforehand."""
        if url not in self._facts:
            facts = look_up(self._client, url, self.file.headers)
            if self.file.size not in (None, facts.size) and facts.size is not None:
                raise Refused(_lengths(url, facts.size, self.file.size), "Choose another source.")
            known = dict([self.file.checksum.lower().split(":", 1)]) if self.file.checksum else facts.checksums
            self._facts[url] = replace(facts, size=self.file.size or facts.size, checksums=known)
        self._progress.totals[self.file.name] = self._facts[url].size
        yield from self._progress.due(self.file.name)

    def run(self) -> Iterator[Downloading]:
        """Fetch the file, unless it is already here or another process is fetching it."""
        yield from self._progress.now(self.file.name)
        yield from self._acquire()
        try:
            if not (yield from self._is_here()):
                yield from self._persist(self._fetch)
        finally:
            self._lock.release()
        self._received(size_of(self.target) or 0)
        self._progress.totals[self.file.name] = self._progress.received[self.file.name]
        yield from self._progress.now(self.file.name)

    def _acquire(self) -> Iterator[Downloading]:
        while True:
            try:
                self._lock.acquire(timeout=EVENT_SECONDS)
                return
            except Timeout:  # another process is fetching it: show its progress
                self._received(self.part.size or size_of(self.target) or 0)
                yield from self._progress.due(self.file.name)

    def _is_here(self) -> Generator[Downloading, None, bool]:
        """Whether the file is complete, as far as its length and checksum are known."""
        facts = next(iter(self._facts.values()), Facts())
        if self.file.checksum:
            facts = replace(facts, checksums=dict([self.file.checksum.lower().split(":", 1)]))
        if self.total is None or size_of(self.target) != self.total:
            return False
        return (yield from self._verify(self.target, facts.checksums))

    def _verify(self, path: Path, checksums: Mapping[str, str]) -> Generator[Downloading, None, bool]:
        hashing = checksums_of(path, checksums)
        while True:
            try:
                next(hashing)
            except StopIteration as end:
                return agrees(end.value, checksums)
            yield from self._progress.due(self.file.name)

    def _persist(self, step: Callable[[str], Iterator[Downloading]]) -> Iterator[Downloading]:
        """Try `step` at one address after another, and again while that may help. Raises DownloadFailed."""
        failures: dict[str, Refused] = {}
        fruitless, best = Counter[str](), Counter[str]()
        live = sorted(self.file.urls, key=lambda url: not self.part.size and host_of(url) in self._down)
        while live:
            url = live[0]
            if url in failures:
                yield from self._pause(PAUSES[fruitless[url]], f"{failures[url]}; trying again")
            try:
                yield from step(url)
                self._down.discard(host_of(url))
                return
            except Refused as error:
                failures[url] = error
                if isinstance(error, Changed):
                    self.part.discard()
                    self._facts.pop(url, None)
                size = self.part.size
                fruitless[url] = 0 if size > best[url] else fruitless[url] + 1
                best[url] = max(best[url], size)
                if not isinstance(error, Broken) or fruitless[url] == ATTEMPTS:
                    live.remove(url)
                elif not size:  # no bytes yet, so another host can be tried first
                    live = [*live[1:], url]
                    self._down.add(host_of(url))
        raise self._failed(list(failures.values()))

    def _failed(self, failures: list[Refused]) -> DownloadFailed:
        if not self.part.size:
            self.part.discard()
        what = "; ".join(dict.fromkeys(str(error) for error in failures)) or "it has no address"
        advice = failures[-1].advice if failures else "Choose another source."
        kept = f" The {self.part.size:,} bytes already downloaded are kept." if self.part.size else ""
        return DownloadFailed(f"{self.file.name} could not be downloaded: {what}. {advice}{kept}")

    def _pause(self, seconds: float, trouble: str) -> Iterator[Downloading]:
        """Wait, with events that say why, so that the reader can close the download."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            yield from self._progress.now(self.file.name, trouble)
            time.sleep(min(left, max(EVENT_SECONDS, 0.01)))

    def _fetch(self, url: str) -> Iterator[Downloading]:
        """One attempt to fetch the missing bytes from one address. Raises Refused, Broken or Changed."""
        yield from self._ask(url)
        facts = self._facts[url]
        self.part.prepare(url, facts)
        start = self.part.size
        if facts.size is None or start < facts.size:
            start = yield from self._receive(url, facts)
        if not (yield from self._verify(self.part.path, facts.checksums)):
            # Bytes of two responses may not belong together; those of one are what the host has.
            kind = Changed if start else Refused
            self.part.discard()
            raise kind(f"the file from {host_of(url)} has the wrong checksum", "Try again, or choose another source.")
        self.part.finish()

    def _receive(self, url: str, facts: Facts) -> Generator[Downloading, None, int]:
        """Append to the part file until it is complete; the offset at which the response began."""
        with open_body(self._client, url, self.file.headers, self.part.size, facts.validator) as body:
            size = self._agree(url, facts, body.facts)
            received = body.start
            with self.part.writing(received) as out:
                for chunk in body.chunks:
                    received += len(chunk)
                    if received > (size or received):
                        raise Changed(_lengths(url, received, size), "Try again, or choose another source.")
                    out.write(chunk)
                    out.flush()  # so that waiting processes see the progress
                    self._received(received)
                    yield from self._progress.due(self.file.name)
        if received < (size or 0):
            raise Broken(_lengths(url, received, size), "Try again to resume.")
        return body.start

    def _agree(self, url: str, asked: Facts, answered: Facts) -> int | None:
        """The file's length, if the response is about the requested file. Raises Changed if not."""
        if asked.size is not None and answered.size not in (None, asked.size):
            raise Changed(_lengths(url, answered.size, asked.size), "Try again, or choose another source.")
        if asked.etag and answered.etag and asked.etag != answered.etag:
            raise Changed(f"the file changed on {host_of(url)} during the download", "Try again.")
        if asked.size is None:
            self._progress.totals[self.file.name] = answered.size
        return asked.size if asked.size is not None else answered.size

    def _received(self, count: int) -> None:
        self._progress.received[self.file.name] = count


def _lengths(url: str, found: int | None, expected: int | None) -> str:
    return f"{host_of(url)} sent {found or 0:,} bytes instead of {expected or 0:,}"
