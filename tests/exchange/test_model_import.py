"""Models from elsewhere: the same numbers as their makers compute, or a sentence that says why not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from others import logits, randomise, write_repo
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2TokenizerFast

from gpt_demo.errors import UserError
from gpt_demo.events import Converting
from gpt_demo.exchange.huggingface import export_folder
from gpt_demo.exchange.model_import import convert, open_model
from gpt_demo.exchange.unsaid import NotSaid
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.store.folder import load_weights, save_model
from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import Tokenizer, byte_level, make


def imported(path: Path, scratch: Path, said: dict[str, Any] | None = None) -> tuple[GPT, Tokenizer]:
    """The model that an import of `path` gives."""
    source, target = open_model(path, said), scratch / "converted.safetensors"
    events = list(convert(source, target))
    total = len(source.names) + len(source.added)
    assert events == [Converting(done, total) for done in range(total + 1)]
    model = GPT(source.config)
    load_weights(model, target)
    return model.eval(), source.tokenizer


@pytest.fixture
def model(tiny: Tiny) -> GPT:
    model = tiny(seed=3).eval()
    randomise(model)
    return model


@pytest.fixture
def folder(model: GPT, tmp_path: Path) -> Path:
    """An export of the small model."""
    return export_folder(model, byte_level(), tmp_path / "export")


def edit(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(record | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_export_and_import_give_equal_logits(tied_head: bool, qkv_bias: bool, tiny: Tiny, tmp_path: Path) -> None:
    """Bit for bit, and the same configuration."""
    model = tiny(tied_head=tied_head, qkv_bias=qkv_bias, dropout=0.1, seed=3).eval()
    randomise(model)
    again, tokenizer = imported(export_folder(model, byte_level(), tmp_path / "out"), tmp_path)
    assert again.config == model.config
    assert tokenizer.kind == "bytes"
    assert torch.equal(logits(again), logits(model))


def test_this_apps_own_layout(model: GPT, tmp_path: Path) -> None:
    about = {"source": "x", "owner": "somebody"}
    save_model(tmp_path / "own", model.config, model.state_dict(), byte_level(), about)
    again, tokenizer = imported(tmp_path / "own", tmp_path)
    assert again.config == model.config
    assert tokenizer.kind == "bytes"
    assert torch.equal(logits(again), logits(model))


SHAPES: list[dict[str, Any]] = [
    {"n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 2},
    {"n_positions": 24, "n_embd": 24, "n_head": 3, "n_layer": 3, "tie_word_embeddings": False},
    {"activation_function": "gelu", "n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 2},
    {"layer_norm_epsilon": 0.01, "n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 2},
    {"scale_attn_weights": False, "n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 2},
    {"scale_attn_by_inverse_layer_idx": True, "n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 3},
    {"n_inner": 40, "n_positions": 16, "n_embd": 32, "n_head": 4, "n_layer": 2},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_of_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    """save_pretrained of the library itself."""
    model = write_repo(tmp_path / "theirs", byte_level(), **shape)
    ours, _ = imported(tmp_path / "theirs", tmp_path)
    assert ours.config.tied_head is shape.get("tie_word_embeddings", True)
    assert torch.allclose(logits(ours), logits(model), atol=1e-5)


def test_shards(tmp_path: Path) -> None:
    model = write_repo(tmp_path / "theirs", byte_level(), **SHAPES[0])
    (tmp_path / "theirs" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    assert torch.allclose(logits(imported(tmp_path / "theirs", tmp_path)[0]), logits(model), atol=1e-5)


def test_the_hubs_older_files(model: GPT, folder: Path, tmp_path: Path) -> None:
    """No "transformer." before the names, causal masks and a copy of the embedding beside the weights."""

    def old(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)
        for layer in range(2):
            weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
            weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        weights["lm_head.weight"] = weights["wte.weight"].clone()

    edit_weights(folder, old)
    record = json.loads((folder / "config.json").read_text())
    for key in ("gpt_demo", "tie_word_embeddings", "activation_function", "layer_norm_epsilon", "n_positions"):
        del record[key]
    (folder / "config.json").write_text(json.dumps(record | {"n_ctx": 16, "reorder_and_upcast_attn": True}))
    again, _ = imported(folder, tmp_path)
    assert again.config == model.config
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_become_float32(dtype: torch.dtype, folder: Path, tmp_path: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({n: v.to(dtype) for n, v in weights.items()}))
    stored = load_file(folder / "model.safetensors")
    again, _ = imported(folder, tmp_path)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert torch.equal(again.wte.weight, stored["transformer.wte.weight"].float())
    assert torch.equal(again.h[1].mlp.c_fc.weight, stored["transformer.h.1.mlp.c_fc.weight"].float().T)


def test_a_pickled_state_dict(model: GPT, folder: Path, tmp_path: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(logits(imported(folder, tmp_path)[0]), logits(model))


def test_a_malicious_pickle_makes_no_model(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    torch.save({"wte.weight": Bomb()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for path in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(UserError, match="nothing of it was run"):
            open_model(path)
    assert not (tmp_path / "exploded").exists()


# One file alone -------------------------------------------------------------------------------------------------------

WIDE = GPTConfig(n_vocab=50257, n_ctx=4, n_embd=768, n_head=12, n_layer=1)


SAID: dict[str, Any] = {
    "n_head": 12, "activation_function": "gelu_new", "scale_attn_weights": True, "layer_norm_epsilon": 1e-5,
    "scale_attn_by_inverse_layer_idx": False, "tokenizer": "gpt2",
}  # fmt: skip


@pytest.fixture(scope="module")
def wide() -> dict[str, Tensor]:
    """The weights of a model of a width of GPT-2's; one row per matrix, repeated, so that it is made at once."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in GPT(WIDE).state_dict().items()}
    return {name: torch.arange(shape[-1]).expand(shape).float() / 1000 for name, shape in shapes.items()}


