"""One text under two models: segments that fit both, and divergences that are divergences."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_demo.compare.contrast import MOST_TOKENS, Contrast, contrast, jensen_shannon
from gpt_demo.compare.losses import Measuring
from gpt_demo.errors import UserError
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import byte_level, gpt2, train_bpe

TEXT = sample_story()[:120] + " naïve 日本 🙂."
BPE = train_bpe(sample_story(), 600)


def whole(first: Any, second: Any, text: str) -> Contrast:
    """What both models, loaded by name, make of the text."""
    *_, last = contrast(("a", "b"), {"a": first, "b": second}.__getitem__, text)
    assert isinstance(last, Contrast)
    return last


def models(tiny: Any, first: Any, second: Any, **shape: Any) -> Any:
    return [
        (tiny(seed=i, n_vocab=tokenizer.n_vocab, n_ctx=(400, 24)[i], **shape).eval(), tokenizer)
        for i, tokenizer in enumerate((first, second))
    ]


@pytest.mark.parametrize("tokenizers", [(byte_level(), BPE), (BPE, byte_level()), (BPE, BPE), (BPE, gpt2())], ids=str)
def test_segments_are_the_text_and_their_log_probabilities_that_of_the_whole(tiny: Any, tokenizers: Any) -> None:
    found = whole(*models(tiny, *tokenizers, n_embd=8), TEXT)
    assert "".join(segment.text for segment in found.segments) == TEXT
    for side, tokenizer in enumerate(tokenizers):
        count = len(tokenizer.encode(TEXT))
        assert sum(segment.tokens[side] for segment in found.segments) == count == found.tokens[side]
        total = sum(segment.logprobs[side] for segment in found.segments)
        assert found.losses[side] == pytest.approx(-total / count)
        assert found.perplexities[side] == pytest.approx(math.exp(found.losses[side]))
        assert found.bits_per_byte[side] == pytest.approx(-total / len(TEXT.encode()) / math.log(2))
    shared = tokenizers[0] is tokenizers[1]
    assert all((segment.divergence is not None) == shared for segment in found.segments)


def test_log_probabilities_are_the_models_own(tiny: Any) -> None:
    (model, tokenizer), _ = pair = models(tiny, byte_level(), byte_level())
    found = whole(*pair, "A cat sat.")
    ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode("A cat sat.")]])
    with torch.no_grad():
        rows = model(ids[:, :-1])[0][0].double().log_softmax(1)
    expected = rows.gather(1, ids[0, 1:, None])[:, 0].tolist()
    assert [segment.logprobs[0] for segment in found.segments] == pytest.approx(expected, abs=1e-5)


def test_a_model_does_not_differ_from_itself(tiny: Any) -> None:
    model = tiny().eval(), byte_level()
    found = whole(model, model, "The same text.")
    assert [(s.logprobs[1] - s.logprobs[0], s.divergence) for s in found.segments] == [(0.0, 0.0)] * 14
    assert found.losses[0] == found.losses[1]


def test_the_first_model_is_let_go_before_the_second_comes(tiny: Any) -> None:
    """Both together might not fit into memory."""
    alive = []

    def load(name: str) -> Any:
        assert [ref() for ref in alive] == [None] * len(alive)
        model = tiny(seed=len(alive)).eval()
        alive.append(weakref.ref(model))
        return model, byte_level()

    events = list(contrast(("a", "b"), load, "A cat."))
    assert events[:-1] == [Measuring(name, i, 6) for name in "ab" for i in range(1, 7)]
    assert '"event": "contrasted"' in events[-1].to_json()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4), st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_the_divergence_is_symmetric_and_within_its_bounds(a: list[float], b: list[float]) -> None:
    p, q = (torch.tensor(row, dtype=torch.float64).log_softmax(0) for row in (a, b))
    mixture = (p.exp() + q.exp()) / 2
    expected = sum(float((one.exp() * (one - mixture.log())).sum()) for one in (p, q)) / 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert 0 <= jensen_shannon(p, q) <= math.log(2) + 1e-9


def test_distributions_that_share_nothing_differ_by_ln_2() -> None:
    p, q = torch.tensor([0.0, -math.inf]), torch.tensor([-math.inf, 0.0])
    assert jensen_shannon(p, q) == pytest.approx(math.log(2))


def test_too_little_and_too_much_text_is_said(tiny: Any) -> None:
    model = tiny().eval(), byte_level()
    with pytest.raises(UserError, match="has 0 tokens; 1 to 1,024"):
        whole(model, model, "")
    with pytest.raises(UserError, match="has 1,025 tokens"):
        whole(model, model, "x" * (MOST_TOKENS + 1))
