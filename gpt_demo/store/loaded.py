"""Models in memory: how much each needs; the least recently used are unloaded when another needs the memory."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from gpt_demo.devices import device_memory
from gpt_demo.errors import UserError
from gpt_demo.format import size
from gpt_demo.memory import give_back_memory
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.model.quantization import PRECISIONS, weight_bytes
from gpt_demo.text.tokenizer import Tokenizer

Key = tuple[Path, str, int]  # folder, precision, when its config.json was written


def memory_needed(config: GPTConfig, precision: str) -> int:
    """Bytes that a model takes at most while it writes: its weights, keys and values of a full context, what reading a
    full context leaves behind in the heap, and some logits. (Measured: from 1 to 12 % above what is taken.)"""
    width = 2 if precision == "bf16" else 4
    cache = 2 * config.n_layer * config.n_ctx * config.n_embd * width
    left = 24 * config.n_ctx * config.n_embd * width
    if precision == "int8":  # its matrices are widened to float32 when they are used
        left = max(left, min(16, 2 * config.n_layer) * config.block_matrices)
    return int(1.04 * (weight_bytes(config, precision) + cache + left)) + 16 * config.n_vocab


def precisions_that_fit(config: GPTConfig, room: int) -> tuple[str, ...]:
    """The precisions in which a model of this shape fits into `room` bytes."""
    return tuple(precision for precision in PRECISIONS if memory_needed(config, precision) <= room)


@dataclass(frozen=True)
class Loaded:
    """A model in memory and the bytes reserved for it."""

    model: GPT
    tokenizer: Tokenizer
    bytes: int
    mapped: bool = False  # pages of its file, which count as free memory


class LoadedModels:
    """What is in memory, within a budget of bytes. Safe to use from several threads."""

    def __init__(self, budget: int, device: torch.device) -> None:
        self.budget = budget
        self.device = device
        self._loaded: OrderedDict[Key, Loaded] = OrderedDict()  # the one used last at the end
        self._unloaded: list[weakref.ref[GPT]] = []  # models that may still be generating
        self._lock = threading.Lock()

    def get(self, key: Key) -> Loaded | None:
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
            return self._loaded.get(key)

    def precision_of(self, folder: Path) -> str | None:
        """The precision in which the model of this folder was last used, if it is in memory."""
        with self._lock:
            return next((key[1] for key in reversed(self._loaded) if key[0] == folder), None)

    def reserved(self, folder: Path | None = None) -> int:
        """Bytes reserved for all models, or for those of one folder."""
        with self._lock:
            return sum(one.bytes for key, one in self._loaded.items() if folder in (None, key[0]))

    def room(self) -> int:
        """Bytes available to a model, if all others are unloaded for it."""
        self._sweep()
        with self._lock:
            held = sum(one.bytes for one in self._loaded.values() if not one.mapped)
        return min(self.budget, device_memory(self.device)[0] + held)

    def make_room(self, name: str, config: GPTConfig, precision: str) -> int:
        """Unload the least recently used models until this one fits; the bytes it needs.

        Raises UserError, and unloads nothing, if it can't fit; the message says what would.
        """
        needed, room = memory_needed(config, precision), self.room()
        if needed > room:
            raise UserError(_too_large(name, config, precision, needed, room))
        while self._oldest_goes(room - needed):
            give_back_memory()
        return needed

    def _oldest_goes(self, room: int) -> bool:
        with self._lock:
            if sum(one.bytes for one in self._loaded.values()) <= room:
                return False
            self._give_up(next(iter(self._loaded)))
            return True

    def _give_up(self, key: Key) -> None:
        self._unloaded.append(weakref.ref(self._loaded.pop(key).model))

    def _sweep(self) -> None:
        """Return to the system the memory of unloaded models that have finished generating since."""
        with self._lock:
            still = [model for model in self._unloaded if model() is not None]
            ended, self._unloaded = len(self._unloaded) - len(still), still
        if ended:
            give_back_memory()

    def put(self, key: Key, loaded: Loaded) -> None:
        with self._lock:
            self._loaded[key] = loaded

    def forget(self, folder: Path) -> None:
        """Unload the model of this folder, in all its precisions."""
        with self._lock:
            for key in [key for key in self._loaded if key[0] == folder]:
                self._give_up(key)
        give_back_memory()


def _too_large(name: str, config: GPTConfig, precision: str, needed: int, room: int) -> str:
    fitting = precisions_that_fit(config, room)
    sizes = [name for name, shape in GPT2_SIZES.items() if memory_needed(shape, "fp32") <= room]
    if fitting:
        advice = f"It fits in {' or '.join(fitting)}: choose that precision."
    else:
        advice = f"GPT-2 sizes that fit: {', '.join(sizes) or 'none'}. Close other programs to free memory."
    return f"{name} in {precision} needs {size(needed)} of memory; {size(room)} are available here. {advice}"
