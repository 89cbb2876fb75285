"""How the page's listeners run."""

from __future__ import annotations

from typing import Any

# How a listener runs. Quiet: at once, however many wait, for what happens often and raises nothing a visitor must see.
# Queued: the only way that Gradio shows an error's sentence; for buttons.
QUIET: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
QUEUED: dict[str, Any] = {"concurrency_limit": 16, "api_visibility": "private", "show_progress": "hidden"}
