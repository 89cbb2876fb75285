"""Choosing tokens: what happens to logits, the draw, and the searches over what they allow.

`beam_search` is here too for receipts made by version 0.1.0; take it from `gpt_demo`. Nothing is imported before it is
used, because the command line reads the table of `steps` without torch.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "beam_search":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gpt_demo.decoding.beams import beam_search

    return beam_search
