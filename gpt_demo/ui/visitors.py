"""Who asks: a visitor's network address, which is counted because a token is for the asking. Never logged or stored."""

from __future__ import annotations

import ipaddress
import os
from typing import Any


def address_of(request: Any) -> str:
    """The address of a request of Gradio or Starlette, of IPv6 the network; empty where it is unknown.

    Behind a proxy uvicorn has put the visitor's address there, if FORWARDED_ALLOW_IPS names the proxy.
    """
    client = getattr(request, "client", None)
    return network_of(str(getattr(client, "host", None) or ""))


def trust_proxy_of_space() -> None:
    """Nothing but the Hub's proxy reaches a Space: without this, all its visitors would share the proxy's address."""
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")


def network_of(host: str) -> str:
    """One visitor has a whole /64 of IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
