"""Training a part of a model: its last blocks, or LoRA's adapters next to frozen matrices (Hu et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.model.blank import empty_weights
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.training.plan import TrainConfig

SCALE = 2.0  # alpha / r of the paper's section 4.1, the same at every rank, so that the learning rate can stay
A, B = ".lora_a", ".lora_b"  # what the names of the adapters end in


class LoRALinear(nn.Linear):
    """y = W x + bias + SCALE B A x (equation 3): W (out, in) and the bias are frozen, A (r, in) and B (out, r) learn.

    A is drawn from a normal distribution so that A x is as large as x; B is zero, so that nothing changes at first.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        with empty_weights():  # no second matrix is made, and none drawn
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        device = linear.weight.device
        self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features, device=device))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank, device=device))
        nn.init.normal_(self.lora_a, std=1 / math.sqrt(linear.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return super().forward(x).add_(F.linear(F.linear(x, self.lora_a), self.lora_b), alpha=SCALE)


def add_lora(model: GPT, rank: int) -> None:
    """Give every matrix of every block an adapter of this rank; draws from torch's global generator."""
    for block in model.h:
        for part in block.children():
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, LoRALinear(layer, rank))


def freeze(model: GPT, config: TrainConfig) -> None:
    """Let only what config.trainable names learn; for "lora" the adapters are added first."""
    if config.trainable == "all":
        return
    if config.trainable == "lora":
        add_lora(model, config.lora_rank)
    last = [*model.h[-config.last_blocks :].parameters(), *model.ln_f.parameters()]
    learning = {id(p) for p in last} if config.trainable == "last_blocks" else set()
    for name, p in model.named_parameters():
        p.requires_grad_(id(p) in learning or name.endswith((A, B)))


def trained(model: GPT) -> dict[str, Tensor]:
    """The parameters that are not frozen, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def n_trained(shape: GPTConfig, config: TrainConfig) -> int:
    """How many numbers are trained of a model of this shape: as `freeze` leaves them, without making the model."""
    if config.trainable == "all":
        return shape.n_params
    if config.trainable == "lora":
        return n_adapters(shape, config)
    return min(config.last_blocks, shape.n_layer) * shape.block_params + 2 * shape.n_embd


def n_adapters(shape: GPTConfig, config: TrainConfig) -> int:
    """Numbers in LoRA's adapters: in + out of the four matrices of a block, each r times."""
    numbers = 8 * shape.n_embd + 2 * shape.mlp_width
    return numbers * config.lora_rank * shape.n_layer if config.trainable == "lora" else 0


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a plain model: W becomes W + SCALE B A wherever there is an adapter."""
    return dict(_merge(weights))


def _merge(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        layer = name.removesuffix(".weight")
        if layer != name and layer + A in weights:
            yield name, torch.addmm(value, weights[layer + B], weights[layer + A], alpha=SCALE)
        elif not name.endswith((A, B)):
            yield name, value
