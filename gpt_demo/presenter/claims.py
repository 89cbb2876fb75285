"""What an example, a scene or a hint says of its figures, as predicates that are computed.

A claim is {"claim": name, argument: value, ...} and lies in the JSON file beside the words it belongs to (`claims` of
an example in assets/examples.json, of a scene in assets/scenes.json). `failures` computes them on what a model answers.
Lanes are called by their names; a share is a part of 1; log-probabilities are means per token, in nats, in the model's
own distribution.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from gpt_demo.decoding.beams import BeamsNow
from gpt_demo.decoding.race import Drawn, lane_of, race
from gpt_demo.paths import ASSETS
from gpt_demo.presenter.recordings import OF_A_MODEL, Player, Record
from gpt_demo.text.samples import sample_story

Claim = Mapping[str, Any]
REPEAT = 4  # tokens of an n-gram that counts as a repeat, as the race has it at first
SEEDS = range(1, 21)  # as in assets/playground/seeds.js


@dataclass(frozen=True)
class Written:
    """What one lane has written."""

    ids: Sequence[int]
    logprobs: Sequence[float]

    @property
    def share(self) -> float:
        """Of the tokens, those in an n-gram that has occurred before."""
        return sum(repeated(self.ids, REPEAT)) / len(self.ids)

    @property
    def logprob(self) -> float:
        """Mean per token."""
        return sum(self.logprobs) / len(self.logprobs)


def read_examples() -> Record:
    """The Playground's examples and its panels' hints, with their claims."""
    found: Record = json.loads((ASSETS / "examples.json").read_text(encoding="utf-8"))
    return found


def repeated(ids: Sequence[int], n: int) -> list[bool]:
    """Which tokens lie in an n-gram that has occurred before; as `repeated` in assets/playground/lanes.js."""
    seen: set[tuple[int, ...]] = set()
    marks = [False] * len(ids)
    for i in range(len(ids) - n + 1):
        gram = tuple(ids[i : i + n])
        if gram in seen:
            marks[i : i + n] = [True] * n
        seen.add(gram)
    return marks


def written(player: Player) -> dict[str, Written]:
    """What the lanes of the player's state write, by name, beam searches included."""
    state = player.state
    end = player.tokenizer.end_of_text if state.get("stop", True) else None
    lanes = [lane_of(lane) for lane in state["lanes"]]
    tokens: list[list[tuple[int, float]]] = [[] for _ in lanes]
    seed, count = player.whole("seed", 1), player.whole("length", 80)
    for event in race(player.model, player.tokenizer.n_vocab, player.prompt, lanes, seed, count, end):
        if isinstance(event, Drawn):
            tokens[event.lane].append((event.id, event.raw_logprob))
        elif isinstance(event, BeamsNow):
            tokens[event.lane] = list(zip(event.ids, event.logprobs, strict=True))
    return {
        lane.name: Written([id for id, _ in found], [logprob for _, logprob in found])
        for lane, found in zip(lanes, tokens, strict=True)
    }


# What can be claimed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """A player with what it answers: the recording of a scene (`show` as in a deck), or its lanes over seeds."""

    player: Player
    show: str
    recorded: Record

    def lanes(self, seed: int | None = None) -> dict[str, Written]:
        """The race with the state's own seed, or another one."""
        state = self.player.state if seed is None else {**self.player.state, "seed": seed}
        return written(replace(self.player, state=state))

    @cached_property
    def races(self) -> list[dict[str, Written]]:
        """One for each of the seeds."""
        return [self.lanes(seed) for seed in SEEDS]

    def lane(self, name: str) -> Written:
        return self.lanes()[name]

    @property
    def text(self) -> Written:
        """Of a scene with a text."""
        tokens = self.recorded["tokens"]
        return Written([t["id"] for t in tokens], [t["raw_logprob"] for t in tokens])

    def stage(self, name: str) -> tuple[Record, Record]:
        """The stage of this name and the one before it."""
        stages = self.recorded["stages"]
        at = [stage["name"] for stage in stages].index(name)
        return stages[at], stages[max(0, at - 1)]


