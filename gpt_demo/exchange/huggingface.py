"""Models as folders in Hugging Face's layout, which `transformers.GPT2LMHeadModel.from_pretrained` opens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpt_demo.errors import UserError, quoted
from gpt_demo.events import Converting
from gpt_demo.exchange.huggingface_tokenizer import save_tokenizer
from gpt_demo.exchange.layouts import QKV_BIAS, TRANSPOSED
from gpt_demo.exchange.tensor_files import open_file
from gpt_demo.exchange.weights_file import write_weights
from gpt_demo.model.blank import empty_weights
from gpt_demo.model.gpt import GPT, Activation, GPTConfig
from gpt_demo.store.folder import read_description
from gpt_demo.text.tokenizer import Tokenizer

# transformers' names for the two functions there are here; it has them in more than one way of computing.
_ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_accurate": "gelu_new",
    "gelu": "gelu", "gelu_python": "gelu",
}  # fmt: skip
_OURS = "gpt_demo"  # key of config.json: what transformers' own keys can't say


# Out ------------------------------------------------------------------------------------------------------------------


def export_folder(model: GPT, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write config.json, model.safetensors and the tokenizer's files; the folder.

    `GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained` open it. A model without query-key-value bias
    gets one of zeros, which computes the same.
    """
    for _ in _write(model.config, model.state_dict().items(), tokenizer, folder):
        pass
    return folder


def export_stored(stored: Path, folder: Path) -> Iterator[Converting]:
    """`export_folder` of a model folder of the store, with no more than one tensor in memory. Raises UserError."""
    config, _ = read_description(stored)
    tensors = open_file(stored / "model.safetensors")
    weights = ((name, tensors.read(name)) for name in tensors.shapes)
    yield from _write(config, weights, Tokenizer.load(stored / "tokenizer.json"), folder)


def _write(
    config: GPTConfig, weights: Iterable[tuple[str, Tensor]], tokenizer: Tokenizer, folder: Path
) -> Iterator[Converting]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(config, tokenizer), indent=2), encoding="utf-8")
    save_tokenizer(tokenizer, folder)
    shapes = _their_shapes(config)
    for done, _ in enumerate(write_weights(folder / "model.safetensors", shapes, _theirs(config, weights)), start=1):
        yield Converting(done, len(shapes))


def _their_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    biased = config if config.qkv_bias else GPTConfig(**{**config.to_dict(), "qkv_bias": True})
    return {_their_name(name): _their_shape(name, shape) for name, shape in expected_shapes(biased).items()}


def _their_name(name: str) -> str:
    return name if name.startswith("lm_head") else f"transformer.{name}"


def _their_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if name.endswith(TRANSPOSED) else shape


def _theirs(config: GPTConfig, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weights under transformers' names and in its shapes."""
    for name, value in weights:
        values = value.detach().cpu().float().numpy()
        yield _their_name(name), values.T if name.endswith(TRANSPOSED) else values
    if not config.qkv_bias:
        for layer in range(config.n_layer):
            yield f"transformer.h.{layer}.{QKV_BIAS}", np.zeros(3 * config.n_embd, np.float32)


def _config(shape: GPTConfig, tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": shape.n_vocab,
        "n_positions": shape.n_ctx,
        "n_embd": shape.n_embd,
        "n_head": shape.n_head,
        "n_layer": shape.n_layer,
        "n_inner": shape.n_inner or None,
        "activation_function": shape.activation_function,
        "layer_norm_epsilon": shape.layer_norm_epsilon,
        "scale_attn_weights": shape.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": shape.scale_attn_by_inverse_layer_idx,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
        "tie_word_embeddings": shape.tied_head,
        "bos_token_id": tokenizer.end_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "torch_dtype": "float32",
        _OURS: {"qkv_bias": shape.qkv_bias, "tokenizer": tokenizer.kind},
    }


# In -------------------------------------------------------------------------------------------------------------------


def expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a model of this app; nothing is allocated."""
    with empty_weights():
        return {name: tuple(value.shape) for name, value in GPT(config, init="pytorch").state_dict().items()}


def read_config(folder: Path) -> GPTConfig:
    """The shape that Hugging Face's config.json describes, a setting that is missing as transformers understands that.

    Raises UserError where it is no GPT-2 as computed here.
    """
    record = read_record(folder)
    if record.get("model_type", "gpt2") != "gpt2":
        raise UserError(f"{folder} holds a model of type {quoted(record['model_type'])}; only GPT-2 can be imported.")
    if record.get("add_cross_attention"):
        raise UserError(f"{folder} holds a model with add_cross_attention, which a GPT-2 here does not have.")
    ours = record.get(_OURS)
    width = _whole(record, "n_embd", 768)
    inner = 4 * width if record.get("n_inner") is None else _whole(record, "n_inner", 0)
    return GPTConfig(
        n_vocab=_whole(record, "vocab_size", 50257),
        n_ctx=_whole(record, "n_positions", _whole(record, "n_ctx", 1024)),
        n_embd=width,
        n_head=_whole(record, "n_head", 12),
        n_layer=_whole(record, "n_layer", 12),
        dropout=_dropout(record),
        qkv_bias=not isinstance(ours, dict) or ours.get("qkv_bias") is not False,
        tied_head=record.get("tie_word_embeddings") is not False,
        activation_function=_activation(record),
        layer_norm_epsilon=_epsilon(record),
        scale_attn_weights=_switch(record, "scale_attn_weights", True),
        scale_attn_by_inverse_layer_idx=_switch(record, "scale_attn_by_inverse_layer_idx", False),
        n_inner=0 if inner == 4 * width else inner,
    )


def read_record(folder: Path) -> dict[str, Any]:
    """config.json as it is. Raises UserError where it is missing or no JSON object."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(
            f"{folder} has no config.json that can be read, so it is no model that can be imported."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'config.json'} is no valid JSON. Download or export the model again.") from error
    if not isinstance(record, dict):
        raise UserError(f"{folder / 'config.json'} is no description of a model. Download or export the model again.")
    return record


def kept_tokenizer_kind(folder: Path) -> str | None:
    """The kind of tokenizer that the model had in this app, where it was exported from here."""
    ours = read_record(folder).get(_OURS)
    kind = ours.get("tokenizer") if isinstance(ours, dict) else None
    return kind if isinstance(kind, str) else None


def _whole(record: dict[str, Any], key: str, default: int) -> int:
    value = record.get(key, default)
    if type(value) is not int:
        raise UserError(f"config.json gives {key} as {quoted(value)}; it must be a whole number.")
    return value


def _activation(record: dict[str, Any]) -> Activation:
    name = record.get("activation_function", "gelu_new")
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        allowed = ", ".join(_ACTIVATIONS)
        raise UserError(f"config.json gives activation_function as {quoted(name)}; a GPT-2 here can have {allowed}.")
    return _ACTIVATIONS[name]


def _epsilon(record: dict[str, Any]) -> float:
    value = record.get("layer_norm_epsilon", 1e-5)
    if type(value) not in (int, float):
        raise UserError(f"config.json gives layer_norm_epsilon as {quoted(value)}; it must be a number.")
    return float(value)


def _switch(record: dict[str, Any], key: str, default: bool) -> bool:
    value = record.get(key, default)
    if not isinstance(value, bool):
        raise UserError(f"config.json gives {key} as {quoted(value)}; it must be true or false.")
    return value


def _dropout(record: dict[str, Any]) -> float:
    """The one probability of the model here; 0 where theirs are not one number."""
    first, *others = (record.get(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop"))
    return float(first) if isinstance(first, (int, float)) and others == [first, first] else 0.0
