"""Models from elsewhere as files of this app: Hugging Face's layout, nanoGPT's, the book's and this app's own.

`open_model` looks at everything but the numbers, `convert` then rewrites these, one tensor at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt_demo.errors import UserError, cut, quoted
from gpt_demo.events import Converting
from gpt_demo.exchange.huggingface import expected_shapes, kept_tokenizer_kind, read_config, read_record
from gpt_demo.exchange.layouts import QKV_BIAS, TRANSPOSED, Layout, layout_of
from gpt_demo.exchange.tensor_files import INDEXES, TORCH_SUFFIXES, TensorFiles, open_file, open_folder
from gpt_demo.exchange.tokenizer_files import read_tokenizer
from gpt_demo.exchange.unsaid import DEFAULTS, NEEDED, TOKENIZER, Said, guess_heads, guess_tokenizer
from gpt_demo.exchange.weights_file import write_weights
from gpt_demo.model.gpt import GPTConfig
from gpt_demo.store.folder import read_description
from gpt_demo.text.tokenizer import KINDS, Tokenizer, make

HEAD, EMBEDDING = "lm_head.weight", "wte.weight"


@dataclass(frozen=True)
class SourceModel:
    """A model on disk that can be converted: shapes and names are checked, numbers are not read yet."""

    config: GPTConfig
    tokenizer: Tokenizer
    tensors: TensorFiles
    names: Mapping[str, tuple[str, ...]]  # ours -> theirs, of the tensors that are taken
    transposed: bool  # linear layers are stored as (in, out), as transformers does
    twin: str | None = None  # an output head that must equal the token embedding
    zeros: tuple[str, ...] = ()  # biases that must be 0, because the model here has none
    added: tuple[str, ...] = ()  # biases of 0 that the model here has and theirs does without

    def read(self, ours: str) -> Tensor:
        """One of our tensors, as it is stored."""
        parts = [self.tensors.read(theirs) for theirs in self.names[ours]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def open_model(path: Path, said: Mapping[str, Any] | None = None) -> SourceModel:
    """The model of a folder or of one file of weights. `said`: what the files can't say (see unsaid.NEEDED).

    Raises UserError where it can't be a model of this app, NotSaid where something has to be said first.
    """
    given = Said({name: value for name, value in (said or {}).items() if value is not None})
    if path.is_dir():
        return _open_folder(path, given)
    if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        return _open_folder(path.parent, given)
    if path.suffix == ".safetensors" or path.suffix in TORCH_SUFFIXES:
        return _open_alone(open_file(path), given)
    raise UserError(
        f"{path} can't be imported. Give a folder with a model, a zip of one, or a .safetensors, .bin, .pt or .pth."
    )


def _open_folder(folder: Path, said: Said) -> SourceModel:
    if not (folder / "config.json").is_file():
        alone = [path for path in folder.iterdir() if path.suffix in (".safetensors", *TORCH_SUFFIXES)]
        if len(alone) == 1 or any((folder / index).is_file() for index in INDEXES):
            return _open_alone(open_folder(folder), said, read_tokenizer(folder))
    record = read_record(folder)
    ours = "n_vocab" in record and "vocab_size" not in record
    config = read_description(folder)[0] if ours else read_config(folder)
    said.check(f"{folder / 'config.json'}", config.to_dict())
    tokenizer = read_tokenizer(folder) or _kept_tokenizer(folder)
    return _source(config, _tokenizer(config.n_vocab, tokenizer, said, str(folder)), open_folder(folder))


def _kept_tokenizer(folder: Path) -> Tokenizer | None:
    """cl100k_base, which exports of version 0.1 name without its files."""
    return make("cl100k_base") if kept_tokenizer_kind(folder) == "cl100k_base" else None


def _tokenizer(n_vocab: int, found: Tokenizer | None, said: Said, label: str) -> Tokenizer:
    """The files' own tokenizer, or the one that was said. Raises UserError and NotSaid."""
    name = said.settings.get(TOKENIZER)
    if found is not None and name is not None:
        raise UserError(f"{label} has a tokenizer of its own. Leave the other one, {quoted(str(name))}, out.")
    if found is not None:
        return found
    if missing := said.missing(label, {TOKENIZER: guess_tokenizer(n_vocab)}):
        raise missing
    return said_tokenizer(str(name))


