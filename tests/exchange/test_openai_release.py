"""OpenAI's release from a server to logits, and every way in which it may not be what it should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from release import VOCAB_BPE, Release, write
from release import shapes as their_shapes
from release import weights as their_weights
from servers import Fault, FileServer
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_demo.download import files as download
from gpt_demo.errors import UserError
from gpt_demo.events import Converting
from gpt_demo.exchange.openai_release import (
    DEFAULT_URLS,
    FILES,
    base_urls,
    convert,
    fetch_release,
    is_release,
    read_hparams,
    release_tokenizer_matches,
    variables,
)
from gpt_demo.exchange.tensorflow_reader import check_variables
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.store.folder import load_weights
from gpt_demo.text.tokenizer import gpt2

pytestmark = pytest.mark.tensorflow

SMALL = {"n_vocab": 300, "n_ctx": 16, "n_embd": 32, "n_head": 4, "n_layer": 2}
WIDE = {"n_vocab": 50257, "n_ctx": 24, "n_embd": 12, "n_head": 1, "n_layer": 3}
WRONG = {
    "model/h1/mlp/c_fc/b": None,
    "model/h9/extra": [2, 2],
    "model/wpe": [15, 32],
    "model/h0/attn/c_attn/w": [32, 96],
    "model/ln_f/g": "float16",
}


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    """Releases written by TensorFlow, in one process of its own."""
    home = tmp_path_factory.mktemp("releases")
    found = {
        "small": Release(str(home / "small"), SMALL, seed=1),
        "wide": Release(str(home / "wide"), WIDE, seed=2),
        "wrong": Release(str(home / "wrong"), SMALL, changes=WRONG),
        "nan": Release(str(home / "nan"), SMALL, changes={"model/h1/attn/c_proj/w": "nan"}),
    }
    write(*found.values())
    return found


@pytest.fixture
def small(releases: dict[str, Release], tmp_path: Path) -> Path:
    """A copy of the small release, to be damaged."""
    return shutil.copytree(releases["small"].folder, tmp_path / "release")


def spoil(path: Path, data: bytes = b"<html>") -> None:
    path.write_bytes(data)


# From the server to the logits ----------------------------------------------------------------------------------------


def serving(releases: dict[str, Release], base: str = "/gpt-2/models") -> dict[str, bytes | Path]:
    sizes = {"124M": releases["small"], "355M": releases["wide"]}
    return {f"{base}/{size}/{name}": Path(release.folder) / name for size, release in sizes.items() for name in FILES}


def theirs(release: Release) -> GPT2LMHeadModel:
    """transformers' model with the same numbers, put in by name."""
    h = release.hparams
    config = GPT2Config(vocab_size=h["n_vocab"], n_positions=h["n_ctx"], n_embd=h["n_embd"], n_head=h["n_head"],
                        n_layer=h["n_layer"])  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    state = model.transformer.state_dict()
    ends = {"g": "weight", "b": "bias", "w": "weight"}
    for variable, values in their_weights(release):
        _, *path = variable.replace("/h", "/h/").split("/")
        name = ".".join([*path[:-1], ends.get(path[-1], f"{path[-1]}.weight")])
        state[name].copy_(torch.from_numpy(values[0] if values.ndim == 3 else values))
    return model


