"""The tensors of a file on disk, by name, read one at a time.

Two formats: safetensors, in one file or in several with an index, and torch.save's zip, of which nothing but tensors is
read. Every read opens the file anew, so that what was mapped for the tensor before does not count as memory any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt_demo.errors import UserError

INDEX = "model.safetensors.index.json"
TORCH_SUFFIXES = (".bin", ".pth", ".pt")
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes per number
_TORCH_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class TensorFiles:
    """Tensors on disk; `read(name)` gives one of them as it is stored and raises UserError where that fails."""

    label: str  # what a sentence calls them
    shapes: Mapping[str, tuple[int, ...]]
    bytes: int  # of all files
    read: Callable[[str], Tensor]


def open_folder(folder: Path) -> TensorFiles:
    """The weights of a folder: model.safetensors, the files of its index, or else one .bin, .pth or .pt file.

    Raises UserError where there are none or they can't be read.
    """
    if (folder / "model.safetensors").is_file():
        return open_file(folder / "model.safetensors")
    if (folder / INDEX).is_file():
        return _safetensors(_shards(folder / INDEX), folder / INDEX)
    pickles = sorted(path for path in folder.iterdir() if path.suffix in TORCH_SUFFIXES)
    usable = [path for path in pickles if path.name == "pytorch_model.bin"] or pickles
    if len(usable) != 1:
        raise UserError(f"{folder} holds no weights: it needs a model.safetensors. Download or export the model again.")
    return open_file(usable[0])


def open_file(path: Path) -> TensorFiles:
    """The tensors of one .safetensors, .bin, .pth or .pt file. Raises UserError."""
    if path.suffix in TORCH_SUFFIXES:
        return _torch_file(path)
    return _safetensors([path], path)


def _shards(index: Path) -> list[Path]:
    """The files that an index names; they stand beside it."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if not names or not all(map(_is_plain_name, names)):
            raise ValueError("a file name is no plain name")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is no readable index of weights ({error}). Download the model again.") from error
    missing = [name for name in sorted(names) if not (index.parent / name).is_file()]
    if missing:
        raise UserError(f"{index.parent} lacks {', '.join(missing[:5])}, which its index names. Download it again.")
    return [index.parent / name for name in sorted(names)]


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and "\\" not in name and name.endswith(".safetensors")


def _safetensors(paths: list[Path], label: Path) -> TensorFiles:
    shapes, place = {}, {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no mapping)
                    part = file.get_slice(name)
                    shapes[name], place[name] = tuple(part.get_shape()), path
                    _check_type(str(label), name, part.get_dtype() in _FLOATS, part.get_dtype())
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from error

    def read(name: str) -> Tensor:
        try:
            with safe_open(place[name], framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (OSError, SafetensorError) as error:
            raise _unreadable(place[name], error) from error

    return TensorFiles(str(label), shapes, sum(path.stat().st_size for path in paths), read)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} can't be read as safetensors ({error}). Download or export the model again.")


def _check_type(label: str, name: str, fits: bool, dtype: object) -> None:
    if not fits:
        raise UserError(f"{label} holds {name} as {dtype}; weights must be float32, float16, bfloat16 or float64.")


def _torch_file(path: Path) -> TensorFiles:
    weights = _load_torch(path)
    for name, value in weights.items():
        _check_type(str(path), name, value.dtype in _TORCH_FLOATS or _is_buffer(value), value.dtype)
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():  # a view that repeats itself
            raise UserError(f"{path} holds {name} in fewer numbers than its shape has. Save the model as safetensors.")
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    return TensorFiles(str(path), shapes, path.stat().st_size, lambda name: _load_torch(path)[name])


def _is_buffer(value: Tensor) -> bool:
    return value.dtype in (torch.bool, torch.uint8)  # a causal mask, which old files hold beside the weights


def _load_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of torch.save's zip, mapped. Only tensors are built: a pickle that asks for more is refused unrun."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):  # CVE-2026-24747
        raise UserError(
            f"{path} can't be read safely with torch {torch.__version__}. "
            "Save the model as safetensors, or install torch 2.10 or newer."
        )
    try:
        weights: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a dozen kinds, depending on what the file holds instead
        raise UserError(
            f"{path} holds other things than plain weights, or is damaged; nothing of it was run. "
            "Save the model as safetensors and import that."
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        for name, value in weights.items()
    ):
        raise UserError(f"{path} must hold tensors by name, nothing else. Save the model's state_dict as safetensors.")
    return weights
