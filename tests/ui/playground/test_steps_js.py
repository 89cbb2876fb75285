"""The five steps as the page knows them (assets/playground/steps.js): the core's, and the same in every panel."""

from __future__ import annotations

import math
from typing import Any

import pytest
from node import Node, module

from gpt_demo.decoding.race import lane_of
from gpt_demo.decoding.steps import STEPS, table
from gpt_demo.errors import UserError

pytest_plugins = ["node"]
VALUES = [
    -math.inf, -1, -1e-12, 0, 5e-324, 1e-10, 1e-9, 0.001, 0.05, 0.5, 0.999999, 1, 1.0000001, 1.5, 2, 20, 1e7, 2e7, 1e9,
    1e9 + 1, 1e300, math.inf, math.nan,
]  # fmt: skip
WILD = [
    {"name": "temperature", "value": 0.05},
    {"name": "repetition_penalty", "value": 20},
    {"name": "top_k", "value": 20_000_000},
]


def call(node: Node, name: str, function: str, *arguments: Any) -> Any:
    script = f"given => {module(name)}.then((all) => all[{function!r}](...given))"
    return node.evaluate(script, list(arguments))


def test_the_table_is_the_cores(node: Node) -> None:
    found = node.evaluate(f"{module('playground/steps.js')}.then(({{ STEPS }}) => STEPS)")
    shared = ("off", "low", "high", "open", "whole", "greedy")
    assert {name: {key: step[key] for key in shared} for name, step in found.items()} == {
        step["name"]: {key: step[key] for key in shared} for step in table()
    }
    assert call(node, "playground/steps.js", "chainOf", {}) == [
        {"name": step.name, "value": step.off} for step in STEPS.values()
    ]


def possible(name: str, value: float) -> bool:
    """For the core; the page has no 2.0 that is not 2."""
    try:
        STEPS[name].check(int(value) if math.isfinite(value) and value == int(value) else value, setting=True)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("name", STEPS)
def test_the_page_takes_what_the_core_takes(node: Node, name: str) -> None:
    for value in VALUES:
        assert call(node, "playground/steps.js", "holds", name, value) == possible(name, value), value
        assert possible(name, call(node, "playground/steps.js", "nearest", name, value)), value
        if possible(name, value):
            assert call(node, "playground/steps.js", "nearest", name, value) == value


def test_a_setting_is_the_same_in_write_in_a_lane_and_in_a_link(node: Node) -> None:
    [lane] = call(node, "playground/lanes.js", "lanesOf", {"lanes": [{"name": "Wild", "steps": WILD}]})
    assert lane["steps"] == WILD
    cleaned = call(node, "playground/link.js", "clean", {"steps": WILD})
    assert cleaned["wrong"] == []
    assert [step for step in cleaned["state"]["steps"] if step in WILD] == WILD
    assert all(call(node, "playground/steps.js", "holds", step["name"], step["value"]) for step in WILD)
    assert len(lane_of(lane).transforms) == 3
