"""Output head and cross-entropy in one step, for training in bf16 on a CPU.

With V = 50257 and 1024 tokens the logits are 51 million numbers. The plain way keeps them in bf16, as float32
log-probabilities and as a float32 gradient (0.5 GB); here a chunk of rows at a time becomes its gradient in place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FUSED_FROM = 8192  # with smaller vocabularies the logits fit into the cache and little is gained
ROWS = 64  # rows whose logits are in float32 at a time: 64 x 50257 x 4 bytes = 13 MB
COLUMNS = 4096  # vocabulary entries whose gradient is computed at a time


def is_worthwhile(weight: Tensor) -> bool:
    """Whether `head_loss` is faster than F.cross_entropy: under bf16 autocast, on a CPU, V large. weight (V, C)."""
    if weight.device.type != "cpu" or len(weight) < FUSED_FROM:
        return False
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def head_loss(x: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Mean cross-entropy of the logits x @ weight.T, in nats per token: a float32 scalar.

    x (N, C), weight (V, C), targets (N,) int64 in [0, V). Products are computed in `dtype`, softmax and sums in
    float32: what F.cross_entropy gives under autocast, up to rounding in `dtype`.
    """
    loss: Tensor = _HeadLoss.apply(x, weight, targets, dtype)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    """loss = mean over rows of logsumexp(z) - z[target], z = W x; dloss/dz = (softmax(z) - onehot(target)) / N."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            ctx.dtypes = x.dtype, weight.dtype
            x, weight = x.to(dtype), weight.to(dtype)
            z = x @ weight.t()  # (N, V), row by row replaced by its gradient (without 1 / N, which bf16 need not carry)
            total = torch.zeros((), device=x.device)
            for rows, wanted in zip(torch.split(z, ROWS), torch.split(targets, ROWS), strict=True):
                total += _softmax_minus_onehot_(rows, wanted.unsqueeze(1))
            ctx.save_for_backward(x, weight, z)
            return total / len(targets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, dz = ctx.saved_tensors
        scale = grad / len(dz)
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = (dz @ weight).to(ctx.dtypes[0]) * scale
        if ctx.needs_input_grad[1]:
            dweight = torch.empty_like(weight, dtype=ctx.dtypes[1])
            for out, columns in zip(torch.split(dweight, COLUMNS), torch.split(dz, COLUMNS, dim=1), strict=True):
                out.copy_(columns.t() @ x).mul_(scale)
        return dx, dweight, None, None


def _softmax_minus_onehot_(z: Tensor, targets: Tensor) -> Tensor:
    """z (n, V) becomes softmax(z) - onehot(targets (n, 1)); the summed cross-entropy of its rows, float32."""
    logits = z.float()
    wanted = logits.gather(1, targets)
    p = logits.softmax(1)
    # The largest probability is exp(max - logsumexp), and never so small that its logarithm loses digits.
    logsumexp = logits.amax(1) - p.amax(1).log()
    z.copy_(p.scatter_add_(1, targets, torch.full_like(wanted, -1.0)))
    return (logsumexp - wanted.squeeze(1)).sum()
