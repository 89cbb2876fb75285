"""Import: a visitor's own file becomes a model of the store."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from gpt_demo.errors import UserError, shown_as
from gpt_demo.events import Converting, Kept
from gpt_demo.exchange.pretrained import import_model
from gpt_demo.exchange.unsaid import DEFAULTS, NEEDED, TOKENIZER, NotSaid
from gpt_demo.format import size
from gpt_demo.model.gpt import Activation
from gpt_demo.text.tokenizer import KINDS
from gpt_demo.training.config import EXPLANATIONS
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.protocol.views import Fetch, FetchPart
from gpt_demo.ui.quotas import check_import
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view, view_json

UNSAID_WORDS = (
    "**The file does not contain these settings.** The values here are guessed from its shapes: confirm them with the "
    "file's author, then press Import again. A wrong value gives a model that writes nonsense, or nearly the right "
    "text."
)
TYPES = [".safetensors", ".zip", ".pth", ".pt", ".bin"]
WORDS = (
    "A .zip of a model's folder (saved here, exported for transformers, or OpenAI's own), a .safetensors file, or a "
    "PyTorch file (the book's model.pth, nanoGPT's ckpt.pt), from which only plain weights are read."
)


class ImportPanel:
    """The components. `done` fires when a model has been imported."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        with gr.Accordion("Import a model", open=False, elem_id="import"):
            gr.Markdown(WORDS)
            self.file = gr.File(label="Model file", file_types=TYPES, height=110, elem_id="import-file")
            with gr.Row(elem_classes="bottom"):
                self.name = gr.Textbox(
                    label="Import as", info="name of the model here", max_lines=1, elem_id="import-name"
                )
                self.button = gr.Button("Import", variant="primary", min_width=110, elem_id="import-start")
            self.asked = gr.State(())  # what the chosen file does not say
            with gr.Column(visible=False, elem_id="import-unsaid", elem_classes="question") as self.unsaid:
                gr.Markdown(UNSAID_WORDS)
                with gr.Row():
                    self.fields = {name: field_of(name) for name in NEEDED}
            self.progress = view("fetch", elem_id="import-progress")

    def connect(self) -> Any:
        """Wire the button; the dependency, which succeeds with the new model's name in `name`'s place."""
        form = [self.asked, self.unsaid, *self.fields.values()]
        self.file.upload(suggest, [self.file, self.name], self.name, **QUIET)
        self.file.change(lambda: ask({}), None, form, **QUIET)
        inputs = [self.token, self.file, self.name, self.asked, *self.fields.values()]
        outputs = [self.progress, self.file, self.name, *form]
        limit = {"concurrency_id": "import", "concurrency_limit": 1}
        started = self.button.click(self.work, inputs, outputs, **{**QUEUED, **limit})
        started.failure(lambda: view_json(None), None, self.progress, **QUIET)
        return started

    def work(
        self, token: str, path: str | None, name: str, asked: Sequence[str], *values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Convert the file into a model that belongs to the visitor, or ask what it does not say."""
        said = {field: value for field, value in zip(self.fields, values, strict=True) if field in asked}
        nothing = [gr.skip()] * (2 + len(self.fields))
        with sentences():
            if not path:
                raise UserError("No file is chosen. Choose the model's file first.")
            if not token:
                raise UserError("The page has not loaded completely yet. Try again in a moment.")
            name = (name or "").strip()
            if not name:
                raise UserError("The model has no name yet. Enter one.")
            check_import(self.services, token, unpacked_bytes(Path(path)))
            events = import_model(self.services.store, Path(path), name, owner(token), said)
            yield view_json(_data(name, None)), gr.skip(), gr.skip(), *nothing
            try:
                with contextlib.closing(events), shown_as(Path(path), Path(path).name):  # type: ignore[type-var]
                    for event in events:
                        yield view_json(_data(name, event)), gr.skip(), gr.skip(), *nothing
            except NotSaid as error:
                yield view_json(None), gr.skip(), gr.skip(), *ask(error.guesses, asked)
                return
        yield gr.skip(), None, "", *ask({})


def ask(guesses: Mapping[str, Any], asked: Sequence[str] = ()) -> tuple[Any, ...]:
    """Updates of the form: it asks for what `guesses` names. Raises UserError where that was asked and left empty."""
    empty = next((name for name in guesses if name in asked), None)
    if empty is not None:
        raise UserError(f'"{_label(empty)[0]}" is empty. Give it a value.')
    shown = (gr.update(visible=name in guesses, value=guesses.get(name)) for name in NEEDED)
    return tuple(guesses), gr.update(visible=bool(guesses)), *shown


def _label(name: str) -> tuple[str, str]:
    if name == TOKENIZER:
        return "Tokenizer", "which token each row of the vocabulary is"
    label, info = EXPLANATIONS[name]
    return label, info.removesuffix(" (true or false)")


def field_of(name: str) -> Any:
    """The component in which one of NEEDED is given."""
    label, info = _label(name)
    common: dict[str, Any] = {"label": label, "info": info, "min_width": 180, "elem_id": f"import-{name}"}
    if name == TOKENIZER:
        return gr.Dropdown([kind for kind in KINDS if kind != "bpe"], value=None, **common)
    if isinstance(DEFAULTS[name], bool):
        return gr.Checkbox(**common)
    if isinstance(DEFAULTS[name], str):
        return gr.Dropdown(list(get_args(Activation)), **common)
    return gr.Number(precision=0 if isinstance(DEFAULTS[name], int) else None, minimum=0, **common)


def suggest(path: str | None, name: str) -> Any:
    """A name from the file's, where none is given yet."""
    if name or not path:
        return gr.skip()
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in Path(path).stem)
    return stem.strip("._-")[:64] or gr.skip()


def unpacked_bytes(path: Path) -> int:
    """Bytes of the file, or of what is packed in it."""
    try:
        with zipfile.ZipFile(path) as packed:
            return max(path.stat().st_size, sum(member.file_size for member in packed.infolist()))
    except Exception:  # no zip, or one that is damaged: the import says so
        return path.stat().st_size


def _data(name: str, event: Converting | Kept | None) -> Fetch:
    if isinstance(event, Kept):
        message = f"{event.model} is imported, {size(event.bytes)}."
        return {
            "name": name,
            "state": "done",
            "title": f"Imported {name}",
            "facts": [],
            "parts": [],
            "message": message,
        }
    share = event.done / max(1, event.total) if event else None
    words = f"{event.done} of {event.total} tensors" if event else "reading the file"
    parts: list[FetchPart] = [("Conversion", share, words)]
    return {"name": name, "state": "running", "title": f"Importing {name}", "facts": [], "parts": parts, "message": ""}
