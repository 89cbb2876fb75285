"""The fast step against the model: the same logits and texts, what it costs, and what happens without a compiler."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from peaked import PROMPT, peaked
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gpt_demo.decoding import window
from gpt_demo.decoding.beams import beam_search
from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.decoding.race import Lane, race
from gpt_demo.errors import UserError
from gpt_demo.events import TokenChosen
from gpt_demo.model.compiled import NAMES, SECONDS, Background, Product, build, checked
from gpt_demo.model.decode_step import WORTHWHILE, DecodeStep, suits
from gpt_demo.model.gpt import GPT, GPT2_SIZES, KVCache
from gpt_demo.model.quantization import Int8Linear, lower_precision
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.lora import add_lora

SHAPES = [
    {},
    {"tied_head": False, "qkv_bias": False, "activation_function": "gelu"},
    {"scale_attn_by_inverse_layer_idx": True, "n_inner": 48, "layer_norm_epsilon": 1e-3, "n_layer": 3},
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Background:
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("There is no C++ compiler here.")
    folder = tmp_path_factory.mktemp("compiled")
    background = Background(lambda: checked(Product(build(folder))))
    assert background.wait() is not None, background.trouble
    return background


@pytest.fixture
def fast(compiled: Background, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Everything that writes takes the compiled step; the list grows by the rows of each product."""
    calls: list[int] = []
    call = Product.__call__

    def counted(self: Product, x: Tensor, *rest: Any) -> Tensor:
        calls.append(len(x))
        return call(self, x, *rest)

    monkeypatch.setattr(Product, "__call__", counted)
    monkeypatch.setattr(window, "suits", lambda model: suits(model, 0))
    monkeypatch.setattr(window, "DecodeStep", lambda model: DecodeStep(model, compiled))
    return calls


# Products -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("B", [1, 6])
@pytest.mark.parametrize(("out", "width"), [(1, 16), (9, 48), (257, 64), (5, 272)])
@pytest.mark.parametrize("dtype", list(NAMES), ids=str)
def test_a_product_is_torchs(compiled: Background, dtype: torch.dtype, out: int, width: int, B: int) -> None:
    product, draw = compiled.get(), torch.Generator().manual_seed(0)
    assert product is not None
    x, scale, bias = (torch.randn(shape, generator=draw) for shape in ((B, width), (out,), (out,)))
    weight = (torch.randn(out, width, generator=draw) * 40).clamp(-127, 127).to(dtype)
    exact = x.double() @ weight.double().t()
    torch.testing.assert_close(product(x, weight, None, None).double(), exact, rtol=1e-5, atol=1e-3)
    scaled = product(x, weight, scale, bias).double()
    torch.testing.assert_close(scaled, exact * scale + bias, rtol=1e-5, atol=1e-3)


# Steps ----------------------------------------------------------------------------------------------------------------


def logits_of_both(model: GPT, compiled: Background, rows: int) -> tuple[Tensor, Tensor]:
    """(T, B, V): of each token after the first four, by the model and by the step, each with a cache of its own."""
    product, step = compiled.get(), DecodeStep(model, compiled)
    assert product is not None
    ids = torch.randint(257, (rows, 12), generator=torch.Generator().manual_seed(1))
    theirs, ours = (KVCache(model.config, rows, dtype=model.wpe.weight.dtype) for _ in range(2))
    found = []
    with torch.inference_mode():
        for cache in (theirs, ours):
            model(ids[:, :4], cache=cache)
        for t in range(4, 12):
            exact = model(ids[:, t : t + 1], cache=theirs)[0][:, -1].float()
            found.append((exact, step.logits(ids[:, t], ours, product)))
    assert theirs.length == ours.length == 12
    return torch.stack([pair[0] for pair in found]), torch.stack([pair[1] for pair in found])


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-5), ("bf16", 0.02), ("int8", 0.02)])
def test_logits_are_the_models(
    compiled: Background, tiny: Tiny, shape: dict[str, Any], precision: str, off: float, rows: int
) -> None:
    """`off`: of the norm. bf16 and int8 differ more because the model rounds activations to bf16, the step does not."""
    model = lower_precision(tiny("pytorch", **{"n_embd": 64, **shape}), precision).eval()
    exact, fast = logits_of_both(model, compiled, rows)
    assert ((fast - exact).norm() / exact.norm()).item() < off
    if precision == "fp32":
        torch.testing.assert_close(fast, exact, atol=1e-4, rtol=0)


def test_the_step_is_closer_to_fp32_than_the_rounded_model(compiled: Background, tiny: Tiny) -> None:
    exact, _ = logits_of_both(tiny("pytorch", n_embd=64).eval(), compiled, 1)
    rounded, fast = logits_of_both(lower_precision(tiny("pytorch", n_embd=64), "bf16").eval(), compiled, 1)
    assert (fast - exact).norm() < (rounded - exact).norm()


