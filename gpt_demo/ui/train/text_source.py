"""Which text the model learns from: the sample story, uploaded files, pasted text, or The Verdict; and its preview."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.format import size
from gpt_demo.paths import data_home
from gpt_demo.text.data import Split
from gpt_demo.text.encodings import ENCODINGS, detect
from gpt_demo.text.reading import clean_text, csv_columns, read_texts
from gpt_demo.text.samples import sample_story, the_verdict
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.ui.listeners import QUIET
from gpt_demo.ui.protocol.views import Fact, Preview
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.views import view, view_json

DETECTED = "detected"
LONG_BYTES = 1_000_000
MOST_BYTES = 20_000_000  # of uploaded texts; models may be larger (see theme.launch_options)
SAMPLE, UPLOAD, PASTE, VERDICT = "Sample story", "Upload", "Paste", "The Verdict"


@dataclass(frozen=True)
class Reading:
    """What came of reading the chosen text: the text, or why there is none, or neither while nothing is chosen."""

    text: str = ""
    error: str = ""
    files: tuple[str, ...] = ("YOUR_TEXT.txt",)  # what the command line would read
    options: tuple[str, ...] = ()  # and how
    encoding: str = ""  # of the files, where it is not UTF-8
    uploaded: tuple[str, ...] = ()  # where the files are that were there when it was read

    @cached_property
    def key(self) -> str:
        """The same for equal texts."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()

    def __bool__(self) -> bool:
        """Whether the choice can be used, or has an error to show."""
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
            [SAMPLE, UPLOAD, PASTE, VERDICT], value=SAMPLE, label="Text", info="the training text",
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
        self.encoding = gr.Dropdown(
            [DETECTED, *ENCODINGS], value=DETECTED, label="Encoding", info="another, if letters look wrong",
            visible=False, elem_id="encoding",
        )  # fmt: skip
        self.pasted = gr.Textbox(label="Your text", lines=6, max_lines=12, visible=False, elem_id="pasted")
        self.preview = view("preview", elem_id="text-preview")

        self.parts: list[Any] = [self.source, self.files, self.columns, self.pasted, self.encoding]

    def connect(self, page: gr.Blocks, refresh: dict[str, Any]) -> None:
        """Show what the source needs. `refresh` runs when the page opens and after every change of the text.

        It is one listener for all of them, so that Gradio runs it again for the latest change and never two at a time.
        """
        boxes = [self.files, self.columns, self.encoding, self.pasted, self.preview]
        self.source.input(show_source, [self.source, self.files], boxes, **QUIET)
        # A text box says `input` of keys only, `change` of what is pasted by mouse too.
        edited = [self.source.input, self.columns.input, self.encoding.input, self.pasted.change]
        self.files.upload(reading_note, self.files, self.preview, **QUIET)
        gr.on([page.load, self.files.upload, self.files.clear, self.files.delete, *edited], **refresh)


def read(
    before: Reading, source: str, files: list[str] | None, columns: list[str], pasted: str, encoding: str = DETECTED
) -> tuple[Reading, Any]:
    """The chosen text, or why it can't be read; and what the choice of columns becomes where there are new files."""
    uploaded, offered = tuple(files or ()), gr.skip()
    bytes = sum(Path(file).stat().st_size for file in uploaded) if source == UPLOAD else 0
    if bytes > MOST_BYTES:
        said = f"These files have {bytes / 1e6:,.1f} MB; the limit is {MOST_BYTES / 1e6:.0f} MB. Choose fewer."
        return Reading(error=said, uploaded=uploaded), offered
    if source == UPLOAD and uploaded != before.uploaded:
        columns = text_columns(uploaded, _said(encoding))
        offered = gr.update(choices=columns, value=columns, visible=bool(columns))
    try:
        return replace(_read(source, uploaded, columns, pasted, _said(encoding)), uploaded=uploaded), offered
    except UserError as error:
        return Reading(error=in_words(str(error)), uploaded=uploaded), offered


def _said(encoding: str) -> str | None:
    return None if encoding == DETECTED else encoding


def _read(source: str, files: Sequence[str], columns: list[str], pasted: str, encoding: str | None) -> Reading:
    if source == SAMPLE:
        return Reading(sample_story(), files=(), options=("--sample", "story"))
    if source == VERDICT:
        return Reading(the_verdict(data_home()), files=(), options=("--sample", "verdict"))
    if source == PASTE and pasted:
        return Reading(clean_text(pasted), files=("pasted.txt",))
    if source == UPLOAD and files:
        text = read_texts([Path(file) for file in files], columns or None, encoding)
        found = encoding or ", ".join(dict.fromkeys(detect(Path(file).read_bytes()) for file in files))
        options = _file_options(files, columns, encoding)
        names = tuple(Path(file).name for file in files)
        return Reading(text, files=names, options=options, encoding="" if found == "utf-8" else found)
    return Reading()


def _file_options(files: Sequence[str], columns: list[str], encoding: str | None) -> tuple[str, ...]:
    """What the command line must say so that it reads the files in the same way."""
    options: list[str] = []
    if columns and columns != text_columns(files, encoding):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(columns)
        options += ["--columns", line.getvalue()]
    return (*options, "--encoding", encoding) if encoding else tuple(options)


def reading_note(files: list[str] | None) -> Any:
    """A sign of life while a long text is read: a short one is there as soon as the note would be."""
    bytes = sum(Path(file).stat().st_size for file in files or ())
    if bytes < LONG_BYTES:
        return gr.skip()
    return view_json({"note": f"Reading {size(bytes)} and tokenizing. This takes a few seconds."})


def show_source(source: str, files: list[str] | None) -> tuple[Any, ...]:
    upload = source == UPLOAD
    table = upload and any(file.lower().endswith(".csv") for file in files or [])
    waiting = view_json({"note": "Downloading The Verdict."}) if source == VERDICT else gr.skip()
    shown = (upload, table, upload, source == PASTE)
    return (*(gr.update(visible=visible) for visible in shown), waiting)


def text_columns(files: Sequence[str], encoding: str | None = None) -> list[str]:
    """The text columns of the .csv files, if there are any."""
    names: dict[str, None] = {}
    for file in files:
        if file.lower().endswith(".csv"):
            with contextlib.suppress(UserError):  # the preview says why it can't be read
                names.update(dict.fromkeys(csv_columns(Path(file), encoding=encoding)))
    return list(names)


def preview_data(
    text: str, tokenizer: Tokenizer, split: Split, fault: str = "", encoding: str = "", most: int = 160
) -> Preview:
    """The text as the model will read it: at most so many tokens of its beginning; and why it can't be used, if so."""
    begin = tokenizer.boundaries(text[:2000])
    shown = begin[:most]
    train, val = len(split.train), len(split.val)
    facts: list[Fact] = [
        ("characters", f"{len(text):,}", ""),
        ("tokens", f"{train + val:,}", "training and validation together"),
        ("vocabulary", f"{tokenizer.n_vocab:,}", "different tokens, V"),
        ("training tokens", f"{train:,}", "used for training"),
        ("validation tokens", f"{val:,}", "held out to measure the model"),
    ]
    if encoding:
        facts.append(("encoding", encoding, "of the files; choose another one if letters look wrong"))
    return {
        "facts": facts,
        "fault": fault,
        "tokens": train + val,
        "pieces": [(piece.id, piece.text) for piece in shown],
        "more": len(text) > 2000 or len(begin) > most,
    }
