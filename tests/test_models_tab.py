"""The Models tab in a real browser: what is there, to write with, to save, to delete."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import App, Visitor, tiny_app, toast, view_of
from playwright.sync_api import Page, expect

from gpt_demo.store import ModelStore, owner_key

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser


def make_starter(folder: Path) -> Path:
    """A starter model as it would stand in assets/."""
    with tiny_app(folder / "elsewhere") as app:
        app.recorded("made", eval_interval=0)
        return app.store.folder("made").rename(folder / "starter")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("models")
    with tiny_app(folder / "home", starter=make_starter(folder)) as app:
        for name in ("first", "second"):
            app.recorded(name, eval_interval=11)
        yield app


def open_models(visitor: Visitor, app: App, **size: int) -> Page:
    page = visitor.open(app.url, **size)
    page.get_by_role("tab", name="Models").click()
    expect(view_of(page, "model-table").locator("tbody tr").first).to_be_visible()
    return page


def names(page: Page) -> list[str]:
    return view_of(page, "model-table").locator("tbody th").all_inner_texts()


def choose(page: Page, name: str) -> None:
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()


def test_models_are_listed_the_starter_first(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    assert names(page) == ["starter", "second", "first"]
    row = view_of(page, "model-table").locator("tbody tr").nth(1)
    config = app.store.get("second").config
    loss = f"{app.history('second').evaluations['val_loss'][-1]:.2f}"
    cells = ["second", f"{config.n_params:,}", "1", "2", "32", "16", "257", loss]
    assert row.locator("th, td").all_inner_texts()[:8] == cells
    app.recorded("third", eval_interval=0)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="Models").click()
    expect(view_of(page, "model-table").locator("tbody th")).to_have_text(["starter", "third", "second", "first"])


def test_the_starter_stays(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    choose(page, "starter")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(toast(page)).to_contain_text("The starter model belongs to the app")
    expect(page.locator("#delete-question")).to_be_hidden()
    assert "starter" in app.names()


def test_a_model_is_deleted_after_a_question(app: App, visitor: Visitor) -> None:
    app.recorded("unloved", eval_interval=0)
    page = open_models(visitor, app)
    choose(page, "unloved")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("#delete-question")).to_be_hidden()
    assert "unloved" in app.names()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(view_of(page, "model-table").locator("tbody th", has_text="unloved")).to_have_count(0)
    assert "unloved" not in app.names()
    assert (app.runs.home / "unloved").exists(), "its run stays"


def test_a_model_is_saved_and_let_write(app: App, visitor: Visitor, tmp_path: Path) -> None:
    page = open_models(visitor, app)
    choose(page, "first")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename == "first.zip"
    zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).extractall(tmp_path / "models")
    assert ModelStore(tmp_path, starter=None).load("first")[0].config == app.store.get("first").config
    page.get_by_role("button", name="Let it write").click()
    expect(page.get_by_role("tab", name="Playground")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lab")).to_have_attribute("data-model", "first")


def test_it_fits_a_telephone(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app, width=390, height=800)
    expect(page.get_by_role("button", name="Let it write")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_visitors_of_a_public_server_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_visitor: Callable[[], Visitor]
) -> None:
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    with tiny_app(tmp_path) as app:
        app.recorded("everybodys", eval_interval=0)
        app.recorded("somebodys", owner=owner_key("s" * 43), eval_interval=0)
        page = open_models(new_visitor(), app)
        assert names(page) == ["everybodys"]
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(toast(page)).to_contain_text("only models that you trained can be deleted")
        page.close()
    assert (tmp_path / "models" / "everybodys").exists()
