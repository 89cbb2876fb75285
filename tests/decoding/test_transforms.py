"""Transforms against transformers' processors, the book's figures, and what must hold for every row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as reference

from gpt_demo.decoding.transforms import MinP, RepetitionPenalty, Temperature, TopK, TopP, Transform, chain, trace
from gpt_demo.errors import UserError

NO_IDS = torch.empty(1, 0, dtype=torch.int64)
PROBABILITIES = (0.5, 0.3, 0.15, 0.05)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other cost far more than they save here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def row(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def kept(transform: Transform, logits: Tensor) -> list[int]:
    """The ids that stay in the first row."""
    return (transform(logits, NO_IDS)[0] > -torch.inf).nonzero()[:, 0].tolist()


def random_rows(n_vocab: int = 1000, rows: int = 2, spread: float = 3.0, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Logits with a few -inf, and ids with repetitions."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, n_vocab, generator=generator) * spread - 1
    logits[torch.rand(rows, n_vocab, generator=generator) < 0.05] = -torch.inf
    return logits, torch.randint(n_vocab, (rows, 200), generator=generator)


PAIRS = [
    (RepetitionPenalty(1.3), reference.RepetitionPenaltyLogitsProcessor(1.3)),
    (RepetitionPenalty(0.7), reference.RepetitionPenaltyLogitsProcessor(0.7)),
    (Temperature(0.3), reference.TemperatureLogitsWarper(0.3)),
    (Temperature(2.5), reference.TemperatureLogitsWarper(2.5)),
    (TopK(1), reference.TopKLogitsWarper(1)),
    (TopK(40), reference.TopKLogitsWarper(40)),
    (TopK(10_000_000), reference.TopKLogitsWarper(10_000_000)),
    (TopP(0.1), reference.TopPLogitsWarper(0.1)),
    (TopP(0.9), reference.TopPLogitsWarper(0.9)),
    (TopP(0.999), reference.TopPLogitsWarper(0.999)),
    (MinP(0.02), reference.MinPLogitsWarper(0.02)),
    (MinP(1.0), reference.MinPLogitsWarper(1.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[str(ours) for ours, _ in PAIRS])
@pytest.mark.parametrize(("n_vocab", "spread"), [(1000, 0.5), (50257, 3.0)])
def test_equals_transformers(ours: Transform, theirs: Any, n_vocab: int, spread: float) -> None:
    logits, ids = random_rows(n_vocab, spread=spread)
    before = logits.clone()
    torch.testing.assert_close(ours(logits, ids), theirs(ids, logits.clone()), rtol=1e-6, atol=1e-6)
    assert torch.equal(logits, before), "changed in place"


def test_chain_equals_transformers_in_the_same_order() -> None:
    logits, ids = random_rows()
    ours: Any = logits
    theirs: Any = logits
    for transform in chain(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.2):
        ours = transform(ours, ids)
    processors: list[Any] = [
        reference.RepetitionPenaltyLogitsProcessor(1.2),
        reference.TemperatureLogitsWarper(0.8),
        reference.TopKLogitsWarper(50),
        reference.TopPLogitsWarper(0.9),
        reference.MinPLogitsWarper(0.02),
    ]
    for processor in processors:
        theirs = processor(ids, theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_top_k_keeps_exactly_k_and_of_equal_ones_the_lowest_ids() -> None:
    assert kept(TopK(2), torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0]])) == [1, 2]
    assert kept(TopK(3), torch.tensor([[1.0, 2.0, 1.0, 1.0, 5.0]])) == [0, 1, 4]
    assert kept(TopK(4), torch.zeros(1, 9)) == [0, 1, 2, 3]


def test_top_k_off_or_beyond_the_vocabulary_keeps_all() -> None:
    logits = torch.randn(2, 5)
    for k in (0, 5, 6, 10**9):
        assert torch.equal(TopK(k)(logits, NO_IDS), logits)


def test_top_k_counts_removed_tokens_as_the_last() -> None:
    assert kept(TopK(2), torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0]])) == [1, 3]
    assert kept(TopK(3), torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0]])) == [1, 3]


@pytest.mark.parametrize(("p", "expected"), [(0.4, 1), (0.5, 1), (0.7, 2), (0.81, 3), (0.94, 3), (0.96, 4), (1.0, 4)])
def test_top_p_keeps_the_token_that_crosses(p: float, expected: int) -> None:
    assert kept(TopP(p), row(*PROBABILITIES)) == list(range(expected))


def test_top_p_of_equal_ones_keeps_the_lowest_ids() -> None:
    assert kept(TopP(0.5), torch.zeros(1, 8)) == [0, 1, 2, 3]
    assert kept(TopP(0.4), row(0.2, 0.3, 0.3, 0.2)) == [1, 2]
    assert kept(TopP(0.7), row(0.2, 0.3, 0.3, 0.2)) == [0, 1, 2]


def test_top_p_of_one_is_off_exactly() -> None:
    logits = torch.randn(1, 50257) * 8  # the float32 sum of these passes 1 early
    assert torch.equal(TopP(1.0)(logits, NO_IDS), logits)


def test_top_p_never_removes_the_most_probable() -> None:
    logits = torch.randn(1, 1000)
    assert kept(TopP(1e-30), logits) == [int(logits.argmax())]


@pytest.mark.parametrize(("p", "expected"), [(0.0, 4), (0.09, 4), (0.2, 3), (0.59, 2), (0.61, 1), (1.0, 1)])
def test_min_p_is_a_share_of_the_highest(p: float, expected: int) -> None:
    assert kept(MinP(p), row(*PROBABILITIES)) == list(range(expected))


def test_min_p_of_zero_keeps_what_underflows() -> None:
    logits = torch.tensor([[0.0, -1000.0]])
    assert torch.equal(MinP(0.0)(logits, NO_IDS), logits)


def test_repetition_penalty_lowers_seen_tokens_once_whatever_their_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0, 0.0, -torch.inf]])
    penalised = RepetitionPenalty(2.0)(logits, torch.tensor([[0, 1, 0, 0, 1, 4, 5]]))
    assert penalised.tolist() == [[1.0, -4.0, 2.0, -2.0, 0.0, -torch.inf]]
    assert torch.equal(RepetitionPenalty(2.0)(logits, NO_IDS), logits)


SAMPLE = (RepetitionPenalty(1.5), Temperature(0.5), TopK(5), TopP(0.8), MinP(0.1))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.sampled_from([-torch.inf, -50.0, -1.0, 0.0, 0.5, 0.5, 3.0, 200.0]), min_size=1, max_size=30),
    order=st.sampled_from(list(permutations(SAMPLE))),
    top_p=st.sampled_from([1e-12, 0.5, 1 - 1e-9]),
)
def test_any_order_keeps_a_token_revives_none_and_makes_no_nan(
    values: list[float], order: tuple[Transform, ...], top_p: float
) -> None:
    logits = torch.tensor([[*values, 1.0]])
    for transform in (*order, TopP(top_p)):
        after = transform(logits, torch.tensor([[0, len(values)]]))
        assert not after.isnan().any()
        assert not (after[logits == -torch.inf] > -torch.inf).any()
        assert (after > -torch.inf).any()
        logits = after


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_extreme_factors_make_no_nan(scale: float) -> None:
    logits = torch.tensor([[500.0, -500.0, 0.0, -torch.inf]])
    for factor in (1e-9, 1e9):
        after = Temperature(factor)(RepetitionPenalty(scale)(logits, torch.tensor([[0, 1, 3]])), NO_IDS)
        assert not after.softmax(dim=1).isnan().any()


BAD: list[tuple[type[Transform], list[Any]]] = [
    (RepetitionPenalty, [0, 0.0, -1.0]),
    (Temperature, [0, 0.0, -0.5]),
    (TopK, [-1, 2.0, 2.5]),
    (TopP, [0, 0.0, -0.1, 1.1]),
    (MinP, [-0.1, 1.1]),
]


@pytest.mark.parametrize(
    ("transform", "value"),
    [(cls, v) for cls, values in BAD for v in [*values, math.nan, math.inf, -math.inf, True, False, "1", None]],
)
def test_bad_values_get_a_sentence(transform: type[Any], value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{transform.name} is .*; it must be a (whole )?number .*\.$"):
        transform(value)


def test_chain_leaves_out_what_is_off_and_checks_all() -> None:
    assert chain() == ()
    assert chain(0.7, 5, 0.9, 0.1, 1.2) == (RepetitionPenalty(1.2), Temperature(0.7), TopK(5), TopP(0.9), MinP(0.1))
    assert chain(top_p=0.5) == (TopP(0.5),)
    for bad in ({"temperature": 0}, {"temperature": True}, {"top_p": True}, {"min_p": False}, {"top_k": False}):
        with pytest.raises(UserError):
            chain(**bad)


def test_toy_vocabulary_of_the_book_to_the_last_count(golden: dict[str, Any]) -> None:
    toy = golden["toy_vocabulary"]
    logits = torch.tensor([toy["logits"]])
    for temperature, counts in toy["counts_of_1000_draws_seed_123"].items():
        generator = torch.Generator().manual_seed(123)
        probabilities = Temperature(float(temperature))(logits, NO_IDS).softmax(dim=1)
        draws = [int(torch.multinomial(probabilities, 1, generator=generator)) for _ in range(1000)]
        assert torch.tensor(draws).bincount(minlength=len(counts)).tolist() == counts
    assert [round(p, 4) for p in TopK(3)(logits, NO_IDS).softmax(dim=1)[0].tolist()] == toy["top_k_3_probabilities"]


def test_trace_of_a_row_that_can_be_checked_by_hand() -> None:
    model, top_k, top_p = trace(row(*PROBABILITIES), NO_IDS, chain(top_k=3, top_p=0.6))
    assert [s.name for s in (model, top_k, top_p)] == ["model", "top_k", "top_p"]
    assert [s.kept for s in (model, top_k, top_p)] == [4, 3, 2]
    assert [s.removed_mass for s in (model, top_k, top_p)] == pytest.approx([0, 0.05, 0.15 / 0.95])
    assert [s.renormalizer for s in (model, top_k, top_p)] == pytest.approx([1, 1 / 0.95, 0.95 / 0.8])
    assert top_p.probabilities.tolist() == pytest.approx([0.625, 0.375, 0, 0])
    assert top_p.entropy == pytest.approx(-0.625 * math.log(0.625) - 0.375 * math.log(0.375))
    assert top_p.perplexity == pytest.approx(math.exp(top_p.entropy))


def test_trace_counts_the_equal_tokens_that_a_cut_dropped() -> None:
    """transformers keeps them all: of 2, 1, 1, 1, 1, 0 top-k 3 drops two equals, and top-p as many."""
    logits, ids = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 0.0]), torch.tensor([[0]])
    for transforms, ties in (
        ([TopK(3)], [0, 2]), ([TopK(5)], [0, 0]), ([TopK(1)], [0, 0]), ([TopP(0.6)], [0, 2]),
        ([TopK(4), TopP(0.6), MinP(0.5)], [0, 1, 2, 0]), ([MinP(0.9)], [0, 0]),
    ):  # fmt: skip
        assert [stage.ties for stage in trace(logits, ids, transforms)] == ties


def test_trace_names_every_stage_and_ends_with_what_is_drawn_from() -> None:
    logits, ids = random_rows(50257, rows=1)
    transforms = chain(0.8, 50, 0.9, 0.02, 1.2)
    stages = trace(logits[0].requires_grad_(), ids, transforms)
    assert [s.name for s in stages] == ["model", "repetition_penalty", "temperature", "top_k", "top_p", "min_p"]
    for before, after, transform in zip(stages, stages[1:], transforms, strict=False):
        assert torch.equal(after.logits, transform(before.logits[None], ids)[0])
        survivors = after.logits > -torch.inf
        assert after.kept == int(survivors.sum()) <= before.kept
        assert 1 / after.renormalizer == pytest.approx(before.probabilities[survivors].sum().item(), abs=1e-5)
        assert after.probabilities.sum().item() == pytest.approx(1, abs=1e-5)
        assert not after.logits.requires_grad
        if after.name.startswith(("top", "min")):
            expected = before.probabilities[survivors] * after.renormalizer
            torch.testing.assert_close(after.probabilities[survivors], expected, rtol=1e-4, atol=1e-7)
        else:
            assert (after.removed_mass, after.renormalizer) == (0, 1)


def test_trace_of_a_certain_row_has_no_entropy() -> None:
    (stage,) = trace(torch.tensor([5.0, -torch.inf]), NO_IDS, ())
    assert (stage.kept, stage.entropy, stage.perplexity) == (1, 0, 1)
