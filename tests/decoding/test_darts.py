"""Darts: where they hit, what a seed means, and the toy vocabulary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_demo.decoding.darts import LARGEST_SEED, MAX_DARTS, dart, draw_toy, hit
from gpt_demo.errors import UserError


def test_darts_are_one_row_of_uniform_numbers_per_seed() -> None:
    row = torch.rand(300, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert [dart(9, i) for i in range(300)] == row.tolist()
    assert dart(9, 5) != dart(10, 5)
    assert 0 <= dart(LARGEST_SEED, MAX_DARTS - 1) < 1


@pytest.mark.parametrize("position", [-1, MAX_DARTS])
def test_positions_out_of_range(position: int) -> None:
    with pytest.raises(UserError, match="out of range"):
        dart(1, position)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    dart(3, 4)
    draw_toy(torch.zeros(3), 1.0, 0, 1, 10)
    assert torch.equal(torch.get_rng_state(), state)


@st.composite
def bars(draw: st.DrawFn) -> Tensor:
    """Probabilities with ties and zeros, and at least one that is none."""
    weights = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 30, 1000]), min_size=1, max_size=30).filter(any))
    return torch.tensor(weights, dtype=torch.float64) / sum(weights)


@settings(max_examples=80, deadline=None)
@given(bars(), st.floats(0, 1, exclude_max=True))
def test_a_dart_hits_the_part_it_falls_into(p: Tensor, u: float) -> None:
    id = hit(p, u)
    order = sorted((i for i in range(len(p)) if p[i] > 0), key=lambda i: (-float(p[i]), i))
    before = sum(float(p[i]) for i in order[: order.index(id)])
    assert before - 1e-12 <= u < before + float(p[id]) + 1e-12


@settings(max_examples=25, deadline=None)
@given(bars())
def test_darts_at_the_ends_and_at_even_distances(p: Tensor) -> None:
    order = sorted((i for i in range(len(p)) if p[i] > 0), key=lambda i: (-float(p[i]), i))
    assert hit(p, 0.0) == order[0]
    assert hit(p, math.nextafter(1.0, 0.0)) == order[-1]
    n = 200
    counts = Counter(hit(p, (i + 0.5) / n) for i in range(n))
    assert all(abs(counts[i] - n * float(p[i])) <= 1 for i in range(len(p)))


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_a_large_vocabulary_is_hit_as_if_all_of_it_were_sorted(levels: int) -> None:
    """With many ties, with few, and with none; and darts into the tail."""
    generator = torch.Generator().manual_seed(levels)
    p = (torch.randint(0, levels, (5000,), generator=generator) / levels * 12).double().softmax(0)
    p[torch.randint(0, 5000, (1000,), generator=generator)] = 0
    order = sorted(range(5000), key=lambda i: (-float(p[i]), i))
    ends = p[order].cumsum(0)
    darts = torch.rand(300, generator=generator, dtype=torch.float64).tolist()
    for u in (*darts, 0.0, 0.99, 0.9999, 1 - 2**-40):
        assert hit(p, u) == order[int((ends <= u * float(p.sum())).sum())]


def test_boundaries_belong_to_the_token_that_begins_there() -> None:
    p = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    assert [hit(p, u) for u in (0.0, 0.499, 0.5, 0.749, 0.75, 0.999)] == [1, 1, 0, 0, 2, 2]


def test_tokens_without_probability_are_never_hit() -> None:
    p = torch.tensor([0.0, 1e-300, 0.0, 1.0, 0.0], dtype=torch.float64)
    assert {hit(p, u) for u in (0.0, 0.5, 1 - 2**-53)} == {3}
    assert hit(torch.tensor([0.0, 1e-40]), 1 - 2**-53) == 1


# The toy vocabulary ---------------------------------------------------------------------------------------------------


def test_the_books_counts_come_out_exactly(golden: Mapping[str, Any]) -> None:
    toy = golden["toy_vocabulary"]
    for temperature, counts in toy["counts_of_1000_draws_seed_123"].items():
        assert draw_toy(torch.tensor(toy["logits"]), float(temperature), 0, 123, 1000) == counts
    three = draw_toy(torch.tensor(toy["logits"]), 1.0, 3, 123, 1000)
    assert [count > 0 for count in three] == [p > 0 for p in toy["top_k_3_probabilities"]]


@pytest.mark.parametrize(
    ("words", "temperature", "draws"), [(9, 1.0, 0), (9, 1.0, 10_001), (0, 1.0, 5), (1001, 1.0, 5), (9, 0.0, 5)]
)
def test_bad_toys_are_refused(words: int, temperature: float, draws: int) -> None:
    with pytest.raises(UserError):
        draw_toy(torch.zeros(words), temperature, 0, 1, draws)