def repeats(e: Evidence, lane: str | None = None, at_least: float = 0.0, below: float = 1.01) -> bool:
    """The share of repeats in the lane (or the scene's text) is within these bounds."""
    return at_least <= (e.lane(lane) if lane else e.text).share < below


def most_probable(e: Evidence, lane: str) -> bool:
    """No lane has a higher log-probability per token."""
    lanes = e.lanes()
    return all(lanes[lane].logprob > other.logprob for name, other in lanes.items() if name != lane)


def least_probable(e: Evidence, lane: str) -> bool:
    lanes = e.lanes()
    return all(lanes[lane].logprob < other.logprob for name, other in lanes.items() if name != lane)


def falling(e: Evidence, by: float) -> bool:
    """From each lane to the next the log-probability falls by at least so much."""
    return all(a.logprob >= b.logprob + by for a, b in pairwise(e.lanes().values()))


def luck_decides(e: Evidence) -> bool:
    """Which of the lanes repeats the most is not the same for all seeds."""
    return len({max(one, key=lambda name: one[name].share) for one in e.races}) > 1


def within_spread(e: Evidence) -> bool:
    """The lanes' mean shares of repeats differ by less than the least standard deviation over the seeds."""
    shares = [[one[name].share for one in e.races] for name in e.races[0]]
    means = [mean(own) for own in shares]
    return max(means) - min(means) < min(stdev(own) for own in shares)


def kept(e: Evidence, stage: str, at_least: int = 0, at_most: int = 10**9) -> bool:
    """So many tokens can still be drawn after the stage."""
    return bool(at_least <= e.stage(stage)[0]["kept"] <= at_most)


def removes(e: Evidence, stage: str, at_least: float = 0.0, at_most: float = 1.0) -> bool:
    """The stage takes away so much of the probability there was before it."""
    return bool(at_least <= e.stage(stage)[0]["removed_mass"] <= at_most)


def close_call(e: Evidence, k: int, ratio: float) -> bool:
    """The model's token of rank k + 1 is at least `ratio` times as probable as that of rank k."""
    p = e.recorded["stages"][0]["probabilities"]
    return bool(p[k] >= ratio * p[k - 1])


def first_token(e: Evidence, at_least: float = 0.0, at_most: float = 1.0) -> bool:
    """The model's most probable token has a probability within these bounds."""
    return bool(at_least <= e.recorded["stages"][0]["probabilities"][0] <= at_most)


def first_gains(e: Evidence, stage: str) -> bool:
    """The stage makes the most probable token more probable, and all tokens keep their order."""
    now, before = (found["probabilities"] for found in e.stage(stage))
    return bool(now[0] > before[0] and sorted(now, reverse=True) == now)


def negative_logits(e: Evidence) -> bool:
    """There are logits below 0, and those that are shown do not add up to 1 or 0."""
    total = sum(token["logit"] for token in e.recorded["tokens"])
    return bool(e.recorded["lowest"]["logit"] < 0) and min(abs(total), abs(total - 1)) > 0.1


def softmax_holds(e: Evidence) -> bool:
    """Probabilities add up to 1, and a ratio of probabilities is e to the power of the difference of logits."""
    logits = [token["logit"] for token in e.recorded["tokens"]]
    stage = e.recorded["stages"][0]
    p = stage["probabilities"]
    pairs = zip(p, logits, strict=True)
    ratios = all(math.isclose(math.log(p[0] / q), logits[0] - logit, abs_tol=1e-3) for q, logit in pairs)
    return ratios and math.isclose(sum(p) + stage["others"], 1, abs_tol=1e-4)


def always_first(e: Evidence) -> bool:
    """Every token of the text is the model's most probable one, and no dart was thrown."""
    return all(token["rank"] == 0 and token["u"] is None for token in e.recorded["tokens"])


