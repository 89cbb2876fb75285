"""The page's scripts (assets/**/*.js): what they may do, how they import each other, and how they are served."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Visitor, tiny_app
from drawn import bare_page
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gpt_demo.ui import scripts

pytest_plugins = ["browser"]
NAMES = sorted(scripts.scripts())

# A script imports from its own folder and from those after it. main.js, in none, imports what the page draws.
ORDER = ("main.js", "presenter", ("train", "playground", "models", "compare"), "page")


def source(name: str) -> str:
    return scripts.scripts()[name].decode()


def imports(name: str) -> list[str]:
    """The scripts that a script imports, each as the name of a file in assets/."""
    text = source(name)
    found = re.findall(r"""^(?:import|export)\b(?:[^;"'=(]*\bfrom)? ["']([^"']+)["'];""", text, re.MULTILINE)
    assert "import(" not in text, "The order of loading should be seen at the top of the file."
    return [posixpath.normpath(posixpath.join(posixpath.dirname(name), other)) for other in found]


def storey(name: str) -> int:
    folder = name.split("/")[0]
    return next(i for i, one in enumerate(ORDER) if folder == one or folder in one)


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_downwards(name: str) -> None:
    wing = name.split("/")[0]
    others = [other for other in imports(name) if other.split("/")[0] != wing]
    assert [other for other in others if storey(other) <= storey(name)] == []
    assert set(imports(name)) <= set(NAMES)


def test_every_script_is_imported() -> None:
    reached = {"main.js"}
    while more := {other for name in reached for other in imports(name)} - reached:
        reached |= more
    assert reached == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scripts_write_text_only_and_leave_nothing_on_window(name: str) -> None:
    text = source(name)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    assert not re.search(r"\b(window|globalThis|self)(\.\w+|\[[^]]*\])\s*=[^=]", text)


# Served ---------------------------------------------------------------------------------------------------------------


def test_only_scripts_of_this_version_are_served() -> None:
    client = TestClient(Starlette(routes=[scripts.route()]))
    answer = client.get(f"/{scripts.folder()}/page/dom.js")
    assert answer.text == source("page/dom.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    for path in (
        "story.txt",
        "page/page.css",
        "page",
        "",
        "../pyproject.toml",
        "%2e%2e/start.py",
        "starter/config.json",
    ):
        assert client.get(f"/{scripts.folder()}/{path}").status_code == 404
    assert client.get("/scripts/another/page/dom.js").status_code == 404


def test_another_content_has_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    before = scripts.folder()
    monkeypatch.setattr(scripts, "scripts", lambda: {"main.js": b"// changed"})
    assert scripts.folder.__wrapped__() != before


@pytest.mark.browser
def test_below_a_root_path_everything_is_found(chromium: Browser) -> None:
    assert not re.search(r'(href|src)="/', scripts.tags())
    with bare_page(chromium) as page:
        assert page.url.endswith("/some/where/")
        assert sorted(name for name, _ in loaded(page)) == NAMES


# Every script that the page has loaded, with the bytes that came over the line for it.
LOADED = """performance.getEntriesByType("resource").filter(({ name }) => name.includes("/scripts/"))
  .map(({ name, transferSize }) => [name.split("/scripts/")[1].split("/").slice(1).join("/"), transferSize])"""


@pytest.mark.browser
def test_a_second_visit_fetches_no_script_again(tmp_path: Path, new_visitor: Callable[[], Visitor]) -> None:
    with tiny_app(tmp_path) as app:
        visitor = new_visitor()
        first = loaded(visitor.open(app.url))
        again = loaded(visitor.open(app.url))
        visitor.context.close()
    assert sorted(name for name, _ in first) == sorted(name for name, _ in again) == NAMES
    assert all(size > 0 for _, size in first)
    assert {name: size for name, size in again if size} == {}


def loaded(page: Page) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = page.evaluate(f"{scripts.module()}.then(() => {LOADED})")
    return found
