"""Checkpoints as other programs write them: PyTorch's old format, shards, nanoGPT's, and the book's, in and out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from others import IDS, logits, randomise, write_repo
from torch import Tensor

from benchmarks.reference import BookGPT
from gpt_demo.errors import UserError
from gpt_demo.exchange.book import export_book
from gpt_demo.exchange.model_import import convert, open_model
from gpt_demo.exchange.tensor_files import open_file
from gpt_demo.exchange.unsaid import NotSaid
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.store.folder import load_weights, save_model
from gpt_demo.text.tokenizer import byte_level

SHAPE: dict[str, Any] = {"n_vocab": 257, "n_ctx": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}
BOOK = {"n_head": 4, "tokenizer": "bytes"}


def imported(path: Path, scratch: Path, said: dict[str, Any] | None = None) -> GPT:
    source = open_model(path, said)
    list(convert(source, scratch / "converted.safetensors"))
    model = GPT(source.config)
    load_weights(model, scratch / "converted.safetensors")
    return model.eval()


# PyTorch's own --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["since 1.6", "before 1.6"])
@pytest.mark.parametrize("sharded", [True, False])
def test_bin_files(zipped: bool, sharded: bool, tmp_path: Path) -> None:
    model = write_repo(tmp_path, byte_level(), n_positions=16, n_embd=32, n_head=4, n_layer=2)
    (tmp_path / "model.safetensors").unlink()
    state = model.state_dict()
    names = sorted(state)
    files = [names[::2], names[1::2]] if sharded else [names]
    place: dict[str, str] = {}
    for i, part in enumerate(files, start=1):
        name = f"pytorch_model-{i:05}-of-00002.bin" if sharded else "pytorch_model.bin"
        torch.save({n: state[n].clone() for n in part}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        place |= dict.fromkeys(part, name)
    if sharded:
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": place}))
    assert torch.allclose(logits(imported(tmp_path, tmp_path)), logits(model), atol=1e-5)
    if sharded:
        (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
        with pytest.raises(UserError, match=r"lacks pytorch_model-00002-of-00002\.bin, which its index names"):
            open_model(tmp_path)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"model\.pth is cut off: its end is missing. Download or copy it again"):
        open_file(path)
    path.write_bytes(b"<html>")
    with pytest.raises(UserError, match="is no file of weights, or is damaged"):
        open_file(path)


# nanoGPT's ckpt.pt ----------------------------------------------------------------------------------------------------


def nano(model: GPT, **more: Any) -> dict[str, Any]:
    """A checkpoint as nanoGPT's train.py saves it; its layers are stored as ours are."""
    c = model.config
    state = {f"_orig_mod.transformer.{name}": value for name, value in model.state_dict().items()}
    state["_orig_mod.lm_head.weight"] = model.wte.weight.detach()
    args = {
        "n_layer": c.n_layer, "n_head": c.n_head, "n_embd": c.n_embd, "block_size": c.n_ctx, "bias": True,
        "vocab_size": c.n_vocab, "dropout": 0.0,
    }  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    saved = {"model": state, "optimizer": optimizer, "model_args": args, "iter_num": 3}
    return {**saved, "best_val_loss": torch.tensor(2.0), "config": {"device": "cpu", "lr": 1e-3}, **more}


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_a_checkpoint_of_nanogpt(activation: str, tiny: Tiny, tmp_path: Path) -> None:
    """Its heads stand in it; versions of its code differ in their GELU, and its tokens may be anybody's."""
    model = tiny(**SHAPE, activation_function=activation).eval()
    randomise(model)
    torch.save(nano(model), tmp_path / "ckpt.pt")
    with pytest.raises(NotSaid) as error:
        open_model(tmp_path / "ckpt.pt")
    assert error.value.guesses == {"activation_function": "gelu", "tokenizer": "bytes"}
    said = {"activation_function": activation, "tokenizer": "bytes"}
    assert torch.equal(logits(imported(tmp_path / "ckpt.pt", tmp_path, said)), logits(model))
    with pytest.raises(UserError, match=r"ckpt\.pt says itself that n_head is 4, not 8"):
        open_model(tmp_path / "ckpt.pt", {**said, "n_head": 8})


def test_a_checkpoint_without_biases(tiny: Tiny, tmp_path: Path) -> None:
    """bias=False, which is nanoGPT's own default: ours are 0 then."""
    model = tiny(**SHAPE, qkv_bias=False).eval()
    randomise(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".bias"):
                p.zero_()
    saved = nano(model)
    saved["model"] = {name: value for name, value in saved["model"].items() if not name.endswith(".bias")}
    torch.save(saved, tmp_path / "ckpt.pt")
    said = {"activation_function": "gelu_new", "tokenizer": "bytes"}
    assert torch.equal(logits(imported(tmp_path / "ckpt.pt", tmp_path, said)), logits(model))


# The book's -----------------------------------------------------------------------------------------------------------

