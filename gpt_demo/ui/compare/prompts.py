"""The Compare tab's "Same prompts": how several models continue the same prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gpt_demo.compare.prompts import PROMPTS, Completed, complete
from gpt_demo.decoding.darts import LARGEST_SEED
from gpt_demo.decoding.generate import Sampling
from gpt_demo.decoding.steps import STEPS
from gpt_demo.errors import UserError
from gpt_demo.jobs import Turns
from gpt_demo.text.reading import clean_text
from gpt_demo.ui.compare.work import Pace, Work, chosen_models, loader, model_boxes, status
from gpt_demo.ui.listeners import QUIET
from gpt_demo.ui.protocol.views import Cell, Completions
from gpt_demo.ui.quotas import check_length
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.services import Services
from gpt_demo.ui.views import view, view_json

MOST_PROMPTS = 50
MOST_CHARACTERS = 500
MOST_NEW_TOKENS = 100
GREEDY, DRAWN = "Greedy", "Sampling"


class SamePrompts:
    """Models, prompts and how tokens are chosen on the left; a table that fills on the right."""

    def __init__(self, services: Services, token: gr.BrowserState, turns: Turns) -> None:
        self.services = services
        self.token = token
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.models = model_boxes("prompts-models")
                self.prompts = gr.Textbox(
                    "\n".join(PROMPTS), label="Prompts, one per line", lines=6, max_lines=12, elem_id="prompts",
                    info=f"up to {MOST_PROMPTS} of {MOST_CHARACTERS} characters",
                )  # fmt: skip
                self._build_settings()
                self.work = Work("prompts", "Run prompts", turns)
            with gr.Column(scale=8, min_width=320):
                self.table = view("completions", elem_id="completions")

    def _build_settings(self) -> None:
        with gr.Row(elem_classes="settings"):
            self.count = gr.Number(
                8, label="New tokens", info=f"per prompt, up to {MOST_NEW_TOKENS}", minimum=1, maximum=MOST_NEW_TOKENS,
                precision=0, min_width=150, elem_id="prompts-tokens",
            )  # fmt: skip
        self.choice = gr.Radio(
            [GREEDY, DRAWN],
            value=GREEDY,
            label="Decoding",
            info="greedy: always the most probable token",
            elem_id="prompts-choice",
        )
        with gr.Row(elem_classes="settings", visible=False) as self.chance:
            self.temperature = gr.Number(
                0.8, label="Temperature", info=STEPS["temperature"].words, minimum=STEPS["temperature"].low,
                maximum=STEPS["temperature"].high, min_width=150, elem_id="prompts-temperature",
            )  # fmt: skip
            self.seed = gr.Number(
                0, label="Seed", info="the same seed gives the same text", minimum=0, maximum=LARGEST_SEED, precision=0,
                min_width=150, elem_id="prompts-seed",
            )  # fmt: skip

    def connect(self) -> None:
        self.choice.input(lambda how: gr.update(visible=how == DRAWN), self.choice, self.chance, **QUIET)
        settings = [self.prompts, self.count, self.choice, self.temperature, self.seed]
        self.work.connect(self.run, [self.token, self.models, *settings], [self.table])

    def run(
        self, token: str, names: list[str], text: str, count: int | None, how: str, temperature: float, seed: int
    ) -> Iterator[tuple[Any, ...]]:
        """Status and table, again for every few cells."""
        models = chosen_models(self.services, token, names)
        prompts = read_prompts(text)
        if count is None or not 1 <= count <= MOST_NEW_TOKENS:
            raise UserError(f'"New tokens" must be a number from 1 to {MOST_NEW_TOKENS}.')
        check_length(self.services.limits, len(models) * len(prompts) * count)
        sampling = Sampling(temperature=0.0) if how == GREEDY else _drawn(temperature, seed)
        sheet, pace = Sheet([info.name for info in models], prompts), Pace()
        troubles: list[str] = []
        for name in sheet.models:
            yield status(f"Loading {name}.", sheet.fraction, troubles=troubles), sheet.data()
            try:
                for event in complete([name], loader(self.services, token), prompts, count, sampling):
                    sheet.add(event)
                    if pace.due():
                        line = f"{name}: prompt {event.prompt + 1} of {len(prompts)}"
                        yield status(line, sheet.fraction, troubles=troubles), sheet.data()
            except UserError as error:
                troubles.append(f"{name}: {in_words(str(error))}")
                sheet.give_up(name)
        yield status(sheet.summary(), 1.0, "done", troubles), sheet.data()


def read_prompts(text: str) -> list[str]:
    """The lines that are not blank; UserError where there are none, too many, or one is too long."""
    prompts = [line.rstrip() for line in clean_text(text or "").split("\n") if line.strip()]
    if len(prompts) > MOST_PROMPTS:
        raise UserError(f"There are {len(prompts):,} prompts; up to {MOST_PROMPTS} can be run. Delete some lines.")
    for i, prompt in enumerate(prompts, 1):
        if len(prompt) > MOST_CHARACTERS:
            raise UserError(
                f"Prompt {i} has {len(prompt):,} characters; up to {MOST_CHARACTERS} can be used. Shorten it."
            )
    return prompts


def _drawn(temperature: float | None, seed: int | None) -> Sampling:
    if not temperature or seed is None:
        raise UserError('Sampling needs a "Temperature" above 0 and a "Seed".')
    return Sampling(temperature=temperature, seed=seed)


class Sheet:
    """The results so far."""

    def __init__(self, models: list[str], prompts: list[str]) -> None:
        self.models = models
        self.prompts = prompts
        self._cells: dict[tuple[str, int], Completed] = {}
        self._failed: set[str] = set()

    @property
    def fraction(self) -> float:
        return len(self._cells) / (len(self.models) * len(self.prompts))

    def add(self, event: Completed) -> None:
        self._cells[event.model, event.prompt] = event

    def give_up(self, model: str) -> None:
        """Its empty cells stay empty."""
        self._failed.add(model)

    def summary(self) -> str:
        done = len(self.models) - len(self._failed)
        return f"Done: {len(self.prompts)} prompts, {done} of {len(self.models)} models."

    def data(self) -> str:
        """For the view "completions"."""
        rows = [[self._cell(name, i) for name in self.models] for i in range(len(self.prompts))]
        failed = [name in self._failed for name in self.models]
        shown: Completions = {"models": self.models, "failed": failed, "prompts": self.prompts, "rows": rows}
        return view_json(shown)

    def _cell(self, model: str, prompt: int) -> Cell | None:
        event = self._cells.get((model, prompt))
        return None if event is None else (event.text, round(event.logprob, 4), event.tokens)
