"""The whole page: its four tabs."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from gpt_demo.events import Event
from gpt_demo.jobs import Jobs
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.ui import scripts
from gpt_demo.ui.api import Api
from gpt_demo.ui.compare.tab import CompareTab
from gpt_demo.ui.listeners import QUEUED, QUIET
from gpt_demo.ui.measures import Measures
from gpt_demo.ui.models.tab import ModelsTab
from gpt_demo.ui.playground.tab import PlaygroundTab
from gpt_demo.ui.reach import is_public
from gpt_demo.ui.sentences import sentences
from gpt_demo.ui.services import Limits, Services, ensure_token, owner, owner_state
from gpt_demo.ui.train.form import TrainForm
from gpt_demo.ui.train.live import TrainLive
from gpt_demo.ui.train.start_from import offered

MOST_WAITING = 200  # clicks and requests in the queue; polls are not queued
INTRODUCTION = """# GPT, from scratch
Train a small GPT on a text and watch it learn to write, then see how it chooses each token."""


def build_app(store: ModelStore, runs: Runs, downloads: Jobs[Event] | None = None) -> gr.Blocks:
    """The page for these models and runs. There are no globals: one process can run several apps.

    `downloads`: the caller closes it.
    """
    services = Services(store, runs, Limits() if is_public() else None, downloads=downloads or Jobs())
    page: gr.Blocks
    with gr.Blocks(title="GPT, from scratch", analytics_enabled=False) as page:
        token = owner_state()
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        with gr.Tabs() as tabs:
            with gr.Tab("Train", id="train"), gr.Row():
                with gr.Column(scale=4, min_width=320):
                    form = TrainForm(services, token)
                with gr.Column(scale=7, min_width=320):
                    live = TrainLive(services, token, form)
            with gr.Tab("Playground", id="playground") as playground_tab:
                playground = PlaygroundTab(services, token)
            with gr.Tab("Models", id="models") as models_tab:
                models = ModelsTab(services, token)
            with gr.Tab("Compare", id="compare") as compare_tab:
                compare = CompareTab(services, token)
        page.load(ensure_token, token, token, **QUIET)
        form.connect(page)
        live.connect(page)
        playground.connect(page, playground_tab)
        models.connect(page, models_tab)
        compare.connect(page, compare_tab)
        for button, name in ((live.write, live.model), (models.write, models.model)):
            chosen = button.click(partial(_check, services), [token, name], tabs, **QUEUED)
            chosen.success(None, name, js=f"(name) => {scripts.module()}.then(({{ want }}) => want(name))", **QUIET)
        _connect_fine_tune(services, token, tabs, models, form)
        Api(services).connect()
    page.measures = Measures(services)  # type: ignore[attr-defined]  # for /metrics
    services.take_up()
    page.queue(max_size=MOST_WAITING, api_open=False)  # nobody passes the queue by
    return page


def _connect_fine_tune(
    services: Services, token: gr.BrowserState, tabs: gr.Tabs, models: ModelsTab, form: TrainForm
) -> None:
    """Make the model the Train tab's starting point, with its settings."""

    def choose(token: str, name: str | None) -> tuple[Any, Any]:
        with sentences():
            chosen = services.store.get(name or "", owner(token)).name
        return gr.Tabs(selected="train"), gr.update(choices=offered(services, token, chosen)["choices"], value=chosen)

    chosen = models.fine_tune.click(choose, [token, models.model], [tabs, form.base], **QUEUED)
    filled = chosen.success(form.fill, [token, form.base, form.preset], list(form.settings.values()), **QUIET)
    shown = [form.text.preview, form.plan, form.command, form.start_button]
    filled.then(form.show, [form.clock.timing, *form.inputs], shown, **QUIET)


def _check(services: Services, token: str, name: str | None) -> Any:
    """Open the Playground, if the model is there."""
    with sentences():
        services.store.get(name or "", owner(token))
    return gr.Tabs(selected="playground")
