"""Choosing tokens: what happens to logits, and the searches over what they allow.

`beam_search` is here too for receipts made by version 0.1.0; take it from `gpt_demo`.
"""

from gpt_demo.decoding.generate import beam_search

__all__ = ["beam_search"]
