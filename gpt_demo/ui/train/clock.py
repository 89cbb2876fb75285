"""Fit to my clock: time real steps here, make the run as long as the minutes allow, say how long each preset takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.format import count, duration
from gpt_demo.runs.pace import Pace, measure_pace
from gpt_demo.runs.preparing import Prepared
from gpt_demo.training.config import PRESETS, RunConfig
from gpt_demo.training.estimate import check_memory
from gpt_demo.ui.listeners import QUEUED
from gpt_demo.ui.quotas import check_config
from gpt_demo.ui.sentences import in_words, sentences
from gpt_demo.ui.services import Services
from gpt_demo.ui.train.start_from import Choice
from gpt_demo.ui.train.text_source import Reading
from gpt_demo.ui.views import view, view_json

FITTED = ("max_steps", "decay_steps", "epochs")
# What a step's time depends on, besides the text and the model.
PACED = (
    "batches", "stride", "batch_size", "grad_accum_steps", "eval_batches", "sample_tokens", "precision", "window",
    "trainable", "last_blocks", "lora_rank",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """The pace of one configuration on one text, measured here."""

    pace: Pace
    text: str
    settings: tuple[Any, ...]

    @classmethod
    def of(cls, reading: Reading, prepared: Prepared) -> Timing:
        """Runs some real steps; takes about two seconds, more for a large model."""
        return cls(measure_pace(prepared), reading.key, _settings(prepared.config))

    def seconds(self, reading: Reading, prepared: Prepared) -> float | None:
        """How long a run takes; none where its pace is another one."""
        if (self.text, self.settings) != (reading.key, _settings(prepared.config)):
            return None
        return self.pace.seconds(prepared.config, prepared.plan.total_steps)


def _settings(config: RunConfig) -> tuple[Any, ...]:
    return (config.data, config.model, *(getattr(config.train, name) for name in PACED))


class Clock:
    """The minutes, the button, and a table of the presets; `timing` is what was measured last."""

    def __init__(self, services: Services, prepare: Callable[[Reading, Choice], Prepared]) -> None:
        self.services = services
        self.prepare = prepare
        self.timing = gr.State(None)
        with gr.Row(elem_classes="bottom"):
            self.minutes = gr.Number(
                1, label="Fit to my clock", info="minutes for the run", minimum=0.2, maximum=600, elem_id="minutes"
            )
            self.fit = gr.Button("Measure and fit", elem_id="fit")
        self.presets = view("table", elem_id="preset-times")

    def connect(self, choice: Callable[..., Choice], inputs: list[Any], settings: dict[str, Any]) -> Any:
        """Wire the button; the dependency, to show the plan of what was fitted."""

        def work(minutes: float | None, reading: Reading, *values: Any) -> Iterator[tuple[Any, ...]]:
            with sentences():
                yield from self.fit_and_compare(minutes, reading, choice(*values))

        fitted = [settings[name] for name in FITTED]
        return self.fit.click(
            work, [self.minutes, *inputs], [self.timing, self.presets, *fitted],
            **{**QUEUED, "concurrency_limit": 1},
        )  # fmt: skip

    def fit_and_compare(self, minutes: float | None, reading: Reading, choice: Choice) -> Iterator[tuple[Any, ...]]:
        """Fit the configuration, then time every preset: timing, table and the fitted settings after each."""
        if not reading:
            raise UserError("There is no text yet to time a run on. Upload a file or paste a text first.")
        self._check_idle()
        rows: list[list[str]] = []
        yield gr.skip(), _table(rows, "these settings"), *[gr.skip()] * len(FITTED)
        timing, prepared = self._measure(reading, choice)
        steps = timing.pace.steps(prepared.config, 60 * (minutes or 1))
        if self.services.limits:
            steps = min(steps, self.services.limits.steps)
        fitted = self.prepare(reading, choice.changed({"max_steps": steps, "decay_steps": steps, "epochs": 0}))
        rows.append(_row("these settings", fitted, timing.seconds(reading, fitted)))
        names = sorted(PRESETS, key=lambda name: PRESETS[name].model.n_params)  # the slow ones last
        yield timing, _table(rows, names[0]), steps, steps, 0
        for name, following in zip(names, [*names[1:], ""], strict=True):
            try:
                check_config(self.services.limits, PRESETS[name])
                timing, prepared = self._measure(reading, Choice(PRESETS[name]))
                rows.append(_row(name, prepared, timing.seconds(reading, prepared)))
            except UserError as error:
                rows.append([name, "", "", in_words(str(error))])
            yield gr.skip(), _table(rows, following), *[gr.skip()] * len(FITTED)

    def _measure(self, reading: Reading, choice: Choice) -> tuple[Timing, Prepared]:
        """Nothing else trains meanwhile: it would be slower, and draw from the same random generator."""
        prepared = self.prepare(reading, choice)
        check_config(self.services.limits, prepared.config)
        check_memory(prepared.config, from_model=choice.base is not None)
        with self.services.measuring:
            self._check_idle()
            return Timing.of(reading, prepared), prepared

    def _check_idle(self) -> None:
        if self.services.runs.busy():
            raise UserError("A run is training, so the timings would be wrong. Fit when it has finished.")


def _row(name: str, prepared: Prepared, seconds: float | None) -> list[str]:
    parameters = count(prepared.config.model.n_params)
    return [name, parameters, f"{prepared.plan.total_steps:,}", duration(seconds or 0)]


def _table(rows: list[list[str]], measuring: str) -> str:
    """What has been measured, and what is being measured now."""
    waiting = [[measuring, "", "", "being measured"]] if measuring else []
    return view_json({"head": ["", "Parameters", "Steps", "Time here"], "rows": [*rows, *waiting], "wrap": True})
