"""Loss and perplexity weighted by tokens, and the lines they are compared with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import Measured
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.evaluation import evaluate, mean_loss, perplexity

BYTES = byte_level()


def surprises(model: GPT, ids: list[int]) -> list[float]:
    """Minus the log-probability of every token but the first, one by one, each window of n_ctx starting afresh."""
    n_ctx, found = model.config.n_ctx, []
    with torch.no_grad():
        for i in range(1, len(ids)):
            start = (i - 1) // n_ctx * n_ctx
            logits = model(torch.tensor([ids[start:i]]))[0][0, -1]
            found.append(-float(logits.double().log_softmax(0)[ids[i]]))
    return found


# Perplexity -----------------------------------------------------------------------------------------------------------


def test_perplexity_is_exp_of_the_total_over_all_tokens(tiny: Any) -> None:
    """With windows of 16, 16 and 3 tokens; the mean of exp and the unweighted mean of windows are both far off."""
    model = tiny("pytorch").eval()
    text = "\x01\x02\x03 what follows? aaaaaaaaaaaaaaaaaa"
    ids = BYTES.encode(text)
    assert len(ids) == 36
    each = surprises(model, ids)
    [measured] = evaluate(model, BYTES, text)
    assert measured == Measured(pytest.approx(sum(each) / 35, abs=1e-5), pytest.approx(math.exp(sum(each) / 35)), 35)
    windows = [sum(part) / len(part) for part in (each[:16], each[16:32], each[32:])]
    assert abs(sum(map(math.exp, windows)) / 3 - measured.perplexity) > 0.1 * measured.perplexity
    assert abs(math.exp(sum(windows) / 3) - measured.perplexity) > 0.01 * measured.perplexity


def test_perplexity_of_any_loss() -> None:
    assert perplexity(0.0) == 1
    assert perplexity(math.log(50257)) == pytest.approx(50257)
    assert perplexity(800.0) == perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


@settings(deadline=None, max_examples=40)
@given(length=st.integers(2, 70))
def test_every_token_but_the_first_counts_once(tiny: Any, length: int) -> None:
    model = tiny("pytorch").eval()
    text = "".join(chr(33 + i) for i in range(length))
    [measured] = evaluate(model, BYTES, text)
    assert measured.tokens == length - 1
    assert measured.loss == pytest.approx(sum(surprises(model, BYTES.encode(text))) / (length - 1), abs=1e-5)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1)])
def test_too_short_a_text_is_refused(tiny: Any, text: str, count: int) -> None:
    with pytest.raises(UserError, match=f"has {count} tokens; at least 2"):
        list(evaluate(tiny(), BYTES, text))


# Batches --------------------------------------------------------------------------------------------------------------


def pairs(model: GPT, *sizes: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [tuple(torch.randint(257, size, generator=generator) for _ in "xy") for size in sizes]  # type: ignore[misc]


def test_batches_of_any_size_weigh_by_their_tokens(tiny: Any) -> None:
    model = tiny("pytorch").eval()
    batches = pairs(model, (4, 16), (1, 3), (2, 7))
    total = sum(
        float(F.cross_entropy(model(x)[0].flatten(0, 1), y.flatten(), reduction="sum").detach()) for x, y in batches
    )
    assert mean_loss(model, batches) == (pytest.approx(total / 81, abs=1e-5), 81)


def test_no_batches_have_no_loss(tiny: Any) -> None:
    loss, tokens = mean_loss(tiny(), [])
    assert math.isnan(loss)
    assert tokens == 0


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(tiny: Any, training: bool) -> None:
    model = tiny("pytorch", dropout=0.5).train(training)
    batches = pairs(model, (2, 16))
    state = torch.get_rng_state()
    assert mean_loss(model, batches) == mean_loss(model, batches)
    assert model.training is training
    with pytest.raises(UserError, match="17 tokens"):
        mean_loss(model, [*batches, *pairs(model, (1, 17))])
    assert model.training is training
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_bf16_measures_about_the_same(tiny: Any) -> None:
    model = tiny("pytorch")
    batches = pairs(model, (4, 16))
    exact, rough = (mean_loss(model, batches, precision)[0] for precision in ("fp32", "bf16"))
    assert rough == pytest.approx(exact, rel=0.01)
    assert rough != exact
