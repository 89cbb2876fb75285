"""This machine: its device, whether bf16 is fast on it, and its memory."""

from __future__ import annotations

import functools
import time
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


@functools.cache
def bf16_is_fast(device_type: str, width: int) -> bool:
    """Whether a matrix product of this width runs at least 1.5x faster in bf16 than in fp32, by measurement.

    Takes a fraction of a second, once. Processors that emulate bf16 are far slower, so the result is clear.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu":
        return False
    width = min(max(width, 256), 1024)
    seconds = {dtype: _matmul_seconds(width, dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.float32] > 1.5 * seconds[torch.bfloat16]


def _matmul_seconds(width: int, dtype: torch.dtype) -> float:
    a, b = torch.ones(512, width, dtype=dtype), torch.ones(4 * width, width, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        times.append(time.perf_counter() - start)
    return min(times)


def resolve_precision(precision: str, device: torch.device, width: int) -> Literal["fp32", "bf16"]:
    """ "auto" becomes the faster one for a model of this width (n_embd). Raises UserError on an unknown name."""
    if precision not in get_args(Precision):
        raise UserError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}.")
    if precision == "auto":
        # Below this width a step is bound by the cost of launching operations, and casting only adds to it.
        return "bf16" if width >= 128 and bf16_is_fast(device.type, width) else "fp32"
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


def used_memory() -> int:
    """Bytes of physical memory this process holds."""
    return int(psutil.Process().memory_info().rss)
