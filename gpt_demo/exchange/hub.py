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
from gpt_demo.errors import UserError
from gpt_demo.events import Downloading

REPOS = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")


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


def fetch_from_hub(size: str, folder: Path) -> Iterator[Downloading]:
    """Bring the four files of a GPT-2 size into `folder`; what is there or in Hugging Face's cache is not fetched.

    Raises UserError on an unknown size, DownloadFailed where the Hub can't be reached or sends something else.
    """
    if size not in REPOS:
        raise UserError(f"There is no GPT-2 of size {size!r}. Choose one of {', '.join(REPOS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    cached = [name for name in FILES if _take_from_cache(REPOS[size], name, folder)]
    have = 0
    for name in cached:
        length = (folder / name).stat().st_size
        have += length
        yield Downloading(name, length, length, have, have if cached == list(FILES) else None)
    yield from _fetch(REPOS[size], [name for name in FILES if name not in cached], folder, have)


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


def _describe(repo: str, names: list[str]) -> Iterator[_HubFile]:
    """What the Hub says of the files, all at the commit of the first. Raises DownloadFailed."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    commit = None
    for name in names:
        url = hf_hub_url(repo, name, revision=commit, endpoint=constants.ENDPOINT)
        try:
            found = get_hf_file_metadata(url, endpoint=constants.ENDPOINT, library_name="gpt_demo")
        except Exception as error:  # of the library, of its HTTP client, or of the system
            raise DownloadFailed(_sentence(url, name, error)) from error
        commit = commit or found.commit_hash
        if found.commit_hash:  # the branch may move on meanwhile
            url = hf_hub_url(repo, name, revision=found.commit_hash, endpoint=constants.ENDPOINT)
        yield _HubFile(name, url, found.etag or "", found.size)


def _sentence(url: str, name: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if type(error).__name__ == "OfflineModeIsEnabled":
        what = "can't be asked: HF_HUB_OFFLINE is set"
    elif status is not None:
        what = f"answered {status} when asked for {name}"
    else:
        what = f"can't be reached ({type(error).__name__})"
    return f"{urlsplit(url).hostname} {what}. Check the network and try again, or take the other source, openai."


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
