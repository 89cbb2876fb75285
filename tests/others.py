"""Models as others make them, with random numbers, and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_demo.exchange.huggingface_tokenizer import save_tokenizer
from gpt_demo.text.tokenizer import Tokenizer

IDS = torch.randint(257, (2, 8), generator=torch.Generator().manual_seed(0))


def randomise(model: torch.nn.Module) -> None:
    """Biases and norms too, which are 0 and 1 at first."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) / 10)


def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    """Of our model or of transformers'. (B, T) -> (B, T, V)"""
    with torch.no_grad():
        out = model(ids)
    result: Tensor = out[0] if isinstance(out, tuple) else out.logits
    return result


def transformers_model(**shape: Any) -> GPT2LMHeadModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**shape)).eval()
    randomise(model)
    return model


def write_repo(folder: Path, tokenizer: Tokenizer, **shape: Any) -> GPT2LMHeadModel:
    """A repository as the Hub's, written by the library itself; the model."""
    end = tokenizer.end_of_text
    model = transformers_model(vocab_size=tokenizer.n_vocab, bos_token_id=end, eos_token_id=end, **shape)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return model
