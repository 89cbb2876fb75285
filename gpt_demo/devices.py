"""This machine: its device, whether bf16 is fast on it, and its memory."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Literal, get_args

import psutil
import torch

from gpt_demo.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]


@functools.cache
def pick_device() -> torch.device:
    """CUDA if available, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def writing_device() -> torch.device:
    """Where loaded models write and are compared: a CUDA card if there is one, else the CPU.

    Not on Apple's MPS: scores and draws are computed in float64, which it lacks.
    """
    device = pick_device()
    return device if device.type == "cuda" else torch.device("cpu")


def bf16_is_fast(device_type: str) -> bool:
    """Whether matrix products in bf16 are much faster than in fp32: by what the processor says it has.

    Instructions of their own (AVX512_BF16, AMX) double their speed or more; where bf16 is emulated it is far slower.
    Nothing is measured: a busy moment must not decide, for the same seed has other losses in another precision.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device_type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str, device: torch.device, width: int) -> Literal["fp32", "bf16"]:
    """ "auto" becomes the faster one for a model of this width (n_embd), always the same one on a machine.

    Raises UserError on an unknown name.
    """
    if precision not in get_args(Precision):
        raise UserError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}.")
    if precision == "auto":
        # Below this width a step is bound by the cost of launching operations, and casting only adds to it.
        return "bf16" if width >= 128 and bf16_is_fast(device.type) else "fp32"
    return "bf16" if precision == "bf16" else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


CGROUP = Path("/sys/fs/cgroup")
# Control groups, version 2, then version 1: the container's memory limit and usage.
_LIMITS = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))


def total_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory of this machine, or the limit of the container this runs in."""
    total = int(psutil.virtual_memory().total)
    for folder, limit, _ in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or no limit ("max")
            total = min(total, int((cgroup / folder / limit).read_text()))
    return total


def available_memory(cgroup: Path = CGROUP) -> int:
    """Bytes available now without swapping, within the limit of the container this runs in."""
    free = int(psutil.virtual_memory().available)
    for folder, limit, used in _LIMITS:
        with suppress(OSError, ValueError, KeyError):  # not there, or no limit ("max")
            files = cgroup / folder
            stat = dict(line.split() for line in (files / "memory.stat").read_text().splitlines())
            cached = int(stat["active_file"]) + int(stat["inactive_file"])  # file cache, freed on demand
            free = min(free, int((files / limit).read_text()) - int((files / used).read_text()) + cached)
    return max(0, free)


def device_memory(device: torch.device) -> tuple[int, int]:
    """Bytes free and in all: of the card's own memory, or of this machine's."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(free), int(total)
    return available_memory(), total_memory()


def used_memory() -> int:
    """Bytes of physical memory this process holds."""
    return int(psutil.Process().memory_info().rss)
