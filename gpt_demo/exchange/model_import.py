"""Models from elsewhere as files of this app: Hugging Face's layout, this app's own, a zip of either, or one file.

`open_model` looks at everything but the numbers, `convert` then rewrites these, one tensor at a time.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import Converting
from gpt_demo.exchange.huggingface import (
    QKV_BIAS,
    TRANSPOSED,
    expected_shapes,
    kept_tokenizer_kind,
    read_config,
    read_record,
)
from gpt_demo.exchange.huggingface_tokenizer import read_tokenizer
from gpt_demo.exchange.tensor_files import TORCH_SUFFIXES, TensorFiles, open_file, open_folder
from gpt_demo.exchange.weights_file import write_weights
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig
from gpt_demo.paths import check_space
from gpt_demo.store.folder import read_description
from gpt_demo.text.tokenizer import Tokenizer, gpt2, make

MAX_ZIP_BYTES = 8_000_000_000  # what a zip may hold: a model of 1558M in float32 takes 6.2 GB
MAX_TEXT_BYTES = 20_000_000  # what config.json or another file may have that is read as a whole; GPT-2's have 1 MB
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pth?)|model\.ckpt\.data-[\w-]+")
_IN_ZIP = re.compile(
    r"config\.json|tokenizer\.json|vocab\.json|merges\.txt|model\.safetensors\.index\.json|[\w.-]+\.safetensors|"
    r"pytorch_model\.bin|[\w-]+\.pth?|checkpoint|encoder\.json|hparams\.json|vocab\.bpe|model\.ckpt\.[\w-]+"
)
_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # causal masks, which older files hold beside the weights
_HEADS = {config.n_embd: config.n_head for config in GPT2_SIZES.values()}  # n_embd -> n_head


@dataclass(frozen=True)
class SourceModel:
    """A model on disk that can be converted: shapes and names are checked, numbers are not read yet."""

    config: GPTConfig
    tokenizer: Tokenizer
    tensors: TensorFiles
    names: Mapping[str, str]  # ours -> theirs, of the tensors that are taken
    transposed: bool  # linear layers are stored as (in, out), as transformers does
    twin: str | None = None  # an output head that must equal the token embedding
    zeros: tuple[str, ...] = ()  # biases that must be 0, because the model here has none


def open_model(path: Path) -> SourceModel:
    """The model of a folder or of one file of weights. Raises UserError where it can't be a model of this app."""
    if path.is_dir():
        return _open_folder(path)
    if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        return _open_folder(path.parent)
    if path.suffix == ".safetensors" or path.suffix in TORCH_SUFFIXES:
        return _open_file(path)
    raise UserError(f"{path} can't be imported. Give a folder with a model, a zip of one, or a .safetensors file.")


def _open_folder(folder: Path) -> SourceModel:
    if not (folder / "config.json").is_file():
        alone = [path for path in folder.iterdir() if path.suffix == ".safetensors"]
        if len(alone) == 1:
            return _open_file(alone[0])
    record = read_record(folder)
    ours = "n_vocab" in record and "vocab_size" not in record
    config = read_description(folder)[0] if ours else read_config(folder)
    tokenizer = read_tokenizer(folder) or _usual_tokenizer(config, kept_tokenizer_kind(folder), str(folder))
    return _source(config, tokenizer, open_folder(folder), transposed=not ours)


def _open_file(path: Path) -> SourceModel:
    """A file of weights alone: its shapes say everything but the number of heads, which GPT-2's widths tell."""
    tensors = open_file(path)
    shapes = {_our_name(name): shape for name, shape in tensors.shapes.items()}
    try:
        (n_vocab, n_embd), (n_ctx, _) = shapes["wte.weight"], shapes["wpe.weight"]
        transposed = shapes["h.0.attn.c_attn.weight"] == (n_embd, 3 * n_embd)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} holds no GPT-2: wte.weight, wpe.weight or the first layer is missing.") from error
    if n_embd not in _HEADS:
        raise UserError(
            f"{path} does not say how many heads a model of width {n_embd} has. Import the folder with its config.json."
        )
    config = GPTConfig(
        n_vocab=n_vocab,
        n_ctx=n_ctx,
        n_embd=n_embd,
        n_head=_HEADS[n_embd],
        n_layer=len({name.split(".")[1] for name in shapes if name.startswith("h.")}),
        qkv_bias=f"h.0.{QKV_BIAS}" in shapes,
        tied_head="lm_head.weight" not in shapes or _same(tensors, "lm_head.weight"),
    )
    return _source(config, _usual_tokenizer(config, None, str(path)), tensors, transposed=transposed)


