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
ROWS = 4096  # of a matrix that are quantized at a time
FEW = 8  # rows up to which the packed product is faster than widening the weight (measured: 7x for 1, 4x for 6)


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 times a scale per row: absmax quantization (Dettmers et al. 2022, eq. 2)."""

    weight: Tensor  # (out, in) int8
    scale: Tensor  # (out,)

    def __init__(self, weight: Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        quantized = torch.empty_like(weight, dtype=torch.int8, requires_grad=False)
        scale = weight.new_empty(len(weight), requires_grad=False)
        for start in range(0, len(weight), ROWS):  # a vocabulary's rows at once would take two float32 copies
            rows = weight.detach()[start : start + ROWS]
            scale[start : start + ROWS] = steps = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
            quantized[start : start + ROWS] = (rows / steps[:, None]).round()
        self.register_buffer("weight", quantized)
        self.register_buffer("scale", scale)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out). A few rows are rounded to bf16 (on a CPU); else the weight is widened."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= FEW and x.device.type == "cpu" and x.shape[-1] % 64 == 0:  # the kernel crashes on odd widths
            ones = torch.ones((), dtype=torch.bfloat16).expand(len(self.scale))  # scales in bf16 would cost precision
            y = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, ones.contiguous()).to(x.dtype)
            y = y.view(*x.shape[:-1], -1).mul_(self.scale)
        else:
            y = F.linear(x, self.weight.to(x.dtype)).mul_(self.scale)
        return y if self.bias is None else y.add_(self.bias)


class Int8Embedding(nn.Module):
    """The rows of an int8 layer as embeddings: a tied head and its embedding share their numbers."""

    def __init__(self, rows: Int8Linear) -> None:
        super().__init__()
        self.rows = rows

    @property
    def weight(self) -> Tensor:
        """(V, C) int8."""
        return self.rows.weight

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., C)."""
        return self.rows.weight[ids] * self.rows.scale[ids].unsqueeze(-1)


def check_precision(precision: str) -> None:
    """Raises UserError on an unknown precision."""
    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")


def lower_precision(module: Module, precision: str) -> Module:
    """Convert the weights of a model, or of a part of it, to `precision`, in place. Raises UserError.

    int8 leaves positions, norms and biases in fp32. A tied head becomes a layer of its own, on the embedding's numbers.
    Layers without weights yet (on the meta device) are left as they are.
    """
    check_precision(precision)
    if precision == "bf16":
        return module.to(torch.bfloat16)
    if precision == "int8":
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                if not isinstance(child, (nn.Linear, nn.Embedding)) or child.weight.is_meta:
                    continue
                if isinstance(child, nn.Linear):
                    setattr(parent, name, Int8Linear(child.weight, child.bias))
                elif name == "wte":
                    table = Int8Linear(child.weight)
                    parent.wte = Int8Embedding(table)
                    if parent.lm_head is None:
                        parent.lm_head = table
    return module


def weight_bytes(config: GPTConfig, precision: str) -> int:
    """Bytes of a model's weights in `precision`: 4, 2, or (int8) 1 in matrices and embedding, 4 per row and elsewhere.

    Raises UserError on an unknown precision.
    """
    check_precision(precision)
    if precision != "int8":
        return (2 if precision == "bf16" else 4) * config.n_params
    tables = (1 if config.tied_head else 2) * config.n_vocab
    rows = tables + config.n_layer * (5 * config.n_embd + config.mlp_width)
    numbers = tables * config.n_embd + config.n_layer * config.block_matrices
    return 4 * config.n_params + 4 * rows - 3 * numbers
