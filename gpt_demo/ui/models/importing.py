"""Import: a visitor's own file becomes a model of the store."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError, called
from gpt_demo.events import Converting, Kept
from gpt_demo.exchange.pretrained import import_model
from gpt_demo.format import size
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.protocol.views import Fetch, FetchPart
from gpt_demo.ui.quotas import check_import
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view, view_json

TYPES = [".safetensors", ".zip", ".pth", ".pt", ".bin"]
WORDS = (
    "A .zip of a model's folder (saved here, exported for transformers, or OpenAI's own), a .safetensors file, or a "
    ".pth of PyTorch, of which nothing but plain weights is read."
)


class ImportPanel:
    """The components. `done` fires when a model has come."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        with gr.Accordion("Import a model", open=False, elem_id="import"):
            gr.Markdown(WORDS)
            self.file = gr.File(label="Model file", file_types=TYPES, height=110, elem_id="import-file")
            with gr.Row(elem_classes="bottom"):
                self.name = gr.Textbox(
                    label="Its name", info="what it will be called here", max_lines=1, elem_id="import-name"
                )
                self.button = gr.Button("Import", variant="primary", min_width=110, elem_id="import-start")
            self.progress = view("fetch", elem_id="import-progress")

    def connect(self) -> Any:
        """Wire the button; the dependency, which succeeds with the new model's name in `name`'s place."""
        self.file.upload(suggest, [self.file, self.name], self.name, **QUIET)
        inputs, outputs = [self.token, self.file, self.name], [self.progress, self.file, self.name]
        limit = {"concurrency_id": "import", "concurrency_limit": 1}
        started = self.button.click(self.work, inputs, outputs, **{**QUEUED, **limit})
        started.failure(lambda: view_json(None), None, self.progress, **QUIET)
        return started

    def work(self, token: str, path: str | None, name: str) -> Iterator[tuple[Any, ...]]:
        """Convert the file into a model that belongs to the visitor."""
        with sentences():
            if not path:
                raise UserError("No file is chosen. Choose the model's file first.")
            if not token:
                raise UserError("The page has not loaded completely yet. Try again in a moment.")
            name = (name or "").strip()
            if not name:
                raise UserError("The model has no name yet. Give it one.")
            check_import(self.services, token, unpacked_bytes(Path(path)))
            events = import_model(self.services.store, Path(path), name, owner(token))
            yield view_json(_data(name, None)), gr.skip(), gr.skip()
            with contextlib.closing(events), called(Path(path), Path(path).name):  # type: ignore[type-var]
                for event in events:
                    yield view_json(_data(name, event)), gr.skip(), gr.skip()
        yield gr.skip(), None, ""


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
        message = f"{event.model} is here, {size(event.bytes)}."
        return {
            "name": name,
            "state": "done",
            "title": f"Imported {name}",
            "facts": [],
            "parts": [],
            "message": message,
        }
    share = event.done / max(1, event.total) if event else None
    words = f"{event.done} of {event.total} tensors" if event else "looking at the file"
    parts: list[FetchPart] = [("Conversion", share, words)]
    return {"name": name, "state": "running", "title": f"Importing {name}", "facts": [], "parts": parts, "message": ""}
