"""The whole page: its three tabs."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from gpt_demo.runs import Runs
from gpt_demo.store import ModelStore
from gpt_demo.ui.api import Api
from gpt_demo.ui.models_tab import ModelsTab
from gpt_demo.ui.playground_tab import PlaygroundTab
from gpt_demo.ui.session import QUEUED, QUIET, Limits, Services, ensure_token, is_public, owner, owner_state, sentences
from gpt_demo.ui.train_form import TrainForm
from gpt_demo.ui.train_live import TrainLive

INTRODUCTION = """# GPT, from scratch
Train a small GPT on a text and watch it learn to write; then see how it chooses every word."""


def build_app(store: ModelStore, runs: Runs) -> gr.Blocks:
    """The page over these models and runs. Nothing is kept in globals: several apps can live in one process."""
    services = Services(store, runs, Limits() if is_public() else None)
    page: gr.Blocks
    with gr.Blocks(title="GPT, from scratch", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        token = owner_state()
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        with gr.Tabs() as tabs:
            with gr.Tab("Train", id="train"), gr.Row():
                with gr.Column(scale=4, min_width=320):
                    form = TrainForm(services)
                with gr.Column(scale=7, min_width=320):
                    live = TrainLive(services, token, form)
            with gr.Tab("Playground", id="playground") as playground_tab:
                playground = PlaygroundTab(services, token)
            with gr.Tab("Models", id="models") as models_tab:
                models = ModelsTab(services, token)
        page.load(ensure_token, token, token, **QUIET)
        form.connect(page)
        live.connect(page)
        playground.connect(page, playground_tab)
        models.connect(page, models_tab)
        for button, name in ((live.write, live.run), (models.write, models.model)):
            chosen = button.click(partial(_check, services), [token, name], tabs, **QUEUED)
            chosen.success(None, name, js=_WANTED, **QUIET)
        Api(services).connect()
    return page


# The Playground looks there for the model that it is to show.
_WANTED = "(name) => { window.gptDemoWanted = name; window.dispatchEvent(new Event('gpt-demo-wanted')); }"


def _check(services: Services, token: str, name: str | None) -> Any:
    """Open the Playground, if the model is there."""
    with sentences():
        services.store.get(name or "", owner(token))
    return gr.Tabs(selected="playground")
