"""The book's run on the project's own story: the figures of a loop that shares no code with train()."""

from __future__ import annotations

import pytest
import torch

from benchmarks import book_run
from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.events import Evaluated, Generated, Sampled, Stepped
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.preparing import Prepared, prepare
from gpt_demo.text.samples import sample_story
from gpt_demo.training.config import preset
from gpt_demo.training.loop import train
from gpt_demo.training.state import TrainState, make_optimizer

SETTINGS = {
    "tokenizer": "bpe", "n_vocab": 400, "n_ctx": 32, "n_embd": 48, "n_head": 3, "n_layer": 2, "epochs": 3,
    "sample_prompt": "Nell looked at the",
}  # fmt: skip


@pytest.fixture(scope="module")
def story() -> Prepared:
    """Enough for five whole batches of validation: a shorter last one counts for more in the book than in train()."""
    prepared = prepare(sample_story()[:9000], preset("book", SETTINGS))
    assert len(prepared.split.val) > 5 * 2 * 32
    return prepared


@pytest.fixture(scope="module")
def expected(story: Prepared) -> book_run.BookRun:
    config, split = story.config, story.split
    prompt = story.tokenizer.encode(config.train.sample_prompt)
    return book_run.run(config.model, split.train.tolist(), split.val.tolist(), prompt, epochs=config.train.epochs)


@pytest.fixture(scope="module")
def ours(story: Prepared) -> tuple[GPT, list[object]]:
    torch.manual_seed(story.config.train.seed)
    model = GPT(story.config.model, story.config.train.init)
    state = TrainState(model, make_optimizer(model, story.config.train))
    return model, list(train(state, story.split, story.tokenizer, story.config.train, "fp32"))


def test_the_losses_are_those_of_the_reference(ours: tuple[GPT, list[object]], expected: book_run.BookRun) -> None:
    """To the digits that the book prints, and one more; the last rows show that the model has learned."""
    rows = [(e.step, e.train_loss, e.val_loss) for e in ours[1] if isinstance(e, Evaluated)]
    assert len(rows) > 10
    assert [row[0] for row in rows] == [row[0] for row in expected.log]
    for row, wanted in zip(rows, expected.log, strict=True):
        assert row[1:] == pytest.approx(wanted[1:], rel=0, abs=1e-4), f"step {row[0]}"
    assert rows[-1][1] < rows[0][1] - 1


def test_the_sentences_are_those_of_the_reference(
    story: Prepared, ours: tuple[GPT, list[object]], expected: book_run.BookRun
) -> None:
    sampled = [event.text for event in ours[1] if isinstance(event, Sampled)]
    assert sampled == [story.tokenizer.decode(ids) for ids in expected.samples]
    assert len(set(sampled)) == story.config.train.epochs


def test_a_drawn_sentence_is_that_of_the_reference(
    story: Prepared, ours: tuple[GPT, list[object]], expected: book_run.BookRun
) -> None:
    prompt = story.config.train.sample_prompt
    sampling = Sampling(temperature=1.4, top_k=25, seed=123, draw="multinomial")
    events = generate(ours[0], story.tokenizer, prompt, sampling, 15, stop_at_end_of_text=False)
    (text,) = [event.text for event in events if isinstance(event, Generated)]
    torch.manual_seed(123)
    drawn = book_run.write(expected.model, story.tokenizer.encode(prompt), 15, top_k=25, temperature=1.4)
    assert text == story.tokenizer.decode(drawn)


def test_every_step_is_counted(ours: tuple[GPT, list[object]], story: Prepared) -> None:
    assert [event.step for event in ours[1] if isinstance(event, Stepped)] == list(range(story.plan.total_steps))
