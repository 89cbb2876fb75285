"""Files to save: a run's figure, numbers and model; a stored model."""

from __future__ import annotations

import secrets
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.runs.keeping import export_model
from gpt_demo.runs.runs import RunFolder
from gpt_demo.training.history import History
from gpt_demo.ui import scripts
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.train.figure import save_figure
from gpt_demo.ui.train.snapshot import chart_snapshot

OF_A_RUN = {
    "Figure as PNG": "png",
    "Figure as PDF": "pdf",
    "Numbers as CSV": "csv",
    "Best model (safetensors)": "model",
    "Best model for transformers": "huggingface",
    "Last model (safetensors)": "last",
}


class Downloads:
    """Where the file appears, and the wiring of the buttons that make one."""

    def __init__(self, elem_id: str) -> None:
        self.elem_id = elem_id
        self.file = gr.File(label="Ready to save", visible=False, interactive=False, elem_id=elem_id)

    def connect(self, button: gr.Button, write: Callable[..., Path], inputs: list[Any]) -> None:
        """On a click, `write(folder, *inputs)` makes the file in an empty folder, and the browser saves it."""

        def handle(*values: Any) -> Any:
            # In Gradio's own cache: nobody can guess the folder, nothing is copied, and sweeping.py removes it.
            folder = Path(self.file.GRADIO_CACHE) / secrets.token_hex(16)
            with sentences():
                folder.mkdir(parents=True)
                file = write(folder, *values)
            shutil.rmtree(folder / "files", ignore_errors=True)  # what the zip was made of
            return gr.update(value=str(file), visible=True)

        limit = {"concurrency_id": "downloads", "concurrency_limit": 2}
        made = button.click(handle, inputs, self.file, **{**QUEUED, **limit})
        made.success(None, js=f"() => {scripts.module()}.then(({{ save }}) => save('{self.elem_id}'))", **QUIET)


def export_run(kind: str, folder: RunFolder, runs: list[tuple[str, History]], target: Path) -> Path:
    """Write a file of the run (see OF_A_RUN) into the folder `target`. `runs`: those on the chart."""
    if kind in ("png", "pdf"):
        return save_figure(chart_snapshot(runs), target / f"{folder.name}.{kind}")
    if kind == "csv":
        runs[0][1].table().to_csv(target / f"{folder.name}.csv", index=False)
        return target / f"{folder.name}.csv"
    suffix = {"huggingface": "-transformers", "last": "-last"}.get(kind, "")
    files = target / "files" / folder.name
    export_model(folder, files, best=kind != "last", for_transformers=kind == "huggingface")
    return zip_folder(target / "files" / folder.name, target / f"{folder.name}{suffix}")


def zip_folder(folder: Path, target: Path) -> Path:
    """`target`.zip, with the files in a folder of the same name."""
    archive = target.with_name(f"{target.name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # weights would hardly become smaller
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{folder.name}/{path.name}")
    return archive