def everything_written(model: GPT) -> list[Any]:
    """Greedy, sampled, six lanes with beams, beams: the ids, across the end of the context."""
    tokenizer, count = byte_level(), 30
    texts: list[Any] = []
    for sampling in (Sampling(temperature=0), Sampling(seed=3)):
        events = generate(model, tokenizer, PROMPT, sampling, count, stop_at_end_of_text=False)
        texts.append([event.id for event in events if isinstance(event, TokenChosen)])
    lanes = [Lane("", greedy=True)] + [Lane("")] * 4 + [Lane("", beams=3)]
    texts.append([getattr(e, "id", None) or e.ids for e in race(model, 257, PROMPT, lanes, 5, count, 256)])
    texts.append([step.live[0].ids for step in beam_search(model, PROMPT, 3, count) if step.live])
    return texts


def test_everything_is_written_as_the_model_writes_it(fast: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    written = everything_written(peaked(n_ctx=24).eval())
    assert {1, 3, 8} <= set(fast)
    fast.clear()
    monkeypatch.setattr(window, "suits", lambda model: False)
    assert written == everything_written(peaked(n_ctx=24).eval())
    assert not fast


def test_what_a_token_costs(fast: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass of the model for the prompt; for a token one product a matrix and no copy of one."""
    model, passes = peaked(n_ctx=64).eval(), []
    hidden = GPT.hidden_states
    monkeypatch.setattr(GPT, "hidden_states", lambda *args: passes.append(args[1].shape) or hidden(*args))
    view = window.Window(model, list(range(9)), 20)
    for _ in range(20):
        view.append([int(view.logits().argmax())])
    assert passes == [(1, 9)]
    assert len(fast) == 19 * (4 * model.config.n_layer + 1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        view.logits()
    smallest = min(p.numel() * p.element_size() for p in model.parameters() if p.dim() == 2)
    assert max(event.self_cpu_memory_usage for event in found.events()) < smallest


def test_a_model_is_freed_with_its_text(fast: list[int], tiny: Tiny) -> None:
    model = tiny(n_ctx=64).eval()
    list(generate(model, byte_level(), PROMPT, Sampling(temperature=0), 4))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert fast
    assert gone() is None


# Which models, and where ----------------------------------------------------------------------------------------------


def test_only_plain_large_models_on_the_cpu_take_it(tiny: Tiny) -> None:
    assert not suits(tiny())
    assert suits(tiny(), 0)
    assert all(config.n_params > WORTHWHILE for config in GPT2_SIZES.values())
    adapted = tiny()
    add_lora(adapted, 2)
    assert not suits(adapted, 0)
    assert not suits(tiny(n_embd=24), 0), "rows of 24 numbers are no whole vectors"
    assert not suits(tiny().to("meta"), 0)
    assert not suits(tiny().double(), 0)
    assert suits(lower_precision(tiny(), "int8"), 0)
    assert isinstance(lower_precision(tiny(), "int8").lm_head, Int8Linear)


def test_the_first_token_does_not_wait(fast: list[int], compiled: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes until the product is there, then the step goes on with the same text."""
    may_end, product = threading.Event(), compiled.get()
    assert product is not None

    def slow() -> Product:
        may_end.wait(SECONDS)
        assert product is not None
        return product

    background = Background(slow)
    monkeypatch.setattr(window, "DecodeStep", lambda model: DecodeStep(model, background))
    events = generate(peaked(n_ctx=64).eval(), byte_level(), PROMPT, Sampling(temperature=0), 12)
    texts = [next(events).text for _ in range(3)]
    assert not fast
    may_end.set()
    background.wait()
    texts += [event.text for event in events]
    assert fast
    monkeypatch.setattr(window, "suits", lambda model: False)
    again = generate(peaked(n_ctx=64).eval(), byte_level(), PROMPT, Sampling(temperature=0), 12)
    assert texts == [event.text for event in again]


def test_it_is_compiled_once(compiled: Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build(tmp_path / "compiled")
    assert [path.name for path in library.parent.iterdir()] == [library.name]
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert build(tmp_path / "compiled") == library
    with pytest.raises(UserError, match=r"none could not compile product\.cpp"):
        build(tmp_path / "other")


def test_without_a_compiler_the_model_writes_and_the_reason_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    background = Background(lambda: Product(build(tmp_path)))
    assert background.wait() is None
    assert background.trouble == "There is no C++ compiler here. Install g++ or clang++."
    monkeypatch.setattr(window, "suits", lambda model: True)
    monkeypatch.setattr(window, "DecodeStep", lambda model: DecodeStep(model, background))
    assert list(generate(peaked().eval(), byte_level(), PROMPT, Sampling(temperature=0), 4))


def test_a_product_that_computes_something_else_is_refused(compiled: Background) -> None:
    product = compiled.get()
    assert product is not None
    with pytest.raises(UserError, match="computes something else"):
        checked(lambda *args: product(*args) + 1)  # type: ignore[arg-type]
