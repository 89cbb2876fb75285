"""What commands share: the store, the names of options, and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_demo.store.store import ModelStore


def open_store() -> ModelStore:
    """The store as the command line sees it: whatever its files' permissions allow to read."""
    from gpt_demo.paths import data_home
    from gpt_demo.store.store import ModelStore

    return ModelStore(data_home(), see_all=True)


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM only set a flag, so that the state can be saved first."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _frame: received.append(n)) for number in signals}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
