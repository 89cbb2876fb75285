"""Fit to my clock: real steps are timed, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import TEXT, small

from gpt_demo.runs.pace import Pace, measure_pace
from gpt_demo.runs.preparing import prepare

PACE = Pace(step=0.1, evaluation=2.0, sample=1.0, steps_per_epoch=40)


def test_seconds() -> None:
    config = small(eval_interval=50, sample_interval=20)
    assert PACE.seconds(config, 200) == pytest.approx(200 * 0.1 + (200 / 50 + 1) * 2.0 + 200 / 20 * 1.0)


def test_seconds_without_evaluations_and_with_a_sample_per_epoch() -> None:
    config = small(eval_interval=0, sample_interval=0)
    assert PACE.seconds(config, 200) == pytest.approx(200 * 0.1 + 200 / 40 * 1.0)


@given(st.floats(0.001, 10), st.floats(0, 10), st.floats(0, 10), st.integers(0, 100), st.floats(0, 1e6))
def test_steps_fit_into_the_time(step: float, evaluation: float, sample: float, interval: int, seconds: float) -> None:
    pace, config = Pace(step, evaluation, sample, 40), small(eval_interval=interval, sample_interval=interval)
    steps = pace.steps(config, seconds)
    assert steps >= 50
    assert steps % 10 == 0
    if steps > 50:
        assert pace.seconds(config, steps) <= seconds * 1.001
        assert pace.seconds(config, steps + 11) >= seconds * 0.999


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batches": "windows", "epochs": 2, "sample_interval": 0, "eval_batches": 2},
        {"val_fraction": 0.0, "eval_interval": 5},
        {"eval_interval": 0, "grad_accum_steps": 2, "eval_batches": 0},
        {"target_loss": 100.0},
    ],
)
def test_measuring_leaves_the_random_state(changes: dict[str, object]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    pace = measure_pace(prepare(TEXT, small(**changes)), budget=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert 0 < pace.step < 10
    assert 0 <= pace.evaluation < 10
    assert 0 < pace.sample < 10


def test_a_measured_pace_can_be_used() -> None:
    prepared = prepare(TEXT, small())
    pace = measure_pace(prepared, budget=0)
    assert pace.steps_per_epoch == prepared.plan.steps_per_epoch
    assert pace.steps(prepared.config, 60.0) > 50
