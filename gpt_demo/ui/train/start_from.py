"""What a run starts from: random weights, or one of the visitor's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.format import size
from gpt_demo.runs.recipes import continued
from gpt_demo.store.store import ModelInfo
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.config import FROM_MODEL, PRESETS, RunConfig
from gpt_demo.training.estimate import fine_tuning, memory_by_part, part_in_words
from gpt_demo.ui.services import Services, owner

SCRATCH = "from scratch"  # not a valid model name
UNUSED = FROM_MODEL | {"init"}  # what a run from a model does not ask for


@dataclass(frozen=True)
class Choice:
    """What the form asks for: a configuration, and the stored model to start from, if any."""

    config: RunConfig
    base: ModelInfo | None = None

    @property
    def base_name(self) -> str | None:
        return self.base.name if self.base else None

    def changed(self, changes: Mapping[str, Any]) -> Choice:
        return replace(self, config=self.config.changed(changes))


def base_model(services: Services, token: str, name: str | None) -> ModelInfo | None:
    """The model of this name, none for SCRATCH; UserError where it is not there (any more)."""
    return None if name in (None, SCRATCH) else services.store.get(str(name), owner(token))


def own_tokenizer(base: ModelInfo) -> Tokenizer:
    return Tokenizer.load(base.folder / "tokenizer.json")


def offered(services: Services, token: str, chosen: str | None) -> Any:
    """The choices there are now. A chosen model that has gone stays among them (Gradio takes no other value) until
    another is chosen: what it is used for says that it has gone. The value is left alone, it may be changing."""
    names = [SCRATCH, *(info.name for info in services.store.list(owner(token)))]
    return gr.update(choices=names if chosen in names or not chosen else [*names, chosen])


def fill_settings(services: Services, token: str, base_name: str | None, preset_name: str) -> dict[str, Any]:
    """Updates of the settings by name: the preset's values; with a model its shape, fixed, and what suits that."""
    config, base = PRESETS[preset_name], None
    try:
        base = base_model(services, token, base_name)
        if base is not None:
            config = fine_tuning(continued(config, base, own_tokenizer(base)))
    except UserError:  # the plan says why
        base = None
    fixed = UNUSED if base else set()
    return {name: gr.update(value=value, interactive=name not in fixed) for name, value in flat(config).items()}


def flat(config: RunConfig) -> dict[str, Any]:
    """All settings by name."""
    return {name: value for part in config.to_dict().values() for name, value in part.items()}


def needs(config: RunConfig) -> str:
    """The memory of each way to train a model further."""
    return ", ".join(f"{part_in_words(config, part)} {size(bytes)}" for part, bytes in memory_by_part(config).items())
