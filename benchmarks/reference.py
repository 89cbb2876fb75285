"""The loops we are measured against, written from their descriptions: same shape, same batches, same machine.

- book: the loop of Raschka's "Build a Large Language Model (From Scratch)": every layer spelled out, float32.
- nanoGPT: Karpathy's loop on a CPU: fused layers, fused AdamW, clipping, optionally bfloat16 autocast; no compilation.
- transformers: GPT2LMHeadModel in the plainest loop that its documentation shows, float32.

The benchmark's configurations have a tied head and no dropout, so that every loop has the same parameters and FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.model.gpt import GPTConfig

Draw = Callable[[], tuple[Tensor, Tensor]]  # a batch: ids and targets, both (B, T) int64
Step = Callable[[], float]  # one optimizer step on a new batch -> its loss before the update


class BookLayerNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * ((x - mean) / torch.sqrt(var + self.eps)) + self.shift


class BookGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class BookAttention(nn.Module):
    mask: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C = config.n_embd
        self.n_head = config.n_head
        self.query, self.key, self.value = (nn.Linear(C, C, bias=config.qkv_bias) for _ in range(3))
        self.out = nn.Linear(C, C)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("mask", torch.ones(config.n_ctx, config.n_ctx).triu(diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for layer in layers)
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:T, :T], -torch.inf)
        weights = self.dropout(torch.softmax(scores / math.sqrt(C // self.n_head), dim=-1))
        context = (weights @ v).transpose(1, 2).contiguous().view(B, T, C)
        out: Tensor = self.out(context)
        return out


class BookBlock(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C = config.n_embd
        self.norm1, self.norm2 = BookLayerNorm(C), BookLayerNorm(C)
        self.attention = BookAttention(config)
        self.feed_forward = nn.Sequential(nn.Linear(C, 4 * C), BookGELU(), nn.Linear(4 * C, C))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: Tensor = x + self.dropout(self.feed_forward(self.norm2(x)))
        return out


class BookGPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_ctx = config.n_ctx
        self.tokens = nn.Embedding(config.n_vocab, config.n_embd)
        self.positions = nn.Embedding(config.n_ctx, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(BookBlock(config) for _ in range(config.n_layer)))
        self.norm = BookLayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.n_vocab, bias=False)
        if config.tied_head:
            self.head.weight = self.tokens.weight
            nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.dropout(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def book(config: GPTConfig, draw: Draw) -> Step:
    model = BookGPT(config)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.1)

    def step() -> float:
        ids, targets = draw()
        optimizer.zero_grad()
        loss: Tensor = criterion(model(ids).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class NanoAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.qkv_bias)
        self.out = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in self.qkv(x).split(C, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).contiguous().view(B, T, C))
        return out


class NanoBlock(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C = config.n_embd
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attention = NanoAttention(config)
        self.up, self.gelu, self.down = nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.down(self.gelu(self.up(self.norm2(x))))
        return out


class NanoGPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.n_vocab, config.n_embd)
        self.positions = nn.Embedding(config.n_ctx, config.n_embd)
        self.blocks = nn.ModuleList(NanoBlock(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.n_vocab, bias=False)
        self.tokens.weight = self.head.weight
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-1)


def nanogpt(config: GPTConfig, draw: Draw, precision: str) -> Step:
    model = NanoGPT(config)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=True)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss: Tensor = model(*draw())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def transformers(config: GPTConfig, draw: Draw) -> Step:
    """Raises ImportError where transformers is not installed."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    shape = GPT2Config(
        vocab_size=config.n_vocab,
        n_positions=config.n_ctx,
        n_embd=config.n_embd,
        n_head=config.n_head,
        n_layer=config.n_layer,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(shape).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.1)

    def step() -> float:
        ids, _ = draw()
        optimizer.zero_grad()
        loss: Tensor = model(input_ids=ids, labels=ids).loss  # it shifts the labels itself
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
