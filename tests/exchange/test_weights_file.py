"""A weights file written tensor by tensor is what the safetensors library would have written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gpt_demo.exchange.weights_file import ALIGNMENT, write_weights

Tensors = dict[str, NDArray[np.float32]]
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")


def made(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def written(path: Path, tensors: Tensors) -> list[str]:
    shapes = {name: values.shape for name, values in tensors.items()}
    return list(write_weights(path, shapes, reversed(tensors.items())))


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        NAMES.filter(lambda n: n.isprintable()), st.lists(st.integers(0, 5), max_size=3).map(tuple), max_size=5
    )
)
def test_safetensors_reads_it(shapes: dict[str, tuple[int, ...]]) -> None:
    import tempfile

    tensors = made(shapes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        assert written(path, tensors) == list(reversed(tensors))
        again = load_file(path)
        assert set(again) == set(tensors)
        for name, values in tensors.items():
            assert again[name].dtype == np.float32
            assert again[name].shape == values.shape
            assert again[name].tobytes() == values.tobytes()


def test_the_numbers_begin_aligned(tmp_path: Path) -> None:
    for length in range(1, 70):  # of the header, too
        path = tmp_path / "x"
        written(path, made({"a" * length: (4, 4), "b": (2,)}))
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        assert start % ALIGNMENT == 0
        assert len(data) == start + 4 * 18


def test_it_says_what_transformers_wants_to_know(tmp_path: Path) -> None:
    written(tmp_path / "x", made({"a": (2,)}))
    with safe_open(tmp_path / "x", "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_same_numbers_as_the_library(tmp_path: Path) -> None:
    tensors = made({"a": (3, 5), "b": (7,)})
    written(tmp_path / "ours", tensors)
    save_file(tensors, tmp_path / "theirs")
    ours, theirs = load_file(tmp_path / "ours"), load_file(tmp_path / "theirs")
    assert all(np.array_equal(ours[name], theirs[name]) for name in tensors)


def test_a_transposed_view_is_written_as_it_looks(tmp_path: Path) -> None:
    values = made({"a": (3, 5)})["a"]
    list(write_weights(tmp_path / "x", {"a": (5, 3)}, [("a", values.T)]))
    assert np.array_equal(load_file(tmp_path / "x")["a"], values.T)


def test_other_types_become_float32(tmp_path: Path) -> None:
    values = np.arange(6, dtype=">f8").reshape(2, 3)
    list(write_weights(tmp_path / "x", {"a": (2, 3)}, [("a", values)]))  # type: ignore[list-item]
    assert np.array_equal(load_file(tmp_path / "x")["a"], values)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ([("a", (2, 3))], "b is missing"),
        ([("a", (2, 3)), ("b", (4,)), ("c", (1,))], "c of shape"),
        ([("a", (3, 2)), ("b", (4,))], "a of shape"),
        ([("a", (2, 3)), ("a", (2, 3))], "a of shape"),
    ],
)
def test_what_was_not_announced(tensors: list[tuple[str, tuple[int, ...]]], sentence: str, tmp_path: Path) -> None:
    pairs = [(name, np.zeros(shape, np.float32)) for name, shape in tensors]
    with pytest.raises(ValueError, match=sentence):
        list(write_weights(tmp_path / "x", {"a": (2, 3), "b": (4,)}, pairs))


def test_a_full_disk_is_known_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any tensor is asked for. A file system that can't say is no fault."""

    def refuse(code: int) -> None:
        def fallocate(*_: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "posix_fallocate", fallocate, raising=False)

    asked = []
    tensors = ((name, asked.append(name) or np.zeros(2, np.float32)) for name in "a")  # type: ignore[func-returns-value]
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        list(write_weights(tmp_path / "x", {"a": (2,)}, tensors))
    assert not asked
    refuse(errno.EOPNOTSUPP)
    assert list(write_weights(tmp_path / "x", {"a": (2,)}, tensors)) == ["a"]


def test_one_tensor_at_a_time(tmp_path: Path) -> None:
    """Each is asked for when the one before is written."""
    order = []

    def tensors() -> object:
        for name in "ab":
            order.append(f"ask {name}")
            yield name, np.zeros(2, np.float32)

    for name in write_weights(tmp_path / "x", {"a": (2,), "b": (2,)}, tensors()):  # type: ignore[arg-type]
        order.append(f"written {name}")
    assert order == ["ask a", "written a", "ask b", "written b"]
