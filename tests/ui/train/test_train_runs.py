"""Runs of before, in a real browser: on the chart, side by side, as files, after a restart, and on a public server."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import transformers
from browser import (
    App,
    Visitor,
    expect_more_points,
    expect_state,
    open_train,
    points,
    setting,
    start_run,
    tiny_app,
    toast,
    unfold,
    upload,
    view_of,
)
from playwright.sync_api import Page, expect

from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.store.store import owner_key
from gpt_demo.text.samples import sample_story
from gpt_demo.ui import page as page_module
from gpt_demo.ui.services import Limits

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser
FOREVER = 100_000


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with tiny_app(tmp_path_factory.mktemp("runs")) as app:
        app.recorded("narrow", n_embd=16, learning_rate=0.001)
        app.recorded("wide", max_steps=24)
        yield app


def choose_run(page: Page, name: str) -> None:
    page.get_by_label("Run", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator("#run-status strong")).to_have_text(name)


def save(page: Page, button: str) -> tuple[str, bytes]:
    """Click, and what the browser saves: its name and content."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


# Looking --------------------------------------------------------------------------------------------------------------


def test_the_chart_of_a_finished_run_can_be_read(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    choose_run(page, "narrow")
    choose_run(page, "wide")
    chart, main = page.locator(".training-chart"), page.locator(".tc-main")
    expect(chart).to_have_attribute("data-points", "7")  # every fourth step, and the last
    best = min(app.history("wide").evaluations["val_loss"])
    assert float(chart.get_attribute("data-best") or 0) == pytest.approx(best, rel=1e-4)
    expect(main.get_by_text(re.compile("^best "))).to_be_visible()
    for reference in ("ln V", "unigram", "bigram"):
        expect(main.get_by_text(reference)).to_have_count(1)
    curve = main.locator("path.tc-validation").first
    linear = curve.get_attribute("d") or ""
    page.get_by_role("radio", name="Log", exact=True).check()
    expect(curve).not_to_have_attribute("d", linear)
    page.get_by_role("radio", name="Epochs").check()
    expect(main.get_by_text("epochs", exact=True)).to_be_visible()
    main.focus()
    page.keyboard.press("Home")
    expect(chart).to_have_attribute("data-cursor-step", "0")
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("data-cursor-step", "4")
    expect(page.locator(".tc-spoken")).to_contain_text("step 4")
    page.keyboard.press("Escape")
    expect(chart).to_have_attribute("data-cursor-step", "")


def test_past_runs_are_laid_over_compared_and_deleted(app: App, visitor: Visitor) -> None:
    app.recorded("old", n_embd=8)
    page = open_train(visitor, app)
    choose_run(page, "wide")
    unfold(page, "Compare with past runs")
    page.get_by_role("checkbox", name="narrow").check()
    expect(page.locator(".tc-earlier .tc-run")).to_have_text("narrow")
    rows = view_of(page, "run-differences").locator("tr")
    expect(rows.nth(0)).to_have_text("widenarrow")
    text = view_of(page, "run-differences").inner_text()
    assert re.search(r"Width\s+32\s+16", text)
    assert re.search(r"Steps done\s+24\s+12", text)
    assert "Seed" not in text, "what is the same is left out"
    page.get_by_role("checkbox", name="narrow").uncheck()
    expect(rows).to_have_count(0)
    expect(page.locator(".tc-earlier")).to_be_hidden()

    page.get_by_role("checkbox", name="old").check()
    page.get_by_role("button", name="Delete the selected runs").click()
    page.get_by_role("button", name="Keep them").click()
    expect(page.locator("#delete-runs-question")).to_be_hidden()
    page.get_by_role("button", name="Delete the selected runs").click()
    page.get_by_role("button", name="Delete them").click()
    expect(page.get_by_role("checkbox", name="old")).to_have_count(0)
    expect(page.locator("#run-status strong")).to_have_text("wide")
    assert not (app.runs.home / "old").exists()
    assert "old" in app.names(), "its model stays"


def test_it_can_be_used_by_keyboard_and_fits_a_telephone(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app, width=390, height=800)
    expect_state(page, "finished")
    for title in ("All settings", "Compare with past runs", "Download"):
        unfold(page, title)
    expect(page.get_by_role("button", name="Figure as PNG")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("tab", name="Train").focus()
    reached: set[str] = set()
    ids = "[...function*(e) { for (; e; e = e.parentElement) yield e.id; }(document.activeElement)]"
    for _ in range(90):
        page.keyboard.press("Tab")
        reached |= set(page.evaluate(ids))
    controls = {"source", "preset", "set-n_embd", "run-name", "minutes", "fit", "run-choice", "start", "training-chart"}
    controls |= {"text-preview", "samples", "open-playground", "overlay-choice", "delete-runs", "download-png"}
    assert controls <= reached


# Files ----------------------------------------------------------------------------------------------------------------


def test_figure_numbers_and_model_can_be_saved(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    choose_run(page, "wide")
    unfold(page, "Download")
    for kind, magic in (("PNG", b"\x89PNG"), ("PDF", b"%PDF")):
        name, content = save(page, f"Figure as {kind}")
        assert name == f"wide.{kind.lower()}"
        assert content.startswith(magic)
    name, content = save(page, "Numbers as CSV")
    table = list(csv.DictReader(io.StringIO(content.decode())))
    assert [int(row["step"]) for row in table] == list(range(24))
    assert float(table[0]["val_loss"]) == app.history("wide").evaluations["val_loss"][0]
    name, content = save(page, "Best model (safetensors)")
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        names = sorted(name for name in files.namelist() if not name.endswith("/"))
    assert names == ["wide/config.json", "wide/model.safetensors", "wide/tokenizer.json"]


@pytest.mark.parametrize("tokenizer", ["gpt2", "bytes"])
def test_a_model_opens_in_transformers(app: App, visitor: Visitor, tmp_path: Path, tokenizer: str) -> None:
    name = f"with-{tokenizer}"
    app.recorded(name, tokenizer=tokenizer, n_ctx=8, max_steps=1)
    page = open_train(visitor, app)
    choose_run(page, name)
    unfold(page, "Download")
    file, content = save(page, "Best model for transformers")
    assert file == f"{name}-transformers.zip"
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / name)
    assert model.num_parameters() == app.history(name).started.n_params  # type: ignore[union-attr]
    assert model.config.vocab_size == {"gpt2": 50257, "bytes": 257}[tokenizer]
    app.runs.delete(name)


# The server -----------------------------------------------------------------------------------------------------------


def test_after_a_restart_everything_is_there_and_goes_on(tmp_path: Path, visitor: Visitor) -> None:
    with tiny_app(tmp_path) as app:
        page = open_train(visitor, app)
        start_run(page, "done", 4)
        expect_state(page, "finished")
        start_run(page, "killed", FOREVER)
        expect_more_points(page, 1)
        page.close()
    app.run("killed").update(status="running")  # what a process leaves that had no time to say anything
    before = app.history("killed").steps_done
    with tiny_app(tmp_path, port=int(app.url.split(":")[2].strip("/"))) as again:
        page = open_train(visitor, again)
        page.get_by_label("Run", exact=True).click()
        expect(page.get_by_role("option")).to_have_text([re.compile("killed"), re.compile("done")])
        page.get_by_role("option", name="done").click()
        expect_state(page, "finished")
        choose_run(page, "killed")
        expect_state(page, "interrupted")
        shown = points(page)
        page.get_by_role("button", name="Resume").click()
        expect_state(page, "running")
        expect_more_points(page, shown)
        assert again.history("killed").steps["step"][: before + 1] == list(range(before + 1))
        page.close()  # before the server goes


def test_a_public_server_has_limits_and_keeps_visitors_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_visitor: Callable[[], Visitor]
) -> None:
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    limits = Limits(params=50_000, characters=50_000, steps=FOREVER, tokens_per_step=64, runs=2, waiting=1)
    monkeypatch.setattr(page_module, "Limits", lambda: limits)
    with tiny_app(tmp_path) as app:
        app.recorded("of-the-server", eval_interval=0)
        app.recorded("of-somebody", owner=owner_key("x" * 43))
        page = open_train(new_visitor(), app)
        expect_state(page, "none")
        page.get_by_role("tab", name="Models").click()
        models = view_of(page, "model-table").locator("th[scope=row]")
        expect(models).to_have_text(["of-the-server", *(f"gpt2-{size}" for size in GPT2_SIZES)])
        page.get_by_role("tab", name="Train").click()

        start, trouble = page.get_by_role("button", name="Start training"), page.locator("#plan .trouble")
        unfold(page, "All settings")
        for name, value, sentence in (
            ("n_embd", "64", 'up to 50,000. Lower "Width"'),
            ("max_steps", "100001", 'Set "Steps" to that or less'),
            ("batch_size", "5", "reads 80 tokens; this public server allows up to 64"),
        ):
            kept = setting(page, name).input_value()
            setting(page, name).fill(value)
            expect(trouble).to_contain_text(sentence)
            start.click()
            expect(toast(page)).to_have_text(trouble.inner_text())
            page.get_by_test_id("toast-close").click()
            setting(page, name).fill(kept)
            expect(trouble).to_have_count(0)
        upload(page, ("long.txt", (sample_story() * 2).encode()))
        expect(trouble).to_contain_text("this public server accepts up to 50,000")
        page.get_by_label("Sample story").check()
        expect(trouble).to_have_count(0)

        start_run(page, "mine", FOREVER)
        expect_more_points(page, 0)
        start.click()
        expect(toast(page)).to_contain_text("One of your runs is still running")
        app.runs.live("mine").stop()  # type: ignore[union-attr]
        expect_state(page, "stopped")
        start_run(page, "second", 2)
        expect_state(page, "finished")
        start.click()
        expect(toast(page)).to_contain_text("keeps 2 runs per visitor")
        page.close()
