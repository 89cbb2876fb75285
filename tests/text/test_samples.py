"""The texts at hand: the story in the repository, and The Verdict, which is not in it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpt_demo.errors import UserError
from gpt_demo.text import samples
from gpt_demo.text.samples import VERDICT_URL, sample_story, the_verdict

ROOT = Path(__file__).parents[2]


class Server(ThreadingHTTPServer):
    """Answers every request with `content` and counts them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: bytes | None = b""  # None: there is no such file
        self.requests = 0
        self.url = f"http://127.0.0.1:{self.server_port}/the-verdict.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        content = self.server.content
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> str:
    """A text that counts as the right one."""
    text = sample_story()
    monkeypatch.setattr(samples, "VERDICT_SHA256", hashlib.sha256(text.encode()).hexdigest())
    return text


def test_the_hash_is_that_of_the_verdict(verdict: str, golden: dict[str, Any]) -> None:
    assert hashlib.sha256(verdict.encode()).hexdigest() == samples.VERDICT_SHA256 == golden["text"]["sha256"]


def test_the_right_text_is_fetched_once(server: Server, right: str, tmp_path: Path) -> None:
    server.content = right.encode()
    assert the_verdict(tmp_path, server.url) == right
    assert the_verdict(tmp_path, server.url) == right
    assert server.requests == 1
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["the-verdict.txt"]


def test_a_damaged_copy_is_fetched_again(server: Server, right: str, tmp_path: Path) -> None:
    server.content = right.encode()
    the_verdict(tmp_path, server.url)
    (tmp_path / "downloads" / "the-verdict.txt").write_text(right[:1000])
    assert the_verdict(tmp_path, server.url) == right
    assert server.requests == 2


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"\xff\xfe"])
def test_another_text_is_refused(content: bytes, server: Server, tmp_path: Path) -> None:
    server.content = content
    with pytest.raises(UserError, match=r"127\.0\.0\.1 is not the expected text"):
        the_verdict(tmp_path, server.url)
    assert not (tmp_path / "downloads").exists()


def test_no_such_file(server: Server, tmp_path: Path) -> None:
    server.content = None
    with pytest.raises(UserError, match="could not be downloaded"):
        the_verdict(tmp_path, server.url)


def test_nobody_answers(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"could not be downloaded from 127\.0\.0\.1 \(ConnectError\)"):
        the_verdict(tmp_path, url)


def test_the_address_is_a_file_of_text() -> None:
    assert VERDICT_URL.startswith("https://")
    assert VERDICT_URL.endswith("/the-verdict.txt")


def test_the_story_is_there() -> None:
    story = sample_story()
    assert 5_000 <= len(story.split()) <= 8_000
    assert "\r" not in story
    assert story == story.encode("utf-8").decode("utf-8")


def test_the_verdict_is_not_in_the_repository(verdict: str) -> None:
    """Not its beginning, and no paragraph of it, in no file that could be committed."""
    lines = [line.strip() for line in verdict.splitlines() if len(line.strip()) > 60] + [verdict[:99]]
    assert len(lines) > 50
    folders = [ROOT / name for name in ("assets", "benchmarks", "gpt_demo", "tests", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    for path in files:
        if "__pycache__" not in path.parts:
            content = path.read_bytes().decode("utf-8", "replace")
            assert not [line for line in lines if line in content], path
