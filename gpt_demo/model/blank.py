"""Models without weights: names and shapes only, to be filled from a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _NothingDrawn(TorchFunctionMode):
    """Inside, on this thread, new layers skip their initialization."""

    DRAWING = frozenset({
        nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_,
        Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_,
    })  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return (args or tuple(kwargs.values()))[0] if func in self.DRAWING else func(*args, **kwargs)


@contextlib.contextmanager
def empty_weights() -> Iterator[None]:
    """Inside, models made by this thread have names and shapes only: they are on the meta device.

    They are filled with `load_state_dict(assign=True)`. A model takes milliseconds, no random numbers are drawn, and
    sympy (80 MB), which meta tensors need for random numbers, is not loaded.
    """
    with torch.device("meta"), _NothingDrawn():
        yield
