"""The page's functions for programs: named endpoints for gradio_client and curl. Nothing else is public."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from gpt_demo.config import preset as preset_config
from gpt_demo.decoding import Sampling, generate
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.recipes import create_run, keep_model, next_token_stages, train_job
from gpt_demo.store import STARTER
from gpt_demo.ui.quotas import check_config, check_runs, check_text
from gpt_demo.ui.session import Services, ensure_token, owner, sentences

UPDATE_SECONDS = 0.1
LAST_EVENTS = 50


class Api:
    """The endpoints; what each takes and gives is documented in the README."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def connect(self) -> None:
        """Publish the endpoints on the page being built."""
        for function in (
            self.generate, self.next_token_distribution, self.train, self.run_status, self.stop_run, self.models,
        ):  # fmt: skip
            gr.api(function, api_name=function.__name__)

    def generate(
        self,
        model: str = STARTER,
        prompt: str = "",
        max_new_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        owner_token: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Continue the prompt: a stream of {"text": all so far, "tokens": [{"id", "text", "logprob"}, ...]}."""
        with sentences():
            sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed)
            gpt, tokenizer = self.services.store.load(model, owner(owner_token))
            tokens: list[dict[str, Any]] = []
            shown = time.perf_counter()
            for event in generate(gpt, tokenizer, prompt, sampling, max_new_tokens):
                if isinstance(event, TokenChosen):
                    tokens.append({"id": event.id, "text": event.text, "logprob": event.logprob})
                if isinstance(event, Generated) or time.perf_counter() - shown > UPDATE_SECONDS:
                    shown = time.perf_counter()
                    yield {"text": prompt + "".join(token["text"] for token in tokens), "tokens": list(tokens)}

    def next_token_distribution(
        self,
        model: str = STARTER,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        top_n: int = 20,
        owner_token: str = "",
    ) -> dict[str, Any]:
        """Every stage from the model's own distribution to what is drawn from, each with its top_n tokens."""
        with sentences():
            sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
            gpt, tokenizer = self.services.store.load(model, owner(owner_token))
            stages = next_token_stages(gpt, tokenizer, prompt, sampling)
        result = []
        for stage in stages:
            best = stage.probabilities.topk(min(max(int(top_n), 1), len(stage.probabilities)))
            result.append({
                "name": stage.name,
                "kept": stage.kept,
                "removed_mass": stage.removed_mass,
                "entropy": stage.entropy,
                "tokens": [
                    {"id": i, "text": tokenizer.token_bytes(i).decode("utf-8", "replace"), "probability": p}
                    for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                ],
            })  # fmt: skip
        return {"stages": result}

    def train(self, text: str, preset: str = "quick", name: str = "") -> dict[str, str]:
        """Start a run; {"run", "owner"}: the owner is a secret that the other two endpoints ask for."""
        token = ensure_token("")
        with sentences():
            config = preset_config(preset)
            check_text(self.services.limits, text)
            check_config(self.services.limits, config)
            check_runs(self.services, token)
            folder = create_run(
                self.services.runs, self.services.store, text, config,
                preset_name=preset, name=name, owner=owner(token), source="the API",
            )  # fmt: skip
            self.services.runs.start(folder, lambda f: train_job(f, self.services.store))
        return {"run": folder.name, "owner": token}

    def run_status(self, run: str, owner: str) -> dict[str, Any]:
        """{"run", "status", "message", "events": the last ones}."""
        with sentences():
            folder = self.services.runs.get(run, _key(owner))
            live = self.services.runs.live(run)
            events = live.events if live else list(folder.events())
        last = [json.loads(event.to_json()) for event in events[-LAST_EVENTS:]]
        return {"run": run, "status": folder.status, "message": folder.message, "events": last}

    def stop_run(self, run: str, owner: str) -> dict[str, Any]:
        """Stop the run and keep its model: {"run", "status", "saved": the model's name, "steps"}."""
        with sentences():
            folder = self.services.runs.get(run, _key(owner))
            live = self.services.runs.live(run)
            if live is not None:
                live.stop()
                live.join(120)
            keep_model(folder, self.services.store)
        steps = self.services.runs.history(folder).steps_done
        return {"run": run, "status": folder.status, "saved": run, "steps": steps}

    def models(self) -> list[str]:
        """The names that can be used, the starter first."""
        return [info.name for info in self.services.store.list()]


def _key(token: str) -> str:
    """The owner of a token; a wrong one owns nothing."""
    return owner(token) or "nobody"
