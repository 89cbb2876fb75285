"""The built-in texts: the sample story in the repository, and "The Verdict" by download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS

VERDICT_URL = "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch02/01_main-chapter-code/the-verdict.txt"
VERDICT_SHA256 = "b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f"


def sample_story() -> str:
    """The story written for this project."""
    return (ASSETS / "story.txt").read_text(encoding="utf-8")


def the_verdict(home: Path, url: str = VERDICT_URL) -> str:
    """Edith Wharton's story, the text of the book's chapter: downloaded once into `home/downloads`, its hash checked.

    Raises UserError if it can't be downloaded or is not the same text.
    """
    path = home / "downloads" / "the-verdict.txt"
    if path.exists() and _is_verdict(path.read_bytes()):
        return path.read_text(encoding="utf-8")
    host = httpx.URL(url).host
    try:
        content = httpx.get(url, timeout=10, follow_redirects=True).raise_for_status().content
    except httpx.HTTPError as error:
        raise UserError(
            f"The Verdict could not be downloaded from {host} ({type(error).__name__}). "
            "Check the network and try again, or use the sample story, which is already here."
        ) from error
    if not _is_verdict(content):
        raise UserError(f"The file from {host} is not the expected text of The Verdict. Use the sample story instead.")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
    return content.decode("utf-8")


def _is_verdict(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == VERDICT_SHA256
