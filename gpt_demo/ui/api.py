"""The HTTP API: named endpoints for gradio_client and curl. Nothing else is public."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from gpt_demo.decoding.generate import Sampling, generate, next_token_stages
from gpt_demo.decoding.steps import STEPS
from gpt_demo.decoding.transforms import Stage
from gpt_demo.errors import UserError
from gpt_demo.events import Event, Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.keeping import store_model
from gpt_demo.runs.preparing import prepare
from gpt_demo.runs.recipes import create_run
from gpt_demo.store.store import STARTER
from gpt_demo.text.reading import clean_text
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.config import preset as preset_config
from gpt_demo.ui.quotas import admitted, check_config, check_length, check_prompt, check_text
from gpt_demo.ui.sentences import sentences, without_paths
from gpt_demo.ui.services import Services, ensure_token, owner
from gpt_demo.ui.share import Places
from gpt_demo.ui.visitors import address_of

UPDATE_SECONDS = 0.1
LAST_EVENTS = 50
WRITING, WRITING_EACH = 32, 8  # texts that /generate writes at once; on a public server, for one address


class Api:
    """The endpoints, documented in the README."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._places = Places(WRITING, WRITING_EACH if services.limits else WRITING)

    def connect(self) -> None:
        """Publish the endpoints on the page being built."""
        # Texts wait for their turns in services.share, token by token.
        gr.api(self.generate, api_name="generate", concurrency_limit=WRITING)  # type: ignore[attr-defined]
        for function in (self.next_token_distribution, self.train, self.run_status, self.stop_run, self.models):
            gr.api(function, api_name=function.__name__, concurrency_limit=4)  # type: ignore[attr-defined]

    def generate(
        self,
        request: gr.Request,
        model: str = STARTER,
        prompt: str = "",
        max_new_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Continue the prompt: a stream of {"text": all so far, "tokens": [{"id", "text", "logprob"}, ...]}.

        The same seed gives the same text as the Playground and the command line.
        """
        with sentences(plain=True):
            sampling = _sampling(
                seed, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
                repetition_penalty=repetition_penalty,
            )  # fmt: skip
            length = _whole("max_new_tokens", max_new_tokens)
            check_length(self.services.limits, length)
            check_prompt(self.services.limits, _text("prompt", prompt))
            address = address_of(request)
            with self._places.one(address):
                gpt, tokenizer = self._load(model)
                events = generate(gpt, tokenizer, prompt, sampling, length)
                yield from _answers(self.services.share.each(events, address), prompt)

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
    ) -> dict[str, Any]:
        """Every stage from the model's own distribution to what is drawn from, each with its top_n tokens."""
        with sentences(plain=True):
            sampling = _sampling(
                temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
            )
            count = _whole("top_n", top_n)
            check_prompt(self.services.limits, _text("prompt", prompt))
            gpt, tokenizer = self._load(model)
            stages = next_token_stages(gpt, tokenizer, prompt, sampling)
        return {"stages": [_stage(stage, tokenizer, count) for stage in stages]}

    def _load(self, model: Any) -> tuple[GPT, Tokenizer]:
        """A model by name; on a public server a visitor's own is NAME@OWNER, with the secret from /train."""
        name, _, token = _text("model", model).partition("@")
        return self.services.store.load(name, owner(token))

    def train(self, request: gr.Request, text: str, preset: str = "quick", name: str = "") -> dict[str, str]:
        """Start a run; {"run", "owner"}: the owner is a secret that the other two endpoints require."""
        token = ensure_token("")
        with sentences(plain=True):
            config = preset_config(_text("preset", preset))
            text = clean_text(_text("text", text))
            check_text(self.services.limits, text)
            check_config(self.services.limits, config)
            with admitted(self.services, token, address := address_of(request)):
                prepared = prepare(text, config)
                check_config(self.services.limits, prepared.config)
                folder = create_run(
                    self.services.runs, self.services.store, text, config, prepared=prepared,
                    preset_name=preset, name=_text("name", name).strip(), owner=owner(token), source="the API",
                )  # fmt: skip
                self.services.work(folder, prepared, address)
        return {"run": folder.name, "owner": token}

    def run_status(self, run: str, owner: str) -> dict[str, Any]:
        """{"run", "status", "message", "events": the last ones}."""
        with sentences(plain=True):
            folder = self.services.run(_text("run", run), _secret(owner))
            live = self.services.runs.live(folder.name)
            recorded = live.events if live and live.events else folder.events()
            events = deque(recorded, LAST_EVENTS)
            status, message = folder.status, without_paths(folder.message)
        return {"run": folder.name, "status": status, "message": message, "events": [_told(event) for event in events]}

    def stop_run(self, run: str, owner: str) -> dict[str, Any]:
        """Stop the run and keep its model: {"run", "status", "saved": the model's name, "steps"}.

        It does not wait for the run's current step: until that has ended, "status" is "stopping" and "saved" is null.
        """
        with sentences(plain=True):
            folder = self.services.run(_text("run", run), _secret(owner))
            live = self.services.runs.live(folder.name)
            if live is not None:
                live.stop()
            else:
                store_model(folder, self.services.store)
            steps = self.services.runs.history(folder).steps_done
        status, saved = ("stopping", None) if live is not None else (folder.status, folder.name)
        return {"run": folder.name, "status": status, "saved": saved, "steps": steps}

    def models(self) -> list[str]:
        """The names of the models, the starter first."""
        return [info.name for info in self.services.store.list()]


def _answers(events: Iterator[TokenChosen | Generated], prompt: str) -> Iterator[dict[str, Any]]:
    """What /generate answers from time to time, and at the end."""
    tokens: list[dict[str, Any]] = []
    shown = time.perf_counter()
    for event in events:
        if isinstance(event, TokenChosen):
            tokens.append({"id": event.id, "text": event.text, "logprob": event.logprob})
        if isinstance(event, Generated) or time.perf_counter() - shown > UPDATE_SECONDS:
            shown = time.perf_counter()
            yield {"text": prompt + "".join(token["text"] for token in tokens), "tokens": list(tokens)}


# Nothing that comes in has been checked: Gradio only documents the types.


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} is {value!r:.60}; it must be a string.")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name} is {value!r:.60}; it must be a number.")
    return value


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != number or number in (float("inf"), float("-inf")) or int(number) != number:
        raise UserError(f"{name} is {value!r:.60}; it must be a whole number.")
    return int(number)


