"""The Compare tab in a real browser: the same prompts, the same text, and one text token by token."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import App, Visitor, tiny_app, view_of
from playwright.sync_api import Locator, Page, expect

from gpt_demo.compare.contrast import Contrast, contrast
from gpt_demo.compare.losses import Compared, losses
from gpt_demo.compare.prompts import PROMPTS, complete
from gpt_demo.decoding.generate import Sampling
from gpt_demo.errors import UserError
from gpt_demo.store.store import owner_key
from gpt_demo.text.reading import clean_text
from gpt_demo.text.samples import sample_story
from gpt_demo.ui.compare import losses as compare_text
from gpt_demo.ui.compare.contrast import ready_text
from gpt_demo.ui.compare.losses import COLUMNS, write_csv
from gpt_demo.ui.compare.prompts import read_prompts

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror='window.hacked=1'>${window.hacked=2}{{7*7}}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Three models: two that read bytes, and the newest with a vocabulary of its own."""
    with tiny_app(tmp_path_factory.mktemp("compare")) as app:
        app.recorded("one", eval_interval=0)
        app.recorded("other", eval_interval=0, seed=5)
        app.recorded("pairs", eval_interval=0, tokenizer="bpe", n_vocab=300)
        yield app


def open_compare(visitor: Visitor, app: App, part: str, **size: int) -> Page:
    page = visitor.open(app.url, **size)
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.locator("#prompts-models").get_by_role("checkbox", checked=True).first).to_be_visible()
    page.get_by_role("tab", name=part, exact=True).click()
    return page


def tick(page: Page, part: str, *names: str) -> None:
    """Exactly these models."""
    boxes = page.locator(f"#{part}-models")
    expect(boxes.get_by_role("checkbox").first).to_be_visible()
    for box in boxes.get_by_role("checkbox").all():
        box.set_checked(box.get_attribute("name") in names)


def choose(page: Page, which: str, name: str) -> None:
    page.get_by_label(f"{which} model", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.get_by_role("option", name=name, exact=True)).to_have_count(0)


def run(page: Page, part: str, state: str = "done") -> Locator:
    """Press the part's button and wait for the end; the line below it."""
    page.locator(f"#{part}-run").click()
    status = view_of(page, f"{part}-status")
    expect(status).to_have_attribute("data-state", state)
    return status


# The same prompts -----------------------------------------------------------------------------------------------------


def test_prompts_are_completed_by_every_model(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Same prompts")
    assert page.get_by_label("Prompts, one per line").input_value() == "\n".join(PROMPTS)
    tick(page, "prompts", "pairs", "one")
    page.get_by_label("Prompts, one per line").fill(f"Nell went to\n\n{HOSTILE}\n")
    page.get_by_label("New tokens").fill("5")
    run(page, "prompts")
    table = view_of(page, "completions").get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["Prompt", "pairs", "one"])
    expect(table.get_by_role("rowheader")).to_have_text(["Nell went to", HOSTILE])
    cells = table.get_by_role("cell").all()
    expected = complete(["pairs", "one"], app.store.load, ["Nell went to", HOSTILE], 5, Sampling(temperature=0.0))
    for event in expected:
        cell = cells[2 * event.prompt + (event.model == "one")]
        expect(cell.locator(".logprob")).to_have_text(f"{event.logprob:.2f}".replace("-", "\u2212"))
        if event.text.isalnum():
            expect(cell.locator("strong")).to_have_text(event.text)
    assert page.evaluate("window.hacked") is None


