"""The left side of the Train tab: which text, which settings, and what they imply."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from gpt_demo.config import EXPLANATIONS, FIELDS, PRESETS, RunConfig, command_line, is_optional, preset
from gpt_demo.data import clean_text, csv_columns, read_texts
from gpt_demo.errors import UserError
from gpt_demo.fit import measure_pace
from gpt_demo.recipes import Prepared, prepare, training_memory
from gpt_demo.samples import sample_story, the_verdict
from gpt_demo.store import data_home
from gpt_demo.tokenizer import Tokenizer, make
from gpt_demo.training import learning_rate
from gpt_demo.ui.format import count, duration, size
from gpt_demo.ui.quotas import check_config, check_text
from gpt_demo.ui.session import Services, sentences
from gpt_demo.ui.views import view, view_json

SAMPLE, UPLOAD, PASTE, VERDICT = "Sample story", "Upload", "Paste", "The Verdict"
SHOWN = ("tokenizer", "n_vocab", "max_steps")
FOLDED = {
    "Text": ("val_fraction", "split", "batches", "stride"),
    "Model": ("n_ctx", "n_embd", "n_head", "n_layer", "dropout", "qkv_bias", "tied_head", "init"),
    "Training": (
        "epochs", "batch_size", "grad_accum_steps", "learning_rate", "min_learning_rate", "warmup_steps",
        "decay_steps", "weight_decay", "decay", "grad_clip", "target_loss", "precision", "seed",
    ),
    "Watching": (
        "sample_prompt", "eval_interval", "eval_batches", "sample_interval", "sample_tokens", "sample_temperature",
        "sample_top_k", "save_seconds",
    ),
}  # fmt: skip
PRESET_WORDS = {
    "quick": "quick: a small model with a vocabulary of the text's own, about a minute",
    "book": "book: the 162-million-parameter run of the book's chapter, minutes to an hour",
    "steps": "steps: random batches for a fixed number of steps",
}


class TrainForm:
    """Components and handlers. `text` holds the chosen text, `inputs` what `config` takes."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._tokenizers: OrderedDict[tuple[str, str, int], Tokenizer] = OrderedDict()
        self.text = gr.State("")
        self._build_source()
        self._build_settings()
        self.inputs: list[Any] = [self.text, self.preset, *self.settings.values()]

    # Components -------------------------------------------------------------------------------------------------------

    def _build_source(self) -> None:
        self.source = gr.Radio(
            [SAMPLE, UPLOAD, PASTE, VERDICT], value=SAMPLE, label="Text", info="what the model learns from"
        )
        self.files = gr.File(
            label="Files: .txt, .md or .csv, one or several",
            file_count="multiple",
            file_types=[".txt", ".md", ".csv"],
            height=130,
            visible=False,
        )
        self.columns = gr.CheckboxGroup([], label="Columns", info="of the .csv file; all by default", visible=False)
        self.pasted = gr.Textbox(label="Your text", lines=6, max_lines=12, visible=False)
        self.preview = view("preview", elem_id="text-preview")

    def _build_settings(self) -> None:
        self.preset = gr.Radio(
            [(words, name) for name, words in PRESET_WORDS.items()], value="quick", label="Preset", elem_id="preset"
        )
        defaults = flat(PRESETS["quick"])
        self.settings: dict[str, Any] = {}
        with gr.Row():
            for name in SHOWN:
                self.settings[name] = control(name, defaults[name])
            self.name = gr.Textbox(
                label="Name", info="of the run and its model; empty: chosen for you", min_width=150, elem_id="run-name"
            )
        self.plan = view("plan", elem_id="plan")
        with gr.Accordion("All settings", open=False):
            for title, names in FOLDED.items():
                gr.Markdown(f"**{title}**")
                with gr.Row():
                    for name in names:
                        self.settings[name] = control(name, defaults[name])
        with gr.Row(elem_classes="bottom"):
            self.minutes = gr.Number(
                1, label="Fit to my clock", info="minutes the run may take", minimum=0.2, maximum=600
            )
            self.fit = gr.Button("Measure and fit", elem_id="fit")
        with gr.Accordion("The same on the command line", open=False):
            self.command = gr.Textbox(
                label="Command", lines=3, interactive=False, buttons=["copy"], elem_id="command-line"
            )

    # Handlers ---------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks) -> None:
        """Wire the source to the text, and text and settings to preview and plan."""
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        parts = [self.source, self.files, self.columns, self.pasted]
        self.source.change(show_source, self.source, [self.files, self.columns, self.pasted], **quiet)
        self.files.change(offer_columns, self.files, self.columns, **quiet)
        showing: dict[str, Any] = {"inputs": self.inputs, "outputs": [self.preview, self.plan, self.command], **quiet}
        gr.on(
            [page.load, *(part.change for part in parts)], self.read, parts, [self.text, self.preview],
            trigger_mode="always_last", **quiet,
        ).then(self.show, **showing)  # fmt: skip
        self.preset.change(fill_settings, self.preset, list(self.settings.values()), **quiet)
        changes = [setting.change for setting in (self.preset, *self.settings.values())]
        gr.on(changes, self.show, trigger_mode="always_last", **showing)
        self.fit.click(
            self.fit_to_clock, [self.minutes, *self.inputs],
            [self.settings["max_steps"], self.settings["decay_steps"], self.settings["epochs"], self.plan],
            concurrency_limit=1, api_visibility="private",
        )  # fmt: skip

    def read(self, source: str, files: list[str] | None, columns: list[str], pasted: str) -> tuple[str, Any]:
        """The chosen text; where it can't be read the reason stands in the preview."""
        try:
            if source == SAMPLE:
                return sample_story(), gr.skip()
            if source == VERDICT:
                return the_verdict(data_home()), gr.skip()
            if source == PASTE:
                return clean_text(pasted or ""), gr.skip() if pasted else view_json(None)
            if not files:
                return "", view_json(None)
            return read_texts([Path(file) for file in files], columns or None), gr.skip()
        except UserError as error:
            return "", view_json({"error": str(error)})

    def config(self, preset_name: str, *values: Any) -> RunConfig:
        """The configuration the form shows; UserError where a value is impossible or over the server's limits."""
        changes = dict(zip(self.settings, values, strict=True))
        for name, value in changes.items():
            if value is None and not is_optional(name):
                raise UserError(f"{EXPLANATIONS[name][0]} is empty. Give it a value.")
        config = preset(preset_name, changes)
        check_config(self.services.limits, config)
        return config

    def prepare(self, text: str, config: RunConfig) -> Prepared:
        """As recipes.prepare, with the tokenizers of the last few texts kept."""
        check_text(self.services.limits, text)
        key = (hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), config.data.tokenizer, config.model.n_vocab)
        if text.strip() and key not in self._tokenizers:
            self._tokenizers[key] = make(config.data.tokenizer, text, config.model.n_vocab)
            while len(self._tokenizers) > 8:
                self._tokenizers.popitem(last=False)
        return prepare(text, config, self._tokenizers.get(key))

    def show(self, text: str, preset_name: str, *values: Any) -> tuple[Any, str, Any]:
        """Preview, plan and command line for the present text and settings."""
        if not text:
            return gr.skip(), view_json(None), gr.skip()
        try:
            config = self.config(preset_name, *values)
            prepared = self.prepare(text, config)
        except UserError as error:
            return gr.skip(), view_json({"error": str(error)}), gr.skip()
        command = command_line("YOUR_TEXT.txt", preset_name, config)
        return view_json(preview_data(text, prepared)), view_json(plan_data(prepared)), command

    def fit_to_clock(self, minutes: float, text: str, preset_name: str, *values: Any) -> tuple[Any, ...]:
        """Time this configuration here; make it as long as the minutes allow."""
        with sentences():
            if self.services.runs.busy():
                raise UserError("A training is going on, so timings would be wrong. Fit when it has ended.")
            prepared = self.prepare(text, self.config(preset_name, *values))
            pace = measure_pace(prepared)
            steps = pace.steps(prepared.config, 60 * (minutes or 1))
            if self.services.limits:
                steps = min(steps, self.services.limits.steps)
            length = {"max_steps": steps, "decay_steps": steps, "epochs": 0}
            fitted = self.prepare(text, prepared.config.changed(length))
        seconds = pace.seconds(fitted.config, steps)
        return steps, steps, 0, view_json(plan_data(fitted, f"{duration(seconds)}, measured here"))


