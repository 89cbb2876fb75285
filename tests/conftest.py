"""What all tests share: figures and texts, folders of their own, one thread, and small models."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# A thread that waits for work must not hold the core that somebody else needs: read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import outside
import pytest
import torch

from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.tokenizer import Tokenizer

Tiny = Callable[..., GPT]


@pytest.fixture(autouse=True, scope="session")
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes checkpoints/; child processes inherit all of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_DEMO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TIKTOKEN_CACHE_DIR", outside.ranks_folder())
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """A second thread slows models this small down, on a busy machine ten times. test_golden.py takes what there is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def verdict(_notes: Path) -> str:
    """The text that the golden figures were measured on; the test is skipped where it can't be had."""
    return outside.verdict(_notes)


@pytest.fixture(scope="session")
def cl100k_base(_notes: Path) -> Tokenizer:
    """GPT-4's tokenizer; the test is skipped where it can't be had."""
    return outside.ranks(_notes)


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """golden/figures.json, what the book's chapters print."""
    path = Path(__file__).parent / "golden" / "figures.json"
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
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
