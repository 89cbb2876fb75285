"""The next token and beam search as text: the wiring around transforms and decoding."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Tiny

from gpt_demo.decoding.generate import Sampling, beam_search
from gpt_demo.decoding.writing import beam_job, next_logits, next_token_stages, token_texts
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.text.tokenizer import byte_level, train_bpe

PROMPT = "The old town"


def test_next_logits_are_the_models_own(tiny: Tiny) -> None:
    model, ids = tiny().eval(), byte_level().encode(PROMPT)
    assert torch.allclose(next_logits(model, byte_level(), ids), model(torch.tensor([ids]))[0][0, -1], atol=1e-6)


def test_a_long_prompt_is_cut_from_the_left(tiny: Tiny) -> None:
    model, ids = tiny().eval(), byte_level().encode(PROMPT * 9)
    assert torch.equal(next_logits(model, byte_level(), ids), next_logits(model, byte_level(), ids[-16:]))


def test_tokens_without_text_are_left_out(tiny: Tiny) -> None:
    assert len(next_logits(tiny(n_vocab=300).eval(), byte_level(), [1])) == 257


def test_stages(tiny: Tiny) -> None:
    stages = next_token_stages(tiny().eval(), byte_level(), PROMPT, Sampling(temperature=0.5, top_k=3))
    assert [stage.name for stage in stages] == ["model", "temperature", "top_k"]
    assert [stage.kept for stage in stages] == [257, 257, 3]
    assert stages[-1].probabilities.sum().item() == pytest.approx(1)
    assert next_token_stages(tiny().eval(), byte_level(), "", Sampling())[0].kept == 257


@pytest.mark.parametrize("end", [None, 0, 3])
def test_beam_job_tells_the_best_hypothesis(tiny: Tiny, end: int | None) -> None:
    """With the end-of-text token made likely, or never the best."""
    model, tokenizer = tiny(seed=2).eval(), byte_level()
    with torch.no_grad():
        model.wte.weight[256] *= -1 if end is None else 1 + end
    ids = tokenizer.encode(PROMPT)
    *_, last = beam_search(model, ids, 3, 6, 1.0, tokenizer.end_of_text)
    *tokens, finished = beam_job(model, tokenizer, PROMPT, 3, 1.0, 6)
    chosen = [event for event in tokens if isinstance(event, TokenChosen)]
    assert tuple(event.id for event in chosen) == last.best[0].ids
    assert math.fsum(event.logprob for event in chosen) == pytest.approx(last.best[0].logprob)
    assert isinstance(finished, Generated)
    kept = [id for id in last.best[0].ids if id != tokenizer.end_of_text]
    assert finished.text == PROMPT + tokenizer.decode(kept) == PROMPT + "".join(event.text for event in chosen)
    assert finished.reason == ("length" if len(kept) == len(chosen) else "end_of_text")
    assert finished.tokens == len(chosen)


def test_beams_choose_no_id_beyond_the_tokenizer(tiny: Tiny) -> None:
    model, tokenizer = tiny(n_vocab=300, tied_head=False).eval(), byte_level()
    assert model.lm_head is not None
    with torch.no_grad():
        model.lm_head.weight[257:] = 3 * model.lm_head.weight[:43]
    ids = tokenizer.encode(PROMPT)
    free = [h.ids for step in beam_search(model, ids, 3, 6) for h in step.live]
    assert max(map(max, free)) >= tokenizer.n_vocab  # else the test shows nothing
    held = [h.ids for step in beam_search(model, ids, 3, 6, n_vocab=tokenizer.n_vocab) for h in step.live]
    assert max(map(max, held)) < tokenizer.n_vocab
    told = [event.id for event in beam_job(model, tokenizer, PROMPT, 3, 1.0, 6) if isinstance(event, TokenChosen)]
    assert max(told) < tokenizer.n_vocab


@pytest.mark.parametrize(("beams", "length", "penalty"), [(0, 5, 1.0), (-1, 5, 1.0), (3, 0, 1.0), (3, 5, math.nan)])
def test_beam_job_refuses_at_the_call(tiny: Tiny, beams: int, length: int, penalty: float) -> None:
    with pytest.raises(UserError):
        beam_job(tiny(), byte_level(), PROMPT, beams, penalty, length)


@pytest.mark.parametrize("text", ["", "plain", "Ünïcödé 你好 🎉"])
def test_token_texts_join_to_the_text(text: str) -> None:
    for tokenizer in (byte_level(), train_bpe(text * 3, 300)):
        texts = token_texts(tokenizer, tokenizer.encode(text))
        assert "".join(texts) == text
        assert len(texts) == len(tokenizer.encode(text))
    assert token_texts(byte_level(), list("é".encode())[:1]) == ["\ufffd"]
