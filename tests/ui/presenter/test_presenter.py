"""The presenter in a real browser: scenes turn, play without a model, come alive with one, and travel as decks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import App, Visitor, start_app
from playwright.sync_api import Locator, Page, expect
from starter import HOSTILE, make_starter, own_deck

from gpt_demo.decoding.darts import dart, hit
from gpt_demo.decoding.transforms import chain, trace
from gpt_demo.decoding.window import next_logits
from gpt_demo.presenter.recordings import OF_A_MODEL, Player
from gpt_demo.presenter.scenes import Sources, default_deck
from gpt_demo.ui import scripts

pytest_plugins = ["browser"]
LINK = scripts.module("playground/link.js")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = tmp_path_factory.mktemp("present")
    make_starter(home)
    make_starter(home, "starter")  # which the default deck asks
    app = start_app(home)
    yield app
    app.close()


@pytest.fixture(scope="module")
def empty_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app without any model."""
    app = start_app(tmp_path_factory.mktemp("empty"))
    yield app
    app.close()


def presented(visitor: Visitor, app: App, *, moving: bool = False, **size: int) -> Page:
    """The presenter at its first scene; scenes are whole at once, unless they are to be played in their own time."""
    page = visitor.open(app.url, **size)
    page.emulate_media(reduced_motion="no-preference" if moving else "reduce")
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab")).to_have_attribute("data-ready", "true")
    page.evaluate("localStorage.removeItem('gpt-demo-deck')")  # of the test before
    press(page, "Present")
    at_scene(page, 1)
    return page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def presenter(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Presenter")


def at_scene(page: Page, n: int) -> None:
    """Scene `n` is shown, and nothing is asked or played any more."""
    expect(presenter(page)).to_have_attribute("data-scene", str(n))
    expect(page.locator(".lab-present:not([data-asking])")).to_have_count(1)
    expect(page.locator('[data-played="no"]')).to_have_count(0)


def open_deck(page: Page, file: Path) -> None:
    if not page.get_by_role("complementary", name="Scenes").count():
        press(page, "Scenes")
    with page.expect_file_chooser() as chooser:
        press(page, "Open a file")
    chooser.value.set_files(file)


def saved(page: Page) -> dict[str, Any]:
    with page.expect_download() as download:
        press(page, "Save as a file")
    found: dict[str, Any] = json.loads(download.value.path().read_text(encoding="utf-8"))
    return found


def same(found: Any, wanted: Any, where: str = "") -> None:
    """Equal, numbers to the digits that are recorded."""
    if isinstance(wanted, float) or isinstance(found, float):
        assert found == pytest.approx(wanted, rel=2e-4, abs=2e-5), where
    elif isinstance(wanted, dict):
        assert set(found) == set(wanted), where
        for key in wanted:
            same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, item in enumerate(wanted):
            same(found[i], item, f"{where}[{i}]")
    else:
        assert found == wanted, where


# Turning --------------------------------------------------------------------------------------------------------------


def test_all_scenes_play_without_a_model(visitor: Visitor, empty_app: App) -> None:
    page = presented(visitor, empty_app, moving=True, height=720)
    for n, scene in enumerate(default_deck()["scenes"], start=1):
        at_scene(page, n)
        expect(presenter(page)).to_have_attribute("data-source", "recorded")
        expect(page.get_by_role("heading", name=scene["title"], exact=True)).to_be_visible()
        expect(page.locator(".present-note")).to_have_text(scene["note"])
        expect(page.locator(".present-count")).to_have_text(f"{n} / 10")
        expect(page.locator(".present-trouble")).to_be_empty()
        picture = page.locator(".present-picture")
        assert picture.evaluate("node => node.scrollHeight <= node.clientHeight + 1"), f"{scene['title']} is too large"
        assert picture.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), f"{scene['title']} is too wide"
        page.keyboard.press("ArrowRight")
    at_scene(page, 10)


