"""The examples of CONTRIBUTING do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import App, Visitor, start_app
from playwright.sync_api import Route, expect

from gpt_demo.paths import ASSETS
from gpt_demo.store.store import STARTER

pytest_plugins = ["browser"]
ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PRINTED = [
    "top_a 2 of 3\n",
    "[97, 32, 100, 97, 114, 116, 256] a dart 256\n",
    "GPTConfig(n_vocab=1024, n_ctx=128, n_embd=64, n_head=2, n_layer=1",
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("contributing"), starter=ASSETS / STARTER)
    yield app
    app.close()


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def test_no_example_is_missed() -> None:
    assert len(examples("python")) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_the_python_examples_run(number: int) -> None:
    code = examples("python")[number]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert PRINTED[number] in done.stdout, done.stderr


@pytest.mark.browser
def test_the_panel_is_on_the_page(app: App, visitor: Visitor) -> None:
    (panel,) = examples("js")

    def main(route: Route) -> None:
        body = (ROOT / "assets/main.js").read_text(encoding="utf-8")
        route.fulfill(body=f'import "./playground/example.js";\n{body}', content_type="text/javascript")

    visitor.context.route("**/main.js", main)
    example = {"body": panel, "content_type": "text/javascript"}
    visitor.context.route("**/playground/example.js", lambda route: route.fulfill(**example))
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    page.get_by_role("tab", name="Seed", exact=True).click()
    expect(page.locator(".panel-seed")).to_have_text("The seed is 1.")


def test_the_picture_of_the_storeys_names_every_package() -> None:
    (picture,) = re.findall(r"```\n(app\.py\n.*?)```", TEXT, re.S)
    named = set(re.findall(r"\w+", picture))
    packages = {path.parent.name for path in (ROOT / "gpt_demo").rglob("__init__.py")} - {"gpt_demo"}
    assert packages <= named