@pytest.mark.parametrize("layout", ["ours", "theirs"])
def test_a_file_alone(layout: str, wide: dict[str, Tensor], tmp_path: Path) -> None:
    weights = dict(wide)
    if layout == "theirs":
        matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
        weights = {f"transformer.{n}": v.T.contiguous() if n.endswith(matrices) else v for n, v in wide.items()}
    save_file(weights, tmp_path / "weights.safetensors")
    source = open_model(tmp_path / "weights.safetensors", SAID)
    assert source.config == WIDE
    assert source.tokenizer.kind == "gpt2"
    list(convert(source, tmp_path / "out.safetensors"))
    out = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(out[name], value) for name, value in wide.items())


@pytest.mark.parametrize("left_out", [*SAID, None])
def test_what_a_file_alone_does_not_say_is_asked_for(left_out: str | None, wide: Any, tmp_path: Path) -> None:
    """All of it, or what was left out; with guesses in a form that can be pasted."""
    save_file({name: value.contiguous() for name, value in wide.items()}, tmp_path / "weights.safetensors")
    said = {name: value for name, value in SAID.items() if left_out not in (name, None)}
    with pytest.raises(NotSaid, match=r"guesses to be confirmed: ") as error:
        open_model(tmp_path / "weights.safetensors", said)
    assert error.value.guesses == ({left_out: SAID[left_out]} if left_out else SAID)
    assert f"--{(left_out or 'n_head').replace('_', '-')} " in str(error.value)


def test_where_nothing_can_be_guessed_nothing_is(folder: Path, tmp_path: Path) -> None:
    edit_weights(folder, lambda w: w.update({"transformer.wte.weight": torch.ones(300, 32)}))
    alone = (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    with pytest.raises(NotSaid, match=r"--n-head \? .* --tokenizer \?$"):
        open_model(alone)


def test_what_is_said_is_what_is_computed(model: GPT, folder: Path, tmp_path: Path) -> None:
    """Other heads, another activation and another scaling give other logits: it is not for show."""
    alone = (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    said = {**SAID, "n_head": 4, "tokenizer": "bytes"}
    right, tokenizer = imported(alone, tmp_path, said)
    assert torch.equal(logits(right), logits(model))
    assert tokenizer.kind == "bytes"
    for change in ({"n_head": 8}, {"activation_function": "gelu"}, {"scale_attn_by_inverse_layer_idx": True}):
        assert not torch.allclose(logits(imported(alone, tmp_path, said | change)[0]), logits(model), atol=1e-4)


def test_a_tokenizer_by_its_folder(folder: Path, tmp_path: Path) -> None:
    alone = (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    said = {**SAID, "n_head": 4}
    assert open_model(alone, {**said, "tokenizer": str(folder)}).tokenizer.kind == "bytes"
    for wrong in ("bpe", "german", str(tmp_path / "none"), ""):
        with pytest.raises(UserError, match=r"is no tokenizer\. Give gpt2, cl100k_base, bytes, or a folder"):
            open_model(alone, {**said, "tokenizer": wrong})
    with pytest.raises(UserError, match="50,257 tokens and the model 257"):
        open_model(alone, said)


def test_what_the_files_say_can_not_be_said_otherwise(folder: Path) -> None:
    assert open_model(folder, {"n_head": 4}).config.n_head == 4
    with pytest.raises(UserError, match=r"config\.json says itself that n_head is 4, not 8\. Leave that out"):
        open_model(folder, {"n_head": 8})
    with pytest.raises(UserError, match="has a tokenizer of its own"):
        open_model(folder, {"tokenizer": "gpt2"})


def test_two_tensors_of_one_name(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"wte.weight": torch.ones(257, 32)}))
    with pytest.raises(UserError, match=r"holds both transformer\.wte\.weight and wte\.weight"):
        open_model(folder)


def test_the_file_of_a_folder_is_the_folder(model: GPT, folder: Path, tmp_path: Path) -> None:
    assert torch.equal(logits(imported(folder / "model.safetensors", tmp_path)[0]), logits(model))


@pytest.mark.parametrize("name", ["x.txt", "x", "model.onnx"])
def test_other_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match="can't be imported"):
        open_model(tmp_path / name)