def test_keys_turn_and_leave(visitor: Visitor, app: App) -> None:
    page = presented(visitor, app)
    turns = [("ArrowRight", 2), ("PageDown", 3), ("PageUp", 2), ("ArrowLeft", 1), ("ArrowLeft", 1), ("End", 10)]
    for key, n in [*turns, ("PageDown", 10), ("Home", 1), ("ArrowRight", 2)]:
        page.keyboard.press(key)
        expect(presenter(page)).to_have_attribute("data-scene", str(n))
    press(page, "Next")
    press(page, "Back")
    at_scene(page, 2)
    assert page.evaluate(
        "[...document.querySelectorAll('.lab-tab, .tab-nav button')].every(tab => tab.closest('[inert]'))"
    )
    page.keyboard.press("Escape")
    expect(presenter(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Present")).to_be_focused()
    assert page.locator("[inert]").count() == 0
    press(page, "Present")  # goes on where it was
    at_scene(page, 2)


def test_space_turns_and_b_blanks(visitor: Visitor, app: App) -> None:
    page = presented(visitor, app)
    for key, n in [("Space", 2), ("Space", 3), ("Shift+Space", 2)]:
        page.keyboard.press(key)
        at_scene(page, n)
    page.keyboard.press("b")
    expect(presenter(page)).to_have_attribute("data-blank", "")
    page.keyboard.press("ArrowRight")  # brings the scene back, and turns nothing
    expect(presenter(page)).not_to_have_attribute("data-blank", "")
    at_scene(page, 2)
    page.get_by_role("button", name="Scenes", exact=True).focus()
    page.keyboard.press("Space")  # presses the button
    expect(page.get_by_role("complementary", name="Scenes")).to_be_visible()
    at_scene(page, 2)


def test_what_was_here_comes_back_after_a_scene_is_tried(visitor: Visitor, app: App) -> None:
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    panel = page.get_by_role("tabpanel", name="Write")
    panel.get_by_label("Tokens to write").fill("6")
    press(page, "Write")
    expect(page.locator(".lab-write")).to_have_attribute("data-tokens", "6")
    expect(page.locator(".lab-write")).to_have_attribute("data-state", "idle")
    panel.get_by_label("Put this text here").fill("Nell")
    press(page, "Put")
    panel.get_by_role("listbox", name="Tokens written").get_by_role("option").nth(2).click()
    press(page, "Fork here")
    expect(page.locator(".branches")).to_have_attribute("data-count", "2")
    before = page.evaluate("document.querySelector('.lab').lab.state")
    press(page, "Present")
    at_scene(page, 1)
    press(page, "Try it")
    assert page.evaluate("document.querySelector('.lab').lab.state.tree.nodes") == []
    press(page, "Back to what was here")
    expect(page.locator(".branches")).to_have_attribute("data-count", "2")
    assert page.evaluate("document.querySelector('.lab').lab.state") == before


def test_f_fills_the_screen(visitor: Visitor, app: App) -> None:
    page = presented(visitor, app)
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement?.classList.contains('lab-present')")
    page.keyboard.press("f")
    page.wait_for_function("!document.fullscreenElement")
    at_scene(page, 1)


def test_type_is_large_and_nothing_is_cut(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = presented(new_visitor(), app, height=720)
    size = "node => parseFloat(getComputedStyle(node).fontSize)"
    assert page.locator(".present-note").evaluate(size) >= 24
    page.set_viewport_size({"width": 1920, "height": 1080})
    assert page.locator(".present-note").evaluate(size) >= 35
    page = presented(new_visitor(), app, width=390, height=844)
    for n in range(1, 11):
        at_scene(page, n)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        heads = page.locator(".present-picture th span")
        assert heads.evaluate_all("all => all.filter((n) => n.offsetWidth > n.parentNode.clientWidth).length") == 0
        box = page.get_by_role("button", name="Next").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 844
        page.keyboard.press("PageDown")


# Live -----------------------------------------------------------------------------------------------------------------


def test_sliders_move_the_models_own_distribution(visitor: Visitor, app: App) -> None:
    page = presented(visitor, app)
    model, tokenizer = app.store.load("little")
    ids = tokenizer.encode("Nell looked at the")
    logits, u = next_logits(model, tokenizer, ids), dart(1, len(ids))
    for scene, label, values in [(5, "Temperature", {"0.5": {}, "2": {}}), (6, "Top-k", {"5": {}, "3": {}})]:
        page.evaluate("at => document.querySelectorAll('.drawer-scenes button')[at - 1].click()", scene)
        at_scene(page, scene)
        expect(presenter(page)).to_have_attribute("data-source", "live")
        slider = page.locator(".present-sliders input")
        for value in values:
            slider.fill(value)
            settings: dict[str, Any] = {"temperature": float(value)} if scene == 5 else {"top_k": int(value)}
            final = trace(logits, torch.tensor([ids]), chain(**settings))[-1]
            order = logits.sort(descending=True, stable=True).indices[:7].tolist()
            shown = page.locator(".stage-table tbody tr").locator(".c3").all_inner_texts()[:7]
            for text, p in zip(shown, final.probabilities[order].tolist(), strict=True):
                assert float(text.strip("<% \u00a0")) == pytest.approx(100 * p, abs=0.06), label
            landed = page.locator(".stage [data-hit]").first.get_attribute("data-hit")
            assert landed == str(hit(final.probabilities, u))
        slider.press("ArrowRight")  # belongs to the slider
        at_scene(page, scene)
        slider.press("PageDown")  # turns all the same
        expect(presenter(page)).to_have_attribute("data-scene", str(scene + 1))


def test_what_is_live_is_what_python_records(visitor: Visitor, app: App, tmp_path: Path) -> None:
    page = presented(visitor, app)
    file = tmp_path / "deck.json"
    file.write_text(json.dumps(own_deck()))
    open_deck(page, file)
    wanted = Sources(app.store).record_all(own_deck())
    for n, scene in enumerate(wanted["scenes"], start=1):
        at_scene(page, n)
        expect(presenter(page), scene["show"]).to_have_attribute("data-source", "live")
        page.keyboard.press("PageDown")
    found = saved(page)
    same([scene["recorded"] for scene in found["scenes"]], [scene["recorded"] for scene in wanted["scenes"]])
    assert [scene["state"] for scene in found["scenes"]] == [scene["state"] for scene in own_deck()["scenes"]]


def test_a_scene_is_tried_in_the_playground(visitor: Visitor, app: App) -> None:
    page = presented(visitor, app)
    page.keyboard.press("End")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    at_scene(page, 7)
    press(page, "Try it")
    expect(presenter(page)).to_have_count(0)
    expect(page.locator(".lab-write").get_by_role("textbox", name="Prompt")).to_have_value("Once upon a time there")
    page.wait_for_function("location.hash.startsWith('#lab=')")
    state = page.evaluate(f"{LINK}.then(({{ read }}) => read(location.hash)).then(payload => payload.state)")
    assert [step for step in state["steps"] if step["name"] == "top_p"] == [{"name": "top_p", "value": 0.9}]


# Decks ----------------------------------------------------------------------------------------------------------------


def test_a_deck_is_saved_and_opened_again(new_visitor: Callable[[], Visitor], empty_app: App, tmp_path: Path) -> None:
    page = presented(new_visitor(), empty_app)
    press(page, "Scenes")
    deck = saved(page)
    came = default_deck()  # what is claimed of its scenes is the app's own, and not saved
    assert deck == {**came, "scenes": [{k: v for k, v in scene.items() if k != "claims"} for scene in came["scenes"]]}
    deck["title"] = "Another"
    deck["scenes"] = deck["scenes"][3:5]
    file = tmp_path / "deck.json"
    file.write_text(json.dumps(deck))
    other = presented(new_visitor(), empty_app)
    open_deck(other, file)
    expect(other.locator(".present-count")).to_have_text("1 / 2")
    expect(other.get_by_role("heading", name="Greedy", exact=True)).to_be_visible()
    assert saved(other) == deck
    press(other, "The app's own deck")
    expect(other.locator(".present-count")).to_have_text("1 / 10")


def test_scenes_are_added_linked_and_removed(new_visitor: Callable[[], Visitor], app: App) -> None:
    visitor = new_visitor()
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    page.get_by_role("tab", name="Nine words").click()
    page.get_by_label("Dart", exact=True).fill("0.25")
    press(page, "Present")
    press(page, "Scenes")
    drawer = page.get_by_role("complementary", name="Scenes")
    drawer.get_by_label("Title").fill("Mine")
    drawer.get_by_label("Note").fill(HOSTILE.replace("\x00", ""))
    drawer.get_by_label("Note").press("ArrowLeft")  # belongs to the field
    press(page, "Add the Playground as a scene")
    at_scene(page, 2)
    expect(page.locator(".present-count")).to_have_text("2 / 11")
    expect(presenter(page)).to_have_attribute("data-source", "computed")
    assert page.locator(".present-note").text_content() == HOSTILE.replace("\x00", "")
    press(page, "Link to this scene")
    link = page.get_by_role("textbox", name="Link to this scene").input_value()
    other = new_visitor().open(link)
    at_scene(other, 2)
    expect(other.get_by_role("heading", name="Mine", exact=True)).to_be_visible()
    expect(other.locator(".stage [data-hit]").first).to_have_attribute("data-hit", "3")
    press(page, "Remove this scene")
    expect(page.locator(".present-count")).to_have_text("2 / 10")
    assert page.evaluate("window.hacked") is None


def test_forced_tokens_go_into_the_scene(visitor: Visitor, app: App) -> None:
    page = visitor.open(app.url)
    page.evaluate("localStorage.removeItem('gpt-demo-deck')")
    page.get_by_role("tab", name="Playground", exact=True).click()
    panel = page.get_by_role("tabpanel", name="Write")
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    panel.get_by_label("Put this text here").fill(" zebras")
    press(page, "Put")
    expect(page.locator(".lab-write [data-by=hand]").first).to_be_visible()
    shown = page.locator(".lab-write .text").inner_text()
    press(page, "Present")
    press(page, "Scenes")
    press(page, "Add the Playground as a scene")
    at_scene(page, 2)
    expect(page.locator("p.stage-text")).to_have_text(shown)
    scene = saved(page)["scenes"][1]
    model, tokenizer = app.store.load(scene["state"]["model"])
    same(scene["recorded"], OF_A_MODEL["text"](Player(model, tokenizer, scene["state"]["model"], scene["state"])))


def test_an_own_deck_outlives_a_reload(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = presented(new_visitor(), app)
    press(page, "Scenes")
    press(page, "Remove this scene")
    drawer = page.get_by_role("complementary", name="Scenes")
    expect(drawer).to_contain_text("This deck is kept in this browser.")
    page.reload()
    page.get_by_role("tab", name="Playground", exact=True).click()
    press(page, "Present")
    at_scene(page, 1)
    expect(page.locator(".present-count")).to_have_text("1 / 9")
    press(page, "Scenes")
    press(page, "The app's own deck")
    expect(page.locator(".present-count")).to_have_text("1 / 10")
    press(page, "Your own deck")
    expect(page.locator(".present-count")).to_have_text("1 / 9")


def test_a_browser_that_keeps_nothing_says_so(new_visitor: Callable[[], Visitor], app: App) -> None:
    visitor = new_visitor()
    visitor.context.add_init_script(
        "Storage.prototype.setItem = function (key) { if (key.startsWith('gpt-demo-')) throw new Error('full'); }"
    )
    page = presented(visitor, app)
    press(page, "Scenes")
    press(page, "Remove this scene")
    expect(page.get_by_role("complementary", name="Scenes")).to_contain_text("This deck is not kept in this browser.")
    expect(page.locator(".present-count")).to_have_text("1 / 9")


def test_a_link_to_a_scene_of_the_apps_deck(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = presented(new_visitor(), app)
    page.keyboard.press("End")
    press(page, "Scenes")
    press(page, "Link to this scene")
    link = page.get_by_role("textbox", name="Link to this scene").input_value()
    assert len(link) < 600
    other = new_visitor().open(link)
    at_scene(other, 10)
    other.keyboard.press("Escape")
    expect(other.get_by_role("tab", name="Playground", exact=True)).to_have_attribute("aria-selected", "true")


def test_hostile_decks(visitor: Visitor, app: App, tmp_path: Path) -> None:
    page = presented(visitor, app)
    file = tmp_path / "deck.json"
    for broken in ("", "{", "null", "[]", '{"scenes": []}', '{"scenes": [1]}', '{"scenes": {"length": 3}}'):
        file.write_text(broken)
        open_deck(page, file)
        expect(page.locator(".drawer-said")).to_contain_text("This is not a deck")
        expect(page.locator(".present-count")).to_have_text("1 / 10")
    good = default_deck()["scenes"]
    damaged: list[dict[str, Any]] = []
    for scene in good:
        for value in (3, HOSTILE, [], {"prompt": HOSTILE}):
            damaged.append({**scene, "title": HOSTILE, "recorded": dict.fromkeys(scene["recorded"], value)})
    odd = {"title": 5, "note": {}, "show": "__proto__", "state": {"panel": "toy", "toy": {"u": 1e9}, "seed": "x"}}
    file.write_text(json.dumps({"title": HOSTILE, "scenes": [*damaged, odd]}))
    open_deck(page, file)
    for n in range(1, len(damaged) + 2):
        at_scene(page, n)
        scene = [*damaged, odd][n - 1]
        empty = [] in scene.get("recorded", {}).values()  # no table, but nothing wrong with it
        if scene["show"] in ("text", "beams", "training", "sizes") and not empty:
            expect(page.locator(".present-trouble")).to_contain_text("is damaged")
        page.keyboard.press("PageDown")
    expect(presenter(page)).to_have_attribute("data-source", "computed")
    assert page.evaluate(
        "[window.hacked, document.querySelectorAll('.lab-present img, .lab-present script').length]"
    ) == [None, 0]
    assert not math.isnan(page.locator(".stage-strip").evaluate("node => node.offsetHeight"))
