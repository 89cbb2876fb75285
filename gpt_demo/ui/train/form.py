"""The left side of the Train tab: which text, which settings, and what they imply."""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from gpt_demo.devices import available_memory
from gpt_demo.errors import UserError
from gpt_demo.format import count, duration, size
from gpt_demo.runs.preparing import Prepared, prepare
from gpt_demo.runs.recipes import continued
from gpt_demo.store.store import ModelInfo
from gpt_demo.text.data import Split, split_text
from gpt_demo.text.tokenizer import Tokenizer, make
from gpt_demo.training.config import EXPLANATIONS, FIELDS, PRESETS, command_line, is_optional, preset
from gpt_demo.training.estimate import check_memory, training_memory
from gpt_demo.training.lora import n_trained
from gpt_demo.training.plan import learning_rate
from gpt_demo.ui.downloads import Downloads
from gpt_demo.ui.listeners import QUIET
from gpt_demo.ui.protocol.views import Fact, Plan
from gpt_demo.ui.quotas import check_config, check_text
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.services import Services
from gpt_demo.ui.train.clock import Clock, Timing
from gpt_demo.ui.train.start_from import SCRATCH, Choice, base_model, fill_settings, flat, needs, offered, own_tokenizer
from gpt_demo.ui.train.text_source import PASTE, Reading, TextSource, preview_data, read
from gpt_demo.ui.views import view, view_json

SHOWN = ("tokenizer", "n_vocab", "max_steps")
FOLDED = {
    "Text": ("val_fraction", "split", "val_from", "batches", "window", "stride"),
    "Model": (
        "n_ctx", "n_embd", "n_head", "n_layer", "dropout", "init", "qkv_bias", "tied_head", "n_inner",
        "activation_function", "layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx",
    ),
    "Training": (
        "trainable", "last_blocks", "lora_rank",
        "epochs", "batch_size", "grad_accum_steps", "learning_rate", "min_learning_rate", "warmup_steps",
        "decay_steps", "weight_decay", "decay", "grad_clip", "target_loss", "patience", "precision",
        "seed",
    ),
    "Watching": (
        "sample_prompt", "eval_interval", "evaluate_on", "eval_batches", "sample_interval", "sample_tokens",
        "sample_temperature",
        "sample_top_k", "sample_draw", "save_seconds",
    ),
}  # fmt: skip
PRESET_WORDS = {
    "quick": "quick: a small model with a vocabulary trained on the text, about a minute",
    "book": "book: the 162-million-parameter run of the book's chapter, minutes to an hour",
    "steps": "steps: random batches for a fixed number of steps",
}