def pieces(e: Evidence, word: str, exactly: int) -> bool:
    """The word is so many tokens in the prompt, the blank before it included."""
    texts = [piece["text"] for piece in e.recorded["prompt"]]
    return any("".join(texts[i : i + exactly]) == word for i in range(len(texts)))


def beats(e: Evidence, beside: str, by: float = 0.0) -> bool:
    """The best beam's log-probability is above that of the greedy (or the drawn) path, by so much."""
    return bool(e.recorded["best"][0]["logprob"] > e.recorded["beside"][beside]["logprob"] + by)


def greedy_pruned(e: Evidence) -> bool:
    """The greedy path is dropped from the beams on the way."""
    greedy = tuple(e.recorded["beside"]["greedy"]["ids"])
    return all(tuple(path["ids"]) != greedy for path in e.recorded["best"])


def greedy_beats(e: Evidence) -> bool:
    """The greedy path is more probable than the best beam."""
    return bool(e.recorded["beside"]["greedy"]["logprob"] > e.recorded["best"][0]["logprob"])


def share_beginning(e: Evidence, at_least: float) -> bool:
    """The hypotheses found have this share of the shortest one's tokens in common, from the first token on."""
    paths = [path["ids"] for path in e.recorded["best"]]
    shortest = min(map(len, paths))
    common = next((i for i, ids in enumerate(zip(*paths, strict=False)) if len(set(ids)) > 1), shortest)
    return common >= at_least * shortest


def not_first(e: Evidence, at_least: float = 0.0, at_most: float = 1.0) -> bool:
    """This share of the text's tokens was not the model's most probable one."""
    ranks = [token["rank"] for token in e.recorded["tokens"]]
    return bool(at_least <= sum(rank > 0 for rank in ranks) / len(ranks) <= at_most)


def by_heart(e: Evidence, lane: str, at_least: float) -> bool:
    """Of the lane's n-grams of eight tokens, at least this share is in the sample story, word for word."""
    ids, story = list(e.lane(lane).ids), sample_story()
    grams = [e.player.tokenizer.decode(ids[i : i + 8]) for i in range(len(ids) - 7)]
    return sum(gram in story for gram in grams) >= at_least * len(grams)


def loss_turns(e: Evidence, by: float) -> bool:
    """The validation loss falls from the first sample on, and rises again by so much to the last."""
    losses = [sample["val_loss"] for sample in e.recorded["samples"]]
    return bool(losses[0] > min(losses) and losses[-1] >= min(losses) + by)


def grows(e: Evidence, what: Sequence[str]) -> bool:
    """From size to size each of these numbers gets larger."""
    return all(a[name] < b[name] for name in what for a, b in pairwise(e.recorded["sizes"]))


CLAIMS: dict[str, Callable[..., bool]] = {
    f.__name__: f
    for f in (
        repeats, most_probable, least_probable, falling, luck_decides, within_spread, kept, removes,
        close_call, first_token, first_gains, negative_logits, softmax_holds, always_first, pieces, beats,
        greedy_pruned, greedy_beats, share_beginning, not_first, by_heart, loss_turns, grows,
    )
}  # fmt: skip


def failures(claims: Sequence[Claim], evidence: Evidence) -> list[Claim]:
    """The claims that do not hold. KeyError and TypeError on one that is no claim."""
    return [c for c in claims if not CLAIMS[c["claim"]](evidence, **{k: v for k, v in c.items() if k != "claim"})]


def evidence_of(player: Player, show: str | None = None, recorded: Record | None = None) -> Evidence:
    """What the model answers now; `show`: as a scene has it, by default what the state's panel shows."""
    show = show or {"write": "distribution", "beams": "beams"}.get(str(player.state.get("panel")), "race")
    if recorded is None:
        recorded = OF_A_MODEL[show](player) if show in OF_A_MODEL else {}
    return Evidence(player, show, recorded)
