"""The book's whole run, written from its description: windows, dropout, evaluations, a sentence after every epoch.

It shares no code with `gpt_demo.training`: tests hold the figures of the two against each other on any text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.reference import BookGPT
from gpt_demo.model.gpt import GPTConfig

Batches = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class BookRun:
    """What the chapter prints: (step, train loss, validation loss), and the ids of the sample after each epoch."""

    model: BookGPT
    log: list[tuple[int, float, float]] = field(default_factory=list)
    samples: list[list[int]] = field(default_factory=list)


def run(
    config: GPTConfig, train_ids: Sequence[int], val_ids: Sequence[int], prompt: Sequence[int], *, epochs: int,
    batch_size: int = 2, eval_interval: int = 5, eval_batches: int = 5, sample_tokens: int = 50, seed: int = 123,
) -> BookRun:  # fmt: skip
    """Train from scratch with AdamW at 4e-4 and weight decay 0.1, on the CPU in float32."""
    torch.manual_seed(seed)
    done = BookRun(BookGPT(config))
    optimizer = torch.optim.AdamW(done.model.parameters(), lr=4e-4, weight_decay=0.1)
    train = batches(train_ids, config.n_ctx, batch_size, shuffle=True)
    val = batches(val_ids, config.n_ctx, batch_size, shuffle=False)
    step = 0
    for _ in range(epochs):
        for ids, targets in train:
            optimizer.zero_grad()
            batch_loss(done.model, ids, targets).backward()
            optimizer.step()
            if step % eval_interval == 0:
                losses = [mean_loss(done.model, part, eval_batches) for part in (train, val)]
                done.log.append((step, losses[0], losses[1]))
            step += 1
        done.samples.append(write(done.model, prompt, sample_tokens))
    return done


def batches(ids: Sequence[int], length: int, batch_size: int, shuffle: bool) -> Batches:
    """Windows that touch, and the same shifted by one."""
    starts = range(0, len(ids) - length, length)
    pairs = [(torch.tensor(ids[i : i + length]), torch.tensor(ids[i + 1 : i + length + 1])) for i in starts]
    return DataLoader(pairs, batch_size, shuffle=shuffle, drop_last=shuffle)  # type: ignore[arg-type]


def batch_loss(model: BookGPT, ids: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


@torch.no_grad()
def mean_loss(model: BookGPT, loader: Batches, count: int) -> float:
    """The mean over the first `count` batches."""
    model.eval()
    losses = [batch_loss(model, ids, targets).item() for (ids, targets), _ in zip(loader, range(count), strict=False)]
    model.train()
    return sum(losses) / len(losses)


@torch.no_grad()
def write(model: BookGPT, prompt: Sequence[int], count: int, top_k: int = 0, temperature: float = 0.0) -> list[int]:
    """The prompt and `count` tokens: the most probable ones, or drawn from the k most probable of them."""
    model.eval()
    ids = torch.tensor([list(prompt)])
    for _ in range(count):
        logits = model(ids[:, -model.n_ctx :])[:, -1]
        if top_k:
            logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
        if temperature:
            token = torch.multinomial(torch.softmax(logits / temperature, dim=-1), num_samples=1)
        else:
            token = logits.argmax(dim=-1, keepdim=True)
        ids = torch.cat((ids, token), dim=1)
    model.train()
    found: list[int] = ids[0].tolist()
    return found
