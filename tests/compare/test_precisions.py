"""Precisions side by side: right figures, one at a time in memory, and everything as before afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Tiny

from gpt_demo.compare import precisions
from gpt_demo.compare.precisions import (
    PrecisionMeasured,
    PrecisionRefused,
    measure,
    measure_precisions,
    tokens_per_second,
    weights_size,
)
from gpt_demo.errors import UserError
from gpt_demo.model.quantization import PRECISIONS, lower_precision, weight_bytes
from gpt_demo.store.store import ModelStore, owner_key
from gpt_demo.text.data import covering_windows
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import make
from gpt_demo.training.evaluation import mean_loss

STORY = sample_story()[:400]


@pytest.fixture
def store(tmp_path: Path, tiny: Tiny) -> ModelStore:
    store = ModelStore(tmp_path, starter=None, budget=10**9)
    model = tiny()
    store.save("m", model.config, model.state_dict(), make("bytes"), {})
    return store


def test_every_precision_is_measured_on_the_same_tokens(store: ModelStore) -> None:
    found = list(measure_precisions(store, "m", STORY, most_tokens=100))
    assert [event.precision for event in found] == list(PRECISIONS)
    assert all(isinstance(event, PrecisionMeasured) and event.tokens == 99 for event in found)
    losses = [event.loss for event in found if isinstance(event, PrecisionMeasured)]
    assert losses[1:] != [losses[0]] * 2
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=0.01)
    assert [event.tokens_per_second > 0 for event in found if isinstance(event, PrecisionMeasured)] == [True] * 3


def test_the_loss_is_that_of_an_evaluation(tiny: Tiny) -> None:
    import torch

    model, tokenizer = tiny(), make("bytes")
    expected, tokens = mean_loss(model, covering_windows(torch.tensor(tokenizer.encode(STORY)), 16))
    event = measure(model, tokenizer, STORY, "fp32")
    assert (event.loss, event.tokens) == (expected, tokens)
    with pytest.raises(UserError, match="The text has 1 tokens"):
        measure(model, tokenizer, "a", "fp32")


@pytest.mark.parametrize("shape", [{}, {"tied_head": False, "qkv_bias": False}])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_are_those_of_the_tensors(tiny: Tiny, precision: str, shape: dict[str, bool]) -> None:
    model = lower_precision(tiny(**shape), precision)
    assert weights_size(model) == pytest.approx(weight_bytes(model.config, precision), rel=0.02)


@pytest.mark.parametrize("before", [None, "bf16"])
def test_the_model_is_in_memory_as_it_was(store: ModelStore, before: str | None) -> None:
    folder = store.get("m").folder
    if before:
        store.load("m", precision=before)
    held = store.memory.reserved()
    for event in measure_precisions(store, "m", STORY, most_tokens=20):
        assert store.memory.precision_of(folder) == event.precision
        assert len(store.memory._loaded) == 1, "never in two precisions at once"
    assert store.memory.precision_of(folder) == before
    assert store.memory.reserved() == held


def test_stopping_puts_it_back_too(store: ModelStore) -> None:
    store.load("m", precision="int8")
    events = measure_precisions(store, "m", STORY, most_tokens=20)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert store.memory.precision_of(store.get("m").folder) == "int8"


def test_a_precision_that_does_not_fit_is_refused_and_the_others_are_measured(store: ModelStore) -> None:
    from gpt_demo.store.loaded import memory_needed

    config = store.get("m").config
    store.memory.budget = memory_needed(config, "fp32") - 1
    first, *others = measure_precisions(store, "m", STORY, most_tokens=20)
    assert isinstance(first, PrecisionRefused)
    assert "m in fp32 needs" in first.message
    assert all(isinstance(event, PrecisionMeasured) for event in others)


def test_what_is_not_there_is_said_at_the_call(store: ModelStore, tiny: Tiny) -> None:
    with pytest.raises(UserError, match="There is no model named 'x'"):
        measure_precisions(store, "x", STORY)
    model = tiny()
    store.save("theirs", model.config, model.state_dict(), make("bytes"), {"owner": owner_key("a")})
    with pytest.raises(UserError, match="There is no model named 'theirs'"):
        measure_precisions(store, "theirs", STORY, owner_key("b"))


def test_speed_leaves_the_first_token_out(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(precisions.time, "perf_counter", lambda: float(next(ticks)))
    drawn: list[int] = []

    def slow(*_: object, **__: object):  # type: ignore[no-untyped-def]
        while True:
            drawn.append(len(drawn))
            yield None

    monkeypatch.setattr(precisions, "generate", slow)
    assert tokens_per_second(tiny(), make("bytes"), seconds=3, most=32) == pytest.approx(3 / 4)
    assert len(drawn) == 4  # one to warm up, one at least, and as many as three ticks of the clock allow
