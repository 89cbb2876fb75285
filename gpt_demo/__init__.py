"""A GPT-2 written from scratch, shown in an interactive page.

Storeys: a package may import itself and what is right of a ">" after it; only app.py and gpt_demo.ui import Gradio.

    app > ui, __main__ > lab, cli, presenter > compare, runs > exchange, training > decoding, store > text, model,
    download, jobs, devices > events, paths, memory > errors, format

`tests/test_layers.py` holds the code to it. Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Threads of OpenMP that wait for each other sleep instead of spinning: next to a busy browser, small models train
# several times faster. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"

_HOMES = {
    "GPT": "model.gpt",
    "GPTConfig": "model.gpt",
    "GPT2_SIZES": "model.gpt",
    "KVCache": "model.gpt",
    "Tokenizer": "text.tokenizer",
    "Sampling": "decoding.generate",
    "generate": "decoding.generate",
    "beam_search": "decoding.beams",
    "trace": "decoding.transforms",
    "lane_of": "decoding.race",
    "race": "decoding.race",
    "draw_toy": "decoding.darts",
    "TrainConfig": "training.plan",
    "TrainState": "training.state",
    "train": "training.loop",
    "evaluate": "training.evaluation",
    "perplexity": "training.evaluation",
    "ModelStore": "store.store",
    "data_home": "paths",
    "Runs": "runs.runs",
    "UserError": "errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gpt_demo.{_HOMES[name]}"), name)
