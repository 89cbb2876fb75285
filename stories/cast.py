"""Who and what a story is about: drawn once, so that everything keeps its name to the end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache

from stories.grammar import HERE, lines_of, read_table

Cast = Mapping[str, Mapping[str, str]]
FORMS = {"she": ("her", "her", "herself"), "he": ("his", "him", "himself")}  # his, him, himself
WORDS = HERE / "words"


@cache
def table(name: str) -> list[dict[str, str]]:
    """The rows of words/NAME.txt."""
    return read_table(WORDS / f"{name}.txt")


@cache
def lists() -> dict[str, list[str]]:
    """The lists of words/others.txt."""
    pairs = (line.split(":") for line in filter(None, lines_of(WORDS / "others.txt")))
    return {name: [word.strip() for word in words.split(",")] for name, words in pairs}


def draw_cast(rng: random.Random) -> Cast:
    """Every part that a plot may ask for."""
    hero, friend, third = _people(rng)
    place, far = rng.sample(table("places"), 2)
    thing, other = rng.sample(table("things"), 2)
    return {
        "hero": hero,
        "friend": friend,
        "third": third,
        "place": _with_one(rng, place, "hide", "find"),
        "far": _with_one(rng, far, "hide", "find"),
        "thing": _colored(rng, thing),
        "other": _colored(rng, other),
        "food": rng.choice(table("foods")),
        **{name: _member(rng.choice(words)) for name, words in lists().items()},
    }


def _people(rng: random.Random) -> list[dict[str, str]]:
    """Three characters, with the other forms of he and she."""
    people = []
    for row in rng.sample(table("characters"), 3):
        his, him, himself = FORMS[row["he"]]
        people.append({**row, "his": his, "him": him, "himself": himself})
    return people


def _with_one(rng: random.Random, row: Mapping[str, str], *columns: str) -> dict[str, str]:
    """The row with one of the words in each of these columns, and that word without its article under `bare`."""
    chosen = {column: rng.choice(row[column].split(", ")) for column in columns}
    return {**row, **chosen, "bare": _member(chosen[columns[-1]])["bare"]}


def _colored(rng: random.Random, row: Mapping[str, str]) -> dict[str, str]:
    color = rng.choice(row["colors"].split(", "))
    return {**row, "color": color, "full": f"{color} {row['name']}"}


def _member(word: str) -> dict[str, str]:
    """A word with its bare form: "a lamb" is spoken of as "the lamb" later."""
    bare = word.split(" ", 1)[1] if word.startswith(("a ", "an ", "the ")) else word
    return {"name": word, "bare": bare, "the": f"the {bare}"}
