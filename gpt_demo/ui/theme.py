"""How the page looks: Gradio's own look, calmed down, and the files of assets/ that belong to the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.store import ASSETS
from gpt_demo.ui.session import is_public

SCRIPTS = (
    "train_chart.js",
    "views.js",
    "model_views.js",
    "compare_views.js",
    "contrast_views.js",
    "sampler.js",
    "lab/core.js",
    "lab/common.js",
    "lab/tree.js",
    "lab/story.js",
    "lab/controls.js",
    "lab/text.js",
    "lab/dart.js",
    "lab/dist.js",
    "lab/branches.js",
    "lab/write.js",
    "lab/setup.js",
    "lab/lanes.js",
    "lab/race.js",
    "lab/beamtree.js",
    "lab/beamparts.js",
    "lab/beams.js",
    "lab/toy.js",
    "lab/link.js",
    "lab/receipt.js",
    "lab/examples.js",
    "lab/share.js",
    "lab/stage.js",
    "lab/live.js",
    "lab/deck.js",
    "lab/drawer.js",
    "lab/present.js",
)
STYLES = (
    "styles.css",
    "train_chart.css",
    "models.css",
    "compare.css",
    "lab/lab.css",
    "lab/race.css",
    "lab/toy.css",
    "lab/present.css",
)
FONT = ["system-ui", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """One accent colour, system fonts, and contrast that meets WCAG AA in light and dark."""
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


def launch_options() -> dict[str, Any]:
    """What `launch` needs besides where to listen."""
    scripts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    styles = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
    return {
        "theme": theme(),
        "css": styles,
        "head": f"<script>{scripts}</script>",
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": "160mb" if is_public() else "8gb",  # of models; texts have a limit of their own
        "footer_links": ["api", "settings"],
    }
