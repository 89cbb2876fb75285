"""Everybody can use the page: no violation of WCAG 2 A or AA that axe-core knows, in any tab, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import App, Visitor, start_app
from playwright.sync_api import Page, expect

from gpt_demo.store import ASSETS, STARTER

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("accessibility"), starter=ASSETS / STARTER)
    yield app
    app.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with the first element it concerns."""
    found = Axe().run(page, options=RULES).response["violations"]
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
