"""Training speed against the peers, side by side: `python -m benchmarks.train`.

GPT-2's 124M parameters (V 50257, tied head, no dropout), batch 4 x 256, on the CPU. Every loop lives in a process of
its own and they take turns, one step each, so that all share what else the machine does meanwhile; the peak of the
matrix products is measured before every turn. Reported are the median step, the ratio to ours, the share of the peak.

Model FLOPs per token = 6 N + 12 L T C: N the parameters that take part in matrix products (the blocks' matrices and
the head), 2 FLOPs each forward and 4 backward; the second term is attention's two products, over the full T x T square
(Chowdhery et al. 2022, "PaLM", appendix B).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import multiprocessing as mp
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks import reference
from gpt_demo.events import Stepped
from gpt_demo.memory import keep_freed_memory
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.data import Split, random_batch
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.loop import train
from gpt_demo.training.plan import TrainConfig
from gpt_demo.training.state import TrainState, make_optimizer

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Size:
    config: GPTConfig
    batch: int
    steps: int  # in each turn

    @property
    def tokens(self) -> int:
        """Of one step."""
        return self.batch * self.config.n_ctx

    @property
    def flops(self) -> int:
        """Model FLOPs of one step."""
        c = self.config
        matrices = 12 * c.n_layer * c.n_embd**2 + c.n_vocab * c.n_embd
        return self.tokens * (6 * matrices + 12 * c.n_layer * c.n_ctx * c.n_embd)


FULL = Size(GPTConfig(n_ctx=256), batch=4, steps=1)
QUICK = Size(GPTConfig(n_vocab=1024, n_ctx=128, n_embd=192, n_head=6, n_layer=4), batch=16, steps=3)


@dataclass
class Loop:
    """One loop in its process, and what its steps took."""

    name: str
    precision: str
    pipe: Connection
    seconds: list[float] = field(default_factory=list)

    def take_turn(self, steps: int) -> list[float]:
        self.pipe.send(steps)
        if not self.pipe.poll(timeout=600):
            raise TimeoutError(f"{self.name} did not finish {steps} steps in 10 minutes.")
        seconds: list[float] = self.pipe.recv()
        return seconds


def ours(size: Size, ids: torch.Tensor, precision: str) -> reference.Step:
    """The app's own training generator, its evaluations and samples turned off."""
    keep_freed_memory()
    model = GPT(size.config)
    config = TrainConfig(max_steps=10**9, batch_size=size.batch, learning_rate=6e-4, warmup_steps=0, eval_interval=0,
                         sample_interval=10**9)  # fmt: skip
    state = TrainState(model, make_optimizer(model, config), step=1)  # a sample would come at step 0
    steps = (e for e in train(state, Split(ids, ids), byte_level(), config, precision) if isinstance(e, Stepped))
    return lambda: next(steps).loss


def build(name: str, precision: str, size: Size) -> reference.Step:
    """Every loop starts from the same tokens, drawn at random: speed does not depend on them."""
    torch.manual_seed(0)
    ids = torch.randint(size.config.n_vocab, (100_000,))
    if name == "ours":
        return ours(size, ids, precision)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        return random_batch(ids, size.config.n_ctx, size.batch)

    if name == "nanoGPT":
        return reference.nanogpt(size.config, draw, precision)
    return {"book": reference.book, "transformers": reference.transformers}[name](size.config, draw)


def work(name: str, precision: str, size: Size, pipe: Any) -> None:
    """In a loop's own process: take the steps asked for and answer with the seconds of each, as long as anyone asks."""
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        step = build(name, precision, size)
        while True:
            times = []
            for _ in range(pipe.recv()):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            pipe.send(times)


@contextlib.contextmanager
def processes(names: list[tuple[str, str]], size: Size) -> Iterator[list[Loop]]:
    """A process for each (name, precision); they end with the block."""
    context = mp.get_context("spawn")
    loops, workers = [], []
    try:
        for name, precision in names:
            here, there = context.Pipe()
            workers.append(context.Process(target=work, args=(name, precision, size, there), daemon=True))
            workers[-1].start()
            loops.append(Loop(name, precision, here))
        yield loops
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def matmul_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest large square product, best of six."""
    best = 0.0
    for n in (1024, 2048):
        a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
        for _ in range(3):
            start = time.perf_counter()
            a @ b.t()
            best = max(best, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def compare(names: list[tuple[str, str]], size: Size, rounds: int) -> tuple[list[Loop], dict[str, float]]:
    """The loops with their times, and the matmul peak in GFLOP/s of each precision that occurs."""
    peaks = dict.fromkeys(sorted({precision for _, precision in names}), 0.0)
    with processes(names, size) as loops:
        for loop in loops:
            loop.take_turn(2)  # the first steps take memory and make the optimizer's state
        for number in range(rounds):
            for loop in loops:
                peaks = {name: max(peak, matmul_peak(DTYPES[name])) for name, peak in peaks.items()}
                loop.seconds += loop.take_turn(size.steps)
            print(f"round {number + 1} of {rounds} done", flush=True)
    return loops, peaks


def report(loops: list[Loop], peaks: dict[str, float], size: Size) -> None:
    print("\nmatrix-product peak: " + ", ".join(f"{name} {peak:,.0f} GFLOP/s" for name, peak in peaks.items()))
    print(f"{'loop':<14}{'precision':<10}{'s/step':>7}{'fastest':>9}{'tokens/s':>10}{'ours is':>9}{'of the peak':>13}")
    mine = statistics.median(loops[0].seconds)
    for loop in loops:
        seconds, fastest = statistics.median(loop.seconds), min(loop.seconds)
        share = size.flops / seconds / 1e9 / peaks[loop.precision]
        print(
            f"{loop.name:<14}{loop.precision:<10}{seconds:>7.3f}{fastest:>9.3f}{size.tokens / seconds:>10,.0f}"
            f"{seconds / mine:>8.2f}x{share:>13.1%}"
        )
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--precision", choices=("bf16", "fp32", "both"), default="both", help="of our loop")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a small model: a test that the comparison runs")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    print(
        f"{size.config.n_params / 1e6:,.1f}M parameters, batch {size.batch} x {size.config.n_ctx}, "
        f"{size.flops / 1e9:,.0f} GFLOP per step, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    peers = [("book", "fp32")] + [("transformers", "fp32")] * bool(importlib.util.find_spec("transformers"))
    for precision in ("bf16", "fp32") if options.precision == "both" else (options.precision,):
        report(*compare([("ours", precision), ("nanoGPT", precision), *peers], size, options.rounds), size)
        peers = []  # once is enough


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
