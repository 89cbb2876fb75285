"""The head and its loss in chunks, against autograd of the plain path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_demo.model import fused_loss
from gpt_demo.model.fused_loss import head_loss, is_worthwhile
from gpt_demo.model.gpt import GPT, GPTConfig

SMALL = {"n_ctx": 8, "n_embd": 16, "n_head": 2, "n_layer": 2}


@pytest.fixture(autouse=True)
def large_means_500(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loss, "FUSED_FROM", 500)


def case(n: int, c: int, v: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, generator=generator).requires_grad_()
    weight = (torch.randn(v, c, generator=generator) / c**0.5).requires_grad_()
    return x, weight, torch.randint(v, (n,), generator=generator)


def with_gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def relative_error(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("n", "c", "v", "rows", "columns"),
    [(1, 1, 1, 1, 1), (7, 3, 5, 64, 4096), (7, 3, 5, 7, 5), (70, 9, 40, 3, 6), (70, 9, 40, 64, 39)],
)
def test_in_float32_it_equals_the_plain_path_for_any_chunks(
    monkeypatch: pytest.MonkeyPatch, n: int, c: int, v: int, rows: int, columns: int
) -> None:
    monkeypatch.setattr(fused_loss, "ROWS", rows)
    monkeypatch.setattr(fused_loss, "COLUMNS", columns)
    x, weight, targets = case(n, c, v)
    plain = with_gradients(F.cross_entropy(x @ weight.t(), targets), x, weight)
    chunked = with_gradients(head_loss(x, weight, targets, torch.float32), x, weight)
    for value, exact in zip(chunked, plain, strict=True):
        torch.testing.assert_close(value, exact, atol=1e-5, rtol=1e-5)


def test_in_bf16_it_is_as_close_to_float32_as_autocast_is() -> None:
    x, weight, targets = case(130, 64, 500)
    exact = with_gradients(F.cross_entropy(x @ weight.t(), targets), x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        plain = F.cross_entropy(F.linear(x, weight), targets)
        chunked = head_loss(x, weight, targets)
    assert chunked.dtype == torch.float32
    assert chunked.item() == pytest.approx(plain.item(), abs=1e-5)
    triples = zip(with_gradients(chunked, x, weight), with_gradients(plain, x, weight), exact, strict=True)
    for value, under_autocast, reference in triples:
        assert value.dtype == torch.float32
        assert relative_error(value, reference) < 1.1 * relative_error(under_autocast, reference) + 1e-6


def test_extreme_logits_keep_loss_and_gradient_finite() -> None:
    x = torch.tensor([[300.0], [-300.0]]).requires_grad_()
    weight = torch.tensor([[1.0], [-1.0], [0.0]]).requires_grad_()
    loss, dx, dweight = with_gradients(head_loss(x, weight, torch.tensor([1, 1])), x, weight)
    assert loss.item() == pytest.approx(300.0)  # 600 nats for the first row, 0 for the second
    assert dx.flatten().tolist() == pytest.approx([1.0, 0.0])
    assert dweight.isfinite().all()


def test_scaled_and_accumulated_losses_scale_and_accumulate_gradients() -> None:
    x, weight, targets = case(6, 4, 11)
    once = with_gradients(head_loss(x, weight, targets, torch.float32), x, weight)
    for part in (0.25, 0.75):
        (head_loss(x, weight, targets, torch.float32) * part).backward()
    torch.testing.assert_close([x.grad, weight.grad], once[1:])


def test_only_the_gradients_asked_for_are_computed() -> None:
    x, weight, targets = case(6, 4, 11)
    assert with_gradients(head_loss(x.detach(), weight, targets), weight)[1].shape == weight.shape
    assert with_gradients(head_loss(x, weight.detach(), targets), x)[1].shape == x.shape
    with torch.no_grad():
        assert not head_loss(x, weight, targets).requires_grad


def test_a_target_outside_the_vocabulary_is_an_error() -> None:
    x, weight, _ = case(2, 4, 11)
    with pytest.raises(RuntimeError):
        head_loss(x, weight, torch.tensor([3, 11]))


@pytest.mark.parametrize(("n_vocab", "bf16"), [(500, False), (300, True), (300, False)])
def test_models_use_plain_cross_entropy_bit_for_bit(n_vocab: int, bf16: bool) -> None:
    ids = torch.randint(n_vocab, (2, 9), generator=torch.Generator().manual_seed(1))
    model = GPT(GPTConfig(n_vocab=n_vocab, **SMALL))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses = model.loss(ids[:, :-1], ids[:, 1:]), model(ids[:, :-1], ids[:, 1:])[1]
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
    assert torch.equal(*losses)
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("tied_head", [True, False])
def test_models_with_a_large_vocabulary_use_chunks_under_autocast(tied_head: bool) -> None:
    ids = torch.randint(500, (2, 9), generator=torch.Generator().manual_seed(1))
    model = GPT(GPTConfig(n_vocab=500, tied_head=tied_head, **SMALL))
    with torch.autocast("cpu", torch.bfloat16):
        assert is_worthwhile(model.head_weight)
        loss, plain = model.loss(ids[:, :-1], ids[:, 1:]), model(ids[:, :-1], ids[:, 1:])[1]
    names, params = zip(*model.named_parameters(), strict=True)
    pairs = zip(names, torch.autograd.grad(loss, params), torch.autograd.grad(plain, params), strict=True)
    assert type(loss.grad_fn).__name__ == "_HeadLossBackward"
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    assert {name: relative_error(a, b) < 0.02 for name, a, b in pairs} == dict.fromkeys(names, True)


def test_float16_autocast_and_plain_float32_are_left_alone() -> None:
    weight = torch.empty(500, 1)
    assert not is_worthwhile(weight)
    with torch.autocast("cpu", torch.float16):
        assert not is_worthwhile(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert is_worthwhile(weight)
        assert not is_worthwhile(weight[:499])
