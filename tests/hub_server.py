"""A stand-in of the Hugging Face Hub: large files are redirected to another host, small ones come from git.

with HubServer({"openai-community/gpt2": folder}) as hub:
    hub.replaces_the_hub(monkeypatch, tmp_path / "cache")    # or, for another process, HF_ENDPOINT and HF_HOME
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from servers import FileServer, Handler, Request

COMMIT = "11c5a3d5811f50298f278a704980280950aedb10"


class HubServer:
    """Serves folders, repository -> folder, on 127.0.0.1. Of the files on `cdn` see FileServer: faults go there."""

    def __init__(self, repos: Mapping[str, Path]) -> None:
        self.repos = dict(repos)
        self.cdn = FileServer()
        self.etags: dict[str, str] = {}  # file name -> what is said instead of the right one
        self.status: int | None = None  # instead of any answer
        self.requests: list[Request] = []

    def __enter__(self) -> HubServer:
        self.cdn.__enter__()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cdn.__exit__()
        self._http.shutdown()
        self._http.server_close()

    def replaces_the_hub(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """In this process, as HF_ENDPOINT and HF_HOME do when the library is imported."""
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def cdn_path(self, name: str) -> str:
        """Where the large file is on the other host."""
        return f"/cdn/{name}"


class _Handler(Handler):
    protocol_version = "HTTP/1.0"  # every answer closes its connection, so that nobody is served after the end
    hub: HubServer

    def _answer(self) -> None:
        hub, (repo, _, rest) = self.hub, self.path.lstrip("/").partition("/resolve/")
        hub.requests.append(Request(self.command, self.path, dict(self.headers.items()), 0))
        revision, _, name = rest.partition("/")
        path = hub.repos.get(repo, Path("/nowhere")) / name
        if hub.status or revision not in ("main", COMMIT) or not path.is_file():
            return self._headers(hub.status or 404, {"Content-Length": "0"})
        large = name.endswith(".safetensors")
        data = path.read_bytes()
        digest = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        etag = f'"{hub.etags.get(name, digest.hexdigest())}"'
        if large:
            hub.cdn.files[hub.cdn_path(name)] = data
            linked = {"X-Linked-ETag": etag, "X-Linked-Size": str(len(data)), "X-Repo-Commit": COMMIT}
            where = f"{hub.cdn.url}{hub.cdn_path(name)}?signature=once"
            return self._headers(302, {"Location": where, "Content-Length": "0", **linked})
        self._headers(200, {"X-Repo-Commit": COMMIT, "ETag": etag, "Content-Length": str(len(data))})
        if self.command == "GET":
            self.wfile.write(data)
        return None
