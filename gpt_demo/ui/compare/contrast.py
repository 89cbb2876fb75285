"""The Compare tab's "Token by token": where two models differ on one text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gpt_demo.compare.contrast import MOST_TOKENS, Contrast, contrast
from gpt_demo.errors import UserError
from gpt_demo.jobs import Turns
from gpt_demo.text.reading import clean_text
from gpt_demo.text.samples import sample_story
from gpt_demo.ui.compare.work import Pace, Work, chosen_models, loader, pair, status
from gpt_demo.ui.protocol.views import Contrasted
from gpt_demo.ui.services import Services
from gpt_demo.ui.views import view, view_json

NEED_TWO = "Two models are needed. Train one in the Train tab, or download GPT-2 in the Models tab."
MOST_CHARACTERS = 20_000  # read before the models are loaded; the core then counts tokens


class TokenByToken:
    """Two models and a text on the left; the colored text on the right, drawn by assets/compare/contrast.js."""

    def __init__(self, services: Services, token: gr.BrowserState, turns: Turns) -> None:
        self.services = services
        self.token = token
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                with gr.Row(elem_classes="settings"):
                    self.first = gr.Dropdown([], label="First model", elem_id="contrast-first", min_width=150)
                    self.second = gr.Dropdown([], label="Second model", elem_id="contrast-second", min_width=150)
                self.text = gr.Textbox(
                    ready_text(), label="Text", lines=8, max_lines=16, elem_id="contrast-text",
                    info=f"up to {MOST_TOKENS:,} tokens; default: story text the starter was not trained on",
                )  # fmt: skip
                self.work = Work("contrast", "Compare both", turns)
                self.note = view("table", elem_id="contrast-note")
            with gr.Column(scale=8, min_width=320):
                self.shown = view("contrast", elem_id="contrast")

    def connect(self) -> None:
        self.work.connect(self.run, [self.token, self.first, self.second, self.text], [self.shown])

    def show(self, token: str, first: str | None, second: str | None) -> tuple[Any, ...]:
        """The visitor's models in both lists, and a sentence where there are not two."""
        first_update, second_update = pair(self.services, token, [first, second])
        note = "" if len(first_update["choices"]) > 1 else NEED_TWO
        return first_update, second_update, view_json({"head": [], "rows": [], "note": note})

    def run(self, token: str, first: str | None, second: str | None, text: str) -> Iterator[tuple[Any, ...]]:
        """The status while both models read, then the whole result."""
        if not first or not second:
            raise UserError(NEED_TWO)
        if first == second:
            raise UserError(f"Both models are {first}. Choose two different models.")
        if len(text or "") > MOST_CHARACTERS:
            raise UserError(f"The text has {len(text):,} characters; up to {MOST_TOKENS:,} tokens can be compared.")
        names = first, second
        chosen_models(self.services, token, names)
        yield status(f"Loading {first}."), gr.skip()
        pace = Pace()
        for event in contrast(names, loader(self.services, token), clean_text(text or "")):
            if isinstance(event, Contrast):
                yield status("Done.", 1.0, "done"), view_json(contrast_data(names, event))
            elif event.done == event.total and event.model == first:
                yield status(f"Loading {second}.", 0.5), gr.skip()
            elif pace.due():
                fraction = (event.done / event.total + (event.model == second)) / 2
                yield status(f"{event.model}: {event.done:,} of {event.total:,} tokens", fraction), gr.skip()


def ready_text() -> str:
    """The longest paragraph of the sample story's last tenth; the starter was trained on the rest."""
    story = sample_story()
    return max(story[int(0.9 * len(story)) :].split("\n\n")[1:], key=len)


def contrast_data(names: tuple[str, str], found: Contrast) -> Contrasted:
    """For the view "contrast"."""
    totals = zip(found.tokens, found.losses, found.perplexities, found.bits_per_byte, strict=True)
    return {
        "models": names,
        "totals": list(totals),
        "segments": [(one.text, *_both(one.logprobs), *one.tokens, _rounded(one.divergence)) for one in found.segments],
    }


def _both(values: tuple[float, float]) -> tuple[float, float]:
    return round(values[0], 4), round(values[1], 4)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
