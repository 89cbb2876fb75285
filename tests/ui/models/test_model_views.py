"""The views of the Models tab (assets/models/views.js) in a browser without the app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from drawn import HOSTILE, bare_page, draw, draw_json
from playwright.sync_api import Browser, Page, expect

from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.ui.models.architecture import architecture
from gpt_demo.ui.models.table import HEAD

pytest_plugins = ["browser", "drawn"]


@pytest.fixture(scope="module")
def opened(chromium: Browser) -> Iterator[Page]:
    with bare_page(chromium, ("models/models.css",)) as page:
        yield page


def models(*names: str, state: str = "on disk", chosen: str = "") -> dict[str, Any]:
    cells = [state] * (len(HEAD) - 1)
    rows = [{"name": name, "cells": cells, "kind": "here"} for name in names]
    groups = [{"key": "own", "title": "Own", "rows": rows}, {"key": "gpt2", "title": "GPT-2", "rows": []}]
    return {"head": HEAD, "groups": groups, "note": "", "chosen": chosen}


FETCH: dict[str, Any] = {
    "name": "gpt2-124M", "state": "running", "title": "gpt2-124M from OpenAI", "message": "It goes on.",
    "facts": [["received", "1 MB", "of all"]], "parts": [["In all", 0.25, "1 of 4 MB"], ["a", None, "1 MB"]],
}  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize("name", ["fit", "note", "models", "fetch", "architecture"])
def test_nothing_and_nonsense_are_drawn(page: Page, name: str) -> None:
    draw(page, name, None)
    draw_json(page, name, "{broken")


@pytest.mark.browser
def test_hostile_text_is_text(page: Page) -> None:
    part = [HOSTILE, 0.5, HOSTILE]
    for name, data in (
        ("fit", {"text": HOSTILE, "note": HOSTILE}),
        ("note", {"text": HOSTILE, "trouble": True}),
        ("models", models(HOSTILE, state=HOSTILE)),
        ("fetch", {**FETCH, "title": HOSTILE, "message": HOSTILE, "parts": [part], "facts": [[HOSTILE] * 3]}),
        ("architecture", architecture(GPT2_SIZES["124M"], HOSTILE)),
    ):
        page.evaluate("document.querySelector('#root').replaceChildren()")
        expect(draw(page, name, data)).to_contain_text(HOSTILE)


@pytest.mark.browser
def test_a_table_is_changed_in_place(page: Page) -> None:
    root = draw(page, "models", models("one", "two", chosen="two"))
    assert root.locator("tr.chosen th").inner_text() == "two"
    page.evaluate("document.querySelector('.scroll').mark = 1; document.querySelector('.own button').focus()")
    draw(page, "models", models("one", "two", state="in memory", chosen="one"))
    expect(root.locator("td").first).to_have_text("in memory")
    expect(root.get_by_role("button", pressed=True)).to_have_text("one")
    assert page.evaluate("document.querySelector('.scroll').mark === 1 && document.activeElement.textContent") == "one"
    draw(page, "models", models("three", "one", "two"))
    expect(root.locator("th[scope=row]")).to_have_text(["three", "one", "two"])
    expect(root.get_by_role("columnheader", name="Tokens/s")).to_have_attribute("title", re.compile("measured"))


@pytest.mark.browser
def test_a_row_says_that_it_was_chosen(page: Page) -> None:
    root = draw(page, "models", models("one", "two"))
    page.evaluate("document.querySelector('#root').addEventListener('choose', (e) => (window.told = e.detail.name))")
    root.get_by_role("button", name="two").press("Enter")
    assert page.evaluate("window.told") == "two"
    root.locator("tr", has_text="one").locator("td").nth(3).click()
    assert page.evaluate("window.told") == "one"


@pytest.mark.browser
def test_a_download_is_changed_in_place(page: Page) -> None:
    root = draw(page, "fetch", FETCH)
    bars = root.get_by_role("progressbar")
    expect(bars.first).to_have_attribute("value", "0.25")
    assert bars.nth(1).get_attribute("value") is None, "not known"
    page.evaluate("document.querySelector('progress').mark = 1")
    draw(page, "fetch", {**FETCH, "parts": [["In all", 0.5, "2 of 4 MB"], ["b", 1, "1 MB"]]})
    expect(root).to_contain_text("2 of 4 MB")
    expect(bars.nth(1)).to_have_attribute("value", "1")
    assert page.evaluate("document.querySelector('progress').mark") == 1
    draw(page, "fetch", {**FETCH, "state": "failed", "parts": [], "facts": [], "message": "It broke."})
    expect(root.locator(".trouble")).to_have_text("It broke.")
    assert bars.count() == 0
    draw(page, "fetch", None)
    expect(root).to_be_empty()


@pytest.mark.browser
@pytest.mark.parametrize("size", GPT2_SIZES)
def test_a_model_is_a_list_of_its_parts(page: Page, size: str) -> None:
    config = GPT2_SIZES[size]
    root = draw(page, "architecture", architecture(config, size))
    assert root.locator(".arch > li").count() == 5
    assert root.locator(".part strong").all_inner_texts() == [
        "wte", "wpe", "ln_1", "c_attn", "c_proj", "ln_2", "c_fc", "c_proj", "ln_f", "head",
    ]  # fmt: skip
    expect(root).to_contain_text(f"{config.n_layer} equal blocks")
    assert root.locator(".stack i").count() == config.n_layer
    shares = [float(text.removesuffix(" %")) for text in root.locator(".share").all_inner_texts() if "<" not in text]
    assert sum(shares) == pytest.approx(100, abs=0.5)
