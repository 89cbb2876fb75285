"""All that training changes: the model, its optimizer, what has been counted and measured, the best weights so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gpt_demo.model.gpt import GPT
from gpt_demo.training.lora import trained
from gpt_demo.training.plan import TrainConfig


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
    evaluated_step: int | None = None  # where these two were measured
    eval_windows: int = 0  # windows of each split that evaluations read, once that is chosen
    waited: int = 0  # evaluations since the lowest validation loss
    best_step: int | None = None  # where the validation loss was lowest
    best_val_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # of that step, without what is frozen


def remember_weights(state: TrainState) -> None:
    """Copy the weights that are trained, into the same memory as the last time."""
    for name, p in trained(state.model).items():
        if name in state.best_weights:
            state.best_weights[name].copy_(p)
        else:
            state.best_weights[name] = p.to("cpu", copy=True)


@torch.no_grad()
def put_weights(model: GPT, weights: Mapping[str, Tensor]) -> None:
    for name, p in trained(model).items():
        p.copy_(weights[name])
