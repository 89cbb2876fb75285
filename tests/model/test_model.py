"""The model against transformers' GPT-2, against a plain forward written out here, and its own promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT, GPT2_SIZES, MLP, WRITTEN_OUT_TO, GPTConfig, KVCache, _written_out_attention
from gpt_demo.training.config import PRESETS

SHAPES = [
    {"tied_head": True, "qkv_bias": True},
    {"tied_head": True, "qkv_bias": False, "n_head": 1, "n_layer": 3},
    {"tied_head": False, "qkv_bias": True, "n_embd": 48, "n_head": 6},
    {"tied_head": False, "qkv_bias": False, "n_vocab": 61, "n_ctx": 24, "n_embd": 20, "n_head": 2},
    # What models made from GPT-2 change; one at a time and all at once.
    {"activation_function": "gelu"},
    {"layer_norm_epsilon": 0.1},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
    {"n_inner": 24},
    {
        "activation_function": "gelu", "layer_norm_epsilon": 1e-6, "scale_attn_weights": False, "n_inner": 72,
        "scale_attn_by_inverse_layer_idx": True, "n_layer": 3, "qkv_bias": False, "tied_head": False,
    },
]  # fmt: skip
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def lively(model: GPT) -> GPT:
    """Every parameter made to matter: biases and norms are drawn too, not 0 and 1."""
    torch.manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.2)
    return model.eval()


def twin(model: GPT, activation: str | None = None) -> Any:
    """transformers' GPT-2 with the same weights; the bias of query, key and value is 0 where we have none."""
    c = model.config
    config = GPT2Config(
        vocab_size=c.n_vocab, n_positions=c.n_ctx, n_embd=c.n_embd, n_head=c.n_head, n_layer=c.n_layer,
        activation_function=activation or c.activation_function, layer_norm_epsilon=c.layer_norm_epsilon,
        scale_attn_weights=c.scale_attn_weights, n_inner=c.n_inner or None,
        scale_attn_by_inverse_layer_idx=c.scale_attn_by_inverse_layer_idx,
        tie_word_embeddings=c.tied_head, attn_implementation="eager",
    )  # fmt: skip
    other = GPT2LMHeadModel(config).eval()
    state = {("" if k.startswith("lm_head") else "transformer.") + k: v for k, v in model.state_dict().items()}
    for name in other.state_dict():
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            state[name] = state[name].t()  # transformers keeps them as (in, out)
        elif name.endswith("c_attn.bias") and not c.qkv_bias:
            state[name] = torch.zeros(3 * c.n_embd)
        elif name == "lm_head.weight" and c.tied_head:
            state[name] = model.wte.weight.detach()
    other.load_state_dict({k: v.clone() for k, v in state.items()})
    return other


def some_ids(model: GPT, B: int = 2, T: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(model.config.n_vocab, (B, T or model.config.n_ctx), generator=generator)


# Against transformers -------------------------------------------------------------------------------------------------


@shapes
def test_logits_equal_transformers(tiny: Any, shape: dict[str, Any]) -> None:
    model = lively(tiny(**shape))
    ids = some_ids(model)
    with torch.no_grad():
        logits, loss = model(ids)
        assert loss is None
        torch.testing.assert_close(logits, twin(model)(ids).logits, atol=1e-5, rtol=0)
        assert logits.std() > 0.5, "logits this small would be equal by chance"


@shapes
def test_loss_and_gradients_equal_transformers(tiny: Any, shape: dict[str, Any]) -> None:
    model = lively(tiny(**shape))
    other, ids, targets = twin(model), some_ids(model), some_ids(model).flip(1)
    loss = model(ids, targets)[1]
    expected = F.cross_entropy(other(ids).logits.flatten(0, 1), targets.flatten())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    grads = {name.removeprefix("transformer."): p.grad for name, p in other.named_parameters()}
    for name, p in model.named_parameters():
        grad = grads[name].t() if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else grads[name]
        torch.testing.assert_close(p.grad, grad, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@shapes
def test_parameters_are_named_as_in_the_checkpoint(tiny: Any, shape: dict[str, Any]) -> None:
    model = tiny(**shape)
    theirs = {name.removeprefix("transformer.") for name in twin(model).state_dict()}
    missing = {name for name in theirs if name.endswith("c_attn.bias")} if not model.config.qkv_bias else set()
    missing |= {"lm_head.weight"} if model.config.tied_head else set()
    assert set(model.state_dict()) == theirs - missing


@shapes
@pytest.mark.parametrize("chunks", [[16], [1] * 16, [3, 1, 5, 1, 2, 4], [15, 1], [2] * 8], ids=str)
def test_cached_decoding_equals_uncached_and_transformers(tiny: Any, shape: dict[str, Any], chunks: list[int]) -> None:
    model = lively(tiny(**shape))
    ids = some_ids(model, B=3, T=sum(chunks))
    with torch.no_grad():
        whole, theirs = model(ids)[0], twin(model)(ids).logits
        cache = KVCache(model.config, batch=3, capacity=16)
        parts = [model(part, cache=cache)[0] for part in ids.split(chunks, dim=1)]
    assert cache.length == 16
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(parts, dim=1), theirs, atol=1e-5, rtol=0)


def test_gelu_is_the_tanh_approximation(tiny: Any) -> None:
    """Hendrycks and Gimpel 2016. The exact one is off by up to 4.7e-4 per activation, which this would notice."""
    mlp, x = MLP(GPTConfig(n_embd=32, n_head=4)), torch.randn(50, 32)
    a = 4 * mlp.c_fc(x)
    with torch.no_grad():
        mlp.c_fc.weight *= 4
        mlp.c_fc.bias *= 4

    def tanh_gelu(a: Tensor) -> Tensor:
        return 0.5 * a * (1 + torch.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))

    torch.testing.assert_close(mlp(x), mlp.c_proj(tanh_gelu(a)), atol=2e-6, rtol=0)
    assert (mlp(x) - mlp.c_proj(F.gelu(a))).abs().max() > 1e-5
    model = lively(tiny())
    ids = some_ids(model)
    assert (model(ids)[0] - twin(model, activation="gelu")(ids).logits).abs().max() > 1e-4


