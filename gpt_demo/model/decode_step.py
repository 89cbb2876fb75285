"""The fast way to write one more token: the model of gpt.py, its matrices read by the compiled product.

PyTorch's own product of a matrix and one row reads memory at a third of its speed; the rest of a step is PyTorch's.

Shapes: B rows, C = n_embd, H heads, D head width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.model.compiled import LANES, NAMES, PRODUCT, Background, Product
from gpt_demo.model.gpt import GPT, Block, GPTConfig, KVCache
from gpt_demo.model.quantization import Int8Linear

WORTHWHILE = 10_000_000  # parameters; the weights of smaller models stay in the processor's cache, where nothing is won

Matrix = tuple[Tensor, Tensor | None, Tensor | None]  # weight, scale, bias
Norm = tuple[Tensor, Tensor, float]  # weight, bias, epsilon


class Weights(NamedTuple):
    """Those of a block, as a step reads them."""

    block: Block
    ln_1: Norm
    ln_2: Norm
    c_attn: Matrix
    c_proj: Matrix
    up: Matrix
    down: Matrix


class DecodeStep:
    """One token in each of B rows. It holds a model, so it belongs to a text that is being written."""

    def __init__(self, model: GPT, product: Background = PRODUCT) -> None:
        self.model = model
        self._product = product
        self._blocks = [
            Weights(block, _norm(block.ln_1), _norm(block.ln_2), *map(_matrix, _layers(block)))
            for block in cast("list[Block]", model.h)
        ]
        self._norm = _norm(model.ln_f)
        self._head: Matrix = (model.wte.weight, None, None) if model.lm_head is None else _matrix(model.lm_head)

    def ready(self) -> Product | None:
        """The compiled product; None as long as it is being compiled, or can't be."""
        return self._product.get()

    def logits(self, ids: Tensor, cache: KVCache, product: Product) -> Tensor:
        """The new tokens ids (B,) -> logits (B, V) float32, as the model computes them; the cache grows by one.

        Activations are float32 whatever the weights are; keys and values have the cache's type.
        """
        model, position = self.model, cache.length
        x = model.wte(ids).float() + model.wpe.weight[position].float()
        B, C = x.shape
        for layer, w in enumerate(self._blocks):
            qkv = product(_normalized(x, w.ln_1), *w.c_attn).to(cache.keys.dtype)
            q, k, v = qkv.view(B, 3, model.config.n_head, 1, -1).unbind(1)  # (B, H, 1, D)
            y = F.scaled_dot_product_attention(q, *cache.extend(layer, k, v), scale=w.block.attn.scale)
            x += product(y.reshape(B, C).float(), *w.c_proj)
            between = F.gelu(product(_normalized(x, w.ln_2), *w.up), approximate=w.block.mlp.approximate)
            x += product(between, *w.down)
        cache.length += 1
        return product(_normalized(x, self._norm), *self._head)


def suits(model: GPT, smallest: int = WORTHWHILE) -> bool:
    """Whether a step of this model can be computed so, and is worth it: plain layers on the CPU, of whole vectors."""
    config = model.config
    layers: list[Any] = [layer for block in cast("list[Block]", model.h) for layer in _layers(block)]
    return (
        type(model) is GPT
        and config.n_params >= smallest
        and config.n_embd % LANES == config.mlp_width % LANES == 0
        and all(type(layer) in (nn.Linear, Int8Linear) for layer in layers)
        and all(t.device.type == "cpu" and t.is_contiguous() for t in model.parameters())
        and model.wte.weight.dtype in NAMES
    )


def slower(config: GPTConfig) -> str:
    """Why models of this shape are written without the compiled product, in a line; nothing where they aren't."""
    small = config.n_params < WORTHWHILE
    return "" if small or not PRODUCT.trouble else f"Each token takes longer than it could. {PRODUCT.trouble}"


def _layers(block: Block) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
    return block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj


def _matrix(layer: nn.Linear | Int8Linear) -> Matrix:
    """Weight, scale and bias of a layer; what is small as float32."""
    scale = layer.scale if isinstance(layer, Int8Linear) else None
    return layer.weight.detach(), scale, None if layer.bias is None else layer.bias.detach().float()


def _norm(norm: nn.LayerNorm) -> Norm:
    return norm.weight.detach().float(), norm.bias.detach().float(), norm.eps


def _normalized(x: Tensor, norm: Norm) -> Tensor:
    weight, bias, eps = norm
    return F.layer_norm(x, weight.shape, weight, bias, eps)
