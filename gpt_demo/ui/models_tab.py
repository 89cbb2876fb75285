"""The Models tab: what is in the store, to write with, to download, to delete."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.store import ModelInfo
from gpt_demo.ui.downloads import Downloads, zip_folder
from gpt_demo.ui.format import count, number, size
from gpt_demo.ui.session import QUEUED, QUIET, Services, owner, sentences
from gpt_demo.ui.views import view, view_json


class ModelsTab:
    """A table of the models, and what can be done with one."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        gr.Markdown("## Models", elem_classes="heading")
        self.table = view("table", elem_id="model-table")
        with gr.Row(elem_classes="bottom"):
            self.model = gr.Dropdown(
                [], label="Model", info="to write with, save or delete", elem_id="model-name", scale=3
            )
            self.write = gr.Button("Let it write", variant="primary", elem_id="model-write", min_width=120)
            self.download = gr.Button("Download", elem_id="model-download", min_width=110)
            self.delete = gr.Button("Delete", elem_id="model-delete", min_width=90)
        with gr.Column(visible=False, elem_id="delete-question", elem_classes="question") as self.question:
            gr.Markdown("**Delete this model for good?** The run that made it stays.")
            with gr.Row():
                self.yes = gr.Button("Delete it", variant="stop", elem_id="delete-yes")
                self.no = gr.Button("Keep it", elem_id="delete-no")
        self.files = Downloads("model-file")

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        outputs = [self.table, self.model, self.question]
        mine = [self.token, self.model]
        gr.on([page.load, tab.select], self.show, mine, outputs, **QUIET)
        self.delete.click(self.ask, mine, self.question, **QUEUED)
        self.model.input(lambda: gr.update(visible=False), None, self.question, **QUIET)
        self.no.click(lambda: gr.update(visible=False), None, self.question, **QUIET)
        self.yes.click(self.remove, mine, outputs, **QUEUED)
        self.files.connect(self.download, self.write_zip, mine)

    def show(self, token: str, chosen: str | None) -> tuple[Any, ...]:
        """The visitor's models; the choice stays while it can, and is the newest at first."""
        models = self.services.store.list(owner(token))
        names = [info.name for info in models]
        if chosen not in names:
            own = [info.name for info in models if self.services.may_delete(info, token)]
            chosen = next(iter(own or names), None)
        return view_json(table(models)), gr.update(choices=names, value=chosen), gr.update(visible=False)

    def ask(self, token: str, name: str | None) -> Any:
        """The question, or why the model can't be deleted."""
        with sentences():
            self._deletable(token, name)
        return gr.update(visible=True)

    def remove(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            self._deletable(token, name)
            self.services.store.delete(name or "", owner(token))
        return self.show(token, None)

    def _deletable(self, token: str, name: str | None) -> None:
        info = self._info(token, name)
        if self.services.store.is_starter(info):
            raise UserError("The starter model belongs to the app and can't be deleted.")
        if not self.services.may_delete(info, token):
            raise UserError(f"{info.name} belongs to this server; only models that you trained can be deleted.")

    def _info(self, token: str, name: str | None) -> ModelInfo:
        if not name:
            raise UserError("No model is chosen. Train one first, or choose one from the list.")
        return self.services.store.get(name, owner(token))

    def write_zip(self, target: Path, token: str, name: str | None) -> Path:
        """The model's folder as a zip file in the folder `target`."""
        info = self._info(token, name)
        return zip_folder(info.folder, target / info.name)


def table(models: list[ModelInfo]) -> dict[str, Any]:
    """A row for each model."""
    head = [
        "Model", "Parameters", "Layers", "Heads", "Width", "Context", "Vocabulary", "Validation loss", "On disk",
        "Made",
    ]  # fmt: skip
    rows = [
        [
            info.name,
            count(info.config.n_params),
            str(info.config.n_layer),
            str(info.config.n_head),
            str(info.config.n_embd),
            f"{info.config.n_ctx:,}",
            f"{info.config.n_vocab:,}",
            number(info.about.get("val_loss")),
            size(info.bytes),
            _day(info.about.get("created")),
        ]
        for info in models
    ]
    return {"head": head, "rows": rows, "note": "No models yet. Train one in the Train tab."}


def _day(seconds: Any) -> str:
    """The day of a time in seconds since 1970; an en dash where there is none."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if isinstance(seconds, int | float) else number(None)
