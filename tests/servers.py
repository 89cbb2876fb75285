"""A file server on this machine that misbehaves on demand.

with FileServer({"/a/model.bin": data}) as server:
    server.faults["/a/model.bin"] = [Fault(cut=100)]     # the first GET breaks off behind 100 bytes, then all is well
    fetch(server.url + "/a/model.bin")
"""

from __future__ import annotations

import mmap
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one GET of a path (and with `head=True` one HEAD)."""

    cut: int | None = None  # bytes of the body, then the connection ends without a word
    stall: int | None = None  # bytes of the body, then nothing more comes
    status: int | None = None  # instead of the file
    redirect: str | None = None  # to another address; one that is there for good meets HEAD too
    body: bytes | None = None  # these bytes instead of the file's, under the file's headers
    more: bytes = b""  # sent behind the body; Content-Length counts it
    less: int = 0  # Content-Length says so many bytes less than there are, and no more are sent
    short: int = 0  # so many bytes at the end are never sent although Content-Length counts them
    no_range: bool = False  # Range is ignored
    no_length: bool = False  # no Content-Length: chunked, and the connection ends the body of an HTTP/1.0 answer
    chunked: bool = False
    headers: Mapping[str, str] | None = None  # added, or in place of the usual ones
    head: bool = False  # meets HEAD requests, not GET


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # with the query
    headers: Mapping[str, str]
    start: int  # of the Range, 0 if there is none


class FileServer:
    """Serves `files` (path -> bytes, or a Path on disk) on 127.0.0.1 while the `with` block lasts.

    A list in `faults[path]` is used up, one fault a request; `always[path]` holds one for good. Both may be changed
    while it runs. Honours Range and If-Range. The ETag changes with the bytes and is no checksum; `headers[path]` adds
    headers or replaces them.
    """

    def __init__(self, files: Mapping[str, bytes | Path] | None = None) -> None:
        self.files: dict[str, bytes | Path] = dict(files or {})
        self.headers: dict[str, dict[str, str]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> FileServer:
        self._http = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": self}))
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def count(self, method: str, path: str = "") -> int:
        """How many such requests came; of all paths if none is given."""
        return sum(r.method == method and path in ("", r.path.partition("?")[0]) for r in self.requests)

    def fault(self, method: str, path: str) -> Fault:
        """The fault this request meets."""
        with self._lock:
            waiting = self.faults.get(path, [])
            for i, fault in enumerate(waiting):
                if fault.head == (method == "HEAD"):
                    return waiting.pop(i)
        lasting = self.always.get(path, Fault())
        return lasting if lasting.head == (method == "HEAD") or lasting.redirect else Fault()

    def read(self, path: str) -> memoryview | None:
        """The bytes of a path; a file on disk is mapped, however large."""
        found = self.files.get(path)
        if isinstance(found, Path) and found.stat().st_size:
            with found.open("rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return None if found is None else memoryview(found if isinstance(found, bytes) else b"")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients break connections off here: nothing to report."""


class Handler(BaseHTTPRequestHandler):
    """Silent; a class below it says in `_answer` what GET and HEAD get."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        raise NotImplementedError

    def _headers(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        self.files.requests.append(Request(self.command, self.path, dict(self.headers.items()), start))
        fault, data = self.files.fault(self.command, path), self.files.read(path)
        if fault.redirect:
            self._headers(302, {"Location": fault.redirect, "Content-Length": "0"})
        elif fault.status or data is None:
            self._headers(fault.status or 404, {"Content-Length": "0", **(fault.headers or {})})
        else:
            self._file(data, fault, start, {**self.files.headers.get(path, {}), **(fault.headers or {})})

    def _file(self, data: memoryview, fault: Fault, start: int, extra: Mapping[str, str]) -> None:
        etag = extra.get("ETag", f'"{zlib.crc32(data[:1_000_000]):08x}-{len(data):x}"')
        partial = start > 0 or "Range" in self.headers
        partial = partial and not fault.no_range and self.headers.get("If-Range", etag) == etag
        if partial and start >= len(data):
            return self._headers(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
        asked = (self.headers.get("Range") or "").rpartition("-")[2]
        end = min(len(data), int(asked) + 1) if partial and asked else len(data)
        body = (data if fault.body is None else memoryview(fault.body))[start if partial else 0 : end]
        body = memoryview(bytes(body) + fault.more) if fault.more else body[: len(body) - fault.less]
        headers = {"ETag": etag, "Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        if fault.chunked or fault.no_length:
            del headers["Content-Length"]
            headers |= {"Transfer-Encoding": "chunked"} if fault.chunked else {"Connection": "close"}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._headers(206 if partial else 200, {**headers, **extra})
        if self.command == "GET":
            self._body(body[: len(body) - fault.short], fault)
        return None

    def _body(self, body: memoryview, fault: Fault) -> None:
        stop = fault.cut if fault.cut is not None else fault.stall
        part = body if stop is None else body[:stop]
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), bytes(part)) if fault.chunked and part else part)
            self.wfile.flush()
            if fault.stall is not None:
                self.files.closing.wait(60)
            if fault.chunked and stop is None:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:  # whoever asked has gone
            pass
        self.close_connection |= stop is not None or fault.no_length or fault.short > 0
