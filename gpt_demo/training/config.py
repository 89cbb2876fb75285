"""How a run is configured: the three parts of its settings, the presets, and reading a setting from text."""

from __future__ import annotations

import shlex
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from gpt_demo.decoding.window import MAX_NEW_TOKENS
from gpt_demo.errors import UserError, check_whole
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.text.data import SplitBy, ValFrom
from gpt_demo.text.tokenizer import Kind
from gpt_demo.training.plan import TrainConfig, setting


@dataclass(frozen=True)
class DataConfig:
    """How a text becomes tokens."""

    tokenizer: Kind = setting(
        "bpe", "Tokenizer", "gpt2 and cl100k_base are OpenAI's; bpe is learned from the text; bytes needs no learning"
    )
    val_fraction: float = setting(0.1, "Share for validation", "fraction of the text held out to measure the model")
    split: SplitBy = setting("characters", "Split by", "characters or tokens; the end of the text validates")
    val_from: ValFrom = setting("end", "Validation from", "the end of the whole text, or the end of each of its files")

    def __post_init__(self) -> None:
        for name, choices in (("tokenizer", Kind), ("split", SplitBy), ("val_from", ValFrom)):
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

    def __post_init__(self) -> None:
        """UserError where a sample, in the middle of the run, could not be drawn."""
        _ = self.train.sampling
        check_whole("sample_tokens", self.train.sample_tokens, 1, MAX_NEW_TOKENS)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return {"data": asdict(self.data), "model": self.model.to_dict(), "train": asdict(self.train)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Mapping[str, Any]]) -> RunConfig:
        """The configuration of `to_dict`, settings of other versions left out; UserError on anything else."""
        try:
            settings = [item for part in ("data", "model", "train") for item in record[part].items()]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError("The settings of this run can't be read: they are incomplete.") from error
        known = {name: value for name, value in settings if name in FIELDS}
        return cls(DataConfig(), GPTConfig(), TrainConfig()).changed(known)

    def changed(self, changes: Mapping[str, Any]) -> RunConfig:
        """With fields replaced by name; UserError on an unknown field or an impossible value."""
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise UserError(f"There is no setting named {', '.join(sorted(unknown))}.")
        values = {name: _typed(name, value) for name, value in changes.items()}

        def part(old: Any) -> Any:
            return replace(old, **{f.name: values[f.name] for f in fields(old) if f.name in values})

        return RunConfig(part(self.data), part(self.model), part(self.train))

    def with_length(self, changes: Mapping[str, Any]) -> RunConfig:
        """As `changed`; but a lower max_steps ends the run early: the steps it does keep their learning rates.

        That takes a decay_steps, filled in unless the changes have it (0: the end of the shorter run) or `epochs` says
        where the decay ends.
        """
        planned, changed = self.train.max_steps, self.changed(changes)
        train = changed.train
        if (
            "decay_steps" not in changes
            and not train.epochs
            and not train.decay_steps
            and 0 < train.max_steps < planned
        ):
            return changed.changed({"decay_steps": planned})
        return changed


FIELDS: dict[str, Any] = {
    name: kind for cls in (DataConfig, GPTConfig, TrainConfig) for name, kind in get_type_hints(cls).items()
}

MODEL_WORDS: dict[str, tuple[str, str]] = {
    "n_vocab": ("Vocabulary size", "number of different tokens, V; the tokenizer sets it, for bpe you choose it"),
    "n_ctx": ("Context length", "how many tokens the model sees at once"),
    "n_embd": ("Width", "size of a token's vector inside the model, C; a multiple of the heads"),
    "n_head": ("Attention heads", "heads per block, each with an equal share of the width"),
    "n_layer": ("Layers", "number of transformer blocks"),
    "dropout": ("Dropout", "fraction of activations zeroed during training, against overfitting"),
    "qkv_bias": ("Query-key-value bias", "GPT-2 has it, the book leaves it out (true or false)"),
    "tied_head": ("Tied head", "the output layer shares the token embedding, as in GPT-2 (true or false)"),
    "activation_function": ("Activation", "between the MLP's two layers: GPT-2's approximate GELU, or the exact one"),
    "layer_norm_epsilon": ("Epsilon of the norms", "added to the variance, so that nothing is divided by 0"),
    "scale_attn_weights": ("Scaled attention", "scores divided by the root of a head's width, as in GPT-2"),
    "scale_attn_by_inverse_layer_idx": ("Scaled by layer", "scores divided by the number of their block too"),
    "n_inner": ("Width of the MLP", "numbers per token between its two layers; 0: four times the width"),
}

