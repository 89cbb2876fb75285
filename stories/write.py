"""Stories by the thousand, from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cache

from stories.cast import WORDS, draw_cast
from stories.grammar import HERE, Beat, Grammar, read_beats, read_phrases

OFTEN = ("morning", "seek", "turns")  # short and full of names: three times as frequent as the other plots
END = "<|endoftext|>"  # what stands between two stories: the model's own end token


@cache
def plots() -> dict[str, list[Beat]]:
    """The plots by name."""
    return {path.stem: read_beats(path) for path in sorted((HERE / "plots").glob("*.txt"))}


@cache
def grammar() -> Grammar:
    return Grammar(read_phrases(WORDS / "phrases.txt"))


def stories(count: int, seed: int) -> Iterator[str]:
    """`count` stories, all different. The same seed gives the same stories, and more of them begin with these."""
    rng = random.Random(seed)
    names, seen = [*plots(), *2 * OFTEN], set[str]()
    while len(seen) < count:
        story = grammar().story(plots()[rng.choice(names)], draw_cast(rng), rng)
        if story not in seen:
            seen.add(story)
            yield story


def joined(texts: Iterable[str]) -> str:
    """Stories as one text for training: each begins with the end token, so that a model knows how a story begins."""
    return "".join(f"{END}{text}\n" for text in texts)
