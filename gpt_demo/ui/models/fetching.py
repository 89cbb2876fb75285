"""Downloads of GPT-2 sizes and of models of the Hub: one at a time, on a thread of its own, shared by all visitors."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from gpt_demo.errors import UserError
from gpt_demo.events import Converting, Downloading, Event
from gpt_demo.exchange.hub import is_repository
from gpt_demo.exchange.pretrained import (
    SOURCES,
    delete_downloads,
    download_model,
    downloaded,
    model_name,
    received_bytes,
)
from gpt_demo.format import DASH, count, duration, size
from gpt_demo.jobs import Job
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.paths import check_space
from gpt_demo.store.loaded import memory_needed
from gpt_demo.ui.logs import noted
from gpt_demo.ui.models.table import PARTLY, SIZE_OF, SOURCE_WORDS, download_bytes, fitting
from gpt_demo.ui.protocol.views import Fact, Fetch, FetchPart, FetchState
from gpt_demo.ui.services import Services, owner

RATE_SECONDS = 10.0  # the speed shown is that of the last so many seconds
Buttons = tuple[Literal["Cancel", ""], Literal["Retry", "Go on", ""]]


@dataclass
class Fetches:
    """Starts and stops downloads and reports their status. A download has its model's name."""

    services: Services
    repos: dict[str, str] = field(default_factory=dict)  # of the models of the Hub, by the name they get here
    cards: dict[str, set[str | None]] = field(default_factory=dict)  # the visitors who see how it ended
    sources: dict[str, str] = field(default_factory=dict)  # of the last download of each model
    wanted: dict[str, set[str | None]] = field(default_factory=dict)  # the visitors who asked for what is going on
    speeds: dict[str, Speed] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, source: str, token: str | None) -> None:
        """Begin, or join the one that is going on. Raises UserError."""
        if not self.model(name) or source not in SOURCES:
            raise UserError("Choose one of the GPT-2 sizes, and OpenAI's release or Hugging Face as its source.")
        with self.lock:
            other = self.going_on()
            if other not in (None, name):
                raise UserError(f"{other} is being downloaded; one at a time. Wait for it, or cancel it.")
            if other is None:
                self._check_room(name, source)
                self.sources[name], self.wanted[name], self.speeds[name] = source, set(), Speed()
            self.services.downloads.start(name, lambda: self._job(name, source))
            self.wanted[name].add(owner(token))
            self.cards[name] = set(self.wanted[name])

    def start_repository(self, repo: str, token: str | None) -> None:
        """Begin to download a model of the Hub by its id. Raises UserError."""
        if self.services.limits:
            raise UserError("On this server only the GPT-2 sizes can be downloaded.")
        repo = repo.strip().removeprefix("https://huggingface.co/").strip("/")
        if not is_repository(repo):
            raise UserError(f"{repo[:80]!r} is not an id of the Hub. Give one of the form ORG/NAME, as in its address.")
        name = model_name(repo)
        if name in SIZE_OF or (self.repos.get(name, repo) != repo and self.going_on() == name):
            raise UserError(f"Another download has the name {name}. Wait for it.")
        if downloaded(self.services.store, repo):
            raise UserError(f"{repo} is here already, as {name}.")
        self.repos[name] = repo
        self.start(name, "huggingface", token)

    def model(self, name: str) -> str | None:
        """What a download of this name is asked for by: a GPT-2 size, or an id of the Hub."""
        return SIZE_OF.get(name) or self.repos.get(name)

    def _job(self, name: str, source: str) -> Iterator[Event]:
        speed, model = self.speeds[name], str(self.model(name))
        with contextlib.closing(download_model(self.services.store, model, source)) as events:  # type: ignore[type-var]
            for event in noted(events, "download", model=name, source=source):
                speed.note(event)
                yield event

    def _check_room(self, name: str, source: str) -> None:
        """UserError where neither disk nor (on a public server) memory could hold the model, if its size is known."""
        if name not in SIZE_OF:
            return
        config, store = GPT2_SIZES[SIZE_OF[name]], self.services.store
        if self.services.limits and not fitting(config, store.memory.budget):
            needed = memory_needed(config, "int8")
            raise UserError(f"{name} would need {size(needed)} of memory, more than this server has for models.")
        present = received_bytes(store, SIZE_OF[name], source)
        needed = max(0, download_bytes(SIZE_OF[name]) - present) + 4 * config.n_params
        check_space(store.home, needed, f"Downloading and converting {name}")

    def retry(self, name: str, token: str | None) -> None:
        """Once more from where it stopped, and from the same source. Raises UserError."""
        self.start(name, self.sources.get(name, "openai" if name in SIZE_OF else "huggingface"), token)

    def cancel(self, token: str | None) -> None:
        """Cancel the download; the partial download is kept. On a public server only its sole requester may cancel."""
        with self.lock:
            name = self.going_on()
            if name is None:
                return
            if self.services.limits:
                if owner(token) not in self.wanted.get(name, set()):
                    raise UserError("Another visitor started this download, so it continues.")
                self.wanted[name].discard(owner(token))
                if self.wanted[name]:
                    raise UserError("Another visitor wants this model too, so the download continues.")
            job = self.job(name)
            if job:
                job.stop()

    def dismiss(self, name: str | None, token: str | None) -> None:
        """The visitor has seen how this download ended."""
        if name and name != self.going_on():
            self.cards[name].discard(owner(token))

    def delete_files(self, name: str) -> int:
        """Delete what has been downloaded of a size; the bytes that gives back. Raises UserError while it comes."""
        if self.going_on() == name:
            raise UserError(f"{name} is being downloaded. Cancel the download first.")
        return delete_downloads(self.services.store, str(self.model(name)))

    def has_files(self, name: str) -> bool:
        """Whether anything was left by a download of this name."""
        return self.kept_bytes(name) > 0

    def kept_bytes(self, name: str) -> int:
        """Bytes of the files, whole or partial, that downloads of this name have left."""
        model, store = self.model(name), self.services.store
        sources = SOURCES if name in SIZE_OF else ("huggingface",)
        return sum(received_bytes(store, model, source) for source in sources) if model else 0

    # Status -----------------------------------------------------------------------------------------------------------

    def job(self, name: str | None) -> Job[Event] | None:
        """The last download of this model, whatever its state."""
        return self.services.downloads.get(name) if name else None

    def going_on(self) -> str | None:
        return next((name for name in self.services.downloads.running() if self.model(name)), None)

    def shown(self, chosen: str | None, token: str | None) -> str | None:
        """The download that is looked at: what is going on, else that of the chosen model, else one that failed or came
        from the Hub; what is over is shown to those who asked for it, until they dismiss it."""
        mine = [name for name, visitors in self.cards.items() if owner(token) in visitors]
        jobs = {name: job for name in mine if (job := self.job(name))}
        others = (name for name, job in jobs.items() if _state(job) == "failed" or name in self.repos)
        return self.going_on() or (chosen if chosen in jobs else next(others, None))

    def labels(self) -> dict[str, str]:
        """What the table says of a model that is being downloaded, or was for a while."""
        found = {name: f"{PARTLY}, {size(kept)}" for name in SIZE_OF if (kept := self.kept_bytes(name))}
        name = self.going_on()
        job = self.job(name)
        return {**found, name: _label(_last(job))} if name and job else found

    def buttons(self, name: str | None) -> Buttons:
        """What can be done with a download: cancel it, or begin again."""
        job = self.job(name)
        state = _state(job) if job else "done"
        again: dict[str, Buttons] = {"running": ("Cancel", ""), "failed": ("", "Retry"), "cancelled": ("", "Go on")}
        return again.get(state, ("", ""))

    def data(self, name: str | None) -> Fetch | None:
        """For the view "fetch"."""
        job = self.job(name)
        if name is None or job is None:
            return None
        event, state = _last(job), _state(job)
        return {
            "name": name,
            "state": state,
            "title": _title(event, name, SOURCE_WORDS[self.sources.get(name, "openai")]),
            "facts": _facts(event, self.speeds[name]) if state in ("running", "cancelling") else [],
            "parts": _parts(event) if state != "done" else [],
            "message": job.message if state == "failed" else _message(event, state, name),
        }