def control(name: str, value: Any) -> Any:
    """The component that fits a setting's type, labelled and explained."""
    label, info = EXPLANATIONS[name]
    kind = FIELDS[name]
    common: dict[str, Any] = {"value": value, "label": label, "info": info, "min_width": 150, "elem_id": f"set-{name}"}
    if kind is bool:
        return gr.Checkbox(**common)
    if kind is str:
        return gr.Textbox(**common)
    if kind in (int, float) or is_optional(name):
        return gr.Number(**common, precision=0 if kind is int else None, minimum=0)
    return gr.Dropdown(list(get_args(kind)), **common)


def flat(config: RunConfig) -> dict[str, Any]:
    """All settings by name."""
    return {name: value for part in config.to_dict().values() for name, value in part.items()}


def fill_settings(preset_name: str) -> list[Any]:
    values = flat(PRESETS[preset_name])
    order = [*SHOWN, *(name for names in FOLDED.values() for name in names)]
    return [values[name] for name in order]


def show_source(source: str) -> tuple[Any, Any, Any]:
    upload = source == UPLOAD
    return gr.update(visible=upload), gr.update(visible=False), gr.update(visible=source == PASTE)


def offer_columns(files: list[str] | None) -> Any:
    """The text columns of the .csv files, if there are any."""
    names: dict[str, None] = {}
    for file in files or []:
        if file.lower().endswith(".csv"):
            try:
                names.update(dict.fromkeys(csv_columns(Path(file))))
            except UserError:
                continue  # the preview says why it can't be read
    return gr.update(choices=list(names), value=list(names), visible=bool(names))


