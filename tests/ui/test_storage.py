"""Browsers and addresses that are not as usual: no storage, as in another site's frame; no final slash."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Visitor, expect_state, open_train, start_run, tiny_app
from playwright.sync_api import expect

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

BLOCKED = """
for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {
    configurable: true,
    get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
  });
"""


def test_the_page_works_and_knows_its_visitor(tmp_path: Path, new_visitor: Callable[[], Visitor]) -> None:
    with tiny_app(tmp_path) as app:
        visitor = new_visitor()
        visitor.context.add_init_script(BLOCKED)
        page = open_train(visitor, app)
        start_run(page, "theirs", 4)
        expect_state(page, "finished")
        assert app.run("theirs").info["owner"]
        page.close()


def test_behind_a_proxy_without_the_final_slash(tmp_path: Path, new_visitor: Callable[[], Visitor]) -> None:
    """The proxy takes its prefix off, so the server can't know; the page sees it in its address."""
    with tiny_app(tmp_path) as app:
        with urllib.request.urlopen(app.url) as answer:
            html = answer.read().decode()
        page = new_visitor().context.new_page()
        page.route(re.compile(r"/gpt\?a=1$"), lambda route: route.fulfill(body=html, content_type="text/html"))
        page.route(re.compile(r"/gpt/\?a=1$"), lambda route: route.fulfill(body="arrived", content_type="text/html"))
        page.goto(f"{app.url}gpt?a=1#lab=x")
        page.wait_for_url(f"{app.url}gpt/?a=1#lab=x")
        expect(page.locator("body")).to_have_text("arrived")
