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
from typing import Literal, get_args

import torch
from torch import Tensor

from gpt_demo.data import Split, covering_windows, epoch_batches, random_batch, windows
from gpt_demo.decoding import Sampling, generate
from gpt_demo.devices import Precision, autocast
from gpt_demo.errors import UserError
from gpt_demo.evaluation import mean_loss
from gpt_demo.events import Evaluated, Finished, Generated, Sampled, Stepped
from gpt_demo.model import GPT, Init
from gpt_demo.tokenizer import Tokenizer

Batches = Literal["windows", "random"]
Decay = Literal["matrices", "all"]


class TrainingDiverged(UserError):
    """The loss or a gradient is no longer a number. The state is still the one before that step."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Zero turns a thing off unless its comment says otherwise. Raises UserError on impossible values."""

    epochs: int = 0  # passes over the training tokens; 0: until max_steps
    max_steps: int = 600  # the run ends after so many steps at the latest; 0: after `epochs`
    batches: Batches = "random"  # windows in shuffled order, or random places
    stride: int = 0  # tokens from one window to the next; 0: n_ctx, so that windows touch
    batch_size: int = 8  # windows per batch
    grad_accum_steps: int = 1  # batches per optimizer step
    learning_rate: float = 2e-3  # highest
    min_learning_rate: float | None = 2e-4  # where cosine decay ends, if that is lower; none: no decay
    warmup_steps: int = 20  # linear
    decay_steps: int = 0  # step at which the decay ends; 0: the planned end
    weight_decay: float = 0.1
    decay: Decay = "matrices"  # what weight decay acts on: matrices only, or all parameters
    grad_clip: float = 1.0  # largest norm of the gradient
    eval_interval: int = 50  # steps from one evaluation to the next
    eval_batches: int = 0  # batches of each split; 0: the whole validation split, as much of the training split
    sample_interval: int = 100  # steps from one sample to the next; 0: after each epoch
    sample_prompt: str = ""  # empty: words from the text
    sample_tokens: int = 50
    sample_temperature: float = 0.0  # 0: greedy
    sample_top_k: int = 0
    target_loss: float = 0.0  # stop when the validation loss is as low as this
    save_seconds: float = 20.0  # from one checkpoint to the next; 0: after every step
    seed: int = 123
    precision: Precision = "auto"
    init: Init = "gpt2"

    def __post_init__(self) -> None:
        for name, choices in (("batches", Batches), ("decay", Decay), ("precision", Precision), ("init", Init)):
            if getattr(self, name) not in get_args(choices):
                allowed = ", ".join(get_args(choices))
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be one of {allowed}.")
        for name in ("batch_size", "grad_accum_steps", "sample_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        not_negative = (
            "epochs", "max_steps", "stride", "min_learning_rate", "warmup_steps", "decay_steps", "weight_decay",
            "grad_clip", "eval_interval", "eval_batches", "sample_interval", "sample_temperature", "sample_top_k",
            "target_loss", "save_seconds", "seed",
        )  # fmt: skip
        for name in not_negative:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"{name} is {value}; it must be 0 or more.")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be above 0, for example 0.001.")
        if not self.epochs and not self.max_steps:
            raise UserError("epochs and max_steps are both 0, so the run would never end. Set one of them.")


@dataclass(frozen=True)
class Plan:
    """How long a run is, from its configuration and the number of training tokens."""

    total_steps: int
    horizon: int  # the learning rate is at its minimum from step horizon - 1 on
    steps_per_epoch: int
    tokens_per_epoch: int
    tokens_per_step: int

    @classmethod
    def of(cls, config: TrainConfig, n_ctx: int, train_tokens: int) -> Plan:
        """Raises UserError where the training windows do not fill one batch."""
        batch_tokens = config.batch_size * n_ctx
        n_windows = len(range(0, train_tokens - n_ctx, config.stride or n_ctx))
        n_batches = n_windows // config.batch_size
        if config.batches == "windows" and not n_batches:
            raise UserError(
                f"The training text gives {n_windows} windows of {n_ctx} tokens, fewer than one batch of "
                f"{config.batch_size}. Lower batch_size or n_ctx, or take a longer text."
            )
        tokens_per_epoch = n_batches * batch_tokens if config.batches == "windows" else train_tokens
        tokens_per_step = batch_tokens * config.grad_accum_steps
        steps_per_epoch = max(1, round(tokens_per_epoch / tokens_per_step))
        planned = math.ceil(config.epochs * tokens_per_epoch / tokens_per_step) or config.max_steps
        total = min(planned, config.max_steps or planned)
        return cls(total, config.decay_steps or planned, steps_per_epoch, tokens_per_epoch, tokens_per_step)


