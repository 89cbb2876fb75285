"""The presenter's decks and what is recorded in them. (How they are shown: test_presenter.py.)"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from starter import HOSTILE, make_starter, own_deck

from gpt_demo.decoding.beams import beam_search
from gpt_demo.decoding.race import Drawn, Lane, race
from gpt_demo.decoding.transforms import chain, trace
from gpt_demo.decoding.window import next_logits
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Sampled, Started
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.presenter import scenes
from gpt_demo.presenter.recordings import OF_A_MODEL, Player, record_training
from gpt_demo.presenter.scenes import Sources, default_deck, read_deck, to_json
from gpt_demo.store.store import ModelStore
from gpt_demo.training.history import History

CHAPTERS = [
    "Tokens", "Logits", "Softmax", "Greedy", "Temperature", "Top-k", "Top-p", "Beams", "What training changes",
    "GPT-2's sizes",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_starter(folder)
    return folder


@pytest.fixture(scope="module")
def deck() -> dict[str, Any]:
    return default_deck()


def joined(pieces: list[dict[str, Any]]) -> str:
    return "".join(piece["text"] for piece in pieces)


# The deck that comes with the app -------------------------------------------------------------------------------------


def test_ten_scenes_teach_chapter_by_chapter(deck: dict[str, Any]) -> None:
    assert [scene["title"] for scene in deck["scenes"]] == CHAPTERS
    for scene in deck["scenes"]:
        assert set(scene) == {"title", "note", "show", "state", "claims", "recorded"}
        assert 60 < len(scene["note"]) <= 215  # two lines on a projector
        assert scene["recorded"]
        if scene["show"] in ("logits", "softmax", "distribution", "text", "beams"):
            assert "steps" in scene["state"]  # else the page's own would be meant, which the recording does not know


def test_recorded_tokens_are_those_of_the_prompts(deck: dict[str, Any]) -> None:
    texts: dict[tuple[str, int], str] = {}
    for scene in deck["scenes"]:
        if scene["show"] in OF_A_MODEL:
            assert joined(scene["recorded"]["prompt"]) == scene["state"]["prompt"]
            for piece in scene["recorded"]["prompt"]:
                assert texts.setdefault((scene["recorded"]["model"], piece["id"]), piece["text"]) == piece["text"]
                assert 0 <= piece["id"] < scene["recorded"]["n_vocab"]


def test_recorded_distributions_hold_together(deck: dict[str, Any]) -> None:
    found = [scene["recorded"] for scene in deck["scenes"] if scene["show"] in ("logits", "softmax", "distribution")]
    assert len(found) == 5
    for recorded in found:
        logits = [token["logit"] for token in recorded["tokens"]]
        model, *others = recorded["stages"]
        assert logits == sorted(logits, reverse=True)
        assert recorded["lowest"]["logit"] <= logits[-1]
        for logit, p in zip(logits, model["probabilities"], strict=True):
            assert math.log(p / model["probabilities"][0]) == pytest.approx(logit - logits[0], abs=1e-4)
        for stage in recorded["stages"]:
            assert sum(stage["probabilities"]) + stage["others"] == pytest.approx(1, abs=1e-5)
        for before, stage in zip(recorded["stages"], others, strict=False):
            if stage["name"] in ("top_k", "top_p"):
                assert stage["probabilities"][0] == pytest.approx(
                    before["probabilities"][0] / (1 - stage["removed_mass"]), rel=1e-4
                )
        dart = recorded["dart"]
        assert dart["from"] - 1e-6 <= dart["u"] < dart["to"] + 1e-6
        bar = dart["bar"]
        assert [part["from"] for part in bar] == pytest.approx([0, *(part["to"] for part in bar[:-1])], abs=1e-5)


def test_recorded_texts_hold_together(deck: dict[str, Any]) -> None:
    (greedy,) = [scene["recorded"] for scene in deck["scenes"] if scene["show"] == "text"]
    assert {(token["rank"], token["u"]) for token in greedy["tokens"]} == {(0, None)}
    assert all(token["logprob"] == token["raw_logprob"] < 0 for token in greedy["tokens"])
    (search,) = [scene["recorded"] for scene in deck["scenes"] if scene["show"] == "beams"]
    seen: set[tuple[int, ...]] = set()
    live: list[tuple[int, ...]] = [()]
    for step in search["steps"]:
        paths = {name: [(*live[h["parent"]], h["id"]) for h in step[name]] for name in ("live", "finished", "pruned")}
        seen.update(path for found in paths.values() for path in found)
        live = paths["live"]
    assert {tuple(path["ids"]) for path in search["best"]} <= seen
    logprobs = [path["logprob"] for path in search["best"]]
    assert logprobs == sorted(logprobs, reverse=True)
    assert logprobs[0] >= search["beside"]["drawn"]["logprob"]


def test_what_training_changes_and_the_sizes(deck: dict[str, Any]) -> None:
    training, sizes = (scene["recorded"] for scene in deck["scenes"][-2:])
    steps = [sample["step"] for sample in training["samples"]]
    assert len(steps) >= 3
    assert steps == sorted(set(steps))
    assert all(sample["text"].startswith(training["prompt"]) for sample in training["samples"])
    assert training["samples"][0]["val_loss"] > training["samples"][-1]["val_loss"]
    counted = {
        size["name"]: (size["n_layer"], size["n_head"], size["n_embd"], size["n_params"]) for size in sizes["sizes"]
    }
    assert counted == {name: (c.n_layer, c.n_head, c.n_embd, c.n_params) for name, c in GPT2_SIZES.items()}


# Recording ------------------------------------------------------------------------------------------------------------


def test_a_recording_is_what_the_model_answers(home: Path) -> None:
    store = ModelStore(home, starter=None)
    model, tokenizer = store.load("little")
    recorded = {scene["show"]: scene["recorded"] for scene in Sources(store).record_all(own_deck())["scenes"]}
    prompt = tokenizer.encode("Nell and Jory")
    for data in recorded.values():
        assert [(piece["id"], piece["text"]) for piece in data["prompt"]] == [
            (id, tokenizer.decode([id])) for id in prompt
        ]
    stages = trace(next_logits(model, tokenizer, prompt), torch.tensor([prompt]), chain(0.7, 6, 1.0, 0.0, 1.3))
    for stage, found in zip(stages, recorded["distribution"]["stages"], strict=True):
        shown = [token["id"] for token in recorded["distribution"]["tokens"]]
        assert (found["name"], found["kept"]) == (stage.name, stage.kept)
        assert found["probabilities"] == pytest.approx(stage.probabilities[shown].tolist(), rel=1e-4)
    assert recorded["distribution"]["stages"][-1]["others"] == 0  # top-k left six; no rounding error in their place
    lane = Lane("", chain(0.7, 6, 1.0, 0.0, 1.3))
    events = [
        event for event in race(model, tokenizer.n_vocab, prompt, [lane], 5, 10, None) if isinstance(event, Drawn)
    ]
    assert [(token["id"], token["u"]) for token in recorded["text"]["tokens"]] == [(e.id, e.u) for e in events]
    assert joined(recorded["text"]["tokens"]) == tokenizer.decode([event.id for event in events])
    assert recorded["distribution"]["dart"]["id"] == events[0].id
    best = list(beam_search(model, prompt, 3, 8, 0.5))[-1].best
    assert [path["ids"] for path in recorded["beams"]["best"]] == [list(h.ids) for h in best]
    assert "".join(recorded["beams"]["best"][0]["texts"]) == tokenizer.decode(best[0].ids)


def test_bytes_that_are_no_characters_are_recorded_as_bytes(home: Path) -> None:
    model, tokenizer = ModelStore(home, starter=None).load("little")
    player = Player(model, tokenizer, "little", {"prompt": "\u2603"})
    assert [piece["bytes"] for piece in player.about["prompt"]] == ["e2", "98", "83"]
    assert player.piece(tokenizer.end_of_text) == {"id": tokenizer.end_of_text, "text": "<|endoftext|>"}


def test_training_is_recorded_from_samples_and_the_loss_then() -> None:
    history = History()
    train = {"sample_prompt": "prompt", "sample_temperature": 0.0}
    numbers = {"n_params": 1, "n_vocab": 9, "train_tokens": 1, "val_tokens": 1, "total_steps": 110, "total_tokens": 1}
    history.add(
        Started("run", 0, steps_per_epoch=1, tokens_per_epoch=1, device="cpu", precision="fp32",
                references={"uniform": math.log(9)}, config={"train": train}, **numbers)
    )  # fmt: skip
    with pytest.raises(UserError, match="no samples"):
        record_training(history, "run")
    for step in range(0, 110, 5):
        history.add(Evaluated(step, 0, 0.0, 3.0, 4 - step / 100))
        if step % 10 == 0:
            history.add(Sampled(step + 2, 0.0, f"prompt and {step}"))  # after the evaluation
    recorded = record_training(history, "run")
    assert [(s["step"], s["val_loss"]) for s in recorded["samples"]] == [
        (2, 4.0), (22, 3.8), (52, 3.5), (82, 3.2), (102, 3.0),
    ]  # fmt: skip
    assert (recorded["run"], recorded["prompt"], recorded["uniform"]) == ("run", "prompt", 2.19722)


def test_the_command_fills_a_deck(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("GPT_DEMO_HOME", str(home))
    path = tmp_path / "deck.json"
    text = json.dumps({**own_deck(), "author": HOSTILE})
    path.write_text(text)
    assert scenes.main([str(path)]) == 0
    assert "7 beams: little" in capsys.readouterr().out
    filled = read_deck(path)
    assert filled["author"] == HOSTILE
    assert all(scene["recorded"]["model"] == "little" for scene in filled["scenes"])
    before = path.read_bytes()
    assert scenes.main([str(path), "--model", "little"]) == 0
    assert path.read_bytes() == before
    for wrong in (["--model", "none"], ["--run", "none"]):
        assert scenes.main([str(path), *wrong]) == 2
        assert "There is no" in capsys.readouterr().err
        assert path.read_bytes() == before
    for broken in ('{"scenes": []}', "[]", "{", '{"scenes": [{"title": 1, "state": {}}]}'):
        path.write_text(broken)
        assert scenes.main([str(path)]) == 2
        assert "is not a deck" in capsys.readouterr().err
    with pytest.raises(UserError, match="can't be read"):
        read_deck(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "state",
    [
        {"seed": -1},
        {"length": "x"},
        {"steps": [{"name": "rm"}]},
        {"steps": [{"name": "top_k", "value": -5}]},
        {"steps": 3},
    ],
)
def test_a_state_that_can_not_be_recorded_gives_a_sentence(home: Path, state: dict[str, Any]) -> None:
    deck = {"title": "", "scenes": [{"title": HOSTILE, "show": "text", "state": {"prompt": "", **state}}]}
    with pytest.raises(UserError):
        Sources(ModelStore(home, starter=None)).record_all(deck)


def test_a_deck_is_written_as_it_was_read() -> None:
    scene = {
        "title": HOSTILE,
        "note": '"@recorded 0@"',
        "show": "text",
        "state": {},
        "recorded": {"a": '"@recorded 0@"'},
    }
    deck = {"title": "\ud800", "scenes": [scene, scene]}
    assert json.loads(to_json(deck)) == deck
