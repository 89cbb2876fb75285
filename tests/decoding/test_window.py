"""The logits of the next token, of what the context holds."""

from __future__ import annotations

import torch
from conftest import Tiny

from gpt_demo.decoding.window import next_logits
from gpt_demo.text.tokenizer import byte_level

PROMPT = "The old town"


def test_next_logits_are_the_models_own(tiny: Tiny) -> None:
    model, ids = tiny().eval(), byte_level().encode(PROMPT)
    assert torch.allclose(next_logits(model, byte_level(), ids), model(torch.tensor([ids]))[0][0, -1], atol=1e-6)


def test_a_long_prompt_is_cut_from_the_left(tiny: Tiny) -> None:
    model, ids = tiny().eval(), byte_level().encode(PROMPT * 9)
    assert torch.equal(next_logits(model, byte_level(), ids), next_logits(model, byte_level(), ids[-16:]))


def test_tokens_without_text_are_left_out(tiny: Tiny) -> None:
    assert len(next_logits(tiny(n_vocab=300).eval(), byte_level(), [1])) == 257
