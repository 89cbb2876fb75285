"""A model's parts with their shapes and sizes, as assets/models/views.js draws them."""

from __future__ import annotations

from gpt_demo.format import count
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.ui.protocol.views import Architecture, Flow, Part


def architecture(config: GPTConfig, name: str) -> Architecture:
    """The parts in the order of computation.

    The block's parts are those of one of `layers` equal blocks, and their shares those of all blocks together.
    """
    width, vocabulary, total = config.n_embd, config.n_vocab, config.n_params
    before = [
        _part("wte", "token embedding: a row for each token", (vocabulary, width), (None, 1)),
        _part("wpe", "position embedding: a row for each position, added", (config.n_ctx, width), (1, 1)),
    ]
    after = [_norm("ln_f", "final normalization", width)]
    if config.tied_head:
        after.append(_part("head", "scores every token, reusing the rows of wte", None, (1, None)))
    else:
        after.append(_part("lm_head", "scores every token", (width, vocabulary), (1, None)))
    block = _block(config)
    for part, times in [*((p, 1) for p in (*before, *after)), *((p, config.n_layer) for p in block)]:
        part["share"] = part["params"] * times / total
    in_block = sum(part["params"] for part in block)
    return {
        "name": name,
        "params": total,
        "width": width,
        "layers": config.n_layer,
        "heads": config.n_head,
        "head_width": width // config.n_head,
        "before": before,
        "block": {
            "params": count(in_block),
            "all": count(in_block * config.n_layer),
            "share": in_block * config.n_layer / total,
            "parts": block,
        },
        "after": after,
        "total": f"{total:,}",
    }


def _block(config: GPTConfig) -> list[Part]:
    width, heads = config.n_embd, config.n_head
    wide = config.mlp_width / width
    widens, narrows = f"{wide:g} times as wide, then GELU", "back to the width; added to the residual stream"
    attention = f"queries, keys and values of {heads} {'heads' if heads > 1 else 'head'}, each {width // heads} wide"
    return [
        {**_norm("ln_1", "normalizes", width), "branch": "attention"},
        _part("c_attn", attention, (width, 3 * width), (1, 3), bias=config.qkv_bias, branch="attention"),
        _part(
            "c_proj",
            "mixes the heads; added to the residual stream",
            (width, width),
            (1, 1),
            bias=True,
            branch="attention",
        ),
        {**_norm("ln_2", "normalizes", width), "branch": "MLP"},
        _part("c_fc", widens, (width, config.mlp_width), (1, wide), bias=True, branch="MLP"),
        _part("c_proj", narrows, (config.mlp_width, width), (wide, 1), bias=True, branch="MLP"),
    ]


def _part(
    name: str,
    words: str,
    shape: tuple[int, int] | None,
    flow: Flow,
    *,
    bias: bool = False,
    branch: str = "",
) -> Part:
    """`shape` (in, out), None for a part without numbers of its own; a bias has as many as go out."""
    numbers = shape[0] * shape[1] + bias * shape[1] if shape else 0
    sizes = (
        f"{shape[0]:,} \N{MULTIPLICATION SIGN} {shape[1]:,}" + (f" + {shape[1]:,}" if bias else "") if shape else "tied"
    )
    return _filled(name, words, sizes, numbers, flow, branch)


def _norm(name: str, words: str, width: int) -> Part:
    shape = f"2 \N{MULTIPLICATION SIGN} {width:,}"
    return _filled(name, words, shape, 2 * width, (1, 1), "")


def _filled(name: str, words: str, shape: str, params: int, flow: Flow, branch: str) -> Part:
    return {
        "name": name,
        "words": words,
        "shape": shape,
        "params": params,
        "count": f"{params:,}",
        "share": 0.0,  # known when all parts are
        "flow": flow,
        "branch": branch,
    }
