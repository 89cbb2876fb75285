"""The small views (assets/page/views.js) in a browser without the app, and their data (ui/train/snapshot.py)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import tiny_config
from drawn import HOSTILE, bare_page, draw, draw_json
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from gpt_demo import format as numbers
from gpt_demo.events import Evaluated, Evaluating, Event, Finished, Sampled, Started, Stepped
from gpt_demo.runs.runs import RunFolder
from gpt_demo.training.config import EXPLANATIONS
from gpt_demo.training.history import History
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.train.snapshot import chart_snapshot, differences, samples_data, seconds_left, short, status_data
from gpt_demo.ui.views import page_json, view

pytest_plugins = ["browser", "drawn"]


def started(**changes: Any) -> Started:
    values: dict[str, Any] = {
        "run": "r", "step": 0, "total_steps": 100, "steps_per_epoch": 10, "tokens_per_epoch": 640, "total_tokens": 6400,
        "n_params": 12345, "n_vocab": 257, "train_tokens": 700, "val_tokens": 70, "device": "cpu", "precision": "fp32",
        "references": {"uniform": math.log(257)}, "config": tiny_config().to_dict(),
    }  # fmt: skip
    return Started(**{**values, **changes})


def history(*events: Event, steps: int = 0) -> History:
    told = History()
    for event in (*events, *(Stepped(i, 64 * i + 64, 3.14159265, 1e-3 / 3, 1.0, 1000.0) for i in range(steps))):
        told.add(event)
    return told


def folder(tmp_path: Path, message: str = "") -> RunFolder:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text(json.dumps({"status": "paused", "message": message}))
    return RunFolder(tmp_path / "r")


# Data -----------------------------------------------------------------------------------------------------------------


def test_nothing_divides_by_zero() -> None:
    told = history(started(tokens_per_epoch=0, total_steps=0), Evaluated(0, 64, math.nan, 3.0, math.nan), steps=2)
    snapshot = json.loads(page_json(chart_snapshot([("r", told)])))
    assert snapshot["tokens_per_epoch"] is None
    assert snapshot["runs"][0]["stepped"]["epoch"] == [None, None]
    assert seconds_left(history(started())) == math.inf
    assert chart_snapshot([])["runs"] == []
    assert chart_snapshot([("empty", History())])["runs"][0]["best"] is None


@given(st.floats() | st.integers() | st.none())
def test_numbers_are_sent_short_and_near(value: float | None) -> None:
    sent = short(value)
    if value is None or not math.isfinite(value) or float(value).is_integer():
        assert sent is value or sent == value or (sent != sent and value != value)
    else:
        assert sent == pytest.approx(value, rel=1e-4)
        assert len(re.sub(r"e.*|[-.]|^0\.0*", "", repr(sent)).strip("0")) <= 5


def test_a_snapshot_is_small_however_long_the_run() -> None:
    told = history(started(), *(Evaluated(i, i, i / 7, 3 + i / 7e5, 4 - i / 7e5) for i in range(5000)), steps=5000)
    size = len(page_json(chart_snapshot([("now", told), *[(f"past {i}", told) for i in range(3)]])))
    assert size < 100_000
    assert len(page_json(chart_snapshot([("now", told)]))) < 50_000


def test_the_best_and_where_overfitting_begins() -> None:
    losses = [5.0, 3.0, 3.1, 3.2, 3.3]
    told = history(started(), *(Evaluated(i, 64 * i + 64, i / 10, 2.0, loss) for i, loss in enumerate(losses)), steps=5)
    run = chart_snapshot([("r", told)])["runs"][0]
    assert run["best"] == run["overfit_from"] == {"step": 1, "tokens": 128, "epoch": 0.1, "val_loss": 3.0}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("waiting", "starts after it"),
        ("paused", "Resume continues exactly"),
        ("stopped", "the model is kept"),
        ("interrupted", "Resume continues from its last checkpoint"),
        ("finished", "Finished in 1 min 1 s. The model is ready"),
        ("running", ""),
    ],
)
def test_every_state_says_what_it_means(tmp_path: Path, status: Any, words: str) -> None:
    told = history(started(), Finished(100, 6400, 61.0, "done", 1.0, 2.0, 3, 2.0), steps=2)
    data = status_data(folder(tmp_path), told, status)
    assert words in data["message"]
    assert len(data["facts"]) == len(status_data(RunFolder(tmp_path / "r"), History(), status)["facts"])
    assert data["fraction"] == 0.02
    assert ("left" in data["label"]) == (status == "running")


RULERS = {"uniform": 6.9, "unigram": 5.72, "bigram": 4.17}


@pytest.mark.parametrize(
    ("losses", "reason", "words"),
    [
        (
            (6.8, 4.21, 4.5),
            "patience",
            "Ended after 3 of 600 steps and 1 min 1 s: no lower validation loss in 2",
        ),
        (
            (6.8, 4.21, 4.5),
            "done",
            "best model is r-best, step 1: validation loss 4.21 (at the end: 4.50).",
        ),
        ((6.8, 4.3, 4.21), "done", "That is no better than counting pairs of tokens, which reaches 4.17 on the same"),
        ((6.8, 6.0, 5.9), "done", "That is no better than counting single tokens, which reaches 5.72 on the same"),
    ],
)
def test_a_finished_run_says_how_it_came_out(
    tmp_path: Path, losses: tuple[float, ...], reason: str, words: str
) -> None:
    begun = started(references=RULERS, total_steps=600, config={"train": {"patience": 2}})
    told = history(begun, *(Evaluated(i, 64, 0.1, 1.0, loss) for i, loss in enumerate(losses)), steps=3)
    told.add(Finished(3, 192, 61.0, reason, 1.0, losses[-1], 1, min(losses)))
    assert words in status_data(folder(tmp_path), told, "finished")["message"]


def test_a_run_that_beats_counting_has_nothing_to_confess(tmp_path: Path) -> None:
    told = history(started(references=RULERS), Evaluated(0, 64, 0.1, 1.0, 3.9), steps=1)
    told.add(Finished(1, 64, 61.0, "done", 1.0, 3.9, 0, 3.9))
    message = status_data(folder(tmp_path), told, "finished")["message"]
    assert message == "Finished in 1 min 1 s. The model is ready. Try it in the Playground."


def test_the_time_left_counts_evaluations_and_samples() -> None:
    settings = {"train": {"eval_interval": 20, "sample_interval": 50}}
    begun = started(total_steps=100, config=settings)
    only_steps = seconds_left(history(begun, steps=10))
    told = history(begun, Evaluated(0, 64, 0.1, 1.0, 3.0, seconds=7.0), Sampled(0, 0.1, "a", seconds=3.0), steps=10)
    assert only_steps == pytest.approx(90 * 64 / 1000)
    assert seconds_left(told) == pytest.approx(only_steps + 5 * 7 + 2 * 3)  # at 20, 40, 60, 80, the end; at 50, the end


def test_an_evaluation_shows_that_it_is_going_on(tmp_path: Path) -> None:
    told = history(started(), Evaluating(0, 250, 1000))
    assert status_data(folder(tmp_path), told, "running")["label"].endswith("evaluating: 25%")


def test_a_loss_of_a_part_of_the_text_says_so(tmp_path: Path) -> None:
    told = history(started(val_tokens=300_000, eval_tokens=7_040), steps=1)
    facts = {name: meaning for name, _, meaning in status_data(folder(tmp_path), told, "running")["facts"]}
    assert facts["validation loss"] == "nats per token, on 7,040 of the 300,000 tokens that are never trained on"


def test_the_best_model_writes_first() -> None:
    told = history(started(tokens_per_epoch=128), Sampled(2, 1.5, "the last"), steps=3)
    told.add(Finished(3, 192, 61.0, "done", 1.0, 4.5, 1, 4.2, best_sample="the best"))
    assert [(one["step"], one["epoch"], one["text"]) for one in samples_data(told)] == [
        ("1, the best model", "1.0", "the best"), ("2", "1.5", "the last"),
    ]  # fmt: skip


def test_a_failure_is_told_in_the_words_of_the_page(tmp_path: Path) -> None:
    data = status_data(folder(tmp_path, "Try a lower learning_rate."), History(), "failed")
    assert data["message"] == 'Try a lower "Learning rate".'
    for name, (label, _) in EXPLANATIONS.items():
        assert in_words(f"a {name} of 3") == (f'a "{label}" of 3' if "_" in name else f"a {name} of 3")


def test_differences_are_what_is_not_the_same() -> None:
    one, other = started(), started(config=tiny_config(n_embd=64, tied_head=False).to_dict(), train_tokens=900)
    evaluated = Evaluated(9, 640, 1.0, 2.5, 2.75)
    table = differences([("one", history(one, evaluated, steps=10)), ("other", history(other)), ("new", History())])
    assert table["head"] == ["", "one", "other"]
    assert {row[0]: row[1:] for row in table["rows"]} == {
        "Width": ["32", "64"],
        "Tied head": ["yes", "no"],
        "Training tokens": ["700", "900"],
        "Steps done": ["10", "0"],
        "Last validation loss": ["2.75", "\N{EN DASH}"],
        "Best validation loss": ["2.75 at step 9", "\N{EN DASH}"],
    }


def test_samples_come_newest_first() -> None:
    told = history(started(), *(Sampled(i, i / 2, f"text {i}") for i in range(50)))
    samples = samples_data(told)
    assert [sample["step"] for sample in samples[:2]] == ["49", "48"]
    assert len(samples) == 40


def test_formats() -> None:
    assert [numbers.duration(s) for s in (0, 59.4, 61, 3600, 7300, math.inf)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 1 min", "unknown",
    ]  # fmt: skip
    assert [numbers.size(b) for b in (1e3, 5.55e6, 2e8, 1.2e9)] == ["0.0 MB", "5.5 MB", "200 MB", "1.2 GB"]
    assert [numbers.count(n) for n in (0, 12345, 1.24e6, 1.5e9)] == ["0", "12,345", "1.2 million", "1.50 billion"]
    assert [numbers.number(x) for x in (None, math.nan, 1234.567)] == ["\N{EN DASH}", "\N{EN DASH}", "1,234.57"]


def test_templates_are_constant() -> None:
    component = view("table", {"head": [HOSTILE], "rows": []}, elem_id="x")
    assert component.html_template == '<div class="view"></div>'
    assert "<" not in component.value
    assert json.loads(component.value)["data"]["head"] == [HOSTILE]


# Drawing --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(chromium: Browser) -> Iterator[Page]:
    with bare_page(chromium) as page:
        yield page


STATUS: dict[str, Any] = {
    "name": HOSTILE, "state": "running", "step": 3, "fraction": 0.425, "label": "step 3 of 7", "message": "",
    "facts": [["training loss", "1.00", "hint"]],
}  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize("name", ["preview", "plan", "status", "samples", "table"])
def test_nothing_and_nonsense_are_drawn(page: Page, name: str) -> None:
    draw(page, name, None)
    draw_json(page, name, "{broken")


@pytest.mark.browser
def test_hostile_text_is_text(page: Page) -> None:
    facts = [[HOSTILE, HOSTILE, HOSTILE]]
    for name, data in (
        ("preview", {"facts": facts, "tokens": 1, "fault": HOSTILE, "pieces": [[1, HOSTILE]], "more": True}),
        ("preview", {"error": HOSTILE}),
        ("preview", {"note": HOSTILE}),
        ("plan", {"facts": facts, "schedule": {"values": [1], "label": HOSTILE}}),
        ("plan", {"error": HOSTILE}),
        ("status", {**STATUS, "label": HOSTILE, "facts": facts, "message": HOSTILE}),
        ("samples", [{"step": HOSTILE, "epoch": HOSTILE, "prompt": "<img", "text": HOSTILE}]),
        ("table", {"head": ["", HOSTILE], "rows": [[HOSTILE, HOSTILE]]}),
    ):
        expect(draw(page, name, data)).to_contain_text(HOSTILE.replace(" ", "\u00b7") if "pieces" in data else HOSTILE)


@pytest.mark.browser
def test_invisible_characters_are_shown(page: Page) -> None:
    pieces = [[1, "a b\t\r\n"], [2, "\x00\x7f\u200b\u202e"]]
    root = draw(page, "preview", {"facts": [], "fault": "", "tokens": 2, "pieces": pieces, "more": False})
    shown = root.locator(".token").all_text_contents()
    assert shown == ["a\u00b7b\u21e5\u240d\u21b5", "<U+0000><U+007F><U+200B><U+202E>"]
    assert root.locator("br").count() == 1


@pytest.mark.browser
def test_a_status_is_changed_in_place_and_told_in_the_title(page: Page) -> None:
    root = draw(page, "status", STATUS)
    expect(page).to_have_title(f"42 % {HOSTILE} \N{EN DASH} Page")
    page.evaluate("document.querySelector('.facts dd').mark = 1")
    draw(page, "status", {**STATUS, "state": "finished", "fraction": 1, "facts": [["training loss", "0.50", "hint"]]})
    expect(root.locator("dd")).to_have_text("0.50")
    assert page.evaluate("document.querySelector('.facts dd').mark") == 1
    expect(page).to_have_title(f"{HOSTILE} finished \N{EN DASH} Page")
    draw(page, "status", {**STATUS, "name": "another", "state": "paused"})
    expect(page).to_have_title("Page")  # a run that this page has not watched is no news
    expect(root.get_by_role("status")).to_have_text("The run another is paused.")


@pytest.mark.browser
def test_samples_stay_where_they_are_read(page: Page) -> None:
    page.add_style_tag(content=".samples { height: 100px; overflow-y: auto }")
    samples = [{"step": f"{i}", "epoch": "1", "prompt": "", "text": f"text {i} " * 30} for i in range(20, 0, -1)]
    root = draw(page, "samples", samples[1:])
    box = root.locator(".samples")
    box.evaluate("e => e.scrollTop = 200")
    top = root.locator("li", has_text="text 15 ").bounding_box()
    draw(page, "samples", samples)
    assert root.locator("li").count() == 20
    assert root.locator("li", has_text="text 15 ").bounding_box() == top
    box.evaluate("e => e.scrollTop = 0")
    draw(page, "samples", [{**samples[0], "step": "21"}, *samples])
    assert box.evaluate("e => e.scrollTop") == 0


@pytest.mark.browser
def test_a_table_names_its_rows_and_columns(page: Page) -> None:
    root = draw(page, "table", {"head": ["", "one"], "rows": [["Width", "32"]]})
    expect(root.get_by_role("rowheader")).to_have_text("Width")
    expect(root.get_by_role("columnheader")).to_have_text("one")
    expect(draw(page, "table", {"head": [], "rows": [], "note": "Nothing yet."})).to_have_text("Nothing yet.")
