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
from gpt_demo.tokenizer import END_OF_TEXT, Tokenizer, byte_of_symbol

# transformers keeps these four as (in, out), the transpose of a linear layer.
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def export_folder(model: GPT, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write config.json and model.safetensors, and for all but cl100k_base vocab.json and merges.txt; the folder.

    `GPT2LMHeadModel.from_pretrained` and `GPT2Tokenizer.from_pretrained` open it. A model without query-key-value bias
    gets one of zeros, which computes the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(to_huggingface(model), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(model, tokenizer), indent=2), encoding="utf-8")
    if tokenizer.kind != "cl100k_base":  # which cuts a text by another pattern than GPT-2
        _save_tokenizer(tokenizer, folder)
    return folder


def _save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """GPT-2's vocabulary files: every byte of a token, and of the two tokens of a merge, as a printable character."""
    symbol_of = {byte: symbol for symbol, byte in byte_of_symbol().items()}
    vocabulary = {"".join(symbol_of[b] for b in tokenizer.token_bytes(i)): i for i in range(tokenizer.n_vocab - 1)}
    vocabulary[END_OF_TEXT] = tokenizer.end_of_text
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    if tokenizer.kind == "gpt2":
        shutil.copy(ASSETS / "gpt2" / "vocab.bpe", folder / "merges.txt")
    else:
        lines = ["#version: 0.2", *tokenizer.merges]
        (folder / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


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
