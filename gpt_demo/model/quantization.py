"""Lower precision for a loaded model: bf16, or int8 with a scale per output row."""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPTConfig

WeightPrecision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(WeightPrecision)
Module = TypeVar("Module", bound=nn.Module)


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 times a scale per row: absmax quantization (Dettmers et al. 2022, eq. 2)."""

    weight: Tensor  # (out, in) int8
    scale: Tensor  # (out,)

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        scale = layer.weight.detach().abs().amax(dim=1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (layer.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight.to(x.dtype)).mul_(self.scale)
        return y if self.bias is None else y.add_(self.bias)


def check_precision(precision: str) -> None:
    """Raises UserError on an unknown precision."""
    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")


def lower_precision(module: Module, precision: str) -> Module:
    """Convert the weights of a model, or of a part of it, to `precision`, in place. Raises UserError.

    int8 leaves embeddings, norms and head in fp32.
    """
    check_precision(precision)
    if precision == "bf16":
        return module.to(torch.bfloat16)
    if precision == "int8":
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and name != "lm_head":
                    setattr(parent, name, Int8Linear(child))
    return module


def weight_bytes(config: GPTConfig, precision: str) -> int:
    """Bytes of a model's weights in `precision`: 4, 2, or (int8) 1 in the blocks' matrices and 4 per row and elsewhere.

    Raises UserError on an unknown precision.
    """
    check_precision(precision)
    if precision != "int8":
        return (2 if precision == "bf16" else 4) * config.n_params
    rows = 5 * config.n_embd + config.mlp_width
    return 4 * config.n_params + config.n_layer * (4 * rows - 3 * config.block_matrices)
