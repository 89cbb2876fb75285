"""Writing speed, side by side: `python -m benchmarks.decode`.

GPT-2's shape with random weights, a prompt of 16 tokens, one token at a time on the CPU. The contestants take turns of
a few tokens, so that all share what else the machine does meanwhile, and the memory's read bandwidth is measured before
every turn. Reported are medians: tokens/s, the ratio to the model without its compiled step, and the share of what the
bandwidth allows (bytes of the weights / bandwidth). Choosing the tokens is not part of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch

from gpt_demo.compare.precisions import weights_size
from gpt_demo.decoding.window import Window
from gpt_demo.memory import keep_freed_memory
from gpt_demo.model.compiled import PRODUCT
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.model.quantization import PRECISIONS, lower_precision

PROMPT = list(range(16))
TURN = 8  # tokens
QUICK = GPTConfig(n_ctx=128, n_embd=256, n_head=4, n_layer=2)
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """The result of one contestant."""

    name: str
    precision: str
    rows: int
    tokens_per_second: float
    ratio: float  # to the model without its compiled step, at as many rows and in this precision
    of_bandwidth: float | None


def ours(model: GPT, rows: int, tokens: int, *, compiled: bool) -> Step:
    """One more token in each row."""
    window = Window(model, PROMPT, tokens)
    if not compiled:
        window.step = None
    window.logits()
    window.reorder([0] * rows)
    numbers = count()

    def step() -> None:
        window.append([next(numbers) % 1000] * rows)
        window.logits()

    return step


def transformers(config: GPTConfig, precision: str) -> Step:
    """One more token of transformers' model, with its cache."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(
        vocab_size=config.n_vocab,
        n_positions=config.n_ctx,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
    )
    model: Any = GPT2LMHeadModel(shape).eval()
    model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    found: dict[str, Any] = {"ids": torch.tensor([PROMPT]), "cache": None}

    @torch.inference_mode()
    def step() -> None:
        said = model(input_ids=found["ids"], past_key_values=found["cache"], use_cache=True)
        found.update(ids=torch.tensor([[7]]), cache=said.past_key_values)

    step()
    return step


def bandwidth(numbers: torch.Tensor) -> float:
    """Bytes read per second."""
    start = time.perf_counter()
    numbers.sum()
    return numbers.nbytes / (time.perf_counter() - start)


def measure(config: GPTConfig, precision: str, turns: int) -> Iterator[Row]:
    """All contestants of a precision, interleaved."""
    torch.manual_seed(0)
    model = lower_precision(GPT(config).eval(), precision)
    model.requires_grad_(False)
    tokens = (turns + 1) * TURN
    steps = {
        (name, rows): ours(model, rows, tokens, compiled=name == "ours")
        for rows in (1, 6)
        for name in ("ours", "without the compiled step")
    }
    if precision != "int8" and importlib.util.find_spec("transformers"):
        steps["transformers", 1] = transformers(config, precision)
    numbers = torch.ones(2**26)
    speeds: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    reads = []
    for turn in range(turns + 1):
        reads.append(bandwidth(numbers))
        for (name, rows), step in steps.items():
            start = time.perf_counter()
            for _ in range(TURN):
                step()
            if turn:  # the first turn touches the memory
                speeds[name, rows].append(rows * TURN / (time.perf_counter() - start))
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    limit = statistics.median(reads) / weights_size(model)
    for (name, rows), speed in medians.items():
        ratio = speed / medians["without the compiled step", rows]
        yield Row(
            name, precision, rows, round(speed, 1), round(ratio, 2), round(speed / limit, 2) if rows == 1 else None
        )


def about() -> dict[str, Any]:
    """The machine and its load, for the reader of the figures."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        if cpu.exists()
        else []
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "compiled": PRODUCT.trouble or "yes",
    }


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| precision | rows | contestant | tokens/s | ratio | of the bandwidth |", "|---|---|---|---|---|---|"]
    for row in rows:
        share = "" if row.of_bandwidth is None else f"{row.of_bandwidth:.0%}"
        lines.append(
            f"| {row.precision} | {row.rows} | {row.name} | {row.tokens_per_second:,.1f} | {row.ratio:.2f}x | {share} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", choices=GPT2_SIZES, default="124M")
    parser.add_argument("--precision", choices=(*PRECISIONS, "all"), default="all")
    parser.add_argument("--turns", type=int, default=9, help=f"of {TURN} tokens, of each contestant (default: 9)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a small model: a test that the comparison runs")
    options = parser.parse_args()
    keep_freed_memory()
    PRODUCT.wait()
    facts, rows = about(), []
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    for precision in PRECISIONS if options.precision == "all" else (options.precision,):
        rows += measure(QUICK if options.quick else GPT2_SIZES[options.size], precision, options.turns)
    print(table(rows))
    if options.json:
        options.json.write_text(
            json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
