"""The Models tab in a real browser: what is there, to write with, to save, to delete."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from browser import App, Visitor, tiny_app, toast, unfold, view_of
from playwright.sync_api import Locator, Page, expect

from gpt_demo.exchange.layouts import book_names
from gpt_demo.store.loaded import memory_needed
from gpt_demo.store.store import ModelStore, owner_key

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
    expect(row_names(page).first).to_be_visible()
    return page


def row_names(page: Page) -> Locator:
    """Of the starter and the models that were made or imported here."""
    return view_of(page, "model-table").locator("tbody.own th[scope=row]")


def names(page: Page) -> list[str]:
    return row_names(page).all_inner_texts()


def choose(page: Page, name: str) -> None:
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()


def test_models_are_listed_the_starter_first(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    assert names(page) == ["starter", "second", "first"]
    row = view_of(page, "model-table").get_by_role("row").filter(has=page.get_by_role("button", name="second"))
    config = app.store.get("second").config
    loss = f"{app.history('second').evaluations['val_loss'][-1]:.2f}"
    cells = ["second", "on disk", f"{config.n_params:,}", "1", "2", "32", "16", "257", loss]
    assert row.locator("th, td").all_inner_texts()[:9] == cells
    app.recorded("third", eval_interval=0)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="Models").click()
    expect(row_names(page)).to_have_text(["starter", "third", "second", "first"])


def test_the_starter_stays(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    choose(page, "starter")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(toast(page)).to_contain_text("The model starter belongs to the app")
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
    expect(row_names(page).filter(has_text="unloved")).to_have_count(0)
    assert "unloved" not in app.names()
    assert (app.runs.home / "unloved").exists(), "its run stays"


def test_a_model_is_saved_and_let_write(app: App, visitor: Visitor, tmp_path: Path) -> None:
    page = open_models(visitor, app)
    choose(page, "first")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file", exact=True).click()
    assert download.value.suggested_filename == "first.zip"
    zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).extractall(tmp_path / "models")
    assert ModelStore(tmp_path, starter=None).load("first")[0].config == app.store.get("first").config
    page.get_by_role("button", name="Let it write").click()
    expect(page.get_by_role("tab", name="Playground")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lab")).to_have_attribute("data-model", "first")


def test_a_model_is_saved_for_transformers_and_imported_again(app: App, visitor: Visitor, tmp_path: Path) -> None:
    page = open_models(visitor, app)
    choose(page, "first")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export", exact=True).click()
    assert download.value.suggested_filename == "first-transformers.zip"
    saved = Path(download.value.path()).rename(tmp_path / "first-transformers.zip")
    page.get_by_role("button", name="Import a model").click()
    page.locator("#import-file input[type=file]").set_input_files(saved)
    expect(page.get_by_label("Import as")).to_have_value("first-transformers")
    page.get_by_label("Import as").fill("again")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(view_of(page, "import-progress")).to_have_attribute("data-state", "done")
    expect(row_names(page).filter(has_text="again")).to_be_visible()
    weights = [app.store.load(name)[0].state_dict() for name in ("first", "again")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    page.get_by_label("Export for").click()
    page.get_by_role("option", name="the book").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export", exact=True).click()
    assert download.value.suggested_filename == "model.pth"
    page.locator("#import-file input[type=file]").set_input_files(
        {"name": "x.zip", "mimeType": "application/zip", "buffer": b"PK nonsense"}
    )
    page.get_by_label("Import as").fill("nonsense")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(toast(page)).to_have_text(re.compile(r"^x\.zip can't be unpacked: it is no zip"))
    app.store.delete("again")


def test_a_file_of_weights_alone_is_asked_about(app: App, visitor: Visitor, tmp_path: Path) -> None:
    """The book's model.pth: a form shows the guesses, and what is confirmed there is what is made."""
    model, _ = app.store.load("first")
    names = ((book_names(name), value) for name, value in model.state_dict().items())
    state = {theirs: part for all, value in names for theirs, part in zip(all, value.chunk(len(all)), strict=True)}
    torch.save({**state, "out_head.weight": state["tok_emb.weight"]}, tmp_path / "model.pth")
    page = open_models(visitor, app)
    page.get_by_role("button", name="Import a model").click()
    page.locator("#import-file input[type=file]").set_input_files(tmp_path / "model.pth")
    expect(page.get_by_label("Import as")).to_have_value("model")
    page.get_by_label("Import as").fill("book")
    form, heads = page.locator("#import-unsaid"), page.locator("#import-n_head input")
    expect(form).to_be_hidden()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(form).to_contain_text("The file does not contain these settings")
    expect(page.get_by_label("Activation")).to_be_hidden()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(toast(page).last).to_contain_text("is empty. Give it a value")
    heads.fill(str(model.config.n_head))
    expect(page.locator("#import-tokenizer input")).to_have_value("bytes")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(view_of(page, "import-progress")).to_have_attribute("data-state", "done")
    expect(form).to_be_hidden()
    made, _ = app.store.load("book")
    assert made.config == model.config
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in model.state_dict().items())
    app.store.delete("book")


