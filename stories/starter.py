"""The starter model: trained on generated stories, measured on others, stored in bf16."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import torch

from gpt_demo.cli.main import main as gpt_demo
from gpt_demo.model.gpt import GPT
from gpt_demo.store.folder import save_model
from gpt_demo.store.store import ModelStore
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.evaluation import evaluate
from stories.write import joined, stories

STORIES, SEED, HELD_OUT = 16_000, 1, 200
NAME = "tales"  # of the run
# Names are kept only if a model can tell one from another: embeddings that begin large and that the head does not share
# do so after 500 steps, GPT-2's own small and shared ones had not after 5,000.
SETTINGS = {
    "n-vocab": 1536, "n-ctx": 128, "n-embd": 128, "n-head": 4, "n-layer": 3, "tied-head": "false", "init": "pytorch",
    "batch-size": 4, "max-steps": 6500, "batches": "windows", "learning-rate": 2e-3, "min-learning-rate": 1e-4,
    "warmup-steps": 100, "weight-decay": 0.01, "val-fraction": 0.02, "eval-batches": 10, "eval-interval": 500,
    "sample-interval": 500, "sample-prompt": "Nell looked at the",
}  # fmt: skip


def make_starter(home: Path, to: Path) -> int:
    """Train and save; a run that was broken off goes on. The exit code of the training."""
    os.environ["GPT_DEMO_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    text = home / "stories.txt"
    text.write_text(joined(stories(STORIES, SEED)), encoding="utf-8")
    settings = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    begun = (home / "runs" / NAME).exists()
    code = gpt_demo(["train", "--resume", NAME] if begun else ["train", str(text), "--name", NAME, *settings])
    if code == 0:
        put(ModelStore(home, see_all=True), text.read_text(encoding="utf-8"), to)
    return code


def put(store: ModelStore, text: str, to: Path) -> None:
    """The trained model in bf16 at `to`, with what it has read and its losses: on stories read and on held-out ones."""
    info = store.get(NAME)
    model, tokenizer = store.load(NAME)
    weights = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    about = {
        **{key: info.about[key] for key in ("owner", "source", "step")},
        "created": time.time(),
        "reads": f"{STORIES:,} short stories of a grammar, {len(text.split()):,} words",
        "train_loss": loss_on(model, tokenizer, stories(HELD_OUT, SEED)),
        "val_loss": loss_on(model, tokenizer, islice(stories(STORIES + HELD_OUT, SEED), STORIES, None)),
    }
    save_model(to, info.config, weights, tokenizer, about)


def loss_on(model: GPT, tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """In nats per token."""
    *_, measured = evaluate(model, tokenizer, joined(texts))
    return float(measured.loss)
