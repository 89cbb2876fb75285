"""The recordings of the presenter's scenes, so that a scene plays without its model.

One function per `show` of a scene (see `gpt_demo.presenter.scenes`): state and model in, JSON out.
assets/presenter/stage.js draws it, and requests the same from the server if the model is available.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt_demo.decoding.beams import BeamsAdvanced, Hypothesis, beam_search
from gpt_demo.decoding.darts import dart, hit
from gpt_demo.decoding.generate import token_texts
from gpt_demo.decoding.race import Drawn, lane_of, race
from gpt_demo.decoding.scores import token_scores
from gpt_demo.decoding.transforms import Stage, trace
from gpt_demo.decoding.window import next_logits
from gpt_demo.errors import UserError
from gpt_demo.model.gpt import GPT, GPT2_SIZES
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.history import History

Record = dict[str, Any]
ROWS = 10
SAMPLES = 5


@dataclass(frozen=True)
class Player:
    """A model with the state of one scene."""

    model: GPT
    tokenizer: Tokenizer
    name: str
    state: Mapping[str, Any]

    @property
    def prompt(self) -> list[int]:
        return self.tokenizer.encode(str(self.state.get("prompt", ""))) or [self.tokenizer.end_of_text]

    @property
    def about(self) -> Record:
        """The first entries of every recording of a model."""
        return {
            "model": self.name,
            "n_vocab": self.tokenizer.n_vocab,
            "prompt": [self.piece(id) for id in self.prompt],
        }

    def piece(self, id: int) -> Record:
        """A token as displayed: its text, or its bytes if they are not whole characters."""
        data = self.tokenizer.token_bytes(id)
        try:
            return {"id": id, "text": data.decode("utf-8")}
        except UnicodeDecodeError:
            return {"id": id, "text": data.decode("utf-8", errors="replace"), "bytes": data.hex()}

    def whole(self, key: str, default: int) -> int:
        value = self.state.get(key, default)
        if type(value) is not int or value < 0:
            raise UserError(f"{key} of a scene is {value!r}; it must be a whole number, at least 0.")
        return value


# The next token -------------------------------------------------------------------------------------------------------


def record_tokens(player: Player) -> Record:
    """The prompt's tokens only."""
    return player.about


def record_distribution(player: Player) -> Record:
    """The distribution of the token after the prompt at every stage, of the model's first ten tokens, and the dart."""
    logits, prompt = next_logits(player.model, player.tokenizer, player.prompt), player.prompt
    lane = lane_of({**player.state, "name": "", "beams": 0})
    context = torch.tensor([prompt[-player.model.config.n_ctx :]])
    stages = trace(logits, context, lane.transforms)
    shown = logits.sort(descending=True, stable=True).indices[:ROWS].tolist()
    lowest = int(logits.argmin())
    u = dart(player.whole("seed", 1), len(prompt))
    return {
        **player.about,
        "tokens": [{**player.piece(id), "logit": _round(logits[id])} for id in shown],
        "lowest": {**player.piece(lowest), "logit": _round(logits[lowest])},
        "stages": [_stage(stage, shown) for stage in stages],
        "dart": _dart(player, stages[-1].logits, u, greedy=lane.greedy),
    }


def _stage(stage: Stage, shown: list[int]) -> Record:
    p = stage.logits.double().softmax(0)
    others = p.clone()  # summed, not 1 minus the others' sum, so that it is 0 if nothing is left
    others[shown] = 0
    return {
        "name": stage.name,
        "kept": stage.kept,
        "removed_mass": _round(stage.removed_mass),
        "entropy": _round(torch.special.entr(p).sum()),
        "probabilities": [_round(p[id]) for id in shown],
        "others": _round(others.sum()),
    }


def _dart(player: Player, logits: Tensor, u: float, *, greedy: bool) -> Record:
    """The chosen token, where its part of the cumulative bar begins and ends, and the first parts of that bar."""
    p, order = logits.double().softmax(0).sort(descending=True, stable=True)
    ends = p.cumsum(0) / p.sum()
    id = int(logits.argmax()) if greedy else hit(logits.double().softmax(0), u)
    places = [i for i in range(ROWS) if i < len(p) and p[i] > 0]

    def part(place: int) -> Record:
        begin = ends[place - 1] if place else 0.0
        return {**player.piece(int(order[place])), "from": _round(begin), "to": _round(ends[place])}

    hit_part = part(int((order == id).nonzero()[0, 0]))
    return {**hit_part, "u": None if greedy else u, "bar": [part(place) for place in places]}


# Texts ----------------------------------------------------------------------------------------------------------------


def record_text(player: Player) -> Record:
    """The text after the prompt that the state holds, or else the one generated, each token with its probability."""
    ids = _kept(player.state.get("tree"))
    return {**player.about, "tokens": _given(player, ids) if ids else _drawn(player, player.state)}


def _kept(tree: Any) -> list[int]:
    """The ids that the Playground shows after the prompt, of its tree (assets/playground/tree.js)."""
    ids: list[int] = []
    at = tree["leaf"] if tree else -1
    while at >= 0:
        parent, id, _ = tree["nodes"][at]
        if parent >= at:
            raise UserError("The text of a scene is damaged: a token comes before the one it follows.")
        ids.append(id)
        at = parent
    return ids[::-1]


