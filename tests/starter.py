"""A starter model that takes no time, and text that must stay text, for the tests of sharing and presenting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.store.folder import save_model
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import train_bpe

HOSTILE = (
    '</script><img src=x onerror=window.hacked=1> ${window.hacked=1} {{7*7}} """ \'; import os\\\n'
    "\t\u202e\u0000 \U0001f9d9 \u05e9\u05dc\u05d5\u05dd"
)


def make_starter(home: Path, name: str = "little") -> None:
    """Into the store of `home`: a random model with opinions, on 300 tokens of the story."""
    tokenizer = train_bpe(sample_story()[:8000], 300)
    config = GPTConfig(n_vocab=tokenizer.n_vocab, n_ctx=48, n_embd=32, n_head=2, n_layer=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        weights = GPT(config).state_dict()
    weights["wte.weight"] = 10 * weights["wte.weight"]
    save_model(home / "models" / name, config, weights, tokenizer, {})


def own_deck() -> dict[str, Any]:
    """Every show that a model answers, with nothing recorded."""
    prompt = {"panel": "write", "model": "little", "prompt": "Nell and Jory", "seed": 5, "length": 10, "stop": False}
    penalty = {"name": "repetition_penalty", "value": 1.3}
    steps = [penalty, {"name": "temperature", "value": 0.7}, {"name": "top_k", "value": 6}]
    lanes = [{"name": "Greedy", "greedy": True}, {"name": "Hot", "steps": [{"name": "temperature", "value": 2}]}]
    beams = {"beams": 3, "length": 8, "length_penalty": 0.5, "early": False}
    shows: dict[str, dict[str, Any]] = {
        "tokens": {},
        "logits": {"steps": []},
        "softmax": {"steps": []},
        "distribution": {"steps": steps},
        "text": {"steps": steps, "greedy": False},
        "lanes": {"panel": "race", "lanes": lanes},
        "beams": {"panel": "beams", "beams": beams, "steps": steps},
    }
    scenes = [{"title": show, "note": "", "show": show, "state": {**prompt, **more}} for show, more in shows.items()]
    return {"title": "Mine", "scenes": scenes}
