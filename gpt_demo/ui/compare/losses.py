"""The Compare tab's "Same text": the losses of several models on one text."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.compare.contrast import same_vocabulary
from gpt_demo.compare.losses import Compared, Load, Measuring, losses, reported_loss
from gpt_demo.errors import UserError
from gpt_demo.exchange.pretrained import SOURCES
from gpt_demo.jobs import Turns
from gpt_demo.model.gpt import GPT
from gpt_demo.store.store import ModelInfo
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.ui.compare.work import Pace, Work, chosen_models, loader, model_boxes, status
from gpt_demo.ui.downloads import Downloads
from gpt_demo.ui.listeners import QUIET
from gpt_demo.ui.protocol.views import Losses, LossRow
from gpt_demo.ui.quotas import check_text
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.services import Services
from gpt_demo.ui.train.text_source import PASTE, SAMPLE, VERDICT, Reading, read
from gpt_demo.ui.views import view, view_json

MOST_CHARACTERS = 50_000  # The Verdict has 20,479; a character is at most a few tokens, usually a quarter of one
COLUMNS = tuple(LossRow.__annotations__)
SKIP = (gr.skip(), gr.skip(), gr.skip())  # what is shown stays as it is


class SameText:
    """Models and the text on the left; a chart and a table on the right."""

    def __init__(self, services: Services, token: gr.BrowserState, turns: Turns) -> None:
        self.services = services
        self.token = token
        self.rows = gr.State([])
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.models = model_boxes("losses-models")
                self.source = gr.Radio(
                    [SAMPLE, VERDICT, PASTE], value=SAMPLE, label="Text", info="the text all models predict",
                    elem_id="losses-source",
                )  # fmt: skip
                self.pasted = gr.Textbox(
                    label="Your text", lines=6, max_lines=12, visible=False, elem_id="losses-pasted",
                    info=f"only the first {MOST_CHARACTERS:,} characters are used",
                )  # fmt: skip
                self.work = Work("losses", "Measure", turns)
            with gr.Column(scale=8, min_width=320):
                self.table = view("losses", elem_id="losses")
                self.save = gr.Button(
                    "Table as CSV", interactive=False, elem_id="losses-save", elem_classes="small-button"
                )
                self.file = Downloads("losses-file")

    def connect(self) -> None:
        self.source.input(lambda source: gr.update(visible=source == PASTE), self.source, self.pasted, **QUIET)
        inputs = [self.token, self.models, self.source, self.pasted]
        self.work.connect(self.run, inputs, [self.table, self.rows, self.save])
        self.file.connect(self.save, write_csv, [self.rows])

    def run(self, token: str, names: list[str], source: str, pasted: str) -> Iterator[tuple[Any, ...]]:
        """Status, table and its rows, again for every model; in between the status alone."""
        models = chosen_models(self.services, token, names)
        if source == VERDICT:
            yield status("Downloading The Verdict."), *SKIP
        text = self._text(source, pasted)
        sheet = Sheet(source, text)
        load = sheet.watching(loader(self.services, token))
        losses([info.name for info in models], load, sheet.text)  # says at once what is wrong with the text
        troubles: list[str] = []
        for i, info in enumerate(models):
            yield status(f"Loading {info.name}.", i / len(models), troubles=troubles), *sheet.shown()
            try:
                for event, line in self._measured(sheet, losses([info.name], load, sheet.text), info):
                    yield status(line, (i + event.done / event.total) / len(models), troubles=troubles), *SKIP
            except UserError as error:
                troubles.append(f"{info.name}: {in_words(str(error))}")
        yield status(f"Done: {len(sheet.rows)} of {len(models)} models.", 1.0, "done", troubles), *sheet.shown()

    def _text(self, source: str, pasted: str) -> str:
        """The chosen text, not too long."""
        reading, _ = read(Reading(), source, None, [], pasted or "")
        text = reading.chosen()
        if not text:
            raise UserError("There is no text yet. Paste one, or choose another.")
        check_text(self.services.limits, text)
        return text

    @staticmethod
    def _measured(
        sheet: Sheet, events: Iterator[Measuring | Compared], info: ModelInfo
    ) -> Iterator[tuple[Measuring, str]]:
        """Put the result into the sheet; events and status lines on the way."""
        pace = Pace()
        for event in events:
            if isinstance(event, Compared):
                sheet.add(info, event)
            elif pace.due():
                yield event, f"{info.name}: {event.done:,} of {event.total:,} tokens"


class Sheet:
    """The rows so far, for one text."""

    def __init__(self, source: str, text: str) -> None:
        self.rows: list[LossRow] = []
        self.text = text[:MOST_CHARACTERS]
        self._source = source
        self._whole = len(text)
        self._tokenizers: list[Tokenizer] = []

    def watching(self, load: Load) -> Load:
        """The same loader; the tokenizers that come are looked at."""

        def loading(name: str) -> tuple[GPT, Tokenizer]:
            model, tokenizer = load(name)
            self._tokenizers.append(tokenizer)
            return model, tokenizer

        return loading

    def add(self, info: ModelInfo, event: Compared) -> None:
        size = info.about.get("size") if info.about.get("source") in SOURCES else None
        found = {**json.loads(event.to_json()), "vocabulary": self._tokenizers[-1].n_vocab}
        found["reported_loss"] = reported_loss(size, self.text)
        row: Any = {name: found[name] for name in COLUMNS}
        self.rows.append(row)

    def shown(self) -> tuple[Any, ...]:
        """For the view "losses", the rows themselves, and the button to save them."""
        data: Losses = {
            "rows": self.rows,
            "text": self._source,
            "measured": len(self.text),
            "of": self._whole,
            "mixed": any(not same_vocabulary(self._tokenizers[0], other) for other in self._tokenizers),
        }
        return view_json(data), list(self.rows), gr.update(interactive=bool(self.rows))


def write_csv(target: Path, rows: Sequence[LossRow]) -> Path:
    """The rows as a file in the folder `target`. Raises UserError where there are none."""
    if not rows:
        raise UserError("Nothing has been measured yet. Press Measure first.")
    path = target / "losses.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path
