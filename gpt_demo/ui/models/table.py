"""What the Models tab says of models: which fit this machine, a table of them, and what the chosen one needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gpt_demo.devices import total_memory
from gpt_demo.errors import UserError
from gpt_demo.exchange.pretrained import downloaded, model_name, received_bytes
from gpt_demo.format import DASH, count, number, size
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig
from gpt_demo.store.loaded import memory_needed, precisions_that_fit
from gpt_demo.store.store import ModelInfo
from gpt_demo.ui.protocol.views import Fit, ModelGroup, ModelKind, ModelRow, Models, Remark
from gpt_demo.ui.services import Services, owner

SIZE_OF = {model_name(size): size for size in GPT2_SIZES}  # name -> GPT-2 size
SOURCE_WORDS = {"openai": "OpenAI's release", "huggingface": "Hugging Face"}
PARTLY = "partial"  # an interrupted download
HEAD = [
    ("Model", ""),
    ("State", "on disk, in memory, or not downloaded"),
    ("Parameters", "number of learned parameters"),
    ("Layers", "number of transformer blocks"),
    ("Heads", "attention heads per block"),
    ("Width", "size of a token's vector between the blocks (n_embd)"),
    ("Context", "tokens it can see at once"),
    ("Vocabulary", "number of tokens it knows"),
    ("Validation loss", "at the end of training, in nats per token; not comparable between different texts"),
    ("On disk", "size of its files; for a model not downloaded yet, of the download"),
    ("Memory", "needed to generate, with weights in fp32 or in the loaded precision"),
    ("Tokens/s", "generation speed here, measured when it is loaded or its precisions are compared"),
    ("Made", "the day it was trained, downloaded or imported"),
]


def fit_line(services: Services) -> Fit:
    """Which models fit on this machine."""
    memory = services.store.memory
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, config in GPT2_SIZES.items():
        groups.setdefault(fitting(config, memory.budget), []).append(name)
    parts = [f"{_listed(names)} {_in_precisions(fits, len(names) > 1)}" for fits, names in groups.items()]
    free = memory.room()
    note = f"{size(memory.reserved())} of it in use" if memory.reserved() else "none of it in use"
    if free < memory.budget:
        note += f"; {size(free)} currently left by other programs"
    text = f"This machine has {size(total_memory())} of memory, {size(memory.budget)} for models: {'; '.join(parts)}."
    return {"text": text, "note": f"Now {note}."}


def fitting(config: GPTConfig, budget: int) -> tuple[str, ...]:
    """The precisions in which a model of this shape can be loaded; those below fp32 only where fp32 does not fit."""
    fits = precisions_that_fit(config, budget)
    return ("fp32",) if "fp32" in fits else fits


def _in_precisions(fits: tuple[str, ...], several: bool) -> str:
    if fits == ("fp32",):
        return f"fit{'' if several else 's'} in fp32"
    return f"only in {' or '.join(fits)}" if fits else "not at all"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def download_bytes(name: str) -> int:
    """Approximate bytes of OpenAI's seven files of a size: the weights exactly, and the other files."""
    config = GPT2_SIZES[name]
    return 4 * config.n_params + 1_500_000 + 39_000 * config.n_layer


# The table ------------------------------------------------------------------------------------------------------------


def own_models(services: Services, token: str | None) -> list[ModelInfo]:
    """The starter and the visitor's models, without the GPT-2 sizes."""
    return [info for info in services.store.list(owner(token)) if not _is_gpt2(info)]


def _is_gpt2(info: ModelInfo) -> bool:
    return info.name in SIZE_OF and info.about.get("size") == SIZE_OF[info.name]


def gpt2_models(services: Services) -> dict[str, ModelInfo | None]:
    """The four sizes; None where one is not here."""
    found: dict[str, ModelInfo | None] = {}
    for name, of_size in SIZE_OF.items():
        try:
            found[name] = downloaded(services.store, of_size)
        except UserError:  # a model of the visitor's has its name
            continue
    return found


