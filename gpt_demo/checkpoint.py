"""A training state on disk, so that a run goes on bit for bit where it stopped. Safetensors and JSON only."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.model import GPT, GPTConfig
from gpt_demo.store import load_weights
from gpt_demo.training import TrainConfig, TrainState, make_optimizer

NUMBERS = ("step", "tokens_seen", "seconds", "epoch_batch", "train_loss", "val_loss", "best_step", "best_val_loss")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter, once a step is done


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint folder of a run, if any."""
    folders = [p for p in run.glob("checkpoint-*") if p.is_dir() and p.name.split("-", 1)[1].isdecimal()]
    return max(folders, key=lambda p: int(p.name.split("-")[1]), default=None)


def save_checkpoint(run: Path, state: TrainState) -> Path:
    """Write `run/checkpoint-<steps done>`: whole or not at all (written beside it, then renamed). Older ones go."""
    target = run / f"checkpoint-{state.step}"
    if target.exists():
        return target
    fresh = run / ".checkpoint.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in state.model.state_dict().items()}, fresh / "model.safetensors")
    save_file(_optimizer_tensors(state), fresh / "optimizer.safetensors")
    _save_best(run, fresh, state)
    numbers = {name: getattr(state, name) for name in NUMBERS}
    (fresh / "state.json").write_text(json.dumps({**numbers, "model": state.model.config.to_dict()}))
    fresh.rename(target)
    for old in run.glob("checkpoint-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target


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
        for key, value in state.optimizer.state[p].items():
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
            f"The checkpoint {folder} can't be read: {error}. Train again under another name, or put the files back."
        ) from error


def _load_checkpoint(folder: Path, config: TrainConfig, device: torch.device) -> TrainState:
    record: dict[str, Any] = json.loads((folder / "state.json").read_text())
    numbers = {name: record[name] for name in NUMBERS}
    tensors = _copies(folder / "optimizer.safetensors")
    with torch.device("meta"):
        model = GPT(GPTConfig(**record["model"]), init="pytorch")
    load_weights(model, folder / "model.safetensors")
    model = model.to(device).requires_grad_(True)
    state = TrainState(model, make_optimizer(model, config), **numbers, epoch_rng=tensors.get("epoch_rng"))
    if state.step:
        for name, p in model.named_parameters():
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


def _copies(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in memory of their own: a mapped file's start at odd addresses, and there a matrix product
    is slower and may round differently, so that a resumed run would not be the same bit for bit."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}
