"""GPT-2 from the Hub: against a stand-in that redirects, breaks off and lies, and from Hugging Face's own cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hub_server import COMMIT, HubServer
from others import logits, write_repo
from servers import Fault
from test_model_import import imported
from transformers import GPT2LMHeadModel

import gpt_demo.download.files
from gpt_demo.download.files import DownloadFailed
from gpt_demo.errors import UserError
from gpt_demo.events import Downloading
from gpt_demo.exchange.hub import FILES, REPOS, fetch_from_hub
from gpt_demo.text.tokenizer import gpt2

SHAPES = {"124M": {"n_embd": 8, "n_head": 2, "n_layer": 2}, "355M": {"n_embd": 12, "n_head": 3, "n_layer": 1}}


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, GPT2LMHeadModel]]:
    folder = tmp_path_factory.mktemp("repos")
    return {
        size: (folder / size, write_repo(folder / size, gpt2(), n_positions=16, **shape))
        for size, shape in SHAPES.items()
    }


@pytest.fixture(autouse=True)
def hub(
    repos: dict[str, tuple[Path, GPT2LMHeadModel]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    monkeypatch.setattr(gpt_demo.download.files, "PAUSES", (0.0,) * len(gpt_demo.download.files.PAUSES))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer({REPOS[size]: folder for size, (folder, _) in repos.items()}) as server:
        server.replaces_the_hub(monkeypatch, tmp_path / "cache")
        yield server


def same_files(folder: Path, other: Path) -> bool:
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in FILES)


@pytest.mark.parametrize("size", SHAPES)
def test_logits_are_those_of_transformers(
    size: str, repos: dict[str, tuple[Path, GPT2LMHeadModel]], hub: HubServer, tmp_path: Path
) -> None:
    events = list(fetch_from_hub(size, tmp_path / "files"))
    assert same_files(tmp_path / "files", repos[size][0])
    total = sum((tmp_path / "files" / name).stat().st_size for name in FILES)
    assert (events[-1].all_received, events[-1].all_total) == (total, total)
    assert {event.file for event in events} >= {"model.safetensors"}
    ours, tokenizer = imported(tmp_path / "files", tmp_path)
    assert tokenizer is gpt2()
    ids = torch.randint(50257, (2, 8), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(logits(ours, ids), logits(repos[size][1], ids), atol=1e-5)


def test_all_files_are_of_one_commit(hub: HubServer, tmp_path: Path) -> None:
    list(fetch_from_hub("124M", tmp_path))
    assert ["/resolve/main/" in r.path for r in hub.requests] == [True] + [False] * (len(hub.requests) - 1)
    assert all(f"/resolve/{COMMIT}/" in r.path for r in hub.requests[1:])


def test_the_token_is_for_the_hub_alone(hub: HubServer, tmp_path: Path) -> None:
    list(fetch_from_hub("124M", tmp_path))
    sent = [{key.lower(): value for key, value in r.headers.items()} for r in hub.requests]
    assert all(headers.get("authorization") == "Bearer hf_secret" for headers in sent)
    assert hub.cdn.requests
    assert not any("authorization" in map(str.lower, r.headers) for r in hub.cdn.requests)


def test_a_broken_connection_goes_on(
    hub: HubServer, repos: dict[str, tuple[Path, GPT2LMHeadModel]], tmp_path: Path
) -> None:
    hub.cdn.faults[hub.cdn_path("model.safetensors")] = [Fault(cut=100_000), Fault(cut=200_000)]
    list(fetch_from_hub("124M", tmp_path))
    assert same_files(tmp_path, repos["124M"][0])
    assert [r.start for r in hub.cdn.requests if r.method == "GET"] == [0, 100_000, 300_000]


def test_a_download_that_is_closed_goes_on(
    hub: HubServer, repos: dict[str, tuple[Path, GPT2LMHeadModel]], tmp_path: Path
) -> None:
    path = hub.cdn_path("model.safetensors")
    hub.cdn.always[path] = Fault(cut=50_000)
    events = fetch_from_hub("124M", tmp_path)
    for event in events:
        if event.file == "model.safetensors" and event.received:
            break
    events.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "model.safetensors").exists()
    hub.cdn.always.clear()
    hub.cdn.requests.clear()
    list(fetch_from_hub("124M", tmp_path))
    assert same_files(tmp_path, repos["124M"][0])
    assert next(r.start for r in hub.cdn.requests if r.method == "GET") > 0


def test_what_is_there_is_not_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    list(fetch_from_hub("124M", tmp_path))
    hub.requests.clear()
    hub.cdn.requests.clear()
    assert list(fetch_from_hub("124M", tmp_path))[-1].file in FILES
    assert not [r for r in hub.requests + hub.cdn.requests if r.method == "GET"]


def test_a_damaged_file_is_fetched_again(
    hub: HubServer, repos: dict[str, tuple[Path, GPT2LMHeadModel]], tmp_path: Path
) -> None:
    list(fetch_from_hub("124M", tmp_path))
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    list(fetch_from_hub("124M", tmp_path))
    assert same_files(tmp_path, repos["124M"][0])


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json"])
def test_a_wrong_checksum_is_no_download(name: str, hub: HubServer, tmp_path: Path) -> None:
    hub.etags[name] = (hashlib.sha256 if name == "model.safetensors" else hashlib.sha1)(b"other").hexdigest()
    with pytest.raises(DownloadFailed, match=rf"^(?=.*127\.0\.0\.1)(?=.*{name}).*checksum"):
        list(fetch_from_hub("124M", tmp_path))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("status", [401, 404, 500])
def test_the_hub_refuses(status: int, hub: HubServer, tmp_path: Path) -> None:
    hub.status = status
    with pytest.raises(DownloadFailed, match=rf"127\.0\.0\.1 answered {status}.*other source") as error:
        list(fetch_from_hub("124M", tmp_path))
    assert "secret" not in str(error.value)


def test_no_network(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence; and what is there whole is good enough."""
    list(fetch_from_hub("124M", tmp_path / "whole"))
    hub.__exit__()
    with pytest.raises(DownloadFailed, match="can't be reached"):
        list(fetch_from_hub("124M", tmp_path / "new"))
    assert list(fetch_from_hub("124M", tmp_path / "whole")) == []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE is set"):
        list(fetch_from_hub("124M", tmp_path / "new"))
    hub.__enter__()


