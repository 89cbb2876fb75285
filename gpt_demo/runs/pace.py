"""Fit to my clock: time a few real steps here, then estimate a run's duration, or fit it to a duration."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from gpt_demo.devices import pick_device, resolve_precision
from gpt_demo.events import Stepped
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.preparing import Prepared
from gpt_demo.training.config import RunConfig
from gpt_demo.training.evaluation import batch_losses
from gpt_demo.training.loop import train
from gpt_demo.training.lora import freeze
from gpt_demo.training.measuring import Evaluation
from gpt_demo.training.state import TrainState, make_optimizer
from gpt_demo.training.watch import sample

NOTHING_BUT_STEPS = {
    "eval_interval": 0, "sample_interval": 10**9, "sample_tokens": 1, "target_loss": 0.0, "patience": 0,
    "epochs": 0, "max_steps": 10**9,
}  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """Measured seconds of one optimizer step, one evaluation and one sample."""

    step: float
    evaluation: float
    sample: float
    steps_per_epoch: int

    def seconds(self, config: RunConfig, steps: int) -> float:
        """The duration of a number of steps, including evaluations and samples."""
        train = config.train
        evaluations = steps / train.eval_interval + 1 if train.eval_interval else 0
        samples = steps / (train.sample_interval or self.steps_per_epoch)
        return steps * self.step + evaluations * self.evaluation + samples * self.sample

    def steps(self, config: RunConfig, seconds: float) -> int:
        """How many steps fit into a duration: at least 50, rounded down to tens."""
        per_step = (self.seconds(config, 10_000) - self.seconds(config, 0)) / 10_000
        return max(50, int((seconds - self.seconds(config, 0)) / per_step) // 10 * 10)


def measure_pace(prepared: Prepared, budget: float = 2.0) -> Pace:
    """Run real steps of this configuration for about `budget` seconds (at least three steps), from random weights.

    Torch's global random state is restored. Nothing else should be training at the same time.
    """
    config = prepared.config
    device = pick_device()
    precision = resolve_precision(config.train.precision, device, config.model.n_embd)
    bare = config.changed(NOTHING_BUT_STEPS).train
    with torch.random.fork_rng():
        model = GPT(config.model, config.train.init)
        freeze(model, config.train)
        model = model.to(device)
        state = TrainState(model, make_optimizer(model, bare))
        seconds: list[float] = []
        started = time.perf_counter()
        for event in train(state, prepared.split, prepared.tokenizer, bare, precision):
            if isinstance(event, Stepped):
                seconds.append(prepared.plan.tokens_per_step / event.tokens_per_second)
                if len(seconds) >= 3 and time.perf_counter() - started > budget:
                    break
        evaluation, writing = _evaluation(prepared, model, precision), _sample(prepared, model)
    return Pace(statistics.median(seconds[1:]), evaluation, writing, prepared.plan.steps_per_epoch)


def _evaluation(prepared: Prepared, model: GPT, precision: str) -> float:
    """The time of an evaluation, extrapolated from some of its batches by the number of tokens."""
    split, config = prepared.split, prepared.config
    evaluation = Evaluation.of(config.train, config.model, prepared.plan, split)
    wanted = evaluation.tokens(split.train) + evaluation.tokens(split.val)
    started, tokens = time.perf_counter(), 0
    for _, count in batch_losses(model, evaluation.batches(split.train), precision):
        tokens += count
        if tokens >= 4 * config.train.batch_size * evaluation.length:
            break
    return (time.perf_counter() - started) * wanted / tokens if tokens else 0.0


def _sample(prepared: Prepared, model: GPT) -> float:
    started = time.perf_counter()
    sample(model, prepared.tokenizer, prepared.config.changed({"sample_tokens": 5}).train)
    return (time.perf_counter() - started) * prepared.config.train.sample_tokens / 5
