"""Which text the model learns from: the sample story, uploaded files, pasted text, or The Verdict; and its preview."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.data import Split, clean_text, csv_columns, read_texts
from gpt_demo.errors import UserError
from gpt_demo.samples import sample_story, the_verdict
from gpt_demo.store import data_home
from gpt_demo.tokenizer import Tokenizer
from gpt_demo.ui.session import QUIET, in_words
from gpt_demo.ui.views import view, view_json

SAMPLE, UPLOAD, PASTE, VERDICT = "Sample story", "Upload", "Paste", "The Verdict"


@dataclass(frozen=True)
class Reading:
    """What came of reading the chosen text: the text, or why there is none, or neither while nothing is chosen."""

    text: str = ""
    error: str = ""
    files: tuple[str, ...] = ("YOUR_TEXT.txt",)  # what the command line would read

    @cached_property
    def key(self) -> str:
        """The same for equal texts."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()

    def __bool__(self) -> bool:
        """Whether something has been chosen that can be used, or whose fault can be told."""
        return bool(self.text or self.error)

    def chosen(self) -> str:
        """The text; UserError where there is none."""
        if self.error:
            raise UserError(self.error)
        return self.text


class TextSource:
    """Components and handlers. `reading` holds what was read."""

    def __init__(self) -> None:
        self.reading = gr.State(Reading())
        self.source = gr.Radio(
            [SAMPLE, UPLOAD, PASTE, VERDICT], value=SAMPLE, label="Text", info="what the model learns from",
            elem_id="source",
        )  # fmt: skip
        self.files = gr.File(
            label="Files: .txt, .md or .csv, one or several", file_count="multiple",
            file_types=[".txt", ".md", ".csv"], height=130, visible=False, elem_id="files",
        )  # fmt: skip
        self.columns = gr.CheckboxGroup(
            [],
            label="Columns",
            info="of the .csv file; all that hold text by default",
            visible=False,
            elem_id="columns",
        )
        self.pasted = gr.Textbox(label="Your text", lines=6, max_lines=12, visible=False, elem_id="pasted")
        self.preview = view("preview", elem_id="text-preview")

    def connect(self, page: gr.Blocks, showing: dict[str, Any]) -> None:
        """Wire the choices to `reading` and the preview; `showing` is the listener that runs after each reading."""
        parts: list[Any] = [self.source, self.files, self.columns, self.pasted]
        reading: dict[str, Any] = {"fn": read, "inputs": parts, "outputs": [self.reading, self.preview], **QUIET}
        # The last of several quick changes must not be dropped because an earlier one is still being read.
        latest: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
        boxes = [self.files, self.columns, self.pasted, self.preview]
        chosen = self.source.input(show_source, [self.source, self.files], boxes, **latest)
        changed = [self.files.upload, self.files.clear, self.files.delete]
        offered = gr.on(changed, offer_columns, self.files, self.columns, **latest)
        # A text box says `input` of keys only, `change` of what is pasted by mouse too.
        typed = gr.on([page.load, self.columns.input, self.pasted.change], trigger_mode="always_last", **reading)
        for read_again in (chosen.then(**reading), offered.then(**reading), typed):
            read_again.then(**showing)


def read(source: str, files: list[str] | None, columns: list[str], pasted: str) -> tuple[Reading, Any]:
    """The chosen text; where it can't be read the reason stands in the preview."""
    try:
        if source == SAMPLE:
            return Reading(sample_story(), files=("assets/story.txt",)), gr.skip()
        if source == VERDICT:
            return Reading(the_verdict(data_home()), files=("the-verdict.txt",)), gr.skip()
        if source == PASTE and pasted:
            return Reading(clean_text(pasted)), gr.skip()
        if source == UPLOAD and files:
            names = tuple(Path(file).name for file in files)
            return Reading(read_texts([Path(file) for file in files], columns or None), files=names), gr.skip()
    except UserError as error:
        reason = in_words(str(error))
        return Reading(error=reason), view_json({"error": reason})
    return Reading(), view_json(None)


def show_source(source: str, files: list[str] | None) -> tuple[Any, Any, Any, Any]:
    upload = source == UPLOAD
    table = upload and any(file.lower().endswith(".csv") for file in files or [])
    waiting = view_json({"note": "The Verdict is being fetched."}) if source == VERDICT else gr.skip()
    return gr.update(visible=upload), gr.update(visible=table), gr.update(visible=source == PASTE), waiting


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


def preview_data(text: str, tokenizer: Tokenizer, split: Split, fault: str = "", most: int = 160) -> dict[str, Any]:
    """The text as the model will read it: at most so many tokens of its beginning; and why it can't be used, if so."""
    begin = tokenizer.boundaries(text[:2000])
    shown = begin[:most]
    train, val = len(split.train), len(split.val)
    facts: list[Sequence[str]] = [
        ["characters", f"{len(text):,}"],
        ["tokens", f"{train + val:,}", "training and validation together"],
        ["vocabulary", f"{tokenizer.n_vocab:,}", "different tokens, V"],
        ["training tokens", f"{train:,}", "what the model learns from"],
        ["validation tokens", f"{val:,}", "never trained on: they measure the model"],
    ]
    return {
        "facts": facts,
        "fault": fault,
        "tokens": train + val,
        "pieces": [[piece.id, piece.text] for piece in shown],
        "more": len(text) > 2000 or len(begin) > most,
    }
