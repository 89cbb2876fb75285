"""The right side of the Train tab: a viewer over runs. What it shows comes from their recorded events only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.history import History
from gpt_demo.recipes import create_run, export_model, keep_model, resume_run, train_job
from gpt_demo.runs import RunFolder
from gpt_demo.ui.charts import save_figure, snapshot_json, training_chart
from gpt_demo.ui.quotas import ALIVE, check_runs
from gpt_demo.ui.session import Services, owner, sentences
from gpt_demo.ui.snapshot import chart_snapshot, differences, samples_data, status_data
from gpt_demo.ui.train_form import TrainForm
from gpt_demo.ui.views import view, view_json

RESUMABLE = ("paused", "stopped", "interrupted", "failed")
DOWNLOADS = {
    "Figure as PNG": "png",
    "Figure as PDF": "pdf",
    "Numbers as CSV": "csv",
    "Model (safetensors)": "model",
    "Model for transformers": "huggingface",
}


class TrainLive:
    """Components and handlers of the run that is being looked at."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        self.seen = gr.State(None)  # what the last poll showed: (run, status, events, samples)
        self.timer = gr.Timer(0.5, active=False)
        with gr.Row(elem_classes="bottom"):
            self.run = gr.Dropdown([], label="Run", info="yours, the newest first", scale=3, elem_id="run-choice")
            self.start_button = gr.Button("Start training", variant="primary", min_width=150, elem_id="start")
            self.pause = gr.Button("Pause", interactive=False, min_width=90, elem_id="pause")
            self.resume = gr.Button("Resume", interactive=False, min_width=90, elem_id="resume")
            self.stop = gr.Button("Stop", interactive=False, min_width=90, elem_id="stop")
        with gr.Group(visible=False, elem_id="stop-choices") as self.stop_choices:
            gr.Markdown("Stop this run? It goes on until you choose.", elem_classes="pad")
            with gr.Row():
                self.keep = gr.Button("Stop and keep the model", variant="primary", elem_id="stop-keep")
                self.discard = gr.Button("Stop and discard the run", variant="stop", elem_id="stop-discard")
                self.go_on = gr.Button("Go on training", elem_id="stop-go-on")
        self.status = view("status", elem_id="run-status")
        self.chart = training_chart()
        gr.Markdown("### Samples")
        self.samples = view("samples", [], elem_id="samples")
        with gr.Accordion("Compare with past runs", open=False, elem_id="compare-runs"):
            self.others = gr.CheckboxGroup([], label="Runs laid over the chart", elem_id="overlay-choice")
            self.table = view("table", elem_id="run-differences")
            self.delete = gr.Button("Delete the runs ticked above", variant="stop", size="sm", elem_id="delete-runs")
        with gr.Accordion("Download", open=False, elem_id="downloads"):
            with gr.Row():
                self.downloads = {kind: gr.Button(label, size="sm") for label, kind in DOWNLOADS.items()}
            self.file = gr.File(label="Ready to save", visible=False, interactive=False, elem_id="download-file")

    # Wiring -----------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, form: TrainForm) -> None:
        """Wire the buttons, the timer, and the page's opening."""
        self.form = form
        private: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        shown = [self.seen, self.status, self.chart, self.samples, self.timer, self.pause, self.resume, self.stop]
        choice = [self.run, self.others, self.timer, self.stop_choices]
        chosen = [self.token, self.run, self.others]
        looking: dict[str, Any] = {"inputs": chosen, "outputs": [*shown, self.table], **private}
        self.timer.tick(self.poll, [*chosen, self.seen], shown, **private)
        gr.on([self.run.input, self.others.input], self.look, **looking)
        mine = [self.token, self.run]
        self.start_button.click(
            self.start, [self.token, form.name, *form.inputs], [*choice, form.name], **private
        ).then(self.look, **looking)
        acts = [
            (self.pause, self.pause_run, mine),
            (self.resume, self.resume_run, mine),
            (self.keep, self.keep_run, mine),
            (self.discard, self.discard_run, mine),
            (self.delete, self.delete_runs, chosen),
        ]
        for button, act, inputs in acts:
            button.click(act, inputs, choice, **private).then(self.look, **looking)
        page.load(self.attach, self.token, choice, **private).then(self.look, **looking)
        self.stop.click(lambda: gr.update(visible=True), None, self.stop_choices, **private)
        self.go_on.click(lambda: gr.update(visible=False), None, self.stop_choices, **private)
        for kind, button in self.downloads.items():
            button.click(self.download(kind), chosen, self.file, api_visibility="private")

    # Looking ----------------------------------------------------------------------------------------------------------

    def attach(self, token: str) -> tuple[Any, ...]:
        """When the page opens: the visitor's runs, the one going on (or else the newest) chosen."""
        folders = self.services.runs.list(owner(token))
        alive = [folder for folder in folders if folder.status in ALIVE]
        return self._choose(token, next(iter(alive or folders), None))

    def _choose(self, token: str, folder: RunFolder | None) -> tuple[Any, ...]:
        """Updates of `choice`: the run, the others, the timer, and the question about stopping closed."""
        folders = self.services.runs.list(owner(token))
        names = [f.name for f in folders]
        name = folder.name if folder else None
        return (
            gr.update(choices=names, value=name),
            gr.update(choices=[n for n in names if n != name], value=[]),
            gr.Timer(active=folder is not None and folder.status in ALIVE),
            gr.update(visible=False),
        )

    def look(self, token: str, name: str | None, others: list[str]) -> tuple[Any, ...]:
        """Everything about the chosen run, and the table of differences."""
        runs = self._histories(token, name, others)
        return (*self.poll(token, name, others, None), view_json(differences(runs) if others else None))

    def poll(self, token: str, name: str | None, others: list[str], seen: Any) -> tuple[Any, ...]:
        """What has changed since `seen`; the timer ends with the run."""
        runs = self._histories(token, name, others)
        if not runs or name is None:
            off = [gr.update(interactive=False)] * 3
            return None, view_json(None), snapshot_json(chart_snapshot([])), view_json([]), gr.Timer(active=False), *off
        folder, history = RunFolder(self.services.runs.home / name), runs[0][1]
        status = folder.status
        now = [name, status, history.steps_done, len(history.evaluations["step"]), len(history.samples)]
        if now == seen and status not in ALIVE:
            return (now, *[gr.skip()] * 3, gr.Timer(active=False), *[gr.skip()] * 3)
        samples = gr.skip() if seen and now[0] == seen[0] and now[4] == seen[4] else view_json(samples_data(history))
        chart = gr.skip() if now == seen else snapshot_json(chart_snapshot(runs))
        alive, resumable = status in ALIVE, status in RESUMABLE
        return (
            now,
            view_json(status_data(folder, history, status)),
            chart,
            samples,
            gr.Timer(active=alive),
            gr.update(interactive=alive),
            gr.update(interactive=resumable),
            gr.update(interactive=alive),
        )

    def _histories(self, token: str, name: str | None, others: list[str]) -> list[tuple[str, History]]:
        """The chosen run first, then the others, as far as they are the visitor's."""
        found = []
        for wanted in [name, *(others or [])]:
            try:
                folder = self.services.runs.get(wanted or "", owner(token))
            except UserError:
                continue
            found.append((folder.name, self.services.runs.history(folder)))
        return found

    # Acting -----------------------------------------------------------------------------------------------------------

    def start(self, token: str, name: str, text: str, preset_name: str, *values: Any) -> tuple[Any, ...]:
        """Create a run from the form and put it to work."""
        with sentences():
            check_runs(self.services, token)
            config = self.form.config(preset_name, *values)
            self.form.prepare(text, config)
            folder = create_run(
                self.services.runs, self.services.store, text, config,
                preset_name=preset_name, name=(name or "").strip(), owner=owner(token), source="the page",
            )  # fmt: skip
            self._work(folder)
        return (*self._choose(token, folder), "")

    def _work(self, folder: RunFolder) -> None:
        self.services.runs.start(folder, lambda f: train_job(f, self.services.store))

    def resume_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            folder = self._mine(token, name)
            resume_run(folder)
            self._work(folder)
        return self._choose(token, folder)

    def pause_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        """End the run's present step and save its state."""
        with sentences():
            folder = self._mine(token, name)
            self._end(folder, "paused")
        return self._choose(token, folder)

    def keep_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            folder = self._mine(token, name)
            self._end(folder, "stopped")
            keep_model(folder, self.services.store)
        gr.Info(f"The model is kept as {folder.name}; choose it in the Playground.")
        return self._choose(token, folder)

    def discard_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            self.services.runs.delete(self._mine(token, name).name, owner(token))
        return self.attach(token)

    def delete_runs(self, token: str, name: str | None, others: list[str]) -> tuple[Any, ...]:
        """Delete the ticked runs; their models stay (the Models tab deletes those)."""
        with sentences():
            if not others:
                raise UserError("No run is ticked. Tick the runs to delete first.")
            for other in others:
                self.services.runs.delete(self._mine(token, other).name, owner(token))
        return self._choose(token, self._mine(token, name) if name else None)

    def _end(self, folder: RunFolder, ending: Literal["paused", "stopped"]) -> None:
        run = self.services.runs.live(folder.name)
        if run is None:
            raise UserError(f"The run {folder.name} is not going on in this app any more.")
        run.stop(ending)
        run.join(120)

    def _mine(self, token: str, name: str | None) -> RunFolder:
        if not name:
            raise UserError("No run is chosen. Start one, or choose one from the list.")
        return self.services.runs.get(name, owner(token))

    def download(self, kind: str) -> Callable[[str, str | None, list[str]], Any]:
        """A handler that writes the file of this kind and offers it."""

        def write(token: str, name: str | None, others: list[str]) -> Any:
            with sentences():
                folder = self._mine(token, name)
                runs = self._histories(token, name, others)
                target = Path(tempfile.mkdtemp()) / folder.name
                return gr.update(value=str(export(kind, folder, runs, target)), visible=True)

        return write


def export(kind: str, folder: RunFolder, runs: list[tuple[str, History]], target: Path) -> Path:
    """Write what is asked of the run (see DOWNLOADS) to a file named after `target`; its path."""
    if kind in ("png", "pdf"):
        return Path(save_figure(chart_snapshot(runs), target.with_name(f"{target.name}.{kind}")))
    if kind == "csv":
        path = target.with_name(f"{target.name}.csv")
        runs[0][1].table().to_csv(path, index=False)
        return path
    export_model(folder, target / folder.name, for_transformers=kind == "huggingface")
    return Path(shutil.make_archive(str(target), "zip", target, folder.name))
