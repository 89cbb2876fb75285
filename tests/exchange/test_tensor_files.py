"""Tensors read from files of others: one at a time, whole, and without ever running what a file holds."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import gpt_demo.exchange.tensor_files
from gpt_demo.errors import UserError
from gpt_demo.exchange.tensor_files import INDEXES, open_file, open_folder

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def shards(folder: Path, names: dict[str, str]) -> None:
    for file in set(names.values()):
        save_file({name: WEIGHTS[name] for name, at in names.items() if at == file}, folder / file)
    (folder / INDEXES[0]).write_text(json.dumps({"weight_map": names}))


def same(files: Any, weights: dict[str, Tensor] = WEIGHTS) -> None:
    assert dict(files.shapes) == {name: tuple(value.shape) for name, value in weights.items()}
    for name, value in weights.items():
        read = files.read(name)
        assert read.dtype == value.dtype
        assert torch.equal(read, value)


def test_one_file(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    files = open_folder(tmp_path)
    same(files)
    assert files.bytes == (tmp_path / "model.safetensors").stat().st_size


def test_shards(tmp_path: Path) -> None:
    shards(tmp_path, {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})
    files = open_folder(tmp_path)
    same(files)
    assert files.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="lacks model-00002-of-00002"):
        open_folder(tmp_path)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a\\b.safetensors", "", 3, None])
def test_an_index_names_files_beside_it_only(name: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(WEIGHTS, tmp_path / "outside.safetensors")
    (folder / INDEXES[0]).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="no readable index"):
        open_folder(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', "[" * 100_000])
def test_damaged_index(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEXES[0]).write_text(content)
    with pytest.raises(UserError, match="no readable index"):
        open_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b"\x08\0\0\0\0\0\0\0{}      "[:9], pickle.dumps(1)])
def test_damaged_safetensors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="can't be read as safetensors"):
        open_folder(tmp_path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="can't be read as safetensors"):
        open_folder(tmp_path)


def test_numbers_that_are_no_weights(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, dtype=torch.int64)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="a as I64; weights must be float32"):
        open_folder(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a model\.safetensors"):
        open_folder(tmp_path)


# torch.save -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "x.pt"])
def test_plain_tensors(name: str, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / name)
    same(open_folder(tmp_path))
    torch.save({"c": torch.nn.Parameter(torch.ones(2))}, tmp_path / name)
    same(open_folder(tmp_path), {"c": torch.ones(2)})


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    same(open_folder(tmp_path))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_not_run(zipped: bool, tmp_path: Path) -> None:
    exploded = tmp_path / "exploded"
    content = {"wte.weight": torch.ones(2), "bomb": Bomb(exploded)}
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(exploded)))
    for name in ("model.pth", "plain.pt"):
        with pytest.raises(UserError, match="nothing of it was run"):
            open_file(tmp_path / name)
    assert not exploded.exists()
    torch.load(tmp_path / "model.pth", weights_only=False)  # else this test would prove nothing
    assert exploded.is_dir()


@pytest.mark.parametrize(
    "content",
    [
        {"weights": WEIGHTS},
        {"model": {"a": 3}},
        {"model": {}},
        [torch.ones(2)],
        {1: torch.ones(2)},
        {"step": 3},
        {"a": torch.ones(2, device="meta")},
        {"a": torch.ones(2).to_sparse()},
    ],
)
def test_other_things_than_tensors_by_name(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(UserError, match="Save the model"):
        open_file(tmp_path / "model.pth")


def test_a_view_that_repeats_itself(tmp_path: Path) -> None:
    """A small file must not become a large one."""
    torch.save({"a": torch.zeros(1).expand(1000, 1000)}, tmp_path / "model.pth")
    with pytest.raises(UserError, match="fewer numbers than its shape"):
        open_file(tmp_path / "model.pth")


def test_a_torch_with_a_hole_reads_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pth")
    monkeypatch.setattr(gpt_demo.exchange.tensor_files.torch, "__version__", "2.9.1+cpu")
    with pytest.raises(UserError, match=r"torch 2\.10 or newer"):
        open_file(tmp_path / "model.pth")


def test_several_pickles(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        torch.save(WEIGHTS, tmp_path / name)
    with pytest.raises(UserError, match="holds no weights"):
        open_folder(tmp_path)