# Attention ------------------------------------------------------------------------------------------------------------


@shapes
def test_the_written_out_softmax_equals_the_fast_path(tiny: Any, shape: dict[str, Any]) -> None:
    model = lively(tiny(**shape))
    ids = some_ids(model, T=11)
    weights: list[Tensor] = []
    hidden = model.hidden_states(ids, weights=weights)
    torch.testing.assert_close(hidden, model.hidden_states(ids), atol=1e-5, rtol=0)
    assert len(weights) == model.config.n_layer
    for w in weights:
        assert w.shape == (2, model.config.n_head, 11, 11)
        torch.testing.assert_close(w.sum(dim=3), torch.ones(w.shape[:3]), atol=1e-6, rtol=0)
        assert (w >= 0).all()
        assert (w.triu(1) == 0).all(), "a token looks ahead"
        assert (w.tril() > 0).sum() == 2 * model.config.n_head * 66, "a token does not see one before it"


def test_attention_weights_behind_a_cache_are_the_last_rows(tiny: Any) -> None:
    model = lively(tiny())
    ids = some_ids(model)
    whole: list[Tensor] = []
    model.hidden_states(ids, weights=whole)
    cache = KVCache(model.config, batch=2)
    for part in ids.split([9, 6, 1], dim=1):
        rows: list[Tensor] = []
        model.hidden_states(part, cache, rows)
        for w, row in zip(whole, rows, strict=True):
            torch.testing.assert_close(row, w[:, :, cache.length - part.shape[1] : cache.length, : cache.length])


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, 15), new=st.integers(0, 256))
def test_a_token_changes_nothing_before_it(tiny: Any, place: int, new: int) -> None:
    model = lively(tiny(init="pytorch"))
    ids = some_ids(model, B=1)
    changed = ids.clone()
    changed[0, place] = new
    with torch.no_grad():
        before, after = model(ids)[0], model(changed)[0]
    torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=0)
    if new != ids[0, place]:
        assert not torch.allclose(after[:, place:], before[:, place:], atol=1e-4)


def test_a_reordered_cache_goes_on_as_the_other_row(tiny: Any) -> None:
    model = lively(tiny())
    ids, rows = some_ids(model, B=3, T=8), torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        cache = KVCache(model.config, batch=3)
        model(ids[:, :7], cache=cache)
        cache.reorder(rows)
        logits = model(ids[rows][:, 7:], cache=cache)[0]
        torch.testing.assert_close(logits, model(ids)[0][rows][:, 7:], atol=1e-5, rtol=0)


# Dropout --------------------------------------------------------------------------------------------------------------


