"""Models on disk and in memory.

`ModelStore` and `data_home` are here too for receipts made by version 0.1.0; take them from `gpt_demo`.
"""

from gpt_demo.paths import data_home
from gpt_demo.store.store import ModelStore

__all__ = ["ModelStore", "data_home"]