NAMES = {
    "tokens": "tok_emb", "positions": "pos_emb", "blocks": "trf_blocks", "attention": "att", "query": "W_query",
    "key": "W_key", "value": "W_value", "out": "out_proj", "feed_forward": "ff.layers", "norm": "final_norm",
    "head": "out_head",
}  # fmt: skip


def as_the_book_names(name: str) -> str:
    """The reference's names, which are not the book's, as the book's."""
    return ".".join(NAMES.get(part, part) for part in name.split("."))


def book_model(qkv_bias: bool, tied: bool) -> BookGPT:
    """With an output head of its own, as in the book, unless `tied`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BookGPT(GPTConfig(**SHAPE, qkv_bias=qkv_bias))
        if not tied:
            model.head = torch.nn.Linear(SHAPE["n_embd"], SHAPE["n_vocab"], bias=False)
    randomise(model)
    return model.eval()


def book_state(model: BookGPT) -> dict[str, Tensor]:
    return {as_the_book_names(name): value for name, value in model.state_dict().items()}


def book_logits(model: BookGPT) -> Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.parametrize("file", ["model.pth", "model_and_optimizer.pth"])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_books_files(file: str, qkv_bias: bool, tied: bool, tmp_path: Path) -> None:
    """In, and out again: the same names, shapes and numbers."""
    model = book_model(qkv_bias, tied)
    state = book_state(model)
    optimizer = torch.optim.AdamW(model.parameters())
    model(IDS).sum().backward()
    optimizer.step()
    state = {name: value.clone() for name, value in book_state(model).items()}
    both = {"model_state_dict": state, "optimizer_state_dict": optimizer.state_dict()}
    torch.save(state if file == "model.pth" else both, tmp_path / file)
    with pytest.raises(NotSaid) as error:
        open_model(tmp_path / file)
    assert error.value.guesses == {"n_head": None, "tokenizer": "bytes"}
    ours = imported(tmp_path / file, tmp_path, BOOK)
    assert ours.config == GPTConfig(**SHAPE, qkv_bias=qkv_bias, tied_head=tied)
    assert torch.allclose(logits(ours), book_logits(model), atol=1e-5)

    save_model(tmp_path / "stored", ours.config, ours.state_dict(), byte_level(), {})
    list(export_book(tmp_path / "stored", tmp_path / "out"))
    again = torch.load(tmp_path / "out" / "model.pth", weights_only=True)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    open_model(tmp_path / "out" / "model.pth", BOOK)


def test_the_books_names_are_these(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(**SHAPE, n_inner=0, qkv_bias=False)
    save_model(tmp_path / "stored", model.config, model.state_dict(), byte_level(), {})
    list(export_book(tmp_path / "stored", tmp_path / "out"))
    names = torch.load(tmp_path / "out" / "model.pth", weights_only=True).keys()
    assert {name for name in names if "trf_blocks.1" not in name} == {
        "tok_emb.weight", "pos_emb.weight", "final_norm.scale", "final_norm.shift", "out_head.weight",
        *(f"trf_blocks.0.{name}" for name in (
            "att.mask", "att.W_query.weight", "att.W_key.weight", "att.W_value.weight", "att.out_proj.weight",
            "att.out_proj.bias", "ff.layers.0.weight", "ff.layers.0.bias", "ff.layers.2.weight", "ff.layers.2.bias",
            "norm1.scale", "norm1.shift", "norm2.scale", "norm2.shift",
        )),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("trf_blocks.1.att.W_key.weight"), r"c_attn\.weight is \(64, 32\), not \(96, 32\)"),
        (lambda s: s.pop("pos_emb.weight"), r"holds no GPT-2: .*wpe\.weight"),
        (lambda s: s.update({"trf_blocks.0.att.W_query.weight": torch.ones(32, 31)}), r"c_attn\.weight is \(\)"),
        (lambda s: s.update({"trf_blocks.0.att.lora": torch.ones(2)}), r"att\.lora does not belong"),
        (lambda s: s.update({"module.tok_emb.weight": torch.ones(257, 32)}), "holds both"),
    ],
)
def test_a_file_that_is_not_quite_the_books(change: Any, sentence: str, tmp_path: Path) -> None:
    state = book_state(book_model(qkv_bias=False, tied=False))
    change(state)
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(UserError, match=sentence):
        open_model(tmp_path / "model.pth", BOOK)


@pytest.mark.parametrize(
    "change",
    [
        {"activation_function": "gelu"}, {"layer_norm_epsilon": 1e-6}, {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True}, {"n_inner": 24},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_book_does_not_compute_does_not_go_out(change: dict[str, Any], tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(**SHAPE, **change)
    save_model(tmp_path / "stored", model.config, model.state_dict(), byte_level(), {})
    name = next(iter(change))
    with pytest.raises(UserError, match=f"has {name} {re.escape(str(change[name]))}, and the book's GPTModel can't"):
        list(export_book(tmp_path / "stored", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
