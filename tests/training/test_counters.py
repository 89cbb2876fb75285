"""The rulers of a loss: counters trained on one text and scored on another."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_demo.runs.preparing import prepare
from gpt_demo.text.samples import sample_story
from gpt_demo.training.config import preset
from gpt_demo.training.counters import reference_losses

A, B, C, D = range(4)


def test_by_hand() -> None:
    """Of "abac" b and c come once, a twice, d never: 3 of 4 tokens, 4 seen. After a: b or c, 2 seen, 2 different."""
    found = reference_losses(torch.tensor([A, B, A, C]), torch.tensor([B, A, B, D]), 4)
    p = {A: (2 + 3 / 4) / 7, B: (1 + 3 / 4) / 7, D: 3 / 4 / 7}
    after = [(1 + p[A]) / 2, (1 + 2 * p[B]) / 4, (0 + p[D]) / 2]  # b a, a b, b d
    assert found["uniform"] == pytest.approx(math.log(4))
    assert found["unigram"] == pytest.approx(-(math.log(p[A]) + math.log(p[B]) + math.log(p[D])) / 3)
    assert found["bigram"] == pytest.approx(-sum(map(math.log, after)) / 3)
    assert list(found) == ["uniform", "unigram", "bigram"]


def test_after_a_token_that_nothing_followed_the_bigram_is_the_unigram() -> None:
    found = reference_losses(torch.tensor([A, A, A, C]), torch.tensor([C, A]), 4)
    assert found["bigram"] == found["unigram"] == pytest.approx(-math.log((3 + 2 / 4) / 6))


def test_without_a_validation_text_they_are_called_in_sample() -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    assert list(reference_losses(torch.tensor([A, B, A]), nothing, 4)) == [
        "uniform", "unigram_in_sample", "bigram_in_sample",
    ]  # fmt: skip
    assert list(reference_losses(nothing, nothing, 4)) == ["uniform"]


@settings(deadline=None, max_examples=100)
@given(ids=st.lists(st.integers(0, 5), min_size=1, max_size=40), before=st.integers(0, 5))
def test_every_probability_is_above_zero_and_they_add_up_to_one(ids: list[int], before: int) -> None:
    train = torch.tensor(ids)

    def losses(token: int, kind: str) -> Tensor:
        return torch.tensor(reference_losses(train, torch.tensor([before, token]), 6)[kind], dtype=torch.double)

    for kind in ("unigram", "bigram"):
        assert float(sum(torch.exp(-losses(token, kind)) for token in range(6))) == pytest.approx(1)


def test_on_the_story_they_are_what_another_program_has_counted() -> None:
    """In the text itself a pair of tokens costs 2.44 nats; on text that was not counted, 4.17."""
    prepared = prepare(sample_story(), preset("quick"))
    found = reference_losses(prepared.split.train, prepared.split.val, prepared.config.model.n_vocab)
    assert (found["unigram"], found["bigram"]) == (pytest.approx(5.72, abs=0.005), pytest.approx(4.17, abs=0.005))
