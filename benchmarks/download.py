"""OpenAI's release at full size, from a server to a model: `python -m benchmarks.download [--layers 12 --width 768]`.

Writes random weights in OpenAI's layout (124M: 498 MB) with TensorFlow, serves them on this machine, downloads them
with 20 interruptions at random places (by turns the server breaks off, and the download is closed and begun again),
compares every byte, converts, and loads in fp32, bf16 and int8. Reported are seconds and, as a ratio to the model's
bytes in fp32, the peak of physical memory above what the process holds before: the converting child after importing
TensorFlow, the loading process after importing the app and reading GPT-2's vocabulary. Exit code 1 where a byte differs
or a ratio is above LIMIT.

The peak is the kernel's own (VmHWM of /proc, so Linux only); it counts the pages of mapped files too.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import gpt_demo.download.files
from gpt_demo.exchange.openai_release import FILES, convert, fetch_release, read_hparams
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.model.quantization import PRECISIONS
from gpt_demo.store.folder import save_model
from gpt_demo.text.tokenizer import gpt2
from tests.release import Release, write
from tests.servers import Fault, FileServer

LIMIT = 1.15  # of the model's bytes in fp32
SIZE = "124M"  # what the server calls it, whatever it is
DATA = FILES[3]
STATUS = """
def memory(name):
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(name))

"""
BASELINE = "import tensorflow\nprint(memory('VmRSS'), memory('VmHWM'))"
LOADING = """
import sys, time, torch
from pathlib import Path
from gpt_demo.store.folder import load_model
from gpt_demo.text.tokenizer import gpt2

gpt2()
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before, start = memory("VmRSS"), time.perf_counter()
model, _ = load_model(Path(sys.argv[1]), sys.argv[2])
loaded, seconds = memory("VmHWM"), time.perf_counter() - start
with torch.no_grad():
    model(torch.arange(8)[None] % model.config.n_vocab)
print(before, loaded, memory("VmHWM"), seconds, time.perf_counter() - start)
"""


def status_of(pid: int, name: str) -> int:
    """One line of a process's status in /proc, as bytes; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return 0


def child(code: str, *arguments: str) -> list[float]:
    """The numbers that a Python process of its own prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", STATUS + code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(source: Path, folder: Path, interruptions: int) -> tuple[float, int]:
    """Fetch the release; the seconds it took, and how often the largest file was asked for."""
    path, size = f"/{SIZE}/{DATA}", (source / DATA).stat().st_size
    places = sorted(random.Random(0).sample(range(1, size), interruptions))
    gaps = [place - last for last, place in zip([0, *places], places, strict=False)]
    gpt_demo.download.files.EVENT_SECONDS = 0.0  # so that every place is seen
    with FileServer({f"/{SIZE}/{name}": source / name for name in FILES}) as server:
        os.environ["GPT_DEMO_OPENAI_URLS"] = server.url
        # Nothing that came is asked for again, so each answer begins where the one before ended.
        server.faults[path] = [Fault(stall=gap) if i % 2 else Fault(cut=gap) for i, gap in enumerate(gaps)]
        start = time.perf_counter()
        closings = set(places[1::2])
        while not fetch_until(folder, closings):
            pass
        return time.perf_counter() - start, server.count("GET", path)


def fetch_until(folder: Path, places: set[int]) -> bool:
    """Download until the largest file has grown to one of `places`, and close; whether it was fetched to the end."""
    events = fetch_release(SIZE, folder)
    for event in events:
        if event.file == DATA and event.received in places:
            places.remove(event.received)
            events.close()  # type: ignore[attr-defined]
            return False
    return True


def watched(folder: Path, target: Path) -> Iterator[int]:
    """Convert; the child's peak of physical memory in bytes, after every tensor."""
    for _ in convert(folder, target):
        yield max((status_of(p.pid, "VmHWM") for p in psutil.Process().children()), default=0)


def report(name: str, seconds: float, peak: float, baseline: float, model: int) -> bool:
    """One line; whether the peak is within LIMIT."""
    print(
        f"{name:<28}{seconds:>8.2f} s{baseline / 1e6:>12,.0f} MB{(peak - baseline) / 1e6:>12,.0f} MB"
        f"{(peak - baseline) / model:>9.2f}x",
        flush=True,
    )
    return peak - baseline <= LIMIT * model


def measure(config: GPTConfig, home: Path, interruptions: int) -> bool:
    """Whether everything is as it should be."""
    hparams = {name: getattr(config, name) for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")}
    write(Release(str(home / "source"), hparams))
    model = 4 * config.n_params
    print(f"{config.n_params / 1e6:,.1f}M parameters, {model / 1e6:,.0f} MB in fp32")
    seconds, gets = download(home / "source", home / "fetched", interruptions)
    same = all(sha256(home / "source" / name) == sha256(home / "fetched" / name) for name in FILES)
    print(f"downloaded in {seconds:.1f} s, {gets - 1} interruptions, byte-identical: {same}", flush=True)
    resident, peak = child(BASELINE)
    print(f"TensorFlow imported: {resident / 1e6:,.0f} MB, {peak / 1e6:,.0f} MB at its peak")
    print(f"\n{'':<28}{'time':>10}{'before':>15}{'peak above':>15}{'of model':>10}")
    start, highest = time.perf_counter(), 0
    for seen in watched(home / "fetched", home / "weights"):
        highest = max(highest, seen)
    good = [same, report("convert (child process)", time.perf_counter() - start, highest, resident, model)]
    save_model(home / "model", read_hparams(home / "fetched"), home / "weights", gpt2(), {})
    for precision in PRECISIONS:
        before, loaded, used, loading, first = child(LOADING, str(home / "model"), precision)
        good.append(report(f"load in {precision}", loading, loaded, before, model))
        good.append(report("  and compute once", first, used, before, model))
    return all(good)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.download", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--interruptions", type=int, default=20)
    options = parser.parse_args()
    config = GPTConfig(n_embd=options.width, n_head=max(1, options.width // 64), n_layer=options.layers)
    with tempfile.TemporaryDirectory() as folder:
        good = measure(config, Path(folder), options.interruptions)
    print("within the limits" if good else f"NOT within the limits: a byte differs, or more than {LIMIT}x was held")
    return 0 if good else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
