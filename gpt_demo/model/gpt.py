"""GPT-2 from scratch: the whole model in one file.

Shapes: B batch, T time (positions), C = n_embd, H heads, D = C / H head width, V vocabulary, L layers.

Module names are those of OpenAI's checkpoint (wte, wpe, h, ln_1, attn.c_attn, ...), so loading needs no table of names.
Architecture: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), and its released code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_demo.errors import UserError
from gpt_demo.model.fused_loss import head_loss, is_worthwhile

Init = Literal["gpt2", "pytorch"]
Activation = Literal["gelu_new", "gelu"]

WRITTEN_OUT_TO = 512  # longest context whose attention is written out in bf16 on a CPU: memory grows as its square


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model; field names are OpenAI's hparams.json, so `GPTConfig(**hparams)` works.

    Raises UserError if the numbers do not make a model.
    """

    n_vocab: int = 50257  # V: size of the vocabulary
    n_ctx: int = 1024  # the longest context, in tokens
    n_embd: int = 768  # C: width of the residual stream
    n_head: int = 12  # H: attention heads per block; must divide n_embd
    n_layer: int = 12  # L: blocks
    dropout: float = 0.0  # probability of zeroing, at the four places named in GPT, while training
    qkv_bias: bool = True  # bias on the query-key-value layer (GPT-2: yes; the book: no)
    tied_head: bool = True  # output head shares the token embedding (GPT-2: yes; the book: no)
    # Variations in models derived from GPT-2, with the names used in transformers.
    activation_function: Activation = "gelu_new"  # GPT-2's tanh approximation, or the exact GELU
    layer_norm_epsilon: float = 1e-5  # added to the variance
    scale_attn_weights: bool = True  # scores are divided by sqrt(D)
    scale_attn_by_inverse_layer_idx: bool = False  # and by the number of the block, counted from 1
    n_inner: int = 0  # width of the MLP; 0: 4 C

    def __post_init__(self) -> None:
        for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least 1.")
        if self.n_embd % self.n_head:
            raise UserError(
                f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head}), "
                "because each head takes an equal share of the width. Change one of them."
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")
        if self.activation_function not in get_args(Activation):
            allowed = " or ".join(get_args(Activation))
            raise UserError(f"activation_function is {str(self.activation_function)[:200]!r}; it must be {allowed}.")
        if not 0 < self.layer_norm_epsilon < 1:
            raise UserError(f"layer_norm_epsilon is {self.layer_norm_epsilon}; it must be above 0 and below 1.")
        if not isinstance(self.n_inner, int) or self.n_inner < 0:
            raise UserError(f"n_inner is {self.n_inner!r}; it must be a whole number, at least 0 (which is 4 n_embd).")

    @property
    def n_params(self) -> int:
        """Number of parameters, a tied head counted once."""
        heads = 1 if self.tied_head else 2
        return (heads * self.n_vocab + self.n_ctx) * self.n_embd + self.n_layer * self.block_params + 2 * self.n_embd

    @property
    def block_params(self) -> int:
        """Number of parameters of one block: its matrices, their biases, and two norms."""
        return self.block_matrices + (6 + 3 * self.qkv_bias) * self.n_embd + self.mlp_width

    @property
    def block_matrices(self) -> int:
        """Numbers in the four matrices of one block."""
        return 4 * self.n_embd**2 + 2 * self.n_embd * self.mlp_width

    @property
    def mlp_width(self) -> int:
        """Width between the two layers of the MLP."""
        return self.n_inner or 4 * self.n_embd

    def attention_scale(self, layer: int) -> float:
        """The factor of the attention scores in block `layer`, counted from 0."""
        scale = 1 / math.sqrt(self.n_embd // self.n_head) if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


GPT2_SIZES: dict[str, GPTConfig] = {
    "124M": GPTConfig(n_embd=768, n_head=12, n_layer=12),
    "355M": GPTConfig(n_embd=1024, n_head=16, n_layer=24),
    "774M": GPTConfig(n_embd=1280, n_head=20, n_layer=36),
    "1558M": GPTConfig(n_embd=1600, n_head=25, n_layer=48),
}


class KVCache:
    """Keys and values of the tokens so far, so that a decoding step computes only the new ones.

    Memory for `capacity` tokens is allocated at once: two tensors of shape (L, B, H, capacity, D).
    """

    def __init__(
        self,
        config: GPTConfig,
        batch: int = 1,
        capacity: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.capacity = min(capacity or config.n_ctx, config.n_ctx)
        shape = (config.n_layer, batch, config.n_head, self.capacity, config.n_embd // config.n_head)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v (B, H, T, D) to the `length` cached tokens; all keys and values (B, H, length + T, D)."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes the former row `rows[i]`, when beams are reordered. rows: (B',) int64."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.scale = config.attention_scale(layer)
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.qkv_bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, weights: list[Tensor] | None) -> Tensor:
        """x (B, T, C) -> (B, T, C). If `weights` is a list, the softmax is written out and (B, H, T, S) appended."""
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        S = k.shape[2]  # keys: those cached and the T new ones
        dropout = self.dropout if self.training else 0.0
        if weights is None and q.dtype == torch.bfloat16 and q.device.type == "cpu" and T == S <= WRITTEN_OUT_TO:
            y = _written_out_attention(q, k, v, self.scale, dropout)
        elif weights is None:
            mask = None if T in (1, S) else _causal_mask(T, S, x.device)
            causal = T == S and T > 1
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, scale=self.scale)
        else:
            scores = q @ k.transpose(2, 3) * self.scale
            scores = scores.masked_fill(~_causal_mask(T, S, x.device), float("-inf"))
            weights.append(scores.softmax(dim=3))
            y = F.dropout(weights[-1], dropout) @ v
        out: Tensor = self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return out


def _written_out_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """q, k, v (B, H, T, D) in bf16 -> (B, H, T, D). Two batched products and a softmax, causal.

    On a CPU, forward and backward take half the time of PyTorch's fused kernel, at the price of (B, H, T, T) weights.
    """
    B, H, T, D = q.shape
    q, k, v = (t.reshape(B * H, T, D) for t in (q, k, v))
    future = torch.full((T, T), float("-inf"), dtype=q.dtype).triu(1)
    scores = torch.baddbmm(future, q, k.transpose(1, 2), alpha=scale)
    weights = F.dropout(scores.softmax(2, dtype=q.dtype), dropout)
    return (weights @ v).view(B, H, T, D)


def _causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """(T, S), True where query i, at position S - T + i, may attend."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


class MLP(nn.Module):
    """Two layers with a GELU in between; GPT-2 uses the tanh approximation."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation_function == "gelu_new" else "none"
        self.c_fc = nn.Linear(config.n_embd, config.mlp_width)
        self.c_proj = nn.Linear(config.mlp_width, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate=self.approximate))
        return out