# Of every setting: what the page calls it, and what it does.
EXPLANATIONS: dict[str, tuple[str, str]] = {
    **{f.name: f.metadata["words"] for f in fields(DataConfig)},
    **MODEL_WORDS,
    **{f.name: f.metadata["words"] for f in fields(TrainConfig)},
}


# What a stored model determines for a run that starts from it.
FROM_MODEL = {f.name for f in fields(GPTConfig)} - {"dropout"} | {"tokenizer"}


def describe(name: str) -> str:
    """A line on a setting, its choices named."""
    kind = FIELDS[name]
    choices = () if is_optional(name) else get_args(kind)
    return EXPLANATIONS[name][1] + (f" ({', '.join(map(str, choices))})" if choices else "")


PRESETS: dict[str, RunConfig] = {
    # A small model with a vocabulary of the text's own: about a minute on two cores.
    "quick": RunConfig(
        DataConfig(),
        GPTConfig(n_vocab=1024, n_ctx=128, n_embd=192, n_head=6, n_layer=4, dropout=0.0),
        TrainConfig(eval_interval=25, patience=3),  # it overfits a short text after some 100 steps, and ends soon after
    ),
    # The run that the book's chapter prints, figure by figure.
    "book": RunConfig(
        DataConfig(tokenizer="gpt2"),
        GPTConfig(n_ctx=256, dropout=0.1, qkv_bias=False, tied_head=False),
        TrainConfig(
            epochs=10, max_steps=0, batches="windows", batch_size=2, learning_rate=4e-4, min_learning_rate=None,
            warmup_steps=0, decay="all", grad_clip=0.0, eval_interval=5, eval_batches=5, sample_interval=0,
            sample_prompt="Every effort moves you", sample_draw="multinomial", precision="fp32",
            init="pytorch",
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
        raise UserError(f"There is no preset named {name!r}. Available: {', '.join(PRESETS)}.")
    return PRESETS[name].with_length(changes or {})


_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse_value(name: str, value: str) -> Any:
    """The value of a setting from its text, by the type of the field; UserError where it is none."""
    kind = _plain(name)
    if is_optional(name) and value.lower() == "none":
        return None
    try:
        return _BOOLS[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError):
        raise UserError(f"{name} is {value[:80]!r}; it must be {_WANTED[kind]}.") from None


def _typed(name: str, value: Any) -> Any:
    """`value` in the type of the field, a whole number also from 3.0; UserError where it is of another type."""
    kind = _plain(name)
    if value is None and is_optional(name):
        return None
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise UserError(f"{name} is {str(value)[:80]!r}; it must be {_WANTED[kind]}.")
    return value


def _plain(name: str) -> type:
    """bool, int, float or str: the type of a setting's values, apart from None."""
    kind = FIELDS[name]
    if is_optional(name):
        kind = next(k for k in get_args(kind) if k is not type(None))
    return kind if isinstance(kind, type) else str


def is_optional(name: str) -> bool:
    """Whether a setting may be none."""
    return get_origin(FIELDS[name]) in (Union, types.UnionType)


COMMAND = "python3 start.py cli"  # what runs in a checkout as it is pasted: start.py knows the environment


def command_line(file: str, preset_name: str, config: RunConfig, base: str | None = None) -> str:
    """The command that starts the same run: the preset and every setting that differs from it.

    `base`: the stored model that it starts from.
    """
    words = [f"{COMMAND} train", shlex.quote(f"./{file}" if file.startswith("-") else file)]
    words.append(f"--preset {preset_name}")
    words += [f"--model {shlex.quote(base)}"] if base else []
    planned, most = PRESETS[preset_name].train.max_steps, config.train.max_steps
    standard = preset(preset_name, {"max_steps": most} if most else {}).to_dict()
    for part, settings in config.to_dict().items():
        for name, value in settings.items():
            kept = base is not None and name in FROM_MODEL
            if not kept and value != (planned if name == "max_steps" else standard[part][name]):
                words.append(_option(name, value))
    return " ".join(words)


def _option(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else str(value).lower()
    gap = "=" if text.startswith("-") else " "  # argparse takes a word that begins with a dash for an option
    return f"--{name.replace('_', '-')}{gap}{shlex.quote(text)}"
