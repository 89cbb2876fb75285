"""The views of the Compare tab (assets/compare/views.js, compare/contrast.js) in a browser without the app."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from drawn import HOSTILE, bare_page, draw, draw_json
from playwright.sync_api import Browser, Locator, Page, expect

from gpt_demo.compare.contrast import Contrast, Segment
from gpt_demo.ui.compare.contrast import contrast_data

pytest_plugins = ["browser", "drawn"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(chromium: Browser) -> Iterator[Page]:
    with bare_page(chromium, ("page/page.css", "compare/compare.css")) as page:
        yield page


def row(model: str, train: float | None, val: float | None, reported: float | None = None) -> dict[str, Any]:
    return {
        "model": model, "vocabulary": 50257, "train_loss": train, "val_loss": val, "train_perplexity": 33.115,
        "val_perplexity": None, "bits_per_byte": 1.25, "tokens": 5144, "reported_loss": reported,
    }  # fmt: skip


def losses(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"rows": list(rows), "text": "The Verdict", "measured": 20479, "of": 20479, "mixed": False, **changes}


def contrasted(*segments: Segment, names: tuple[str, str] = ("one", "other")) -> dict[str, Any]:
    return contrast_data(names, Contrast(segments, (7, 1234), (2.5, 3.25), (12.18, 1025.79), (1.5, math.nan)))


def segment(text: str, first: float, second: float, divergence: float | None = None) -> Segment:
    return Segment(text, (first, second), (1, 2), divergence)


@pytest.mark.parametrize("name", ["work", "completions", "losses", "contrast"])
def test_nothing_and_nonsense_are_drawn(page: Page, name: str) -> None:
    draw(page, name, None)
    draw_json(page, name, "{broken")


def test_hostile_text_is_text(page: Page) -> None:
    cells = {"models": [HOSTILE], "failed": [False], "prompts": [HOSTILE], "rows": [[[HOSTILE, -1.0, 3]]]}
    for name, data in (
        ("work", {"text": HOSTILE, "fraction": 0.5, "state": "running", "troubles": [HOSTILE]}),
        ("completions", cells),
        ("losses", losses(row(HOSTILE, 1.0, 2.0), text=HOSTILE)),
        ("contrast", contrasted(segment(HOSTILE, -1, -9), names=(HOSTILE, HOSTILE))),
    ):
        expect(draw(page, name, data)).to_contain_text(HOSTILE)


def test_the_state_of_the_work_is_told(page: Page) -> None:
    root = draw(page, "work", {"text": "one: 3 of 7", "fraction": 0.25, "state": "running", "troubles": []})
    expect(root).to_have_attribute("data-state", "running")
    expect(root.get_by_role("status")).to_have_text("one: 3 of 7")
    assert root.locator("progress").evaluate("e => e.value") == 0.25
    draw(page, "work", {"text": "No.", "fraction": 0, "state": "failed", "troubles": []})
    expect(root.locator("progress")).to_be_hidden()


def test_long_words_do_not_push_a_model_out_of_sight(page: Page) -> None:
    word = "levelsRegisteradiaRegisterRegister"
    data = {
        "models": ["one", "two", "three"], "failed": [False] * 3, "prompts": ["The sun rises in the"],
        "rows": [[[" the brass, and", -0.5, 4], [f" {word}", -0.5, 4], [f" {word}", -0.5, 4]]],
    }  # fmt: skip
    root = draw(page, "completions", data)
    page.evaluate("() => { document.querySelector('#root').style.width = '740px'; }")
    last = root.locator("td").last.bounding_box()
    frame = root.bounding_box()
    assert last is not None
    assert frame is not None
    assert last["x"] + last["width"] <= frame["x"] + 740


def test_cells_come_one_by_one_and_stay(page: Page) -> None:
    data: dict[str, Any] = {
        "models": ["one", "other"], "failed": [False, False], "prompts": ["The sun is", "Go "],
        "rows": [[[" hot.\n", -0.5, 2], None], [None, None]],
    }  # fmt: skip
    root = draw(page, "completions", data)
    expect(root.locator("td").first).to_have_text("oneis hot.\u21b5\u22120.50")
    page.evaluate("document.querySelector('#root td strong').mark = 1")
    data["rows"][1][1] = ["   ", -2.0, 1]
    data["rows"][0][1] = ["", -0.1, 1]
    data["failed"] = [True, False]
    draw(page, "completions", data)
    assert page.evaluate("document.querySelector('#root td strong').mark") == 1
    expect(root.locator("td")).to_have_text(
        [
            "oneis hot.\u21b5\u22120.50",
            "otheris (ends here)\u22120.10",
            "one\u2013",
            "other\u00b7\u00b7\u00b7\u22122.00",
        ]
    )
    expect(root).to_have_attribute("data-cells", "3")


def test_bars_are_as_long_as_their_numbers(page: Page) -> None:
    root = draw(page, "losses", losses(row("gpt2-124M", 3.5, 3.0, 3.5), row("small", 1.75, None)))
    widths = [box["width"] for box in map(Locator.bounding_box, root.locator("rect").all()) if box]
    assert [width / widths[0] for width in widths] == pytest.approx([1, 3 / 3.5, 0.5], rel=0.02)
    mark = root.locator("line.reported").bounding_box()
    bar = root.locator("rect").first.bounding_box()
    assert mark is not None
    assert bar is not None
    assert mark["x"] + mark["width"] / 2 == pytest.approx(bar["x"] + bar["width"], abs=2)
    names = [picture.get_attribute("aria-label") for picture in root.get_by_role("img").all()]
    assert names == ["gpt2-124M: training 3.50, validation 3.00, reported about 3.5", "small: training 1.75"]
    assert root.locator("tbody tr").first.locator("td").all_inner_texts() == [
        "50,257", "3.50", "3.00", "33.1", "\u2013", "1.250", "5,144", "about 3.5, reported",
    ]  # fmt: skip
    root.get_by_role("button", name="Bits per byte").click()
    expect(root.locator("rect")).to_have_count(2)
    expect(root.locator("svg text").first).to_have_text("1.250")


def test_a_cut_text_and_mixed_tokenizers_are_said(page: Page) -> None:
    root = draw(page, "losses", losses(row("a", 1, 2), measured=50000, of=81234, mixed=True))
    expect(root).to_contain_text("the first 50,000 of its 81,234 characters")
    expect(root.locator(".notice")).to_contain_text("different tokenizers")


GAINS = [(-9.0, -1.0), (-3.0, -1.0), (-1.5, -1.0), (-1.0, -1.2), (-1.0, -1.5), (-1.0, -3.5), (-1.0, -5.0)]


def test_colors_tell_who_found_it_more_probable(page: Page) -> None:
    pieces = [segment(f" p{i}", *pair, 0.1 * i) for i, pair in enumerate(GAINS)]
    root = draw(page, "contrast", contrasted(*pieces))
    spans = root.get_by_role("option")
    looks = ["second-3", "second-2", "second-1", "even", "first-1", "first-2", "first-3"]
    assert [span.get_attribute("class") for span in spans.all()] == looks
    expect(root.locator(".legend")).to_contain_text("one more probable")
    root.get_by_role("button", name="other", exact=True).click()
    assert [span.get_attribute("class") for span in spans.all()] == [
        "shade-4", "shade-4", "shade-4", "shade-4", "shade-4", "shade-2", "shade-1",
    ]  # fmt: skip
    root.get_by_role("button", name="Divergence").click()
    looks = [f"js-{n}" for n in (0, 1, 2, 3, 3, 4, 5)]
    assert [span.get_attribute("class") for span in spans.all()] == looks
    draw(page, "contrast", contrasted(segment("a", -1, -2)))
    expect(root.get_by_role("button", name="Divergence")).to_have_count(0)


def test_pieces_can_be_read_by_mouse_and_keys(page: Page) -> None:
    pieces = (
        segment("Nell", math.log(0.25), math.log(0.5), 0.05),
        segment(" a\n", -15.0, -3.0, 0.6),
        segment("b", 0, 0, 0),
    )
    root = draw(page, "contrast", contrasted(*pieces))
    out, text = root.locator(".read-out"), root.get_by_role("listbox")
    expect(out).to_contain_text("choose it with the arrow keys")
    root.get_by_role("option").nth(1).hover()
    expect(out.locator("p")).to_have_text(
        [
            "\u201c\u00b7a\u21b5\u201d: 12.00 nats more probable for other; divergence 0.60",
            "one: 1 in 3.3 million (log \u221215.00, 1 token)",
            "other: 5.0 % (log \u22123.00, 2 tokens)",
        ]
    )
    text.focus()
    expect(out.locator("p").nth(1)).to_have_text("one: 25.0 % (log \u22121.39, 1 token)")
    page.keyboard.press("End")
    expect(out).to_contain_text("equally probable for both")
    expect(text).to_have_attribute("aria-activedescendant", "segment-2")
    page.keyboard.press("ArrowLeft")
    expect(root.get_by_role("option", selected=True)).to_have_text("\u00b7a\u21b5\n")


def test_a_click_finds_the_piece_that_differs_most(page: Page) -> None:
    pieces = [segment(f" word{i}", -1.0 - i, -1.0, None) for i in range(300)]
    root = draw(page, "contrast", contrasted(*pieces))
    rows = root.locator(".most tbody tr")
    expect(rows).to_have_count(10)
    assert [cell.inner_text() for cell in rows.first.locator("th, td").all()] == [
        "\u00b7word299", "e^\u2212300", "36.8 %", "+299.00",
    ]  # fmt: skip
    rows.first.get_by_role("button").click()
    chosen = root.get_by_role("option", selected=True)
    expect(chosen).to_have_text("\u00b7word299")
    box, place = root.get_by_role("listbox").bounding_box(), chosen.bounding_box()
    assert box is not None
    assert place is not None
    assert box["y"] <= place["y"]
    assert place["y"] + place["height"] <= box["y"] + box["height"]
    assert root.locator(".totals tbody tr").nth(1).locator("th, td").all_inner_texts() == [
        "other", "1,234", "3.25", "1,025.8", "\u2013",
    ]  # fmt: skip
