"""Where things are: the files that come with the app, the folder of what it makes, and the room on its disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gpt_demo.errors import UserError
from gpt_demo.format import size

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def data_home() -> Path:
    """The folder for models, runs and downloads: GPT_DEMO_HOME, by default `checkpoints/` next to app.py."""
    return Path(os.environ.get("GPT_DEMO_HOME") or ASSETS.parent / "checkpoints")


def free_space(folder: Path) -> int:
    """Bytes free on the disk of `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises UserError unless the disk of `folder` has `needed` bytes free for `what`."""
    free = free_space(folder)
    if needed > free:
        raise UserError(
            f"{what} needs {size(needed)} of disk space, but only {size(free)} are free. "
            "Delete models, runs or downloads that are no longer needed, then try again."
        )


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns a disk error inside (disk full, folder read-only) into a UserError."""
    try:
        yield
    except NotADirectoryError as error:
        raise UserError(f"{what} can't be written: {data_home()} is not a folder. Set GPT_DEMO_HOME to one.") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{what} can't be written ({reason}). Free some space on the disk, or allow this program to write to its "
            "folder, then try again."
        ) from error


def check_home() -> None:
    """Raises UserError if the folder of models and runs can't be read."""
    home = data_home()
    try:
        for folder in (home, home / "models", home / "runs"):
            if folder.exists():
                next(folder.iterdir(), None)
    except OSError as error:
        raise UserError(
            f"{home} can't be read ({error.strerror or error}). Allow this program to read it, or set GPT_DEMO_HOME to "
            "another folder."
        ) from error
