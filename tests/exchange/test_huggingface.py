"""What is exported computes the same in transformers, and its tokenizer gives the same ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Tiny
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2Tokenizer

from gpt_demo.exchange.huggingface import export_folder
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import byte_level, byte_of_symbol, gpt2, make

TEXTS = [
    sample_story()[:2000],
    "It's 12 o'clock.\n\n  Ünïcödé, 你好 🎉,\t\ttabs   \n",
    "one<|endoftext|>two",
    " ",
    "",
]


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_logits_are_equal(tied_head: bool, qkv_bias: bool, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(tied_head=tied_head, qkv_bias=qkv_bias, dropout=0.1, seed=3).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) / 10)  # biases are 0 at first
    theirs = GPT2LMHeadModel.from_pretrained(export_folder(model, byte_level(), tmp_path / "out")).eval()
    ids = torch.randint(257, (3, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, model(ids)[0], atol=1e-5)
    tied = theirs.lm_head.weight.data_ptr() == theirs.transformer.wte.weight.data_ptr()
    assert tied is tied_head
    assert theirs.config.eos_token_id == 256


def test_it_writes_the_same_text(tiny: Tiny, tmp_path: Path) -> None:
    """Greedy, with transformers' own loop."""
    model = tiny(seed=5).eval()
    theirs = GPT2LMHeadModel.from_pretrained(export_folder(model, byte_level(), tmp_path)).eval()
    ids = torch.tensor([byte_level().encode("The ")])
    written = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    ours = ids
    for _ in range(8):
        ours = torch.cat([ours, model(ours)[0][:, -1:].argmax(dim=2)], dim=1)
    assert written.tolist() == ours[:, : written.shape[1]].tolist()


@pytest.mark.parametrize("kind", ["gpt2", "bpe", "bytes"])
def test_tokenizers_give_the_same_ids(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = make(kind, sample_story(), 500)
    export_folder(tiny(n_vocab=tokenizer.n_vocab, n_embd=4, n_layer=1), tokenizer, tmp_path)
    for theirs in (GPT2Tokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert theirs.eos_token_id == tokenizer.end_of_text
        assert len(theirs) == tokenizer.n_vocab
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert theirs.encode(text) == ids
            assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text


def test_vocabulary_file_of_gpt2(tiny: Tiny, tmp_path: Path) -> None:
    export_folder(tiny(n_vocab=50257, n_embd=4, n_layer=1), gpt2(), tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert len(vocabulary) == 50257
    assert (vocabulary["!"], vocabulary["Ġthe"], vocabulary["<|endoftext|>"]) == (0, 262, 50256)


def test_symbols_of_bytes() -> None:
    """OpenAI's table: printable Latin-1 stands for itself, the other bytes for U+0100 and on."""
    table = byte_of_symbol()
    assert sorted(table.values()) == list(range(256))
    assert (table["A"], table["Ġ"], table["Ċ"], table["ÿ"], table["Ā"], table["Ń"]) == (65, 32, 10, 255, 0, 173)
