"""The Models tab: the GPT-2 sizes and the visitor's own models, to download, load, write with, save and delete."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.exchange.pretrained import export_model
from gpt_demo.format import size
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.model.quantization import PRECISIONS
from gpt_demo.store.store import ModelInfo
from gpt_demo.ui.downloads import Downloads, zip_folder
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.models import loading
from gpt_demo.ui.models.architecture import architecture
from gpt_demo.ui.models.fetch_panel import FetchPanel
from gpt_demo.ui.models.fetching import Fetches
from gpt_demo.ui.models.importing import ImportPanel
from gpt_demo.ui.models.table import SIZE_OF, estimate, fit_line, gpt2_models, own_models, table
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view, view_json

COMPUTING = {**QUEUED, "concurrency_id": "models", "concurrency_limit": 1}
FORM_WORDS = {
    "transformers": "transformers (a folder)",
    "gguf": "llama.cpp (a GGUF file)",
    "book": "the book (its model.pth)",
}
DELETE_WORDS = {
    "model": "**Delete this model permanently?** If a run made it, the run is kept.",
    "gpt2": "**Delete this model and its downloaded files?** It can be downloaded again.",
    "files": "**Delete the partial download?** It would start over.",
}


class ModelsTab:
    """What fits, a table, and on the left what can be done with the chosen model, which is drawn on the right."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        self.fetches = Fetches(services)
        self.timer = gr.Timer(0.5, active=False)
        self.changed = gr.State(0)  # a new number triggers a refresh
        self._changes = itertools.count(1)
        gr.Markdown("## Models", elem_classes="heading")
        self.fit = view("fit", elem_id="model-fit")
        self.table = view("models", elem_id="model-table")
        with gr.Row(elem_id="model-parts"):
            with gr.Column(scale=5, min_width=320):
                self._build_choice()
                self.panel = FetchPanel(self.fetches)
                self._build_loading()
                self._build_files()
            with gr.Column(scale=7, min_width=320):
                self.architecture = view("architecture", elem_id="architecture")

    def _build_choice(self) -> None:
        self.model = gr.Dropdown([], label="Model", info="or click its row in the table", elem_id="model-name")
        with gr.Row(elem_classes="model-buttons"):
            self.write = gr.Button(
                "Let it write", variant="primary", interactive=False, elem_id="model-write", min_width=110
            )
            self.fine_tune = gr.Button("Fine-tune", interactive=False, elem_id="model-fine-tune", min_width=100)

    def _build_loading(self) -> None:
        self.precision = gr.Radio(
            list(PRECISIONS), value="fp32", label="Precision of the weights",
            info="4, 2 or about 1 byte per parameter; Load keeps the model in memory", elem_id="model-precision",
        )  # fmt: skip
        self.note = view("note", elem_id="model-note")
        with gr.Row(elem_classes="model-buttons"):
            self.load = gr.Button("Load", interactive=False, elem_id="model-load", min_width=80)
            self.unload = gr.Button("Unload", interactive=False, elem_id="model-unload", min_width=80)
            self.measure = gr.Button("Measure precisions", interactive=False, elem_id="model-measure", min_width=150)
        self.precisions = view("table", elem_id="model-precisions")

    def _build_files(self) -> None:
        with gr.Row(elem_classes="model-buttons"):
            self.download = gr.Button("Save as a file", interactive=False, elem_id="model-download", min_width=120)
            self.delete = gr.Button("Delete", interactive=False, elem_id="model-delete", min_width=80)
            self.free = gr.Button("Delete its download", visible=False, elem_id="model-free", min_width=150)
        with gr.Row(elem_classes="bottom"):
            choices = [(words, form) for form, words in FORM_WORDS.items()]
            self.form = gr.Dropdown(choices, value="transformers", label="Export for", elem_id="model-form")
            self.export = gr.Button("Export", interactive=False, elem_id="model-export", min_width=110)
        with gr.Column(visible=False, elem_id="delete-question", elem_classes="question") as self.question:
            self.words = gr.Markdown(DELETE_WORDS["model"])
            with gr.Row():
                self.yes = gr.Button("Delete it", variant="stop", elem_id="delete-yes")
                self.no = gr.Button("Keep it", elem_id="delete-no")
        self.files = Downloads("model-file")
        self.importing = ImportPanel(self.services, self.token)

    # Wiring -----------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """One listener draws everything and owns every button; the others do something and then ask it to look."""
        mine = [self.token, self.model]
        state = [self.fit, self.table, *self.panel.parts, self.timer, self.free, self.model]
        about = [
            self.panel.offer, self.note, self.architecture, self.write, self.fine_tune, self.load, self.unload,
            self.measure, self.download, self.export, self.delete,
        ]  # fmt: skip
        asked = [self.model.change, self.precision.input, self.timer.tick, self.changed.change]
        inputs = [*mine, self.precision]
        gr.on(asked, self.look, inputs, [*state, *about], trigger_mode="always_last", **QUIET)
        # The second of these waits for the first, which chooses a model: what a visitor chooses meanwhile stays.
        listed = [self.question, self.model, self.changed]
        gr.on([page.load, tab.select], self.show, mine, listed, trigger_mode="always_last", **QUEUED)
        chosen = self.table.select(self.choose, self.token, self.model, **QUIET)
        for closing in (self.model.input, chosen.then):
            closing(lambda: gr.update(visible=False), None, self.question, **QUIET)
        self._connect_work(mine)
        self._connect_files(mine, listed)

    def _connect_work(self, mine: list[Any]) -> None:
        for button, work, inputs in (*self.panel.work(*mine), (self.free, self.free_files, mine)):
            self._look_after(button.click(partial(_said, work), inputs, None, **QUEUED))
        self._look_after(self.load.click(self.start_loading, [*mine, self.precision], self.note, **COMPUTING))
        self._look_after(self.unload.click(self.end_loading, mine, None, **QUEUED))
        self._look_after(self.measure.click(self.measure_it, mine, self.precisions, **COMPUTING))

    def _connect_files(self, mine: list[Any], listed: list[Any]) -> None:
        self.delete.click(self.ask, mine, [self.question, self.words], **QUEUED)
        self.no.click(lambda: gr.update(visible=False), None, self.question, **QUIET)
        self.yes.click(self.remove, mine, listed, **QUEUED)
        self.files.connect(self.download, self.write_zip, mine)
        self.files.connect(self.export, self.write_export, [*mine, self.form])
        self.importing.connect().success(self.show, mine, listed, **QUEUED)

    def _look_after(self, dependency: Any) -> None:
        """Look, whether it went well or not."""
        dependency.success(self._change, None, self.changed, **QUEUED)
        dependency.failure(self._change, None, self.changed, **QUEUED)

    def _change(self) -> int:
        """A new value for `changed`."""
        return next(self._changes)

    # Looking ----------------------------------------------------------------------------------------------------------

    def show(self, token: str, chosen: str | None) -> tuple[Any, ...]:
        """The visitor's models; the choice stays while it can, and is the newest of their own at first."""
        own, names = own_models(self.services, token), self._names(token)
        listed = gr.update(choices=names)
        if chosen not in names:
            mine = [info.name for info in own if self.services.may_delete(info, token)]
            listed = gr.update(choices=names, value=self.fetches.going_on() or next(iter(mine or names), None))
        return gr.update(visible=False), listed, self._change()

    def choose(self, token: str, event: gr.EventData) -> Any:
        """The model whose row of the table was clicked."""
        name = str(event._data.get("name", ""))
        known = [info.name for info in self.services.store.list(owner(token))]
        return name if name in known or name in SIZE_OF else gr.skip()

    def look(self, token: str, chosen: str | None, precision: str) -> tuple[Any, ...]:
        """Everything as it is now."""
        return *self._state(token, chosen), *self._about(token, chosen, precision)

    def _state(self, token: str, chosen: str | None) -> tuple[Any, ...]:
        kept = self.fetches.kept_bytes(chosen or "") if self._found(token, chosen) else 0
        return (
            view_json(fit_line(self.services)),
            view_json({**table(self.services, token, self.fetches.labels()), "chosen": chosen}),
            *self.panel.state(token, chosen),
            gr.Timer(active=self.fetches.going_on() is not None),
            gr.update(visible=kept > 0 and not self.services.limits, value=f"Delete its download ({size(kept)})"),
            gr.update(choices=self._names(token)),
        )

    def _names(self, token: str) -> list[str]:
        return [info.name for info in own_models(self.services, token)] + list(gpt2_models(self.services))

    def _about(self, token: str, chosen: str | None, precision: str) -> tuple[Any, ...]:
        info = self._found(token, chosen)
        absent = info is None and chosen in SIZE_OF
        loaded = self.services.store.memory.precision_of(info.folder) if info else None
        config = info.config if info else GPT2_SIZES[SIZE_OF[str(chosen)]] if absent else None
        known = info is not None or absent
        here, in_memory = gr.update(interactive=info is not None), gr.update(interactive=loaded is not None)
        return (
            gr.update(visible=absent and self.fetches.going_on() != chosen),
            view_json(estimate(self.services, info, str(chosen), precision) if known else None),
            view_json(architecture(config, str(chosen)) if config else None),
            here, here, here, in_memory, here, here, here,
            gr.update(interactive=info is not None or self.fetches.has_files(str(chosen))),
        )  # fmt: skip

    def _found(self, token: str, name: str | None) -> ModelInfo | None:
        try:
            return self._info(token, name)
        except UserError:
            return None

    def _info(self, token: str, name: str | None) -> ModelInfo:
        if not name:
            raise UserError("No model is selected. Train one first, or select one from the list.")
        if name in SIZE_OF and gpt2_models(self.services).get(name, True) is None:
            raise UserError(f"{name} is not downloaded yet. Download it first.")
        return self.services.store.get(name, owner(token))

    # Acting -----------------------------------------------------------------------------------------------------------

    def free_files(self, token: str, name: str | None) -> None:
        """Delete the files that the chosen model was made from; the model stays. Raises UserError."""
        if self.services.limits:
            raise UserError("On this server the files of downloads stay.")
        self.fetches.delete_files(self._info(token, name).name)

    def start_loading(self, token: str, name: str | None, precision: str) -> Iterator[str]:
        with sentences():
            info = self._info(token, name)
            yield view_json({"text": f"Loading {info.name} in {precision} and measuring its speed.", "trouble": False})
            loading.load(self.services, info, precision, token)

    def end_loading(self, token: str, name: str | None) -> None:
        with sentences():
            loading.unload(self.services, self._info(token, name), token)

    def measure_it(self, token: str, name: str | None) -> Iterator[str]:
        with sentences():
            for data in loading.measure(self.services, self._info(token, name), token):
                yield view_json(data)

    def ask(self, token: str, name: str | None) -> tuple[Any, Any]:
        """The question, or why the model can't be deleted."""
        with sentences():
            kind = self._deletable(token, name)
        return gr.update(visible=True), DELETE_WORDS[kind]

    def remove(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            kind = self._deletable(token, name)
            if kind != "files":
                self.services.store.delete(name or "", owner(token))
            if kind != "model":
                self.fetches.delete_files(name or "")
        return self.show(token, name if kind != "model" else None)

    def _deletable(self, token: str, name: str | None) -> str:
        """Which of DELETE_WORDS it is about."""
        if self._found(token, name) is None and self.fetches.has_files(name or "") and not self.services.limits:
            return "files"
        info = self._info(token, name)
        if self.services.store.is_shipped(info):
            raise UserError(f"The model {info.name} belongs to the app and can't be deleted.")
        if not self.services.may_delete(info, token):
            raise UserError(f"{info.name} belongs to this server; you can delete only models that you trained.")
        return "gpt2" if info.name in SIZE_OF else "model"

    def write_zip(self, target: Path, token: str, name: str | None) -> Path:
        """The model's folder as a zip file in the folder `target`."""
        info = self._info(token, name)
        return zip_folder(info.folder, target / info.name)

    def write_export(self, target: Path, token: str, name: str | None, form: str) -> Path:
        """The model in one of FORMS: its only file, or a zip of the folder. Raises UserError."""
        info = self._info(token, name)
        folder = target / "files" / info.name
        for _ in export_model(self.services.store, info.name, folder, owner(token), form):
            pass
        files = list(folder.iterdir())
        if len(files) == 1:
            return files[0].rename(target / files[0].name)  # "files" is removed
        return zip_folder(folder, target / f"{info.name}-{form}")


def _said(work: Any, *values: Any) -> None:
    with sentences():
        work(*values)
