"""What the browser tests share: an app over a folder of its own, a browser, and visitors that notice every error.

A test module that has `pytest_plugins = ["browser"]` can use the fixtures `visitor` and `new_visitor`. A visitor is a
browser context, with cookies and storage of its own; a test fails if a script of its pages raises or prints an error.
(PYTEST_DONT_REWRITE: test modules import it too, before pytest could rewrite its asserts.)
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import loops
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.runs.recipes import create_run, train_job
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.text.samples import sample_story
from gpt_demo.training.config import PRESETS, RunConfig
from gpt_demo.training.history import History
from gpt_demo.ui import build_app, is_public, launch_options, services

# What the preset "quick" becomes where a test only wants some training: a few milliseconds a step.
TINY: dict[str, Any] = {
    "tokenizer": "bytes", "n_ctx": 16, "n_embd": 32, "n_head": 2, "n_layer": 1, "batch_size": 4, "max_steps": 12,
    "eval_interval": 4, "eval_batches": 1, "sample_interval": 4, "sample_tokens": 6, "save_seconds": 0.5,
    "warmup_steps": 2, "precision": "fp32", "patience": 0,
}  # fmt: skip

PATIENCE = 60_000  # milliseconds; other processes may need the processor
expect.set_options(timeout=PATIENCE)


@dataclass
class App:
    """A launched app; `store` and `runs` are those it shows."""

    url: str
    home: Path
    store: ModelStore
    runs: Runs
    demo: gr.Blocks
    downloads: Jobs[Event] = field(default_factory=Jobs)

    def close(self) -> None:
        self.downloads.close()
        self.runs.close()
        self.demo.close(verbose=False)

    def run(self, name: str) -> RunFolder:
        """Whoever owns it."""
        return RunFolder(self.runs.home / name)

    def history(self, name: str) -> History:
        return self.runs.history(self.run(name))

    def names(self) -> list[str]:
        """Of all models."""
        return [info.name for info in self.store.list()]

    def recorded(self, name: str, owner: str | None = None, text: str = "", **changes: Any) -> RunFolder:
        """A finished run of the preset "quick", trained here and now."""
        folder = self.created(name, owner, text, **changes)
        for _ in train_job(folder, self.store):
            pass
        folder.update(status="finished")
        return folder

    def created(self, name: str, owner: str | None = None, text: str = "", **changes: Any) -> RunFolder:
        """A run that nobody works on yet."""
        config = tiny_config(**changes)
        return create_run(self.runs, self.store, text or sample_story()[:3000], config, name=name, owner=owner)


def start_app(home: Path, *, starter: Path | None = None, port: int | None = None) -> App:
    """The whole page over the models and runs in `home`, on this port or a free one of this machine."""
    store, runs = ModelStore(home, starter=starter, see_all=not is_public()), Runs(home)
    downloads: Jobs[Event] = Jobs()
    demo, url = launch(lambda: build_app(store, runs, downloads), launch_options(), port)
    return App(url, home, store, runs, demo, downloads)


@contextlib.contextmanager
def tiny_app(home: Path, **options: Any) -> Iterator[App]:
    """The app with TINY as its preset "quick", and runs that leave most of the processor to the browser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "quick", tiny_config())
        patch.setattr(services, "train_job", _calm_job)
        app = start_app(home, **options)
        try:
            yield app
        finally:
            app.close()


def _calm_job(folder: RunFolder, store: ModelStore, *more: Any) -> Iterator[Event]:
    with contextlib.closing(train_job(folder, store, *more)) as events:
        for event in events:
            yield event
            time.sleep(0.005)


def tiny_config(**changes: Any) -> RunConfig:
    return PRESETS["quick"].changed({**TINY, **changes})


def launch(build: Callable[[], gr.Blocks], options: dict[str, Any], port: int | None = None) -> tuple[gr.Blocks, str]:
    """Build and launch inside a coroutine: outside one, Gradio makes event loops that it never closes."""

    async def work() -> tuple[gr.Blocks, str]:
        demo = build()
        place = {"server_name": "127.0.0.1", "server_port": port or free_port()}
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **place, **options)
        return demo, url

    return loops.run(work())


