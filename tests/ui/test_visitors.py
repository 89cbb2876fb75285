"""Who asks, where a proxy stands between the visitors and the server."""

from __future__ import annotations

import loops
import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gpt_demo.ui.visitors import address_of, trust_proxy_of_space


def seen(headers: dict[str, str], proxy: str = "10.0.0.7") -> str:
    """The address that a server started now takes a request to be from."""
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(address_of(Request(scope)))

    async def nothing() -> None: ...

    trusted = uvicorn.Config(app).forwarded_allow_ips or ""
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "client": (proxy, 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    loops.run(ProxyHeadersMiddleware(app, trusted)(scope, nothing, nothing))  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(("space", "address"), [("somebody/demo", "203.0.113.9"), ("", "10.0.0.7")])
def test_on_a_space_the_proxy_says_who_asks(monkeypatch: pytest.MonkeyPatch, space: str, address: str) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # noted, so that it is as before when the test has ended
    monkeypatch.setenv("SPACE_ID", space)
    with monkeypatch.context() as patch:
        patch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
        trust_proxy_of_space()
        assert seen({"x-forwarded-for": "203.0.113.9"}) == "10.0.0.7", "what the host has set stays"
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    trust_proxy_of_space()
    assert seen({"x-forwarded-for": "203.0.113.9"}) == address
