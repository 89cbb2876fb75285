"""Writes models as OpenAI released GPT-2, with TensorFlow itself and random weights.

TensorFlow lives in a child process, `python tests/release.py`, which is told on stdin what to write: several releases,
so that it is imported once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCAB_BPE = Path(__file__).parents[1] / "assets" / "gpt2" / "vocab.bpe"


@dataclass
class Release:
    """A folder to be written. `changes` go against the layout: name -> another shape, "nan", "inf", "float16" or None
    (left out)."""

    folder: str
    hparams: dict[str, int]
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)


def shapes(hparams: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """OpenAI's variables, as src/model.py of their repository makes them."""
    c = hparams["n_embd"]
    found: dict[str, tuple[int, ...]] = {"model/wpe": (hparams["n_ctx"], c), "model/wte": (hparams["n_vocab"], c)}
    for i in range(hparams["n_layer"]):
        block: dict[str, tuple[int, ...]] = {
            "ln_1/g": (c,), "ln_1/b": (c,), "attn/c_attn/w": (1, c, 3 * c), "attn/c_attn/b": (3 * c,),
            "attn/c_proj/w": (1, c, c), "attn/c_proj/b": (c,), "ln_2/g": (c,), "ln_2/b": (c,),
            "mlp/c_fc/w": (1, c, 4 * c), "mlp/c_fc/b": (4 * c,), "mlp/c_proj/w": (1, 4 * c, c), "mlp/c_proj/b": (c,),
        }  # fmt: skip
        found |= {f"model/h{i}/{name}": shape for name, shape in block.items()}
    return {**found, "model/ln_f/g": (c,), "model/ln_f/b": (c,)}


def weights(release: Release) -> Iterator[tuple[str, NDArray[Any]]]:
    """The same numbers for the same release, in any process. Gains lie around 1, all else around 0."""
    wanted = {**shapes(release.hparams), **{k: v for k, v in release.changes.items() if isinstance(v, list)}}
    for number, (name, shape) in enumerate(wanted.items()):
        values = np.random.default_rng([release.seed, number]).standard_normal(shape, dtype=np.float32)
        values = values * np.float32(0.15) + np.float32(name.endswith("/g"))
        change = release.changes.get(name, "")
        if change in ("nan", "inf"):
            values.flat[-1] = float(change)
        if change is not None:
            yield name, values.astype(np.float16) if change == "float16" else values


def write(*releases: Release) -> None:
    """Write all seven files of each release."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    given = json.dumps([asdict(release) for release in releases])
    command = [sys.executable, __file__]
    done = subprocess.run(
        command, input=given, env={**os.environ, **quiet}, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _write(release: Release, tf: Any) -> None:
    folder = Path(release.folder)
    folder.mkdir(parents=True, exist_ok=True)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, values in weights(release):
            variable = v1.get_variable(name, values.shape, values.dtype, initializer=v1.zeros_initializer())
            session.run(variable.initializer)
            variable.load(values, session)
        v1.train.Saver().save(session, str(folder / "model.ckpt"))
    n_vocab = release.hparams["n_vocab"]
    (folder / "hparams.json").write_text(json.dumps(release.hparams))
    (folder / "encoder.json").write_text(json.dumps({f"token {i}": i for i in range(n_vocab)}))
    (folder / "vocab.bpe").write_bytes(VOCAB_BPE.read_bytes())


def main() -> None:
    import tensorflow as tf

    for given in json.load(sys.stdin):
        _write(Release(**given), tf)


if __name__ == "__main__":
    main()
