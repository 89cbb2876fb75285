"""The notation of the plots, and how a line of it becomes text.

A plot is a file of beats, one after the other, with a blank line between them. The lines of a beat are alternatives:
a story takes one of them. A line `-` is a beat that may be left out; one that begins with `>` begins a paragraph.

    {hero}, {hero.kind}      what the story's cast says (see stories.cast): the same every time within a story
    <glad>                   one of the lines under `glad:` in words/phrases.txt, which may hold more of all this
    [one day|one morning]    one of these
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
Beat = Sequence[str]  # alternatives

_CHOICE = re.compile(r"\[([^][]*)\]")
_PHRASE = re.compile(r"<(\w+)>")
_SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_TAG = "said|asked|cried|called|whispered|answered|shouted|laughed|thought"  # what may follow a quotation
_SENTENCE = re.compile(rf'(^|\n|[.!?] |[.!?]" (?!{_TAG}))("?)([a-z])')
_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def lines_of(path: Path) -> list[str]:
    """The lines of a file without comments (`#`) and blanks at their ends."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def read_beats(path: Path) -> list[Beat]:
    """The beats of a plot."""
    blocks = "\n".join(lines_of(path)).split("\n\n")
    return [[*filter(None, block.split("\n"))] for block in blocks if block.strip()]


def read_phrases(path: Path) -> dict[str, list[str]]:
    """The lines under each `name:`."""
    phrases: dict[str, list[str]] = {}
    name = ""
    for line in filter(None, lines_of(path)):
        if re.fullmatch(r"\w+:", line):
            name = line[:-1]
            phrases[name] = []
        else:
            phrases[name].append(line)
    return phrases


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table whose first line names its columns; cells are separated by `|`."""
    head, *rows = ([cell.strip() for cell in line.split("|")] for line in filter(None, lines_of(path)))
    return [dict(zip(head, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class Grammar:
    """The phrases and how they are filled in."""

    phrases: Mapping[str, Sequence[str]]

    def expand(self, text: str, cast: Mapping[str, Mapping[str, str]], rng: random.Random) -> str:
        """One line of a plot as text. KeyError where it names what there isn't."""
        while found := _PHRASE.search(text) or _CHOICE.search(text):
            choices = self.phrases[found[1]] if found.re is _PHRASE else found[1].split("|")
            text = text[: found.start()] + rng.choice(choices) + text[found.end() :]
        return _SLOT.sub(lambda slot: cast[slot[1]][slot[2] or "name"], text)

    def story(self, beats: Sequence[Beat], cast: Mapping[str, Mapping[str, str]], rng: random.Random) -> str:
        """A whole story: one alternative of every beat, paragraphs on lines of their own."""
        text = ""
        for beat in beats:
            line = self.expand(rng.choice(beat), cast, rng)
            if line != "-":
                text += ("\n" + line[1:].strip() if line.startswith(">") else " " + line) if text else line.lstrip("> ")
        return polish(text)


def polish(text: str) -> str:
    """Single blanks, "an" before a vowel, and a capital letter at the beginning of every sentence."""
    text = re.sub(r",+", ",", re.sub(r" +", " ", text).strip())
    text = _BEFORE_VOWEL.sub(r"\1n ", text)
    return _SENTENCE.sub(lambda found: found[1] + found[2] + found[3].upper(), text)
