"""The Compare tab: several models on the same prompts, on the same text, and two of them token by token."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.jobs import Turns
from gpt_demo.ui.compare.contrast import TokenByToken
from gpt_demo.ui.compare.losses import SameText
from gpt_demo.ui.compare.prompts import SamePrompts
from gpt_demo.ui.compare.work import tick
from gpt_demo.ui.listeners import QUIET
from gpt_demo.ui.services import Services


class CompareTab:
    """Three parts; each has its own models, buttons and results."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        turns = Turns()
        with gr.Tabs():
            with gr.Tab("Same prompts"):
                self.prompts = SamePrompts(services, token, turns)
            with gr.Tab("Same text"):
                self.text = SameText(services, token, turns)
            with gr.Tab("Token by token"):
                self.tokens = TokenByToken(services, token, turns)

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Fill the lists at the page's opening, and again when the tab is opened: there may be new models."""
        boxes = [self.prompts.models, self.text.models]
        pair = [self.tokens.first, self.tokens.second]
        chosen = [*boxes, *pair]
        gr.on([page.load, tab.select], self.show, [self.token, *chosen], [*chosen, self.tokens.note], **QUIET)
        for part in (self.prompts, self.text, self.tokens):
            part.connect()

    def show(self, token: str, prompts: list[str], text: list[str], *chosen: str | None) -> tuple[Any, ...]:
        ticked = (tick(self.services, token, names) for names in (prompts, text))
        return (*ticked, *self.tokens.show(token, *chosen))
