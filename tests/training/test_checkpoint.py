"""Checkpoints: a run stopped anywhere goes on bit for bit; a crash or damage costs nothing but a sentence."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

import gpt_demo
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Stepped
from gpt_demo.text.data import split_text
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training import checkpoint
from gpt_demo.training.checkpoint import BASE, latest, load_checkpoint, plain_weights, save_checkpoint
from gpt_demo.training.loop import train
from gpt_demo.training.lora import freeze, merged, trained
from gpt_demo.training.plan import TrainConfig
from gpt_demo.training.state import TrainState, make_optimizer

CPU = torch.device("cpu")
BYTES = byte_level()
SPLIT = split_text("The cat sat on the mat, and the dog ran after it until both were tired. " * 2, BYTES, 0.2, "tokens")
CONFIG = TrainConfig(
    epochs=2, max_steps=0, batches="windows", batch_size=3, learning_rate=5e-3, warmup_steps=3, eval_interval=2,
    sample_interval=0, sample_prompt="The ", sample_tokens=3,
)  # fmt: skip
SHAPE = {"n_ctx": 8, "n_embd": 20, "n_layer": 1, "dropout": 0.2}  # 14 windows, 4 batches per epoch

RUNS = {
    "windows": CONFIG,
    "windows, overlapping, all measured": replace(
        CONFIG, stride=4, batch_size=5, eval_interval=1, sample_interval=1, sample_temperature=1.0
    ),
    "windows, the book's evaluation": replace(CONFIG, eval_batches=2, eval_interval=3, decay="all", grad_clip=0.0),
    "windows, accumulated across epochs": replace(CONFIG, epochs=5, batch_size=4, grad_accum_steps=2, eval_batches=1),
    "random": replace(CONFIG, batches="random", epochs=0, max_steps=8, eval_batches=2, sample_interval=3),
    "random, accumulated": replace(CONFIG, batches="random", epochs=0, max_steps=7, grad_accum_steps=2),
    "short windows": replace(CONFIG, window=6, batch_size=4),
    "the last block": replace(CONFIG, trainable="last_blocks", last_blocks=1),
    "lora": replace(CONFIG, trainable="lora", lora_rank=3),
}


def begin(tiny: Any, config: TrainConfig) -> TrainState:
    model = tiny(seed=config.seed, **SHAPE)
    torch.manual_seed(config.seed)
    freeze(model, config)
    return TrainState(model, make_optimizer(model, config))


def go_on(state: TrainState, config: TrainConfig) -> Iterator[Event]:
    yield from train(state, SPLIT, BYTES, config, "fp32")


def comparable(event: Event) -> Event:
    """Without the measured times."""
    if isinstance(event, Stepped):
        return replace(event, tokens_per_second=0.0)
    return replace(event, seconds=0.0) if isinstance(event, Finished) else event


def tensors(state: TrainState) -> dict[str, Tensor]:
    """Weights, moments, best weights and random states."""
    moments = {
        f"{name}:{key}": value
        for name, p in state.model.named_parameters()
        for key, value in state.optimizer.state.get(p, {}).items()
    }
    best = {f"best:{name}": p for name, p in state.best_weights.items()}
    return {k: v.clone() for k, v in {**state.model.state_dict(), **moments, **best, "": torch.get_rng_state()}.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stepped(tiny: Any, steps: int, config: TrainConfig = CONFIG) -> TrainState:
    """A state after so many steps."""
    state = begin(tiny, config)
    for event in go_on(state, config):
        if isinstance(event, Stepped) and state.step == steps:
            break
    return state


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(tiny: Any, tmp_path: Path, name: str) -> None:
    config = RUNS[name]
    state = begin(tiny, config)
    never_stopped = [comparable(event) for event in go_on(state, config)]
    end = tensors(state)
    kinds = {event.kind for event in never_stopped}
    assert kinds == {"stepped", "evaluated", "sampled", "finished"}, "the run would show too little"

    state = begin(tiny, config)
    places = [save_checkpoint(tmp_path / "0", state)]
    for event in go_on(state, config):
        if isinstance(event, Stepped):
            places.append(save_checkpoint(tmp_path / str(state.step), state))
    assert same(tensors(state), end), "saving changed the run"

    steps = [i for i, event in enumerate(never_stopped) if isinstance(event, Stepped)]
    assert len(places) == len(steps) + 1 >= 7
    for place, done in zip(places, [0, *(i + 1 for i in steps)], strict=True):
        torch.manual_seed(99)
        torch.rand(5)
        state = load_checkpoint(place, config, CPU)
        assert [comparable(event) for event in go_on(state, config)] == never_stopped[done:], place.name
        assert same(tensors(state), end), place.name


def test_a_state_goes_on_in_memory_too(tiny: Any) -> None:
    state, config = begin(tiny, CONFIG), CONFIG
    whole = [comparable(event) for event in go_on(begin(tiny, config), config)]
    torch.manual_seed(config.seed)
    parts: list[Event] = []
    while not parts or not isinstance(parts[-1], Finished):
        for event in go_on(state, config):  # a new generator for each step
            parts.append(comparable(event))
            if isinstance(event, Stepped) and state.step < 8:
                break
    assert parts == whole


def test_loading_sets_the_random_state_and_draws_nothing(tiny: Any, tmp_path: Path) -> None:
    state = stepped(tiny, 3)
    torch.manual_seed(5)
    torch.rand(3)
    folder, saved = save_checkpoint(tmp_path, state), torch.get_rng_state()
    torch.manual_seed(6)
    load_checkpoint(folder, CONFIG, CPU)
    assert torch.equal(torch.get_rng_state(), saved)


def test_what_is_loaded_is_what_was_saved(tiny: Any, tmp_path: Path) -> None:
    state = stepped(tiny, 6)
    folder = save_checkpoint(tmp_path, state)
    before = tensors(state)
    loaded = load_checkpoint(folder, CONFIG, CPU)
    assert same(tensors(loaded), before)
    assert loaded.model.config == state.model.config
    for name in checkpoint.NUMBERS:
        assert getattr(loaded, name) == getattr(state, name), name
    assert loaded.epoch_rng is not None
    assert state.epoch_rng is not None
    assert torch.equal(loaded.epoch_rng, state.epoch_rng)
    groups = [{k: v for k, v in s.optimizer.param_groups[0].items() if k != "params"} for s in (state, loaded)]
    groups[0]["lr"] = groups[1]["lr"]  # set before each step
    assert groups[0] == groups[1]
    assert all(p.requires_grad for p in loaded.model.parameters())


def test_numbers_that_json_has_none_for_come_back(tiny: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, eval_interval=0)
    state = stepped(tiny, 2, config)
    loaded = load_checkpoint(save_checkpoint(tmp_path, state), config, CPU)
    assert loaded.train_loss != loaded.train_loss
    assert loaded.val_loss != loaded.val_loss
    written = (latest(tmp_path) / "state.json").read_text()  # type: ignore[operator]
    assert "NaN" not in written
    assert "Infinity" not in written
    assert (loaded.best_val_loss, loaded.best_step, loaded.best_weights) == (float("inf"), None, {})


def test_loaded_tensors_stand_where_products_round_as_before(tiny: Any, tmp_path: Path) -> None:
    """In a mapped file they would start at any multiple of 4 bytes, and a matrix product there rounds differently."""
    state = load_checkpoint(save_checkpoint(tmp_path, stepped(tiny, 3)), CONFIG, CPU)
    for group in (state.model.state_dict(), state.best_weights, *state.optimizer.state.values()):
        assert all(value.data_ptr() % 64 == 0 for value in group.values())


def test_going_on_leaves_the_files_as_they_are(tiny: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, eval_interval=1)
    folder = save_checkpoint(tmp_path, stepped(tiny, 3, config))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _event in go_on(load_checkpoint(folder, config, CPU), config):
        pass
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# Saving ---------------------------------------------------------------------------------------------------------------


def test_only_the_newest_stays_and_saving_again_does_nothing(tiny: Any, tmp_path: Path) -> None:
    state = begin(tiny, CONFIG)
    assert latest(tmp_path) is None
    for event in go_on(state, CONFIG):
        if isinstance(event, Stepped):
            folder = save_checkpoint(tmp_path, state)
            assert latest(tmp_path) == folder
            assert [path.name for path in tmp_path.iterdir()] == [f"checkpoint-{state.step}"]
    changed = (folder / "state.json").stat().st_mtime_ns
    assert save_checkpoint(tmp_path, state) == folder
    assert (folder / "state.json").stat().st_mtime_ns == changed


def test_the_latest_is_the_highest_number_and_nothing_else_counts(tmp_path: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-old", "checkpoint-11 (copy)", ".checkpoint.new", "x-12"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-99").write_text("a file")
    assert latest(tmp_path) == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("links", [True, False])
def test_best_weights_that_have_not_changed_are_linked(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*_args: Any) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    config = replace(CONFIG, eval_interval=4)
    state, seen = begin(tiny, config), []
    for event in go_on(state, config):
        if isinstance(event, Stepped):
            best = save_checkpoint(tmp_path, state) / f"best-{state.best_step}.safetensors"
            seen.append((state.best_step, best.stat().st_ino))
            stored = load_checkpoint(best.parent, config, CPU).best_weights
            assert all(torch.equal(stored[name], p) for name, p in state.best_weights.items())
            assert best.stat().st_nlink == 1, "the older checkpoint is gone"
    assert [step for step, _ in seen] == [0, 0, 0, 0, 4, 4, 4, 7]
    assert len({inode for _, inode in seen[:4]}) == (1 if links else 4) or not links


class Crash(Exception):
    """The process ends here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Let the call number `call` (from 0) of a function fail half way."""
    real: Callable[..., Any] = getattr(owner, name)
    count = -1

    def function(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count < call:
            return real(*args, **kwargs)
        if name in ("save_file", "write_text"):
            next(arg for arg in args if isinstance(arg, Path)).write_bytes(b"half of it")
        raise Crash

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (checkpoint, "save_file", 0), (checkpoint, "save_file", 1), (checkpoint, "save_file", 2),
        (json, "dumps", 0), (Path, "write_text", 0), (Path, "rename", 0), (shutil, "rmtree", 0), (shutil, "rmtree", 1),
    ],
    ids=str,
)  # fmt: skip
def test_a_crash_while_saving_leaves_a_whole_checkpoint(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    config = replace(CONFIG, eval_interval=1)
    state = begin(tiny, config)
    whole: dict[int, dict[str, Tensor]] = {}
    for event in go_on(state, config):
        if not isinstance(event, Stepped):
            continue
        whole[state.step] = tensors(state)
        if state.step == 3:
            with monkeypatch.context() as patch:
                crash_at(patch, owner, name, call)
                with pytest.raises(Crash):
                    save_checkpoint(tmp_path, state)
            left = latest(tmp_path)
            assert left is not None
            now = torch.get_rng_state()
            loaded = load_checkpoint(left, config, CPU)
            assert loaded.step == (3 if (name, call) == ("rmtree", 1) else 2)  # removing the older one comes last
            assert same(tensors(loaded), whole[loaded.step])
            torch.set_rng_state(now)
        else:
            save_checkpoint(tmp_path, state)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"], "what the crash left was cleared away"


# Frozen weights -------------------------------------------------------------------------------------------------------

PARTS = [RUNS["the last block"], RUNS["lora"]]


@pytest.mark.parametrize("config", PARTS, ids=lambda config: config.trainable)
def test_what_is_frozen_is_written_once(tiny: Any, tmp_path: Path, config: TrainConfig) -> None:
    state, seen = begin(tiny, config), set()
    for event in go_on(state, config):
        if isinstance(event, Stepped):
            folder = save_checkpoint(tmp_path, state)
            seen.add((tmp_path / BASE).stat().st_mtime_ns)
    assert len(seen) == 1
    assert load_file(folder / "model.safetensors").keys() == trained(state.model).keys() == state.best_weights.keys()
    assert load_file(tmp_path / BASE).keys() == state.model.state_dict().keys() - trained(state.model).keys()
    assert same(plain_weights(folder), merged(state.model.state_dict()))
    best = plain_weights(folder, f"best-{state.best_step}.safetensors")
    assert best.keys() == tiny(**SHAPE).state_dict().keys()


def test_a_base_may_hold_more_than_what_is_frozen(tiny: Any, tmp_path: Path) -> None:
    """The file of the model that the run goes on from."""
    config = RUNS["the last block"]
    parent = tiny(seed=config.seed, **SHAPE)
    checkpoint.save_file(parent.state_dict(), tmp_path / BASE)
    state = stepped(tiny, 3, config)
    folder = save_checkpoint(tmp_path, state)
    assert load_file(tmp_path / BASE).keys() == parent.state_dict().keys()
    assert same(tensors(load_checkpoint(folder, config, CPU)), tensors(state))
    assert same(plain_weights(folder), dict(state.model.state_dict()))


@pytest.mark.parametrize("damage", ["gone", "half", "another model", "a part of it"])
@pytest.mark.parametrize("config", PARTS, ids=lambda config: config.trainable)
def test_a_damaged_base_is_told_in_a_sentence(tiny: Any, tmp_path: Path, damage: str, config: TrainConfig) -> None:
    folder, path = save_checkpoint(tmp_path, stepped(tiny, 3, config)), tmp_path / BASE
    if damage == "gone":
        path.unlink()
    elif damage == "half":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "another model":
        checkpoint.save_file(tiny(**{**SHAPE, "n_embd": 24}).state_dict(), path)
    else:
        checkpoint.save_file({"wpe.weight": tiny(**SHAPE).wpe.weight.detach()}, path)
    with pytest.raises(UserError, match=str(folder)):
        load_checkpoint(folder, config, CPU)


@pytest.mark.parametrize("other", [RUNS["lora"], RUNS["the last block"]], ids=lambda config: config.trainable)
def test_a_checkpoint_of_another_part_is_told_in_a_sentence(tiny: Any, tmp_path: Path, other: TrainConfig) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 3))
    with pytest.raises(UserError, match="missing, left over or of another shape"):
        load_checkpoint(folder, other, CPU)


def test_frozen_weights_take_no_moments(tiny: Any, tmp_path: Path) -> None:
    config = RUNS["lora"]
    state = load_checkpoint(save_checkpoint(tmp_path, stepped(tiny, 3, config)), config, CPU)
    for _event in go_on(state, config):
        pass
    save_checkpoint(tmp_path, state)
    assert len(state.optimizer.state) == len(trained(state.model))


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["state.json", "model.safetensors", "optimizer.safetensors", "best-4.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "other"])
def test_damaged_files_are_told_in_a_sentence(tiny: Any, tmp_path: Path, file: str, damage: str) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 6))
    content = (folder / file).read_bytes()
    if damage == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(
            {"empty": b"", "half": content[: len(content) // 2], "other": b"\x80\x02}q\x00."}[damage]
        )
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=str(folder)):
        load_checkpoint(folder, CONFIG, CPU)
    assert torch.equal(torch.get_rng_state(), state)


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "state.json"
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in record.items() if value != "gone"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"n_vocab": 257}}, {"model": {"n_embd": 7, "n_head": 2}}, {"model": "small"}, {"model": "gone"},
        {"tokens_seen": "gone"}, {"best_step": 5}, {"step": None, "model": {"width": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_that_does_not_fit_is_told_in_a_sentence(tiny: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 6))
    rewrite(folder, **changes)
    with pytest.raises(UserError, match=str(folder)):
        load_checkpoint(folder, CONFIG, CPU)


@pytest.mark.parametrize("name", ["rng", "wte.weight:exp_avg", "h.0.mlp.c_fc.bias:step"])
@pytest.mark.parametrize(
    "new", [None, torch.zeros(3), torch.zeros(3, dtype=torch.uint8)], ids=["gone", "float", "byte"]
)
def test_missing_and_misshaped_tensors_are_told_in_a_sentence(
    tiny: Any, tmp_path: Path, name: str, new: Tensor | None
) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 6))
    path = folder / "optimizer.safetensors"
    kept = checkpoint._copies(path)
    del kept[name]
    checkpoint.save_file({**kept, **({} if new is None else {name: new})}, path)
    with pytest.raises(UserError, match=str(folder)):
        load_checkpoint(folder, CONFIG, CPU)


def test_fields_of_a_newer_version_are_passed_over(tiny: Any, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 6))
    rewrite(folder, invented="later")
    assert load_checkpoint(folder, CONFIG, CPU).step == 6


# No pickle ------------------------------------------------------------------------------------------------------------


# The only files that may use torch's format: others' models are read (weights_only: see test_layers.py), and the
# book's model.pth is written, which is a file of tensors that nothing here reads in another way.
TORCH_FILES = {"tensor_files.py": "torch.load", "book.py": "torch.save"}


def test_nothing_in_the_package_reads_or_writes_pickle() -> None:
    forbidden = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for path in Path(gpt_demo.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & forbidden, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden, path
                if node.module == "torch":
                    assert not {alias.name for alias in node.names} & {"load", "save"}, path
            elif isinstance(node, ast.Attribute):
                allowed = TORCH_FILES.get(path.name) == ast.unparse(node)
                assert allowed or ast.unparse(node) not in ("torch.load", "torch.save", "pd.read_pickle"), path
            elif isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle" or ast.unparse(node.value) == "False", path


def test_a_checkpoint_is_safetensors_and_json(tiny: Any, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, stepped(tiny, 6))
    names = ["best-4.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(load_file(folder / name) for name in names[:3])
    assert any(isinstance(event, Evaluated) for event in go_on(load_checkpoint(folder, CONFIG, CPU), CONFIG))


def test_a_full_disk_is_a_sentence_and_leaves_the_last_checkpoint(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = begin(tiny, CONFIG)
    first = save_checkpoint(tmp_path, state)
    state.step += 1

    def full(*_: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"The checkpoint of the run .* can't be written \(I/O error: No space left"):
        save_checkpoint(tmp_path, state)
    assert latest(tmp_path) == first
