"""What the tests of scripts (assets/) share: a page without the app that can import them, and a view drawn in it.

A test module has a module's fixture `opened` (see `bare_page`); then `page` is that page with nothing drawn yet, and a
test fails if a script raises or if text of a visitor became a part of the page.
(PYTEST_DONT_REWRITE: as in browser.py.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints

import pytest
from playwright.sync_api import Browser, Locator, Page, Route
from protocol_types import mismatch

from gpt_demo.paths import ASSETS
from gpt_demo.ui import scripts
from gpt_demo.ui.protocol.views import Views
from gpt_demo.ui.views import view_json

VIEWS = get_type_hints(Views)
ADDRESS = "http://assets.test/some/where/"  # below a root path, as behind a proxy
HOSTILE = "<img src=x onerror='window.hacked=1'></p><script>window.hacked=2</script>${window.hacked=3}{{7*7}}"


@contextmanager
def bare_page(chromium: Browser, styles: tuple[str, ...] = ()) -> Iterator[Page]:
    """A page with these styles and a place to draw in; no server is asked. In it `scripts.module()` can be used."""
    page = chromium.new_page()
    page.route(f"{ADDRESS}**", _answer)
    page.goto(ADDRESS)
    for name in styles:
        page.add_style_tag(path=ASSETS / name)
    yield page
    page.close()


def _answer(route: Route) -> None:
    name = route.request.url.removeprefix(f"{ADDRESS}{scripts.folder()}/")
    if name in scripts.scripts():
        return route.fulfill(content_type="text/javascript", body=scripts.scripts()[name])
    html = "<title>Page</title><div class=view-block><div id=root class=view></div></div>"
    return route.fulfill(content_type="text/html", body=html)


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
    """The view, as it is drawn in the component that is called like it; the data is what the server may send."""
    if wrong := mismatch(VIEWS[name], json.dumps(json.loads(view_json(data))["data"])):
        pytest.fail(f"The server sends no such thing: {wrong}")
    page.evaluate("name => document.querySelector('.view-block').id = name", name)
    draw_json(page, name, view_json(data))
    return page.locator("#root")


def draw_json(page: Page, name: str, text: str) -> None:
    draw = "({ drawView }) => drawView(document.querySelector('#root'), name, json)"
    page.evaluate(f"async ([name, json]) => {{ await {scripts.module()}.then({draw}); }}", [name, text])
