"""OpenAI's release of GPT-2: seven files per size, and their TensorFlow checkpoint rewritten as one safetensors file.

The files: https://github.com/openai/gpt-2, download_model.py; the variables' names: src/model.py there. TensorFlow is
only imported by a child process (tensorflow_reader.py), so its memory is gone when the conversion is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gpt_demo.download.files import RemoteFile, fetch_all
from gpt_demo.errors import UserError
from gpt_demo.events import Converting, Downloading
from gpt_demo.model.gpt import GPT2_SIZES, GPTConfig
from gpt_demo.text.tokenizer import MAX_VOCAB, MERGES_SHA256, MIN_VOCAB, Tokenizer, gpt2

CHECKPOINT = "model.ckpt"
FILES = (
    "checkpoint",
    "encoder.json",
    "hparams.json",
    f"{CHECKPOINT}.data-00000-of-00001",
    f"{CHECKPOINT}.index",
    f"{CHECKPOINT}.meta",
    "vocab.bpe",
)
DEFAULT_URLS = (
    "https://openaipublic.blob.core.windows.net/gpt-2/models",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2",
)
HPARAMS = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
MOST_LAYERS = 1000  # beyond, hparams.json is no GPT-2's
_AGAIN = "Delete it and download the model again."


def base_urls() -> tuple[str, ...]:
    """Where the release is: GPT_DEMO_OPENAI_URLS, comma-separated, in the order in which they are tried."""
    urls = (url.strip().rstrip("/") for url in os.environ.get("GPT_DEMO_OPENAI_URLS", "").split(","))
    return tuple(url for url in urls if url) or DEFAULT_URLS


def fetch_release(size: str, folder: Path) -> Iterator[Downloading]:
    """Fetch the seven files of a size ("124M") into `folder`; what is there whole is left. Raises UserError."""
    if size not in GPT2_SIZES:
        raise UserError(f"There is no GPT-2 of size {size[:40]!r}. Choose one of {', '.join(GPT2_SIZES)}.")
    bases = base_urls()
    files = [RemoteFile(name, tuple(f"{base}/{size}/{name}" for base in bases)) for name in FILES]
    yield from fetch_all(files, folder)


def is_release(folder: Path) -> bool:
    """Whether `folder` looks like OpenAI's release of a model."""
    return all((folder / name).is_file() for name in ("hparams.json", FILES[3], FILES[4]))


def read_hparams(folder: Path) -> GPTConfig:
    """The shape that hparams.json gives. Raises UserError where it is missing, damaged or of another kind of model."""
    path = folder / "hparams.json"
    hparams = _read_object(path)
    odd = sorted(hparams.keys() ^ set(HPARAMS))
    if odd:
        raise UserError(
            f"{path} should hold {', '.join(HPARAMS)} and nothing else; {', '.join(odd)[:200]} is missing or unknown. "
            "It is no GPT-2's: choose another folder, or download the model again."
        )
    config = GPTConfig(**hparams)
    if config.n_layer > MOST_LAYERS:
        raise UserError(f"{path} asks for {config.n_layer:,} layers. It is no GPT-2's: choose another folder.")
    return config


def release_tokenizer_matches(folder: Path) -> Tokenizer:
    """The tokenizer of a release, once encoder.json and vocab.bpe are seen to be its own. Raises UserError.

    GPT-2's own vocab.bpe is known by its checksum. A model with another vocabulary (a small one, in a test) has the
    first merges of its vocab.bpe that it has ids for.
    """
    n_vocab, path = read_hparams(folder).n_vocab, folder / "vocab.bpe"
    entries = len(_read_object(folder / "encoder.json"))
    if entries != n_vocab:
        raise UserError(f"{folder / 'encoder.json'} has {entries:,} entries, not {n_vocab:,}. {_AGAIN}")
    data = _read(path)
    if n_vocab == MAX_VOCAB:
        if hashlib.sha256(data).hexdigest() != MERGES_SHA256:
            raise UserError(f"{path} is not GPT-2's merge table: it is damaged or cut off. {_AGAIN}")
        return gpt2()
    merges = data.decode("utf-8", errors="replace").splitlines()[1:][: max(0, n_vocab - MIN_VOCAB)]
    tokenizer = Tokenizer.from_dict({"format": "gpt_demo", "kind": "bpe", "merges": merges})
    if tokenizer.n_vocab < n_vocab:
        raise UserError(f"{path} has merges for {tokenizer.n_vocab:,} tokens only, not {n_vocab:,}. {_AGAIN}")
    return tokenizer


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}). Download the model again.") from error


