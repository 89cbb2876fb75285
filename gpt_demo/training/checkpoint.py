"""A training state on disk, so that a run resumes bit for bit where it stopped. Safetensors and JSON only.

A checkpoint holds what is trained. What is frozen never changes: it is stored once in the run's folder, as `BASE`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import finite
from gpt_demo.model.blank import empty_weights
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.paths import writing
from gpt_demo.training.lora import freeze, merged, trained
from gpt_demo.training.plan import TrainConfig
from gpt_demo.training.state import TrainState, make_optimizer

BASE = "base.safetensors"  # next to the checkpoints: the weights of the model the run starts from, or what is frozen
NUMBERS = (
    "step", "tokens_seen", "seconds", "epoch_batch", "train_loss", "val_loss",
    "evaluated_step", "eval_windows", "waited", "best_step", "best_val_loss",
)  # fmt: skip
NEWER = {"evaluated_step": None, "eval_windows": 0, "waited": 0}  # not in what 0.1.0 has saved
ABSENT = {"train_loss": math.nan, "val_loss": math.nan, "best_val_loss": math.inf}  # null in state.json
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter, once a step is done


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint folder of a run, if any."""
    folders = [p for p in run.glob("checkpoint-*") if p.is_dir() and p.name.split("-", 1)[1].isdecimal()]
    return max(folders, key=lambda p: int(p.name.split("-")[1]), default=None)


def save_checkpoint(run: Path, state: TrainState) -> Path:
    """Write `run/checkpoint-<steps done>`: atomically (written next to it, then renamed). Older ones are removed.

    Raises UserError where the disk is full or read-only.
    """
    with writing(f"The checkpoint of the run {run.name}"):
        return _save_checkpoint(run, state)


def _save_checkpoint(run: Path, state: TrainState) -> Path:
    target = run / f"checkpoint-{state.step}"
    if target.exists():
        return target
    fresh = run / ".checkpoint.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    frozen = _save_frozen(run, state.model)
    save_file(trained(state.model), fresh / "model.safetensors")
    save_file(_optimizer_tensors(state), fresh / "optimizer.safetensors")
    _save_best(run, fresh, state)
    numbers = {name: getattr(state, name) for name in NUMBERS}
    sums = {file.name: checksum(file) for file in sorted(fresh.glob("*.safetensors"))}
    record = finite({**numbers, "frozen": frozen, "model": state.model.config.to_dict(), "checksums": sums})
    (fresh / "state.json").write_text(json.dumps(record, allow_nan=False))
    fresh.rename(target)
    for old in run.glob("checkpoint-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target


def checksum(file: Path) -> int:
    """CRC-32 of a file's bytes: it finds what a disk has changed, which the format itself does not."""
    found = 0
    with file.open("rb") as content:
        while part := content.read(2**22):
            found = zlib.crc32(part, found)
    return found


def _check_sums(folder: Path, record: Mapping[str, Any], *names: str) -> None:
    """ValueError where a file is not as it was written. Checkpoints of before 0.3.0 have no checksums."""
    sums = record.get("checksums", {})
    for name in names:
        if name in sums and checksum(folder / name) != sums[name]:
            raise ValueError(f"{name} is damaged: its bytes are not those that were written")


def link_base(weights: Path, run: Path) -> None:
    """Keep a stored model's weights in the folder of a run that starts from it: the model may be deleted later.

    A model's files are never written to again, so that a second name for the file is enough where there can be one.
    """
    try:
        os.link(weights, run / BASE)
    except OSError:  # a file system without hard links, or another one
        shutil.copyfile(weights, run / BASE)


def _save_frozen(run: Path, model: GPT) -> bool:
    """Write the frozen weights unless they are there; whether there are any."""
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    if frozen and not (run / BASE).exists():
        fresh = run / f".{BASE}.new"
        save_file(frozen, fresh)
        fresh.rename(run / BASE)
    return bool(frozen)


def _save_best(run: Path, fresh: Path, state: TrainState) -> None:
    """The best weights, linked from the last checkpoint where they have not changed since."""
    if state.best_step is None:
        return
    last = latest(run)
    same = last is not None and (last / f"best-{state.best_step}.safetensors").exists()
    if last is not None and same:
        try:
            os.link(last / f"best-{state.best_step}.safetensors", fresh / f"best-{state.best_step}.safetensors")
            return
        except OSError:  # a file system without hard links
            pass
    save_file(state.best_weights, fresh / f"best-{state.best_step}.safetensors")


def _optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """AdamW's moments under their parameters' names, and the random states."""
    tensors = {"rng": torch.get_rng_state()}
    if state.epoch_rng is not None:
        tensors["epoch_rng"] = state.epoch_rng
    if state.model.device.type == "cuda":
        tensors["cuda_rng"] = torch.cuda.get_rng_state()
    for name, p in state.model.named_parameters():
        for key, value in state.optimizer.state.get(p, {}).items():
            tensors[f"{name}:{key}"] = value
    return tensors


def load_checkpoint(folder: Path, config: TrainConfig, device: torch.device) -> TrainState:
    """The state saved in `folder`, on `device`; sets torch's global random state to the saved one, and draws nothing.

    Raises UserError where the files do not fit together or are damaged.
    """
    try:
        return _load_checkpoint(folder, config, device)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"The checkpoint of the run {folder.parent.name} can't be read: {error}. "
            f"Train again under another name, or put the files of {folder} back."
        ) from error


