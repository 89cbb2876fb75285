"""Choosing tokens: the transforms of the logits, sampling, and beam search.

`beam_search` is also here for receipts made by version 0.1.0; import it from `gpt_demo`. Imports are lazy because the
command line reads the table of `steps` without torch.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "beam_search":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gpt_demo.decoding.beams import beam_search

    return beam_search
