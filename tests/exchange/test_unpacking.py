"""A zip of a model: its files and nothing else, or a sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from conftest import Tiny
from others import logits, randomise
from test_model_import import imported

import gpt_demo.exchange.unpacking
from gpt_demo.errors import UserError
from gpt_demo.exchange.huggingface import export_folder
from gpt_demo.exchange.unpacking import unpack
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import byte_level


@pytest.fixture
def model(tiny: Tiny) -> GPT:
    model = tiny(seed=3).eval()
    randomise(model)
    return model


@pytest.fixture
def folder(model: GPT, tmp_path: Path) -> Path:
    """An export of the small model."""
    return export_folder(model, byte_level(), tmp_path / "export")


def pack(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as packed:
        for path in folder.iterdir():
            packed.write(path, prefix + path.name)
    return target


@pytest.mark.parametrize("prefix", ["", "model/", "a/b/", "../", "/"])
def test_a_zip(prefix: str, model: GPT, folder: Path, tmp_path: Path) -> None:
    """In whatever folder its files stand: only names are taken, so that nothing is written elsewhere."""
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if inside not in path.parents}
    archive = pack(folder, tmp_path / "model.zip", prefix)
    assert unpack(archive, inside) == inside
    assert {path.name for path in inside.iterdir()} == {path.name for path in folder.iterdir()}
    assert {path for path in tmp_path.rglob("*") if inside not in path.parents} == before | {archive}
    assert torch.equal(logits(imported(inside, tmp_path)[0]), logits(model))


def test_names_that_belong_to_no_model_are_left(folder: Path, tmp_path: Path) -> None:
    archive = pack(folder, tmp_path / "model.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        for name in ("../evil.py", "evil.sh", "__MACOSX/._config.json", "__MACOSX/config.json", "..", "a\\config.json"):
            packed.writestr(name, "x")
    inside = tmp_path / "inside"
    inside.mkdir()
    unpack(archive, inside)
    assert {path.name for path in inside.iterdir()} == {path.name for path in folder.iterdir()}


def test_a_clone_of_a_repository(model: GPT, folder: Path, tmp_path: Path) -> None:
    """The model lies highest; the same model in other formats below it is not looked at."""
    archive = pack(folder, tmp_path / "model.zip", "gpt2/")
    with zipfile.ZipFile(archive, "a") as packed:
        for name in ("onnx/config.json", "onnx/decoder_model.onnx", ".git/config", "onnx/tokenizer.json"):
            packed.writestr(f"gpt2/{name}", "{}")
    (tmp_path / "inside").mkdir()
    assert torch.equal(logits(imported(unpack(archive, tmp_path / "inside"), tmp_path)[0]), logits(model))


def test_zips_that_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    twice = pack(folder, tmp_path / "twice.zip")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(twice, "a") as packed:
        packed.writestr("config.json", "{}")
    both = tmp_path / "both.zip"
    with zipfile.ZipFile(both, "w") as packed:
        for name in ("a/config.json", "b/config.json"):
            packed.writestr(name, "{}")
    locked = bytearray(pack(folder, tmp_path / "locked.zip").read_bytes())
    for start in (i for i in range(len(locked)) if locked[i : i + 4] in (b"PK\1\2", b"PK\3\4")):
        locked[start + (8 if locked[start + 2] == 1 else 6)] |= 1  # the flag of an encrypted member
    (tmp_path / "locked.zip").write_bytes(locked)
    empty = pack(inside, tmp_path / "empty.zip")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(pack(folder, tmp_path / "good.zip").read_bytes()[:-30])
    damaged = bytearray((tmp_path / "good.zip").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    (tmp_path / "damaged.zip").write_bytes(damaged)
    for name, sentence in [
        ("twice", "config.json twice"),
        ("both", "holds more than one model, in 'a' and 'b'"),
        ("locked", r"locked\.zip is locked with a password. Pack the model's folder without one"),
        ("empty", "holds no model"),
        ("broken", "can't be unpacked"),
        ("damaged", "can't be unpacked"),
    ]:
        with pytest.raises(UserError, match=sentence):
            unpack(tmp_path / f"{name}.zip", inside)
    assert empty.exists()
    monkeypatch.setattr(gpt_demo.exchange.unpacking, "MAX_TEXT_BYTES", 100)
    with pytest.raises(UserError, match=r"good.zip holds a \w+\.\w+ of .* MB; no model's is larger"):
        unpack(tmp_path / "good.zip", inside)
    monkeypatch.setattr(gpt_demo.exchange.unpacking, "MAX_TEXT_BYTES", 10**9)
    monkeypatch.setattr(gpt_demo.exchange.unpacking, "MAX_ZIP_BYTES", 1000)
    with pytest.raises(UserError, match="can be imported"):
        unpack(tmp_path / "good.zip", inside)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zips_of_every_packing(packing: int, folder: Path, tmp_path: Path) -> None:
    """Each has errors of its own."""
    good = tmp_path / "good.zip"
    with zipfile.ZipFile(good, "w", packing) as packed:
        packed.write(folder / "model.safetensors", "model.safetensors")
    data = good.read_bytes()
    (tmp_path / "inside").mkdir()
    for start in range(60, len(data), len(data) // 12):
        damaged = bytearray(data)
        damaged[start : start + 50] = bytes(byte ^ 0x5A for byte in damaged[start : start + 50])
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(UserError, match=r"bad\.zip"):
            unpack(tmp_path / "bad.zip", tmp_path / "inside")