def _read_object(path: Path) -> dict[str, Any]:
    data = _read(path)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object: it is damaged, or something else was sent for it. {_AGAIN}")
    return found


def variables(config: GPTConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """OpenAI's variable -> our tensor's name, and the variable's shape in the checkpoint.

    Matrices are stored (1, in, out), as of a convolution of width 1; ours are (out, in).
    """
    C = config.n_embd
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "model/wte": ("wte.weight", (config.n_vocab, C)),
        "model/wpe": ("wpe.weight", (config.n_ctx, C)),
        "model/ln_f/g": ("ln_f.weight", (C,)),
        "model/ln_f/b": ("ln_f.bias", (C,)),
    }
    linear = {"attn/c_attn": (C, 3 * C), "attn/c_proj": (C, C), "mlp/c_fc": (C, 4 * C), "mlp/c_proj": (4 * C, C)}
    for layer in range(config.n_layer):
        theirs, ours = f"model/h{layer}", f"h.{layer}"
        for norm in ("ln_1", "ln_2"):
            found[f"{theirs}/{norm}/g"] = (f"{ours}.{norm}.weight", (C,))
            found[f"{theirs}/{norm}/b"] = (f"{ours}.{norm}.bias", (C,))
        for part, (n_in, n_out) in linear.items():
            name = f"{ours}.{part.replace('/', '.')}"
            found[f"{theirs}/{part}/w"] = (f"{name}.weight", (1, n_in, n_out))
            found[f"{theirs}/{part}/b"] = (f"{name}.bias", (n_out,))
    return found


def convert(folder: Path, target: Path) -> Iterator[Converting]:
    """Rewrite the checkpoint in `folder` as the safetensors file `target`, in a child process.

    `target` is there when it is whole. Closing the generator ends the child. Raises UserError naming the variables that
    are missing, left over, wrongly shaped or not finite, and where TensorFlow or the child itself fails.
    """
    expected = variables(read_hparams(folder))
    part = target.with_name(f".{target.name}.part")
    yield Converting(0, len(expected))
    with tempfile.TemporaryFile() as noise, contextlib.ExitStack() as cleanup:
        cleanup.callback(part.unlink, missing_ok=True)
        child = _start_reader(folder, part, noise)
        cleanup.callback(_end, child)
        yield from _follow(child, expected)
        if child.wait() != 0:
            noise.seek(max(0, noise.seek(0, os.SEEK_END) - 2000))
            raise _died(child.returncode, noise.read().decode(errors="replace"))
        os.replace(part, target)


def _start_reader(folder: Path, target: Path, noise: IO[bytes]) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "gpt_demo.exchange.tensorflow_reader",
        str(folder.resolve()),
        str(target.resolve()),
    ]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],  # where gpt_demo is found
        env={**os.environ, **quiet},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=noise,
        text=True,
        encoding="utf-8",
    )


def _follow(child: subprocess.Popen[str], expected: dict[str, tuple[str, tuple[int, ...]]]) -> Iterator[Converting]:
    """Tell the child what to read, and pass on what it says: lines of {"done": N} or {"error": SENTENCE}."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(OSError), child.stdin as pipe:  # if it died, its exit status says so
        json.dump(expected, pipe)
    for line in child.stdout:
        said = json.loads(line)
        if "error" in said:
            raise UserError(said["error"])
        yield Converting(said["done"], len(expected))


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    if child.stdout:
        child.stdout.close()


def _died(status: int, said: str) -> UserError:
    """What to say of a child that ended without a sentence of its own."""
    advice = "Hugging Face as the source needs no conversion."
    if status < 0:
        return UserError(
            f"The conversion was ended by the system (signal {-status}), most likely because memory ran out. "
            f"Close other programs and try again; {advice}"
        )
    last = said.strip().rpartition("\n")[2][:200] or f"exit status {status}"
    return UserError(f"The conversion failed ({last}). Try again; {advice}")
