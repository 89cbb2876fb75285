"""One way to write numbers: what Python writes (gpt_demo/format.py) and what the page writes (page/numbers.js)."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from node import Node, module

from gpt_demo.format import number

pytest_plugins = ["node"]
NUMBERS = module("page/numbers.js")


def written(node: Node, function: str, *calls: list[Any]) -> list[str]:
    """What the page's function writes of these arguments."""
    script = f"calls => {NUMBERS}.then((all) => calls.map((given) => all[{function!r}](...given)))"
    found: list[str] = node.evaluate(script, list(calls))
    return found


def values() -> list[float | None]:
    rng = random.Random(5)
    sizes = [rng.choice((-1, 1)) * 10 ** rng.uniform(-9, 24) * rng.random() for _ in range(3000)]
    ties = [k / 8 + whole for k in range(-16, 17) for whole in (0, 1, 999, 1e6, -1e6)]  # halves are exact in binary
    rounded = [round(rng.uniform(-10, 2000), rng.randrange(5)) for _ in range(2000)]
    odd = [0.0, -0.0, 1.005, 2.675, -0.004, 999.995, 999_999.5, 1e15 + 0.5, 1e20, 1e21, -1e21, 1.5e300, 5e-324]
    return [*sizes, *ties, *rounded, *odd, None, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
def test_python_and_page_write_the_same_number(node: Node, digits: int) -> None:
    given = values()
    assert written(node, "number", *[[x, digits] for x in given]) == [number(x, digits) for x in given]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (12345.678, 2, "12,345.68"),
        (-1.5, 0, "\N{MINUS SIGN}2"),
        (0.5, 0, "1"),
        (1.005, 2, "1.00"),  # below 1.005 in binary
        (-0.004, 2, "0.00"),
        (None, 2, "\N{EN DASH}"),
        (math.inf, 2, "\N{EN DASH}"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_shares_and_odds_round_to_nothing_and_all_only_where_they_are(node: Node) -> None:
    shares = [0, 1e-9, 0.000049, 0.0001, 0.00994, 0.123456, 0.9994, 0.9996, 1, math.nan]
    assert written(node, "percent", *[[p] for p in shares]) == [
        "0 %", "<0.01 %", "<0.01 %", "0.01 %", "0.99 %", "12.3 %", "99.9 %", ">99.9 %", "100 %", "\N{EN DASH}",
    ]  # fmt: skip
    assert written(node, "odds", *[[math.log(p)] for p in (0.5, 0.00011, 2e-5, 2.9e-8)], [-40]) == [
        "50.0 %", "0.01 %", "1 in 50,000", "1 in 34 million", "e^\N{MINUS SIGN}40",
    ]  # fmt: skip
    assert written(node, "logarithm", [-math.inf], [-1.234], [-0.001, 2]) == [
        "\N{MINUS SIGN}\N{INFINITY}", "\N{MINUS SIGN}1.23", "0.00",
    ]  # fmt: skip
    assert written(node, "score", [-12.345], [-0.00012345], [0], [-1234.5]) == [
        "\N{MINUS SIGN}12.3", "\N{MINUS SIGN}1.23e\N{MINUS SIGN}4", "0", "\N{MINUS SIGN}1,235",
    ]  # fmt: skip
