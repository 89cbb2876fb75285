"""Everybody can use the page: no violation of WCAG 2 A or AA that axe-core knows, in any tab, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import App, Visitor, start_app
from playwright.sync_api import Page, expect

from gpt_demo.paths import ASSETS
from gpt_demo.store.store import STARTER
from gpt_demo.ui.compare import losses

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "resultTypes": ["violations"],  # lists of all that passed take half the time
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("accessibility"), starter=ASSETS / STARTER)
    yield app
    app.close()


# Pieces of a compared text that look the same: one of each is checked, for each takes as long as a paragraph.
MARK_ALIKE = """() => {
  const seen = new Set();
  for (const piece of document.querySelectorAll("#contrast [role=option]")) {
    const look = `${piece.className} ${piece.ariaSelected}`;
    piece.toggleAttribute("data-alike", seen.has(look));
    seen.add(look);
  }
}"""


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with the first element it concerns."""
    page.evaluate(MARK_ALIKE)
    found = Axe().run(page, {"exclude": [["[data-alike]"]]}, RULES).response["violations"]
    return [f"{v['id']}: {v['help']} ({v['nodes'][0]['html'][:200]})" for v in found]


def test_headings_go_down_one_by_one(visitor: Visitor, app: App) -> None:
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab-dist [data-id]").first).to_be_visible()

    def levels(inside: str = "body") -> list[int]:
        found: list[int] = page.locator(f"{inside} :is(h1, h2, h3, h4):visible").evaluate_all(
            "all => all.map((node) => Number(node.tagName[1]))"
        )
        return found

    def in_order(found: list[int]) -> bool:
        return all(later <= before + 1 for before, later in pairwise(found))

    for panel in ("Write", "Race", "Beam search", "Nine words"):
        page.get_by_role("tab", name=panel, exact=True).click()
        expect(page.get_by_role("tab", name=panel, exact=True)).to_have_attribute("aria-selected", "true")
        assert levels()[:2] == [1, 2]
        assert in_order(levels())
    page.get_by_role("button", name="Share", exact=True).click()
    expect(page.locator(".lab-sheet")).to_be_visible()
    assert levels(".lab-sheet") == [2, 3, 3, 3]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Present", exact=True).click()
    expect(page.locator(".lab-present")).to_have_attribute("data-scene", "1")
    page.get_by_role("button", name="Scenes", exact=True).click()
    expect(page.locator(".present-drawer")).to_be_visible()
    assert levels(".lab-present") == [2, 3]


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_no_tab_violates_wcag(visitor: Visitor, app: App, width: int, theme: str) -> None:
    page = visitor.open(f"{app.url}?__theme={theme}", width=width)
    expect(page.locator("#plan dd").first).to_be_visible()
    assert violations(page) == []
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab-dist [data-id]").first).to_be_visible()
    for panel in ("Write", "Race", "Beam search", "Nine words"):
        page.get_by_role("tab", name=panel, exact=True).click()
        expect(page.get_by_role("tab", name=panel, exact=True)).to_have_attribute("aria-selected", "true")
        assert violations(page) == []
    page.get_by_role("tab", name="Models", exact=True).click()
    expect(page.locator("#model-table")).to_contain_text(re.compile("starter"))
    assert violations(page) == []


@pytest.fixture
def twin(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second model with the starter's vocabulary, to compare it with, on a text that takes no time to read."""
    monkeypatch.setattr(losses, "MOST_CHARACTERS", 2000)
    model, tokenizer = app.store.load(STARTER)
    weights = {name: value * (0.9 if name.startswith("h.0") else 1) for name, value in model.state_dict().items()}
    app.store.save("twin", model.config, weights, tokenizer, {})
    yield
    app.store.delete("twin")


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_comparisons_violate_nothing(visitor: Visitor, app: App, width: int, theme: str) -> None:
    page = visitor.open(f"{app.url}?__theme={theme}", width=width)
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.locator("#prompts-models").get_by_role("checkbox", checked=True).first).to_be_visible()
    for part, prefix in (("Same prompts", "prompts"), ("Same text", "losses"), ("Token by token", "contrast")):
        page.get_by_role("tab", name=part, exact=True).click()
        expect(page.locator(f"#{prefix}-run")).to_be_visible()
        assert violations(page) == []
        page.locator(f"#{prefix}-run").click()
        expect(page.locator(f"#{prefix}-status .view")).to_have_attribute("data-state", "done")
        expect(page.locator(f"#{prefix}-run")).to_be_enabled()
        expect(page.locator(f"#{prefix}-run")).to_have_css("opacity", "1")  # it fades in
        assert violations(page) == []
    for mode in (
        page.get_by_role("group", name="What the colors show").get_by_role("button").all()[1:]
    ):  # the first is on
        mode.click()
        assert violations(page) == []
