"""Download, load, unload, delete in a real browser, against a server that misbehaves on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import PATIENCE, App, Visitor, start_app, toast, view_of
from hub_server import HubServer
from others import write_repo
from playwright.sync_api import Locator, Page, expect
from release import Release, write
from servers import Fault, FileServer

import gpt_demo.download.files
from gpt_demo.exchange.hub import REPOS
from gpt_demo.exchange.openai_release import FILES
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig
from gpt_demo.text.tokenizer import gpt2

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

NAME, DATA = "gpt2-124M", "model.ckpt.data-00000-of-00001"
HPARAMS = {"n_vocab": 50257, "n_ctx": 24, "n_embd": 12, "n_head": 2, "n_layer": 2}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.6 million parameters in OpenAI's layout."""
    folder = tmp_path_factory.mktemp("release")
    write(Release(str(folder), HPARAMS))
    return folder


@pytest.fixture
def server(release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(gpt_demo.download.files, "PAUSES", (0.0,) * len(gpt_demo.download.files.PAUSES))
    monkeypatch.setattr(gpt_demo.download.files, "EVENT_SECONDS", 0.0)  # a file that stalls is told of, too
    for size in ("124M", "355M"):
        monkeypatch.setitem(GPT2_SIZES, size, GPTConfig(**HPARAMS))
    with FileServer({f"/{size}/{name}": release / name for size in ("124M", "355M") for name in FILES}) as server:
        monkeypatch.setenv("GPT_DEMO_OPENAI_URLS", server.url)
        yield server


@pytest.fixture
def app(tmp_path: Path, server: FileServer) -> Iterator[App]:
    app = start_app(tmp_path / "home")
    yield app
    server.closing.set()  # lets stalled answers end, so that the download can
    app.close()


def open_models(visitor: Visitor, app: App, name: str = NAME) -> Page:
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Models", exact=True).click()
    row(page, name).click()
    expect(view_of(page, "architecture")).to_have_attribute("data-model", name)
    return page


def row(page: Page, name: str) -> Locator:
    return view_of(page, "model-table").get_by_role("row").filter(has=page.get_by_role("button", name=name, exact=True))


def state(page: Page, name: str = NAME) -> Locator:
    """What the table says of it."""
    return row(page, name).locator("td").first


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def expect_download(page: Page, state: str) -> None:
    waiting = 120_000 if state == "done" else PATIENCE  # TensorFlow takes its time to be imported
    expect(view_of(page, "model-progress")).to_have_attribute("data-state", state, timeout=waiting)


def stalling(server: FileServer, size: str = "124M", after: int = 1_000_000) -> str:
    """The large file stops coming behind so many bytes; the path, for `server.always`."""
    path = f"/{size}/{DATA}"
    server.always[path] = Fault(stall=after)
    return path


def test_from_a_click_to_a_text(app: App, server: FileServer, visitor: Visitor) -> None:
    """Download with progress; close the page meanwhile; load, write, unload, delete."""
    page = open_models(visitor, app)
    expect(state(page)).to_have_text("not here")
    expect(page.locator("#model-note")).to_contain_text(
        re.compile(r"[\d.]+ MB to download\. Loaded in fp32 it needs about")
    )
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_disabled()
    stalled = stalling(server)
    press(page, "Download")
    progress = view_of(page, "model-progress")
    expect(progress.locator(".fetch-words", has_text=DATA)).to_contain_text("1.0 MB of 2.4 MB")
    expect(progress.locator("dl")).to_contain_text(
        re.compile(r"received[\d.]+ MB of [\d.]+ MBspeed[\d.]+ MB/stime left")
    )
    expect(state(page)).to_have_text(re.compile(r"downloading \d\d %"))
    expect(page.get_by_role("button", name="Download", exact=True)).to_be_hidden()
    page.close()

    page = open_models(visitor, app, NAME)
    expect_download(page, "running")
    del server.always[stalled]
    server.closing.set()
    expect_download(page, "done")
    expect(state(page)).to_have_text("on disk")
    first, *later = [request for request in server.requests if (request.method, request.path) == ("GET", stalled)]
    assert first.start == 0
    assert later
    assert all(request.start > 900_000 for request in later), "the rest was asked for, not all of it"
    assert app.store.get(NAME).config == GPTConfig(**HPARAMS)

    page.get_by_label("bf16", exact=True).check()
    expect(page.locator("#model-note")).to_contain_text("In bf16 it needs about")
    press(page, "Load")
    expect(state(page)).to_have_text("in memory, bf16")
    expect(row(page, NAME).locator("td").nth(10)).not_to_have_text("\N{EN DASH}")
    assert app.store.memory.precision_of(app.store.get(NAME).folder) == "bf16"
    press(page, "Let it write")
    expect(page.locator(".lab")).to_have_attribute("data-model", NAME)
    assert app.store.memory.precision_of(app.store.get(NAME).folder) == "bf16", "used as it is loaded"

    page.get_by_role("tab", name="Models", exact=True).click()
    press(page, "Unload")
    expect(state(page)).to_have_text("on disk")
    assert app.store.memory.reserved() == 0
    press(page, "Delete")
    expect(page.locator("#delete-question")).to_contain_text("It can be downloaded again")
    press(page, "Delete it")
    expect(state(page)).to_have_text("not here")
    assert list((app.home / "downloads").glob("gpt2*")) == []


def test_hugging_face_is_the_other_source(
    app: App, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repo(tmp_path / "repo", gpt2(), n_positions=16, n_embd=8, n_head=2, n_layer=1)
    monkeypatch.setitem(GPT2_SIZES, "124M", GPTConfig(50257, 16, 8, 2, 1))
    with HubServer({REPOS["124M"]: tmp_path / "repo"}) as hub:
        hub.replaces_the_hub(monkeypatch, tmp_path / "cache")
        page = open_models(visitor, app)
        page.get_by_label("Hugging Face", exact=True).check()
        press(page, "Download")
        expect_download(page, "done")
    expect(view_of(page, "model-progress")).to_contain_text("gpt2-124M from Hugging Face")
    expect(view_of(page, "architecture")).to_contain_text(f"{app.store.get(NAME).config.n_params:,} parameters")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name="gpt2-355M", exact=True).click()
    expect(page.get_by_role("button", name="Download", exact=True)).to_be_visible()
    expect(view_of(page, "model-progress")).to_be_hidden()


def test_any_gpt2_of_the_hub_by_its_id(
    app: App, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repo(tmp_path / "repo", gpt2(), n_positions=16, n_embd=8, n_head=2, n_layer=1)
    with HubServer({"somebody/tales": tmp_path / "repo"}) as hub:
        hub.replaces_the_hub(monkeypatch, tmp_path / "cache")
        page = open_models(visitor, app)
        page.get_by_role("button", name="Any GPT-2 from the Hugging Face Hub").click()
        page.locator("#model-repo").get_by_role("textbox").fill("somebody/tales")
        press(page, "Download it")
        expect_download(page, "done")
    row(page, "tales").click()
    expect(view_of(page, "architecture")).to_have_attribute("data-model", "tales")
    expect(page.get_by_role("button", name="Let it write")).to_be_enabled()
    press(page, "Dismiss")
    expect(view_of(page, "model-progress")).to_be_hidden()
    page.get_by_role("button", name="Delete its download").click()
    expect(page.get_by_role("button", name="Delete its download")).to_be_hidden()
    assert app.store.load("tales")


def test_cancel_and_go_on(app: App, server: FileServer, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_models(visitor, app)
    stalled = stalling(server)
    press(page, "Download")
    expect(view_of(page, "model-progress")).to_contain_text("1.0 MB of 2.4 MB")
    press(page, "Cancel")
    expect_download(page, "cancelling")
    server.closing.set()
    expect_download(page, "cancelled")
    expect(page.locator("#model-progress")).to_contain_text("The partial download is kept")
    expect(state(page)).to_have_text(re.compile(r"partial, \d"))
    server.closing.clear()
    press(page, "Go on")
    expect(view_of(page, "model-progress")).to_contain_text(re.compile(r"2\.\d MB of 2\.4 MB"))
    assert [r.start for r in server.requests if r.path == stalled and r.method == "GET"][1] >= 1_000_000
    press(page, "Cancel")
    server.closing.set()
    expect_download(page, "cancelled")
    press(page, "Delete")
    expect(page.locator("#delete-question")).to_contain_text("Delete the partial download")
    press(page, "Delete it")
    expect(state(page)).to_have_text("not here")


def test_a_failure_is_a_sentence_and_retry_is_one_click(app: App, server: FileServer, visitor: Visitor) -> None:
    path = f"/124M/{DATA}"
    server.always[path] = Fault(status=404)
    page = open_models(visitor, app)
    press(page, "Download")
    expect_download(page, "failed")
    expect(page.locator("#model-progress .trouble")).to_contain_text("127.0.0.1")
    expect(page.locator("#model-progress .trouble")).to_contain_text("404")
    page.reload()
    page.get_by_role("tab", name="Models", exact=True).click()
    expect_download(page, "failed")
    server.always[path] = Fault(stall=1_000_000)
    press(page, "Retry")
    expect_download(page, "running")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_hidden()
    expect(view_of(page, "model-progress")).to_contain_text("1.0 MB of 2.4 MB")


def test_two_visitors_share_a_download(
    app: App, server: FileServer, new_visitor: Callable[[], Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled = stalling(server)
    one, other = open_models(new_visitor(), app), open_models(new_visitor(), app, "gpt2-355M")
    press(one, "Download")
    expect(view_of(one, "model-progress")).to_contain_text("1.0 MB of 2.4 MB")
    press(other, "Download")
    expect(toast(other)).to_contain_text("gpt2-124M is being downloaded; one at a time")
    expect_download(other, "running")
    expect(view_of(other, "model-progress")).to_have_attribute("data-name", NAME)
    assert server.count("GET", stalled) == 1
    press(other, "Cancel")
    server.closing.set()
    expect_download(one, "cancelled")
