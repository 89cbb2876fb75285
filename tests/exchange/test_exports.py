"""What goes out: tokenizers equal in AutoTokenizer, a model card, GGUF as its own reader reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tiny
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_tokenizer_matrix import RIGHT, TEXTS
from test_tokenizer_matrix import config as write_config
from transformers import AutoTokenizer

from gpt_demo.errors import UserError
from gpt_demo.exchange.huggingface_tokenizer import save_tokenizer, tokenizer_json, vocabulary
from gpt_demo.exchange.pretrained import export_model, import_model
from gpt_demo.exchange.tokenizer_files import read_tokenizer
from gpt_demo.store.store import ModelStore
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import KINDS, Tokenizer, byte_level, make, train_bpe


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home", starter=None, see_all=True)


# Tokenizers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    """A tokenizer of each kind, and what AutoTokenizer makes of its export."""
    folder = tmp_path_factory.mktemp(request.param)
    fetched = request.param == "cl100k_base"
    tokenizer = request.getfixturevalue("cl100k_base") if fetched else make(request.param, sample_story(), 600)
    save_tokenizer(tokenizer, folder)
    write_config(folder, vocab_size=tokenizer.n_vocab, eos_token_id=tokenizer.end_of_text)
    return tokenizer, AutoTokenizer.from_pretrained(folder)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(TEXTS))
def test_every_kind_gives_the_same_ids_in_transformers(both: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = both
    assert theirs.encode(text) == ours.encode(text)


def test_the_end_goes_out_too(both: tuple[Tokenizer, Any]) -> None:
    ours, theirs = both
    assert theirs.eos_token_id == ours.end_of_text
    assert theirs.decode(ours.encode(TEXTS[1]), clean_up_tokenization_spaces=False) == TEXTS[1]


@pytest.mark.parametrize("name", RIGHT)
def test_a_tokenizer_of_others_goes_out_as_it_came(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_config(source)
    RIGHT[name](source)
    if not (source / "config.json").exists():
        write_config(source)
    tokenizer = read_tokenizer(source)
    assert tokenizer is not None
    save_tokenizer(tokenizer, out)
    write_config(out, vocab_size=tokenizer.n_vocab, eos_token_id=tokenizer.end_of_text)
    theirs, again = AutoTokenizer.from_pretrained(out), read_tokenizer(out)
    assert again is not None
    assert again.end_of_text == tokenizer.end_of_text
    for text in TEXTS:
        if name == "a pad token without a row" and "[PAD]" in text:
            continue
        ids = tokenizer.encode(text)
        assert theirs.encode(text, add_special_tokens=False, truncation=False, padding=False) == ids
        assert again.encode(text) == ids


def test_cl100k_base_comes_back(cl100k_base: Tokenizer, store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = cl100k_base
    model = tiny(n_vocab=tokenizer.n_vocab, n_embd=4, n_layer=1)
    store.save("one", model.config, model.state_dict(), tokenizer, {})
    list(export_model(store, "one", tmp_path / "out"))
    list(import_model(store, tmp_path / "out", "two"))
    assert store.load("two")[1].kind == "cl100k_base"


# The card -------------------------------------------------------------------------------------------------------------


def test_a_card_says_what_the_model_is(store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    about = {"owner": "secret", "run": "a | b\n# c", "val_loss": 3.14159}
    store.save("one", model.config, model.state_dict(), byte_level(), about)
    list(export_model(store, "one", tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# one\n" in card
    assert "| Validation loss | 3.142 |" in card
    assert "| Trained in the run | a / b # c |" in card
    assert "secret" not in card


# GGUF -----------------------------------------------------------------------------------------------------------------


def strings(reader: GGUFReader, name: str) -> list[str]:
    found: list[str] = reader.get_field(name).contents()  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_gguf(kind: str, tied_head: bool, qkv_bias: bool, store: ModelStore, tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = train_bpe("the cat and the hat and the bat " * 9, 262) if kind == "bpe" else byte_level()
    model = tiny(n_vocab=265, n_inner=40, qkv_bias=qkv_bias, tied_head=tied_head)
    store.save("one", model.config, model.state_dict(), tokenizer, {})
    list(export_model(store, "one", tmp_path / "out", form="gguf"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.gguf"]
    reader = GGUFReader(tmp_path / "out" / "one.gguf")
    said = {name: reader.get_field(f"gpt2.{name}").contents() for name in (  # type: ignore[union-attr]
        "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    )}  # fmt: skip
    assert list(said.values()) == [16, 32, 2, 40, 4]
    assert strings(reader, "tokenizer.ggml.tokens")[: tokenizer.n_vocab] == list(vocabulary(tokenizer))
    assert len(strings(reader, "tokenizer.ggml.tokens")) == 265
    assert strings(reader, "tokenizer.ggml.merges")[0] == (tokenizer.merges or ["<|endoftext|> <|endoftext|>"])[0]
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    assert len(tensors) == len(model.state_dict()) + (0 if qkv_bias else 2)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for theirs, ours in (
        ("token_embd.weight", "wte.weight"), ("position_embd.weight", "wpe.weight"),
        ("blk.1.attn_qkv.weight", "h.1.attn.c_attn.weight"), ("blk.0.ffn_down.weight", "h.0.mlp.c_proj.weight"),
        ("blk.1.ffn_norm.bias", "h.1.ln_2.bias"), ("output_norm.weight", "ln_f.weight"),
    ):  # fmt: skip
        assert np.array_equal(tensors[theirs], state[ours])
    assert ("output.weight" in tensors) is not tied_head


@pytest.mark.parametrize(
    ("shape", "tokenizer", "sentence"),
    [
        ({"activation_function": "gelu"}, "bytes", "activation_function gelu, and llama.cpp can't compute that"),
        ({"scale_attn_by_inverse_layer_idx": True}, "bytes", "scale_attn_by_inverse_layer_idx True"),
        ({}, "own", "tokenizer is of the kind own"),
    ],
)
def test_what_a_gguf_can_not_hold(
    shape: dict[str, Any], tokenizer: str, sentence: str, store: ModelStore, tiny: Tiny, tmp_path: Path
) -> None:
    model = tiny(**shape)
    own = {"definition": tokenizer_json(byte_level()), "end_of_text": 10, "n_vocab": 257, "kind": tokenizer}
    store.save("one", model.config, model.state_dict(), Tokenizer.from_dict({"format": "gpt_demo", **own}), {})
    with pytest.raises(UserError, match=sentence):
        list(export_model(store, "one", tmp_path / "out", form="gguf"))
    with pytest.raises(UserError, match=r"no format named 'onnx'\. Choose one of transformers, book, gguf"):
        list(export_model(store, "one", tmp_path / "out", form="onnx"))
    assert not (tmp_path / "out").exists()
