"""Models on disk: one folder each, `config.json + tokenizer.json + model.safetensors`. No pickle is ever read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gpt_demo.errors import UserError
from gpt_demo.model import GPT, GPTConfig
from gpt_demo.quantization import lower_precision
from gpt_demo.tokenizer import Tokenizer

ASSETS = Path(__file__).resolve().parents[1] / "assets"
STARTER = "starter"


def data_home() -> Path:
    """The folder for models, runs and downloads: GPT_DEMO_HOME, by default `checkpoints/` beside app.py."""
    return Path(os.environ.get("GPT_DEMO_HOME") or ASSETS.parent / "checkpoints")


def check_name(name: str) -> str:
    """`name` if it can be a folder's name everywhere, else UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name.endswith("."):
        raise UserError(
            f"{name[:80]!r} can't be a name. Use up to 64 letters, digits, dots, dashes or underscores, "
            "beginning with a letter or digit."
        )
    return name


def write_folder(target: Path, files: Mapping[str, bytes | Mapping[str, torch.Tensor]]) -> None:
    """Write the files into a new folder and put it at `target` in one step, replacing what was there."""
    fresh, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (fresh / name).write_bytes(content)
        else:
            save_file({key: value.contiguous() for key, value in content.items()}, fresh / name)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def save_model(
    folder: Path,
    config: GPTConfig,
    weights: Mapping[str, torch.Tensor],
    tokenizer: Tokenizer,
    about: Mapping[str, Any],
) -> None:
    """Write a model folder. `about` (where it comes from) goes into config.json beside the shape."""
    description = json.dumps({**config.to_dict(), "about": dict(about)}, indent=2).encode()
    tokens = json.dumps(tokenizer.to_dict()).encode()
    write_folder(folder, {"config.json": description, "tokenizer.json": tokens, "model.safetensors": weights})


def read_description(folder: Path) -> tuple[GPTConfig, dict[str, Any]]:
    """Shape and `about` of a model folder; UserError where config.json is missing or not ours."""
    known = {f.name for f in dataclass_fields(GPTConfig)}
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return GPTConfig(**{k: v for k, v in record.items() if k in known}), record.get("about", {})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} holds no readable model: {error}") from error


def load_weights(model: GPT, path: Path) -> None:
    """Put the tensors of a safetensors file into `model` (which may be on the meta device).

    Raises UserError naming what is missing, left over, wrongly shaped, or not readable.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as safetensors ({error}). Train or download the model again.") from error
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} does not belong" for name in weights if name not in expected]
    faults += [
        f"{name} is {tuple(weights[name].shape)}, not {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    if faults:
        raise UserError(f"{path} does not fit its config.json: {'; '.join(faults[:5])}.")
    model.load_state_dict(weights, assign=True)


def load_model(folder: Path) -> tuple[GPT, Tokenizer]:
    """The model of a folder, in eval mode, and its tokenizer. Draws no random numbers. Raises UserError."""
    config, _ = read_description(folder)
    with torch.device("meta"):
        model = GPT(config, init="pytorch")
    load_weights(model, folder / "model.safetensors")
    model.requires_grad_(True)
    return model.eval(), Tokenizer.load(folder / "tokenizer.json")


@dataclass(frozen=True)
class ModelInfo:
    """One model of the store."""

    name: str
    folder: Path
    config: GPTConfig
    about: Mapping[str, Any]
    bytes: int  # on disk

    @property
    def owner(self) -> str | None:
        owner: str | None = self.about.get("owner")
        return owner


def owner_key(token: str) -> str:
    """What is written to disk of a visitor's secret token."""
    return hashlib.sha256(token.encode()).hexdigest()


class ModelStore:
    """The models under one folder and the starter model that comes with the app.

    A model that belongs to a visitor (`about["owner"]`) is only seen with that owner's key. `see_all` (the command
    line: who can read the files may read the models) lifts that.
    """

    def __init__(self, home: Path, starter: Path | None = ASSETS / STARTER, *, see_all: bool = False) -> None:
        self.home = home
        self._starter = starter if starter and (starter / "config.json").exists() else None
        self._see_all = see_all
        self._loaded: OrderedDict[tuple[Path, str, int], tuple[GPT, Tokenizer]] = OrderedDict()
        self._lock = threading.Lock()

    def folder(self, name: str) -> Path:
        """Where a model of this name is or would be; UserError on a name that can't be a folder's."""
        return self.home / "models" / check_name(name)

    def list(self, owner: str | None = None) -> list[ModelInfo]:
        """The models that `owner` may use, the starter first, then the newest first."""
        folders = [p for p in (self.home / "models").glob("*/config.json") if not p.parent.name.startswith(".")]
        folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        found = [self._info(p.parent) for p in folders]
        if self._starter and not any(info and info.name == STARTER for info in found):
            found.insert(0, self._info(self._starter))
        return [info for info in found if info and (self._see_all or info.owner in (None, owner))]

    @staticmethod
    def _info(folder: Path) -> ModelInfo | None:
        try:
            config, about = read_description(folder)
            size = sum(p.stat().st_size for p in folder.iterdir())
        except (UserError, OSError):
            return None  # half written or not ours: not a model
        return ModelInfo(folder.name, folder, config, about, size)

    def get(self, name: str, owner: str | None = None) -> ModelInfo:
        """Raises UserError naming the models there are."""
        models = self.list(owner)
        for info in models:
            if info.name == name:
                return info
        names = ", ".join(info.name for info in models[:20]) or "none yet: train one first"
        raise UserError(f"There is no model called {name[:80]!r}. There are: {names}.")

    def load(self, name: str, owner: str | None = None, precision: str = "fp32") -> tuple[GPT, Tokenizer]:
        """The model, kept in memory for the next call (the four used last), and its tokenizer. Raises UserError."""
        info = self.get(name, owner)
        key = (info.folder, precision, (info.folder / "config.json").stat().st_mtime_ns)
        with self._lock:
            if key not in self._loaded:
                model, tokenizer = load_model(info.folder)
                self._loaded[key] = (lower_precision(model, precision), tokenizer)
            self._loaded.move_to_end(key)
            while len(self._loaded) > 4:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def save(
        self,
        name: str,
        config: GPTConfig,
        weights: Mapping[str, torch.Tensor],
        tokenizer: Tokenizer,
        about: Mapping[str, Any],
    ) -> Path:
        """Write a model under `name`; its folder."""
        save_model(self.folder(name), config, weights, tokenizer, about)
        return self.folder(name)

    def is_starter(self, info: ModelInfo) -> bool:
        """Whether this is the model that comes with the app."""
        return info.folder == self._starter

    def delete(self, name: str, owner: str | None = None) -> None:
        """Raises UserError if there is no such model or it is the starter."""
        info = self.get(name, owner)
        if self.is_starter(info):
            raise UserError("The starter model belongs to the app and can't be deleted.")
        shutil.rmtree(info.folder)
        with self._lock:
            for key in [key for key in self._loaded if key[0] == info.folder]:
                del self._loaded[key]
