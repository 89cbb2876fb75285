"""Beam search against transformers and against itself without a cache, and its best path as text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from conftest import Tiny
from peaked import PROMPT, peaked, transformers_twin

from gpt_demo.decoding.beams import BeamsAdvanced, Hypothesis, beam_search
from gpt_demo.decoding.generate import Sampling, generate, generate_beams
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import byte_level

GREEDY = Sampling(temperature=0)
TOKENIZER = byte_level()
TEXT = "The old town"


def beams(
    model: GPT, n: int, new: int, *more: Any, prompt: list[int] | None = None, **named: Any
) -> list[BeamsAdvanced]:
    return list(beam_search(model, prompt or PROMPT, n, new, *more, **named))


def assert_equals_transformers(
    model: GPT, n: int, new: int, penalty: float, end: int | None, early: bool | str = False
) -> list[BeamsAdvanced]:
    theirs = transformers_twin(model).generate(
        torch.tensor([PROMPT]),
        num_beams=n,
        num_return_sequences=n,
        do_sample=False,
        max_new_tokens=new,
        length_penalty=penalty,
        early_stopping=early,
        eos_token_id=end,
        pad_token_id=0 if end is None else end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    events = beams(model, n, new, penalty, end, early)
    best = events[-1].best
    for ours, ids in zip(best, theirs.sequences[:, len(PROMPT) :].tolist(), strict=True):
        assert list(ours.ids) == ids[: len(ours.ids)]
        assert all(id == end for id in ids[len(ours.ids) :]), "longer than ours"
    if n > 1:  # with one beam transformers decodes greedily and gives no scores of sequences
        assert [h.score for h in best] == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)
    return events


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_beam_search_equals_transformers(n: int, penalty: float) -> None:
    for seed in (1, 2):
        events = assert_equals_transformers(peaked(60, seed=seed), n, 10, penalty, None)
        assert [len(h.ids) for h in events[-1].best] == [10] * n


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0, 2.0])
def test_beam_search_equals_transformers_where_texts_end(penalty: float, early: bool | str) -> None:
    ended, lengths = 0, set()
    for n, seed in ((2, 1), (4, 2), (4, 4)):
        model = peaked(60, seed=seed, width=0.5)
        path = beams(model, n, 12)[-1].best
        for end in {path[0].ids[2], path[-1].ids[5]}:  # met early by the best path, later by another
            events = assert_equals_transformers(model, n, 12, penalty, end, early)
            ended += sum(h.id == end for event in events for h in event.finished)
            lengths.add(len(events))
    assert ended > 6
    assert early == "never" or penalty == 2 or min(lengths) < 12, "the search never ended early"


def test_one_beam_is_greedy() -> None:
    model = peaked(n_ctx=16)
    (best,) = beams(model, 1, 30)[-1].best
    *tokens, _ = generate(model, TOKENIZER, PROMPT, GREEDY, 30, stop_at_end_of_text=False)
    assert list(best.ids) == [t.id for t in tokens if isinstance(t, TokenChosen)]
    assert best.logprob == pytest.approx(sum(t.logprob for t in tokens if isinstance(t, TokenChosen)), abs=1e-4)


@pytest.mark.parametrize("n_ctx", [12, 48])
def test_cached_beams_equal_uncached_ones(n_ctx: int) -> None:
    for seed in (1, 2, 3):
        model = peaked(100, n_ctx, seed, 0.5)
        cached, uncached = (beams(model, 4, 20, 1.0, 7, use_cache=on) for on in (True, False))
        for a, b in zip(cached, uncached, strict=True):
            assert [(h.ids, h.parent) for h in a.live] == [(h.ids, h.parent) for h in b.live]
            assert [h.logprob for h in a.live] == pytest.approx([h.logprob for h in b.live], abs=1e-4)
        assert [h.ids for h in cached[-1].best] == [h.ids for h in uncached[-1].best]


def test_beams_of_equal_logits_take_the_lowest_ids() -> None:
    model = peaked(60, seed=6)
    flat = GPT(model.config).eval()
    assert flat.lm_head is not None
    torch.nn.init.zeros_(flat.lm_head.weight)
    first, second = beams(flat, 3, 2)
    assert [h.ids for h in first.live] == [(0,), (1,), (2,)]
    assert [h.ids for h in second.best] == [(0, 0), (0, 1), (0, 2)]


def test_the_tree_of_hypotheses_holds_together() -> None:
    model = peaked(60, seed=2, width=0.5)
    end = beams(model, 4, 12)[-1].best[0].ids[3]
    before: tuple[Hypothesis, ...] = (Hypothesis((), 0.0, 0.0, 0, False),)
    events = beams(model, 4, 12, 1.5, end)
    for step, event in enumerate(events):
        assert event.step == step
        everyone = (*event.live, *event.finished, *event.pruned)
        assert len({h.ids for h in everyone}) == len(everyone) == 8
        for h in everyone:
            assert h.ids[:-1] == before[h.parent].ids
            assert h.id == h.ids[-1]
            assert h.logprob <= before[h.parent].logprob
            assert h.score == pytest.approx(h.logprob / (step + 1) ** 1.5)
            assert h.finished == (h.id == end or step == 11)
        assert [h.logprob for h in event.live] == sorted((h.logprob for h in event.live), reverse=True)
        assert max(h.logprob for h in event.pruned) <= min(h.logprob for h in event.live or event.finished)
        before = event.live
    finished = sorted((h for e in events for h in e.finished), key=lambda h: -h.score)
    assert list(events[-1].best) == finished[:4]


def test_a_vocabulary_smaller_than_the_beams() -> None:
    events = beams(peaked(3), 8, 3, 0.0, prompt=[1])
    assert [len(e.live) for e in events] == [3, 8, 0]
    assert [len(e.best) for e in events] == [0, 0, 8]


def test_beam_events_have_a_json_form() -> None:
    record = json.loads(beams(peaked(60), 2, 3)[0].to_json())
    assert record["event"] == "beams"
    assert set(record["live"][0]) == {"ids", "logprob", "score", "parent", "finished"}


def test_bad_beam_settings_are_refused_at_the_call() -> None:
    model = peaked(60)
    for n_beams in (0, 65, True, 2.0):
        with pytest.raises(UserError, match="n_beams"):
            beam_search(model, PROMPT, n_beams, 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="length_penalty"):
        beam_search(model, PROMPT, 2, 5, math.nan)
    with pytest.raises(UserError, match="early_stopping"):
        beam_search(model, PROMPT, 2, 5, 1.0, None, "always")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="The prompt is empty"):
        beam_search(model, [], 2, 5)
    assert beams(model, 2, 4, 1.0, 9, prompt=[9])[-1] == list(beam_search(model, [], 2, 4, 1.0, 9))[-1]


# As text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, 0, 3])
def test_beam_job_tells_the_best_hypothesis(tiny: Tiny, end: int | None) -> None:
    """With the end-of-text token made likely, or never the best."""
    model, tokenizer = tiny(seed=2).eval(), byte_level()
    with torch.no_grad():
        model.wte.weight[256] *= -1 if end is None else 1 + end
    ids = tokenizer.encode(TEXT)
    *_, last = beam_search(model, ids, 3, 6, 1.0, tokenizer.end_of_text)
    *tokens, finished = generate_beams(model, tokenizer, TEXT, 3, 1.0, 6)
    chosen = [event for event in tokens if isinstance(event, TokenChosen)]
    assert tuple(event.id for event in chosen) == last.best[0].ids
    assert math.fsum(event.logprob for event in chosen) == pytest.approx(last.best[0].logprob)
    assert isinstance(finished, Generated)
    kept = [id for id in last.best[0].ids if id != tokenizer.end_of_text]
    assert finished.text == TEXT + tokenizer.decode(kept) == TEXT + "".join(event.text for event in chosen)
    assert finished.reason == ("length" if len(kept) == len(chosen) else "end_of_text")
    assert finished.tokens == len(chosen)


def test_beams_choose_no_id_beyond_the_tokenizer(tiny: Tiny) -> None:
    model, tokenizer = tiny(n_vocab=300, tied_head=False).eval(), byte_level()
    assert model.lm_head is not None
    with torch.no_grad():
        model.lm_head.weight[257:] = 3 * model.lm_head.weight[:43]
    ids = tokenizer.encode(TEXT)
    free = [h.ids for step in beam_search(model, ids, 3, 6) for h in step.live]
    assert max(map(max, free)) >= tokenizer.n_vocab  # else the test shows nothing
    held = [h.ids for step in beam_search(model, ids, 3, 6, n_vocab=tokenizer.n_vocab) for h in step.live]
    assert max(map(max, held)) < tokenizer.n_vocab
    told = [event.id for event in generate_beams(model, tokenizer, TEXT, 3, 1.0, 6) if isinstance(event, TokenChosen)]
    assert max(told) < tokenizer.n_vocab


@pytest.mark.parametrize(("beams", "length", "penalty"), [(0, 5, 1.0), (-1, 5, 1.0), (3, 0, 1.0), (3, 5, math.nan)])
def test_beam_job_refuses_at_the_call(tiny: Tiny, beams: int, length: int, penalty: float) -> None:
    with pytest.raises(UserError):
        generate_beams(tiny(), byte_level(), TEXT, beams, penalty, length)
