"""Training: a generator of events. No files, no prints, no widgets.

`TrainState` is all that changes; `train` moves it forward. Whenever `train` has yielded a `Stepped`, the state is
whole: saved then and loaded again, it continues as if nothing had happened, bit for bit on the CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice

import torch
from torch import Tensor

from gpt_demo.devices import autocast
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Evaluating, Finished, Sampled, Stepped, finite
from gpt_demo.text.data import Split, epoch_batches, random_batch, windows
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.distributed import ALONE, Alone, Batch, Loss, losing
from gpt_demo.training.plan import Plan, TrainConfig, learning_rate
from gpt_demo.training.state import TrainState
from gpt_demo.training.watch import Watch


class TrainingDiverged(UserError):
    """The loss or a gradient is no longer a number. The state is still the one before that step."""


def train(
    state: TrainState,
    split: Split,
    tokenizer: Tokenizer,
    config: TrainConfig,
    precision: str,
    stopping: Callable[[], bool] = lambda: False,
    team: Alone = ALONE,
) -> Iterator[Stepped | Evaluating | Evaluated | Sampled | Finished]:
    """Train from `state.step` to the end of the plan, or until `stopping()`: then without a `Finished`.

    A step's `Evaluated` and `Sampled` come before its `Stepped`. A run that is asked to stop ends with its present
    step and measures it; an evaluation or a sample that takes too long for that is given up (the evaluation is made up
    for when the run resumes). Shuffling and dropout draw from torch's global generator: run one training at a time in a
    process if it is to be reproducible. With a `team` several processes do so together, each with its own state.
    Raises TrainingDiverged, before the step is taken, when the loss or a gradient is not finite, and ProcessLost when
    another process of the team has ended.
    """
    stopping = team.agreed(stopping)
    n_ctx = state.model.config.n_ctx
    plan = Plan.of(config, n_ctx, len(split.train))
    watch = Watch(state, split, tokenizer, config, plan, precision, stopping, team)
    loss_of = team.loss_of(state.model)
    batches = _endless_batches(state, split.train, config.window_length(n_ctx), config)
    reason = "max_steps" if config.epochs and plan.total_steps == config.max_steps else "done"
    state.model.train()
    if state.step and state.evaluated_step != state.step - 1 and is_evaluated(config, state.step - 1, plan.total_steps):
        yield from watch.evaluate()
    while state.step < plan.total_steps:
        started = time.perf_counter()
        step, rate = state.step, learning_rate(config, plan.horizon, state.step)
        loss, norm = _optimizer_step(state, batches, config, rate, precision, loss_of, team)
        speed = plan.tokens_per_step / (time.perf_counter() - started)
        epochs_before = state.tokens_seen // plan.tokens_per_epoch
        state.step, state.tokens_seen = step + 1, state.tokens_seen + plan.tokens_per_step
        if is_evaluated(config, step, plan.total_steps):
            yield from watch.evaluate()
        ended = _early_end(state, config)
        last = state.step == plan.total_steps or ended is not None
        new_epoch = state.tokens_seen // plan.tokens_per_epoch > epochs_before
        if last or (step % config.sample_interval == 0 if config.sample_interval else new_epoch):
            yield from watch.sample()
        stops = not last and stopping()
        if stops and config.eval_interval and state.evaluated_step != step:
            yield from watch.evaluate()
        state.seconds += time.perf_counter() - started
        yield Stepped(step, state.tokens_seen, loss, rate, norm, speed)
        if stops:
            return
        if ended is not None:
            reason = ended
            break
    yield _finished(state, reason, watch.sample_of_best())


def is_evaluated(config: TrainConfig, step: int, total_steps: int) -> bool:
    """Whether the losses are measured after this step: every eval_interval steps and at the end. The book's way,
    eval_batches of shuffled windows, has no measurement at the end."""
    book = config.eval_batches and config.batches == "windows"
    last = step == total_steps - 1 and not book
    return bool(config.eval_interval) and (step % config.eval_interval == 0 or last)


def _early_end(state: TrainState, config: TrainConfig) -> str | None:
    """Why the run ends after the step that has just been measured, if it does."""
    if state.evaluated_step != state.step - 1:
        return None
    if config.target_loss and state.val_loss <= config.target_loss:
        return "target"
    return "patience" if config.patience and state.waited >= config.patience else None


def _endless_batches(state: TrainState, ids: Tensor, length: int, config: TrainConfig) -> Iterator[Batch]:
    """Batches (x, y), each (B, T = length), from the state's position on, which it keeps up to date."""
    if config.batches == "random":
        while True:
            yield random_batch(ids, length, config.batch_size)
    inputs, targets = windows(ids, length, config.stride or length)
    while True:
        if state.epoch_batch and state.epoch_rng is not None:  # resume inside an epoch: draw its order again
            now = torch.get_rng_state()
            torch.set_rng_state(state.epoch_rng)
            order = epoch_batches(inputs, targets, config.batch_size, shuffle=True, drop_last=True)
            for _ in islice(order, state.epoch_batch):
                pass
            torch.set_rng_state(now)
        else:
            state.epoch_rng = torch.get_rng_state()
            order = epoch_batches(inputs, targets, config.batch_size, shuffle=True, drop_last=True)
        for batch in order:
            state.epoch_batch += 1
            yield batch
        state.epoch_batch = 0


def _optimizer_step(
    state: TrainState,
    batches: Iterator[Batch],
    config: TrainConfig,
    rate: float,
    precision: str,
    loss_of: Loss,
    team: Alone,
) -> tuple[float, float]:
    """One update from grad_accum_steps batches: the mean loss before it and the gradient's norm before clipping."""
    model, optimizer = state.model, state.optimizer
    epoch_batch, epoch_rng, rng = state.epoch_batch, state.epoch_rng, torch.get_rng_state()
    optimizer.zero_grad(set_to_none=True)
    try:
        with losing():
            total = team.mean_loss(_gradient(state, batches, config, precision, loss_of, team))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf).item()
        if not math.isfinite(total) or not math.isfinite(norm):
            what = "loss" if not math.isfinite(total) else "gradient"
            raise TrainingDiverged(
                f"The {what} became NaN or infinite at step {state.step}, so the run ended there; the state before "
                f"that step is kept. Try a lower learning_rate (it was {rate:.2g}), more warmup_steps, or grad_clip 1."
            )
    except UserError:
        state.epoch_batch, state.epoch_rng = epoch_batch, epoch_rng
        torch.set_rng_state(rng)
        raise
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return total, norm


def _gradient(
    state: TrainState, batches: Iterator[Batch], config: TrainConfig, precision: str, loss_of: Loss, team: Alone
) -> float:
    """Add up the gradients of a step's batches; the mean loss of this process's rows of them."""
    device, total = state.model.device, 0.0
    for number, batch in enumerate(islice(batches, config.grad_accum_steps), 1):
        x, y = team.rows(batch)
        with nullcontext() if number == config.grad_accum_steps else team.unsynchronized(loss_of):
            with autocast(device, precision), team.masks(config.seed, state.step, number):
                loss = loss_of(x.to(device), y.to(device)) / config.grad_accum_steps
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _finished(state: TrainState, reason: str, best_sample: str | None) -> Finished:
    return Finished(
        steps=state.step,
        tokens_seen=state.tokens_seen,
        seconds=state.seconds,
        reason=reason,
        train_loss=finite(state.train_loss),
        val_loss=finite(state.val_loss),
        best_step=state.best_step,
        best_val_loss=finite(state.best_val_loss),
        best_sample=best_sample,
    )
