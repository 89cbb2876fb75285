"""Smaller weights: how close the logits stay, and how much memory is won."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.errors import UserError
from gpt_demo.events import Generated
from gpt_demo.model.gpt import GPT, KVCache
from gpt_demo.model.quantization import FEW, ROWS, Int8Linear, lower_precision, weight_bytes
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.evaluation import evaluate

SHAPES = [{}, {"tied_head": False, "qkv_bias": False}]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def logits(model: GPT) -> Tensor:
    ids = torch.randint(257, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.eval()(ids)[0].float()


def size(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in chain(model.parameters(), model.buffers()))


def larger(tiny: Any, **shape: Any) -> GPT:
    return tiny("pytorch", n_embd=64, n_layer=3, **shape)  # type: ignore[no-any-return]


@shapes
@pytest.mark.parametrize(("precision", "off"), [("bf16", 0.02), ("int8", 0.02)])
def test_logits_stay_close(tiny: Any, shape: dict[str, Any], precision: str, off: float) -> None:
    exact = logits(larger(tiny, **shape))
    rough = logits(lower_precision(larger(tiny, **shape), precision))
    distance = ((rough - exact).norm() / exact.norm()).item()
    assert 0 < distance < off


def test_fp32_changes_nothing(tiny: Any) -> None:
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    assert lower_precision(model, "fp32") is model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@shapes
def test_memory_is_won(tiny: Any, shape: dict[str, Any]) -> None:
    full = larger(tiny, **shape)
    matrices = sum(layer.weight.numel() for layer in full.h.modules() if isinstance(layer, nn.Linear))
    rows = sum(layer.out_features for layer in full.h.modules() if isinstance(layer, nn.Linear))
    whole = size(full)
    assert size(lower_precision(larger(tiny, **shape), "bf16")) * 2 == whole
    small = lower_precision(larger(tiny, **shape), "int8")
    tables = (1 if full.lm_head is None else 2) * full.config.n_vocab
    saved = 3 * (matrices + tables * full.config.n_embd) - 4 * (rows + tables)
    assert size(small) == whole - saved, "one byte per weight, four per row"
    assert size(small) == weight_bytes(full.config, "int8")
    assert {module.weight.dtype for module in small.modules() if isinstance(module, Int8Linear)} == {torch.int8}
    assert not any(isinstance(module, nn.Linear) for module in small.h.modules())


@pytest.mark.parametrize("width", [50, 64])
def test_a_layer_is_the_nearest_of_255_steps(width: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(width, 9)
    with torch.no_grad():
        layer.weight[3] = 0  # a row of nothing stays nothing
        layer.weight[4] *= 1e6  # and a loud one does not drown the others
    small = Int8Linear(layer.weight, layer.bias)
    assert small.weight.abs().amax(dim=1).tolist() == [127, 127, 127, 0, 127, 127, 127, 127, 127]
    restored = small.weight * small.scale[:, None]
    steps = layer.weight.detach().abs().amax(dim=1, keepdim=True) / 127
    assert ((restored - layer.weight).abs() <= steps * 0.5001).all()
    x = torch.randn(2, FEW, width)
    exact = x @ restored.t() + layer.bias
    torch.testing.assert_close(small(x), exact, rtol=1e-4, atol=1e-4)
    few = small(x[0])  # products of a bf16 vector, rounded to bf16
    assert ((few - exact[0]).abs() <= 2**-7 * (x[0].abs() @ restored.abs().t() + 1)).all()
    assert torch.equal(few, small(x)[0]) == (width == 50), "its kernel takes multiples of 64"
    assert small(x[0, 0]).shape == (9,)
    assert Int8Linear(layer.weight)(x).shape == (2, FEW, 9)


def test_a_large_matrix_is_quantized_like_a_small_one() -> None:
    weight = torch.randn(ROWS + 3, 4, generator=torch.Generator().manual_seed(0))
    whole, tail = Int8Linear(weight), Int8Linear(weight[ROWS:])
    assert torch.equal(whole.weight[ROWS:], tail.weight)
    assert torch.equal(whole.scale[ROWS:], tail.scale)


def test_one_token_copies_no_weights(tiny: Any) -> None:
    """What a token costs in int8: one packed product a layer, and no matrix in another type."""
    model = lower_precision(larger(tiny), "int8").eval()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found, torch.inference_mode():
        model(torch.tensor([[1]]))
    calls = {event.key: event.count for event in found.key_averages()}
    assert calls["aten::_weight_int8pack_mm"] == 4 * model.config.n_layer + 1
    largest = max(event.self_cpu_memory_usage for event in found.events())
    assert largest < model.config.n_embd**2, "less than the smallest matrix"


@shapes
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_small_models_write_and_are_measured(tiny: Any, shape: dict[str, Any], precision: str) -> None:
    model = lower_precision(larger(tiny, **shape), precision).eval()
    tokenizer = byte_level()
    texts = [
        event.text
        for use_cache in (True, False)
        for event in generate(model, tokenizer, "The", Sampling(seed=3), 20, use_cache=use_cache)
        if isinstance(event, Generated)
    ]
    assert all(text.startswith("The") for text in texts)
    [measured], [exact] = (
        list(evaluate(m, tokenizer, "The cat sat on the mat.")) for m in (model, larger(tiny, **shape))
    )
    assert measured.loss == pytest.approx(exact.loss, rel=0.02)
    cache = KVCache(model.config, dtype=model.wpe.weight.dtype)
    model(torch.tensor([[1, 2, 3]]), cache=cache)
    assert cache.length == 3


def test_a_tied_head_stays_tied_on_another_device(tiny: Any) -> None:
    model = lower_precision(tiny(), "int8").to("meta")
    assert model.lm_head.weight is model.wte.weight
    assert model.wte.weight.is_meta


def test_lowering_twice_is_lowering_once(tiny: Any) -> None:
    once = lower_precision(tiny(), "int8")
    before = logits(once)
    assert torch.equal(logits(lower_precision(once, "int8")), before)


@pytest.mark.parametrize("unknown", ["int4", "auto", ""])
def test_unknown_precisions_are_refused(tiny: Any, unknown: str) -> None:
    with pytest.raises(UserError, match=f"precision is '{unknown}'; it must be one of fp32, bf16, int8"):
        lower_precision(tiny(), unknown)