def plain_forward(model: GPT, ids: Tensor, p: float) -> Tensor:
    """The book's forward pass, written out: dropout at its four places, drawn in this order."""

    def norm(x: Tensor, ln: nn.LayerNorm) -> Tensor:
        variance = x.var(dim=2, keepdim=True, unbiased=False)
        return (x - x.mean(dim=2, keepdim=True)) / (
            variance + model.config.layer_norm_epsilon
        ).sqrt() * ln.weight + ln.bias

    B, T = ids.shape
    H, D = model.config.n_head, model.config.n_embd // model.config.n_head
    x = F.dropout(model.wte.weight[ids] + model.wpe.weight[:T], p)
    for layer, block in enumerate(model.h):
        by = (D**0.5 if model.config.scale_attn_weights else 1) * (
            layer + 1 if model.config.scale_attn_by_inverse_layer_idx else 1
        )
        attn: Any = block.attn
        q, k, v = attn.c_attn(norm(x, block.ln_1)).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        ahead = torch.ones(T, T).triu(1).bool()
        weights = (q @ k.transpose(2, 3)).masked_fill(ahead, -torch.inf).div(by).softmax(dim=3)
        y = F.dropout(weights, p) @ v
        x = x + F.dropout(attn.c_proj(y.transpose(1, 2).reshape(B, T, H * D)), p)
        x = x + F.dropout(block.mlp(norm(x, block.ln_2)), p)
    return F.linear(norm(x, model.ln_f), model.wte.weight if model.lm_head is None else model.lm_head.weight)


@shapes
@pytest.mark.parametrize("explicit", [False, True])
def test_dropout_stands_at_the_books_four_places_in_order(tiny: Any, shape: dict[str, Any], explicit: bool) -> None:
    model = lively(tiny(dropout=0.3, **shape)).train()
    ids = some_ids(model)
    torch.manual_seed(11)
    expected = plain_forward(model, ids, 0.3)
    torch.manual_seed(11)
    logits = model.head(model.hidden_states(ids, weights=[] if explicit else None))
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=0)
    torch.manual_seed(12)
    assert not torch.allclose(model(ids)[0], expected, atol=0.1)


def test_eval_mode_draws_nothing(tiny: Any) -> None:
    model = tiny(dropout=0.5).eval()
    ids, state = some_ids(model), torch.get_rng_state()
    assert torch.equal(model(ids)[0], model(ids)[0])
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model(ids)[0], plain_forward(model, ids, 0.0), atol=1e-5, rtol=0)


# Sizes and initial weights --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    n_vocab=st.integers(1, 300), n_ctx=st.integers(1, 70), n_head=st.integers(1, 4), D=st.integers(1, 9),
    n_layer=st.integers(1, 3), n_inner=st.integers(0, 40), qkv_bias=st.booleans(), tied_head=st.booleans(),
)  # fmt: skip
def test_n_params_is_the_real_count(
    n_vocab: int, n_ctx: int, n_head: int, D: int, n_layer: int, n_inner: int, qkv_bias: bool, tied_head: bool
) -> None:
    config = GPTConfig(
        n_vocab, n_ctx, n_head * D, n_head, n_layer, qkv_bias=qkv_bias, tied_head=tied_head, n_inner=n_inner
    )
    with torch.device("meta"):
        assert config.n_params == sum(p.numel() for p in GPT(config).parameters())


def test_the_sizes_of_gpt2(golden: dict[str, Any]) -> None:
    counts = {name: config.n_params for name, config in GPT2_SIZES.items()}
    assert counts == {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}
    assert {name: GPTConfig(**hparams) for name, hparams in golden["gpt2_sizes"].items()} == GPT2_SIZES
    with torch.device("meta"):
        assert sum(p.numel() for p in GPT(GPT2_SIZES["1558M"]).parameters()) == 1_557_611_200
    # The book's model: its own head (38,597,376), no bias of query, key and value, a shorter context.
    assert PRESETS["book"].model.n_params == 124_439_808 + 50257 * 768 - 12 * 3 * 768 - (1024 - 256) * 768


def test_initial_weights_of_gpt2(tiny: Any) -> None:
    model = tiny(n_vocab=500, n_ctx=300, n_embd=128, n_layer=8, tied_head=False)
    for name, p in model.named_parameters():
        if name.endswith(".bias"):
            assert (p == 0).all(), name
        elif ".ln_" in f".{name}":
            assert (p == 1).all(), name
        else:
            std = {"wpe.weight": 0.01}.get(name, 0.02 / 4 if name.endswith("c_proj.weight") else 0.02)  # 4 = sqrt(2 L)
            assert p.std().item() == pytest.approx(std, rel=0.03), name
            assert abs(p.mean().item()) < 0.03 * std, name


