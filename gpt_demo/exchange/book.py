"""A model as the file `model.pth` of the book "Build a Large Language Model (From Scratch)": its names, its shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import Converting
from gpt_demo.exchange.layouts import book_names
from gpt_demo.exchange.tensor_files import open_file
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.store.folder import read_description

FILE = "model.pth"
_FIXED = (
    "activation_function", "layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "n_inner",
)  # fmt: skip


def export_book(stored: Path, folder: Path) -> Iterator[Converting]:
    """Write a model of the store as `folder`/model.pth, which the book's GPTModel takes with `load_state_dict`.

    All of the model is in memory while it is written. Raises UserError where the book's code would compute another one.
    """
    config, _ = read_description(stored)
    check_fixed(config, _FIXED, "the book's GPTModel")
    tensors = open_file(stored / "model.safetensors")
    # A buffer of each attention layer, which load_state_dict wants too; all share one tensor.
    mask = torch.ones(config.n_ctx, config.n_ctx).triu(diagonal=1)
    state: dict[str, Tensor] = {f"trf_blocks.{layer}.att.mask": mask for layer in range(config.n_layer)}
    for done, name in enumerate(tensors.shapes, start=1):
        theirs, value = book_names(name), tensors.read(name)
        parts = [part.clone() for part in value.chunk(3)] if len(theirs) == 3 else [value]
        state |= dict(zip(theirs, parts, strict=True))
        yield Converting(done, len(tensors.shapes))
    if config.tied_head:
        state["out_head.weight"] = state["tok_emb.weight"]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / FILE)


def check_fixed(config: GPTConfig, names: tuple[str, ...], reader: str) -> None:
    """UserError naming a setting of the model that `reader` does not have: there it is always GPT-2's."""
    usual = GPTConfig()
    for name in names:
        if getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"This model has {name} {getattr(config, name)}, and {reader} can't compute that. "
                "Export it for transformers."
            )
