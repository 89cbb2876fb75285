"""Several models on the same prompts: how each continues them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpt_demo.compare.losses import Load
from gpt_demo.decoding.generate import Sampling, choices_after, token_texts
from gpt_demo.errors import UserError
from gpt_demo.events import Event

# Beginnings that people continue in much the same way.
PROMPTS = (
    "The capital of France is",
    "The opposite of hot is",
    "After Monday comes",
    "Two plus two equals",
    "Ice is frozen",
    "Bees make",
    "The sun rises in the",
    "She was thirsty, so she drank a glass of",
    "A doctor works in a",
    "To open the locked door, he took out his",
    "In winter the trees lose their",
    "The cat chased the",
    "It was raining, so she opened her",
    "He put the milk back into the",
    "The baby began to",
    "Fire is hot, and snow is",
    "The children went to school to",
    "A triangle has three",
    "He was so tired that he went to",
    "At night we can see the moon and the",
)


@dataclass(frozen=True)
class Completed(Event):
    """One model has continued one prompt."""

    kind: ClassVar[str] = "completed"
    model: str
    prompt: int  # its number
    text: str  # what was added
    logprob: float  # mean natural logarithm of its tokens' probabilities, in the model's own distribution
    tokens: int


def complete(
    names: Sequence[str], load: Load, prompts: Sequence[str], max_new_tokens: int, sampling: Sampling
) -> Iterator[Completed]:
    """Continue every prompt with every model, one model after another. Raises UserError at the call."""
    if not names or not prompts:
        raise UserError("Choose at least one model and write at least one prompt.")
    return _complete(names, load, prompts, max_new_tokens, sampling)


def _complete(
    names: Sequence[str], load: Load, prompts: Sequence[str], max_new_tokens: int, sampling: Sampling
) -> Iterator[Completed]:
    for name in names:
        model, tokenizer = load(name)
        for i, prompt in enumerate(prompts):
            ids: list[int] = []
            logprobs: list[float] = []
            before, end = tokenizer.encode(prompt), tokenizer.end_of_text
            for choice in choices_after(model, tokenizer, before, sampling, max_new_tokens, end):
                logprobs.append(choice.raw_logprob)
                ids += [] if choice.last else [choice.id]
            text = "".join(token_texts(tokenizer, ids))
            yield Completed(name, i, text, sum(logprobs) / len(logprobs), len(logprobs))
