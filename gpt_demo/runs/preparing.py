"""What a run is made of, before it is one: its text as tokens, and settings that fit."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_demo.errors import UserError
from gpt_demo.text.data import Split, check_length, split_text
from gpt_demo.text.large import head_of, is_large, sample_of, split_file
from gpt_demo.text.tokenizer import Tokenizer, make
from gpt_demo.training.config import RunConfig
from gpt_demo.training.plan import Plan


@dataclass(frozen=True)
class Prepared:
    """A text prepared for a configuration; `config` has the vocabulary's actual size and the prompt filled in."""

    config: RunConfig
    tokenizer: Tokenizer
    split: Split
    plan: Plan


def prepare(text: str, config: RunConfig, tokenizer: Tokenizer | None = None, split: Split | None = None) -> Prepared:
    """Tokenise and split, with the given tokenizer or the one the configuration names, unless that is done (`split`).

    Raises UserError if the text is too short, saying by how much, or a setting does not fit the model.
    """
    if not text.strip():
        raise UserError("There is no text to train on yet. Upload a file, paste a text, or use the sample story.")
    tokenizer = tokenizer or make(config.data.tokenizer, text, config.model.n_vocab)
    data = config.data
    split = split or split_text(text, tokenizer, data.val_fraction, data.split, data.val_from)
    check_against_model(config)
    check_length(split, config.train.window_length(config.model.n_ctx), "window" if config.train.window else "n_ctx")
    changes: dict[str, Any] = {"n_vocab": tokenizer.n_vocab}
    if not config.train.sample_prompt:
        changes["sample_prompt"] = first_words(text)
    config = config.changed(changes)
    return Prepared(config, tokenizer, split, Plan.of(config.train, config.model.n_ctx, len(split.train)))


def check_against_model(config: RunConfig) -> None:
    """Raises UserError if a training setting is impossible for a model of this shape."""
    shape, train = config.model, config.train
    if train.window > shape.n_ctx:
        raise UserError(f"window is {train.window}; it must be at most n_ctx, {shape.n_ctx} for this model.")
    if train.trainable == "lora" and train.lora_rank > shape.n_embd:
        raise UserError(f"lora_rank is {train.lora_rank}; it must be at most n_embd, {shape.n_embd} for this model.")


def first_words(text: str, count: int = 3) -> str:
    """The beginning of the first real paragraph: a prompt that fits the text."""
    paragraphs = [p for p in text.splitlines() if len(p.split()) > 10] or [text]
    return " ".join(paragraphs[0].replace("<|endoftext|>", " ").split()[:count])[:80]


def is_streamed(paths: Sequence[Path], config: RunConfig, tokenizer: Tokenizer | None) -> bool:
    """Whether a text is prepared piece by piece, by `prepare_large`: where it is large. (The end of each file, and a
    tokenizer that an imported model brings, need the whole text at once.)"""
    own = tokenizer is not None and tokenizer.kind == "own"
    return is_large(paths) and config.data.val_from == "end" and not own


def prepare_large(path: Path, config: RunConfig, tokenizer: Tokenizer | None = None) -> Generator[int, None, Prepared]:
    """As `prepare`, of a large text in UTF-8. Yields the bytes done; a tokenizer is learned from a sample."""
    if tokenizer is None:
        learned = config.data.tokenizer == "bpe"
        tokenizer = make(config.data.tokenizer, sample_of(path) if learned else "", config.model.n_vocab)
    split = yield from split_file(path, tokenizer, config.data.val_fraction, config.data.split)
    return prepare(head_of(path), config, tokenizer, split)


def finished(preparing: Generator[int, None, Prepared]) -> Prepared:
    """What it returns, once it is done."""
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            prepared: Prepared = end.value
            return prepared
