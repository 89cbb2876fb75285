"""The README.md that goes out with a model: what it is, where it comes from, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt_demo.format import count
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.text.tokenizer import Tokenizer

_ROWS = {
    "repo": "Repository", "size": "GPT-2 size", "file": "Imported from", "run": "Trained in the run", "step": "Steps",
    "train_loss": "Training loss", "val_loss": "Validation loss",
}  # fmt: skip


def model_card(name: str, config: GPTConfig, tokenizer: Tokenizer, about: Mapping[str, Any]) -> str:
    """In Markdown, with the header that the Hub reads. It does not name the model's owner."""
    rows = [f"| {label} | {_cell(about[key])} |" for key, label in _ROWS.items() if about.get(key) is not None]
    shape = [f"| {key} | {value} |" for key, value in config.to_dict().items()]
    return "\n".join([
        "---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- gpt2", "---", "", f"# {name}",
        "", f"A GPT-2 of {count(config.n_params)} parameters, exported from gpt_demo.", "",
        "| | |", "|---|---|", *rows, f"| Tokenizer | {tokenizer.kind}, {tokenizer.n_vocab:,} tokens |", *shape, "",
        "```python", "from transformers import AutoTokenizer, GPT2LMHeadModel", "",
        'tokenizer = AutoTokenizer.from_pretrained(".")', 'model = GPT2LMHeadModel.from_pretrained(".")',
        "```", "",
    ])  # fmt: skip


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())[:200]
