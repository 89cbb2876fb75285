"""The page's look: Gradio's theme, toned down, and its styles."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.paths import ASSETS
from gpt_demo.ui import door, measures, scripts
from gpt_demo.ui.reach import is_public, listens_on_loopback

STYLES = (
    "page/page.css",
    "train/chart.css",
    "models/models.css",
    "compare/compare.css",
    "playground/lab.css",
    "playground/race.css",
    "playground/toy.css",
    "presenter/present.css",
)
FONT = ["system-ui", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """One accent color, system fonts, and contrast that meets WCAG AA in light and dark."""
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=MONO).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#991b1b",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
    )


def _from_outside() -> dict[str, Any]:
    """The scripts that are served, and what is refused."""
    options = scripts.launch_options()
    rules = door.PUBLIC if is_public() else door.LOCAL if listens_on_loopback() else door.Rules(body=None)
    served = options["app_kwargs"]["routes"] + measures.routes()
    return {**options, "app_kwargs": {"routes": served, "middleware": [door.middleware(rules)]}}


def launch_options() -> dict[str, Any]:
    """The options of `launch`, except the address."""
    styles = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
    return {
        "theme": theme(),
        "css": styles,
        **_from_outside(),
        "run_history": False,
        "ssr_mode": False,
        "state_session_capacity": 100,  # pages whose states are kept in memory, the latest
        "max_threads": 100,  # a poll of a text being written holds one for a moment
        "enable_monitoring": False,
        "max_file_size": "160mb" if is_public() else "8gb",  # of models; texts have a limit of their own
        "footer_links": ["api", "settings"],
    }
