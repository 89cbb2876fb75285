"""Smaller weights: how close the logits stay, and how much memory is won."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.errors import UserError
from gpt_demo.events import Generated
from gpt_demo.model.gpt import GPT, KVCache
from gpt_demo.model.quantization import Int8Linear, lower_precision
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
    assert size(small) == whole - 3 * matrices + 4 * rows, "one byte per weight, four per row"
    assert {module.weight.dtype for module in small.modules() if isinstance(module, Int8Linear)} == {torch.int8}
    assert not any(isinstance(module, nn.Linear) for module in small.h.modules())


def test_a_layer_is_the_nearest_of_255_steps() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(50, 9)
    with torch.no_grad():
        layer.weight[3] = 0  # a row of nothing stays nothing
        layer.weight[4] *= 1e6  # and a loud one does not drown the others
    small = Int8Linear(layer)
    assert small.weight.abs().amax(dim=1).tolist() == [127, 127, 127, 0, 127, 127, 127, 127, 127]
    restored = small.weight * small.scale[:, None]
    steps = layer.weight.detach().abs().amax(dim=1, keepdim=True) / 127
    assert ((restored - layer.weight).abs() <= steps * 0.5001).all()
    x = torch.randn(3, 50)
    torch.testing.assert_close(small(x), x @ restored.t() + layer.bias)
    torch.testing.assert_close(Int8Linear(nn.Linear(50, 9, bias=False))(x).shape, (3, 9))


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
    assert texts[0].startswith("The")
    assert precision == "bf16" or texts[0] == texts[1]
    [measured], [exact] = (
        list(evaluate(m, tokenizer, "The cat sat on the mat.")) for m in (model, larger(tiny, **shape))
    )
    assert measured.loss == pytest.approx(exact.loss, rel=0.02)
    cache = KVCache(model.config, dtype=model.wpe.weight.dtype)
    model(torch.tensor([[1, 2, 3]]), cache=cache)
    assert cache.length == 3


def test_lowering_twice_is_lowering_once(tiny: Any) -> None:
    once = lower_precision(tiny(), "int8")
    before = logits(once)
    assert torch.equal(logits(lower_precision(once, "int8")), before)


@pytest.mark.parametrize("unknown", ["int4", "auto", ""])
def test_unknown_precisions_are_refused(tiny: Any, unknown: str) -> None:
    with pytest.raises(UserError, match=f"precision is '{unknown}'; it must be one of fp32, bf16, int8"):
        lower_precision(tiny(), unknown)
