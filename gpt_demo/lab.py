"""An old name, for receipts made by version 0.1.0: take these from `gpt_demo`. It goes with the next release."""

from gpt_demo.decoding.darts import draw_toy
from gpt_demo.decoding.race import lane_of, race

__all__ = ["draw_toy", "lane_of", "race"]