@pytest.mark.parametrize("tied", [False, True])
def test_initial_weights_of_pytorch_are_the_layers_defaults_in_the_books_order(tiny: Any, tied: bool) -> None:
    """The book has three layers for query, key and value; ours, being one, must draw the same numbers."""
    model = tiny("pytorch", seed=123, qkv_bias=False, tied_head=tied)
    expected: dict[str, Tensor] = {}

    def draw(name: str, make: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> None:
        expected.update({f"{name}.{key}": p for key, p in make(*args, **kwargs).named_parameters()})

    with torch.random.fork_rng():
        torch.manual_seed(123)
        draw("wte", nn.Embedding, 257, 32)
        draw("wpe", nn.Embedding, 16, 32)
        for i in range(2):
            qkv = [nn.Linear(32, 32, bias=False).weight for _ in range(3)]
            expected[f"h.{i}.attn.c_attn.weight"] = torch.cat(qkv)
            draw(f"h.{i}.attn.c_proj", nn.Linear, 32, 32)
            draw(f"h.{i}.mlp.c_fc", nn.Linear, 32, 128)
            draw(f"h.{i}.mlp.c_proj", nn.Linear, 128, 32)
        if not tied:
            draw("lm_head", nn.Linear, 32, 257, bias=False)
    actual = {name: p for name, p in model.named_parameters() if "ln_" not in name}
    assert set(actual) == set(expected)
    for name, p in actual.items():
        assert torch.equal(p, expected[name]), name
    assert all(
        (p == (1 if name.endswith("weight") else 0)).all() for name, p in model.named_parameters() if "ln_" in name
    )


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *[({name: 0}, f"{name} is 0") for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")],
        ({"n_layer": -1}, "at least 1"),
        ({"n_embd": 64.0}, "n_embd is 64.0; it must be a whole number"),
        ({"n_embd": 50, "n_head": 4}, r"n_embd \(50\) must be a multiple of n_head \(4\)"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"activation_function": "relu"}, "activation_function is 'relu'; it must be gelu_new or gelu"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is nan"),
        ({"n_inner": -1}, "n_inner is -1"),
        ({"n_inner": 8.0}, "n_inner is 8.0"),
    ],
    ids=str,
)
def test_impossible_shapes_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        GPTConfig(**wrong)


def test_unknown_initial_weights_are_refused(tiny: Any) -> None:
    with pytest.raises(UserError, match="init is 'xavier'; it must be one of gpt2, pytorch"):
        tiny(init="xavier")


def test_too_long_input_is_refused(tiny: Any) -> None:
    model = tiny().eval()
    ids = torch.zeros(1, 17, dtype=torch.int64)
    with pytest.raises(UserError, match="17 tokens do not fit into a context of 16"):
        model(ids)
    cache = KVCache(model.config, capacity=10)
    model(ids[:, :8], cache=cache)
    with pytest.raises(UserError, match="11 tokens do not fit into a context of 10"):
        model(ids[:, :3], cache=cache)
    assert cache.length == 8, "a refused input must leave the cache as it was"
    assert KVCache(model.config, capacity=99).capacity == KVCache(model.config).capacity == 16


@pytest.mark.parametrize("length", [1, 7, 64])
def test_attention_written_out_in_bf16_is_as_exact_as_the_fused_one(length: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 16).requires_grad_() for _ in range(3))
    direction = torch.randn(2, 3, length, 16)

    def results(attend: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        y = attend(*(t.to(dtype) for t in (q, k, v)))
        return [y.float(), *torch.autograd.grad((y.float() * direction).sum(), (q, k, v))]

    fused = partial(F.scaled_dot_product_attention, is_causal=True)
    exact = results(fused, torch.float32)
    errors = [
        [(one - other).norm().item() for one, other in zip(results(attend, torch.bfloat16), exact, strict=True)]
        for attend in (partial(_written_out_attention, scale=0.25, dropout=0.0), fused)
    ]
    for written, other, whole in zip(*errors, exact, strict=True):
        assert written <= 1.5 * other + 1e-5
        assert written <= 0.01 * whole.norm().item() + 1e-5


def test_a_model_in_bf16_attends_as_one_in_fp32_does(tiny: Any) -> None:
    """The two ways, up to and beyond the length to which it is written out, agree with fp32."""
    for length in (WRITTEN_OUT_TO, WRITTEN_OUT_TO + 1):
        model = tiny("pytorch", n_ctx=length, n_layer=1).eval()
        ids = torch.randint(257, (1, length), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            exact = model(ids)[0]
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(ids)[0].float()
        assert (rough - exact).norm() < 0.02 * exact.norm()