def preview_data(text: str, prepared: Prepared, pieces: int = 160) -> dict[str, Any]:
    """The text as the model will read it."""
    shown = prepared.tokenizer.boundaries(text[:2000])[:pieces]
    split = prepared.split
    return {
        "facts": [
            ["characters", f"{len(text):,}"],
            ["tokens", f"{len(split.train) + len(split.val):,}", "training and validation together"],
            ["training / validation", f"{len(split.train):,} / {len(split.val):,}"],
            ["vocabulary", f"{prepared.tokenizer.n_vocab:,}", "different tokens, V"],
        ],
        "tokens": len(split.train) + len(split.val),
        "pieces": [[piece.id, piece.text] for piece in shown],
        "more": len(text) > sum(len(piece.text) for piece in shown),
    }


def plan_data(prepared: Prepared, time: str = "") -> dict[str, Any]:
    """What the run will be, before it starts."""
    config, plan = prepared.config, prepared.plan
    steps = plan.total_steps
    rates = [learning_rate(config.train, plan.horizon, round(i * (steps - 1) / 119)) for i in range(120)]
    facts: list[Sequence[str]] = [
        ["parameters", count(config.model.n_params)],
        ["memory", f"about {size(training_memory(config))}", "weights, gradients, AdamW's moments, activations"],
        ["steps", f"{steps:,}"],
        ["tokens to read", count(steps * plan.tokens_per_step)],
        ["epochs", f"{steps * plan.tokens_per_step / plan.tokens_per_epoch:,.1f}"],
    ]
    if time:
        facts.append(["time", time])
    label = f"learning rate over the run, at most {max(rates):.2g}"
    return {"facts": facts, "schedule": {"values": rates, "label": label}}
