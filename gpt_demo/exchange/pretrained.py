"""Models that were trained elsewhere, into the store and out of it: download, import, export.

A download is kept under <home>/downloads until it is converted, and afterwards too where disk is not scarce, so that it
can be converted again without a network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from gpt_demo.download.part_file import size_of
from gpt_demo.errors import UserError, quoted, shown_as
from gpt_demo.events import Converting, Downloading, Kept, Saved
from gpt_demo.exchange import hub, openai_release
from gpt_demo.exchange.book import export_book
from gpt_demo.exchange.gguf_export import export_gguf
from gpt_demo.exchange.huggingface import export_stored, read_config
from gpt_demo.exchange.model_card import model_card
from gpt_demo.exchange.model_import import convert, open_model
from gpt_demo.exchange.tensor_files import TORCH_SUFFIXES
from gpt_demo.exchange.unpacking import unpack
from gpt_demo.exchange.unsaid import NotSaid
from gpt_demo.format import count
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig
from gpt_demo.paths import check_space
from gpt_demo.store.folder import check_name, read_description
from gpt_demo.store.store import ModelInfo, ModelStore
from gpt_demo.text.tokenizer import Tokenizer

SOURCES = ("openai", "huggingface")
FORMS = ("transformers", "book", "gguf")  # what a model can go out as

Converted = tuple[GPTConfig, Tokenizer]
Conversion = Generator[Converting, None, Converted]


# Download -------------------------------------------------------------------------------------------------------------


def model_name(model: str) -> str:
    """The name of a downloaded model in the store: gpt2-SIZE for a GPT-2 size, NAME for ORG/NAME of the Hub.

    Raises UserError where it is neither.
    """
    if hub.is_repository(model):
        return check_name(model.partition("/")[2])
    if model not in GPT2_SIZES:
        raise UserError(
            f"There is no GPT-2 of size {quoted(model)}. Choose one of {', '.join(GPT2_SIZES)}, or give the id of a "
            "model of the Hugging Face Hub, ORG/NAME."
        )
    return f"gpt2-{model}"


def downloads_folder(store: ModelStore, model: str, source: str) -> Path:
    """Where the files of a download are. Raises UserError on an unknown size or source."""
    if source not in SOURCES:
        raise UserError(f"There is no source named {quoted(source)}. Choose one of {', '.join(SOURCES)}.")
    name = model_name(model)
    if hub.is_repository(model) and source != "huggingface":
        raise UserError(f"{model} is on the Hugging Face Hub. Choose huggingface as the source.")
    return store.home / "downloads" / f"{model.replace('/', '--') if hub.is_repository(model) else name}-{source}"


def received_bytes(store: ModelStore, model: str, source: str) -> int:
    """Bytes of a download received from a source, in complete or partial files, without the notes beside them."""
    files = downloads_folder(store, model, source).glob("*")
    return sum(size_of(path) or 0 for path in files if not path.name.endswith((".part.json", ".lock")))


def downloaded(store: ModelStore, model: str) -> ModelInfo | None:
    """The model if it is in the store. Raises UserError where another model has taken its name."""
    name, key = model_name(model), "repo" if hub.is_repository(model) else "size"
    with contextlib.suppress(UserError):
        info = store.get(name)
        if info.about.get("source") in SOURCES and info.about.get(key) == model:
            return info
    if hub.is_repository(model):
        store.check_free(name)
    elif store.folder(name).exists():
        raise UserError(f"Another model already has the name of this download, {name}. Delete it first.")
    return None


def download_model(
    store: ModelStore, model: str, source: str = "openai", *, keep_files: bool | None = None
) -> Iterator[Downloading | Converting | Saved | Kept]:
    """Bring a GPT-2 size, or a model of the Hub by its id, into the store; done at once where it is there.

    `keep_files` None: the downloaded files are deleted after conversion on a Space, where disk is scarce, and kept
    elsewhere; Saved says where. Whatever interrupts it, the next call resumes the partial download.
    Raises UserError.
    """
    start, folder = time.monotonic(), downloads_folder(store, model, source)
    keep = not os.environ.get("SPACE_ID") if keep_files is None else keep_files
    info = downloaded(store, model)
    if info is None:
        yield from _fetching(model, source)(model, folder)
        with FileLock(folder.with_name(f".{folder.name}.lock"), thread_local=False):
            info = downloaded(store, model)  # another process may have been first
            if info is None:
                info = yield from _put_into_store(store, model, source, folder)
    if folder.exists() and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        yield Saved(str(folder))
    yield _kept(info, start)


def _fetching(model: str, source: str) -> Callable[[str, Path], Iterator[Downloading]]:
    if hub.is_repository(model):
        return hub.fetch_repository
    return openai_release.fetch_release if source == "openai" else hub.fetch_from_hub


def _put_into_store(store: ModelStore, model: str, source: str, folder: Path) -> Generator[Converting, None, ModelInfo]:
    target = folder.with_name(f"{folder.name}.safetensors")
    about = {"source": source, "created": time.time(), **_origin(model, source)}
    try:
        _check_size(model, source, folder)
        config, tokenizer = yield from (_convert_release if source == "openai" else _convert_files)(folder, target)
        store.save(model_name(model), replace(config, dropout=0.0), target, tokenizer, about)
    except NotSaid as error:
        options = " ".join(f"--{name}" for name in error.guesses)
        raise UserError(
            f"{model} can't be used as it is. Its files are kept: import {folder} with {options}."
        ) from error
    finally:
        target.unlink(missing_ok=True)
    return store.get(model_name(model))


def _check_size(model: str, source: str, folder: Path) -> None:
    """UserError where a host has sent another model than the GPT-2 that was asked for; its files are deleted then."""
    if model not in GPT2_SIZES:
        return
    config = openai_release.read_hparams(folder) if source == "openai" else read_config(folder)
    wanted = GPT2_SIZES[model]
    if replace(config, dropout=0.0) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"The file is not GPT-2 {model}: its config gives {count(config.n_params)} parameters in a shape of "
            f"its own, not {count(wanted.n_params)}. It was deleted. Choose the other source, or ask who runs the host."
        )


def _origin(model: str, source: str) -> dict[str, Any]:
    if hub.is_repository(model):
        return {"repo": model}
    bases = {"base_urls": list(openai_release.base_urls())}
    return {"size": model, **(bases if source == "openai" else {"repo": hub.REPOS[model]})}


def _convert_release(folder: Path, target: Path) -> Conversion:
    config, tokenizer = openai_release.read_hparams(folder), openai_release.release_tokenizer_matches(folder)
    check_space(target.parent, 4 * config.n_params, "The model")
    yield from openai_release.convert(folder, target)
    return config, tokenizer


def _convert_files(path: Path, target: Path, said: Mapping[str, Any] | None = None) -> Conversion:
    source = open_model(path, said)
    check_space(target.parent, 4 * source.config.n_params, "The model")
    yield from convert(source, target)
    return source.config, source.tokenizer


def _kept(info: ModelInfo, start: float) -> Kept:
    return Kept(info.name, str(info.folder), info.bytes, time.monotonic() - start)


def delete_downloads(store: ModelStore, model: str) -> int:
    """Delete the files a model was made from, whole or not; the bytes that gives back. The model itself stays."""
    freed = 0
    for source in SOURCES[hub.is_repository(model) :]:
        folder = downloads_folder(store, model, source)
        freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    return freed


# Import and export ----------------------------------------------------------------------------------------------------


def import_model(
    store: ModelStore, path: Path, name: str, owner: str | None = None, said: Mapping[str, Any] | None = None
) -> Iterator[Converting | Kept]:
    """Put a model from disk into the store: a folder in OpenAI's, Hugging Face's or this app's layout, a zip of one, or
    one file of weights, of which `said` gives what it can't say (see unsaid.NEEDED). Raises UserError where it can't be
    used or the name is taken, NotSaid where something has to be said first; then the store is as it was."""
    start = time.monotonic()
    store.check_free(name)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}. Check the path.")
    scratches = store.home / "downloads"
    scratches.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=scratches) as scratch:  # on the store's own disk
        target = Path(scratch) / "converted.safetensors"
        config, tokenizer = yield from _convert_any(path, target, said)
        about = {"source": "import", "file": path.name, "created": time.time()}
        store.check_free(name)  # the conversion took its time
        store.save(name, config, target, tokenizer, about if owner is None else {**about, "owner": owner})
    yield _kept(store.get(name, owner), start)


def _convert_any(path: Path, target: Path, said: Mapping[str, Any] | None) -> Conversion:
    if path.is_file() and path.suffix not in TORCH_SUFFIXES and (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        folder = target.parent / "unpacked"
        folder.mkdir()
        with shown_as(folder, path.name):
            return (yield from _convert_any(unpack(path, folder), target, said))
    if path.is_dir() and openai_release.is_release(path):
        return (yield from _convert_release(path, target))
    return (yield from _convert_files(path, target, said))


def export_model(
    store: ModelStore, name: str, target: Path, owner: str | None = None, form: str = "transformers"
) -> Iterator[Converting | Kept]:
    """Write a model of the store as a folder, which appears when it is whole: one that `from_pretrained` opens, or with
    one file in it, the book's model.pth or a NAME.gguf.

    Raises UserError where there is no such model, `form` can't hold it, or `target` is there and no empty folder.
    """
    if form not in FORMS:
        raise UserError(f"There is no format named {quoted(form)}. Choose one of {', '.join(FORMS)}.")
    start, info = time.monotonic(), store.get(name, owner)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} is already there. Name a folder that does not exist yet, or an empty one.")
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target.parent, 4 * read_description(info.folder)[0].n_params, "The model")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        yield from _exporting(form, info, Path(scratch) / "model")
        if target.exists():
            target.rmdir()
        (Path(scratch) / "model").rename(target)
    size = sum(path.stat().st_size for path in target.iterdir())
    yield Kept(info.name, str(target), size, time.monotonic() - start)


def _exporting(form: str, info: ModelInfo, folder: Path) -> Iterator[Converting]:
    if form == "book":
        yield from export_book(info.folder, folder)
    elif form == "gguf":
        yield from export_gguf(info.folder, folder, info.name)
    else:
        yield from export_stored(info.folder, folder)
        tokenizer = Tokenizer.load(info.folder / "tokenizer.json")
        card = model_card(info.name, info.config, tokenizer, info.about)
        (folder / "README.md").write_text(card, encoding="utf-8")