class TrainForm:
    """Components and handlers. `inputs` is what `config` takes, after what the text source has read."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        self._splits: dict[tuple[Any, ...], tuple[Tokenizer, Split]] = {}  # with the tokenizer, whose id is in the key
        self._tokenizers: OrderedDict[tuple[Any, ...], Tokenizer] = OrderedDict()
        self.start_button = gr.Button(
            "Start training", variant="primary", min_width=150, elem_id="start", render=False
        )  # shown on the right side
        self.text = TextSource()
        self.base = gr.Dropdown(
            [SCRATCH], value=SCRATCH, label="Start from", info="random weights, or a stored model to fine-tune",
            elem_id="start-from",
        )  # fmt: skip
        self.preset = gr.Radio(
            [(words, name) for name, words in PRESET_WORDS.items()], value="quick", label="Preset", elem_id="preset"
        )
        self.settings: dict[str, Any] = {}
        self._build_settings()
        self.inputs: list[Any] = [self.text.reading, token, self.base, self.preset, *self.settings.values()]

    def _build_settings(self) -> None:
        defaults = flat(PRESETS["quick"])
        with gr.Row(elem_classes="settings"):
            for name in SHOWN:
                self.settings[name] = control(name, defaults[name])
            self.name = gr.Textbox(
                label="Name",
                info="of the run and its model; empty: automatic",
                max_lines=1,
                min_width=150,
                elem_id="run-name",
            )
        self.plan = view("plan", elem_id="plan")
        with gr.Accordion("All settings", open=False, elem_id="all-settings"):
            for title, names in FOLDED.items():
                gr.Markdown(f"**{title}**")
                with gr.Row(elem_classes="settings"):
                    for name in names:
                        self.settings[name] = control(name, defaults[name])
        self.clock = Clock(self.services, self.prepare)
        with gr.Accordion("The same on the command line", open=False, elem_id="command"):
            self.command = gr.Textbox(
                label="Command", lines=3, interactive=False, buttons=["copy"], elem_id="command-line"
            )
            self.save = gr.Button("Save the text as pasted.txt", size="sm", visible=False, elem_id="save-text")
            self.saved = Downloads("text-file")

    # Handlers ---------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks) -> None:
        """Wire text and settings to preview, plan, command and the start button."""
        shown = [self.text.preview, self.plan, self.command, self.start_button]
        showing: dict[str, Any] = {
            "fn": self.show, "inputs": [self.clock.timing, *self.inputs], "outputs": shown, **QUIET,
        }  # fmt: skip
        refresh: dict[str, Any] = {
            "fn": self.refresh,
            "inputs": [*self.text.parts, self.clock.timing, *self.inputs],
            "outputs": [self.text.reading, self.text.columns, *shown],
            "trigger_mode": "always_last",
            **QUIET,
        }
        # On input, not on change: that fires for every field a preset fills, and again when another one is edited.
        self.text.connect(page, refresh)
        self.text.source.input(lambda source: gr.update(visible=source == PASTE), self.text.source, self.save, **QUIET)
        self.saved.connect(self.save, save_text, [self.text.reading])
        filled = gr.on(
            [self.preset.input, self.base.input], self.fill, [self.token, self.base, self.preset],
            list(self.settings.values()), trigger_mode="always_last", **QUIET,
        )  # fmt: skip
        filled.then(**showing)
        gr.on([page.load, self.base.focus], self.offer, [self.token, self.base], self.base, **QUIET)
        edited = [s.change if isinstance(s, gr.Textbox) else s.input for s in self.settings.values()]
        gr.on(edited, trigger_mode="always_last", **showing)
        self.clock.connect(self.choice, self.inputs, self.settings).then(**showing)

    def offer(self, token: str, base: str | None) -> Any:
        return offered(self.services, token, base)

    def fill(self, token: str, base: str | None, preset_name: str) -> list[Any]:
        filled = fill_settings(self.services, token, base, preset_name)
        return [filled[name] for name in self.settings]

    def choice(self, token: str, base_name: str | None, preset_name: str, *values: Any) -> Choice:
        """What the form shows; UserError where a value is impossible or over the server's limits."""
        changes = dict(zip(self.settings, values, strict=True))
        for name, value in changes.items():
            if value is None and not is_optional(name):
                raise UserError(f"{EXPLANATIONS[name][0]} is empty. Give it a value.")
        config, base = preset(preset_name, changes), base_model(self.services, token, base_name)
        if base is not None:
            config = continued(config, base, self._kept(_stored(base), lambda: own_tokenizer(base)))
        check_config(self.services.limits, config)
        return Choice(config, base)

    def prepare(self, reading: Reading, choice: Choice) -> Prepared:
        """As recipes.prepare, with the tokenizers of the last few texts and models kept."""
        text = reading.chosen()
        if not text:
            return prepare(text, choice.config)
        tokenizer = self.tokenizer(text, choice)
        return prepare(text, choice.config, tokenizer, self.split(text, choice, tokenizer))

    def split(self, text: str, choice: Choice, tokenizer: Tokenizer) -> Split:
        """The text's tokens, kept for the last two: no other setting than these changes them."""
        data = choice.config.data
        key = (hash(text), id(tokenizer), data.val_fraction, data.split, data.val_from)
        if key not in self._splits:
            split = split_text(text, tokenizer, data.val_fraction, data.split, data.val_from)
            self._splits = dict([*list(self._splits.items())[-1:], (key, (tokenizer, split))])
        return self._splits[key][1]

    def tokenizer(self, text: str, choice: Choice) -> Tokenizer:
        check_text(self.services.limits, text)
        base, kind, n_vocab = choice.base, choice.config.data.tokenizer, choice.config.model.n_vocab
        if base is not None:
            return self._kept(_stored(base), lambda: own_tokenizer(base))
        key = (hash(text), kind, n_vocab) if kind == "bpe" else (kind,)
        return self._kept(key, lambda: make(kind, text, n_vocab))

    def _kept(self, key: tuple[Any, ...], make_one: Callable[[], Tokenizer]) -> Tokenizer:
        if key not in self._tokenizers:
            self._tokenizers[key] = make_one()
            while len(self._tokenizers) > 8:
                self._tokenizers.popitem(last=False)
        return self._tokenizers[key]

    def refresh(
        self, source: str, files: list[str] | None, columns: list[str], pasted: str, encoding: str,
        timing: Timing | None, reading: Reading, *values: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Read the text again, then as `show`."""
        reading, offered = read(reading, source, files, columns, pasted, encoding)
        return (reading, offered, *self.show(timing, reading, *values))

    def show(
        self, timing: Timing | None, reading: Reading, token: str, base: str | None, preset_name: str, *values: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Preview, plan, command line and whether to start, for the present text and settings."""
        start = gr.update(interactive=bool(reading))
        try:
            choice = self.choice(token, base, preset_name, *values)
            command = full_command(reading, preset_name, choice)
            tokenizer = self.tokenizer(reading.text, choice) if reading.text else None
        except UserError as error:
            preview = view_json({"error": reading.error}) if reading.error else gr.skip()
            return preview, view_json({"error": in_words(str(error))}), gr.skip(), start
        if tokenizer is None:
            preview = view_json({"error": reading.error} if reading.error else None)
            return preview, view_json(None), command, start
        try:
            prepared = self.prepare(reading, choice)
        except UserError as error:
            fault = in_words(str(error))
            split = self.split(reading.text, choice, tokenizer)
            preview = preview_data(reading.text, tokenizer, split, fault, reading.encoding)
            return view_json(preview), view_json({"error": fault}), command, start
        seconds = timing.seconds(reading, prepared) if timing else None
        preview = preview_data(reading.text, tokenizer, prepared.split, encoding=reading.encoding)
        try:
            check_config(self.services.limits, prepared.config)
            check_memory(prepared.config, from_model=choice.base is not None)
        except UserError as error:  # said before Start refuses it
            return view_json(preview), view_json({"error": in_words(str(error))}), command, start
        return view_json(preview), view_json(plan_data(prepared, choice, seconds)), command, start


def save_text(folder: Path, reading: Reading) -> Path:
    """The pasted text as the file that the command names."""
    target = folder / "pasted.txt"
    target.write_text(reading.chosen(), encoding="utf-8", newline="")
    return target


def control(name: str, value: Any) -> Any:
    """The component that fits a setting's type, labelled and explained."""
    label, info = EXPLANATIONS[name]
    kind = FIELDS[name]
    info = in_words(info).removesuffix(" (true or false)")
    common: dict[str, Any] = {"value": value, "label": label, "info": info, "min_width": 150, "elem_id": f"set-{name}"}
    if kind is bool:
        return gr.Checkbox(**common)
    if kind is str:
        return gr.Textbox(**common)
    if kind in (int, float) or is_optional(name):
        return gr.Number(**common, precision=0 if kind is int else None, minimum=0)
    return gr.Dropdown(list(get_args(kind)), **common)


def _stored(base: ModelInfo) -> tuple[Any, ...]:
    """A key of a stored model's tokenizer."""
    return base.folder, base.modified


def full_command(reading: Reading, preset_name: str, choice: Choice) -> str:
    """The command that trains on this text with the settings of the form."""
    files = (f"./{file}" if file.startswith("-") else file for file in reading.files)
    names = " ".join(map(shlex.quote, (*files, *reading.options)))
    return command_line("TEXT", preset_name, choice.config, choice.base_name).replace("TEXT", names, 1)


def plan_data(prepared: Prepared, choice: Choice, seconds: float | None = None) -> Plan:
    """What the run will be, before it starts."""
    config, plan = prepared.config, prepared.plan
    steps = plan.total_steps
    rates = [learning_rate(config.train, plan.horizon, round(i * (steps - 1) / 119)) for i in range(120)]
    measured = ("\N{EN DASH}", "measure it below") if seconds is None else (duration(seconds), "measured")
    facts: list[Fact] = [
        ("parameters", count(config.model.n_params), "number of learned parameters"),
        ("memory", f"about {size(training_memory(config))}", "weights, gradients, AdamW's moments, activations"),
        ("time", *measured),
        ("steps", f"{steps:,}", "updates of the weights"),
        ("tokens to read", count(steps * plan.tokens_per_step), "counting repetitions"),
        ("epochs", f"{steps * plan.tokens_per_step / plan.tokens_per_epoch:,.1f}", "passes over the training text"),
    ]
    trained = n_trained(config.model, config.train)
    if choice.base is not None or config.train.trainable != "all":
        facts.append(("trained", count(trained), "parameters that change, LoRA's included"))
    if choice.base is not None:
        facts.append(("memory by what is trained", needs(config), f"{size(available_memory())} available"))
    label = f"learning rate over the run, at most {max(rates):.2g}"
    return {"facts": facts, "schedule": {"values": [float(f"{rate:.4g}") for rate in rates], "label": label}}
