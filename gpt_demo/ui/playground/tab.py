"""The Playground tab: one component, drawn by assets/playground/*.js, that asks ui/playground/server.py."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gpt_demo.ui import scripts
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.views import view_json

_JS_ON_LOAD = """
const root = element.querySelector(".lab");
MODULE.then(({ mountLab, greet }) => {
  const lab = mountLab(root, { server });
  const hello = () => greet(lab, props.value);
  hello();
  watch("value", hello);
});
"""


class PlaygroundTab:
    """The component; its value gives the browser the visitor's token and the available models."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        self.lab = gr.HTML(
            view_json(None),
            html_template='<div class="lab"></div>',
            js_on_load=_JS_ON_LOAD.replace("MODULE", scripts.module()),
            server_functions=LabServer(services).functions,
            apply_default_css=False,
            elem_id="lab",
        )

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Greet at the page's opening, and again when the tab is opened: a training may have made a model."""
        quiet: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        gr.on([page.load, tab.select], self.greet, self.token, self.lab, **quiet)

    def greet(self, token: str) -> str:
        return view_json({"token": token, "models": [info.name for info in self.services.store.list(owner(token))]})
