"""What a run takes, before it starts: measured against real runs, and what is said where it does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from small import Home, small

from gpt_demo.devices import available_memory
from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.training import estimate
from gpt_demo.training.config import RunConfig
from gpt_demo.training.estimate import check_memory, fine_tuning, memory_by_part, training_memory
from gpt_demo.training.plan import Trainable


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def of_size(size: str, **changes: Any) -> RunConfig:
    return replace(small(), model=GPT2_SIZES[size]).changed({"window": 128, **changes})


def have(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda: int(free))


@pytest.mark.parametrize(
    "changes",
    [{"n_embd": 10**7, "n_head": 1}, {"n_layer": 10**9}, {"batch_size": 10**12}, {"n_embd": 10**30, "n_head": 1}],
)
def test_a_run_that_does_not_fit_is_refused(home: Home, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"needs about [\d,.e+]+ GB of memory, but [\d.]+ GB are available\. Lower"):
        home.run(**changes)
    assert home.runs.list() == []


def test_a_run_that_fits(home: Home) -> None:
    check_memory(home.run().info and small())
    assert 0 < training_memory(small()) < 10**7 < available_memory()


def test_parts_of_a_model_take_less(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = memory_by_part(of_size("124M"))
    assert list(needs) == list(get_args(Trainable))
    assert needs["all"] > 5 * 4 * 124e6
    weights = 4 * 124e6
    assert all(weights < needs[part] < 0.6 * needs["all"] for part in ("last_blocks", "lora"))
    longer = memory_by_part(of_size("124M", window=1024))
    assert all(longer[part] > needs[part] for part in needs)
    assert longer == memory_by_part(of_size("124M", window=0))


def test_what_would_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = of_size("355M")
    needs = memory_by_part(config)
    last, lora = r"the last 2 blocks \(about [\d.]+ GB\)", r"LoRA of rank 8 \(about [\d.]+ GB\)"
    for free, ways in (
        (needs["lora"], rf"Train {last} or {lora} instead, or lower"),
        (needs["last_blocks"], rf"Train {last} instead, or lower"),
        (1e6, r"Use a smaller model, or lower"),
    ):
        have(monkeypatch, free / 0.89)
        with pytest.raises(UserError, match=rf"of memory, but .* available\. {ways} batch_size or window\.$"):
            check_memory(config, from_model=True)
        with pytest.raises(UserError, match=r"available\. Lower n_embd"):
            check_memory(config)
    have(monkeypatch, needs["all"] / 0.89)
    check_memory(config, from_model=True)
    have(monkeypatch, needs["lora"] / 0.89)
    check_memory(of_size("355M", trainable="lora"), from_model=True)


def test_going_on_from_a_model_asks_for_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = fine_tuning(of_size("355M", window=0))
    needs = memory_by_part(config)
    for part in ("all", "lora", "last_blocks"):
        have(monkeypatch, needs[part] / 0.89)
        tuned = fine_tuning(of_size("355M", window=0)).train
        assert (tuned.trainable, tuned.window, tuned.batch_size, tuned.max_steps) == (part, 128, 2, 100)
        assert tuned.learning_rate == (1e-3 if part == "lora" else 1e-4)
    have(monkeypatch, 0)
    assert fine_tuning(of_size("1558M")).train.trainable == "last_blocks", "the least where nothing fits"
    assert fine_tuning(small()).train.window == 0, "a short context is trained whole"


def test_a_run_from_a_model_that_does_not_fit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.train(home.run("parent"))
    have(monkeypatch, 1000)
    with pytest.raises(UserError, match=r"available\. Use a smaller model, or lower batch_size or window\."):
        home.run("child", base="parent")


PEAK = """
import json, os, resource, sys, tempfile, torch
from pathlib import Path
from small import TEXT, Home, preset
from gpt_demo.training.estimate import training_memory
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.recipes import create_run
from gpt_demo.text.tokenizer import make

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def in_a_child(work, *args):
    if os.fork() == 0:  # what it takes is not counted here
        work(*args)
        os._exit(0)
    assert os.wait()[1] == 0

def keep(home, shape):
    home.store.save("base", shape, GPT(shape).state_dict(), make("bytes"), {})

def measure(changes, path):
    home = Home(path)
    def train(config, base=None):
        folder = create_run(home.runs, home.store, 9 * TEXT, config, base=base)
        any(event.kind == "stepped" and event.step == 1 for event in home.job(folder))
        return folder.info["config"]
    config = preset("quick", {**changes, "eval_interval": 1, "eval_batches": 1, "sample_tokens": 1})
    nothing = {"n_embd": 8, "n_head": 1, "n_layer": 1, "n_ctx": 8, "batch_size": 1, "trainable": "all"}
    train(config.changed(nothing))
    in_a_child(keep, home, config.changed({"n_vocab": 257}).model)
    before = peak()
    used = config.from_dict(train(config, "base" if "trainable" in changes else None))
    print(training_memory(used) / (peak() - before), flush=True)

def in_a_folder(changes):
    with tempfile.TemporaryDirectory() as folder:
        measure(changes, Path(folder))

torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])  # imports a lot when it is first used
for changes in json.loads(sys.argv[1]):
    in_a_child(in_a_folder, changes)
"""


def test_the_estimate_is_right_within_a_factor_of_two() -> None:
    weights = {"n_embd": 512, "n_head": 8, "n_layer": 2, "n_ctx": 16, "batch_size": 2}
    activations = {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_ctx": 256, "batch_size": 8}
    last = {**weights, "n_layer": 4, "trainable": "last_blocks", "last_blocks": 1}
    lora = {**activations, "n_layer": 4, "trainable": "lora"}
    shapes = [weights, {**activations, "dropout": 0.1}, last, lora]
    shapes = [{**shape, "tokenizer": "bytes", "precision": "fp32"} for shape in shapes]
    paths = os.pathsep.join(str(Path(__file__).parents[i]) for i in (0, 1))
    command = [sys.executable, "-c", PEAK, json.dumps(shapes)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    ratios = [float(line) for line in done.stdout.split()]
    assert len(ratios) == len(shapes), done.stderr
    assert all(0.5 < ratio < 2 for ratio in ratios), ratios