def learning_rate(config: TrainConfig, horizon: int, step: int) -> float:
    """At step (from 0): linear warmup, then cosine decay to the minimum at horizon - 1 (Loshchilov and Hutter 2017)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.min_learning_rate is None:
        return config.learning_rate
    lowest = min(config.min_learning_rate, config.learning_rate)
    progress = min(1.0, (step - config.warmup_steps) / max(1, horizon - 1 - config.warmup_steps))
    return lowest + (config.learning_rate - lowest) * (0.5 + 0.5 * math.cos(math.pi * progress))


def make_optimizer(model: GPT, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), fused; weight decay on all parameters, or on matrices (not on vectors)."""
    params = list(model.parameters())
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
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # of that step


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
    batches = _endless_batches(state, split.train, n_ctx, config)
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
    state: TrainState, ids: Tensor, n_ctx: int, config: TrainConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y), each (B, T), from where the state stands; keeps its place in the epoch up to date."""
    if config.batches == "random":
        while True:
            yield random_batch(ids, n_ctx, config.batch_size)
    inputs, targets = windows(ids, n_ctx, config.stride or n_ctx)
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
    n_ctx = state.model.config.n_ctx
    state.train_loss, state.val_loss = (
        mean_loss(state.model, evaluation_batches(ids, len(split.val), n_ctx, config, ids is split.train), precision)[0]
        for ids in (split.train, split.val)
    )
    step = state.step - 1
    if state.val_loss < state.best_val_loss:
        state.best_step, state.best_val_loss = step, state.val_loss
        _remember_weights(state)
    return Evaluated(step, state.tokens_seen, epoch, state.train_loss, state.val_loss)


def evaluation_batches(
    ids: Tensor, val_tokens: int, n_ctx: int, config: TrainConfig, shuffle: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """What one evaluation reads: the whole split (of the training split a part as long), or eval_batches batches."""
    if not config.eval_batches:
        return covering_windows(ids[: max(val_tokens, n_ctx + 1)], n_ctx)
    if len(ids) <= n_ctx:
        return covering_windows(ids, n_ctx)
    if config.batches == "random":
        return (random_batch(ids, n_ctx, config.batch_size) for _ in range(config.eval_batches))
    inputs, targets = windows(ids, n_ctx, config.stride or n_ctx)
    return islice(epoch_batches(inputs, targets, config.batch_size, shuffle, drop_last=shuffle), config.eval_batches)


def _remember_weights(state: TrainState) -> None:
    """Copy the weights, into the same memory as the last time."""
    for name, p in state.model.state_dict().items():
        if name in state.best_weights:
            state.best_weights[name].copy_(p)
        else:
            state.best_weights[name] = p.detach().to("cpu", copy=True)


def sample(model: GPT, tokenizer: Tokenizer, config: TrainConfig) -> str:
    """The fixed prompt continued, with the same draws at every step."""
    sampling = Sampling(temperature=config.sample_temperature, top_k=config.sample_top_k, seed=config.seed)
    text = config.sample_prompt
    for event in generate(model, tokenizer, config.sample_prompt, sampling, config.sample_tokens):
        if isinstance(event, Generated):
            text = event.text
    return text


def _finished(state: TrainState, reason: str) -> Finished:
    return Finished(
        steps=state.step,
        tokens_seen=state.tokens_seen,
        seconds=state.seconds,
        reason=reason,
        train_loss=state.train_loss,
        val_loss=state.val_loss,
        best_step=state.best_step,
        best_val_loss=state.best_val_loss if state.best_step is not None else None,
    )
