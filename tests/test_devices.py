"""Which device and precision are taken, and what memory there is."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from gpt_demo import devices
from gpt_demo.devices import (
    autocast,
    available_memory,
    bf16_is_fast,
    device_memory,
    pick_device,
    resolve_precision,
    used_memory,
    writing_device,
)
from gpt_demo.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    pick_device.cache_clear()
    yield
    pick_device.cache_clear()


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_fastest_device_is_picked(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device() == torch.device(chosen)
    assert writing_device() == torch.device("cuda" if cuda else "cpu")


@pytest.mark.parametrize("avx512_bf16", [False, True])
@pytest.mark.parametrize("amx", [False, True])
def test_bf16_is_fast_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    fast = avx512_bf16 or amx
    assert bf16_is_fast("cpu") is fast
    assert not bf16_is_fast("mps")
    assert resolve_precision("auto", CPU, 768) == ("bf16" if fast else "fp32")


def test_auto_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a measurement chose another precision now and then, and the same seed had other losses."""

    def measured(*_args: object) -> None:
        raise AssertionError("auto depends on the moment")

    for module, name in ((time, "perf_counter"), (torch.nn.functional, "linear"), (torch, "matmul")):
        monkeypatch.setattr(module, name, measured)
    assert resolve_precision("auto", CPU, 768) in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("asked", "fast", "width", "taken"),
    [
        ("fp32", True, 768, "fp32"), ("bf16", False, 64, "bf16"), ("auto", True, 768, "bf16"),
        ("auto", False, 768, "fp32"), ("auto", True, 127, "fp32"), ("auto", True, 128, "bf16"),
    ],
)  # fmt: skip
def test_auto_is_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, asked: str, fast: bool, width: int, taken: str
) -> None:
    monkeypatch.setattr(devices, "bf16_is_fast", lambda _device: fast)
    assert resolve_precision(asked, CPU, width) == taken


@pytest.mark.parametrize("unknown", ["fp16", "int8", "", "AUTO"])
def test_unknown_precisions_are_refused(unknown: str) -> None:
    with pytest.raises(UserError, match=f"precision is '{unknown}'; it must be one of auto, fp32, bf16"):
        resolve_precision(unknown, CPU, 768)


def test_autocast_casts_for_bf16_only() -> None:
    a = torch.ones(2, 2)
    with autocast(CPU, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (a @ a).dtype == torch.float32
    assert (a @ a).dtype == torch.float32


# Memory ---------------------------------------------------------------------------------------------------------------


def test_memory_of_this_process() -> None:
    before = used_memory()
    with mmap.mmap(-1, 120_000_000) as block:  # new from the system, whatever was freed before
        block.write(b"x" * len(block))
        assert 100_000_000 < used_memory() - before < 300_000_000
    assert 0 < available_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("folder", "limit", "used"),
    [("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")],
)
def test_a_containers_limit_counts(tmp_path: Path, folder: str, limit: str, used: str) -> None:
    free = psutil.virtual_memory().available
    files = tmp_path / folder
    files.mkdir(exist_ok=True)
    (files / "memory.stat").write_text("anon 70000\nactive_file 3000\ninactive_file 2000\n")
    (files / used).write_text("95000\n")
    (files / limit).write_text("100000\n")
    assert available_memory(tmp_path) == 10_000, "what is cached of files can be had"
    (files / limit).write_text("80000\n")
    assert available_memory(tmp_path) == 0
    for unlimited in ("max\n", f"{2**63 - 4096}\n"):
        (files / limit).write_text(unlimited)
        assert available_memory(tmp_path) == pytest.approx(free, abs=1 << 30)


def test_without_a_container_the_machine_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("100000\n")  # half of what would be needed to know
    free = psutil.virtual_memory().available
    assert available_memory(tmp_path / "none") == pytest.approx(free, abs=1 << 30)
    assert available_memory(tmp_path) == pytest.approx(free, abs=1 << 30)


def test_a_cards_memory_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 8))
    assert device_memory(torch.device("cuda")) == (5, 8)
    free, total = device_memory(CPU)
    assert 8 < free <= total
