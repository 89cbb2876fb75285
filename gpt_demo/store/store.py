"""The stored models: a folder each on disk, and in memory those in use."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt_demo.devices import device_memory, writing_device
from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.paths import ASSETS
from gpt_demo.store.folder import (
    MAPPED_FROM,
    MODEL_FILES,
    check_name,
    load_model,
    read_description,
    remove_folder,
    restore_folder,
    save_model,
)
from gpt_demo.store.loaded import Loaded, LoadedModels
from gpt_demo.text.tokenizer import Tokenizer

STARTER = "starter"
SHIPPED = (STARTER, "early", "memorized")  # the models that come with the app
RESERVED = {*SHIPPED, *(f"gpt2-{size}" for size in GPT2_SIZES)}  # names of the models that the app itself provides


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
    """The hash of a visitor's secret token, which is all that is written to disk."""
    return hashlib.sha256(token.encode()).hexdigest()


class ModelStore:
    """The models under one folder, and those that come with the app.

    A visitor's model (`about["owner"]`) is visible only with that owner's key, unless `see_all` is set (as on the
    command line, where file permissions decide).
    """

    def __init__(
        self,
        home: Path,
        starter: Path | None = ASSETS / STARTER,
        *,
        see_all: bool = False,
        budget: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        """`starter`: the folder of the first model that comes with the app; the others are next to it.

        `budget`: bytes for all models in memory, by default 60 % of the device's memory. `device`: where they are, by
        default a CUDA card or else the CPU.
        """
        self.home = home
        folders = {name: starter.with_name(name) for name in SHIPPED} if starter else {}
        self._shipped = {name: path for name, path in folders.items() if (path / "config.json").exists()}
        self._see_all = see_all
        device = device or writing_device()
        self.memory = LoadedModels(budget if budget is not None else device_memory(device)[1] * 6 // 10, device)
        self._loading = threading.Lock()
        self._saving = threading.Lock()
        for old in (home / "models").glob(".*.old"):
            restore_folder(old.with_name(old.name[1 : -len(".old")]))

    def folder(self, name: str) -> Path:
        """Where a model of this name is or would be. Raises UserError on an invalid name."""
        return self.home / "models" / check_name(name)

    def list(self, owner: str | None = None) -> list[ModelInfo]:
        """The models that `owner` may use: those that come with the app, the starter first, then the newest first."""
        found = [info for info in self.everybodys() if self._may_use(info, owner)]
        found.sort(key=lambda info: info.modified, reverse=True)
        shipped = [info for info in map(self._info, self._shipped.values()) if info]
        return [*shipped, *(info for info in found if info.name not in self._shipped)]

    def everybodys(self) -> Sequence[ModelInfo]:
        """All models but those that come with the app, whoever owns them, in any order."""
        folders = [path.parent for path in (self.home / "models").glob("[!.]*/config.json")]
        return [info for info in map(self._info, folders) if info]

    @staticmethod
    def _info(folder: Path) -> ModelInfo | None:
        """None if the folder is incomplete or not ours."""
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
        """The model of this name. Raises UserError naming the available models."""
        with contextlib.suppress(UserError):
            folder = self._shipped.get(name) or self.folder(name)
            info = self._info(folder)
            if info and self._may_use(info, owner):
                return info
        names = ", ".join(info.name for info in self.list(owner)[:20]) or "none yet: train one first"
        raise UserError(f"There is no model named {name[:80]!r}. Available: {names}.")

    def check_free(self, name: str) -> None:
        """Raises UserError if a new model can't have this name."""
        if name in RESERVED:
            raise UserError(f"The name {name} is reserved for a model of the app. Choose another name.")
        if self.folder(name).exists():
            raise UserError(f"There is already a model named {name}. Choose another name.")

    def load(self, name: str, owner: str | None = None, precision: str | None = None) -> tuple[GPT, Tokenizer]:
        """The model, which stays in memory for the next call, and its tokenizer.

        Default precision: the one it was last used in if it is in memory, else fp32. Raises UserError, also if it does
        not fit into memory.
        """
        info = self.get(name, owner)
        precision = precision or self.memory.precision_of(info.folder) or "fp32"
        key = (info.folder, precision, int(info.modified * 1e9))
        with self._loading if self.memory.get(key) is None else contextlib.nullcontext():
            loaded = self.memory.get(key)
            if loaded is None:
                needed = self.memory.make_room(info.name, info.config, precision)
                on_cpu = self.memory.device.type == "cpu"
                mapped = on_cpu and precision == "fp32" and info.bytes >= MAPPED_FROM
                model, tokenizer = load_model(info.folder, precision)
                loaded = Loaded(model.to(self.memory.device), tokenizer, needed, mapped)
                self.memory.put(key, loaded)
            return loaded.model, loaded.tokenizer

    def unload(self, name: str, owner: str | None = None) -> None:
        """Free the model's memory. Raises UserError if there is no such model."""
        self.memory.forget(self.get(name, owner).folder)

    def save(
        self,
        name: str,
        config: GPTConfig,
        weights: Mapping[str, torch.Tensor] | Path,
        tokenizer: Tokenizer,
        about: Mapping[str, Any],
    ) -> Path:
        """Write a model under `name`; its folder. `weights` may be a safetensors file, which is moved there."""
        folder = self.folder(name)
        with self._saving:
            save_model(folder, config, weights, tokenizer, about)
        self.memory.forget(folder)
        return folder

    def is_shipped(self, info: ModelInfo) -> bool:
        """Whether this is one of the models that come with the app."""
        return info.folder in self._shipped.values()

    def delete(self, name: str, owner: str | None = None) -> None:
        """Raises UserError if there is no such model or it comes with the app."""
        info = self.get(name, owner)
        if self.is_shipped(info):
            raise UserError(f"The model {info.name} belongs to the app and can't be deleted.")
        with self._saving:
            remove_folder(info.folder)
        self.memory.forget(info.folder)
