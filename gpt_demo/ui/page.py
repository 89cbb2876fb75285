"""The whole page: its three tabs."""

from __future__ import annotations

import gradio as gr

from gpt_demo.runs import Runs
from gpt_demo.store import ModelStore
from gpt_demo.ui.api import Api
from gpt_demo.ui.models_tab import ModelsTab
from gpt_demo.ui.playground_tab import PlaygroundTab
from gpt_demo.ui.session import Limits, Services, ensure_token, is_public, owner_state
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
        with gr.Tabs():
            with gr.Tab("Train"), gr.Row():
                with gr.Column(scale=4, min_width=320):
                    form = TrainForm(services)
                with gr.Column(scale=7, min_width=320):
                    live = TrainLive(services, token)
            with gr.Tab("Playground") as playground_tab:
                playground = PlaygroundTab(services, token)
            with gr.Tab("Models") as models_tab:
                models = ModelsTab(services, token)
        form.connect(page)
        live.connect(page, form)
        playground.connect(page, playground_tab)
        models.connect(page, models_tab)
        Api(services).connect()
        page.load(ensure_token, token, token, queue=False, api_visibility="private", show_progress="hidden")
    return page
