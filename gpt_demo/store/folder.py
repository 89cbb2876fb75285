"""A model on disk: one folder, `config.json + tokenizer.json + model.safetensors`. No pickle is ever read."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gpt_demo.errors import UserError
from gpt_demo.events import finite
from gpt_demo.memory import give_back_memory
from gpt_demo.model.blank import empty_weights
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.model.quantization import check_precision, lower_precision
from gpt_demo.paths import writing
from gpt_demo.text.tokenizer import Tokenizer

MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def check_name(name: str, most: int = 64) -> str:
    """`name`, if it is a valid folder name on every system. Raises UserError if not."""
    form = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    if not form or len(name) > most or name.endswith(".") or _RESERVED.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} is not a valid name. Use up to {most} letters, digits, dots, dashes or underscores, "
            "starting with a letter or digit."
        )
    return name


def write_folder(target: Path, files: Mapping[str, bytes | Path | Mapping[str, torch.Tensor]]) -> None:
    """Write the files into a new folder and put it at `target`, replacing what was there, all or nothing.

    A path is a file that is moved there. Raises UserError if the disk is full or read-only.
    """
    with writing(f"The model {target.name}"):
        _write_folder(target, files)


def _write_folder(target: Path, files: Mapping[str, bytes | Path | Mapping[str, torch.Tensor]]) -> None:
    fresh, old = _beside(target)
    restore_folder(target)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (fresh / name).write_bytes(content)
        elif isinstance(content, Path):
            shutil.move(content, fresh / name)
        else:
            save_file({key: value.contiguous() for key, value in content.items()}, fresh / name)
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        restore_folder(target)


def restore_folder(target: Path) -> None:
    """Put back what `write_folder` has set aside if nothing replaced it, for example because the process died."""
    _, old = _beside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def remove_folder(path: Path) -> None:
    """Remove a folder at once: it is never seen half deleted."""
    trash = path.with_name(f".{path.name}.deleted")
    shutil.rmtree(trash, ignore_errors=True)
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def save_model(
    folder: Path,
    config: GPTConfig,
    weights: Mapping[str, torch.Tensor] | Path,
    tokenizer: Tokenizer,
    about: Mapping[str, Any],
) -> None:
    """Write a model folder; `weights` may be a safetensors file, which is moved there.

    `about` (where it comes from) goes into config.json with the shape.
    """
    description = json.dumps({**config.to_dict(), "about": finite(about)}, indent=2).encode()
    tokens = json.dumps(tokenizer.to_dict()).encode()
    write_folder(folder, {"config.json": description, "tokenizer.json": tokens, "model.safetensors": weights})


def read_description(folder: Path) -> tuple[GPTConfig, dict[str, Any]]:
    """Shape and `about` of a model folder. Raises UserError if config.json is missing or not ours."""
    known = {f.name: f.default for f in dataclass_fields(GPTConfig)}
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = {name: record[name] for name in known if name in record}
        for name, value in shape.items():
            if type(value) is not type(known[name]) and (name, value) != ("dropout", 0):
                raise ValueError(f"{name} is {value!r}")
        return GPTConfig(**shape), dict(record.get("about", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder} does not contain a readable model: {error}") from error


def fingerprint(folder: Path) -> str:
    """Twelve characters that tell a model from another one of the same name: of its tokenizer and of 64 samples of its
    weights, so that a large model costs no more than a small one."""
    path = folder / "model.safetensors"
    size = path.stat().st_size
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes() + str(size).encode())
    with path.open("rb") as file:
        for i in range(64):
            file.seek(i * max(0, size - 4096) // 63)
            digest.update(file.read(4096))
    return digest.hexdigest()[:12]


MAPPED_FROM = 2**26  # bytes of a file of weights that is mapped instead of copied


def load_weights(model: GPT, path: Path, precision: str = "fp32", *, may_map: bool = False) -> None:
    """Put the tensors of a safetensors file into `model` (which may be on the meta device), in `precision`.

    Blocks are read one by one, so that no more than the model itself has to fit into memory. With `may_map`, a large
    file is memory-mapped where possible: loaded at once, read when first used, and never changed by changes to the
    model. Raises UserError naming tensors that are missing, unexpected, wrongly shaped or unreadable.
    """
    try:
        check_tensors(model, path)
        if may_map and precision == "fp32" and path.stat().st_size >= MAPPED_FROM:
            with safe_open(path, "pt") as file:
                mapped = {name: file.get_tensor(name) for name in model.state_dict()}
            # A tensor at an odd address is slower to compute with, and other types than float32 need a copy.
            model.load_state_dict({name: _aligned(value) for name, value in mapped.items()}, assign=True)
            return
        for name in _parts(model):
            part = model.get_submodule(name)
            with safe_open(path, "pt") as file:  # reopened, so that pages already read are freed
                weights = {
                    key: file.get_tensor(f"{name}.{key}").to(torch.float32, copy=True) for key in part.state_dict()
                }
            part.load_state_dict(weights, assign=True)
            lower_precision(model, precision)
            if precision != "fp32":  # else what was freed lies between what stays, and half as much again is held
                del part
                weights.clear()
                give_back_memory()
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as safetensors ({error}). Train or download the model again.") from error


def check_tensors(model: GPT, path: Path) -> None:
    """Raises UserError unless the file's tensors are the model's. Reads only the file's header."""
    with safe_open(path, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} does not belong" for name in found if name not in expected]
    faults += [
        f"{name} is {found[name]}, not {shape}" for name, shape in expected.items() if found.get(name, shape) != shape
    ]
    if faults:
        raise UserError(f"{path} does not match its config.json: {'; '.join(faults[:5])}.")


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    fits = tensor.dtype == torch.float32 and tensor.data_ptr() % 16 == 0
    return tensor if fits else tensor.to(torch.float32, copy=True)


def _parts(model: GPT) -> list[str]:
    """The names of the parts that hold all weights: the blocks one by one."""
    blocks = [f"h.{i}" for i in range(len(model.h))]
    return [part for name, _ in model.named_children() for part in (blocks if name == "h" else [name])]


def load_model(folder: Path, precision: str = "fp32") -> tuple[GPT, Tokenizer]:
    """The model of a folder, in eval mode, and its tokenizer. Draws no random numbers. Raises UserError."""
    check_precision(precision)
    config, _ = read_description(folder)
    with empty_weights():
        model = GPT(config, init="pytorch")
    load_weights(model, folder / "model.safetensors", precision, may_map=True)
    model.requires_grad_(True)
    return model.eval(), Tokenizer.load(folder / "tokenizer.json")