class Block(nn.Module):
    """Pre-norm: each branch normalizes its own input and is added to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, weights: list[Tensor] | None) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x), layer, cache, weights))
        x = x + self.drop(self.mlp(self.ln_2(x)))
        return x


class GPT(nn.Module):
    """GPT-2. Dropout is applied in four places: embeddings, attention weights, and both branches before their sums.

    `init` draws the weights from torch's global generator, in the order of construction: "gpt2" as OpenAI's code does,
    "pytorch" with the layers' own defaults (what the book relies on).
    """

    def __init__(self, config: GPTConfig, init: Init = "gpt2") -> None:
        super().__init__()
        if init not in get_args(Init):
            raise UserError(f"init is {init!r}; it must be one of {', '.join(get_args(Init))}.")
        self.config = config
        self.wte = nn.Embedding(config.n_vocab, config.n_embd)
        self.wpe = nn.Embedding(config.n_ctx, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.lm_head = None if config.tied_head else nn.Linear(config.n_embd, config.n_vocab, bias=False)
        if init == "gpt2":
            self._init_gpt2()

    def _init_gpt2(self) -> None:
        """Normal 0.02, positions 0.01, biases 0; what feeds the residual stream is divided by sqrt(2L) (paper, 2.3)."""
        for name, p in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(p)
            elif name.endswith("c_proj.weight"):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * self.config.n_layer))
            elif p.dim() == 2:
                nn.init.normal_(p, std=0.01 if name == "wpe.weight" else 0.02)

    @property
    def device(self) -> torch.device:
        return self.wpe.weight.device

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, cache: KVCache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """ids (B, T) -> logits (B, T, V) and, if targets (B, T) are given, the mean cross-entropy in nats per token.

        With a cache, `ids` are the new tokens only. Raises UserError if they do not fit into the context.
        """
        logits = self.head(self.hidden_states(ids, cache))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """ids, targets (B, T) -> mean cross-entropy in nats per token: forward's loss, for training.

        Under bf16 autocast on a CPU with a large vocabulary the logits are not kept (see fused_loss.py).
        """
        x = self.hidden_states(ids)
        if is_worthwhile(self.head_weight):
            return head_loss(x.flatten(0, 1), self.head_weight, targets.flatten())
        return F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())

    def hidden_states(self, ids: Tensor, cache: KVCache | None = None, weights: list[Tensor] | None = None) -> Tensor:
        """ids (B, T) -> (B, T, C), what the head reads.

        If `weights` is a list, each layer's attention weights (B, H, T, S) are appended to it (explicit softmax).
        """
        T = ids.shape[1]
        past = cache.length if cache is not None else 0
        room = cache.capacity if cache is not None else self.config.n_ctx
        if past + T > room:
            raise UserError(f"{past + T} tokens do not fit into a context of {room}. Shorten the text.")
        x = self.drop(self.wte(ids) + self.wpe(torch.arange(past, past + T, device=ids.device)))
        for layer, block in enumerate(self.h):
            x = block(x, layer, cache, weights)
        if cache is not None:
            cache.length += T
        out: Tensor = self.ln_f(x)
        return out

    def head(self, x: Tensor) -> Tensor:
        """(..., C) -> logits (..., V)."""
        if self.lm_head is None:
            return F.linear(x, self.wte.weight)
        logits: Tensor = self.lm_head(x)
        return logits

    @property
    def head_weight(self) -> Tensor:
        """(V, C): the token embedding, or the head's own matrix where it is not tied."""
        return self.wte.weight if self.lm_head is None else self.lm_head.weight
