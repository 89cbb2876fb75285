"""Models without numbers yet: their names and shapes only, to be filled from a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _NothingDrawn(TorchFunctionMode):
    """While it is entered, by this thread, new layers leave their numbers as they are."""

    DRAWING = frozenset({
        nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_,
        Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_,
    })  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return (args or tuple(kwargs.values()))[0] if func in self.DRAWING else func(*args, **kwargs)


@contextlib.contextmanager
def without_numbers() -> Iterator[None]:
    """While it is open, models made by this thread have names and shapes only: they stand on the meta device.

    They are filled with `load_state_dict(assign=True)`. A model takes milliseconds, nothing is drawn, and the symbolic
    mathematics is not loaded (80 MB) that meta tensors need for drawing.
    """
    with torch.device("meta"), _NothingDrawn():
        yield
