"""What an evaluation reads, what it may cost, and that it is given up when the run is to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from gpt_demo.events import Evaluated, Evaluating, Event, Finished, Sampled, Stepped
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.text.data import Split
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training import measuring, watch
from gpt_demo.training.config import preset
from gpt_demo.training.loop import train
from gpt_demo.training.measuring import SHARE, Evaluation
from gpt_demo.training.plan import Plan, TrainConfig
from gpt_demo.training.state import TrainState, make_optimizer

QUICK = preset("quick")
LONG = Split(torch.arange(2_000_000) % 1024, torch.arange(300_000) % 1024)
TEXT = torch.arange(600) % 250
SMALL = TrainConfig(
    max_steps=6, batch_size=2, warmup_steps=0, eval_interval=4, sample_interval=100, sample_prompt="a", sample_tokens=3
)


def planned(config: TrainConfig, split: Split = LONG, shape: GPTConfig = QUICK.model, sample: int = 0) -> Evaluation:
    return Evaluation.of(config, shape, Plan.of(config, shape.n_ctx, len(split.train)), split, sample)


# What is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"eval_interval": 7}, {"max_steps": 5000}, {"trainable": "lora"}])
def test_on_a_long_text_evaluations_take_a_tenth_of_the_computing(changes: dict[str, Any]) -> None:
    config = replace(QUICK.train, max_steps=1000, **{k: v for k, v in changes.items() if k != "max_steps"})
    config = replace(config, max_steps=changes.get("max_steps", 1000))
    evaluation = planned(config)
    times = math.ceil(config.max_steps / config.eval_interval) + 1
    read = times * (evaluation.tokens(LONG.train) + evaluation.tokens(LONG.val))
    trained = config.max_steps * config.batch_size * 128 * (2 if config.trainable == "lora" else 3)
    assert 0.8 * SHARE < read / trained <= SHARE


def test_the_sample_is_spread_and_always_the_same() -> None:
    evaluation = planned(QUICK.train)
    starts = [int(x[0]) for xs, _ in evaluation.batches(torch.arange(300_000)) for x in xs]
    assert len(starts) == evaluation.windows < 100
    assert starts == [int(x[0]) for xs, _ in evaluation.batches(torch.arange(300_000)) for x in xs]
    gaps = [b - a for a, b in pairwise(starts)]
    assert max(gaps) - min(gaps) <= 128
    assert starts[0] < max(gaps)
    assert starts[-1] > 300_000 - max(gaps) - 128


def test_a_short_text_is_read_whole() -> None:
    split = Split(torch.arange(10_000), torch.arange(1_000))
    evaluation = planned(QUICK.train, split)
    assert [int(y) for _, ys in evaluation.batches(split.val) for y in ys.flatten()] == list(range(1, 1_000))
    assert sum(y.numel() for _, y in evaluation.batches(split.train)) == 8 * 128  # as many windows


def test_all_on_request() -> None:
    evaluation = planned(replace(QUICK.train, evaluate_on="all"))
    assert evaluation.tokens(LONG.val) == len(LONG.val) - 1
    assert sum(y.numel() for _, y in evaluation.batches(LONG.val)) == len(LONG.val) - 1
    assert sum(y.numel() for _, y in evaluation.batches(LONG.train)) == pytest.approx(len(LONG.val), abs=128)


def test_batches_hold_many_windows() -> None:
    sizes = [len(x) for x, _ in planned(replace(QUICK.train, eval_interval=50)).batches(LONG.val)]
    assert sizes[0] == 32
    assert len(sizes) == 2


def test_the_sample_of_a_longer_run_stays_the_one_it_began_with() -> None:
    shorter, longer = planned(QUICK.train), planned(replace(QUICK.train, max_steps=1000))
    assert shorter.windows < longer.windows
    assert planned(replace(QUICK.train, max_steps=1000), sample=shorter.windows).windows == shorter.windows


def test_the_book_draws_its_batches_as_it_does() -> None:
    config = preset("book").train
    evaluation = planned(config, Split(TEXT, TEXT[:100]), GPTConfig(n_ctx=8, n_embd=8, n_head=1, n_layer=1))
    torch.manual_seed(1)
    shuffled = [x.tolist() for x, _ in evaluation.batches(evaluation.split.train)]
    assert len(shuffled) == 5
    assert shuffled != [x.tolist() for x, _ in evaluation.batches(evaluation.split.train)]
    assert next(evaluation.batches(evaluation.split.val))[0].tolist() == TEXT[:16].view(2, 8).tolist()


# Stopping -------------------------------------------------------------------------------------------------------------


def events(tiny: Any, config: TrainConfig, stopping: Callable[[], bool]) -> Iterator[Event]:
    torch.manual_seed(1)
    model = tiny()
    state = TrainState(model, make_optimizer(model, config))
    return train(state, Split(TEXT, TEXT[:100]), byte_level(), config, "fp32", stopping)


def stopped_after(tiny: Any, config: TrainConfig, step: int) -> list[Event]:
    """The events of a run that is asked to stop once this step is done."""
    seen: list[Event] = []
    for event in events(tiny, config, lambda: any(isinstance(e, Stepped) and e.step == step for e in seen)):
        seen.append(event)
    return seen


def test_a_run_that_is_stopped_is_measured_where_it_stops(tiny: Any) -> None:
    seen = stopped_after(tiny, SMALL, 1)
    assert [type(e) for e in seen] == [Evaluated, Sampled, Stepped, Stepped, Evaluated, Stepped]
    assert [e.step for e in seen if isinstance(e, Evaluated)] == [0, 2]


def test_without_evaluations_a_stop_has_none(tiny: Any) -> None:
    assert not [e for e in stopped_after(tiny, replace(SMALL, eval_interval=0), 1) if isinstance(e, Evaluated)]


def test_a_stop_is_answered_inside_an_evaluation(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up when its time is over; the step is told all the same, and no other one is begun."""
    monkeypatch.setattr(measuring, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(watch, "UPDATE_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "LOGITS", 0)
    seen: list[Event] = []
    for event in events(tiny, replace(SMALL, max_steps=40), lambda: any(isinstance(e, Evaluating) for e in seen)):
        seen.append(event)
    assert [type(e) for e in seen] == [Evaluating, Stepped]
    assert seen[0].done < seen[0].total  # type: ignore[attr-defined]


def test_a_stop_is_answered_inside_a_sample(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "GRACE_SECONDS", math.inf)  # on a busy machine too the evaluation is not given up
    asked = iter([True])
    config = replace(SMALL, max_steps=40, sample_tokens=10**5)
    seen = list(events(tiny, config, lambda: next(asked, True)))
    assert [type(e) for e in seen] == [Evaluated, Stepped]


def test_an_evaluation_that_was_given_up_is_made_up_for(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, eval_batches=2)  # drawn: the random numbers must be those of a run without a stop
    whole = [e.loss for e in events(tiny, config, lambda: False) if isinstance(e, Stepped)]
    torch.manual_seed(1)
    model = tiny()
    state = TrainState(model, make_optimizer(model, config))
    split = Split(TEXT, TEXT[:100])
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "GRACE_SECONDS", 0.0)
        first = list(train(state, split, byte_level(), config, "fp32", lambda: True))
    assert [type(e) for e in first] == [Stepped]
    rest = list(train(state, split, byte_level(), config, "fp32"))
    assert isinstance(rest[0], Evaluated)
    assert rest[0].step == 0
    assert [e.loss for e in [*first, *rest] if isinstance(e, Stepped)] == whole


# Patience -------------------------------------------------------------------------------------------------------------


def scripted(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    script = iter(losses)

    def measure(*_args: Any) -> Iterator[int]:
        yield 1
        return 1.0, next(script)

    monkeypatch.setattr(watch, "measure", measure)


def test_patience_ends_a_run_and_the_best_model_writes(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 5.0, 3.0, 3.5, 3.0, 9.0)
    told = list(events(tiny, replace(SMALL, max_steps=60, eval_interval=2, patience=2), lambda: False))
    end = told[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.steps, end.best_step, end.best_val_loss) == ("patience", 7, 2, 3.0)
    assert end.best_sample is not None
    assert end.best_sample.startswith("a")
    last = [e for e in told if isinstance(e, Sampled)][-1]
    assert last.step == 6, "the finished model writes, too"


def test_the_quick_preset_ends_soon_after_its_lowest_loss(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the sample story that comes after some 100 steps; what follows is waiting."""
    scripted(monkeypatch, 6.0, 5.0, 4.5, 4.2, 4.1, *[4.2] * 10)
    quick = {"eval_interval": QUICK.train.eval_interval, "patience": QUICK.train.patience}
    end = list(events(tiny, replace(SMALL, max_steps=600, **quick), lambda: False))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.best_step, end.steps) == ("patience", 100, 176)


def test_without_patience_or_a_validation_text_it_goes_on(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for losses, patience in ((range(1, 20), 0), ([math.nan] * 20, 1)):
        scripted(monkeypatch, *losses)
        end = list(events(tiny, replace(SMALL, eval_interval=1, patience=patience), lambda: False))[-1]
        assert isinstance(end, Finished)
        assert (end.reason, end.steps) == ("done", 6)
