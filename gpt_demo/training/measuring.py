"""A run's evaluations: which windows they read, how in batches, and when they are given up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.data import Split, covering_windows, epoch_batches, random_batch, windows
from gpt_demo.training.distributed import ALONE, Alone, ProcessLost
from gpt_demo.training.evaluation import LOGITS, batch_losses
from gpt_demo.training.plan import Plan, TrainConfig

SHARE = 0.1  # of a run's computing that its evaluations may take, about
GRACE_SECONDS = 3.0  # how long an evaluation may continue after the run was asked to stop


@dataclass(frozen=True)
class Evaluation:
    """What each evaluation of a run reads: always the same windows, unless `eval_batches` has them drawn."""

    config: TrainConfig
    split: Split
    length: int  # T
    windows: int  # of each split; of a split with fewer, all
    batch: int  # windows at once

    @classmethod
    def of(cls, config: TrainConfig, shape: GPTConfig, plan: Plan, split: Split, sample: int = 0) -> Evaluation:
        """`sample`: windows of each split, where an earlier part of the run has chosen them; 0: to be chosen.

        As many as take SHARE of the computing of the planned run (a batch at least), spread evenly over each split; or
        the whole validation text, and as much of the training text.
        """
        length = config.window_length(shape.n_ctx)
        count = _whole(split.val, length) or _whole(split.train, length)
        if config.evaluate_on == "sample":
            count = min(count, sample or _affordable(config, shape, plan, length))
        batch = max(config.batch_size, min(64, LOGITS // (length * shape.n_vocab)))
        return cls(config, split, length, count, batch)

    def batches(self, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets, (B, T) each, of one of the two splits."""
        config, training = self.config, ids is self.split.train
        if not config.eval_batches:
            return self._fixed(ids)
        if len(ids) <= self.length:
            return covering_windows(ids, self.length)
        if config.batches == "random":
            return (random_batch(ids, self.length, config.batch_size) for _ in range(config.eval_batches))
        pairs = windows(ids, self.length, config.stride or self.length)
        return islice(epoch_batches(*pairs, config.batch_size, training, drop_last=training), config.eval_batches)

    def _fixed(self, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if self.windows >= _whole(ids, self.length):
            yield from covering_windows(ids, self.length, self.batch)
            return
        inputs, targets = windows(ids, self.length, self.length)
        middles = (2 * torch.arange(self.windows) + 1) * len(inputs) // (2 * self.windows)
        for i in range(0, self.windows, self.batch):
            rows = middles[i : i + self.batch]
            yield inputs.index_select(0, rows).long(), targets.index_select(0, rows).long()

    def tokens(self, ids: Tensor) -> int:
        """How many tokens of one of the splits `batches` predicts, about."""
        most = self.config.eval_batches * self.config.batch_size or self.windows
        return max(0, min(len(ids) - 1, most * self.length))


def _whole(ids: Tensor, length: int) -> int:
    """Windows that cover all of `ids`."""
    return math.ceil(max(0, len(ids) - 1) / length)


def _affordable(config: TrainConfig, shape: GPTConfig, plan: Plan, length: int) -> int:
    """Windows of each split: a step costs as much as this many forward passes over as many tokens."""
    if config.trainable == "last_blocks":
        passes = 1 + 2 * min(1, config.last_blocks / shape.n_layer)
    else:
        passes = 2 if config.trainable == "lora" else 3  # LoRA's frozen matrices have no gradient of their own
    evaluations = len(range(0, plan.total_steps, config.eval_interval or plan.total_steps)) + 1
    tokens = SHARE * passes * plan.total_steps * plan.tokens_per_step / evaluations
    return max(config.batch_size, int(tokens / (2 * length)))


def measure(
    model: GPT, evaluation: Evaluation, precision: str, given_up: Callable[[], bool], team: Alone = ALONE
) -> Generator[int, None, tuple[float, float] | None]:
    """Yields the number of tokens done after every batch. Returns the losses of the training and the validation text
    in nats per token (NaN where there is none), or nothing where it was given up, or a process of the team has ended.
    """
    found, done, over = [], 0, False
    for ids in (evaluation.split.train, evaluation.split.val):
        total, tokens = 0.0, 0.0
        shares = (rows for rows in map(team.rows, evaluation.batches(ids)) if len(rows[0]))
        for surprise, count in batch_losses(model, shares, precision):
            total, tokens, done = total + surprise, tokens + count, done + count * team.count
            yield done
            if given_up():
                over = True
                break
        try:
            total, tokens, given = team.total(total, tokens, over)
        except ProcessLost:
            return None
        if given:
            return None
        found.append(total / tokens if tokens else math.nan)
    return found[0], found[1]


class Grace:
    """Whether an evaluation must be given up: GRACE_SECONDS after the run was first seen to be stopping."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._since: float | None = None

    def is_over(self) -> bool:
        if not self._stopping():
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since >= GRACE_SECONDS
