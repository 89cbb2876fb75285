"""The door: what is refused before Gradio reads it. Bodies that are too large, and requests of other websites."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_demo.ui.reach import LOOPBACK

SAFE = ("GET", "HEAD", "OPTIONS")
MB = 1_000_000
NO_PART = "This page has no such part. Reload it."
NOT_OURS = "This page takes requests only from itself, not from other websites. Open it under its own address."


@dataclass(frozen=True)
class Rules:
    """What comes in. Uploads are streamed to disk, and Gradio counts them (max_file_size); other bodies are in memory,
    several times their size."""

    body: int | None  # bytes of a request other than an upload; None: any
    bodies: int = 64 * MB  # of all that are being read
    hosts: tuple[str, ...] | None = None  # names of this server to which a browser may post; None: any


PUBLIC = Rules(body=16 * MB)
# A page on loopback does what it is told, so only itself may tell it: no other website (Origin), and none whose name
# has been pointed to this machine (Host).
LOCAL = Rules(body=None, hosts=LOOPBACK)


def middleware(rules: Rules) -> Middleware:
    return Middleware(Door, rules=rules)


class _TooLarge(Exception):
    pass


class Door:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app = app
        self.rules = rules
        self._reading = 0  # bytes of bodies that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE:
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        if not self._may_post(headers):
            return await PlainTextResponse(NOT_OURS, 403)(scope, receive, send)
        if self.rules.body is None or scope["path"].rstrip("/").endswith("/upload"):
            return await self._inside(scope, receive, send)
        return await self._bounded(self.rules.body, headers, scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio's own answer to a question for a part that the page doesn't have would be a 500."""
        try:
            await self.app(scope, receive, send)
        except KeyError:
            if not scope["path"].rstrip("/").endswith("/component_server"):
                raise
            await PlainTextResponse(NO_PART, 404)(scope, receive, send)

    def _may_post(self, headers: Headers) -> bool:
        hosts, host, origin = self.rules.hosts, headers.get("host", ""), headers.get("origin")
        if hosts is None:
            return True
        try:
            return urlsplit(f"//{host}").hostname in hosts and (origin is None or urlsplit(origin).netloc == host)
        except ValueError:  # no address
            return False

    async def _bounded(self, most: int, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else most
        if declared > most:
            return await _too_large(most)(scope, receive, send)
        if declared > MB and self._reading + declared > self.rules.bodies:
            busy = PlainTextResponse("The server is reading too many large requests. Try again in a moment.", 503)
            return await busy(scope, receive, send)
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            self._reading += len(message.get("body", b""))
            if received > most:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._inside(scope, counted, noted)
        except _TooLarge:
            if not started:
                await _too_large(most)(scope, receive, send)
        finally:
            self._reading -= received
        return None


def _too_large(most: int) -> PlainTextResponse:
    return PlainTextResponse(f"This request is larger than {most // MB} MB, the most that this server reads.", 413)
