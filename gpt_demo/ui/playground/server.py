"""What assets/playground asks the server: one method per question, see ui/protocol.py. Errors come back as a Trouble.

These calls bypass Gradio's queue, so they are short: a job is started, then asked for more about ten times a second.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import gradio as gr
import torch

from gpt_demo.decoding.beams import beam_search
from gpt_demo.decoding.darts import dart, draw_toy
from gpt_demo.decoding.race import lane_of, race
from gpt_demo.decoding.scores import token_scores
from gpt_demo.decoding.window import next_logits, working_bytes
from gpt_demo.errors import UserError
from gpt_demo.events import Event
from gpt_demo.model.gpt import GPT
from gpt_demo.presenter.claims import read_examples
from gpt_demo.presenter.scenes import default_deck
from gpt_demo.store.folder import fingerprint
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.ui.logs import note
from gpt_demo.ui.playground.payload import card, row_payload, vocabulary_payload
from gpt_demo.ui.playground.questions import checked
from gpt_demo.ui.playground.sessions import Bounds, Sessions
from gpt_demo.ui.protocol.playground import (
    Asked,
    AskedJob,
    AskedMore,
    AskedOfModel,
    AskedRow,
    AskedScores,
    AskedText,
    AskedToy,
    Counts,
    DeckAnswer,
    ExamplesAnswer,
    Happened,
    Ids,
    Job,
    Names,
    Nothing,
    Opened,
    RowAndDart,
    Scores,
)
from gpt_demo.ui.quotas import check_context, check_length, check_prompt
from gpt_demo.ui.sentences import disk_trouble, without_paths
from gpt_demo.ui.services import Services, owner
from gpt_demo.ui.visitors import address_of

MAX_CHARACTERS = 200_000
MEMORY_SHARE = 4  # on a public server, of the memory for models so much again for what writes with them


class LabServer:
    """The questions; `functions` is what gr.HTML(server_functions=...) takes."""

    def __init__(self, services: Services) -> None:
        self.services = services
        bytes = services.store.memory.budget // (MEMORY_SHARE if services.limits else 1)
        of_visitor = 8 if services.limits else 128
        self.sessions = Sessions(services.share, Bounds(of_visitor=of_visitor, bytes=bytes))
        questions: tuple[Callable[..., Any], ...] = (
            *(self.models, self.open, self.encode, self.row, self.score),
            *(self.start, self.more, self.close, self.toy, self.deck, self.examples),
        )
        self.functions = [_answering(question) for question in questions]

    def models(self, request: Asked) -> Names:
        """The visitor's models."""
        return {"models": [info.name for info in self.services.store.list(owner(request.get("token")))]}

    def open(self, request: AskedOfModel) -> Opened:
        """What is known of a model."""
        model, tokenizer = self._load(request)
        info = self.services.store.get(str(request.get("model", "")), owner(request.get("token")))
        return {
            "model": request["model"],
            "card": card(info),
            "fingerprint": fingerprint(info.folder),
            "n_ctx": model.config.n_ctx,
            "n_vocab": tokenizer.n_vocab,
            "end_of_text": tokenizer.end_of_text,
            "vocabulary": vocabulary_payload(tokenizer),
        }

    def encode(self, request: AskedText) -> Ids:
        """The tokens of a text; an empty text is the end-of-text token, from which models start."""
        _, tokenizer = self._load(request)
        text = str(request.get("text", ""))
        check_prompt(self.services.limits, text)
        if len(text) > MAX_CHARACTERS:
            raise UserError(f"This text has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}. Shorten it.")
        return {"ids": tokenizer.encode(text) or [tokenizer.end_of_text]}

    def row(self, request: AskedRow) -> RowAndDart:
        """The logits of the token after the context, and its dart."""
        model, tokenizer = self._load(request)
        ids = self._ids(request, model, tokenizer)
        logits = next_logits(model, tokenizer, ids)
        return {"row": row_payload(logits), "dart": dart(int(request.get("seed", 0)), len(ids))}

    def score(self, request: AskedScores) -> Scores:
        """Log-probability, rank and entropy of ids[first:], maybe not all.

        Beyond the context length each token takes a pass of its own, so only some are answered at once: ask again.
        """
        model, tokenizer = self._load(request)
        ids, first, n_ctx = self._ids(request, model, tokenizer), int(request["first"]), model.config.n_ctx
        last = n_ctx + 1 if first <= n_ctx else first + max(1, 2048 // n_ctx)
        scores = token_scores(model, tokenizer.n_vocab, ids, first, last)
        return {"scores": [(score.logprob, score.rank, score.entropy) for score in scores]}

    def start(self, request: AskedJob, address: str = "") -> Job:
        """Begin to write in lanes, or to search with beams."""
        model, tokenizer = self._load(request)
        ids, count = self._ids(request, model, tokenizer), int(request.get("count", 50))
        check_length(self.services.limits, count)
        end = tokenizer.end_of_text if request.get("stop", True) else None
        job: Iterator[Event]
        if "lanes" in request:
            lanes = [lane_of(lane) for lane in request["lanes"]]
            rows = sum(lane.beams or 1 for lane in lanes)
            job = race(model, tokenizer.n_vocab, ids, lanes, int(request.get("seed", 0)), count, end)
        else:
            beams, penalty = int(request.get("beams", 4)), float(request.get("length_penalty", 1.0))
            if not 1 <= beams <= 10 or not 1 <= count <= 200:
                raise UserError("Beam search on the page is limited to 1 to 10 beams and 1 to 200 tokens.")
            early = bool(request.get("early_stopping", False))
            V, rows = tokenizer.n_vocab, beams
            job = beam_search(model, ids, beams, count, penalty, end, early_stopping=early, n_vocab=V)
        bytes, visitor = working_bytes(model.config, rows, len(ids) + count), owner(request.get("token")) or address
        return {"job": self.sessions.start(job, visitor, address, bytes)}

    def more(self, request: AskedMore) -> Happened:
        """What the job has done since."""
        events, done, seconds = self.sessions.more(str(request.get("job")))
        return {"events": [json.loads(event.to_json()) for event in events], "done": done, "seconds": seconds}

    def close(self, request: AskedMore) -> Nothing:
        """Forget the job."""
        self.sessions.close(str(request.get("job")))
        return {}

    def toy(self, request: AskedToy) -> Counts:
        """Single draws of torch.multinomial, as in the book."""
        counts = draw_toy(
            torch.tensor(request["logits"], dtype=torch.float32),
            float(request.get("temperature", 1)),
            int(request.get("top_k", 0)),
            int(request.get("seed", 123)),
            int(request.get("draws", 1000)),
        )
        return {"counts": counts}

    def deck(self, request: Asked) -> DeckAnswer:
        """The presenter's scenes that come with the app."""
        deck: Any = default_deck()
        return {"deck": deck}

    def examples(self, request: Asked) -> ExamplesAnswer:
        """The examples that come with the app."""
        found: Any = read_examples()
        return {"examples": found["examples"]}

    def _load(self, request: AskedOfModel) -> tuple[GPT, Tokenizer]:
        return self.services.store.load(str(request.get("model", "")), owner(request.get("token")))

    def _ids(self, request: AskedRow | AskedScores | AskedJob, model: GPT, tokenizer: Tokenizer) -> list[int]:
        """The context; UserError where it holds anything but tokens of this model, or is too long."""
        ids = request.get("ids") or [tokenizer.end_of_text]
        if not isinstance(ids, list) or len(ids) > MAX_CHARACTERS:
            raise UserError("The context is too long. Shorten the text.")
        check_context(self.services.limits, min(len(ids), model.config.n_ctx))
        if not all(type(id) is int and 0 <= id < tokenizer.n_vocab for id in ids):
            raise UserError("The context contains a token that this model does not know. Start again from a prompt.")
        return ids


def _answering(question: Callable[..., Any]) -> Callable[..., Any]:
    """Turns an exception into an answer: it would reach the browser as null."""
    kind = get_type_hints(question)["request"]
    addressed = "address" in inspect.signature(question).parameters

    def answer(asked: Any, request: gr.Request | None = None) -> Any:  # Gradio gives it to what has this type
        try:
            asked = checked(kind, asked)
            return question(asked, address_of(request)) if addressed else question(asked)
        except UserError as error:
            note("refusal", error=type(error).__name__, question=question.__name__)
            return {"error": without_paths(str(error))}
        except OSError as error:
            return {"error": disk_trouble(error)}
        except Exception as error:  # a bug, or a question that no page asks
            note("error", error=type(error).__name__, question=question.__name__)
            return {"error": f"The server could not answer ({type(error).__name__}). Reload the page and try again."}

    answer.__name__ = question.__name__  # under which the browser asks
    return answer
