"""The generator of the starter's stories."""

from __future__ import annotations

import random
import re
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest

from stories.__main__ import main
from stories.cast import draw_cast, lists, table
from stories.grammar import read_beats, read_phrases, read_table
from stories.starter import SEED
from stories.write import END, grammar, joined, plots, stories

# sha256 of the first 200 stories of the starter's text
READ_BY_THE_STARTER = "dfbdb9d23b677d0f7a82321c6064227eb69879a294dfdc9e038601c9781d766b"

NAMES = {row["name"] for row in table("characters")}


@pytest.fixture(scope="module")
def some() -> list[str]:
    return list(stories(600, 7))


def test_the_starter_has_read_these_stories() -> None:
    """Who changes the grammar makes the starter again, and puts the new sum here: `python -m stories starter`."""
    assert sha256(joined(stories(200, SEED)).encode()).hexdigest() == READ_BY_THE_STARTER


def test_a_seed_gives_its_stories_and_more_begin_with_them(some: list[str]) -> None:
    assert list(stories(50, 7)) == some[:50]
    assert not set(stories(50, 8)) & set(some)
    assert len(set(some)) == 600


def test_the_command_writes_them(tmp_path: Path, some: list[str]) -> None:
    assert main(["text", str(tmp_path / "out.txt"), "--stories", "5", "--seed", "7"]) == 0
    text = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert text == joined(some[:5])
    assert text.split(END) == ["", *(f"{story}\n" for story in some[:5])]


@pytest.mark.parametrize("name", sorted(plots()))
def test_every_line_of_a_plot_can_be_told(name: str) -> None:
    for beat in plots()[name]:
        for line in beat:
            for seed in range(6):
                rng = random.Random(seed)
                told = grammar().story([[line]], draw_cast(rng), rng)
                assert not set("{}<>[]|") & set(told), line
                assert "  " not in told
                assert told[:1] == told[:1].upper()
                assert line == "-" or line.startswith("<") or told.endswith((".", '."', "!", '!"', "?", '?"')), line


def test_every_phrase_is_used() -> None:
    files = [*Path("stories/plots").glob("*.txt"), Path("stories/words/phrases.txt")]
    used = set(re.findall(r"<(\w+)>", "".join(path.read_text(encoding="utf-8") for path in files)))
    assert used == set(grammar().phrases)


def test_characters_keep_their_names(some: list[str]) -> None:
    for story in some:
        found = re.findall(r"[A-Z][a-z]+", story)
        people = [name for name in found if name in NAMES]
        assert len(set(people)) <= 3
        assert people.count(people[0]) >= 4
        sentences = re.split(r"(?<=[.!?]) ", story)
        named = [bool(set(re.findall(r"[A-Z][a-z]+", sentence)) & NAMES) for sentence in sentences]
        assert sum(named) >= 0.4 * len(named)


def test_there_is_room_for_chance(some: list[str]) -> None:
    assert len(plots()) >= 12
    assert len(NAMES) >= 12
    assert len({word for story in some for word in re.findall(r"[a-z]+", story)}) > 800
    for plot in plots().values():
        assert sum(len(beat) > 1 for beat in plot) >= 6


def test_held_out_stories_were_not_read(some: list[str]) -> None:
    """Names aside: no story has another's words with other people in it."""
    bare = [re.sub("|".join(NAMES), "?", story) for story in some]
    assert not set(bare[:500]) & set(bare[500:])


def test_words_have_their_articles() -> None:
    rng = random.Random(1)
    text = " ".join(islice(stories(600, 3), None))
    assert not re.findall(r"\b[Aa] [aeiou]\w*", text)
    assert not re.findall(r"\b(?:[Aa]n?|[Tt]he) (?:an?|the)\b", text)
    cast = draw_cast(rng)
    assert cast["young"]["the"] == f"the {cast['young']['bare']}"
    assert set(lists()) == {"family", "neighbor", "young"}


def test_files_are_read_without_their_comments(tmp_path: Path) -> None:
    (tmp_path / "plot.txt").write_text("# what it is\nOne {hero}.\n> Two.\n\n\n-\n<glad>\n")
    assert read_beats(tmp_path / "plot.txt") == [["One {hero}.", "> Two."], ["-", "<glad>"]]
    (tmp_path / "phrases.txt").write_text("# x\nglad:\nhappy\nso glad\n\nsad:\nlow\n")
    assert read_phrases(tmp_path / "phrases.txt") == {"glad": ["happy", "so glad"], "sad": ["low"]}
    (tmp_path / "table.txt").write_text("# x\nname | a\nn | 1, 2\n")
    assert read_table(tmp_path / "table.txt") == [{"name": "n", "a": "1, 2"}]
