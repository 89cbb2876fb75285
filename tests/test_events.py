"""Events: their JSON is the command line's output, the run's record and the page's source."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import started

from gpt_demo.decoding.beams import BeamsAdvanced, Hypothesis
from gpt_demo.events import (
    TRAINING_EVENTS,
    Evaluated,
    Event,
    Finished,
    Generated,
    Measured,
    Sampled,
    Saved,
    Stepped,
    TokenChosen,
    finite,
    training_event,
)

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
WHOLE = st.integers(0, 10**15)
TEXTS = st.text(st.characters())  # lone surrogates too


def same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        (Stepped(0, 1, 2.0, 0.1, 1.0, 9.0), "event step tokens_seen loss learning_rate grad_norm tokens_per_second"),
        (Evaluated(0, 1, 0.5, 2.0, 2.5), "event step tokens_seen epoch train_loss val_loss"),
        (Sampled(0, 0.5, "text"), "event step epoch text"),
        (Saved("path"), "event path"),
        (TokenChosen(5, " the", -0.5), "event id text logprob"),
        (Generated("text", 5, 9.0, "length"), "event text tokens tokens_per_second reason"),
        (Measured(2.0, 7.4, 10), "event loss perplexity tokens"),
    ],
)
def test_json_has_the_promised_keys(event: Event, keys: str) -> None:
    assert " ".join(json.loads(event.to_json())) == keys


def test_kinds() -> None:
    assert list(TRAINING_EVENTS) == ["started", "stepped", "evaluated", "sampled", "saved", "finished"]
    assert [cls.kind for cls in (TokenChosen, Generated, Measured)] == ["token", "finished", "finished"]


@given(st.builds(Stepped, WHOLE, WHOLE, FLOATS, FLOATS, FLOATS, FLOATS))
def test_numbers_come_back_and_what_json_lacks_is_nan(event: Stepped) -> None:
    line = event.to_json()
    assert "NaN" not in line
    assert "Infinity" not in line
    again = training_event(line)
    for name, value in vars(event).items():
        assert same(getattr(again, name), value if math.isfinite(value) else math.nan)


@given(st.builds(Sampled, WHOLE, st.floats(0, 1e6), TEXTS))
def test_any_text_is_one_line_of_ascii(event: Sampled) -> None:
    line = event.to_json()
    assert line.isascii()
    assert line.isprintable()
    assert training_event(line) == event
    assert training_event(line.encode()) == event


def test_none_stays_none_where_a_field_may_be_none() -> None:
    event = Finished(3, 30, 1.5, "done", 2.0, None, None, None)
    assert training_event(event.to_json()) == event


def test_nested_values_are_finite_too() -> None:
    record = json.loads(started(references={"bigram": math.nan}, config={"a": [math.inf, {"b": -math.inf}]}).to_json())
    assert record["references"] == {"bigram": None}
    assert record["config"] == {"a": [None, {"b": None}]}
    assert finite((1.0, math.nan, "NaN", True, None)) == [1.0, None, "NaN", True, None]


def test_dataclasses_within_are_dicts() -> None:
    best = Hypothesis((1, 2), -math.inf, -0.5, 0, False)
    record = json.loads(BeamsAdvanced(0, (best,), (), (), ()).to_json())
    assert record["live"] == [{"ids": [1, 2], "logprob": None, "score": -0.5, "parent": 0, "finished": False}]


def test_settings_keep_their_none() -> None:
    event = training_event(started().to_json())
    assert event == started()


def test_unknown_fields_are_left_out() -> None:
    record = json.loads(Stepped(3, 30, 2.0, 0.1, 1.0, 9.0).to_json()) | {"temperature_of_the_room": 21}
    assert training_event(json.dumps(record)) == Stepped(3, 30, 2.0, 0.1, 1.0, 9.0)


@pytest.mark.parametrize(
    "line",
    [
        "", "\n", "{", '{"event": "stepped"', '{"event": "stepped"}', '{"event": "melted", "step": 1}', "[]", "7",
        "null", '"stepped"', '{"step": 1}', '{"event": []}', '{"event": "sampled", "step": 1, "epoch": 0.1, "text": "',
        "[" * 100_000, b'{"event": "saved", "path": "\xff\xfe"}', b"\x00\x00",
    ],
)  # fmt: skip
def test_other_lines_are_refused(line: str | bytes) -> None:
    with pytest.raises(ValueError, match="not a training event"):
        training_event(line)