def test_a_file_that_is_no_gpt2(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="holds no GPT-2"):
        open_model(tmp_path / "x.safetensors")


# What does not fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda w: w.pop("transformer.h.1.ln_1.bias"), r"h\.1\.ln_1\.bias is missing"),
        (lambda w: w.update(score=torch.ones(2)), "score does not belong"),
        (
            lambda w: w.update({"transformer.wpe.weight": torch.ones(3, 32)}),
            r"wpe\.weight is \(3, 32\), not \(16, 32\)",
        ),
        (
            lambda w: w.update({"transformer.h.0.mlp.c_fc.weight": torch.ones(128, 32)}),
            r"c_fc\.weight is \(128, 32\), not \(32, 128\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(fault: Any, sentence: str, folder: Path) -> None:
    edit_weights(folder, fault)
    with pytest.raises(UserError, match=sentence):
        open_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_named(value: float, folder: Path, tmp_path: Path) -> None:
    edit_weights(folder, lambda w: w["transformer.h.1.attn.c_proj.weight"].view(-1)[17:18].fill_(value))
    with pytest.raises(UserError, match=r"transformer\.h\.1\.attn\.c_proj\.weight holds infinities or NaN"):
        list(convert(open_model(folder), tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


def test_an_interrupted_conversion_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    events = convert(open_model(folder), tmp_path / "out.safetensors")
    assert [next(events), next(events)][1].done == 1
    assert (tmp_path / "out.safetensors").exists()
    events.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "out.safetensors").exists()


def test_a_head_that_should_be_tied(folder: Path, tmp_path: Path) -> None:
    edit_weights(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"] + 1}))
    with pytest.raises(UserError, match='"tie_word_embeddings" to false'):
        list(convert(open_model(folder), tmp_path / "out.safetensors"))
    edit(folder, tie_word_embeddings=False)
    assert imported(folder, tmp_path)[0].lm_head is not None


def test_a_bias_that_should_be_zero(folder: Path, tmp_path: Path) -> None:
    edit(folder, gpt_demo={"qkv_bias": False})
    with pytest.raises(UserError, match=r"h\.0\.attn\.c_attn\.bias is not 0"):
        list(convert(open_model(folder), tmp_path / "out.safetensors"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "llama"}, "type 'llama'; only GPT-2"),
        ({"activation_function": "relu"}, "activation_function as 'relu'; a GPT-2 here can have gelu_new, "),
        ({"activation_function": ["relu"]}, "activation_function as .'relu'"),
        ({"activation_function": "x" * 9999}, "activation_function as 'x{199}…'; a GPT-2 here"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon as '1e-5'"),
        ({"layer_norm_epsilon": -1}, "layer_norm_epsilon is -1.0"),
        ({"n_inner": 64}, r"c_fc\.weight is \(32, 128\), not \(32, 64\)"),
        ({"n_inner": "64"}, "n_inner as '64'"),
        ({"scale_attn_by_inverse_layer_idx": "yes"}, "scale_attn_by_inverse_layer_idx as 'yes'"),
        ({"scale_attn_weights": 1}, "scale_attn_weights as 1"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"n_layer": "2"}, "n_layer as '2'"),
        ({"n_head": True}, "n_head as True"),
        ({"n_head": 5}, "multiple of n_head"),
        ({"n_layer": 10**12}, "too few for the shape"),
        ({"n_embd": 10**9, "n_head": 1}, "too few for the shape"),
        ({"vocab_size": 200}, "the tokenizer has 257 tokens and the model 200"),
    ],
)
def test_what_the_model_here_does_not_compute(changes: dict[str, Any], sentence: str, folder: Path) -> None:
    edit(folder, **changes)
    with pytest.raises(UserError, match=sentence):
        open_model(folder)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"])
def test_what_is_the_same_by_another_name(activation: str, model: GPT, folder: Path) -> None:
    edit(folder, activation_function=activation, n_inner=128, reorder_and_upcast_attn=True)
    assert open_model(folder).config == model.config


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100_000, "\x00"])
def test_damaged_config(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        open_model(folder)


def test_no_config(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        open_model(folder)


# Tokenizers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "bpe", "bytes"])
@pytest.mark.parametrize("files", ["vocab", "tokenizer", "transformers"])
def test_tokenizers_come_back(kind: str, files: str, tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = make(kind, sample_story(), 400)
    folder = tmp_path / "out"
    export_folder(tiny(n_vocab=tokenizer.n_vocab, n_embd=4, n_layer=1), tokenizer, folder)
    if files == "tokenizer":
        vocab = json.loads((folder / "vocab.json").read_text())
        merges = (folder / "merges.txt").read_text().splitlines()[1:]
        pairs = [merge.split(" ") for merge in merges]
        end = {"id": vocab.pop("<|endoftext|>"), "content": "<|endoftext|>"}
        bytewise = {"type": "ByteLevel"}
        record = {"model": {"vocab": vocab, "merges": pairs}, "added_tokens": [end], "version": "1.0"}
        record |= {"pre_tokenizer": bytewise, "decoder": bytewise}
        (folder / "tokenizer.json").write_text(json.dumps(record))
    elif files == "transformers":
        GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder)
    for name in ("tokenizer.json",) if files == "vocab" else ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    again = open_model(folder).tokenizer
    assert again.kind == kind
    assert again.merges == tokenizer.merges
    text = sample_story()[:500] + "<|endoftext|>Grüße"
    assert again.encode(text) == tokenizer.encode(text)


def test_gpt4s_tokenizer_comes_back(tiny: Tiny, cl100k_base: Tokenizer, tmp_path: Path) -> None:
    export_folder(tiny(n_vocab=100_277, n_embd=4, n_layer=1), cl100k_base, tmp_path)
    assert open_model(tmp_path).tokenizer.kind == "cl100k_base"


def test_no_tokenizer(tiny: Tiny, tmp_path: Path) -> None:
    """50,257 tokens may be those of another language: the number is a guess, no more."""
    for n_vocab, guess in ((50257, "gpt2"), (50304, "gpt2"), (257, "bytes"), (300, None)):
        folder = tmp_path / str(n_vocab)
        export_folder(tiny(n_vocab=n_vocab, n_embd=4, n_layer=1), byte_level(), folder)
        for name in ("vocab.json", "merges.txt", "tokenizer.json"):
            (folder / name).unlink()
        with pytest.raises(NotSaid, match="does not say tokenizer of its model") as error:
            open_model(folder)
        assert error.value.guesses == {"tokenizer": guess}
        assert open_model(folder, {"tokenizer": "bytes"}).tokenizer.kind == "bytes"


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "vocab.json",
            lambda text: text.replace('"A": 65', '"A": 66'),
            "gives two tokens the same id",
        ),
        ("vocab.json", lambda text: "{", "damaged"),
        ("vocab.json", lambda text: "[]", "damaged"),
        ("vocab.json", lambda text: "<html>", "damaged"),
        ("merges.txt", lambda text: text + "no merges\n", "damaged"),
        ("merges.txt", lambda text: "#version: 0.2\nĠ t\n", "damaged"),
    ],
)
def test_tokenizers_that_can_not_be_used(name: str, change: Any, sentence: str, folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    text = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(change(text), encoding="utf-8")
    with pytest.raises(UserError, match=f"The tokenizer in .* {sentence}"):
        open_model(folder)


@pytest.mark.parametrize(
    "record",
    [
        {"model": {"type": "Unigram", "vocab": []}},
        {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Metaspace"}},
        {"model": {"vocab": {}, "merges": []}, "normalizer": {"type": "Lowercase"}},
        {
            "model": {"vocab": {}, "merges": []},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True},
        },
        {"model": {"vocab": {"a": "b"}, "merges": [[1, 2]]}},
        {"model": None},
        [],
    ],
)
def test_other_kinds_of_tokenizer(record: Any, folder: Path) -> None:
    (folder / "vocab.json").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="The tokenizer in"):
        open_model(folder)
