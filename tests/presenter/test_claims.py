"""What the examples, the scenes and the hints say is computed on the models that come with the app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_demo.paths import ASSETS
from gpt_demo.presenter.claims import CLAIMS, Evidence, evidence_of, failures, read_examples, repeated
from gpt_demo.presenter.recordings import OF_A_MODEL, Player
from gpt_demo.presenter.scenes import default_deck
from gpt_demo.store.store import SHIPPED, STARTER, ModelStore

EXAMPLES: list[dict[str, Any]] = read_examples()["examples"]
HINTS: list[dict[str, Any]] = read_examples()["hints"]
SCENES: list[dict[str, Any]] = default_deck()["scenes"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    return ModelStore(tmp_path_factory.mktemp("claims"))


def player(store: ModelStore, state: dict[str, Any]) -> Player:
    name = state.get("model", STARTER)
    return Player(*store.load(name), name, state)


def named(entry: dict[str, Any]) -> str:
    return str(entry.get("title") or entry["panel"])


@pytest.mark.parametrize("entry", [*EXAMPLES, *HINTS], ids=named)
def test_what_examples_and_hints_say_is_so(store: ModelStore, entry: dict[str, Any]) -> None:
    assert failures(entry["claims"], evidence_of(player(store, entry["state"]), entry.get("show"))) == []


@pytest.mark.parametrize("scene", SCENES, ids=named)
def test_what_scenes_say_is_so_of_their_recordings_and_of_the_models(store: ModelStore, scene: dict[str, Any]) -> None:
    asked = player(store, scene["state"])
    assert failures(scene["claims"], evidence_of(asked, scene["show"], scene["recorded"])) == []
    if scene["show"] in OF_A_MODEL:
        assert failures(scene["claims"], evidence_of(asked, scene["show"])) == []


@pytest.mark.parametrize("entry", [*EXAMPLES, *HINTS, *SCENES], ids=named)
def test_nothing_is_shown_without_a_claim(entry: dict[str, Any]) -> None:
    assert entry["claims"]
    assert {claim["claim"] for claim in entry["claims"]} <= set(CLAIMS)
    assert entry["state"].get("model", STARTER) in SHIPPED


def test_every_claim_is_made_somewhere() -> None:
    made = {claim["claim"] for entry in (*EXAMPLES, *HINTS, *SCENES) for claim in entry["claims"]}
    assert made == set(CLAIMS)


def test_the_hints_are_on_the_page() -> None:
    for hint in HINTS:
        script = (ASSETS / "playground" / f"{hint['panel']}.js").read_text(encoding="utf-8")
        joined = re.sub(r'"\s*\+\s*"', "", script)  # a sentence on several lines
        assert hint["look"] in re.sub(r"\s+", " ", joined)


def false_claims() -> Iterator[dict[str, Any]]:
    """The same claims with a bound that nothing can reach."""
    bounds = {"at_least": 1e9, "below": 0.0, "at_most": -1, "by": 1e9, "ratio": 2.0, "exactly": 99}
    for entry in EXAMPLES:
        for claim in entry["claims"]:
            if wrong := {key: bounds[key] for key in claim if key in bounds}:
                yield {**entry, "claims": [{**claim, **wrong}]}


def test_a_false_claim_is_found(store: ModelStore) -> None:
    cases = list(false_claims())
    assert len(cases) >= 8
    for entry in cases:
        assert failures(entry["claims"], evidence_of(player(store, entry["state"]))) == entry["claims"], entry["claims"]


def test_lanes_the_wrong_way_round_are_found(store: ModelStore) -> None:
    """The most probable lane is not the least probable one, and a ramp upside down does not fall."""
    by_title = {example["title"]: example for example in EXAMPLES}
    ramp = by_title["Temperature ramp"]["state"]
    upside_down = {**ramp, "lanes": ramp["lanes"][::-1]}
    assert failures([{"claim": "falling", "by": 0.0}], evidence_of(player(store, upside_down)))
    dull = evidence_of(player(store, by_title["Beam search is dull"]["state"]))
    swapped = [{"claim": "most_probable", "lane": "Drawn"}, {"claim": "least_probable", "lane": "Greedy"}]
    assert failures(swapped, dull) == swapped


def test_recordings_that_say_the_opposite_are_found(store: ModelStore) -> None:
    asked = player(store, {"prompt": "Nell"})
    path = {"ids": [1, 2], "texts": ["a", "b"], "logprob": -1.0}
    beams = Evidence(asked, "beams", {"best": [path], "beside": {"greedy": path, "drawn": path}})
    samples = [{"val_loss": 5.0}, {"val_loss": 4.0}, {"val_loss": 3.0}]
    text = [{"id": 1, "rank": 1, "u": 0.5, "raw_logprob": -1.0}]
    cases: list[tuple[dict[str, Any], Evidence]] = [
        ({"claim": "beats", "beside": "greedy"}, beams),
        ({"claim": "greedy_pruned"}, beams),
        ({"claim": "greedy_beats"}, beams),
        ({"claim": "share_beginning", "at_least": 1.1}, beams),
        ({"claim": "not_first", "at_most": 0.5}, Evidence(asked, "text", {"tokens": text})),
        ({"claim": "loss_turns", "by": 0.1}, Evidence(asked, "training", {"samples": samples})),
        ({"claim": "grows", "what": ["n"]}, Evidence(asked, "sizes", {"sizes": [{"n": 2}, {"n": 1}]})),
        ({"claim": "always_first"}, Evidence(asked, "text", {"tokens": text})),
        ({"claim": "pieces", "word": "x", "exactly": 1}, Evidence(asked, "tokens", {"prompt": [{"text": "y"}]})),
    ]
    for claim, evidence in cases:
        assert failures([claim], evidence) == [claim]


def test_repeats_are_those_of_the_race() -> None:
    """As in tests/ui/playground/test_race_beams.py, where the page's own are tested."""
    assert repeated([1, 2, 3, 1, 2, 3, 1, 2, 3], 3) == [False] * 3 + [True] * 6
    assert repeated([1, 2, 3, 4], 3) == [False] * 4
    assert repeated([], 4) == []


def test_the_models_say_what_they_are(store: ModelStore) -> None:
    assert [info.name for info in store.list()] == list(SHIPPED)
    size = sum(path.stat().st_size for name in SHIPPED for path in Path(ASSETS / name).iterdir())
    assert size < 17e6
    for info in store.list():
        assert info.about["reads"]
        assert 0 < info.about["train_loss"] < info.about["val_loss"] + 0.2
        assert info.owner is None
