"""The README's examples do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import App, start_app

from gpt_demo.paths import ASSETS
from gpt_demo.store.store import STARTER

pytest_plugins = ["browser"]
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("readme"), starter=ASSETS / STARTER)
    yield app
    app.close()


def example(language: str, app: App) -> str:
    """The README's one example in this language, asking the test's app."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    assert "http://127.0.0.1:7860" in code
    return code.replace("http://127.0.0.1:7860", app.url.rstrip("/"))


def test_the_python_example_streams_text_and_shows_what_is_drawn_from(app: App) -> None:
    done = subprocess.run([sys.executable, "-c", example("python", app)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Nell said" in done.stdout
    drawn = [float(line.split()[-1]) for line in done.stdout.splitlines()[-5:]]
    assert sum(drawn) == pytest.approx(1, abs=1e-4)  # top-k 5: nothing else can be drawn


def test_the_curl_example_gives_the_stages(app: App) -> None:
    assert all(map(shutil.which, ("curl", "bash"))), "this test needs curl and bash; install them"
    done = subprocess.run(["bash", "-c", example("bash", app)], capture_output=True, text=True, timeout=60)
    assert '"name": "temperature"' in done.stdout, done.stdout + done.stderr
    assert '"kept": 5' in done.stdout
