"""What the parts of the Compare tab share: the choice of models, and long work that can be watched and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import gradio as gr

from gpt_demo.errors import UserError
from gpt_demo.exchange.pretrained import SOURCES
from gpt_demo.jobs import Job, Turns
from gpt_demo.model.gpt import GPT
from gpt_demo.store.store import STARTER, ModelInfo
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.protocol.views import WorkState
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view, view_json

Row = tuple[Any, ...]
UPDATE_SECONDS = 0.1
MOST_MODELS = 8
BUSY: Row = (gr.update(interactive=False), gr.update(interactive=True))  # the buttons to run and to stop
REST: Row = (gr.update(interactive=True), gr.update(interactive=False))
UNCHANGED: Row = (gr.skip(), gr.skip())


class Pace:
    """Limits updates of the page to one every UPDATE_SECONDS."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self._told < UPDATE_SECONDS:
            return False
        self._told = time.monotonic()
        return True


class Work:
    """A button to run, a button to stop, and a line with the state of the work.

    The work is a job on a thread, one for each visitor's page; `turns` lets one of all visitors' jobs work at a time:
    two would only slow each other down.
    """

    def __init__(self, prefix: str, label: str, turns: Turns) -> None:
        self.prefix = prefix
        self.turns = turns
        self._jobs: dict[str | None, Job[Row]] = {}  # of each page the one that it shows
        with gr.Row(elem_classes="bottom"):
            self.run = gr.Button(label, variant="primary", elem_id=f"{prefix}-run", min_width=140)
            self.stop = gr.Button("Stop", interactive=False, elem_id=f"{prefix}-stop", min_width=90)
        self.status = view("work", elem_id=f"{prefix}-status", visible=True)

    def connect(self, work: Callable[..., Iterator[Row]], inputs: list[Any], outputs: list[Any]) -> None:
        """On a click, `work(*inputs)` yields (status, *outputs) until it has ended or is stopped."""
        skipped = [gr.skip()] * len(outputs)

        def run(request: gr.Request, *values: Any) -> Iterator[Row]:
            for line, buttons, shown in self._shown(request.session_hash, lambda: work(*values)):
                yield line, *buttons, *(shown or skipped)

        everything = [self.status, self.run, self.stop, *outputs]
        # Jobs wait in `turns`, where they can be stopped.
        self.run.click(run, inputs, everything, **{**QUEUED, "concurrency_limit": None})
        self.stop.click(self._stop, None, None, **QUIET)

    def _shown(self, page: str | None, work: Callable[[], Iterator[Row]]) -> Iterator[tuple[str, Row, Row]]:
        """Start the page's job and follow it: the status, the two buttons, and the outputs where there are some."""
        self._stop_job(page)
        job = self._jobs[page] = Job(work, turns=self.turns)
        try:
            yield status("Queued.", state="waiting"), BUSY, ()
            for line, *shown in chain.from_iterable(job.follow(past_stop=False)):
                yield line, UNCHANGED, tuple(shown)
            last = gr.skip() if job.state == "done" else status("Stopped. Partial results are kept.", state="stopped")
        except Exception:  # the job has kept it
            last = status(in_words(job.message), state="failed")
        finally:
            job.stop()  # also where the page was closed meanwhile
            current = self._jobs.get(page) is job
            if current:
                del self._jobs[page]
        if current:
            yield last, REST, ()

    def _stop(self, request: gr.Request) -> None:
        self._stop_job(request.session_hash)

    def _stop_job(self, page: str | None) -> None:
        job = self._jobs.get(page)
        if job is not None:
            job.stop()


def status(text: str, fraction: float = 0.0, state: WorkState = "running", troubles: Sequence[str] = ()) -> str:
    """The line under the buttons; `troubles` are what went wrong with single models."""
    return view_json({"text": text, "fraction": fraction, "state": state, "troubles": list(troubles)})


# Models ---------------------------------------------------------------------------------------------------------------


def loader(services: Services, token: str) -> Callable[[str], tuple[GPT, Tokenizer]]:
    """How the visitor's models are loaded, by name."""
    return lambda name: services.store.load(name, owner(token))


def chosen_models(services: Services, token: str, names: Sequence[str] | None) -> list[ModelInfo]:
    """The selected models. Raises UserError on none or too many, or if one is not the visitor's."""
    if not names:
        raise UserError("No model is selected. Select at least one.")
    if len(names) > MOST_MODELS:
        raise UserError(f"{len(names)} models are selected; up to {MOST_MODELS} can be compared. Deselect some.")
    return [services.store.get(name, owner(token)) for name in dict.fromkeys(names)]


def model_boxes(elem_id: str) -> gr.CheckboxGroup:
    """Checkboxes for models; `tick` fills it."""
    info = f"up to {MOST_MODELS} at once"
    return gr.CheckboxGroup([], label="Models", info=info, elem_id=elem_id, elem_classes="model-boxes")


def tick(services: Services, token: str, ticked: Sequence[str]) -> Any:
    """Offer the visitor's models; the selection is kept, by default those worth comparing."""
    models = services.store.list(owner(token))
    names = [info.name for info in models]
    kept = [name for name in ticked or () if name in names]
    if kept and kept == ticked:
        return gr.update(choices=names)  # no value: the visitor may be ticking just now
    typical = _typical(services, token, models) or names[:1]
    return gr.update(choices=names, value=kept or [name for name in names if name in typical])


def pair(services: Services, token: str, chosen: Sequence[str | None]) -> list[Any]:
    """Offer the visitor's models twice; what is chosen stays so, else two different ones, their own and GPT-2 first."""
    models = services.store.list(owner(token))
    names = [info.name for info in models]
    free = [name for name in dict.fromkeys([*_typical(services, token, models), *names]) if name not in chosen]
    return [
        gr.update(choices=names) if name in names else gr.update(choices=names, value=free.pop(0) if free else None)
        for name in chosen
    ]


def _typical(services: Services, token: str, models: Sequence[ModelInfo]) -> list[str]:
    """What is worth comparing: the newest model of the visitor's own, the smallest GPT-2, the starter."""
    own = [info.name for info in models if services.may_delete(info, token) and info.about.get("source") not in SOURCES]
    starters = [info.name for info in models if info.name == STARTER]
    pretrained = [info.name for info in models if info.name == "gpt2-124M"]
    return [*own[:1], *pretrained, *starters] if own else [*starters, *pretrained]
