"""What a file of weights can't say of its model, so that somebody has to.

The shapes of the tensors give sizes, not the number of heads, the activation, how attention is scaled, or which token a
row represents. Nothing is guessed silently: `NotSaid` carries guesses to be confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig

TOKENIZER = "tokenizer"
SETTINGS = (
    "n_head", "activation_function", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "layer_norm_epsilon",
)  # fmt: skip
NEEDED = (*SETTINGS, TOKENIZER)  # in the order in which they are asked for
_HEADS = {config.n_embd: config.n_head for config in GPT2_SIZES.values()}
_TOKENIZERS = {50257: "gpt2", 50304: "gpt2", 257: "bytes", 100277: "cl100k_base"}  # rows -> whose they may be
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(GPTConfig) if f.name in SETTINGS}


class NotSaid(UserError):
    """A model can't be taken in before somebody says what `guesses` guesses; None where there is no guess."""

    def __init__(self, label: str, guesses: Mapping[str, Any]) -> None:
        self.guesses = dict(guesses)
        options = " ".join(f"--{name.replace('_', '-')} {_word(guess)}" for name, guess in guesses.items())
        super().__init__(
            f"{label} does not say {_listed(list(guesses))} of its model. Import the folder with its config.json and "
            f"tokenizer, or say it yourself; these are guesses to be confirmed: {options}"
        )


@dataclass(frozen=True)
class Said:
    """What was said by somebody: settings by name, and a tokenizer by its kind or as a path."""

    settings: Mapping[str, Any]

    def missing(self, label: str, guesses: Mapping[str, Any]) -> NotSaid | None:
        """The error where something that `guesses` names was not said."""
        left = {name: guess for name, guess in guesses.items() if self.settings.get(name) is None}
        return NotSaid(label, left) if left else None

    def check(self, label: str, known: Mapping[str, Any]) -> None:
        """UserError where something was said that the files say otherwise."""
        for name, value in self.settings.items():
            if value is not None and name in known and known[name] != value:
                raise UserError(f"{label} says itself that {name} is {known[name]}, not {value}. Leave that out.")


def guess_heads(n_embd: int) -> int | None:
    """GPT-2's number for its widths, else heads of 64 as GPT-2's are, if that is a number of heads."""
    return _HEADS.get(n_embd) or (n_embd // 64 if n_embd % 64 == 0 else None)


def guess_tokenizer(n_vocab: int) -> str | None:
    return _TOKENIZERS.get(n_vocab)


def _word(guess: object) -> str:
    return "?" if guess is None else str(guess).lower() if isinstance(guess, bool) else str(guess)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
