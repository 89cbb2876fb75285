"""What a model thinks of a given text, against what it said when it wrote it."""

from __future__ import annotations

import pytest
from conftest import Tiny

from gpt_demo.decoding.race import Drawn, Lane, race
from gpt_demo.decoding.scores import token_scores
from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError

N_VOCAB = 250  # the tokenizer's; the model has more


@pytest.mark.parametrize(("prompt", "count"), [(1, 10), (3, 40), (20, 30)])
def test_scores_are_what_was_said_while_writing(tiny: Tiny, prompt: int, count: int) -> None:
    model = tiny().eval()  # n_ctx 16: the window slides
    start = list(range(prompt))
    drawn = list(race(model, N_VOCAB, start, [Lane("", chain(temperature=1.2))], 1, count, None))
    scores = token_scores(model, N_VOCAB, start + [token.id for token in drawn if isinstance(token, Drawn)], prompt)
    assert len(scores) == count
    for score, token in zip(scores, drawn, strict=True):
        assert isinstance(token, Drawn)
        assert score.logprob == pytest.approx(token.raw_logprob, abs=1e-5)
        assert score.entropy == pytest.approx(token.entropy, abs=1e-5)
        assert score.rank == token.rank


def test_any_part_of_a_text_can_be_asked_for(tiny: Tiny) -> None:
    model, ids = tiny().eval(), [i * 7 % N_VOCAB for i in range(40)]
    whole = token_scores(model, N_VOCAB, ids, 1)
    for first, last in [(1, 5), (10, 17), (16, 17), (17, 18), (12, 30), (39, 99)]:
        part = token_scores(model, N_VOCAB, ids, first, last)
        assert [score.rank for score in part] == [score.rank for score in whole[first - 1 : last - 1]]
    assert token_scores(model, N_VOCAB, ids, 40) == []


@pytest.mark.parametrize("first", [0, -1, 4])
def test_nothing_before_it_or_no_such_token(tiny: Tiny, first: int) -> None:
    with pytest.raises(UserError, match="can't be scored"):
        token_scores(tiny(), N_VOCAB, [1, 2, 3], first)
