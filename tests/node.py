"""The scripts without a browser, for those that draw nothing: one node for a whole run of tests, milliseconds a call.

A test module that has `pytest_plugins = ["node"]` can use the fixture `node`. Node comes with requirements-dev.txt.
(PYTEST_DONT_REWRITE: test modules import it too, before pytest could rewrite its asserts.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_demo.paths import ASSETS

HERE = Path(__file__).parent


class Node:
    """JavaScript in, JSON out; what one call leaves on `globalThis` the next one finds."""

    def __init__(self) -> None:
        program = Path(sys.executable).with_name("node")
        if not program.exists():
            pytest.fail(f"{program} is missing. Install it: pip install -r requirements-dev.txt", pytrace=False)
        command = [program, HERE / "evaluator.js"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of an expression; of a function, what it gives for the argument. A promise is waited for."""
        code = f"((it) => (typeof it === 'function' ? it({json.dumps(argument)}) : it))({script})"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline(), object_hook=_number)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        self._process.communicate(timeout=10)


def _number(record: dict[str, Any]) -> Any:
    """NaN and infinity, which JSON can't hold, come as {"number": "NaN"}."""
    return float(record["number"]) if record.keys() == {"number"} else record


def module(name: str) -> str:
    """JavaScript for the promise of a script of assets/."""
    return f"import({json.dumps((ASSETS / name).as_uri())})"


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()
