"""A GPT-2 written from scratch, shown in an interactive page.

Layers: a module may import what stands right of a ">" behind it, and only app.py and gpt_demo.ui import Gradio.

    app > __main__, ui > commands_models, fit > compare, pretrained, recipes, scenes > estimate, model_import,
    recordings > checkpoint, config, hub, huggingface, lab, runs, samples, tasks, writing > contrast,
    huggingface_tokenizer, precisions, training > evaluation, lora, run_folder, scores, store > loaded, model_folder
    > data, decoding, history, openai_release, plan, quantization > devices, download, memory, model,
    tensorflow_reader, tokenizer, transforms > events, fused_loss, part_file, tensor_files, weights_file
    > errors, transfer

`tests/test_layers.py` holds the code to it. Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Threads of OpenMP that wait for each other sleep instead of spinning: beside a busy browser, small models train
# several times faster. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "GPT": "model",
    "GPTConfig": "model",
    "GPT2_SIZES": "model",
    "KVCache": "model",
    "Tokenizer": "tokenizer",
    "Sampling": "decoding",
    "generate": "decoding",
    "beam_search": "decoding",
    "trace": "transforms",
    "TrainConfig": "plan",
    "TrainState": "training",
    "train": "training",
    "evaluate": "evaluation",
    "perplexity": "evaluation",
    "ModelStore": "store",
    "Runs": "runs",
    "UserError": "errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gpt_demo.{_HOMES[name]}"), name)
