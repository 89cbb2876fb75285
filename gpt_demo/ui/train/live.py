"""The right side of the Train tab: a viewer over runs. What it shows comes from their recorded events only."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.runs.keeping import config_of, offered_model, store_model
from gpt_demo.runs.recipes import create_run, extend_run, resume_run, starts_over
from gpt_demo.runs.runs import RunFolder
from gpt_demo.training.history import History
from gpt_demo.ui.downloads import OF_A_RUN, Downloads, export_run
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.quotas import ALIVE, admitted, check_config
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.train.chart import training_chart
from gpt_demo.ui.train.form import TrainForm
from gpt_demo.ui.train.snapshot import chart_snapshot, differences, samples_data, status_data
from gpt_demo.ui.train.text_source import Reading
from gpt_demo.ui.views import page_json, view, view_json
from gpt_demo.ui.visitors import address_of

RESUMABLE = ("paused", "stopped", "interrupted", "failed")
POLL, GLANCE = 0.5, 4.0  # seconds between polls, while the run is running and while it is not


class TrainLive:
    """Components and handlers of the run that is being looked at."""

    def __init__(self, services: Services, token: gr.BrowserState, form: TrainForm) -> None:
        self.services = services
        self.token = token
        self.form = form
        self.seen = gr.State(None)  # what the last poll showed: (run, status, steps, evaluations, samples)
        # The runs on the chart at the last `look`: Gradio refuses a choice that has just been deleted, and a poll
        # under way could still ask for it.
        self.shown = gr.State([])
        self.timer = gr.Timer(POLL, active=False)
        with gr.Row(elem_classes="bottom", elem_id="run-bar"):
            self.run = gr.Dropdown([], label="Run", info="yours, newest first", scale=3, elem_id="run-choice")
            form.start_button.render()  # type: ignore[no-untyped-call]
            self.pause = gr.Button("Pause", interactive=False, min_width=100, elem_id="pause")
            self.resume = gr.Button("Resume", visible=False, min_width=100, elem_id="resume")
            self.stop = gr.Button("Stop", interactive=False, min_width=80, elem_id="stop")
            self.write = gr.Button("Let it write", interactive=False, min_width=110, elem_id="open-playground")
        with gr.Column(visible=False, elem_id="stop-choices", elem_classes="question") as self.stop_choices:
            gr.Markdown("**Stop this run?** Training continues until you choose.")
            with gr.Row():
                self.keep = gr.Button("Stop and keep the model", variant="primary", elem_id="stop-keep")
                self.discard = gr.Button("Stop and discard the run", variant="stop", elem_id="stop-discard")
                self.go_on = gr.Button("Continue training", elem_id="stop-go-on")
        self.model = gr.Textbox(visible="hidden", elem_id="run-model")  # what "Let it write" opens
        with gr.Row(visible=False, elem_classes="bottom", elem_id="more-steps") as self.longer:
            self.steps = gr.Number(200, label="More steps", precision=0, minimum=1, min_width=120, elem_id="more-count")
            self.more = gr.Button("Train for more steps", elem_id="train-more")
        self.status = view("status", elem_id="run-status")
        self.chart = training_chart()
        gr.Markdown("## Samples", elem_classes="heading")
        self.samples = view("samples", [], elem_id="samples")
        with gr.Accordion("Compare with past runs", open=False, elem_id="compare-runs"):
            self.others = gr.CheckboxGroup(
                [], label="Past runs", info="selected runs are overlaid on the chart", elem_id="overlay-choice"
            )
            self.table = view("table", elem_id="run-differences")
            self.delete = gr.Button("Delete the selected runs", size="sm", elem_id="delete-runs")
            with gr.Column(visible=False, elem_id="delete-runs-question", elem_classes="question") as self.question:
                gr.Markdown("**Delete the selected runs permanently?** Their stored models are kept.")
                with gr.Row():
                    self.delete_yes = gr.Button("Delete them", variant="stop", elem_id="delete-runs-yes")
                    self.delete_no = gr.Button("Keep them", elem_id="delete-runs-no")
        with gr.Accordion("Download", open=False, elem_id="downloads"):
            with gr.Row(elem_classes="download-buttons"):
                self.downloads = {
                    kind: gr.Button(label, size="sm", min_width=120, elem_id=f"download-{kind}")
                    for label, kind in OF_A_RUN.items()
                }
            self.files = Downloads("download-file")

    # Wiring -----------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks) -> None:
        """Wire the buttons, the timer, and the page's opening."""
        shown = [
            self.seen, self.status, self.chart, self.samples, self.timer,
            self.pause, self.resume, self.stop, self.write, self.longer, self.model, self.stop_choices,
        ]  # fmt: skip
        choice = [self.run, self.others, self.timer, self.stop_choices, self.question]
        mine, chosen = [self.token, self.run], [self.token, self.run, self.others]
        look: dict[str, Any] = {"fn": self.look, "inputs": chosen, "outputs": [*shown, self.shown, self.table], **QUIET}
        self.timer.tick(self.poll, [self.token, self.shown, self.seen], shown, **QUIET)
        self.run.input(self.choose, mine, choice, **QUEUED).then(**look)
        self.others.input(**look)
        page.load(self.attach, self.token, choice, **QUIET).then(**look)
        starting: dict[str, Any] = {"inputs": [self.form.name, *self.form.inputs], **QUEUED}
        self.form.start_button.click(self.start, outputs=[*choice, self.form.name], **starting).then(**look)
        self.more.click(self.train_more, [*mine, self.steps], choice, **QUEUED).then(**look)
        for button, act, word in (
            (self.pause, self.pause_run, "Pausing"),
            (self.resume, self.resume_run, "Resuming"),
            (self.keep, self.keep_run, "Stopping"),
            (self.discard, self.discard_run, "Discarding"),
        ):  # then polls say so, until the run's present step has ended and its state is saved
            at_once = button.click(partial(_busy, word), None, [self.pause, self.stop, self.stop_choices], **QUIET)
            at_once.then(act, mine, choice, **QUEUED).then(**look)
        self.delete_yes.click(self.delete_runs, chosen, choice, **QUEUED).then(**look)
        for button, box, opens in (
            (self.stop, self.stop_choices, True), (self.go_on, self.stop_choices, False),
            (self.delete, self.question, True), (self.delete_no, self.question, False),
        ):  # fmt: skip
            button.click(partial(gr.update, visible=opens), None, box, **QUIET)
        for kind, button in self.downloads.items():
            self.files.connect(button, partial(self.download, kind), chosen)

    # Looking ----------------------------------------------------------------------------------------------------------

    def attach(self, token: str) -> tuple[Any, ...]:
        """When the page opens: the visitor's runs, the one going on (or else the newest) chosen."""
        folders = self.services.runs_of(token)
        alive = [folder for folder in folders if folder.status in ALIVE]
        return self._choice(token, next(iter(alive or folders), None))

    def choose(self, token: str, name: str | None) -> tuple[Any, ...]:
        """Show another run; the page polls it while it is running."""
        with sentences():
            return self._choice(token, self.services.run(name, token))

    def _choice(self, token: str, folder: RunFolder | None) -> tuple[Any, ...]:
        """Updates of `choice`: the run, the others, both questions closed; polls rest until `look` has looked."""
        names = [f.name for f in self.services.runs_of(token)]
        names += () if self.services.limits else self.services.runs.damaged()  # whose they are can't be read
        name = folder.name if folder else None
        return (
            gr.update(choices=names, value=name),
            gr.update(choices=[n for n in names if n != name], value=[]),
            gr.Timer(active=False),
            gr.update(visible=False),
            gr.update(visible=False),
        )

    def look(self, token: str, name: str | None, others: list[str]) -> tuple[Any, ...]:
        """Everything about the chosen run, what polls are to look at, and the table of differences."""
        shown = [name or "", *(others or [])]
        table = None
        if others:
            with contextlib.suppress(UserError):
                table = differences(self._histories(token, shown))
        return (*self.poll(token, shown, None), shown, view_json(table))

    def poll(self, token: str, shown: list[str], seen: Any) -> tuple[Any, ...]:
        """What has changed since `seen` in the runs `shown`; the timer ends with the first of them."""
        if not shown:  # a tick before the first look, or after a restart of the server
            return (gr.skip(),) * 12
        try:
            return self._news(token, shown, seen)
        except UserError:  # none is chosen, or it is not there any more
            empty = [view_json(None), page_json(chart_snapshot([])), view_json([]), gr.Timer(active=False)]
            return None, *empty, *_buttons(None, None), gr.update(visible=False)

    def _news(self, token: str, shown: list[str], seen: Any) -> tuple[Any, ...]:
        folder = self.services.run(shown[0], token)
        runs = self._histories(token, shown)
        status, history, ends = folder.status, runs[0][1], self._ends(folder)
        counts = [history.steps_done, len(history.evaluations["step"]), len(history.samples)]
        now = [folder.name, status, ends, *counts]
        same_state = seen is not None and now[:3] == seen[:3]
        alive = status in ALIVE
        model = offered_model(folder, self.services.store)
        return (
            now,
            view_json(status_data(folder, history, status)),
            gr.skip() if now == seen else page_json(chart_snapshot(runs)),
            gr.skip() if same_state and now[-1] == seen[-1] else view_json(samples_data(history)),
            gr.skip() if same_state else gr.Timer(POLL if alive else GLANCE, active=True),
            *([gr.skip()] * 6 if same_state else _buttons(status, model, ends)),
            gr.skip() if alive else gr.update(visible=False),
        )

    def _ends(self, folder: RunFolder) -> str:
        """What the run has been asked to do, until it has done it: a button's word; else empty."""
        live = self.services.runs.live(folder.name)
        return _ENDS[live.ends_as] if live is not None and live.stopping else ""

    def _histories(self, token: str, shown: list[str]) -> list[tuple[str, History]]:
        """The runs with their histories: the first, or UserError; the others as far as they are the visitor's."""
        found = [(shown[0], self.services.runs.history(self.services.run(shown[0], token)))]
        for other in shown[1:]:
            with contextlib.suppress(UserError):
                found.append((other, self.services.runs.history(self.services.run(other, token))))
        return found

    # Acting -----------------------------------------------------------------------------------------------------------

    def start(
        self, request: gr.Request, name: str, reading: Reading, token: str, base: str, preset_name: str, *values: Any
    ) -> tuple[Any, ...]:
        """Create a run from the form and put it to work."""
        with sentences():
            if not token:
                raise UserError("The page has not loaded completely yet. Try again in a moment.")
            with admitted(self.services, token, address := address_of(request)):
                choice = self.form.choice(token, base, preset_name, *values)
                prepared = self.form.prepare(reading, choice)
                check_config(self.services.limits, prepared.config)
                folder = create_run(
                    self.services.runs, self.services.store, reading.chosen(), choice.config, preset_name=preset_name,
                    name=(name or "").strip(), base=choice.base_name, owner=owner(token), source="the page",
                    prepared=prepared,
                )  # fmt: skip
                self.services.work(folder, prepared, address)
        return (*self._choice(token, folder), "")

    def resume_run(self, request: gr.Request, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            folder = self.services.run(name, token)
            with admitted(self.services, token, address := address_of(request), resuming=True):
                check_config(self.services.limits, config_of(folder))
                resume_run(folder)
                again = starts_over(folder)
                self.services.work(folder, address=address)
        if again:
            gr.Info(again)
        return self._choice(token, folder)

    def train_more(self, request: gr.Request, token: str, name: str | None, steps: float | None) -> tuple[Any, ...]:
        """Let a finished run take so many more steps."""
        with sentences():
            folder = self.services.run(name, token)
            limits, more = self.services.limits, int(steps or 0)
            done = self.services.runs.history(folder).steps_done
            if limits and done + more > limits.steps:
                raise UserError(f"This public server trains up to {limits.steps:,} steps; this run has done {done:,}.")
            with admitted(self.services, token, address := address_of(request), resuming=True):
                extend_run(folder, more)
                self.services.work(folder, address=address)
        return self._choice(token, folder)

    def pause_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        """End the run's present step and save its state."""
        with sentences():
            folder = self._end(token, name, "paused")
        return self._choice(token, folder)

    def keep_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            folder = self._end(token, name, "stopped")
        return self._choice(token, folder)

    def discard_run(self, token: str, name: str | None) -> tuple[Any, ...]:
        with sentences():
            self.services.delete_run(name or "", token)
        return self.attach(token)

    def delete_runs(self, token: str, name: str | None, others: list[str]) -> tuple[Any, ...]:
        """Delete the selected runs; their models stay (the Models tab deletes those)."""
        with sentences():
            if not others:
                raise UserError("No run is selected. Select the runs to delete first.")
            for other in others:
                self.services.delete_run(other, token)
        return self._choice(token, self.services.run(name, token) if name else None)

    def _end(self, token: str, name: str | None, ending: Literal["paused", "stopped"]) -> RunFolder:
        """Ask the run to end, without waiting for it. It may have ended by itself while the visitor was choosing."""
        folder = self.services.run(name, token)
        run = self.services.runs.live(folder.name)
        if run is not None:
            run.stop(ending)
        elif folder.status in ALIVE:
            raise UserError(f"The run {folder.name} is being trained by another program; stop it there.")
        elif ending == "stopped":
            store_model(folder, self.services.store)
        return folder

    def download(self, kind: str, target: Path, token: str, name: str | None, others: list[str]) -> Path:
        """Write the file of this kind into the folder `target`."""
        folder = self.services.run(name, token)
        return export_run(kind, folder, self._histories(token, [folder.name, *(others or [])]), target)


def _busy(word: str) -> tuple[Any, ...]:
    """At the click: the buttons wait, and the question is answered."""
    return gr.update(value=word, interactive=False), gr.update(interactive=False), gr.update(visible=False)


_ENDS = {"paused": "Pausing", "stopped": "Stopping", "discarded": "Discarding"}


def _buttons(status: str | None, model: str | None, ends: str = "") -> tuple[Any, ...]:
    """Pause or resume, stop, write with the model, make the run longer, as far as they make sense; and the model."""
    alive, resumable = status in ALIVE and not ends, status in RESUMABLE
    return (
        gr.update(value=ends or "Pause", visible=not resumable, interactive=alive),
        gr.update(visible=resumable),
        gr.update(interactive=alive),
        gr.update(interactive=model is not None),
        gr.update(visible=status == "finished"),
        model or "",
    )
