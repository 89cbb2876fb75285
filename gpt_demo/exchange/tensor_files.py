"""The tensors of a file on disk, by name, read one at a time.

Two formats: safetensors and torch.save's, of which nothing but tensors and plain values is read; both in one file or in
several with an index. Every read opens the file again, so that what was mapped for the tensor before does not count as
memory any more.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt_demo.errors import UserError, cut, quoted

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
TORCH_SUFFIXES = (".bin", ".pth", ".pt")
MOST_HEADER = 20_000_000  # bytes of a safetensors header; GPT-2's have 0.02 MB
_INSIDE = ("model_state_dict", "state_dict", "model")  # where a checkpoint keeps its weights
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes per number
_TORCH_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class TensorFiles:
    """Tensors on disk; `read(name)` gives one of them as it is stored and raises UserError where that fails."""

    label: str  # what a sentence calls them
    shapes: Mapping[str, tuple[int, ...]]
    bytes: int  # of all files
    read: Callable[[str], Tensor]
    model_args: Mapping[str, Any] = field(default_factory=dict)  # what a checkpoint of nanoGPT says of its model


def open_folder(folder: Path) -> TensorFiles:
    """The weights of a folder: model.safetensors, the files of an index, or else one .bin, .pth or .pt file.

    Raises UserError where there are none or they can't be read.
    """
    if (folder / "model.safetensors").is_file():
        return open_file(folder / "model.safetensors")
    pickles = sorted(path for path in folder.iterdir() if path.suffix in TORCH_SUFFIXES)
    whole = [path for path in pickles if path.name == "pytorch_model.bin"]
    if (folder / INDEXES[0]).is_file() or not whole:
        for index in INDEXES:
            if (folder / index).is_file():
                return _joined([open_file(path) for path in _shards(folder / index)], folder / index)
    usable = whole or pickles
    if len(usable) != 1:
        raise UserError(f"{folder} holds no weights: it needs a model.safetensors. Download or export the model again.")
    return open_file(usable[0])


def open_file(path: Path) -> TensorFiles:
    """The tensors of one .safetensors, .bin, .pth or .pt file. Raises UserError."""
    return _torch_file(path) if path.suffix in TORCH_SUFFIXES else _safetensors(path)


def shard_names(index: Path) -> list[str]:
    """The files that an index names, in the same folder. Raises UserError if it is not an index."""
    suffix = ".safetensors" if index.name == INDEXES[0] else ".bin"
    try:
        names = set(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values())
        if not names or not all(_is_plain_name(name, suffix) for name in names):
            raise ValueError("a file name is no plain name")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is no readable index of weights ({cut(str(error))}). Download it again.") from error
    return sorted(names)


def _shards(index: Path) -> list[Path]:
    names = shard_names(index)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise UserError(f"{index.parent} lacks {cut(', '.join(missing))}, which its index names. Download it again.")
    return [index.parent / name for name in names]


def _is_plain_name(name: str, suffix: str) -> bool:
    return Path(name).name == name and "\\" not in name and name.endswith(suffix)


def _joined(parts: list[TensorFiles], label: Path) -> TensorFiles:
    """The tensors of several files. Raises UserError where two of them hold one of the same name."""
    place: dict[str, TensorFiles] = {}
    for part in parts:
        twice = place.keys() & part.shapes.keys()
        if twice:
            raise UserError(f"{label} names two files that hold {quoted(min(twice))}. Download the model again.")
        place |= dict.fromkeys(part.shapes, part)
    shapes = {name: part.shapes[name] for name, part in place.items()}
    return TensorFiles(str(label), shapes, sum(part.bytes for part in parts), lambda name: place[name].read(name))


def _safetensors(path: Path) -> TensorFiles:
    shapes = {}
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                part = file.get_slice(name)
                shapes[name] = tuple(part.get_shape())
                _check_type(str(path), name, part.get_dtype() in _FLOATS, part.get_dtype())
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None  # the library's error quotes a header of any length

    def read(name: str) -> Tensor:
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from None

    return TensorFiles(str(path), shapes, path.stat().st_size, read)


def _check_header(path: Path) -> None:
    """UserError where the header is longer than a model's: it would be read, and quoted, as a whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if MOST_HEADER < length <= path.stat().st_size:
        raise UserError(f"{path} begins with a list of tensors of {length / 1e6:,.0f} MB; it is no model's.")


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} can't be read as safetensors ({cut(str(error))}). Download or export the model again.")


