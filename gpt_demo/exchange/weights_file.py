"""A safetensors file written one tensor at a time, so that no more than one has to be in memory.

The format: 8 bytes with the header's length, the header as JSON, then the numbers of all tensors without gaps
(https://github.com/huggingface/safetensors). The header is padded so that the numbers begin on a multiple of ALIGNMENT:
then a mapped file can be computed with at once.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes; a cache line


def write_weights(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[tuple[str, NDArray[np.float32]]]
) -> Iterator[str]:
    """Write float32 tensors of the given shapes; the names as they are written, in the order of `tensors`.

    The file is whole, and on the disk, when the iterator is used up. Raises ValueError where a tensor is not of its
    shape or not announced, comes twice, or is missing at the end; OSError where the disk has no room.
    """
    places: dict[str, dict[str, Any]] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape, dtype=np.int64))
        places[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps({"__metadata__": {"format": "pt"}, **places}, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    missing = set(shapes)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        _reserve(file, 8 + len(header) + end)
        for name, values in tensors:
            if name not in missing or values.shape != shapes[name]:
                raise ValueError(f"{name} of shape {values.shape} does not belong into {path.name}")
            missing.discard(name)
            file.seek(8 + len(header) + places[name]["data_offsets"][0])
            file.write(np.ascontiguousarray(values, dtype="<f4").data)
            yield name
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} is missing in {path.name}")
        file.flush()
        os.fsync(file.fileno())


def _reserve(file: BinaryIO, size: int) -> None:
    """Make the file `size` bytes long; where the system can, it takes the room now or says that there is none."""
    file.truncate(size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