def _given(player: Player, ids: list[int]) -> list[Record]:
    prompt, texts = player.prompt, token_texts(player.tokenizer, ids)
    scores = token_scores(player.model, player.tokenizer.n_vocab, [*prompt, *ids], len(prompt))
    return [
        {"id": id, "text": text, "rank": score.rank, "u": None}
        | dict.fromkeys(("logprob", "raw_logprob"), _round(score.logprob))
        for id, text, score in zip(ids, texts, scores, strict=True)
    ]


def record_lanes(player: Player) -> Record:
    """The same for every lane of a race, with the same darts."""
    lanes = player.state.get("lanes", [])
    if any(lane.get("beams") for lane in lanes):
        raise UserError("A lane of a recorded race can't be a beam search. Give it a scene of its own.")
    return {**player.about, "lanes": [{"name": lane["name"], "tokens": _drawn(player, lane)} for lane in lanes]}


def _drawn(player: Player, lane: Mapping[str, Any]) -> list[Record]:
    end = player.tokenizer.end_of_text if player.state.get("stop", True) else None
    seed, count = player.whole("seed", 1), player.whole("length", 40)
    how = lane_of({**lane, "beams": 0})
    events = list(race(player.model, player.tokenizer.n_vocab, player.prompt, [how], seed, count, end))
    drawn = [event for event in events if isinstance(event, Drawn)]
    texts = token_texts(player.tokenizer, [event.id for event in drawn])
    return [
        {
            "id": event.id,
            "text": text,
            "u": event.u,
            "logprob": _round(event.logprob),
            "raw_logprob": _round(event.raw_logprob),
            "rank": event.rank,
        }
        for event, text in zip(drawn, texts, strict=True)
    ]


def record_beams(player: Player) -> Record:
    """A beam search step by step, its results, and greedy decoding and one sampled text for comparison."""
    search = player.state.get("beams") or {}
    count = int(search.get("length", 20))
    steps: list[BeamsAdvanced] = list(
        beam_search(
            player.model,
            player.prompt,
            int(search.get("beams", 4)),
            count,
            float(search.get("length_penalty", 1.0)),
            player.tokenizer.end_of_text if player.state.get("stop", True) else None,
            early_stopping=bool(search.get("early", False)),
            n_vocab=player.tokenizer.n_vocab,
        )
    )
    beside = Player(player.model, player.tokenizer, player.name, {**player.state, "length": count})
    others = {"greedy": {"greedy": True}, "drawn": {"steps": player.state.get("steps", ())}}
    return {
        **player.about,
        "steps": [_beams(player, step) for step in steps],
        "best": [_path(player, list(h.ids), h.logprob) for h in steps[-1].best],
        "beside": {name: _drawn_path(beside, lane) for name, lane in others.items()},
    }


def _beams(player: Player, step: BeamsAdvanced) -> Record:
    def node(h: Hypothesis) -> Record:
        return {**player.piece(h.id), "parent": h.parent, "logprob": _round(h.logprob)}

    return {name: [node(h) for h in getattr(step, name)] for name in ("live", "finished", "pruned")}


def _drawn_path(player: Player, lane: Mapping[str, Any]) -> Record:
    tokens = _drawn(player, lane)
    return _path(player, [token["id"] for token in tokens], sum(token["raw_logprob"] for token in tokens))


def _path(player: Player, ids: list[int], logprob: float) -> Record:
    return {"ids": ids, "texts": token_texts(player.tokenizer, ids), "logprob": _round(logprob)}


# What needs no model --------------------------------------------------------------------------------------------------


def record_training(history: History, run: str) -> Record:
    """Five of a run's samples from one prompt, including the first and last, with the losses at those steps."""
    if history.started is None or len(history.samples) < 2:
        raise UserError(f"The run {run} has no samples. Train it with a sample_interval above 0.")
    n = min(SAMPLES, len(history.samples))
    chosen = [history.samples[round(i * (len(history.samples) - 1) / (n - 1))] for i in range(n)]
    losses = dict(zip(history.evaluations["step"], history.evaluations["val_loss"], strict=True))

    def loss(step: int) -> float:
        """Of the last evaluation at or before the step."""
        return losses[max((at for at in losses if at <= step), default=min(losses))]

    train = history.started.config["train"]
    return {
        "run": run,
        "prompt": train["sample_prompt"],
        "temperature": train["sample_temperature"],
        "uniform": _round(history.started.references["uniform"]),
        "samples": [{"step": s.step, "text": s.text, "val_loss": _round(loss(s.step))} for s in chosen],
    }


def record_sizes() -> Record:
    """GPT-2's four sizes."""
    names = ("n_layer", "n_head", "n_embd", "n_ctx", "n_vocab", "n_params")
    return {"sizes": [{"name": size, **{n: getattr(c, n) for n in names}} for size, c in GPT2_SIZES.items()]}


# The deck -------------------------------------------------------------------------------------------------------------

OF_A_MODEL: dict[str, Callable[[Player], Record]] = {
    "tokens": record_tokens,
    "logits": record_distribution,
    "softmax": record_distribution,
    "distribution": record_distribution,
    "text": record_text,
    "lanes": record_lanes,
    "beams": record_beams,
}


def _round(value: float | Tensor) -> float:
    """Six digits: more than displayed, and a smaller file."""
    return float(f"{float(value):.6g}")
