"""The Models tab: what is in the store."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.store import ModelInfo
from gpt_demo.ui.format import count, number, size
from gpt_demo.ui.session import Services, owner, sentences
from gpt_demo.ui.views import view, view_json


class ModelsTab:
    """A table of the models, and the way to delete one."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        self.table = view("table", table(services.store.list()), elem_id="model-table")
        with gr.Row(elem_classes="bottom"):
            self.model = gr.Dropdown([], label="Your model", info="to delete", elem_id="delete-choice", scale=3)
            self.delete = gr.Button("Delete", elem_id="delete-model", min_width=90)
        with gr.Group(visible=False) as self.question:
            gr.Markdown("Delete this model for good?", elem_classes="pad")
            with gr.Row():
                self.yes = gr.Button("Delete it", variant="stop", elem_id="delete-yes")
                self.no = gr.Button("Keep it", elem_id="delete-no")

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        quiet: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        outputs = [self.table, self.model, self.question]
        gr.on([page.load, tab.select], self.show, self.token, outputs, **quiet)
        self.delete.click(lambda name: gr.update(visible=bool(name)), self.model, self.question, **quiet)
        self.no.click(lambda: gr.update(visible=False), None, self.question, **quiet)
        self.yes.click(self.remove, [self.token, self.model], outputs, **quiet)

    def show(self, token: str) -> tuple[Any, ...]:
        models = self.services.store.list(owner(token))
        names = [info.name for info in models if not self.services.store.is_starter(info)]
        return view_json(table(models)), gr.update(choices=names, value=None), gr.update(visible=False)

    def remove(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            self.services.store.delete(name or "", owner(token))
        return self.show(token)


def table(models: list[ModelInfo]) -> dict[str, Any]:
    """A row for each model."""
    head = ["Model", "Layers", "Heads", "Width", "Context", "Vocabulary", "Parameters", "On disk", "Validation loss"]
    rows = [
        [
            info.name,
            str(info.config.n_layer),
            str(info.config.n_head),
            str(info.config.n_embd),
            f"{info.config.n_ctx:,}",
            f"{info.config.n_vocab:,}",
            count(info.config.n_params),
            size(info.bytes),
            number(info.about.get("val_loss")),
        ]
        for info in models
    ]
    return {"head": head, "rows": rows, "note": "No models yet. Train one in the Train tab."}
