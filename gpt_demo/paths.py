"""Where things are: the files that come with the app, and the folder of what it makes."""

from __future__ import annotations

import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def data_home() -> Path:
    """The folder for models, runs and downloads: GPT_DEMO_HOME, by default `checkpoints/` beside app.py."""
    return Path(os.environ.get("GPT_DEMO_HOME") or ASSETS.parent / "checkpoints")
