"""How a run is configured: the three parts of its settings, the presets, and reading a setting from text."""

from __future__ import annotations

import shlex
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from gpt_demo.data import SplitBy
from gpt_demo.errors import UserError
from gpt_demo.model import GPTConfig
from gpt_demo.tokenizer import KINDS, Kind
from gpt_demo.training import TrainConfig


@dataclass(frozen=True)
class DataConfig:
    """How a text becomes tokens."""

    tokenizer: Kind = "bpe"
    val_fraction: float = 0.1  # share of the text that is kept for validation
    split: SplitBy = "characters"

    def __post_init__(self) -> None:
        for name, choices in (("tokenizer", Kind), ("split", SplitBy)):
            if getattr(self, name) not in get_args(choices):
                allowed = ", ".join(get_args(choices))
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be one of {allowed}.")
        if not 0 <= self.val_fraction <= 0.5:
            raise UserError(f"val_fraction is {self.val_fraction}; it must be from 0 to 0.5.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run but its text."""

    data: DataConfig
    model: GPTConfig
    train: TrainConfig

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return {"data": asdict(self.data), "model": self.model.to_dict(), "train": asdict(self.train)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Mapping[str, Any]]) -> RunConfig:
        parts = {"data": DataConfig, "model": GPTConfig, "train": TrainConfig}
        known = {
            name: {f.name: record[name][f.name] for f in fields(part) if f.name in record[name]}
            for name, part in parts.items()
        }
        return cls(DataConfig(**known["data"]), GPTConfig(**known["model"]), TrainConfig(**known["train"]))

    def changed(self, changes: Mapping[str, Any]) -> RunConfig:
        """With fields replaced by name; UserError on an unknown field or an impossible value."""
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise UserError(f"There is no setting called {', '.join(sorted(unknown))}.")

        def part(old: Any) -> Any:
            return replace(old, **{f.name: changes[f.name] for f in fields(old) if f.name in changes})

        return RunConfig(part(self.data), part(self.model), part(self.train))


FIELDS: dict[str, Any] = {
    name: kind for cls in (DataConfig, GPTConfig, TrainConfig) for name, kind in get_type_hints(cls).items()
}

EXPLANATIONS: dict[str, tuple[str, str]] = {
    "tokenizer": ("Tokenizer", "gpt2 and cl100k_base are OpenAI's; bpe is trained on the text; bytes needs no training"),
    "val_fraction": ("Share for validation", "part of the text that is never trained on and measures the model"),
    "split": ("Split by", "characters or tokens; the end of the text validates"),
    "n_vocab": ("Vocabulary size", "number of different tokens, V; the tokenizer sets it, for bpe you choose it"),
    "n_ctx": ("Context length", "how many tokens the model sees at once"),
    "n_embd": ("Width", "numbers per token inside the model, C; a multiple of the heads"),
    "n_head": ("Attention heads", "heads per block, each with its share of the width"),
    "n_layer": ("Layers", "blocks of attention and MLP, one on the other"),
    "dropout": ("Dropout", "share of activations zeroed while training, against overfitting"),
    "qkv_bias": ("Query-key-value bias", "GPT-2 has it, the book leaves it out (true or false)"),
    "tied_head": ("Tied head", "the output layer shares the token embedding, as in GPT-2 (true or false)"),
    "epochs": ("Epochs", "passes over the training text; 0: until max_steps"),
    "max_steps": ("Steps", "the run ends after so many optimizer steps; 0: after the epochs"),
    "batches": ("Batches from", "windows in shuffled order, or random places of the text"),
    "stride": ("Stride", "tokens from one window to the next; 0: the context length, so that windows touch"),
    "batch_size": ("Batch size", "windows per batch"),
    "grad_accum_steps": ("Batches per step", "gradient accumulation: batches summed before one update"),
    "learning_rate": ("Learning rate", "size of an update, at its highest"),
    "min_learning_rate": ("Lowest learning rate", "where cosine decay ends; none: no decay"),
    "warmup_steps": ("Warmup steps", "the learning rate rises in a line over so many steps"),
    "decay_steps": ("Decay steps", "step at which the decay ends; 0: the planned end of the run"),
    "weight_decay": ("Weight decay", "pull of AdamW towards zero"),
    "decay": ("Weight decay on", "matrices only, or all parameters as in the book"),
    "grad_clip": ("Gradient clipping", "largest norm of the gradient; 0: no limit"),
    "eval_interval": ("Evaluate every", "steps from one measurement of the losses to the next"),
    "eval_batches": ("Evaluation batches", "batches of each split; 0: the whole validation text, as much of the other"),
    "sample_interval": ("Sample every", "steps from one sample to the next; 0: after each epoch"),
    "sample_prompt": ("Sample prompt", "what the samples begin with; empty: words from the text"),
    "sample_tokens": ("Sample length", "tokens per sample"),
    "sample_temperature": ("Sample temperature", "0: always the most probable token"),
    "sample_top_k": ("Sample top-k", "keep the k most probable tokens; 0: all"),
    "target_loss": ("Target loss", "stop once the validation loss is as low as this; 0: off"),
    "save_seconds": ("Save every", "seconds from one checkpoint to the next; 0: after every step"),
    "seed": ("Seed", "of the weights, the order of the batches, dropout and the samples"),
    "precision": ("Precision", "fp32, bf16, or auto: what this machine computes faster"),
    "init": ("Initial weights", "as GPT-2 draws them, or PyTorch's default (the book)"),
}


