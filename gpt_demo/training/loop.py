"""Training: a generator of events. No files, no prints, no widgets.

`TrainState` is all that changes; `train` moves it forward. Whenever `train` has yielded a `Stepped`, the state is
whole: saved then and loaded again, it goes on as if nothing had happened, bit for bit on the CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from gpt_demo.decoding.generate import generate
from gpt_demo.devices import autocast
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Finished, Generated, Sampled, Stepped, finite
from gpt_demo.model.gpt import GPT
from gpt_demo.text.data import Split, covering_windows, epoch_batches, random_batch, windows
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.evaluation import mean_loss
from gpt_demo.training.lora import trained
from gpt_demo.training.plan import Plan, TrainConfig, learning_rate


class TrainingDiverged(UserError):
    """The loss or a gradient is no longer a number. The state is still the one before that step."""


def make_optimizer(model: GPT, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; weight decay on all parameters, or on matrices (not on vectors).

    What is frozen is left out.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in params if config.decay == "all" or p.dim() >= 2]
    spared = [p for p in params if config.decay == "matrices" and p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


@dataclass
class TrainState:
    """All that a step changes. `step` counts the optimizer steps done."""

    model: GPT
    optimizer: torch.optim.AdamW
    step: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0  # spent in steps, evaluations and samples
    epoch_batch: int = 0  # batches of the present epoch already used
    epoch_rng: Tensor | None = None  # torch's random state when the present epoch's order was drawn
    train_loss: float = math.nan  # as last evaluated
    val_loss: float = math.nan
    best_step: int | None = None  # where the validation loss was lowest
    best_val_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # of that step, without what is frozen


def train(
    state: TrainState, split: Split, tokenizer: Tokenizer, config: TrainConfig, precision: str
) -> Iterator[Stepped | Evaluated | Sampled | Finished]:
    """Train from `state.step` to the end of the plan.

    A step's `Evaluated` and `Sampled` come before its `Stepped`. Shuffling and dropout draw from torch's global
    generator: run one training at a time in a process if it is to be reproducible.
    Raises TrainingDiverged, before the step is taken, when the loss or a gradient is not finite.
    """
    n_ctx = state.model.config.n_ctx
    plan = Plan.of(config, n_ctx, len(split.train))
    batches = _endless_batches(state, split.train, config.window_length(n_ctx), config)
    reason = "max_steps" if config.epochs and plan.total_steps == config.max_steps else "done"
    state.model.train()
    while state.step < plan.total_steps:
        started = time.perf_counter()
        step, rate = state.step, learning_rate(config, plan.horizon, state.step)
        loss, norm = _optimizer_step(state, batches, config, rate, precision)
        speed = plan.tokens_per_step / (time.perf_counter() - started)
        epochs_before = state.tokens_seen // plan.tokens_per_epoch
        state.step, state.tokens_seen = step + 1, state.tokens_seen + plan.tokens_per_step
        epoch = state.tokens_seen / plan.tokens_per_epoch
        last = state.step == plan.total_steps
        if _evaluation_is_due(config, step, last):
            yield _evaluate(state, split, config, epoch, precision)
        if step % config.sample_interval == 0 if config.sample_interval else int(epoch) > epochs_before:
            yield Sampled(step, epoch, sample(state.model, tokenizer, config))
        state.seconds += time.perf_counter() - started
        yield Stepped(step, state.tokens_seen, loss, rate, norm, speed)
        if config.target_loss and state.val_loss <= config.target_loss:
            reason = "target"
            break
    yield _finished(state, reason)


def _endless_batches(
    state: TrainState, ids: Tensor, length: int, config: TrainConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y), each (B, T = length), from where the state stands; keeps its place in the epoch up to date."""
    if config.batches == "random":
        while True:
            yield random_batch(ids, length, config.batch_size)
    inputs, targets = windows(ids, length, config.stride or length)
    while True:
        if state.epoch_batch and state.epoch_rng is not None:  # go on inside an epoch: draw its order again
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
    state: TrainState, batches: Iterator[tuple[Tensor, Tensor]], config: TrainConfig, rate: float, precision: str
) -> tuple[float, float]:
    """One update from grad_accum_steps batches: the mean loss before it and the gradient's norm before clipping."""
    model, optimizer, device = state.model, state.optimizer, state.model.device
    epoch_batch, epoch_rng, rng = state.epoch_batch, state.epoch_rng, torch.get_rng_state()
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for x, y in islice(batches, config.grad_accum_steps):
        with autocast(device, precision):
            loss = model.loss(x.to(device), y.to(device)) / config.grad_accum_steps
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf).item()
    if not math.isfinite(total) or not math.isfinite(norm):
        what = "loss" if not math.isfinite(total) else "gradient"
        state.epoch_batch, state.epoch_rng = epoch_batch, epoch_rng
        torch.set_rng_state(rng)
        raise TrainingDiverged(
            f"The {what} stopped being a number at step {state.step}, so the run ended there; the state before that "
            f"step is kept. Try a lower learning_rate (it was {rate:.2g}), more warmup_steps, or grad_clip 1."
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return total, norm


def _evaluation_is_due(config: TrainConfig, step: int, last: bool) -> bool:
    """Every eval_interval steps; and at the end, where the evaluation draws no random numbers."""
    return bool(config.eval_interval) and (step % config.eval_interval == 0 or (last and not config.eval_batches))


def _evaluate(state: TrainState, split: Split, config: TrainConfig, epoch: float, precision: str) -> Evaluated:
    """Losses of both splits; a new lowest validation loss is remembered together with its weights."""
    length = config.window_length(state.model.config.n_ctx)

    def loss_on(ids: Tensor) -> float:
        batches = evaluation_batches(ids, len(split.val), length, config, shuffle=ids is split.train)
        return mean_loss(state.model, batches, precision)[0]

    state.train_loss, state.val_loss = loss_on(split.train), loss_on(split.val)
    step = state.step - 1
    if state.val_loss < state.best_val_loss:
        state.best_step, state.best_val_loss = step, state.val_loss
        _remember_weights(state)
    return Evaluated(step, state.tokens_seen, epoch, state.train_loss, state.val_loss)


def evaluation_batches(
    ids: Tensor, val_tokens: int, length: int, config: TrainConfig, shuffle: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """What one evaluation reads, in windows of `length` tokens: the whole split (of the training split a part as long),
    or eval_batches batches."""
    if not config.eval_batches:
        return covering_windows(ids[: max(val_tokens, length + 1)], length)
    if len(ids) <= length:
        return covering_windows(ids, length)
    if config.batches == "random":
        return (random_batch(ids, length, config.batch_size) for _ in range(config.eval_batches))
    inputs, targets = windows(ids, length, config.stride or length)
    return islice(epoch_batches(inputs, targets, config.batch_size, shuffle, drop_last=shuffle), config.eval_batches)


def _remember_weights(state: TrainState) -> None:
    """Copy the weights that are trained, into the same memory as the last time."""
    for name, p in trained(state.model).items():
        if name in state.best_weights:
            state.best_weights[name].copy_(p)
        else:
            state.best_weights[name] = p.to("cpu", copy=True)


def sample(model: GPT, tokenizer: Tokenizer, config: TrainConfig) -> str:
    """The fixed prompt continued, with the same draws at every step."""
    text = config.sample_prompt
    for event in generate(model, tokenizer, config.sample_prompt, config.sampling, config.sample_tokens):
        if isinstance(event, Generated):
            text = event.text
    return text


def _finished(state: TrainState, reason: str) -> Finished:
    return Finished(
        steps=state.step,
        tokens_seen=state.tokens_seen,
        seconds=state.seconds,
        reason=reason,
        train_loss=finite(state.train_loss),
        val_loss=finite(state.val_loss),
        best_step=state.best_step,
        best_val_loss=finite(state.best_val_loss),
    )
