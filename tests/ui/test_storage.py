"""A browser that refuses its storage: in another site's frame, or in a private window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Visitor, expect_state, open_train, start_run, tiny_app

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