@pytest.mark.parametrize(("size", "name"), [("124M", "small"), ("355M", "wide")])
def test_logits_are_those_of_the_same_weights_in_transformers(
    size: str, name: str, releases: dict[str, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, folder = releases[name], tmp_path / "download"
    with FileServer(serving(releases)) as server:
        monkeypatch.setenv("GPT_DEMO_OPENAI_URLS", f"{server.url}/gone/, {server.url}/gpt-2/models")
        server.faults[f"/gpt-2/models/{size}/model.ckpt.data-00000-of-00001"] = [Fault(cut=5000)]
        events = list(fetch_release(size, folder))
        assert server.count("GET") == len(FILES) + 1  # one broke off
    assert events[-1].all_received == events[-1].all_total == sum((folder / f).stat().st_size for f in FILES)
    assert is_release(folder)
    config, target = read_hparams(folder), tmp_path / "model.safetensors"
    assert config == GPTConfig(**release.hparams)
    assert release_tokenizer_matches(folder).n_vocab == config.n_vocab
    progress = list(convert(folder, target))
    assert progress == [Converting(i, 12 * config.n_layer + 4) for i in range(12 * config.n_layer + 5)]
    with torch.device("meta"):
        model = GPT(config)
    load_weights(model, target)
    ids = torch.randint(config.n_vocab, (3, config.n_ctx), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(release)(ids).logits
        assert expected.std() > 0.1
        assert torch.allclose(model.eval()(ids)[0], expected, atol=1e-5, rtol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"download", "model.safetensors"}
    assert "tensorflow" not in sys.modules


def test_variables_are_openais(tiny: Tiny) -> None:
    model = tiny(n_layer=3)
    found = variables(model.config)
    hparams = {name: getattr(model.config, name) for name in SMALL}
    assert {name: shape for name, (_, shape) in found.items()} == their_shapes(hparams)
    ours = {name: shape[:0:-1] if len(shape) == 3 else shape for name, shape in found.values()}
    assert ours == {name: tuple(p.shape) for name, p in model.state_dict().items()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", DEFAULT_URLS),
        (" , ", DEFAULT_URLS),
        ("http://a/x/", ("http://a/x",)),
        ("http://a , https://b/c//,", ("http://a", "https://b/c")),
    ],
)
def test_where_the_release_is(value: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_DEMO_OPENAI_URLS", value)
    assert base_urls() == expected
    monkeypatch.delenv("GPT_DEMO_OPENAI_URLS")
    assert base_urls() == DEFAULT_URLS


def test_sizes_that_do_not_exist(tmp_path: Path) -> None:
    for size in ("125M", "", "../124M", "124m"):
        with pytest.raises(UserError, match="Choose one of 124M, 355M, 774M, 1558M"):
            list(fetch_release(size, tmp_path))


def test_a_missing_file_is_said_before_anything_is_fetched(
    releases: dict[str, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.0,) * 5)
    with FileServer(serving(releases)) as server:
        monkeypatch.setenv("GPT_DEMO_OPENAI_URLS", f"{server.url}/gpt-2/models")
        del server.files["/gpt-2/models/124M/vocab.bpe"]
        with pytest.raises(UserError, match=r"vocab\.bpe could not be downloaded: 127\.0\.0\.1:\d+ answered 404"):
            list(fetch_release("124M", tmp_path))
        assert server.count("GET") == 0


# The small files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hparams", "sentence"),
    [
        (b"", "no JSON object"),
        (b"<html>", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b"\xff", "no JSON object"),
        ({**SMALL, "n_head": 5}, "multiple of n_head"),
        ({**SMALL, "n_embd": "32"}, "n_embd is '32'"),
        ({**SMALL, "n_embd": 32.0}, r"n_embd is 32\.0"),
        ({**SMALL, "dropout": 0.1}, "dropout is missing or unknown"),
        ({**SMALL, "tied_head": False}, "tied_head is missing or unknown"),
        ({**SMALL, "__class__": "x"}, "__class__ is missing or unknown"),
        ({k: v for k, v in SMALL.items() if k != "n_ctx"}, "n_ctx is missing or unknown"),
        ({**SMALL, "n_layer": 10**12}, "no GPT-2's"),
    ],
)
def test_hparams_that_are_none(hparams: Any, sentence: str, tmp_path: Path) -> None:
    spoil(tmp_path / "hparams.json", hparams if isinstance(hparams, bytes) else json.dumps(hparams).encode())
    with pytest.raises(UserError, match=sentence) as error:
        read_hparams(tmp_path)
    assert len(str(error.value)) < 600


def test_hparams_of_every_size(tmp_path: Path) -> None:
    for config in GPT2_SIZES.values():
        spoil(tmp_path / "hparams.json", json.dumps({name: getattr(config, name) for name in SMALL}).encode())
        assert read_hparams(tmp_path) == config
    with pytest.raises(UserError, match="can't be read"):
        read_hparams(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["hparams.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_what_is_no_release(name: str, small: Path) -> None:
    assert is_release(small)
    (small / name).unlink()
    assert not is_release(small)
    assert not is_release(small / "nowhere")


def test_the_tokenizer_of_a_release(small: Path, releases: dict[str, Release]) -> None:
    assert release_tokenizer_matches(Path(releases["wide"].folder)) is gpt2()
    tokenizer = release_tokenizer_matches(small)
    ids = tokenizer.encode(" the cat")
    assert ids == [token for token in ids if token < 299]
    assert tokenizer.decode(ids) == " the cat"
    assert tokenizer.token_bytes(258) == gpt2().token_bytes(258)  # its first merges


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("encoder.json", b"<html>", "encoder.json is no JSON object"),
        ("encoder.json", b'{"a": 0}', "encoder.json has 1 entries, not 50,257"),
        ("encoder.json", None, "encoder.json can't be read"),
        ("vocab.bpe", None, "vocab.bpe can't be read"),
        ("vocab.bpe", b"<html>", "vocab.bpe is not GPT-2's merge table"),
        ("vocab.bpe", VOCAB_BPE.read_bytes()[:-1], "vocab.bpe is not GPT-2's merge table"),
        ("vocab.bpe", VOCAB_BPE.read_bytes().replace(b"\n", b"\r\n"), "vocab.bpe is not GPT-2's merge table"),
    ],
)
def test_a_damaged_tokenizer(
    name: str, data: bytes | None, sentence: str, releases: dict[str, Release], tmp_path: Path
) -> None:
    for file in ("hparams.json", "encoder.json", "vocab.bpe"):
        shutil.copy(Path(releases["wide"].folder) / file, tmp_path)
    (tmp_path / name).unlink() if data is None else spoil(tmp_path / name, data)
    with pytest.raises(UserError, match=sentence):
        release_tokenizer_matches(tmp_path)


def test_a_small_vocabulary_that_is_cut_off(small: Path) -> None:
    for data in (b"", b"#version: 0.2\n", VOCAB_BPE.read_bytes()[:100], b"#version\nx y\n"):
        spoil(small / "vocab.bpe", data)
        with pytest.raises(UserError):
            release_tokenizer_matches(small)


# The checkpoint -------------------------------------------------------------------------------------------------------


def failed(folder: Path, target: Path) -> str:
    with pytest.raises(UserError) as error:
        list(convert(folder, target))
    assert sorted(path.name for path in target.parent.iterdir() if "out" in path.name) == []
    return str(error.value)


def test_what_does_not_fit_is_named(releases: dict[str, Release], tmp_path: Path) -> None:
    said = failed(Path(releases["wrong"].folder), tmp_path / "out")
    assert "does not fit its hparams.json: " in said
    assert "model/h1/mlp/c_fc/b is missing" in said
    assert "model/h9/extra does not belong" in said
    assert "model/wpe is (15, 32), not (16, 32)" in said
    assert "model/h0/attn/c_attn/w is (32, 96), not (1, 32, 96)" in said
    assert "model/ln_f/g is float16, not float32" in said


def test_numbers_that_are_not_finite_are_named(releases: dict[str, Release], tmp_path: Path) -> None:
    said = failed(Path(releases["nan"].folder), tmp_path / "out")
    assert "model/h1/attn/c_proj/w" in said
    assert "not finite" in said


def test_a_damaged_checkpoint(small: Path, tmp_path: Path) -> None:
    """One bit: TensorFlow's own checksum of each variable finds it."""
    data = bytearray((small / FILES[3]).read_bytes())
    data[len(data) // 2] ^= 1
    spoil(small / FILES[3], bytes(data))
    assert "can't be read" in failed(small, tmp_path / "out")


@pytest.mark.parametrize("count", [1, 200])
def test_faults_are_counted_not_listed_without_end(count: int, tmp_path: Path) -> None:
    expected = {f"v{i}": (f"n{i}", (2,)) for i in range(count)}
    with pytest.raises(UserError, match="v0 is missing") as error:
        check_variables(tmp_path, {}, {}, expected)
    assert ("and 195 more" in str(error.value)) is (count == 200)
    check_variables(tmp_path, {"v": [2]}, {"v": type("T", (), {"name": "float32"})}, {"v": ("n", (2,))})


# The child process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pretend(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Puts a module of one's own in the place of TensorFlow, and converts."""

    def convert_with(code: str) -> Iterator[Converting]:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "tensorflow.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
        monkeypatch.chdir("/")
        return convert(small, tmp_path / "out")

    yield convert_with
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.part").exists()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise ImportError('no such library')", r"can't be imported \(no such library\)"),
        ("raise RuntimeError", r"can't be imported \(RuntimeError\)"),
        ("import os\nos.kill(os.getpid(), 9)", r"ended by the system \(signal 9\), most likely because memory ran out"),
        ("import os\nos._exit(3)", r"The conversion failed \(exit status 3\)"),
        ("import os\nos.write(2, b'hm\\nlast words\\n')\nos._exit(3)", r"The conversion failed \(last words\)"),
        ("print('noise')\nimport os\nos.write(1, b'{}')\nraise ImportError('x')", r"\(x\)"),
    ],
)
def test_a_child_that_fails(code: str, sentence: str, pretend: Any) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        list(pretend(code))
    assert "Hugging Face as the source" in str(error.value)


