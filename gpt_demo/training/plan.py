"""How a run is trained: its settings, how long it is, and the learning rate at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

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


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Zero turns a thing off unless its comment says otherwise. Raises UserError on impossible values."""

    epochs: int = 0  # passes over the training tokens; 0: until max_steps
    max_steps: int = 600  # the run ends after so many steps at the latest; 0: after `epochs`
    batches: Batches = "random"  # windows in shuffled order, or random places
    stride: int = 0  # tokens from one window to the next; 0: as long as a window, so that windows touch
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
    evaluate_on: EvaluateOn = "sample"  # fixed windows of each split, for a tenth of the run's computing; or all
    eval_batches: int = 0  # instead, batches of each split drawn as in training; 0: what evaluate_on says
    sample_interval: int = 100  # steps from one sample to the next; 0: after each epoch
    sample_prompt: str = ""  # empty: words from the text
    sample_tokens: int = 50
    sample_temperature: float = 0.0  # 0: greedy
    sample_top_k: int = 0
    sample_draw: DrawName = "darts"
    target_loss: float = 0.0  # stop when the validation loss is as low as this
    patience: int = 0  # stop when so many evaluations in a row have found no lower validation loss; 0: never
    save_seconds: float = 20.0  # from one checkpoint to the next; 0: after every step
    seed: int = 123
    precision: Precision = "auto"
    init: Init = "gpt2"
    window: int = 0  # tokens per training window, from position 0 on; 0: n_ctx
    trainable: Trainable = "all"  # what learns: every parameter, the last blocks and ln_f, or LoRA's adapters
    last_blocks: int = 2  # how many blocks learn where only the last ones do
    lora_rank: int = 8  # r of the adapters, where those learn

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