def test_a_row_of_the_table_chooses_its_model(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    view_of(page, "model-table").get_by_role("button", name="gpt2-355M").press("Enter")
    expect(page.get_by_label("Model", exact=True)).to_have_value("gpt2-355M")
    picture = view_of(page, "architecture")
    expect(picture).to_contain_text("354,823,168 parameters")
    expect(picture.get_by_role("list", name="The parts of gpt2-355M")).to_contain_text("24 equal blocks")
    expect(page.get_by_role("button", name="Let it write")).to_be_disabled()
    view_of(page, "model-table").get_by_text("first", exact=True).click()
    expect(picture).to_contain_text(f"{app.store.get('first').config.n_params:,} parameters")
    expect(page.get_by_role("button", name="Let it write")).to_be_enabled()


def test_precisions_are_measured_side_by_side(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    choose(page, "first")
    page.get_by_role("button", name="Measure precisions").click()
    cells = view_of(page, "model-precisions").locator("tbody tr")
    expect(cells).to_have_count(3)
    expect(cells.nth(2)).to_contain_text("int8")
    expect(cells.nth(2)).to_contain_text(re.compile(r"\d\.\d\d %"))
    expect(view_of(page, "model-precisions").locator("caption")).to_contain_text("first, measured here on 2,047 tokens")


def test_fine_tuning_begins_in_the_train_tab(app: App, visitor: Visitor) -> None:
    page = open_models(visitor, app)
    choose(page, "first")
    page.get_by_role("button", name="Fine-tune").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Start from")).to_have_value("first")
    unfold(page, "All settings")
    expect(page.locator("#set-n_embd input")).to_be_disabled()
    expect(page.locator("#set-n_embd input")).to_have_value("32")


def test_what_does_not_fit_is_said_where_it_is_asked_for(tmp_path: Path, visitor: Visitor) -> None:
    with tiny_app(tmp_path) as app:
        app.recorded("large", eval_interval=0)
        config = app.store.get("large").config
        app.store.memory.budget = memory_needed(config, "fp32") - 1
        page = open_models(visitor, app)
        expect(page.locator("#model-note")).to_contain_text("Choose bf16 or int8.")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(toast(page)).to_contain_text("It fits in bf16 or int8: choose that precision.")
        page.get_by_role("button", name="Let it write").click()
        expect(page.locator("#lab")).to_contain_text("large in fp32 needs")
        page.get_by_role("tab", name="Models", exact=True).click()
        page.get_by_label("int8", exact=True).check()
        page.get_by_role("button", name="Load", exact=True).click()
        expect(view_of(page, "model-table")).to_contain_text("in memory, int8")


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
        expect(toast(page)).to_contain_text("you can delete only models that you trained")
        page.close()
    assert (tmp_path / "models" / "everybodys").exists()


def test_every_button_has_one_owner(app: App) -> None:
    """Two handlers that both answered about a button could leave it as the later answer says, whichever that is."""
    blocks = {block.elem_id: number for number, block in app.demo.blocks.items() if block.elem_id}
    names = ("write", "fine-tune", "load", "unload", "measure", "download", "export", "delete", "cancel", "retry")
    for button in (blocks[f"model-{name}"] for name in names):
        owners = [fn for fn in app.demo.fns.values() if button in (output._id for output in fn.outputs)]
        assert [fn.trigger_mode for fn in owners] == ["always_last"]
