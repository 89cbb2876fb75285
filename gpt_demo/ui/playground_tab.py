"""The Playground: a prompt, how to choose each token, and the text as it comes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch

from gpt_demo.decoding import Sampling, generate
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.recipes import next_token_stages
from gpt_demo.store import STARTER
from gpt_demo.ui.format import number
from gpt_demo.ui.session import Services, owner, sentences
from gpt_demo.ui.views import view, view_json

PROMPT = "Nell looked at the"
UPDATE_SECONDS = 0.1


class PlaygroundTab:
    """Components and handlers."""

    def __init__(self, services: Services, token: gr.BrowserState) -> None:
        self.services = services
        self.token = token
        models = [info.name for info in services.store.list()]
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self.model = gr.Dropdown(
                    models, value=models[0] if models else None, label="Model",
                    info="the starter, and what you train", elem_id="model-choice",
                )  # fmt: skip
                self.prompt = gr.Textbox(PROMPT, label="Prompt", lines=3, max_lines=8, elem_id="prompt")
                self.way = gr.Radio(
                    [("Draw by probability", "sample"), ("Always the most probable (greedy)", "greedy")],
                    value="sample", label="Choose the next token", elem_id="way",
                )  # fmt: skip
                self.temperature = gr.Slider(
                    0.1, 5, 0.8, step=0.05, label="Temperature", elem_id="temperature",
                    info="below 1 favours the probable tokens, above 1 the improbable ones",
                )  # fmt: skip
                self.top_k = gr.Slider(
                    0, 200, 40, step=1, label="Top-k", elem_id="top-k",
                    info="draw from the k most probable tokens only; 0: from all",
                )  # fmt: skip
                with gr.Row():
                    self.seed = gr.Number(
                        1, label="Seed", info="the same seed, the same text", precision=0, minimum=0,
                        min_width=120, elem_id="seed",
                    )  # fmt: skip
                    self.length = gr.Number(
                        80, label="Length", info="tokens to write", precision=0, minimum=1, maximum=1000,
                        min_width=120, elem_id="length",
                    )  # fmt: skip
                with gr.Row():
                    self.write = gr.Button("Write", variant="primary", elem_id="write")
                    self.stop = gr.Button("Stop", elem_id="write-stop")
            with gr.Column(scale=7, min_width=320):
                gr.Markdown("### The text")
                self.text = view("writing", elem_id="written-text")
                gr.Markdown("### The next token after the prompt")
                self.bars = view("bars", elem_id="next-token")

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        quiet: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        chain = [self.token, self.model, self.prompt, self.way, self.temperature, self.top_k]
        writing = self.write.click(
            self.stream, [*chain, self.seed, self.length], self.text,
            api_visibility="private", concurrency_limit=4, show_progress="hidden",
        )  # fmt: skip
        self.stop.click(None, cancels=[writing], api_visibility="private")
        gr.on(
            [self.model.change, self.prompt.change, self.way.change, self.temperature.input, self.top_k.input],
            self.distribution, chain, self.bars, trigger_mode="always_last", **quiet,
        )  # fmt: skip
        gr.on([page.load, tab.select], self.models, [self.token, self.model], self.model, **quiet)
        page.load(self.distribution, chain, self.bars, **quiet)

    def models(self, token: str, present: str | None) -> Any:
        """The models this visitor may use; the choice stays if it can."""
        names = [info.name for info in self.services.store.list(owner(token))]
        return gr.update(choices=names, value=present if present in names else next(iter(names), None))

    def stream(
        self, token: str, model: str | None, prompt: str, way: str, temperature: float, top_k: int, seed: int,
        length: int,
    ) -> Iterator[str]:  # fmt: skip
        """The text as it grows, at most ten updates a second."""
        with sentences():
            gpt, tokenizer = self.services.store.load(model or STARTER, owner(token))
            sampling = self._sampling(way, temperature, top_k, seed)
            started, shown = time.perf_counter(), 0.0
            tokens: list[list[Any]] = []
            state: dict[str, Any] = {
                "id": f"{time.time_ns()}",
                "prompt": prompt or "",
                "tokens": tokens,
                "note": "",
                "done": "false",
            }
            for event in generate(gpt, tokenizer, prompt or "", sampling, int(length or 1)):
                if isinstance(event, TokenChosen):
                    tokens.append([event.id, event.text, math.exp(event.logprob)])
                    state["note"] = _note([t[2] for t in tokens], time.perf_counter() - started)
                elif isinstance(event, Generated):
                    state["done"] = "true"
                    if event.reason == "end_of_text":
                        state["note"] += ", ended by the end-of-text token"
                if time.perf_counter() - shown > UPDATE_SECONDS or isinstance(event, Generated):
                    shown = time.perf_counter()
                    yield view_json(state)

    def distribution(self, token: str, model: str | None, prompt: str, way: str, temperature: float, top_k: int) -> str:
        """The most probable next tokens: what the model says, and what is drawn from."""
        try:
            gpt, tokenizer = self.services.store.load(model or STARTER, owner(token))
            stages = next_token_stages(gpt, tokenizer, prompt or "", self._sampling(way, temperature, top_k, 0))
        except UserError as error:
            return view_json({"error": str(error)})
        before, after = stages[0].probabilities, stages[-1].probabilities
        best = torch.topk(before, min(12, len(before))).indices.tolist()
        texts = [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in best]
        rows = [[i, text, float(before[i]), float(after[i])] for i, text in zip(best, texts, strict=True)]
        return view_json({
            "note": f"{stages[-1].kept:,} of {len(before):,} tokens can be drawn. Light: the model's own probability.",
            "rows": rows,
            "others": max(0.0, 1 - sum(row[2] for row in rows)),
            "othersAfter": max(0.0, 1 - sum(row[3] for row in rows)),
        })  # fmt: skip

    @staticmethod
    def _sampling(way: str, temperature: float, top_k: int, seed: int) -> Sampling:
        return Sampling(
            temperature=0.0 if way == "greedy" else float(temperature), top_k=int(top_k or 0), seed=int(seed or 0)
        )


def _note(probabilities: list[float], seconds: float) -> str:
    """Length, speed and perplexity of what has been written."""
    mean = sum(math.log(max(p, 1e-30)) for p in probabilities) / len(probabilities)
    return (
        f"{len(probabilities)} tokens, {len(probabilities) / seconds:,.1f} tokens per second, "
        f"perplexity of the text {number(math.exp(-mean), 1)}"
    )
