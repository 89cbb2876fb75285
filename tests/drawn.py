"""What the tests of the small views (assets/*page/views.js) share: a page without the app, and the view drawn in it.

A test module has a module's fixture `opened` (see `bare_page`); then `page` is that page with nothing drawn yet, and a
test fails if a script raises or if text of a visitor became a part of the page.
(PYTEST_DONT_REWRITE: as in browser.py.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from gpt_demo.ui.views import view_json

ASSETS = Path(__file__).parents[1] / "assets"
HOSTILE = "<img src=x onerror='window.hacked=1'></p><script>window.hacked=2</script>${window.hacked=3}{{7*7}}"


@contextmanager
def bare_page(chromium: Browser, scripts: tuple[str, ...], styles: tuple[str, ...] = ()) -> Iterator[Page]:
    """A page with these files of assets/ and a place to draw in."""
    page = chromium.new_page()
    page.set_content("<title>Page</title><div class=view-block><div id=root class=view></div></div>")
    for name in scripts:
        page.add_script_tag(path=ASSETS / name)
    for name in styles:
        page.add_style_tag(path=ASSETS / name)
    yield page
    page.close()


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.evaluate(
        "document.querySelector('#root').replaceWith("
        "Object.assign(document.createElement('div'), {id: 'root', className: 'view'}))"
    )
    yield opened
    assert errors == []
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("#root img:not([role]), #root script").count() == 0


def draw(page: Page, name: str, data: Any) -> Locator:
    """The view, as it is drawn in the component that is called like it."""
    page.evaluate("name => document.querySelector('.view-block').id = name", name)
    script = "([name, json]) => window.gptDemoViews.draw(document.querySelector('#root'), name, json)"
    page.evaluate(script, [name, view_json(data)])
    return page.locator("#root")
