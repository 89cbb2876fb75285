"""Models side by side: the same prompts, the same text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gpt_demo.compare.losses import WINDOW, Compared, Measuring, losses, reported_loss
from gpt_demo.compare.prompts import PROMPTS, complete
from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.decoding.scores import token_scores
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import Tokenizer, byte_level, train_bpe
from gpt_demo.training.evaluation import evaluate

GREEDY = Sampling(temperature=0.0)
Load = Callable[[str], tuple[GPT, Tokenizer]]


def compared(*arguments: Any) -> list[Compared]:
    """What `losses` ends each model with."""
    return [event for event in losses(*arguments) if isinstance(event, Compared)]


@pytest.fixture
def load(tiny: Any) -> Load:
    models = {name: (tiny(seed=i, n_ctx=16 * (i + 1)).eval(), byte_level()) for i, name in enumerate("ab")}
    return models.__getitem__


def test_each_completion_is_what_the_model_writes(load: Load) -> None:
    found = list(complete(["a", "b"], load, PROMPTS[:3], 5, GREEDY))
    assert [(one.model, one.prompt) for one in found] == [(m, i) for m in "ab" for i in range(3)]
    for one in found:
        events = list(generate(*load(one.model), PROMPTS[one.prompt], GREEDY, 5))
        assert isinstance(events[-1], Generated)
        assert PROMPTS[one.prompt] + one.text == events[-1].text
        assert one.tokens == events[-1].tokens
        assert one.logprob == pytest.approx(sum(e.logprob for e in events[:-1]) / one.tokens)  # type: ignore[attr-defined]


def test_the_number_of_a_drawn_completion_is_the_models_own_log_probability(load: Load) -> None:
    sampling = Sampling(temperature=0.2, top_k=9, seed=4)
    [one] = complete(["a"], load, ["Nell"], 9, sampling)
    model, tokenizer = load("a")
    chosen = [e for e in generate(model, tokenizer, "Nell", sampling, 9) if isinstance(e, TokenChosen)]
    ids = tokenizer.encode("Nell")
    own = token_scores(model, tokenizer.n_vocab, [*ids, *(event.id for event in chosen)], len(ids))
    assert one.logprob == pytest.approx(sum(score.logprob for score in own) / 9, abs=1e-5)
    assert one.logprob < sum(event.logprob for event in chosen) / 9 - 1


def test_losses_are_those_of_an_evaluation_of_each_part(load: Load) -> None:
    text = sample_story()[:3000]
    cut = int(0.9 * len(text))
    for one in compared(["a", "b"], load, text):
        for loss, perplexity, part in (
            (one.train_loss, one.train_perplexity, text[:cut]),
            (one.val_loss, one.val_perplexity, text[cut:]),
        ):
            [measured] = evaluate(*load(one.model), part)
            assert loss == pytest.approx(measured.loss, rel=1e-6)
            assert perplexity == pytest.approx(measured.perplexity, rel=1e-5)
        scored = len(text[cut:].encode()) - 1  # a token is a byte here
        assert one.bits_per_byte == pytest.approx(one.val_loss / math.log(2))
        assert one.tokens == len(text[:cut].encode()) - 1 + scored


def test_long_contexts_are_measured_in_windows_of_the_reported_length(tiny: Any) -> None:
    model, text = tiny(n_ctx=2 * WINDOW).eval(), sample_story()[:6000]
    [whole] = compared(["x"], lambda _: (model, byte_level()), text)
    ids = torch.tensor(byte_level().encode(text[: int(0.9 * len(text))]))
    total = 0.0
    for start in range(0, len(ids) - 1, WINDOW):
        piece = ids[start : start + WINDOW + 1][None]
        with torch.no_grad():
            rows = model(piece[:, :-1])[0][0].log_softmax(1)
        total -= float(rows.gather(1, piece[0, 1:, None]).sum())
    assert whole.train_loss == pytest.approx(total / (len(ids) - 1), rel=1e-6)


def test_progress_counts_every_token_once(load: Load) -> None:
    events = list(losses(["a", "b"], load, sample_story()[:900]))
    for name in "ab":
        *told, last = [event for event in events if event.model == name]
        assert isinstance(last, Compared)
        assert all(isinstance(event, Measuring) and event.total == last.tokens for event in told)
        done = [event.done for event in told]  # type: ignore[union-attr]
        assert done == sorted(set(done))
        assert done[-1] == last.tokens


def test_a_last_part_of_one_token_is_refused(tiny: Any) -> None:
    """A run of blanks may be one token, after which there is nothing to predict."""
    text = "ab " * 24 + "\n" * 8
    merges = ["\u010a \u010a", "\u010a\u010a \u010a\u010a", "\u010a\u010a\u010a\u010a \u010a\u010a\u010a\u010a"]
    tokenizer = Tokenizer.from_dict({"format": "gpt_demo", "kind": "bpe", "merges": merges})
    with pytest.raises(UserError, match="fewer than two tokens for x"):
        list(losses(["x"], lambda _: (tiny(n_vocab=tokenizer.n_vocab), tokenizer), text))


def test_bits_per_byte_can_be_compared_across_tokenizers(tiny: Any) -> None:
    """Uniform predictors of both vocabularies need ln V per token; per byte that depends on the tokens' length."""
    text = sample_story()[:4000]
    bpe = train_bpe(text, 400)
    for tokenizer in (byte_level(), bpe):
        model = tiny(n_vocab=tokenizer.n_vocab).eval()
        with torch.no_grad():
            model.wte.weight.zero_()
        [one] = compared(["x"], lambda _, m=model, t=tokenizer: (m, t), text)  # type: ignore[misc]
        assert one.val_loss == pytest.approx(math.log(tokenizer.n_vocab))
        ids = tokenizer.encode(text[int(0.9 * len(text)) :])[1:]
        per_byte = len(ids) * math.log2(tokenizer.n_vocab) / len(b"".join(map(tokenizer.token_bytes, ids)))
        assert one.bits_per_byte == pytest.approx(per_byte)


def test_reported_losses_are_shown_for_their_text_only(verdict: str) -> None:
    assert [reported_loss(size, verdict) for size in ("124M", "355M", "774M", "1558M", None)] == [
        3.5, None, 3.2, 3.1, None,
    ]  # fmt: skip
    assert reported_loss("124M", verdict + " ") is None


def test_reported_losses_are_those_of_the_articles(golden: dict[str, Any], verdict: str) -> None:
    for size, loss in golden["reported_verdict_loss_by_size"].items():
        assert reported_loss(size, verdict) == loss


def test_what_can_not_be_compared_is_said(load: Load) -> None:
    with pytest.raises(UserError, match="at least one model"):
        complete([], load, PROMPTS, 5, GREEDY)
    with pytest.raises(UserError, match="at least one prompt"):
        complete(["a"], load, [], 5, GREEDY)
    with pytest.raises(UserError, match="at least one model"):
        losses([], load, "x " * 100)
    with pytest.raises(UserError, match="The text has 3 words"):
        losses(["a"], load, "one two three")


def test_events_can_be_told_as_json(load: Load) -> None:
    [event] = compared(["a"], load, sample_story()[:500])
    assert '"event": "compared"' in event.to_json()
    assert len(set(PROMPTS)) == 20