class Speed:
    """How fast a download goes."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # (seconds, bytes received)

    def note(self, event: Event) -> None:
        if isinstance(event, Downloading):
            now = time.monotonic()
            self._marks.append((now, event.all_received))
            while now - self._marks[0][0] > RATE_SECONDS and len(self._marks) > 2:
                self._marks.popleft()

    @property
    def bytes_per_second(self) -> float:
        """Over the last seconds, until now; 0 where nothing came."""
        marks = list(self._marks)
        if len(marks) < 2:
            return 0.0
        return max(0.0, (marks[-1][1] - marks[0][1]) / max(time.monotonic() - marks[0][0], 1e-9))


def _state(job: Job[Event]) -> FetchState:
    if job.alive:
        return "cancelling" if job.stopping else "running"
    if job.state == "done":
        return "done"
    broke_off = job.stopping and isinstance(job.error, UserError)  # the host went away while it was being cancelled
    return "cancelled" if broke_off or job.error is None else "failed"


def _last(job: Job[Event]) -> Event | None:
    return next(iter(job.events[-1:]), None)


def _label(event: Event | None) -> str:
    if isinstance(event, Downloading):
        return f"downloading {100 * event.all_received / event.all_total:.0f} %" if event.all_total else "downloading"
    return "converting" if isinstance(event, Converting) else "starting"


def _title(event: Event | None, name: str, source: str) -> str:
    return f"Converting {name}" if isinstance(event, Converting) else f"{name} from {source}"


def _facts(event: Event | None, speed_now: Speed) -> list[Fact]:
    received, speed, left = DASH, DASH, DASH
    if isinstance(event, Downloading):
        rate = speed_now.bytes_per_second
        received = (
            f"{size(event.all_received)} of {size(event.all_total)}" if event.all_total else size(event.all_received)
        )
        speed = f"{size(rate)}/s" if rate else DASH
        left = duration((event.all_total - event.all_received) / rate) if rate and event.all_total else DASH
    elif isinstance(event, Converting):
        received = f"{event.done} of {event.total} tensors"
    return [
        ("received" if not isinstance(event, Converting) else "converted", received, "of all files of the model"),
        ("speed", speed, "over the last ten seconds"),
        ("time left", left, "at this speed, without the conversion"),
    ]


def _parts(event: Event | None) -> list[FetchPart]:
    """The bars: in all, and the file that is coming."""
    if isinstance(event, Downloading):
        return [
            ("In all", *_share(event.all_received, event.all_total)),
            (event.file, *_share(event.received, event.total)),
        ]
    if isinstance(event, Converting):
        words = f"{count(event.done)} of {count(event.total)} tensors"
        return [("All files downloaded", 1, ""), ("Conversion", event.done / max(1, event.total), words)]
    return [("In all", None, "asking the host"), (" ", 0, "")]


def _share(received: int, total: int | None) -> tuple[float | None, str]:
    if not total:
        return None, size(received)
    return min(1.0, received / total), f"{size(received)} of {size(total)}"


def _message(event: Event | None, state: FetchState, name: str) -> str:
    if state == "cancelled":
        return "Canceled. The partial download is kept; you can resume it."
    if state == "done":
        return f"{name} is downloaded, verified and converted. Load it, or let it write."
    if state == "cancelling":
        return "It stops with the next bytes, or when the connection times out."
    if isinstance(event, Downloading):
        return f"{event.trouble}." if event.trouble else "You can close the page; the download continues."
    return ""
