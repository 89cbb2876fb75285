"""Random models that are sure of some tokens, for the tests of decoding, and transformers' twins of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from gpt_demo.model.gpt import GPT, GPTConfig

PROMPT = [7, 20, 3, 11]


@cache
def peaked(n_vocab: int = 257, n_ctx: int = 48, seed: int = 1, width: float = 1.0) -> GPT:
    """Its distributions are peaked because PyTorch's embeddings have a standard deviation of 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = GPTConfig(n_vocab=n_vocab, n_ctx=n_ctx, n_embd=32, n_head=4, n_layer=2, tied_head=False)
        model = GPT(shape, "pytorch")
        assert model.lm_head is not None
        torch.nn.init.normal_(model.lm_head.weight, std=0.25 * width)
    return model.eval()


@cache
def transformers_twin(model: GPT) -> Any:
    """The same weights in transformers' model; its Conv1D weights are the transpose of nn.Linear's."""
    c = model.config
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=c.n_vocab,
        n_positions=c.n_ctx,
        n_embd=c.n_embd,
        n_head=c.n_head,
        n_layer=c.n_layer,
        tie_word_embeddings=c.tied_head,
        bos_token_id=None,
        eos_token_id=None,
    )
    twin: Any = GPT2LMHeadModel(config)
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    state = {k: v.T if k.endswith(conv) else v for k, v in model.state_dict().items()}
    twin.load_state_dict({k if k.startswith("lm_head") else f"transformer.{k}": v for k, v in state.items()})
    return twin.eval()
