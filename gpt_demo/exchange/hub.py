"""GPT-2 from the Hugging Face Hub: four files per size. `huggingface_hub` finds them, download.py fetches them.

The library's own settings are honoured: HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from gpt_demo.download.files import DownloadFailed, RemoteFile, fetch_all
from gpt_demo.errors import UserError, quoted
from gpt_demo.events import Downloading
from gpt_demo.exchange.huggingface import read_config
from gpt_demo.exchange.tensor_files import shard_names
from gpt_demo.exchange.tokenizer_files import read_tokenizer

REPOS = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
# What any model of the Hub may have besides its config.json; the first of the weights that is there is taken.
TEXTS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class _HubFile:
    """One file as the Hub describes it."""

    name: str
    url: str  # of one commit, so that the files belong together
    etag: str  # of a large file the SHA-256, of a small one git's SHA-1
    size: int | None

    def remote(self, headers: dict[str, str]) -> RemoteFile:
        checksum = f"sha256:{self.etag}" if re.fullmatch("[0-9a-f]{64}", self.etag) else None
        return RemoteFile(self.name, (self.url,), self.size, checksum, headers)


def is_repository(name: str) -> bool:
    """Whether `name` has the form of an id of the Hub, ORG/NAME."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII) is not None and len(name) <= 200


def fetch_from_hub(size: str, folder: Path) -> Iterator[Downloading]:
    """Bring the four files of a GPT-2 size into `folder`; what is there or in Hugging Face's cache is not fetched.

    Raises UserError on an unknown size, DownloadFailed where the Hub can't be reached or sends something else.
    """
    if size not in REPOS:
        raise UserError(f"There is no GPT-2 of size {quoted(size)}. Choose one of {', '.join(REPOS)}.")
    yield from _bring(REPOS[size], FILES, folder)


def fetch_repository(repo: str, folder: Path) -> Iterator[Downloading]:
    """Bring a model of the Hub into `folder`: what describes it first, so that one that is no GPT-2, or has a tokenizer
    that can't be computed here, is refused before its weights come. Raises UserError and DownloadFailed."""
    yield from _bring(repo, ("config.json",), folder)
    read_config(folder)
    present = _present(repo, TEXTS, folder)
    yield from _bring(repo, present, folder)
    read_tokenizer(folder)
    weights = next((name for name in WEIGHTS if _present(repo, (name,), folder)), None)
    if weights is None:
        raise DownloadFailed(f"{repo} holds no weights that can be read here: no {WEIGHTS[0]} and no {WEIGHTS[2]}.")
    if weights.endswith(".json"):
        yield from _bring(repo, (weights,), folder)
        present += (weights, *shard_names(folder / weights))
    else:
        present += (weights,)
    yield from _bring(repo, ("config.json", *present), folder)


def _present(repo: str, names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Those of the files that the repository has, or that are here."""
    return tuple(name for name in names if (folder / name).is_file() or _has(repo, name))


def _has(repo: str, name: str) -> bool:
    try:
        next(_describe(repo, [name]))
    except _Absent:
        return False
    return True


def _bring(repo: str, names: tuple[str, ...], folder: Path) -> Iterator[Downloading]:
    """Files of a repository, from Hugging Face's cache or over the network, where they are not here."""
    folder.mkdir(parents=True, exist_ok=True)
    cached = [name for name in names if _take_from_cache(repo, name, folder)]
    have = 0
    for name in cached:
        length = (folder / name).stat().st_size
        have += length
        yield Downloading(name, length, length, have, have if len(cached) == len(names) else None)
    yield from _fetch(repo, [name for name in names if name not in cached], folder, have)


def _fetch(repo: str, names: list[str], folder: Path, have: int) -> Iterator[Downloading]:
    """Fetch these files; `have` bytes of the others are there."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if not names:
        return
    try:
        files = list(_describe(repo, names))
    except DownloadFailed:
        if all((folder / name).is_file() for name in names):
            return  # a file only gets its name when it was whole: without a network they are good enough
        raise
    headers = build_hf_headers(library_name="gpt_demo")
    for event in fetch_all([file.remote(headers) for file in files], folder):
        total = None if event.all_total is None else event.all_total + have
        yield replace(event, all_received=event.all_received + have, all_total=total)
    for file in files:
        _check_blob(folder / file.name, file)


class _Absent(DownloadFailed):
    """The host answers, and has no such file."""


def _describe(repo: str, names: list[str]) -> Iterator[_HubFile]:
    """What the Hub says of the files, all at the commit of the first. Raises DownloadFailed, _Absent where it has no
    such file."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    commit = None
    for name in names:
        url = hf_hub_url(repo, name, revision=commit, endpoint=constants.ENDPOINT)
        try:
            found = get_hf_file_metadata(url, endpoint=constants.ENDPOINT, library_name="gpt_demo")
        except Exception as error:  # of the library, of its HTTP client, or of the system
            raise _failure(url, repo, name, error) from error
        commit = commit or found.commit_hash
        if found.commit_hash:  # the branch may move on meanwhile
            url = hf_hub_url(repo, name, revision=found.commit_hash, endpoint=constants.ENDPOINT)
        yield _HubFile(name, url, found.etag or "", found.size)


def _failure(url: str, repo: str, name: str, error: Exception) -> DownloadFailed:
    status = getattr(getattr(error, "response", None), "status_code", None)
    host, other = urlsplit(url).hostname, "take the other source, openai" if repo in REPOS.values() else "try later"
    if status == 404:
        return _Absent(f"{host} answered 404: it has no {name} of {repo}. Check the id of the model, or {other}.")
    if status in (401, 403):
        return DownloadFailed(
            f"{host} answered {status} when asked for {repo}: there is no such model, or it is not open to everybody. "
            f"Check its id, log in with Hugging Face's own program, or {other}."
        )
    if type(error).__name__ == "OfflineModeIsEnabled":
        return DownloadFailed(f"{host} can't be asked: HF_HUB_OFFLINE is set. Unset it, or {other}.")
    if status is not None:
        return DownloadFailed(f"{host} answered {status} when asked for {name}. The host has a problem: {other}.")
    return DownloadFailed(
        f"{host} can't be reached ({type(error).__name__}). Check the network and try again, or {other}."
    )


def _check_blob(path: Path, file: _HubFile) -> None:
    """A small file's ETag is git's SHA-1 of a blob, which says its length first. Raises DownloadFailed."""
    if not re.fullmatch("[0-9a-f]{40}", file.etag):
        return
    data = path.read_bytes()
    if hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != file.etag:
        path.unlink()
        host = urlsplit(file.url).hostname
        raise DownloadFailed(f"{host} sent another {file.name} than it announced (wrong checksum). Try again.")


def _take_from_cache(repo: str, name: str, folder: Path) -> bool:
    """Put a file of Hugging Face's own cache into `folder`, as a link where possible; False where there is none."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo, name)
    if (folder / name).exists() or not isinstance(cached, str):
        return False
    blob, fresh = Path(cached).resolve(), folder / f".{name}.cached"
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    try:
        os.link(blob, fresh)
    except OSError:  # another file system, or one without links
        shutil.copyfile(blob, fresh)
    fresh.replace(folder / name)
    return True
