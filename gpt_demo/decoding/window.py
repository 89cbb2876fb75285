"""What a model sees while generating: the last n_ctx tokens, and the logits that follow them.

Shapes: B rows (beams, lanes), T time, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.model.decode_step import DecodeStep, suits
from gpt_demo.model.gpt import GPT, GPTConfig, KVCache
from gpt_demo.text.tokenizer import Tokenizer

MAX_NEW_TOKENS = 100_000


def working_bytes(config: GPTConfig, rows: int, tokens: int) -> int:
    """Bytes that B = rows continuations take at most, about, besides the model (float32): keys and values of T tokens,
    and what a pass over T tokens holds once the context slides."""
    return 4 * rows * min(tokens, config.n_ctx) * config.n_embd * (2 * config.n_layer + 24)


class Window:
    """The last n_ctx tokens of B rows, and their KV cache.

    Raises UserError on ids the model doesn't know.
    """

    def __init__(self, model: GPT, ids: list[int], max_new_tokens: int, use_cache: bool = True) -> None:
        V, self.n_ctx = model.config.n_vocab, model.config.n_ctx
        unknown = next((id for id in ids if not 0 <= id < V), None)
        if unknown is not None:
            raise UserError(
                f"Token {unknown} is outside the model's vocabulary of {V} tokens. "
                "Use the tokenizer that the model was trained with."
            )
        self.model = model
        self.ids = torch.tensor([ids[-self.n_ctx :]], device=model.device)  # (B, T)
        room = len(ids) + max_new_tokens
        dtype = model.wpe.weight.dtype
        self.cache = KVCache(model.config, 1, room, dtype=dtype, device=model.device) if use_cache else None
        self.step = DecodeStep(model) if use_cache and suits(model) else None
        if self.step is not None:
            self.step.ready()  # is compiled while the prompt is read

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """The next-token logits of each row, (B, V) float32. The head is computed for the last position only."""
        past = self.cache.length if self.cache else 0
        product = self.step.ready() if self.step is not None and past == self.ids.shape[1] - 1 else None
        if self.step is not None and self.cache is not None and product is not None:
            return self.step.logits(self.ids[:, -1], self.cache, product)
        training = self.model.training
        if training:
            self.model.eval()
        try:
            hidden = self.model.hidden_states(self.ids[:, past:], self.cache)
            return self.model.head(hidden[:, -1]).float()
        finally:
            if training:
                self.model.train()

    def append(self, ids: list[int]) -> None:
        """One new token per row."""
        new = torch.tensor(ids, device=self.ids.device)[:, None]
        if self.ids.shape[1] == self.n_ctx:
            self.cache = None
        self.ids = torch.cat([self.ids, new], dim=1)[:, -self.n_ctx :]

    @torch.inference_mode()
    def reorder(self, rows: list[int]) -> None:
        """Row i becomes what row rows[i] was; the number of rows may change."""
        if rows == list(range(self.ids.shape[0])):
            return
        index = torch.tensor(rows, device=self.ids.device)
        self.ids = self.ids[index]
        if self.cache is not None:
            self.cache.reorder(index)


def next_logits(model: GPT, tokenizer: Tokenizer, ids: list[int]) -> Tensor:
    """The next-token logits (V,) after the last n_ctx of `ids`; V is the tokenizer's."""
    context = torch.tensor([ids[-model.config.n_ctx :]], device=model.device)
    with torch.inference_mode():
        logits = model.head(model.hidden_states(context)[0, -1])
    return logits.float().cpu()[: tokenizer.n_vocab].clone()
