"""Several processes train one model: what `torchrun` starts, on one machine or many.

Every process draws the whole global batch from the same random numbers and computes its own rows of it; gradients are
averaged (DistributedDataParallel), so all take the same step. Only the first one speaks, writes samples and saves.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT

Loss = Callable[[Tensor, Tensor], Tensor]  # of ids and targets, (B, T) each
Batch = tuple[Tensor, Tensor]


class ProcessLost(UserError):
    """Another process of the job has ended. The state is still the one before the present step."""


class Alone:
    """The processes of a run, where it is this one alone."""

    rank, count = 0, 1

    def loss_of(self, model: GPT) -> Loss:
        """The model's mean loss, whose gradient, once computed, is that of the whole batch."""
        return model.loss

    def unsynchronized(self, loss: Loss) -> AbstractContextManager[object]:
        """Inside, gradients are only added up: those of the next backward pass outside are averaged with them."""
        return nullcontext()

    def masks(self, seed: int, step: int, number: int) -> AbstractContextManager[object]:
        """Inside, dropout draws what belongs to this process, step and batch (`number`) of the step."""
        return nullcontext()

    def rows(self, batch: Batch) -> Batch:
        """This process's rows of a batch (B, T)."""
        return batch

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the processes. Raises ProcessLost."""
        return list(numbers)

    def agreed(self, stopping: Callable[[], bool]) -> Callable[[], bool]:
        """Whether the run is to stop, with the same answer in all processes."""
        return stopping

    def mean_loss(self, loss: float) -> float:
        """The loss of the step, over all processes; they also agree on whether to stop. NaN where one is not finite."""
        return loss

    def same(self, text: str) -> str:
        """The first process's text, in all of them."""
        return text


class Team(Alone):
    """This process and those that torchrun has started with it."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._stops: Callable[[], bool] = lambda: False
        self._stopping = False

    def loss_of(self, model: GPT) -> Loss:
        return DistributedDataParallel(_Loss(model))

    def unsynchronized(self, loss: Loss) -> AbstractContextManager[object]:
        assert isinstance(loss, DistributedDataParallel)
        return loss.no_sync()

    @contextlib.contextmanager
    def masks(self, seed: int, step: int, number: int) -> Iterator[None]:
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # batches go on with the common numbers
            torch.manual_seed(hash((seed, step, number, self.rank)) % 2**63)
            yield

    def rows(self, batch: Batch) -> Batch:
        inputs, targets = batch
        return inputs[self.rank :: self.count], targets[self.rank :: self.count]

    def total(self, *numbers: float) -> list[float]:
        sums = torch.tensor(numbers, dtype=torch.float64)
        with losing():
            dist.all_reduce(sums)
        return sums.tolist()

    def agreed(self, stopping: Callable[[], bool]) -> Callable[[], bool]:
        self._stops = stopping
        return lambda: self._stopping

    def mean_loss(self, loss: float) -> float:
        total, stops, broken = self.total(loss, self._stops(), not math.isfinite(loss))
        self._stopping = stops > 0
        return math.nan if broken else total / self.count

    def same(self, text: str) -> str:
        length = int(self.total(len(text.encode()) if self.rank == 0 else 0)[0])
        letters = torch.tensor(list(text.encode()) if self.rank == 0 else [0] * length, dtype=torch.uint8)
        with losing():
            dist.broadcast(letters, 0)
        return bytes(letters.tolist()).decode()


@contextlib.contextmanager
def losing() -> Iterator[None]:
    """Inside, the error of a connection whose other end is gone is raised as ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        if not re.search("gloo|nccl|connection", f"{type(error).__name__} {error}", re.IGNORECASE):
            raise
        raise ProcessLost(
            "Another process of this run has ended, so the run ended too; its state is saved. To continue, start it "
            "again with train --resume and the run's name, with any number of processes."
        ) from error


class _Loss(nn.Module):
    """DistributedDataParallel averages the gradients of what passes through `forward`."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(ids, targets)


ALONE = Alone()


@contextlib.contextmanager
def processes() -> Iterator[Alone]:
    """This process with those that torchrun has started with it; by itself where it was started otherwise.

    On the CPU they exchange through gloo, on NVIDIA's GPUs (one for each process) through NCCL.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    elif torch.backends.mps.is_available():
        raise UserError("Several processes train on CPUs or NVIDIA GPUs only. Train without torchrun on this machine.")
    dist.init_process_group()
    try:
        yield Team()
    finally:
        dist.destroy_process_group()


def check_batch(batch_size: int, count: int) -> None:
    """UserError unless `count` processes can share the windows of a batch evenly."""
    if batch_size % count:
        raise UserError(
            f"batch_size is {batch_size}, and {count} processes share each batch evenly, so it must be a multiple of "
            f"{count}. Set it to {math.ceil(batch_size / count) * count}, or start another number of processes."
        )