def said_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by its kind or by the folder of its files. Raises UserError."""
    if name in KINDS and name != "bpe":
        return make(name)
    found = read_tokenizer(Path(name)) if Path(name).is_dir() else None
    if found is None:
        allowed = ", ".join(kind for kind in KINDS if kind != "bpe")
        raise UserError(f"{quoted(name)} is no tokenizer. Give {allowed}, or a folder with a tokenizer's files.")
    return found


# Weights alone --------------------------------------------------------------------------------------------------------


def _open_alone(tensors: TensorFiles, said: Said, tokenizer: Tokenizer | None = None) -> SourceModel:
    """A file of weights without a config.json: its shapes say the sizes, and somebody has to say the rest."""
    layout = layout_of(tensors.shapes, tensors.label)
    known = _known_shape(layout, tensors)
    heads = {} if "n_head" in known else {"n_head": guess_heads(known["n_embd"])}
    guesses = {**heads, **_assumed(layout, tensors)}
    if tokenizer is None:
        guesses[TOKENIZER] = guess_tokenizer(known["n_vocab"])
    said.check(tensors.label, known)
    if missing := said.missing(tensors.label, {name: guesses[name] for name in NEEDED if name in guesses}):
        raise missing
    settings = {name: value for name, value in said.settings.items() if name in DEFAULTS}
    config = GPTConfig(**{**known, **settings})
    return _source(config, _tokenizer(config.n_vocab, tokenizer, said, tensors.label), tensors, layout)


def _assumed(layout: Layout, tensors: TensorFiles) -> dict[str, Any]:
    """What the code that wrote the file leaves open. The book's and nanoGPT's scale and normalise as GPT-2 does; of
    nanoGPT some versions have the exact GELU and some the approximation."""
    if layout.is_book:
        return {}
    if tensors.model_args:
        return {"activation_function": "gelu"}
    return {name: value for name, value in DEFAULTS.items() if name != "n_head"}


def _known_shape(layout: Layout, tensors: TensorFiles) -> dict[str, Any]:
    """Fields of GPTConfig that follow from the shapes, or from a nanoGPT checkpoint."""
    shapes, label = layout.shapes, tensors.label
    try:
        (n_vocab, n_embd), (n_ctx, _) = shapes[EMBEDDING], shapes["wpe.weight"]
        inner = shapes["h.0.mlp.c_fc.weight"][1 if layout.transposed else 0]
        shapes["h.0.attn.c_attn.weight"]
    except (LookupError, ValueError) as error:
        raise UserError(f"{label} holds no GPT-2: wte.weight, wpe.weight or the first layer is missing.") from error
    known: dict[str, Any] = {
        "n_vocab": n_vocab,
        "n_ctx": n_ctx,
        "n_embd": n_embd,
        "n_layer": len({name.split(".")[1] for name in shapes if name.startswith("h.")}),
        "qkv_bias": f"h.0.{QKV_BIAS}" in shapes,
        "tied_head": HEAD not in shapes or _same(tensors, layout),
        "n_inner": 0 if inner == 4 * n_embd else inner,
    }
    heads = tensors.model_args.get("n_head")
    return {**known, "n_head": heads} if isinstance(heads, int) else known


# Names and shapes -----------------------------------------------------------------------------------------------------


def _source(config: GPTConfig, tokenizer: Tokenizer, tensors: TensorFiles, layout: Layout | None = None) -> SourceModel:
    """Raises UserError naming every tensor that is missing, left over or wrongly shaped (the first five of them)."""
    layout = layout or layout_of(tensors.shapes, tensors.label)
    if tokenizer.n_vocab > config.n_vocab:
        raise UserError(
            f"{tensors.label}: the tokenizer has {tokenizer.n_vocab:,} tokens and the model {config.n_vocab:,}. "
            "They do not belong together."
        )
    names = dict(layout.parts)
    twin = names.pop(HEAD)[0] if config.tied_head and HEAD in names else None
    zeros = tuple(theirs for ours in _biases(names, config) for theirs in names.pop(ours))
    if config.n_layer > len(names) or 4 * config.n_params > 4 * tensors.bytes + 1_000_000:  # before any list is made
        raise UserError(f"{tensors.label} holds {len(names)} tensors, too few for the shape in its config.json.")
    expected = expected_shapes(config)
    bare = not any(name.endswith(".bias") for name in names)  # a model without biases, as nanoGPT makes them
    added = tuple(name for name in expected if bare and name.endswith(".bias"))
    wanted = {name: shape for name, shape in expected.items() if name not in added}
    faults = list(_faults(wanted, {name: layout.shapes[name] for name in names}, layout.transposed))
    if faults:
        said = cut("; ".join(faults[:5]), 500)
        raise UserError(f"{tensors.label} does not fit the shape that is said to be its own: {said}.")
    return SourceModel(config, tokenizer, tensors, names, layout.transposed, twin, zeros, added)


def _biases(names: Mapping[str, Any], config: GPTConfig) -> list[str]:
    return [name for name in names if name.endswith(QKV_BIAS) and not config.qkv_bias]


def _faults(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], transposed: bool
) -> Iterator[str]:
    yield from (f"{name} is missing" for name in expected if name not in found)
    yield from (f"{name} does not belong" for name in found if name not in expected)
    for name, shape in expected.items():
        wanted = shape[::-1] if transposed and name.endswith(TRANSPOSED) else shape
        if name in found and found[name] != wanted:
            yield f"{name} is {found[name]}, not {wanted}"


# Numbers --------------------------------------------------------------------------------------------------------------


def convert(source: SourceModel, target: Path) -> Iterator[Converting]:
    """Write the weights as float32 under this app's names to `target`, a safetensors file; no more than one tensor is
    in memory. An interrupted conversion leaves no file.

    Raises UserError naming a tensor that holds infinities or NaN, or should be 0 or a copy and is not.
    """
    shapes = expected_shapes(source.config)
    _check_left_out(source)
    yield Converting(0, len(shapes))
    try:
        with contextlib.closing(write_weights(target, shapes, _numbers(source))) as written:  # type: ignore[type-var]
            for done, _ in enumerate(written, start=1):
                yield Converting(done, len(shapes))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _numbers(source: SourceModel) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, theirs in source.names.items():
        values = source.read(name).float()
        if not all(map(torch.isfinite, torch.aminmax(values))):
            raise UserError(
                f"{source.tensors.label}: {cut(', '.join(theirs))} holds infinities or NaN, so the model is damaged."
            )
        yield name, (values.T if source.transposed and name.endswith(TRANSPOSED) else values).numpy()
    shapes = expected_shapes(source.config)
    for name in source.added:
        yield name, np.zeros(shapes[name], np.float32)


def _check_left_out(source: SourceModel) -> None:
    if source.twin and not torch.equal(source.tensors.read(source.twin), source.read(EMBEDDING)):
        raise UserError(
            f"{source.tensors.label}: {source.twin} is not the token embedding, although config.json says so. "
            'Set "tie_word_embeddings" to false there.'
        )
    for name in source.zeros:
        if source.tensors.read(name).any():
            raise UserError(
                f"{source.tensors.label}: {name} is not 0, although config.json says there is no such bias."
            )


def _same(tensors: TensorFiles, layout: Layout) -> bool:
    """Whether the output head is a copy of the token embedding."""
    head, embedding = (tensors.read(layout.parts[name][0]) for name in (HEAD, EMBEDDING))
    return torch.equal(head, embedding)
