"""The parts of a model: their numbers are the model's own."""

from __future__ import annotations

import pytest
import torch
from conftest import Tiny

from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.ui.models.architecture import architecture

SHAPES = [
    *GPT2_SIZES.values(),
    GPTConfig(n_vocab=257, n_ctx=16, n_embd=32, n_head=4, n_layer=3, tied_head=False, qkv_bias=False),
]


@pytest.mark.parametrize("config", SHAPES, ids=lambda config: f"{config.n_embd}")
def test_the_parts_are_the_whole(config: GPTConfig) -> None:
    data = architecture(config, "m")
    around = [*data["before"], *data["after"]]
    inside = data["block"]["parts"]
    total = sum(part["params"] for part in around) + config.n_layer * sum(part["params"] for part in inside)
    assert total == config.n_params == data["params"]
    assert sum(part["share"] for part in (*around, *inside)) == pytest.approx(1)
    assert data["block"]["share"] == pytest.approx(sum(part["share"] for part in inside))
    assert data["heads"] * data["head_width"] == data["width"]


@pytest.mark.parametrize("config", SHAPES[-1:] + SHAPES[:1], ids=lambda config: f"{config.n_embd}")
def test_each_part_is_a_module_of_the_model(config: GPTConfig) -> None:
    with torch.device("meta"):
        model = GPT(config)
    modules = {
        "ln_1": model.h[0].ln_1,
        "ln_2": model.h[0].ln_2,
        "c_attn": model.h[0].attn.c_attn,
        "c_fc": model.h[0].mlp.c_fc,
    }
    data = architecture(config, "m")
    for part in (*data["before"], *data["after"]):
        module = dict(model.named_children()).get(part["name"])
        assert part["params"] == (sum(p.numel() for p in module.parameters()) if module else 0)
    for part in data["block"]["parts"]:
        if part["name"] in modules:
            assert part["params"] == sum(p.numel() for p in modules[part["name"]].parameters())
    attention, mlp = (part["params"] for part in data["block"]["parts"] if part["name"] == "c_proj")
    assert attention == sum(p.numel() for p in model.h[0].attn.c_proj.parameters())
    assert mlp == sum(p.numel() for p in model.h[0].mlp.c_proj.parameters())


def test_words(tiny: Tiny) -> None:
    data = architecture(tiny(n_head=1).config, "m")
    c_attn = data["block"]["parts"][1]
    assert c_attn["words"] == "queries, keys and values of 1 head, each 32 wide"
    assert (c_attn["shape"], c_attn["count"]) == ("32 \N{MULTIPLICATION SIGN} 96 + 96", "3,168")
    assert data["after"][-1]["shape"] == "tied"
