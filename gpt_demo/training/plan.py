"""How a run is trained: its settings, how long it is, and the learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gpt_demo.decoding.darts import DrawName
from gpt_demo.decoding.generate import Sampling
from gpt_demo.devices import Precision
from gpt_demo.errors import UserError
from gpt_demo.model.gpt import Init

Batches = Literal["windows", "random"]
Decay = Literal["matrices", "all"]
Trainable = Literal["all", "last_blocks", "lora"]
EvaluateOn = Literal["sample", "all"]
CHOICES = {
    "batches": get_args(Batches), "decay": get_args(Decay), "precision": get_args(Precision), "init": get_args(Init),
    "trainable": get_args(Trainable), "sample_draw": get_args(DrawName), "evaluate_on": get_args(EvaluateOn),
}  # fmt: skip


def setting(default: Any, label: str, explanation: str) -> Any:
    """A field of a configuration, with what page and command line call it and say of it."""
    return field(default=default, metadata={"words": (label, explanation)})


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Zero turns a thing off unless it says otherwise. Raises UserError on impossible values."""

    epochs: int = setting(0, "Epochs", "passes over the training text; 0: until max_steps")
    max_steps: int = setting(600, "Steps", "maximum number of optimizer steps; 0: after the epochs")
    batches: Batches = setting("random", "Batches from", "windows in shuffled order, or random positions in the text")
    stride: int = setting(0, "Stride", "tokens between the starts of two windows; 0: the window length")
    batch_size: int = setting(8, "Batch size", "windows per batch")
    grad_accum_steps: int = setting(1, "Batches per step", "gradient accumulation: batches summed before one update")
    learning_rate: float = setting(2e-3, "Learning rate", "the maximum learning rate")
    min_learning_rate: float | None = setting(2e-4, "Lowest learning rate", "where cosine decay ends; none: no decay")
    warmup_steps: int = setting(20, "Warmup steps", "steps over which the learning rate rises linearly")
    decay_steps: int = setting(0, "Decay steps", "step at which the decay ends; 0: the planned end of the run")
    weight_decay: float = setting(0.1, "Weight decay", "AdamW's decay of the weights toward zero")
    decay: Decay = setting("matrices", "Weight decay on", "matrices only, or all parameters as in the book")
    grad_clip: float = setting(1.0, "Gradient clipping", "largest norm of the gradient; 0: no limit")
    eval_interval: int = setting(50, "Evaluate every", "steps between evaluations of the losses")
    evaluate_on: EvaluateOn = setting(
        "sample",
        "Evaluate on",
        "a fixed sample of windows that takes about a tenth of the run's computing, or all of the validation text",
    )
    eval_batches: int = setting(
        0, "Evaluation batches", "batches of each split, drawn as in training; 0: see evaluate_on"
    )
    sample_interval: int = setting(100, "Sample every", "steps between samples; 0: after each epoch")
    sample_prompt: str = setting("", "Sample prompt", "the prompt of the samples; empty: words from the text")
    sample_tokens: int = setting(50, "Sample length", "tokens per sample")
    sample_temperature: float = setting(0.0, "Sample temperature", "0: always the most probable token")
    sample_top_k: int = setting(0, "Sample top-k", "keep the k most probable tokens; 0: all")
    sample_draw: DrawName = setting(
        "darts", "Sample draws", "darts as in the Playground, or the book's torch.multinomial"
    )
    target_loss: float = setting(0.0, "Target loss", "stop once the validation loss reaches this; 0: off")
    patience: int = setting(0, "Patience", "evaluations without a lower validation loss before stopping; 0: never")
    save_seconds: float = setting(20.0, "Save every", "seconds between checkpoints; 0: after every step")
    seed: int = setting(123, "Seed", "random seed for weights, batch order, dropout and samples")
    precision: Precision = setting("auto", "Precision", "fp32, bf16, or auto: what this machine computes faster")
    init: Init = setting("gpt2", "Initial weights", "initialized as in GPT-2, or PyTorch's default (the book)")
    window: int = setting(
        0, "Window", "tokens per training window; later positions are not trained; 0: the context length"
    )
    trainable: Trainable = setting(
        "all", "What is trained", "all weights, the last blocks, or LoRA: small matrices added to the frozen ones"
    )
    last_blocks: int = setting(2, "Blocks trained", "number of last blocks to train, if only those are trained")
    lora_rank: int = setting(8, "LoRA rank", "rank of LoRA's matrices, if those are trained")

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}.")
        for name in ("batch_size", "grad_accum_steps", "sample_tokens", "last_blocks", "lora_rank"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        not_negative = (
            "epochs", "max_steps", "stride", "min_learning_rate", "warmup_steps", "decay_steps", "weight_decay",
            "grad_clip", "eval_interval", "eval_batches", "sample_interval", "sample_temperature", "sample_top_k",
            "target_loss", "patience", "save_seconds", "seed", "window",
        )  # fmt: skip
        for name in not_negative:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"{name} is {value}; it must be 0 or more.")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be above 0, for example 0.001.")
        if not self.epochs and not self.max_steps:
            raise UserError("epochs and max_steps are both 0, so the run would never end. Set one of them.")

    @property
    def sampling(self) -> Sampling:
        """How samples are drawn. Raises UserError where a setting is out of range."""
        return Sampling(self.sample_temperature, self.sample_top_k, seed=self.seed, draw=self.sample_draw)

    def window_length(self, n_ctx: int) -> int:
        """Tokens per window, T, in training and evaluation, of a model with this context."""
        return self.window or n_ctx


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
        length = config.window_length(n_ctx)
        batch_tokens = config.batch_size * length
        n_windows = len(range(0, train_tokens - length, config.stride or length))
        n_batches = n_windows // config.batch_size
        if config.batches == "windows" and not n_batches:
            raise UserError(
                f"The training text gives {n_windows} windows of {length} tokens, fewer than one batch of "
                f"{config.batch_size}. Lower batch_size or {'window' if config.window else 'n_ctx'}, or take a longer "
                "text."
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
