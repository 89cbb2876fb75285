"""A model as one GGUF file, which llama.cpp and what is built on it open.

The names of the tensors and of the fields are those of the `gguf` package for the architecture "gpt2".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpt_demo.errors import UserError
from gpt_demo.events import Converting
from gpt_demo.exchange.book import check_fixed
from gpt_demo.exchange.huggingface import expected_shapes
from gpt_demo.exchange.huggingface_tokenizer import merges_of, vocabulary
from gpt_demo.exchange.layouts import QKV_BIAS
from gpt_demo.exchange.tensor_files import open_file
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.store.folder import read_description
from gpt_demo.text.tokenizer import END_OF_TEXT, Tokenizer

_FIXED = ("activation_function", "scale_attn_weights", "scale_attn_by_inverse_layer_idx")
_PARTS = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
_OUTSIDE = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output"}


def export_gguf(stored: Path, folder: Path, name: str) -> Iterator[Converting]:
    """Write a model of the store as `folder`/NAME.gguf in float32, with no more than one tensor in memory.

    Raises UserError where llama.cpp would compute another model, or cut a text in another way.
    """
    import gguf

    config, _ = read_description(stored)
    tokenizer = Tokenizer.load(stored / "tokenizer.json")
    check_fixed(config, _FIXED, "llama.cpp")
    if tokenizer.kind not in ("gpt2", "bpe", "bytes"):
        raise UserError(
            f"This model's tokenizer is of the kind {tokenizer.kind}; in a GGUF file gpt2, bpe and bytes can be "
            "written. Export it for transformers."
        )
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / f"{name}.gguf", "gpt2")
    try:
        _describe(writer, config, name)
        _describe_tokens(writer, config, tokenizer)
        yield from _write(writer, config, stored)
    finally:
        writer.close()


def gguf_name(ours: str) -> str:
    """ "h.3.attn.c_attn.weight" -> "blk.3.attn_qkv.weight" """
    layer, end = ours.rsplit(".", 1)
    if layer in _OUTSIDE:
        return f"{_OUTSIDE[layer]}.{end}"
    _, block, part = layer.split(".", 2)
    return f"blk.{block}.{_PARTS[part]}.{end}"


def _describe(writer: Any, config: GPTConfig, name: str) -> None:
    writer.add_name(name)
    writer.add_file_type(0)  # all of it in float32
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _describe_tokens(writer: Any, config: GPTConfig, tokenizer: Tokenizer) -> None:
    from gguf import TokenType

    token_of = {id: token for token, id in vocabulary(tokenizer).items()}
    tokens = [token_of.get(id, f"[PAD{id}]") for id in range(config.n_vocab)]
    kinds = [TokenType.NORMAL if id in token_of else TokenType.UNUSED for id in range(config.n_vocab)]
    kinds[tokenizer.end_of_text] = TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    # llama.cpp wants merges; this one never happens, because no text is cut into such tokens.
    writer.add_token_merges(list(merges_of(tokenizer)) or [f"{END_OF_TEXT} {END_OF_TEXT}"])
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(False)


def _write(writer: Any, config: GPTConfig, stored: Path) -> Iterator[Converting]:
    shapes = expected_shapes(GPTConfig(**{**config.to_dict(), "qkv_bias": True}))
    for name, shape in shapes.items():
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    tensors = open_file(stored / "model.safetensors")
    for done, (name, shape) in enumerate(shapes.items(), start=1):
        none = not config.qkv_bias and name.endswith(QKV_BIAS)
        values = np.zeros(shape, np.float32) if none else tensors.read(name).float().numpy()
        writer.write_tensor_data(np.ascontiguousarray(values))
        yield Converting(done, len(shapes))