def _usual_tokenizer(config: GPTConfig, kind: str | None, label: str) -> Tokenizer:
    """Where no file tells: the one that the model had when it was exported from here, or GPT-2's by its size."""
    if kind == "cl100k_base":
        return make(kind)
    if config.n_vocab == 50257:
        return gpt2()
    raise UserError(
        f"{label} comes without a tokenizer, and its {config.n_vocab:,} tokens are not GPT-2's. "
        "Import the folder with its vocab.json and merges.txt, or its tokenizer.json."
    )


# Names and shapes -----------------------------------------------------------------------------------------------------


def _our_name(name: str) -> str:
    return name.removeprefix("transformer.")


def _source(config: GPTConfig, tokenizer: Tokenizer, tensors: TensorFiles, *, transposed: bool) -> SourceModel:
    """Raises UserError naming every tensor that is missing, left over or wrongly shaped (the first five of them)."""
    if tokenizer.n_vocab > config.n_vocab:
        raise UserError(
            f"{tensors.label}: the tokenizer has {tokenizer.n_vocab:,} tokens and the model {config.n_vocab:,}. "
            "They do not belong together."
        )
    names = {_our_name(name): name for name in tensors.shapes if not _BUFFER.fullmatch(_our_name(name))}
    twin = names.pop("lm_head.weight", None) if config.tied_head else None
    biases = [name for name in names if name.endswith(QKV_BIAS) and not config.qkv_bias]
    zeros = tuple(names.pop(name) for name in biases)
    if config.n_layer > len(names) or 4 * config.n_params > 4 * tensors.bytes + 1_000_000:  # before any list is made
        raise UserError(f"{tensors.label} holds {len(names)} tensors, too few for the shape in its config.json.")
    faults = list(_faults(expected_shapes(config), {name: tensors.shapes[names[name]] for name in names}, transposed))
    if faults:
        raise UserError(f"{tensors.label} does not fit the shape that is said to be its own: {'; '.join(faults[:5])}.")
    return SourceModel(config, tokenizer, tensors, names, transposed, twin, zeros)


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
        values = source.tensors.read(theirs).float()
        if not all(map(torch.isfinite, torch.aminmax(values))):
            raise UserError(f"{source.tensors.label}: {theirs} holds infinities or NaN, so the model is damaged.")
        yield name, (values.T if source.transposed and name.endswith(TRANSPOSED) else values).numpy()


def _check_left_out(source: SourceModel) -> None:
    if source.twin and not _same(source.tensors, source.twin):
        raise UserError(
            f"{source.tensors.label}: {source.twin} is not the token embedding, although config.json says so. "
            'Set "tie_word_embeddings" to false there.'
        )
    for name in source.zeros:
        if source.tensors.read(name).any():
            raise UserError(
                f"{source.tensors.label}: {name} is not 0, although config.json says there is no such bias."
            )


def _same(tensors: TensorFiles, head: str) -> bool:
    """Whether the output head is a copy of the token embedding."""
    embedding: Tensor = tensors.read(next(name for name in tensors.shapes if _our_name(name) == "wte.weight"))
    return torch.equal(tensors.read(head), embedding)


# Zips -----------------------------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path) -> Path:
    """Take the files of one model out of a zip into `folder`, whatever folder they stand in there; `folder`.

    Names that belong to no model are left, so nothing is written elsewhere. Raises UserError.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _model_files(packed, archive)
            _check_size(members, archive, folder)
            for name, member in members.items():
                with packed.open(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except UserError:
        raise
    except Exception as error:  # a dozen kinds, depending on what is damaged and how it was packed
        raise UserError(f"{archive.name} can't be unpacked ({error}). Pack the model's folder again.") from error
    return folder


def _model_files(packed: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in packed.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or path.parts[:1] == ("__MACOSX",) or not _IN_ZIP.fullmatch(path.name):
            continue
        if path.name in members:
            raise UserError(f"{archive.name} holds {path.name} twice. Pack one model at a time.")
        members[path.name] = member
    if not members:
        raise UserError(f"{archive.name} holds no model: no config.json and no weights are in it.")
    return members


def _check_size(members: Mapping[str, zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    for name, member in members.items():
        if member.file_size > MAX_TEXT_BYTES and not _WEIGHTS.fullmatch(name):
            raise UserError(
                f"{archive.name} holds a {name} of {member.file_size / 1e6:,.0f} MB; no model's is larger than "
                f"{MAX_TEXT_BYTES / 1e6:g} MB. Pack the model's folder again."
            )
    needed = sum(member.file_size for member in members.values())
    if needed > MAX_ZIP_BYTES:
        raise UserError(f"{archive.name} holds {needed / 1e9:.1f} GB; {MAX_ZIP_BYTES / 1e9:g} GB can be imported.")
    check_space(folder, needed, f"What {archive.name} holds")
