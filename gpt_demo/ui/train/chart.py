"""The training curves on the page: assets/train/chart.js draws a snapshot (ui/protocol/chart.py) as it grows."""

from __future__ import annotations

import gradio as gr

from gpt_demo.ui import scripts
from gpt_demo.ui.protocol.chart import Snapshot
from gpt_demo.ui.views import page_json

EMPTY: Snapshot = {"runs": [], "references": {}, "total_tokens": None, "tokens_per_epoch": None}

# Constant on purpose: a template with the value in it would run the content of a run's name.
HTML_TEMPLATE = '<div class="training-chart"></div>'

JS_ON_LOAD = """
const root = element.querySelector(".training-chart");
MODULE.then(({ mountChart }) => {
  const chart = mountChart(root, () => props.value);
  watch("value", () => chart.update(props.value));
});
""".replace("MODULE", scripts.module())


def training_chart(snapshot: Snapshot = EMPTY, *, elem_id: str = "training-chart") -> gr.HTML:
    """The live chart; an event handler that has it as output gives `page_json(snapshot)`.

    For tests its root element carries data-points (evaluations of the current run), data-last-step, data-best and,
    while somebody reads points with mouse or keys, data-cursor-step.
    """
    return gr.HTML(
        page_json(snapshot),
        html_template=HTML_TEMPLATE,
        js_on_load=JS_ON_LOAD,
        apply_default_css=False,
        elem_id=elem_id,
    )
