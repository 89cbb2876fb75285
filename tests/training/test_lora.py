"""Training a part of a model: what is frozen stays, what is added starts as nothing and folds into plain weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.data import split_text
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.loop import train
from gpt_demo.training.lora import SCALE, LoRALinear, add_lora, freeze, merged, n_adapters, n_trained, trained
from gpt_demo.training.plan import TrainConfig
from gpt_demo.training.state import TrainState, make_optimizer

BYTES = byte_level()
SPLIT = split_text("The cat sat on the mat, and the dog ran after it until both were tired. " * 3, BYTES, 0.2, "tokens")
ALL = TrainConfig(
    max_steps=4, batch_size=2, warmup_steps=0, learning_rate=1e-2, eval_interval=1, eval_batches=1,
    sample_interval=1000, sample_prompt="The ", sample_tokens=2,
)  # fmt: skip
LAST = replace(ALL, trainable="last_blocks", last_blocks=1)
LORA = replace(ALL, trainable="lora", lora_rank=3)
MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def begin(tiny: Any, config: TrainConfig, **shape: Any) -> TrainState:
    model = tiny(**shape)
    torch.manual_seed(1)
    freeze(model, config)
    return TrainState(model, make_optimizer(model, config))


def run(tiny: Any, config: TrainConfig, **shape: Any) -> TrainState:
    state = begin(tiny, config, **shape)
    for _event in train(state, SPLIT, BYTES, config, "fp32"):
        pass
    return state


def weights(model: GPT) -> dict[str, Tensor]:
    return {name: p.clone() for name, p in model.state_dict().items()}


def with_opinions(model: GPT) -> GPT:
    """The adapters as after some training."""
    for name, p in model.named_parameters():
        if "lora_b" in name:
            nn.init.normal_(p, std=0.3)
    return model


# What is trained ------------------------------------------------------------------------------------------------------


def test_the_last_blocks(tiny: Any) -> None:
    model = tiny(n_layer=3)
    freeze(model, replace(LAST, last_blocks=2))
    expected = {n for n, _ in model.named_parameters() if n.startswith(("h.1.", "h.2.", "ln_f."))}
    assert trained(model).keys() == expected
    few = tiny(n_layer=1)
    freeze(few, replace(LAST, last_blocks=9))
    assert {name.split(".")[0] for name in trained(few)} == {"h", "ln_f"}


def test_lora_trains_its_adapters_alone(tiny: Any) -> None:
    model = tiny(n_layer=2)
    before = model.state_dict()
    freeze(model, LORA)
    expected = {f"h.{i}.{part}.lora_{ab}" for i in range(2) for part in MATRICES for ab in "ab"}
    assert trained(model).keys() == expected
    assert model.h[0].mlp.c_fc.lora_a.shape == (3, 32)
    assert model.h[0].mlp.c_fc.lora_b.shape == (128, 3)
    assert model.state_dict().keys() == before.keys() | expected
    assert all(model.state_dict()[name].data_ptr() == p.data_ptr() for name, p in before.items()), "nothing is copied"


def test_all_is_what_it_always_was(tiny: Any) -> None:
    model = tiny()
    state = torch.get_rng_state()
    freeze(model, ALL)
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([ALL, LAST, LORA]), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_counts_are_those_of_the_model(
    config: TrainConfig, layers: int, heads: int, last: int, rank: int, bias: bool, tied: bool
) -> None:
    shape = GPTConfig(20, 6, 4 * heads, heads, layers, 0.0, bias, tied)
    config = replace(config, last_blocks=last, lora_rank=rank)
    with torch.device("meta"):
        model = GPT(shape)
        freeze(model, config)
    assert n_trained(shape, config) == sum(p.numel() for p in trained(model).values())
    assert n_adapters(shape, config) == sum(p.numel() for p in model.parameters()) - shape.n_params


@pytest.mark.parametrize("config", [LAST, LORA], ids=["last_blocks", "lora"])
@pytest.mark.parametrize("decay", ["matrices", "all"])
def test_only_what_is_trained_changes(tiny: Any, config: TrainConfig, decay: Any) -> None:
    config = replace(config, decay=decay, weight_decay=0.5)
    before = weights(begin(tiny, config).model)
    state = run(tiny, config)
    changed = {name for name, p in state.model.state_dict().items() if not torch.equal(p, before[name])}
    assert changed == trained(state.model).keys()
    grouped = [p for group in state.optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(id(p) for p in state.model.parameters() if p.requires_grad)
    assert all(p.grad is None for p in state.model.parameters() if not p.requires_grad)
    assert state.best_weights.keys() == trained(state.model).keys()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", [LAST, LORA], ids=["last_blocks", "lora"])
def test_a_part_of_a_model_learns_too(tiny: Any, config: TrainConfig, precision: str) -> None:
    config = replace(config, max_steps=60, batch_size=8, eval_interval=0, last_blocks=2, min_learning_rate=None)
    state = begin(tiny, config, init="pytorch")
    losses = [e.loss for e in train(state, SPLIT, BYTES, config, precision) if e.kind == "stepped"]  # type: ignore[union-attr]
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


# The adapter ----------------------------------------------------------------------------------------------------------


def test_an_adapter_is_equation_3() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(5, 7), torch.randn(2, 3, 5)
    layer = LoRALinear(linear, 2)
    assert torch.equal(layer(x), linear(x)), "B is zero at first"
    nn.init.normal_(layer.lora_b)
    by_hand = x @ (linear.weight + SCALE * layer.lora_b @ layer.lora_a).T + linear.bias
    torch.testing.assert_close(layer(x), by_hand)
    bare = LoRALinear(nn.Linear(5, 7, bias=False), 2)
    torch.testing.assert_close(bare(x), x @ bare.weight.T)


def test_gradients_of_an_adapter_are_those_of_the_sum() -> None:
    torch.manual_seed(0)
    layer, x = LoRALinear(nn.Linear(5, 7), 2).double(), torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    nn.init.normal_(layer.lora_b)
    assert torch.autograd.gradcheck(lambda a, b, x: torch.func.functional_call(layer, {"lora_a": a, "lora_b": b}, x), (
        layer.lora_a, layer.lora_b, x,
    ))  # fmt: skip


def test_adapters_are_drawn_as_large_as_said(tiny: Any) -> None:
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 10), 50)
    assert layer.lora_a.std().item() == pytest.approx(400**-0.5, rel=0.05)
    assert not layer.lora_b.any()
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(tiny())
        add_lora(models[-1], 2)
    first, again, other = (model.h[1].attn.c_proj.lora_a for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    with torch.device("meta"):
        add_lora(GPT(GPTConfig(8, 4, 4, 1, 1)), 2)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn for a model that is to be loaded"


@pytest.mark.parametrize("shape", [{}, {"qkv_bias": False, "tied_head": False}], ids=["gpt2", "book"])
def test_a_merged_model_is_a_plain_one_with_the_same_logits(tiny: Any, shape: dict[str, Any]) -> None:
    adapted = tiny(init="pytorch", **shape)
    freeze(adapted, LORA)
    with_opinions(adapted)
    plain = tiny(**shape)
    plain.load_state_dict(merged(adapted.state_dict()))  # no name is missing or left over
    ids = torch.randint(257, (2, 16))
    torch.testing.assert_close(plain(ids)[0], adapted(ids)[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(tiny(init="pytorch", **shape)(ids)[0], plain(ids)[0], atol=1e-2)


def test_plain_weights_are_left_alone(tiny: Any) -> None:
    before = tiny().state_dict()
    assert all(after is before[name] for name, after in merged(before).items())
