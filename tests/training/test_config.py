"""Settings: one source of defaults, any change checked, and a command that says exactly what was chosen."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt_demo.cli.main import _parse
from gpt_demo.cli.train import changes_of
from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.training.config import (
    EXPLANATIONS,
    FIELDS,
    PRESETS,
    DataConfig,
    RunConfig,
    command_line,
    describe,
    is_optional,
    parse_value,
    preset,
)
from gpt_demo.training.plan import Plan, TrainConfig, learning_rate

CONTRACT = (
    "epochs", "max_steps", "batch_size", "grad_accum_steps", "learning_rate", "min_learning_rate", "warmup_steps",
    "weight_decay", "grad_clip", "eval_interval", "eval_batches", "sample_interval", "sample_prompt", "save_seconds",
    "val_fraction", "split", "stride", "seed", "precision", "tokenizer", "n_vocab", "n_ctx", "n_embd", "n_head",
    "n_layer", "dropout", "qkv_bias", "tied_head",
)  # fmt: skip

SPECIAL = {
    "val_fraction": st.floats(0, 0.5),
    "dropout": st.floats(0, 1, exclude_max=True),
    "learning_rate": st.floats(0, 10, exclude_min=True),
    "n_embd": st.just(24),
    "n_head": st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]),
    "layer_norm_epsilon": st.floats(1e-8, 0.1),
    "epochs": st.integers(1, 9),
    "sample_temperature": st.just(0.0) | st.floats(0.01, 100),
}


def values(name: str) -> st.SearchStrategy[Any]:
    """Possible values of a setting."""
    kind = FIELDS[name]
    if name in SPECIAL:
        return SPECIAL[name]
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(1, 99_999)
    if kind is str:
        return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    if is_optional(name):
        return st.none() | st.floats(0, 10)
    return st.floats(0, 1e6) if kind is float else st.sampled_from(get_args(kind))


CHANGES = st.fixed_dictionaries({}, optional={name: values(name) for name in FIELDS}).filter(
    lambda changes: changes.get("n_embd") or "n_head" not in changes
)


def parsed(command: str) -> tuple[str, RunConfig]:
    """The file and the configuration that the command line reads."""
    python, start, task, *words = shlex.split(command)
    assert (python, start, task) == ("python3", "start.py", "cli")
    options = _parse(words)
    return options.file[0], preset(options.preset, changes_of(options))


def test_every_promised_setting_exists_and_is_explained() -> None:
    assert set(CONTRACT) <= set(FIELDS)
    assert set(EXPLANATIONS) == set(FIELDS)
    assert set(PRESETS) == {"quick", "book", "steps"}
    for name in FIELDS:
        assert describe(name)
    assert "characters, tokens" in describe("split")


def test_no_name_stands_for_two_settings() -> None:
    assert len(FIELDS) == sum(len(fields(part)) for part in (DataConfig, GPTConfig, TrainConfig))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(PRESETS)), CHANGES)
@example("quick", {"sample_prompt": "- a list"})
@example("quick", {"sample_prompt": "--max-steps"})
@example("quick", {"max_steps": 5})
@example("quick", {"max_steps": 5, "epochs": 2})
@example("book", {"max_steps": 7, "sample_prompt": ""})
@example("steps", {"max_steps": 5, "decay_steps": 3, "min_learning_rate": None})
def test_command_line_round_trip(name: str, changes: dict[str, Any]) -> None:
    config = preset(name, changes)
    assert parsed(command_line("text.txt", name, config)) == ("text.txt", config)


def test_the_command_of_a_run_from_a_model_leaves_out_what_the_model_sets() -> None:
    config = preset("quick", {"n_layer": 2, "tokenizer": "bytes", "n_vocab": 257, "window": 64, "dropout": 0.1})
    command = command_line("x.txt", "quick", config, "gpt2-124M")
    assert command == "python3 start.py cli train x.txt --preset quick --model gpt2-124M --dropout 0.1 --window 64"


@pytest.mark.parametrize("file", ["a b.txt", "it's.txt", "-x.txt", "--resume", "$HOME.txt"])
def test_file_names_are_quoted(file: str) -> None:
    assert parsed(command_line(file, "quick", preset("quick")))[0] in (file, f"./{file}")


def test_command_names_only_what_differs() -> None:
    config = preset("quick", {"n_layer": 2, "qkv_bias": False, "min_learning_rate": None})
    options = "--n-layer 2 --qkv-bias false --min-learning-rate none"
    assert command_line("x.txt", "quick", config) == f"python3 start.py cli train x.txt --preset quick {options}"


@settings(max_examples=50)
@given(st.sampled_from(list(PRESETS)), CHANGES)
def test_dict_round_trip(name: str, changes: dict[str, Any]) -> None:
    config = preset(name, changes)
    assert RunConfig.from_dict(config.to_dict()) == config


def test_settings_of_other_versions() -> None:
    record = preset("book").to_dict()
    record["train"]["from_the_future"] = 1
    del record["train"]["seed"]  # a version that did not have it yet
    assert RunConfig.from_dict(record) == preset("book")


@pytest.mark.parametrize(
    "record",
    [
        {}, {"data": {}, "model": {}}, {"data": None, "model": {}, "train": {}}, [], None,
        {"data": {}, "model": {"n_layer": "two"}, "train": {}}, {"data": {}, "model": {"n_layer": None}, "train": {}},
        {"data": {}, "model": {"n_layer": 0}, "train": {}}, {"data": {}, "model": {"n_layer": True}, "train": {}},
    ],
)  # fmt: skip
def test_unreadable_settings(record: Any) -> None:
    with pytest.raises(UserError):
        RunConfig.from_dict(record)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n_layer", "3", 3), ("dropout", "0.25", 0.25), ("dropout", "0", 0.0), ("learning_rate", "1e-3", 1e-3),
        ("qkv_bias", "true", True), ("qkv_bias", "FALSE", False), ("tied_head", "yes", True), ("tied_head", "0", False),
        ("min_learning_rate", "none", None), ("min_learning_rate", "0.5", 0.5), ("tokenizer", "bytes", "bytes"),
        ("sample_prompt", "none", "none"), ("sample_prompt", "", ""), ("seed", " 7 ", 7),
    ],
)  # fmt: skip
def test_parse_value(name: str, text: str, value: Any) -> None:
    result = parse_value(name, text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("n_layer", "two", "a whole number"), ("n_layer", "1.5", "a whole number"), ("n_layer", "", "a whole number"),
        ("n_layer", "9" * 5000, "a whole number"), ("n_layer", "nan", "a whole number"),
        ("dropout", "some", "a number"), ("qkv_bias", "maybe", "true or false"),
        ("min_learning_rate", "no", "a number"), ("max_steps", "none", "a whole number"),
    ],
)  # fmt: skip
def test_parse_value_refuses(name: str, text: str, wanted: str) -> None:
    with pytest.raises(UserError, match=f"{name} is .* it must be {wanted}") as error:
        parse_value(name, text)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("learning_rate", "weight_decay", "grad_clip", "dropout", "val_fraction", "save_seconds")
        for value in (float("nan"), float("inf"), -1.0)
    ]
    + [(name, -1) for name in ("max_steps", "seed", "warmup_steps", "eval_interval", "stride", "n_layer", "epochs")]
    + [(name, 0) for name in ("n_layer", "n_ctx", "n_vocab", "n_head", "n_embd", "batch_size", "grad_accum_steps")]
    + [("seed", 2**32), ("seed", 10**30), ("sample_tokens", 10**6), ("sample_temperature", 1e300)]
    + [("n_head", 5), ("dropout", 1.0), ("val_fraction", 0.51), ("learning_rate", 0), ("max_steps", 0)]
    + [(name, "no such") for name in ("tokenizer", "split", "batches", "precision", "init", "decay")],
)
def test_impossible_values(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"\.$"):
        preset("quick", {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_layer", "4"), ("n_layer", 4.5), ("n_layer", None), ("n_layer", True), ("n_layer", [4]), ("dropout", "0.1"),
        ("dropout", False), ("qkv_bias", 1), ("qkv_bias", None), ("sample_prompt", None), ("sample_prompt", 3),
        ("tokenizer", None), ("tokenizer", ["gpt2"]), ("min_learning_rate", "none"), ("n_layer", float("nan")),
    ],
)  # fmt: skip
def test_values_of_another_type(name: str, value: Any) -> None:
    """What a form or a program may send."""
    with pytest.raises(UserError, match=name):
        preset("quick", {name: value})


def test_a_whole_number_may_come_as_a_float() -> None:
    layers = preset("quick", {"n_layer": 3.0}).model.n_layer
    assert (layers, type(layers)) == (3, int)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="no setting named layers, wings"):
        preset("quick", {"wings": 2, "layers": 3})
    with pytest.raises(UserError, match=r"no preset named 'slow'\. Available: quick, book, steps"):
        preset("slow")


@pytest.mark.parametrize("name", PRESETS)
def test_max_steps_keeps_the_learning_rates(name: str) -> None:
    whole, short = preset(name), preset(name, {"max_steps": 12})
    plans = [Plan.of(config.train, config.model.n_ctx, 5_000) for config in (whole, short)]
    assert plans[1].total_steps == 12 < plans[0].total_steps
    for step in range(12):
        rates = [learning_rate(c.train, p.horizon, step) for c, p in zip((whole, short), plans, strict=True)]
        assert rates[0] == rates[1]


def test_a_shortened_run_keeps_its_learning_rates_when_it_is_resumed() -> None:
    short = preset("quick", {"max_steps": 12})
    assert short.with_length({"max_steps": 20}) == preset("quick", {"max_steps": 20})
    assert preset("quick").with_length({"max_steps": 20}) == preset("quick", {"max_steps": 20})
    assert preset("quick").with_length({"max_steps": 20, "decay_steps": 20}).train.decay_steps == 20
