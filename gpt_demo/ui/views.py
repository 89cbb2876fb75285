"""Parts of the page that assets/page/views.js draws from JSON: texts of users and models are never HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from gpt_demo.events import finite
from gpt_demo.ui import scripts
from gpt_demo.ui.protocol.playground import Greeting
from gpt_demo.ui.protocol.views import Shown

# Constant on purpose: a template with the value in it would run its content.
_JS_ON_LOAD = """
const root = element.querySelector(".view");
MODULE.then(({ drawView }) => {
  const draw = () => drawView(root, "NAME", props.value);
  draw();
  watch("value", draw);
});
root.addEventListener("choose", (event) => trigger("select", event.detail));
"""


def view(name: str, data: Shown = None, *, elem_id: str, visible: bool = True) -> gr.HTML:
    """A component that shows `data` with the view `name` of assets/page/views.js."""
    return gr.HTML(
        view_json(data),
        html_template='<div class="view"></div>',
        js_on_load=_JS_ON_LOAD.replace("MODULE", scripts.module()).replace("NAME", name),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["view-block"],
        visible=visible,
    )


def view_json(data: Shown | Greeting) -> str:
    """What an event handler gives to a view."""
    return page_json({"data": data})


def page_json(value: Mapping[str, Any]) -> str:
    """A value for a script of the page: NaN and infinity become null, "<" is escaped.

    (JSON readers see no difference; Gradio warns of `<script` in a value, even where nothing runs it.)
    """
    return json.dumps(finite(value), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
