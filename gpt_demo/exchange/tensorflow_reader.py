"""The child process that reads a TensorFlow checkpoint: `python -m gpt_demo.exchange.tensorflow_reader FOLDER TARGET`.

Reads from stdin what is expected, as JSON {variable: [our name, shape]}; writes TARGET as safetensors; says on stdout,
line by line, {"done": N} or {"error": SENTENCE}. Torch is never imported here, to save memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from gpt_demo.errors import UserError
from gpt_demo.exchange.weights_file import write_weights

Expected = Mapping[str, tuple[str, tuple[int, ...]]]


def open_checkpoint(folder: Path) -> Any:
    """TensorFlow's reader of the checkpoint. Raises UserError where there is no TensorFlow or no checkpoint."""
    try:
        import tensorflow as tf
    except Exception as error:  # not only ImportError: its native libraries fail in many ways
        what = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"TensorFlow, which reads OpenAI's files, can't be imported ({what}). "
            "Install it, or choose Hugging Face as the source, which needs none."
        ) from error
    try:
        return tf.train.load_checkpoint(str(folder / "model.ckpt"))
    except Exception as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> UserError:
    what = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UserError(
        f"The checkpoint in {folder} can't be read ({what}). Delete its files and download the model again."
    )


def check_variables(
    folder: Path, shapes: Mapping[str, list[int]], types: Mapping[str, Any], expected: Expected
) -> None:
    """Raises UserError naming what is missing, left over or wrongly shaped, before anything is read."""
    faults = [f"{name} is missing" for name in expected if name not in shapes]
    faults += [f"{name} does not belong to this model" for name in shapes if name not in expected]
    for name in expected.keys() & shapes.keys():
        if tuple(shapes[name]) != expected[name][1]:
            faults.append(f"{name} is {tuple(shapes[name])}, not {expected[name][1]}")
        elif types[name].name != "float32":
            faults.append(f"{name} is {types[name].name}, not float32")
    if faults:
        more = f" and {len(faults) - 5:,} more" if len(faults) > 5 else ""
        raise UserError(
            f"The checkpoint in {folder} does not fit its hparams.json: {'; '.join(sorted(faults)[:5])}{more}. "
            "Download the model again, or choose another folder."
        )


def read_variables(folder: Path, reader: Any, expected: Expected) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Our name and layout of one variable after the other. Raises UserError at one that is damaged or not finite."""
    for variable, (name, shape) in expected.items():
        try:
            values = reader.get_tensor(variable)
        except Exception as error:
            raise _damaged(folder, error) from error
        # Both are NaN if any number is; unlike isfinite, they need no second array.
        if not (np.isfinite(values.min()) and np.isfinite(values.max())):
            raise UserError(
                f"{variable} in {folder} holds numbers that are not finite. Download the model again, "
                "or choose another folder."
            )
        yield name, values[0].T if len(shape) == 3 else values


def our_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(1, in, out) is (out, in) with us; all else is as it is."""
    return (shape[2], shape[1]) if len(shape) == 3 else shape


def convert(folder: Path, target: Path, expected: Expected, out: TextIO) -> None:
    reader = open_checkpoint(folder)
    check_variables(folder, reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map(), expected)
    shapes = {name: our_shape(shape) for name, shape in expected.values()}
    try:
        for done, _ in enumerate(write_weights(target, shapes, read_variables(folder, reader, expected)), start=1):
            print(json.dumps({"done": done}), file=out, flush=True)
    except OSError as error:
        raise UserError(f"{target} can't be written ({error.strerror}). Free some space and try again.") from error


def main() -> int:
    """0, also after an error that was said in a sentence."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever TensorFlow prints, the lines of the answer stay clean
    folder, target = map(Path, sys.argv[1:])
    expected = {variable: (name, tuple(shape)) for variable, (name, shape) in json.load(sys.stdin).items()}
    try:
        convert(folder, target, expected, out)
    except UserError as error:
        print(json.dumps({"error": str(error)}), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
