"""Models on disk: one folder each, `config.json + tokenizer.json + model.safetensors`. No pickle is ever read."""

from __future__ import annotations

import contextlib
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
from gpt_demo.events import finite
from gpt_demo.model import GPT, GPTConfig
from gpt_demo.quantization import lower_precision
from gpt_demo.tokenizer import Tokenizer

ASSETS = Path(__file__).resolve().parents[1] / "assets"
STARTER = "starter"
MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def data_home() -> Path:
    """The folder for models, runs and downloads: GPT_DEMO_HOME, by default `checkpoints/` beside app.py."""
    return Path(os.environ.get("GPT_DEMO_HOME") or ASSETS.parent / "checkpoints")


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def check_name(name: str, most: int = 64) -> str:
    """`name` if it can be a folder's name everywhere, else UserError."""
    form = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    if not form or len(name) > most or name.endswith(".") or _RESERVED.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} can't be a name. Use up to {most} letters, digits, dots, dashes or underscores, "
            "beginning with a letter or digit."
        )
    return name


def write_folder(target: Path, files: Mapping[str, bytes | Mapping[str, torch.Tensor]]) -> None:
    """Write the files into a new folder and put it at `target`, replacing what was there: whole or not at all."""
    fresh, old = _beside(target)
    restore_folder(target)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (fresh / name).write_bytes(content)
        else:
            save_file({key: value.contiguous() for key, value in content.items()}, fresh / name)
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        restore_folder(target)


def restore_folder(target: Path) -> None:
    """Put back what `write_folder` has set aside if nothing took its place, perhaps because the process died."""
    _, old = _beside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def remove_folder(path: Path) -> None:
    """Remove a folder at once: what is deleted is never seen by half."""
    trash = path.with_name(f".{path.name}.deleted")
    shutil.rmtree(trash, ignore_errors=True)
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def save_model(
    folder: Path,
    config: GPTConfig,
    weights: Mapping[str, torch.Tensor],
    tokenizer: Tokenizer,
    about: Mapping[str, Any],
) -> None:
    """Write a model folder. `about` (where it comes from) goes into config.json beside the shape."""
    description = json.dumps({**config.to_dict(), "about": finite(about)}, indent=2).encode()
    tokens = json.dumps(tokenizer.to_dict()).encode()
    write_folder(folder, {"config.json": description, "tokenizer.json": tokens, "model.safetensors": weights})


def read_description(folder: Path) -> tuple[GPTConfig, dict[str, Any]]:
    """Shape and `about` of a model folder; UserError where config.json is missing or not ours."""
    known = {f.name: f.default for f in dataclass_fields(GPTConfig)}
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = {name: record[name] for name in known if name in record}
        for name, value in shape.items():
            if type(value) is not type(known[name]) and (name, value) != ("dropout", 0):
                raise ValueError(f"{name} is {value!r}")
        return GPTConfig(**shape), dict(record.get("about", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
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
    # Copied: a mapped file is slower to compute with, and must not change or vanish while the model is in use.
    copies = {name: value.to(torch.float32, copy=True) for name, value in weights.items()}
    model.load_state_dict(copies, assign=True)


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
    modified: float  # seconds since 1970

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
        self._lock = threading.Lock()  # of _loaded
        self._loading = threading.Lock()
        self._saving = threading.Lock()
        for old in (home / "models").glob(".*.old"):
            restore_folder(old.with_name(old.name[1 : -len(".old")]))

    def folder(self, name: str) -> Path:
        """Where a model of this name is or would be; UserError on a name that can't be a folder's."""
        return self.home / "models" / check_name(name)

    def list(self, owner: str | None = None) -> list[ModelInfo]:
        """The models that `owner` may use, the starter first, then the newest first."""
        folders = [path.parent for path in (self.home / "models").glob("[!.]*/config.json")]
        found = [info for info in map(self._info, folders) if info and self._may_use(info, owner)]
        found.sort(key=lambda info: info.modified, reverse=True)
        if self._starter is None:
            return found
        starter = self._info(self._starter)
        return [*([starter] if starter else []), *(info for info in found if info.name != STARTER)]

    @staticmethod
    def _info(folder: Path) -> ModelInfo | None:
        """None where the folder is half written or not ours: no model."""
        try:
            config, about = read_description(folder)
            size = sum((folder / name).stat().st_size for name in MODEL_FILES)
            modified = (folder / "config.json").stat().st_mtime
        except (UserError, OSError):
            return None
        return ModelInfo(folder.name, folder, config, about, size, modified)

    def _may_use(self, info: ModelInfo, owner: str | None) -> bool:
        return self._see_all or info.owner in (None, owner)

    def get(self, name: str, owner: str | None = None) -> ModelInfo:
        """Raises UserError naming the models there are."""
        with contextlib.suppress(UserError):
            folder = self._starter if self._starter and name == STARTER else self.folder(name)
            info = self._info(folder)
            if info and self._may_use(info, owner):
                return info
        names = ", ".join(info.name for info in self.list(owner)[:20]) or "none yet: train one first"
        raise UserError(f"There is no model called {name[:80]!r}. There are: {names}.")

    def check_free(self, name: str) -> None:
        """UserError where a new model can't be called so."""
        if name == STARTER or self.folder(name).exists():
            raise UserError(f"There is already a model called {name}. Choose another name.")

    def load(self, name: str, owner: str | None = None, precision: str = "fp32") -> tuple[GPT, Tokenizer]:
        """The model, kept in memory for the next call (the four used last), and its tokenizer. Raises UserError."""
        info = self.get(name, owner)
        key = (info.folder, precision, int(info.modified * 1e9))
        found = self._cached(key)
        if found is not None:
            return found
        with self._loading:
            found = self._cached(key)
            if found is not None:
                return found
            model, tokenizer = load_model(info.folder)
            loaded = (lower_precision(model, precision), tokenizer)
            with self._lock:
                self._loaded[key] = loaded
                while len(self._loaded) > 4:
                    self._loaded.popitem(last=False)
            return loaded

    def _cached(self, key: tuple[Path, str, int]) -> tuple[GPT, Tokenizer] | None:
        with self._lock:
            if key not in self._loaded:
                return None
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def _forget(self, folder: Path) -> None:
        with self._lock:
            for key in [key for key in self._loaded if key[0] == folder]:
                del self._loaded[key]

    def save(
        self,
        name: str,
        config: GPTConfig,
        weights: Mapping[str, torch.Tensor],
        tokenizer: Tokenizer,
        about: Mapping[str, Any],
    ) -> Path:
        """Write a model under `name`; its folder."""
        folder = self.folder(name)
        with self._saving:
            save_model(folder, config, weights, tokenizer, about)
        self._forget(folder)
        return folder

    def is_starter(self, info: ModelInfo) -> bool:
        """Whether this is the model that comes with the app."""
        return info.folder == self._starter

    def delete(self, name: str, owner: str | None = None) -> None:
        """Raises UserError if there is no such model or it is the starter."""
        info = self.get(name, owner)
        if self.is_starter(info):
            raise UserError("The starter model belongs to the app and can't be deleted.")
        with self._saving:
            remove_folder(info.folder)
        self._forget(info.folder)