def _secret(value: Any) -> str:
    """The owner key that gives access to a run; without one, not even runs without an owner are accessible."""
    token = _text("owner", value)
    if not token:
        raise UserError("owner is empty. Give the owner that /train returned with the run.")
    return token


def _told(event: Event) -> dict[str, Any]:
    """The event as JSON. A path becomes its last part: it is the server's own, and gradio_client would download it."""
    record: dict[str, Any] = json.loads(event.to_json())
    if "path" in record:
        record["name"] = Path(record.pop("path")).name
    return record


def _sampling(seed: Any = 0, **steps: Any) -> Sampling:
    values: dict[str, Any] = {"seed": _whole("seed", seed)}
    for name, value in steps.items():
        values[name] = (_whole if STEPS[name].whole else _number)(name, value)
    return Sampling(**values)


def _stage(stage: Stage, tokenizer: Tokenizer, count: int) -> dict[str, Any]:
    best = stage.probabilities.topk(min(max(count, 1), len(stage.probabilities)))
    return {
        "name": stage.name,
        "kept": stage.kept,
        "ties": stage.ties,
        "removed_mass": stage.removed_mass,
        "entropy": stage.entropy,
        "tokens": [
            {"id": i, "text": tokenizer.token_bytes(i).decode("utf-8", "replace"), "probability": p}
            for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
    }