def _load_checkpoint(folder: Path, config: TrainConfig, device: torch.device) -> TrainState:
    record: dict[str, Any] = {**NEWER, **json.loads((folder / "state.json").read_text())}
    _check_sums(folder, record, *_files(numbers := _numbers(record)))
    tensors = _copies(folder / "optimizer.safetensors")
    model = _load_model(folder, GPTConfig(**record["model"]), config).to(device)
    state = TrainState(model, make_optimizer(model, config), **numbers, epoch_rng=tensors.get("epoch_rng"))
    if state.step:
        for name in trained(model):
            p = model.get_parameter(name)
            moments = {key: tensors[f"{name}:{key}"].to(device) for key in MOMENTS}
            if [moment.shape for moment in moments.values()] != [(), p.shape, p.shape]:
                raise ValueError(f"the moments of {name} are not of its shape")
            state.optimizer.state[p] = moments
    if state.best_step is not None:
        state.best_weights = _copies(folder / f"best-{state.best_step}.safetensors")
    torch.set_rng_state(tensors["rng"])
    if "cuda_rng" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda_rng"])
    return state


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: ABSENT.get(name) if record[name] is None else record[name] for name in NUMBERS}


def _files(numbers: Mapping[str, Any]) -> list[str]:
    """What a checkpoint with these numbers holds."""
    best = [] if numbers["best_step"] is None else [f"best-{numbers['best_step']}.safetensors"]
    return ["model.safetensors", "optimizer.safetensors", *best]


def _load_model(folder: Path, shape: GPTConfig, config: TrainConfig) -> GPT:
    """The model of a checkpoint, frozen as the configuration says. Raises ValueError naming what does not fit."""
    with empty_weights():
        model = GPT(shape, init="pytorch")
        freeze(model, config)
    weights = _copies(folder / "model.safetensors")
    _check_shapes(weights, trained(model))
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    if frozen:
        base = {name: p.float() for name, p in _copies(folder.parent / BASE, list(frozen)).items()}
        _check_shapes(base, frozen)
        weights |= base
    model.load_state_dict(weights, assign=True)
    return model


def _check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    faults = list(found.keys() ^ expected.keys())
    faults += [name for name in found.keys() & expected.keys() if found[name].shape != expected[name].shape]
    if faults:
        raise ValueError(f"{', '.join(sorted(faults)[:5])} is missing, left over or of another shape")


def plain_weights(checkpoint: Path, file: str = "model.safetensors") -> dict[str, Tensor]:
    """The whole model of a checkpoint's file, as an ordinary one: with what was frozen, LoRA's adapters folded in."""
    record = json.loads((checkpoint / "state.json").read_text())
    try:
        _check_sums(checkpoint, record, file)
    except ValueError as error:
        raise UserError(
            f"The model of the run {checkpoint.parent.name} can't be kept: {error}. Train again under another name, or "
            f"put the files of {checkpoint} back."
        ) from error
    weights = load_file(checkpoint / file)
    if record.get("frozen"):
        weights = {**{name: p.float() for name, p in load_file(checkpoint.parent / BASE).items()}, **weights}
    return merged(weights)


def _copies(path: Path, names: list[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a file (by default all) in memory of their own: a mapped file's start at odd addresses, and there
    a matrix product is slower and may round differently, so that a resumed run would not be the same bit for bit."""
    copies: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        names = list(file.keys()) if names is None else names
    for name in names:
        with safe_open(path, framework="pt") as file:  # reopened, so that earlier mappings are released
            copies[name] = file.get_tensor(name).clone()
    return copies
