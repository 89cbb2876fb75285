"""Fit to my clock: time a few real steps here, then say how long a run takes, or make it as long as wanted."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from gpt_demo.devices import pick_device, resolve_precision
from gpt_demo.events import Stepped
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.recipes import Prepared
from gpt_demo.training.config import RunConfig
from gpt_demo.training.evaluation import mean_loss
from gpt_demo.training.loop import TrainState, evaluation_batches, make_optimizer, sample, train
from gpt_demo.training.lora import freeze

NOTHING_BUT_STEPS = {
    "eval_interval": 0, "sample_interval": 10**9, "sample_tokens": 1, "target_loss": 0.0,
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
        """How long so many steps take, evaluations and samples included."""
        train = config.train
        evaluations = steps / train.eval_interval + 1 if train.eval_interval else 0
        samples = steps / (train.sample_interval or self.steps_per_epoch)
        return steps * self.step + evaluations * self.evaluation + samples * self.sample

    def steps(self, config: RunConfig, seconds: float) -> int:
        """How many steps fit into so many seconds: at least 50, rounded down to tens."""
        per_step = (self.seconds(config, 10_000) - self.seconds(config, 0)) / 10_000
        return max(50, int((seconds - self.seconds(config, 0)) / per_step) // 10 * 10)


def measure_pace(prepared: Prepared, budget: float = 2.0) -> Pace:
    """Run real steps of this configuration for about `budget` seconds (three steps at least), from random weights.

    Torch's global random state is left as it was. Nothing else should be training meanwhile.
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
    """One batch of an evaluation is timed, the whole is as many times that as it has batches."""
    split, train = prepared.split, prepared.config.train
    length = train.window_length(prepared.config.model.n_ctx)
    started, tokens, wanted = time.perf_counter(), 0, 0
    for ids in (split.train, split.val):
        batches = evaluation_batches(ids, len(split.val), length, train, shuffle=False)
        for x, y in batches:
            if tokens < 4 * train.batch_size * length:
                tokens += mean_loss(model, [(x, y)], precision)[1]
                seconds = time.perf_counter() - started
            wanted += y.numel()
    return seconds * wanted / tokens if tokens else 0.0


def _sample(prepared: Prepared, model: GPT) -> float:
    started = time.perf_counter()
    sample(model, prepared.tokenizer, prepared.config.changed({"sample_tokens": 5}).train)
    return (time.perf_counter() - started) * prepared.config.train.sample_tokens / 5
