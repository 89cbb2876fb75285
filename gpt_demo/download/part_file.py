"""A partial download: the bytes so far, next to the final file, and where they come from.

`.NAME.part` holds the beginning of the file, `.NAME.part.json` the facts its host reported. The file gets its name only
when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from gpt_demo.download.transfer import Facts

_BLOCK = 8 << 20  # bytes hashed between two events


class PartFile:
    """The part file that becomes `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self._record = target.with_name(f".{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes so far; 0 if there is no part file."""
        return size_of(self.path) or 0

    def prepare(self, url: str, facts: Facts) -> None:
        """Keep the bytes so far if they belong to the file that `facts` describe, else start over."""
        if not self._fits(url, facts):
            self.discard()  # before the record is written, so that it never describes old bytes
            self.path.touch()
        self._record.write_text(json.dumps({"url": url, "facts": asdict(facts)}), encoding="utf-8")

    def _fits(self, url: str, facts: Facts) -> bool:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            old_url, old = record["url"], Facts(**record["facts"])
            common = old.checksums.keys() & facts.checksums.keys()
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False
        same_length = old.size is not None and old.size == facts.size
        if (old.size and facts.size and not same_length) or self.size > (facts.size or self.size):
            return False
        if common:
            return same_length and all(old.checksums[name] == facts.checksums[name] for name in common)
        if old_url != url:
            return False
        if old.etag and facts.etag:
            return old.etag == facts.etag
        if old.modified and facts.modified:
            return old.modified == facts.modified
        return same_length

    @contextmanager
    def writing(self, start: int) -> Iterator[BinaryIO]:
        """The file, truncated to `start` bytes and open for appending."""
        with self.path.open("r+b") as file:
            file.truncate(start)
            file.seek(start)
            yield file

    def finish(self) -> None:
        """Give the complete file its name, once it is on disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        self._record.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)


def size_of(path: Path) -> int | None:
    """Bytes of a file, None if there is none: another process may move or remove it at any moment."""
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def checksums_of(path: Path, names: Iterable[str]) -> Generator[None, None, dict[str, str]]:
    """Hash a file, yielding after each block; name ("md5", "sha1", "sha256") -> lower-case hex."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with path.open("rb") as file:
        while hashes and (block := file.read(_BLOCK)):
            for digest in hashes.values():
                digest.update(block)
            yield
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def agrees(found: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    return all(found[name] == value for name, value in expected.items())
