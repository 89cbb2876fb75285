"""The figures that the book's chapters print, through this package's own functions: see golden/README.md.

They hold to the last printed digit. Where the digit beyond it stands on the edge, fp32 sums in another order may turn
the last one by one unit: `printed` allows that and no more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.devices import resolve_precision
from gpt_demo.events import Evaluated, Event, Generated, Sampled
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.preparing import Prepared, prepare
from gpt_demo.text.data import epoch_batches, windows
from gpt_demo.training.config import RunConfig, preset
from gpt_demo.training.evaluation import mean_loss, perplexity
from gpt_demo.training.loop import train
from gpt_demo.training.state import TrainState, make_optimizer

pytestmark = pytest.mark.golden


@pytest.fixture(autouse=True, scope="module")
def _all_threads() -> Iterator[None]:
    """162 million parameters are worth more than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def book(verdict: str) -> Prepared:
    return prepare(verdict, preset("book"))


def new_model(config: RunConfig) -> GPT:
    torch.manual_seed(config.train.seed)
    return GPT(config.model, config.train.init)


@pytest.fixture(scope="module")
def untrained(book: Prepared) -> GPT:
    return new_model(book.config).eval()


def printed(value: float, form: str) -> Any:
    """`value`, give or take one unit of the last digit that `form` prints."""
    mantissa, _, exponent = format(value, form).partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return pytest.approx(value, rel=0, abs=1.000001 * unit)


def text_of(events: Iterator[Any]) -> str:
    return next(event.text for event in events if isinstance(event, Generated))


def book_batches(ids: Tensor, *, train: bool) -> Iterator[tuple[Tensor, Tensor]]:
    return epoch_batches(*windows(ids, 256, 256), batch_size=2, shuffle=train, drop_last=train)


# Before training ------------------------------------------------------------------------------------------------------


def test_the_text(book: Prepared, verdict: str, golden: dict[str, Any]) -> None:
    text = golden["text"]
    assert hashlib.sha256(verdict.encode()).hexdigest() == text["sha256"]
    assert len(verdict) == text["characters"]
    assert len(book.tokenizer.encode(verdict)) == text["gpt2_tokens"]


def test_windows(book: Prepared, golden: dict[str, Any]) -> None:
    expected = golden["windows"]
    batches = {
        True: list(book_batches(book.split.train, train=True)),
        False: list(book_batches(book.split.val, train=False)),
    }
    assert (len(batches[True]), len(batches[False])) == (expected["train_batches"], expected["val_batches"])
    assert all(
        list(ids.shape) == expected["batch_shape"] for pairs in batches.values() for pair in pairs for ids in pair
    )
    assert sum(x.numel() for x, _ in batches[True]) == expected["train_tokens"] == book.plan.tokens_per_epoch
    assert sum(x.numel() for x, _ in batches[False]) == expected["val_tokens"]
    assert (book.plan.total_steps, book.plan.steps_per_epoch) == (90, 9)


def test_untrained_text(book: Prepared, untrained: GPT, golden: dict[str, Any]) -> None:
    expected = golden["untrained"]
    text = text_of(generate(untrained, book.tokenizer, expected["prompt"], Sampling(temperature=0), 10))
    assert text == expected["greedy_10_tokens"]


def test_untrained_probabilities(untrained: GPT, golden: dict[str, Any]) -> None:
    expected = golden["untrained"]
    inputs, targets = torch.tensor(expected["inputs"]), torch.tensor(expected["targets"])
    with torch.no_grad():
        logits, loss = untrained(inputs, targets)
    assert loss is not None
    p = logits.softmax(dim=2).gather(2, targets[:, :, None])[:, :, 0]
    for row, wanted in zip(p.tolist(), expected["target_probabilities"], strict=True):
        assert row == [printed(value, ".4e") for value in wanted]
    assert p.log().flatten().tolist() == [printed(value, ".4f") for value in expected["log_probabilities"]]
    assert loss.item() == printed(expected["loss"], ".4f")
    # Two digits behind the point of 48725.82: fp32 carries the loss to 1e-6, that is to 0.05 here.
    assert perplexity(loss.item()) == pytest.approx(expected["perplexity"], abs=0.05)


def test_untrained_losses(book: Prepared, untrained: GPT, golden: dict[str, Any]) -> None:
    """Printed in full; a fp32 loss near 11 has steps of 1e-6, and a mean of nine is finer by nine."""
    torch.manual_seed(123)
    train_loss, train_tokens = mean_loss(untrained, book_batches(book.split.train, train=True))
    val_loss, val_tokens = mean_loss(untrained, book_batches(book.split.val, train=False))
    assert train_loss == pytest.approx(golden["untrained"]["train_loss"], rel=0, abs=1e-6)
    assert val_loss == pytest.approx(golden["untrained"]["val_loss"], rel=0, abs=1e-6)
    assert (train_tokens, val_tokens) == (4608, 512)


# Training -------------------------------------------------------------------------------------------------------------


def check_log(events: list[Event], golden: dict[str, Any], steps: int) -> None:
    """The rows of the training log, and the sentences written after the epochs that the book shows."""
    rows = [row for row in golden["training_log"] if row[0] < steps]
    measured = [event for event in events if isinstance(event, Evaluated)]
    assert [event.step for event in measured] == [row[0] for row in rows]
    for event, (step, train_loss, val_loss) in zip(measured, rows, strict=True):
        assert event.train_loss == pytest.approx(train_loss, abs=0.002), f"step {step}"
        assert event.val_loss == pytest.approx(val_loss, abs=0.002), f"step {step}"
    sampled = {str(round(event.epoch)): event.text for event in events if isinstance(event, Sampled)}
    assert list(sampled) == [str(epoch + 1) for epoch in range(steps // 9)]
    for epoch, text in golden["samples_after_epoch"].items():
        if epoch in sampled:
            assert sampled[epoch].replace("\n", " ") == text, f"epoch {epoch}"


def trained(book: Prepared, config: RunConfig) -> tuple[GPT, list[Event]]:
    model = new_model(config)
    state = TrainState(model, make_optimizer(model, config.train))
    precision = resolve_precision(config.train.precision, model.device, config.model.n_embd)
    return model, list(train(state, book.split, book.tokenizer, config.train, precision))


def test_the_first_epoch(book: Prepared, golden: dict[str, Any]) -> None:
    _, events = trained(book, preset("book", {"max_steps": 9}))
    check_log(events, golden, 9)


@pytest.mark.slow
def test_all_ten_epochs(book: Prepared, golden: dict[str, Any]) -> None:
    model, events = trained(book, book.config)
    check_log(events, golden, 90)
    prompt, after = golden["untrained"]["prompt"], golden["after_training"]
    greedy = generate(model, book.tokenizer, prompt, Sampling(temperature=0), 25)
    assert text_of(greedy) == after["greedy_25_tokens"]
    drawn = generate(
        model, book.tokenizer, prompt, Sampling(temperature=1.4, top_k=25, seed=123, draw="multinomial"), 15
    )
    assert text_of(drawn) == after["top_k_25_temperature_1.4_seed_123_15_tokens"]