def table(services: Services, token: str | None, fetching: dict[str, str]) -> Models:
    """The GPT-2 sizes, then the starter and the visitor's own. `fetching`: what is being downloaded."""
    gpt2 = [
        _row(services, info, name, info.config if info else GPT2_SIZES[SIZE_OF[name]], fetching.get(name))
        for name, info in gpt2_models(services).items()
    ]
    own = [_row(services, info, info.name, info.config, None) for info in own_models(services, token)]
    groups: list[ModelGroup] = [
        {"key": "own", "title": "The starter and your models", "rows": own},
        {"key": "gpt2", "title": "GPT-2, as released by OpenAI", "rows": gpt2},
    ]
    return {"head": HEAD, "groups": groups, "note": "No models yet. Train one in the Train tab, or download one below."}


def _row(services: Services, info: ModelInfo | None, name: str, config: GPTConfig, fetching: str | None) -> ModelRow:
    loaded = services.store.memory.precision_of(info.folder) if info else None
    state, kind = _state(info, loaded, fetching)
    about = info.about if info else {}
    cells = [
        state,
        count(config.n_params),
        *(f"{n:,}" for n in (config.n_layer, config.n_head, config.n_embd, config.n_ctx, config.n_vocab)),
        number(about.get("val_loss")),
        size(info.bytes if info else download_bytes(SIZE_OF[name])),
        size(memory_needed(config, loaded or "fp32")),
        _speed(services, info, loaded),
        _day(about.get("created")),
    ]
    return {"name": name, "cells": cells, "kind": kind}


def _state(info: ModelInfo | None, loaded: str | None, fetching: str | None) -> tuple[str, ModelKind]:
    if fetching and not fetching.startswith(PARTLY):
        return fetching, "busy"
    if info is None:
        return fetching or "not here", "absent"
    return (f"in memory, {loaded}", "loaded") if loaded else ("on disk", "here")


def speed_key(info: ModelInfo, precision: str) -> tuple[str, float, str]:
    """Under which a model's speed is kept; another model of its name has another one."""
    return str(info.folder), info.modified, precision


def _speed(services: Services, info: ModelInfo | None, loaded: str | None) -> str:
    speed = services.speeds.get(speed_key(info, loaded or "fp32")) if info else None
    return tokens_a_second(speed)


def tokens_a_second(speed: float | None) -> str:
    return number(speed, 1 if speed is None or speed < 100 else 0)


def _day(seconds: Any) -> str:
    """The day of a time in seconds since 1970; an en dash where there is none."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if isinstance(seconds, int | float) else DASH


# The chosen model -----------------------------------------------------------------------------------------------------


def estimate(services: Services, info: ModelInfo | None, name: str, precision: str) -> Remark:
    """What can be said before it is loaded, or downloaded."""
    memory = services.store.memory
    if info is None:
        of_size = SIZE_OF[name]
        said = f"{name} is not downloaded yet: {size(download_bytes(of_size))} to download{_come(services, of_size)}."
        return _advice(GPT2_SIZES[of_size], memory.budget, said)
    loaded = memory.precision_of(info.folder)
    room = memory.room()
    needed = memory_needed(info.config, precision)
    said = f"In {precision} it needs about {size(needed)} of memory; {size(room)} are available."
    if loaded == precision:
        return {"text": f"{name} is in memory in {loaded}, about {size(needed)}.", "trouble": False}
    if loaded:
        said = f"{name} is in memory in {loaded}. {said}"
    if needed <= room:
        return {"text": said, "trouble": False}
    others = precisions_that_fit(info.config, room)
    advice = f"Choose {' or '.join(others)}." if others else "It can't be loaded here."
    return {"text": f"{said} {advice}", "trouble": True}


def _come(services: Services, of_size: str) -> str:
    """What an interrupted download has left: choosing its source again resumes it."""
    come = {words: received_bytes(services.store, of_size, source) for source, words in SOURCE_WORDS.items()}
    return "".join(f", {size(count)} already received from {words}" for words, count in come.items() if count)


def _advice(config: GPTConfig, budget: int, said: str) -> Remark:
    fits = fitting(config, budget)
    if not fits:
        return {"text": f"{said} It needs more memory than this machine has for models.", "trouble": True}
    return {
        "text": f"{said} Loaded in {fits[0]} it needs about {size(memory_needed(config, fits[0]))} of memory.",
        "trouble": False,
    }
