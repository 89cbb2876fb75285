"""Recordings for the presenter: a model's results, written into a deck, so that a scene plays without its model.

    python -m gpt_demo.presenter.scenes assets/scenes.json [--model NAME] [--run NAME]

A deck is {"title", "scenes": [{"title", "note", "show", "state", "recorded"}, ...]}. `state` is the Playground's
(assets/playground/core.js); `show` determines how the scene is drawn (assets/presenter/stage.js) and what is recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_demo.errors import UserError
from gpt_demo.paths import ASSETS, data_home
from gpt_demo.presenter.recordings import OF_A_MODEL, Player, Record, record_sizes, record_training
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import STARTER, ModelStore


def default_deck() -> Record:
    """The deck that comes with the app."""
    return read_deck(ASSETS / "scenes.json")


def read_deck(path: Path) -> Record:
    """The deck in a file. Raises UserError if it is not a deck."""
    try:
        deck = json.loads(path.read_text(encoding="utf-8"))
        scenes = deck["scenes"]
        if not scenes or not all(isinstance(scene["title"], str) and "state" in scene for scene in scenes):
            raise ValueError("a scene needs a title and a state")
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is not a deck: it must be {{"title", "scenes": [...]}} ({error}).') from error
    found: Record = deck
    return found


@dataclass(frozen=True)
class Sources:
    """The sources: a model for all scenes (None: the one each names), and a run for the scenes on training."""

    store: ModelStore
    model: str | None = None
    run: RunFolder | None = None

    def record(self, scene: Mapping[str, Any]) -> Record:
        """The scene's new recording; the old one if the show has no numbers or no run is given."""
        show, state = scene.get("show", "text"), scene["state"]
        before: Record = scene.get("recorded", {})
        if show == "sizes":
            return record_sizes()
        if show == "training" and self.run is not None:
            return record_training(self.run.history(), self.run.name)
        if show not in OF_A_MODEL:
            return before
        name = self.model or state.get("model") or STARTER
        player = Player(*self.store.load(name), name, state)
        try:
            return OF_A_MODEL[show](player)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"The scene {scene['title'][:80]!r} has an invalid state: {error!r}. Correct it."
            ) from error

    def record_all(self, deck: Record) -> Record:
        """The deck with new recordings."""
        return {**deck, "scenes": [{**scene, "recorded": self.record(scene)} for scene in deck["scenes"]]}


def to_json(deck: Record) -> str:
    """JSON with the hand-written parts on separate lines and each recording on one line."""
    scenes = []
    for scene in deck["scenes"]:
        head = json.dumps({key: value for key, value in scene.items() if key != "recorded"}, indent=1)
        recorded = json.dumps(scene.get("recorded", {}), separators=(",", ":"))
        scenes.append(f'{head[:-2]},\n "recorded": {recorded}\n}}')
    rest = json.dumps({key: value for key, value in deck.items() if key != "scenes"}, indent=1)
    return f'{rest[:-2]},\n"scenes": [\n' + ",\n".join(scenes) + "\n]}\n"


def main(argv: list[str] | None = None) -> int:
    """The command; exit code 0: done, 2: bad input, with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m gpt_demo.presenter.scenes", description="Update the recordings of a deck."
    )
    parser.add_argument("deck", type=Path, help="the JSON file, updated in place")
    parser.add_argument("--model", help="the stored model to record; default: the one each scene names")
    parser.add_argument("--run", help="the run whose samples the training scenes show; default: keep the recorded ones")
    options = parser.parse_args(argv)
    try:
        run = Runs(data_home(), see_all=True).get(options.run) if options.run else None
        sources = Sources(ModelStore(data_home(), see_all=True), options.model, run)
        deck = sources.record_all(read_deck(options.deck))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    fresh = options.deck.with_suffix(".new")
    fresh.write_text(to_json(deck), encoding="utf-8")
    fresh.replace(options.deck)
    for i, scene in enumerate(deck["scenes"], start=1):
        print(f"{i:2} {scene['title']}: {scene['recorded'].get('model') or scene['recorded'].get('run') or 'no model'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
