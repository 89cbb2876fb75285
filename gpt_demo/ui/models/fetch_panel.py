"""The components that start a download and show how it goes (fetching.py does it)."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.ui.models.fetching import Fetches
from gpt_demo.ui.models.table import SOURCE_WORDS
from gpt_demo.ui.views import view, view_json


class FetchPanel:
    """Built where it is made; `state` gives the values of `parts`."""

    def __init__(self, fetches: Fetches) -> None:
        self.fetches = fetches
        with gr.Row(elem_classes="bottom", visible=False, elem_id="model-fetching") as self.offer:
            choices = [(words, source) for source, words in SOURCE_WORDS.items()]
            self.source = gr.Radio(
                choices, value="openai", label="Download from",
                info="OpenAI's files need TensorFlow to convert; Hugging Face's do not", elem_id="model-source",
            )  # fmt: skip
            self.fetch = gr.Button("Download", variant="primary", elem_id="model-fetch", min_width=110)
        hub = gr.Accordion("Any GPT-2 from the Hugging Face Hub", open=False, elem_id="model-hub")
        hub.visible = not fetches.services.limits
        with hub, gr.Row(elem_classes="bottom"):
            self.repo = gr.Textbox(
                label="Id", info="as in its address: ORG/NAME", placeholder="distilbert/distilgpt2", max_lines=1,
                elem_id="model-repo",
            )  # fmt: skip
            self.fetch_repo = gr.Button("Download it", variant="primary", elem_id="model-fetch-repo", min_width=110)
        with gr.Column(visible=False) as self.under_way:
            self.progress = view("fetch", elem_id="model-progress")
            with gr.Row(elem_classes="model-buttons"):
                self.cancel = gr.Button("Cancel", visible=False, elem_id="model-cancel", min_width=90)
                self.retry = gr.Button("Retry", visible=False, variant="primary", elem_id="model-retry", min_width=90)
                self.dismiss = gr.Button("Dismiss", visible=False, elem_id="model-dismiss", min_width=90)
        self.parts: list[Any] = [self.under_way, self.progress, self.cancel, self.retry, self.dismiss]

    def state(self, token: str, chosen: str | None) -> list[Any]:
        """Of the parts, as the download stands."""
        shown = self.fetches.shown(chosen, token)
        cancel, again = self.fetches.buttons(shown)
        return [
            gr.update(visible=shown is not None),
            view_json(self.fetches.data(shown)),
            gr.update(visible=bool(cancel)),
            gr.update(visible=bool(again), value=again or "Retry"),
            gr.update(visible=shown is not None and not cancel),
        ]

    def work(self, token: Any, chosen: Any) -> list[tuple[gr.Button, Any, list[Any]]]:
        """The buttons, what they do and what that takes."""
        return [
            (self.fetch, self.start, [token, chosen, self.source]),
            (self.fetch_repo, self.fetches.start_repository, [self.repo, token]),
            (self.retry, self.restart, [token, chosen]),
            (self.cancel, self.fetches.cancel, [token]),
            (self.dismiss, self.put_away, [token, chosen]),
        ]

    def start(self, token: str, name: str | None, source: str) -> None:
        """Begin to download the chosen size, or join the download that is going on."""
        self.fetches.start(name or "", source, token)

    def restart(self, token: str, name: str | None) -> None:
        self.fetches.retry(self.fetches.shown(name, token) or "", token)

    def put_away(self, token: str, name: str | None) -> None:
        """The visitor has seen how the download that is shown ended."""
        self.fetches.dismiss(self.fetches.shown(name, token), token)
