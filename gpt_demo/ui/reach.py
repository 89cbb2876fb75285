"""Who can reach this server: one person on this machine, or anybody."""

from __future__ import annotations

import os
import socket
import sys

from gpt_demo.errors import UserError

USUAL_PORT = 7860  # Gradio's
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_public() -> bool:
    """Whether anonymous visitors are expected: where they can come at all, unless GPT_DEMO_PUBLIC says otherwise."""
    said = os.environ.get("GPT_DEMO_PUBLIC")
    return said == "1" if said else bool(why_public())


def why_public() -> str:
    """How others than the person at this machine can reach it; empty if they can't."""
    if os.environ.get("SPACE_ID"):
        return "it runs as a Hugging Face Space"
    if "google.colab" in sys.modules or os.environ.get("COLAB_RELEASE_TAG"):
        return "it runs in Colab, behind a share link"
    if os.environ.get("GRADIO_SHARE", "").lower() == "true":
        return "it has a share link"
    return "" if listens_on_loopback() else f"it listens on {os.environ['GRADIO_SERVER_NAME']}"


def listens_on_loopback() -> bool:
    return os.environ.get("GRADIO_SERVER_NAME", "").strip("[]") in ("", *LOOPBACK)


def chosen_port() -> int | None:
    """The port that GRADIO_SERVER_PORT names; None: Gradio takes the first free one from USUAL_PORT on."""
    said = os.environ.get("GRADIO_SERVER_PORT", "")
    return int(said) if said.isdecimal() else None


def is_taken(port: int) -> bool:
    """Whether a program listens on this port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check_port() -> str:
    """What to say where another program has the usual port. Raises UserError where it has the chosen one."""
    port = chosen_port()
    if port is not None and is_taken(port):
        raise UserError(
            f"Port {port} is taken by another program, maybe this app in another window. End that one, or set "
            "GRADIO_SERVER_PORT to another port."
        )
    if port is None and is_taken(USUAL_PORT):
        return (
            f"Port {USUAL_PORT} is taken by another program, maybe this app in another window. "
            "The page gets the next free port:"
        )
    return ""


def said_at_start() -> str:
    """For whoever starts the server: why it is public, and how to say otherwise; empty for a private one."""
    why = why_public()
    if is_public():
        return (
            f"This server is public ({why or 'GPT_DEMO_PUBLIC=1'}): visitors see only their own, within limits. "
            "If you trust everybody who can reach it, start it with GPT_DEMO_PUBLIC=0."
        )
    if why:
        return f"GPT_DEMO_PUBLIC=0, and {why}: whoever reaches this page may do everything, delete models too."
    return ""