def test_drawing_has_a_seed(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts", "one")
    page.get_by_label("Prompts, one per line").fill("Nell went to")
    expect(page.get_by_label("Seed", exact=True).locator("visible=true")).to_have_count(0)
    page.get_by_label("Sampling", exact=True).check()
    cell = view_of(page, "completions").locator("td .logprob")
    told = []
    for seed in ("1", "2", "1"):
        page.locator("#prompts-seed input").fill(seed)
        run(page, "prompts")
        [event] = complete(["one"], app.store.load, ["Nell went to"], 8, Sampling(temperature=0.8, seed=int(seed)))
        expect(cell).to_have_text(f"{event.logprob:.2f}".replace("-", "\u2212"))
        told.append(event.text)
    assert told[0] == told[2] != told[1]


def test_a_model_that_can_not_be_loaded_costs_only_its_own_column(
    app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = app.store.load

    def refuse(name: str, *rest: Any) -> Any:
        if name == "pairs":
            raise UserError("pairs in fp32 needs 6.5 GB of memory.")
        return load(name, *rest)

    monkeypatch.setattr(app.store, "load", refuse)
    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts", "pairs", "one")
    page.get_by_label("Prompts, one per line").fill("Nell")
    status = run(page, "prompts")
    expect(status.locator(".trouble")).to_have_text("pairs: pairs in fp32 needs 6.5 GB of memory.")
    expect(view_of(page, "completions")).to_have_attribute("data-cells", "1")
    expect(view_of(page, "completions").locator("td").first).to_contain_text("\N{EN DASH}")
    page.get_by_role("tab", name="Same text", exact=True).click()
    tick(page, "losses", "pairs", "one")
    expect(run(page, "losses").locator(".trouble")).to_have_count(1)
    expect(view_of(page, "losses").get_by_role("rowheader")).to_have_text(["one"])


def test_what_is_wrong_is_said_at_the_button(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts")
    expect(run(page, "prompts", "failed")).to_contain_text("No model is selected.")
    tick(page, "prompts", "one")
    page.get_by_label("Prompts, one per line").fill("x\n" * 51)
    expect(run(page, "prompts", "failed")).to_contain_text("51 prompts; up to 50")
    expect(page.locator("#prompts-run")).to_be_enabled()
    expect(page.locator("#prompts-stop")).to_be_disabled()


def test_stop_keeps_what_has_come(app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a run right after it waits for the stopped one to let go, and is not lost."""
    load, go_on, loading = app.store.load, threading.Event(), threading.Event()

    def wait(name: str, *rest: Any) -> Any:
        if name == "one":
            loading.set()
            assert go_on.wait(30)
        return load(name, *rest)

    monkeypatch.setattr(app.store, "load", wait)
    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts", "pairs", "one")
    page.get_by_label("Prompts, one per line").fill("Nell\nJory")
    page.locator("#prompts-run").click()
    status = view_of(page, "prompts-status")
    expect(status).to_contain_text("Loading one.")
    expect(view_of(page, "completions")).to_have_attribute("data-cells", "2")
    assert loading.wait(30)
    for _ in range(2):  # once while it works, once while the next one waits for its turn
        page.locator("#prompts-stop").click()
        expect(status).to_have_attribute("data-state", "stopped")
        expect(status).to_contain_text("Partial results are kept.")
        expect(page.locator("#prompts-stop")).to_be_disabled()
        expect(view_of(page, "completions")).to_have_attribute("data-cells", "2")
        page.locator("#prompts-run").click()
        expect(status).to_contain_text("Queued.")
        expect(page.locator("#prompts-run")).to_be_disabled()
    go_on.set()
    expect(status).to_have_attribute("data-state", "done")
    expect(view_of(page, "completions")).to_have_attribute("data-cells", "4")
    expect(page.locator("#prompts-run")).to_be_enabled()


def test_an_error_of_the_app_is_said_and_the_buttons_come_back(
    app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("odd")

    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts", "one")
    monkeypatch.setattr(app.store, "load", broken)
    expect(run(page, "prompts", "failed")).to_contain_text("an error in the app: ZeroDivisionError: odd")
    expect(page.locator("#prompts-run")).to_be_enabled()
    expect(page.locator("#prompts-stop")).to_be_disabled()


def test_two_visitors_take_turns(app: App, new_visitor: Callable[[], Visitor], monkeypatch: pytest.MonkeyPatch) -> None:
    load, go_on = app.store.load, threading.Event()

    def wait(*args: Any) -> Any:
        assert go_on.wait(30)
        return load(*args)

    monkeypatch.setattr(app.store, "load", wait)
    first, second = (open_compare(new_visitor(), app, "Same prompts") for _ in range(2))
    for page, words in ((first, "Loading one."), (second, "Queued.")):
        tick(page, "prompts", "one")
        page.get_by_label("Prompts, one per line").fill("Nell")
        page.locator("#prompts-run").click()
        expect(view_of(page, "prompts-status")).to_contain_text(words)
    first.close()  # whoever leaves does not hold the others up
    go_on.set()
    expect(view_of(second, "prompts-status")).to_have_attribute("data-state", "done")
    expect(view_of(second, "completions")).to_have_attribute("data-cells", "1")


def test_prompts_are_lines() -> None:
    assert read_prompts("  a \r\n\n \nb\ud800") == ["  a", "b\ufffd"]
    with pytest.raises(UserError, match="empty"):
        read_prompts(" \n")
    with pytest.raises(UserError, match="Prompt 2 has 501 characters"):
        read_prompts("a\n" + "x" * 501)


# The same text --------------------------------------------------------------------------------------------------------


def test_losses_are_shown_and_saved(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Same text")
    expect(page.locator("#losses-save")).to_be_disabled()
    tick(page, "losses", "pairs", "one")
    page.locator("#losses-source").get_by_label("Paste").check()
    text = sample_story()[:2000]
    page.locator("#losses-pasted textarea").fill(text)
    run(page, "losses")
    shown = view_of(page, "losses")
    measured = [e for e in losses(["pairs", "one"], app.store.load, text) if isinstance(e, Compared)]
    for row, one in zip(shown.locator("tbody tr").all(), measured, strict=True):
        vocabulary = app.store.get(one.model).config.n_vocab
        cells = [
            one.model, f"{vocabulary:,}", f"{one.train_loss:.2f}", f"{one.val_loss:.2f}",
            f"{one.train_perplexity:,.1f}", f"{one.val_perplexity:,.1f}",
            f"{one.bits_per_byte:.3f}", f"{one.tokens:,}", "\N{EN DASH}",
        ]  # fmt: skip
        assert row.locator("th, td").all_inner_texts() == cells
    expect(shown).to_contain_text("These models have different tokenizers.")
    with page.expect_download() as download:
        page.locator("#losses-save").click()
    with open(download.value.path(), encoding="utf-8") as file:
        saved = list(csv.DictReader(file))
    assert [row["model"] for row in saved] == ["pairs", "one"]
    assert [float(row["val_loss"]) for row in saved] == pytest.approx([one.val_loss for one in measured])


def test_a_long_text_is_cut_and_that_is_said(app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_text, "MOST_CHARACTERS", 900)
    page = open_compare(visitor, app, "Same text")
    tick(page, "losses", "one")
    run(page, "losses")
    characters = f"{len(sample_story()):,}"
    expect(view_of(page, "losses")).to_contain_text(f"Sample story: the first 900 of its {characters} characters.")
    assert view_of(page, "losses").locator("tbody td").nth(6).inner_text() == "898"


def test_gpt2_on_the_verdict_has_a_reported_loss_beside_the_measured(
    app: App, visitor: Visitor, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt_demo.ui.train.text_source.the_verdict", lambda home: verdict)
    for name, about in (("gpt2-124M", {"source": "openai", "size": "124M"}), ("fake", {"source": "x", "size": "124M"})):
        model, tokenizer = app.store.load("one")
        app.store.save(name, model.config, model.state_dict(), tokenizer, about)
    page = open_compare(visitor, app, "Same text")
    tick(page, "losses", "gpt2-124M", "fake")
    page.locator("#losses-source").get_by_label("The Verdict").check()
    run(page, "losses")
    shown = view_of(page, "losses")
    assert sorted(shown.locator("tbody tr td:last-child").all_inner_texts()) == ["about 3.5, reported", "\N{EN DASH}"]
    expect(shown.locator("line.reported")).to_have_count(1)
    for name in ("gpt2-124M", "fake"):
        app.store.delete(name)


def test_nothing_measured_can_not_be_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Nothing has been measured"):
        write_csv(tmp_path, [])
    path = write_csv(tmp_path, [dict.fromkeys(COLUMNS, 1.5)])
    assert path.read_text(encoding="utf-8").splitlines() == [",".join(COLUMNS), ",".join(["1.5"] * len(COLUMNS))]


# Token by token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["other", "pairs"])
def test_two_models_are_told_apart_piece_by_piece(app: App, visitor: Visitor, second: str) -> None:
    text = f"Nell had the key. {HOSTILE}\nAnd so on."
    page = open_compare(visitor, app, "Token by token")
    choose(page, "First", "one")
    choose(page, "Second", second)
    page.locator("#contrast-text textarea").fill(text)
    run(page, "contrast")
    *_, found = contrast(("one", second), app.store.load, clean_text(text))
    assert isinstance(found, Contrast)
    shown = view_of(page, "contrast")
    expect(shown).to_have_attribute("data-segments", str(len(found.segments)))
    assert shown.get_by_role("listbox").inner_text().replace("\u21b5", "").replace("\u00b7", " ") == text
    row = shown.locator(".totals tbody tr").nth(1).locator("th, td").all_inner_texts()
    assert row == [second, str(found.tokens[1]), f"{found.losses[1]:.2f}", f"{found.perplexities[1]:.1f}",
                   f"{found.bits_per_byte[1]:.3f}"]  # fmt: skip
    modes = shown.get_by_role("group", name="What the colors show").get_by_role("button").all_inner_texts()
    assert modes == ["Difference", "one", second, *(["Divergence"] if second == "other" else [])]
    gains = [one.logprobs[1] - one.logprobs[0] for one in found.segments]
    expect(shown.locator(".most tbody tr").first.locator("td").nth(2)).to_have_text(
        f"{max(gains, key=abs):+.2f}".replace("-", "\u2212")
    )
    assert page.evaluate("window.hacked") is None


def test_two_different_models_and_some_text_are_needed(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Token by token")
    assert page.locator("#contrast-text textarea").input_value() == ready_text()
    choose(page, "First", "one")
    choose(page, "Second", "one")
    expect(run(page, "contrast", "failed")).to_contain_text("Choose two different models")
    choose(page, "Second", "other")
    page.locator("#contrast-text textarea").fill("x" * 1025)
    expect(run(page, "contrast", "failed")).to_contain_text("has 1,025 tokens; 1 to 1,024")


def test_the_ready_text_is_new_to_the_starter() -> None:
    story = sample_story()
    assert story.index(ready_text()) > 0.9 * len(story)


# Who and where --------------------------------------------------------------------------------------------------------


def test_one_model_alone_is_told_what_is_missing(tmp_path: Path, new_visitor: Callable[[], Visitor]) -> None:
    with tiny_app(tmp_path) as app:
        app.recorded("alone", eval_interval=0)
        page = open_compare(new_visitor(), app, "Token by token")
        expect(view_of(page, "contrast-note")).to_contain_text("Two models are needed.")
        expect(run(page, "contrast", "failed")).to_contain_text("download GPT-2 in the Models tab")
        page.close()


def test_visitors_of_a_public_server_compare_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_visitor: Callable[[], Visitor]
) -> None:
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    with tiny_app(tmp_path) as app:
        app.recorded("everybodys", eval_interval=0)
        app.recorded("somebodys", owner=owner_key("s" * 43), eval_interval=0)
        page = open_compare(new_visitor(), app, "Same prompts")
        tick(page, "prompts", "everybodys")
        assert [box.get_attribute("name") for box in page.locator("#prompts-models").get_by_role("checkbox").all()] == [
            "everybodys"
        ]
        page.get_by_label("New tokens").fill("60")
        expect(run(page, "prompts", "failed")).to_contain_text("1,000 tokens at once, not 1,200")
        page.close()


@pytest.mark.parametrize("part", ["Same prompts", "Same text", "Token by token"])
def test_it_fits_a_telephone(app: App, visitor: Visitor, part: str) -> None:
    page = open_compare(visitor, app, part, width=390, height=800)
    run(page, {"Same prompts": "prompts", "Same text": "losses", "Token by token": "contrast"}[part])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_new_models_are_offered_and_ticks_stay(app: App, visitor: Visitor) -> None:
    page = open_compare(visitor, app, "Same prompts")
    tick(page, "prompts", "one", "other")
    app.recorded("newest", eval_interval=0)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("tab", name="Compare", exact=True).click()
    boxes = page.locator("#prompts-models").get_by_role("checkbox")
    expect(boxes).to_have_count(4)
    ticked = [box.get_attribute("name") for box in boxes.all() if box.is_checked()]
    assert ticked == ["other", "one"]
    app.store.delete("newest")