def free_port() -> int:
    """Gradio would try its usual ports one by one, and leave a socket open for each that is taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def open_browser(playwright: Playwright) -> Browser:
    """Debian's or Google's browser where there is one, else Playwright's own; a failure says what to install."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    path = next(found, None) or playwright.chromium.executable_path
    try:
        return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    except Error as error:
        pytest.fail(
            f"The browser tests need Chromium, and {path} can't be started. Install it: apt-get install chromium, or "
            f"python -m playwright install chromium. ({error.message.splitlines()[0]})",
            pytrace=False,
        )


@dataclass
class Visitor:
    """A person with a browser of their own."""

    context: BrowserContext
    errors: list[str] = field(default_factory=list)

    def open(self, url: str, width: int = 1280, height: int = 900) -> Page:
        """A new tab on the page; what goes wrong in it is noted."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.set_viewport_size({"width": width, "height": height})
        page.on("pageerror", lambda error: self.errors.append(f"{error}"))
        page.on("console", self._note)
        page.goto(url)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        yield browser
        browser.close()


@pytest.fixture
def new_visitor(chromium: Browser) -> Iterator[Callable[[], Visitor]]:
    """Makes visitors; at the end of the test none of them may have seen an error."""
    visitors: list[Visitor] = []

    def new() -> Visitor:
        visitors.append(Visitor(chromium.new_context(locale="en-GB")))
        return visitors[-1]

    yield new
    for visitor in visitors:
        visitor.context.close()
    assert [error for visitor in visitors for error in visitor.errors] == []


@pytest.fixture(scope="module")
def _regular(chromium: Browser) -> Iterator[Visitor]:
    visitor = Visitor(chromium.new_context(locale="en-GB"))
    yield visitor
    visitor.context.close()


@pytest.fixture
def visitor(_regular: Visitor) -> Iterator[Visitor]:
    """The same one in all tests of a module: a page that has been there before opens in half the time."""
    _regular.errors.clear()
    yield _regular
    for page in _regular.context.pages:
        page.close()
    assert _regular.errors == []


def view_of(page: Page, elem_id: str) -> Locator:
    """What assets/page/views.js draws in the component of this id."""
    return page.locator(f"#{elem_id} .view")


def toast(page: Page) -> Locator:
    """The newest message in the corner of the page."""
    return page.get_by_test_id("toast-text").last


# The Train tab --------------------------------------------------------------------------------------------------------


def open_train(visitor: Visitor, app: App, **size: int) -> Page:
    """The page, ready: the sample story is read and its plan is shown."""
    page = visitor.open(app.url, **size)
    expect(page.locator("#plan dd").first).to_be_visible()
    expect(page.locator(".training-chart .tc-main")).to_be_visible()
    return page


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    """Choose these files instead of those chosen before."""
    page.get_by_label("Upload", exact=True).check()
    clear = page.locator("#files").get_by_role("button", name="Clear")
    if clear.count():
        clear.click()
    payload: Any = [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files]
    page.locator("#files input[type=file]").set_input_files(payload)


def start_run(page: Page, name: str, steps: int | None = None) -> None:
    """Start a run with the form as it is, and wait until the page shows it."""
    page.get_by_label("Name").fill(name)
    if steps is not None:
        setting(page, "max_steps").fill(str(steps))
        expect(page.locator("#plan")).to_contain_text(f"{steps:,}")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#run-status strong")).to_have_text(name)


def setting(page: Page, name: str) -> Locator:
    """The field of a setting of the form."""
    return page.locator(f"#set-{name} input, #set-{name} textarea")


def expect_state(page: Page, state: str) -> None:
    expect(view_of(page, "run-status")).to_have_attribute("data-state", state)


def points(page: Page) -> int:
    """Evaluations on the chart."""
    return int(page.locator(".training-chart").get_attribute("data-points") or 0)


def expect_more_points(page: Page, than: int) -> None:
    page.wait_for_function("n => document.querySelector('.training-chart')?.dataset.points > n", arg=than)


def unfold(page: Page, title: str) -> None:
    page.get_by_role("button", name=title).click()