def _check_type(label: str, name: str, fits: bool, dtype: object) -> None:
    if not fits:
        raise UserError(f"{label} holds {cut(name)} as {dtype}; weights must be float32, float16, bfloat16 or float64.")


# torch.save -----------------------------------------------------------------------------------------------------------


def _torch_file(path: Path) -> TensorFiles:
    saved = _load_torch(path)
    weights = _weights(saved, path)
    for name, value in weights.items():
        _check_type(str(path), name, value.dtype in _TORCH_FLOATS or _is_buffer(value), value.dtype)
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():  # a view that repeats itself
            raise UserError(f"{path} holds {cut(name)} in fewer numbers than its shape has. Save it as safetensors.")
    args = saved.get("model_args")
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    again = _is_mapped(path)  # else all of it is in memory, and read once
    return TensorFiles(
        str(path),
        shapes,
        path.stat().st_size,
        lambda name: (_weights(_load_torch(path), path) if again else weights)[name],
        args if isinstance(args, dict) else {},
    )


def _is_buffer(value: Tensor) -> bool:
    return value.dtype in (torch.bool, torch.uint8)  # a causal mask, which old files contain


def _is_mapped(path: Path) -> bool:
    """Whether it is a zip, as torch writes since 1.6, whose tensors are read when they are used."""
    return zipfile.is_zipfile(path)


def _load_torch(path: Path) -> dict[Any, Any]:
    """What torch.save wrote. Only tensors and plain values are built: a pickle that asks for more is refused unrun."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):  # CVE-2026-24747
        raise UserError(
            f"{path} can't be read safely with torch {torch.__version__}. "
            "Save the model as safetensors, or install torch 2.10 or newer."
        )
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mapped(path))
    except Exception as error:  # a dozen kinds, depending on what the file holds instead
        raise _refused(path, error) from None
    if not isinstance(saved, dict):
        raise UserError(f"{path} must hold tensors by name. Save the model's state_dict, or save it as safetensors.")
    return saved


def _refused(path: Path, error: Exception) -> UserError:
    """Of a file that is cut off, another sentence than of one that holds objects."""
    if isinstance(error, PermissionError):
        return UserError(f"{path} can't be read: this user may not. Change its permissions.")
    with path.open("rb") as file:
        begins_as_zip = file.read(4) == b"PK\3\4"
    if begins_as_zip and not _is_mapped(path):
        return UserError(f"{path} is cut off: its end is missing. Download or copy it again; nothing of it was run.")
    if "Unsupported global" in str(error) or "Unsupported class" in str(error):
        return UserError(
            f"{path} holds other things than plain weights; nothing of it was run. Save the model's state_dict alone, "
            "or save the model as safetensors, and import that."
        )
    return UserError(f"{path} is no file of weights, or is damaged; nothing of it was run. Download or save it again.")


def _weights(saved: dict[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors by name: all that was saved, or one entry of a checkpoint."""
    for weights in (saved, *(saved.get(key) for key in _INSIDE)):
        if isinstance(weights, dict) and weights and all(map(_is_weight, weights.items())):
            return weights
    raise UserError(
        f"{path} must hold tensors by name, alone or as one of {', '.join(_INSIDE)}. "
        "Save the model's state_dict, or save the model as safetensors."
    )


def _is_weight(item: tuple[Any, Any]) -> bool:
    name, value = item
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return isinstance(name, str) and plain
