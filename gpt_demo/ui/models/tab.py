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
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.model.quantization import PRECISIONS
from gpt_demo.store.store import ModelInfo
from gpt_demo.ui.downloads import Downloads, zip_folder
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.models import loading
from gpt_demo.ui.models.architecture import architecture
from gpt_demo.ui.models.fetching import Fetches
from gpt_demo.ui.models.importing import ImportPanel
from gpt_demo.ui.models.table import SIZE_OF, SOURCE_WORDS, estimate, fit_line, gpt2_models, own_models, table
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view, view_json

COMPUTING = {**QUEUED, "concurrency_id": "models", "concurrency_limit": 1}
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
                self._build_fetching()
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

    def _build_fetching(self) -> None:
        with gr.Row(elem_classes="bottom", visible=False, elem_id="model-fetching") as self.fetching:
            choices = [(words, source) for source, words in SOURCE_WORDS.items()]
            self.source = gr.Radio(
                choices, value="openai", label="Download from",
                info="OpenAI's files need TensorFlow to convert; Hugging Face's do not", elem_id="model-source",
            )  # fmt: skip
            self.fetch = gr.Button("Download", variant="primary", elem_id="model-fetch", min_width=110)
        with gr.Column(visible=False) as self.under_way:
            self.progress = view("fetch", elem_id="model-progress")
            with gr.Row(elem_classes="model-buttons"):
                self.cancel = gr.Button("Cancel", visible=False, elem_id="model-cancel", min_width=90)
                self.retry = gr.Button("Retry", visible=False, variant="primary", elem_id="model-retry", min_width=90)

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
            self.export = gr.Button("Save for transformers", interactive=False, elem_id="model-export", min_width=160)
            self.delete = gr.Button("Delete", interactive=False, elem_id="model-delete", min_width=80)
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
        state = [self.fit, self.table, self.under_way, self.progress, self.cancel, self.retry, self.timer]
        about = [
            self.fetching, self.note, self.architecture, self.write, self.fine_tune, self.load, self.unload,
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
        for button, work, inputs in (
            (self.fetch, self.start, [*mine, self.source]),
            (self.retry, self.restart, mine),
            (self.cancel, self.fetches.cancel, [self.token]),
        ):
            self._look_after(button.click(partial(_said, work), inputs, None, **QUEUED))
        self._look_after(self.load.click(self.start_loading, [*mine, self.precision], self.note, **COMPUTING))
        self._look_after(self.unload.click(self.end_loading, mine, None, **QUEUED))
        self._look_after(self.measure.click(self.measure_it, mine, self.precisions, **COMPUTING))

    def _connect_files(self, mine: list[Any], listed: list[Any]) -> None:
        self.delete.click(self.ask, mine, [self.question, self.words], **QUEUED)
        self.no.click(lambda: gr.update(visible=False), None, self.question, **QUIET)
        self.yes.click(self.remove, mine, listed, **QUEUED)
        self.files.connect(self.download, self.write_zip, mine)
        self.files.connect(self.export, self.write_export, mine)
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
        own = own_models(self.services, token)
        names = [info.name for info in own] + list(gpt2_models(self.services))
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
        shown = self.fetches.shown(chosen)
        cancel, again = self.fetches.buttons(shown)
        return (
            view_json(fit_line(self.services)),
            view_json({**table(self.services, token, self.fetches.labels()), "chosen": chosen}),
            gr.update(visible=shown is not None),
            view_json(self.fetches.data(shown)),
            gr.update(visible=bool(cancel)),
            gr.update(visible=bool(again), value=again or "Retry"),
            gr.Timer(active=self.fetches.going_on() is not None),
        )

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

    def start(self, token: str, name: str | None, source: str) -> None:
        """Begin to download the chosen size, or join the download that is going on."""
        self.fetches.start(name or "", source, token)

    def restart(self, token: str, name: str | None) -> None:
        self.fetches.retry(self.fetches.shown(name) or "", token)

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

    def write_export(self, target: Path, token: str, name: str | None) -> Path:
        """The model as a zip of the folder that `GPT2LMHeadModel.from_pretrained` opens."""
        info = self._info(token, name)
        for _ in export_model(self.services.store, info.name, target / "files" / info.name, owner(token)):
            pass
        return zip_folder(target / "files" / info.name, target / f"{info.name}-transformers")


def _said(work: Any, *values: Any) -> None:
    with sentences():
        work(*values)