def test_a_relative_folder(releases: dict[str, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child works elsewhere; TensorFlow's first words about the folder show that it was found."""
    (tmp_path / "fake").mkdir()
    code = "import sys\nraise ImportError(sys.argv[1] + ' and ' + sys.argv[2])"
    (tmp_path / "fake" / "tensorflow.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    folder = Path(releases["small"].folder)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError) as error:
        list(convert(Path(folder.name), Path("out")))
    assert f"{folder} and {folder.parent / '.out.part'}" in str(error.value)


HANGING = """
import os, time
import numpy as np
open({pid!r}, "w").write(str(os.getpid()))
shapes = {shapes!r}

class float32:
    name = "float32"

class Reader:
    def get_variable_to_shape_map(self):
        return shapes

    def get_variable_to_dtype_map(self):
        return dict.fromkeys(shapes, float32)

    def get_tensor(self, name):
        if name == "model/ln_f/b":
            time.sleep(600)
        return np.zeros(shapes[name], np.float32)

class train:
    load_checkpoint = staticmethod(lambda path: Reader())
"""


def test_closing_ends_the_child(pretend: Any, tmp_path: Path) -> None:
    """It hangs at its fourth variable, with a part of the file written."""
    events = pretend(HANGING.format(pid=str(tmp_path / "pid"), shapes=their_shapes(SMALL)))
    assert next(event for event in events if event.done == 3).total == 28
    assert (tmp_path / ".out.part").exists()
    child = int((tmp_path / "pid").read_text())
    os.kill(child, 0)
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_the_child_needs_no_torch() -> None:
    """Beside TensorFlow it would take memory for nothing."""
    code = "import sys, gpt_demo.exchange.tensorflow_reader; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
