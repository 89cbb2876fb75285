"""Models as folders in Hugging Face's layout, which `transformers.GPT2LMHeadModel.from_pretrained` opens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from gpt_demo.model import GPT
from gpt_demo.store import ASSETS
from gpt_demo.tokenizer import Tokenizer

# transformers keeps these four as (in, out), the transpose of a linear layer.
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def export_folder(model: GPT, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write config.json and model.safetensors, for the gpt2 tokenizer vocab.json and merges.txt too; the folder.

    A model without query-key-value bias gets one of zeros, which computes the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(to_huggingface(model), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(model, tokenizer), indent=2))
    if tokenizer.kind == "gpt2":
        shutil.copy(ASSETS / "gpt2" / "vocab.bpe", folder / "merges.txt")
        letters = _letters()
        vocabulary = {"".join(letters[b] for b in tokenizer.token_bytes(i)): i for i in range(tokenizer.n_vocab)}
        vocabulary["<|endoftext|>"] = tokenizer.end_of_text
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return folder


def to_huggingface(model: GPT) -> dict[str, Tensor]:
    """The weights under transformers' names and in its shapes."""
    weights = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        key = name if name.startswith("lm_head") else f"transformer.{name}"
        weights[key] = value.T.contiguous() if name.endswith(TRANSPOSED) else value.contiguous()
    if not model.config.qkv_bias:
        for layer in range(model.config.n_layer):
            weights[f"transformer.h.{layer}.attn.c_attn.bias"] = torch.zeros(3 * model.config.n_embd)
    return weights


def _config(model: GPT, tokenizer: Tokenizer) -> dict[str, object]:
    shape = model.config
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": shape.n_vocab,
        "n_positions": shape.n_ctx,
        "n_embd": shape.n_embd,
        "n_head": shape.n_head,
        "n_layer": shape.n_layer,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
        "tie_word_embeddings": shape.tied_head,
        "bos_token_id": tokenizer.end_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "torch_dtype": "float32",
    }


def _letters() -> dict[int, str]:
    """A printable character for each byte, as GPT-2's vocabulary file writes them: bytes without one come from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}
