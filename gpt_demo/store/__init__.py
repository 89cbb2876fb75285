"""Models on disk and in memory.

`ModelStore` and `data_home` are also here for receipts made by version 0.1.0; import them from `gpt_demo`.
"""

from gpt_demo.paths import data_home
from gpt_demo.store.store import ModelStore

__all__ = ["ModelStore", "data_home"]