def describe(name: str) -> str:
    """A line on a setting, its choices named."""
    kind = FIELDS[name]
    choices = get_args(kind) if not _is_union(kind) else ()
    return EXPLANATIONS[name][1] + (f" ({', '.join(map(str, choices))})" if choices else "")


PRESETS: dict[str, RunConfig] = {
    # A small model with a vocabulary of the text's own: about a minute on two cores.
    "quick": RunConfig(
        DataConfig(),
        GPTConfig(n_vocab=1024, n_ctx=128, n_embd=192, n_head=6, n_layer=4, dropout=0.0),
        TrainConfig(),
    ),
    # The run that the book's chapter prints, figure by figure.
    "book": RunConfig(
        DataConfig(tokenizer="gpt2"),
        GPTConfig(n_ctx=256, dropout=0.1, qkv_bias=False, tied_head=False),
        TrainConfig(
            epochs=10, max_steps=0, batches="windows", batch_size=2, learning_rate=4e-4, min_learning_rate=None,
            warmup_steps=0, decay="all", grad_clip=0.0, eval_interval=5, eval_batches=5, sample_interval=0,
            sample_prompt="Every effort moves you", precision="fp32", init="pytorch",
        ),
    ),
    # Random batches for a fixed number of steps, losses estimated on random batches.
    "steps": RunConfig(
        DataConfig(tokenizer="gpt2", split="tokens"),
        GPTConfig(n_ctx=64, n_embd=128, n_head=4, n_layer=4, dropout=0.1),
        TrainConfig(
            max_steps=1000, batch_size=16, learning_rate=1e-3, min_learning_rate=None, warmup_steps=0,
            weight_decay=0.01, decay="all", eval_interval=100, eval_batches=10, sample_interval=200,
        ),
    ),
}  # fmt: skip


def preset(name: str, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """A preset with some settings changed. A lower max_steps ends the run early and leaves its schedule as it was.

    Raises UserError on an unknown preset, an unknown setting, or an impossible value.
    """
    if name not in PRESETS:
        raise UserError(f"There is no preset called {name!r}. There are: {', '.join(PRESETS)}.")
    config = PRESETS[name]
    planned = config.train.max_steps
    changed = config.changed(changes or {})
    if not changed.train.epochs and 0 < changed.train.max_steps < planned and not changed.train.decay_steps:
        changed = changed.changed({"decay_steps": planned})
    return changed


def parse_value(name: str, value: str) -> Any:
    """The value of a setting from its text, by the type of the field; UserError where it is none."""
    kind = FIELDS[name]
    choices = [k for k in get_args(kind) if k is not type(None)] if _is_union(kind) else [kind]
    if value.lower() == "none" and _is_union(kind):
        return None
    try:
        if choices[0] is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if choices[0] in (int, float):
            return choices[0](value)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[choices[0]]
        raise UserError(f"{name} is {value!r}; it must be {wanted}.") from None
    return value


def is_optional(name: str) -> bool:
    """Whether a setting may be none."""
    return _is_union(FIELDS[name])


def command_line(file: str, preset_name: str, config: RunConfig) -> str:
    """The command that starts the same run: the preset and every setting that differs from it."""
    words = ["python -m gpt_demo train", shlex.quote(file), f"--preset {preset_name}"]
    standard = preset(preset_name, {"max_steps": config.train.max_steps} if config.train.max_steps else {}).to_dict()
    for part, settings in config.to_dict().items():
        for name, value in settings.items():
            if name == "max_steps":
                differs = value != PRESETS[preset_name].train.max_steps
            else:
                differs = value != standard[part][name]
            if differs:
                words.append(f"--{name.replace('_', '-')} {shlex.quote(str(value).lower() if not isinstance(value, str) else value)}")
    return " ".join(words)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)
