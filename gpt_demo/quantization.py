"""Smaller weights for a loaded model: bf16, or int8 with a scale per output row."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.errors import UserError
from gpt_demo.model import GPT

WeightPrecision = Literal["fp32", "bf16", "int8"]


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 times a scale per row: absmax quantisation (Dettmers et al. 2022, eq. 2)."""

    weight: Tensor  # (out, in) int8
    scale: Tensor  # (out,)

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        scale = layer.weight.detach().abs().amax(dim=1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (layer.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return y if self.bias is None else y + self.bias


def lower_precision(model: GPT, precision: str) -> GPT:
    """The model with its weights in `precision`, changed in place. int8 leaves embeddings, norms and head in fp32.

    Raises UserError on an unknown precision.
    """
    if precision not in get_args(WeightPrecision):
        raise UserError(f"precision is {precision!r}; it must be one of {', '.join(get_args(WeightPrecision))}.")
    if precision == "bf16":
        return model.to(torch.bfloat16)
    if precision == "int8":
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and child is not model.lm_head:
                    setattr(module, name, Int8Linear(child))
    return model