def in_cache(cache: Path, repo: str, folder: Path, names: tuple[str, ...]) -> None:
    """Files as the library keeps them: named by their content, with links from a snapshot."""
    home = cache / f"models--{repo.replace('/', '--')}"
    for part in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (home / part).mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(COMMIT)
    for name in names:
        data = (folder / name).read_bytes()
        blob = home / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (home / "snapshots" / COMMIT / name).symlink_to(blob)


def test_files_in_hugging_faces_cache(
    hub: HubServer, repos: dict[str, tuple[Path, GPT2LMHeadModel]], tmp_path: Path
) -> None:
    """All of them: the network is not needed. One of them: the others are fetched, and counted together."""
    folder = repos["124M"][0]
    in_cache(tmp_path / "cache", REPOS["124M"], folder, ("model.safetensors",))
    events = list(fetch_from_hub("124M", tmp_path / "one"))
    assert same_files(tmp_path / "one", folder)
    assert not hub.cdn.requests
    assert not (tmp_path / "one" / "model.safetensors").is_symlink()
    total = sum((folder / name).stat().st_size for name in FILES)
    size = (folder / "model.safetensors").stat().st_size
    assert events[0] == Downloading("model.safetensors", size, size, size, None)
    assert (events[-1].all_received, events[-1].all_total) == (total, total)
    in_cache(tmp_path / "cache", REPOS["124M"], folder, tuple(name for name in FILES if name != "model.safetensors"))
    hub.requests.clear()
    events = list(fetch_from_hub("124M", tmp_path / "all"))
    assert same_files(tmp_path / "all", folder)
    assert (events[-1].all_received, events[-1].all_total) == (total, total)
    assert not hub.requests


def test_unknown_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Choose one of 124M, 355M, 774M, 1558M"):
        list(fetch_from_hub("345M", tmp_path))
