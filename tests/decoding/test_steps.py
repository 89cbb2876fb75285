"""The table of the five steps: what all who speak of them take from it, or are held equal to."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import gpt_demo.cli.main as cli
from gpt_demo.decoding.generate import Sampling
from gpt_demo.decoding.race import lane_of
from gpt_demo.decoding.steps import STEPS, Step, table
from gpt_demo.decoding.transforms import TRANSFORMS, chain
from gpt_demo.errors import UserError
from gpt_demo.ui.api import Api

ORDER = ["repetition_penalty", "temperature", "top_k", "top_p", "min_p"]
# (value, whether a transform takes it, whether a setting takes it)
VALUES: dict[str, list[tuple[Any, bool, bool]]] = {
    "repetition_penalty": [
        (1e-9, True, True), (0.05, True, True), (20_000_000, True, True), (1e9, True, True),
        (0, False, False), (9e-10, False, False), (1.1e9, False, False),
    ],
    "temperature": [
        (1e-9, True, True), (0.05, True, True), (20, True, True), (1e9, True, True),
        (0, False, True), (0.0, False, True), (-1, False, False), (9e-10, False, False), (1.1e9, False, False),
    ],
    "top_k": [
        (0, True, True), (1, True, True), (20_000_000, True, True), (10**9, True, True),
        (-1, False, False), (10**9 + 1, False, False), (1.0, False, False),
    ],
    "top_p": [(1e-300, True, True), (1, True, True), (0, False, False), (1.0001, False, False)],
    "min_p": [(0, True, True), (1, True, True), (-1e-9, False, False), (1.0001, False, False)],
}  # fmt: skip
BAD = [None, "1", True, float("nan"), float("inf"), [1]]


def taken(make: Any, value: Any) -> bool:
    try:
        make(value)
    except UserError:
        return False
    return True


def settings_of(step: Step) -> list[Any]:
    """All who take the step as a setting of how to draw."""
    return [
        lambda value: Sampling(**{step.name: value}),
        lambda value: lane_of({"steps": [{"name": step.name, "value": value}]}),
        lambda value: lane_of({"steps": [{"name": step.name, "value": value}], "greedy": True}),
    ]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_transforms_and_settings_take_what_the_table_says(step: Step) -> None:
    values = [*VALUES[step.name], *((bad, False, False) for bad in BAD)]
    for value, as_transform, as_setting in values:
        assert taken(TRANSFORMS[step.name], value) == as_transform, value
        assert [taken(make, value) for make in settings_of(step)] == [as_setting] * 3, value


def test_the_order_is_that_of_chain() -> None:
    on = {"temperature": 0.7, "top_k": 3, "top_p": 0.5, "min_p": 0.2, "repetition_penalty": 1.5}
    assert list(STEPS) == list(TRANSFORMS) == [step.name for step in chain(**on)] == ORDER  # type: ignore[arg-type]


def test_off_values_are_the_defaults_everywhere() -> None:
    off = {name: step.off for name, step in STEPS.items()}
    assert chain(**off) == ()  # type: ignore[arg-type]
    for function in (chain, Sampling, Api.generate, Api.next_token_distribution):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in ORDER} == off
    options = cli._parse(["generate", "--model", "x"])
    assert {name: getattr(options, name) for name in ORDER} == off


def test_a_value_out_of_range_is_said_with_the_range() -> None:
    with pytest.raises(UserError) as error:
        Sampling(temperature=-1)
    assert str(error.value) == (
        "temperature is -1; it must be a number from 1e-09 to 1e+09 (1 turns it off, 0 is greedy decoding)."
    )
    with pytest.raises(UserError) as error:
        chain(top_p=0)
    assert str(error.value) == "top_p is 0; it must be a number above 0 and at most 1 (1 turns it off)."


def test_the_table_is_json() -> None:
    assert [row["name"] for row in json.loads(json.dumps(table(), allow_nan=False))] == ORDER
    assert table()[1] == {
        "name": "temperature", "field": "t", "off": 1.0, "low": 1e-9, "high": 1e9, "open": False, "whole": False,
        "greedy": 0.0, "words": "below 1: safer; above 1: wilder",
    }  # fmt: skip


def test_the_table_needs_no_torch() -> None:
    code = "import sys, gpt_demo.decoding.steps; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
