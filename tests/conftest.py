"""What all tests share: the data beside the repository, folders of their own, one thread, and small models."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# A thread that waits for work must not hold the core that somebody else needs: read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

from gpt_demo.model.gpt import GPT, GPTConfig

Tiny = Callable[..., GPT]


@pytest.fixture(autouse=True, scope="session")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes checkpoints/; child processes inherit all of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_DEMO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TIKTOKEN_CACHE_DIR", str(_shared() / "tiktoken_cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """A second thread slows models this small down, on a busy machine ten times. test_golden.py takes what there is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _shared() -> Path:
    return Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that stands beside the repository and is no part of it."""
    folder = _shared()
    if not (folder / "golden" / "figures.json").is_file():
        pytest.fail(
            f"The shared test data is missing: {folder} has no golden/figures.json. Put it beside the repository."
        )
    return folder


@pytest.fixture(scope="session")
def verdict(shared: Path) -> str:
    """The text that the golden figures were measured on."""
    return (shared / "data" / "the-verdict.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def golden(shared: Path) -> dict[str, Any]:
    """golden/figures.json."""
    figures: dict[str, Any] = json.loads((shared / "golden" / "figures.json").read_text(encoding="utf-8"))
    return figures


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """Makes small random models: `tiny(n_layer=1, init="pytorch", seed=3)`; the rest of the shape is as below.

    The vocabulary is that of the byte tokenizer. Torch's global random state is left as it was.
    """

    def make(init: str = "gpt2", seed: int = 0, **shape: Any) -> GPT:
        config = GPTConfig(**{"n_vocab": 257, "n_ctx": 16, "n_embd": 32, "n_head": 4, "n_layer": 2, **shape})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return GPT(config, init)  # type: ignore[arg-type]

    return make
