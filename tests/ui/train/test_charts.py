"""The training chart and its figure: what is drawn, that names stay text, and the page's part in a real browser."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from browser import Visitor, launch
from node import Node, module
from playwright.sync_api import Browser, Page, expect

from gpt_demo.errors import UserError
from gpt_demo.format import compact
from gpt_demo.ui import scripts
from gpt_demo.ui.theme import theme
from gpt_demo.ui.train import figure as figure_module
from gpt_demo.ui.train.chart import EMPTY, HTML_TEMPLATE, JS_ON_LOAD, training_chart
from gpt_demo.ui.train.figure import PAST, figure, save_figure
from gpt_demo.ui.views import page_json

pytest_plugins = ["browser", "node"]
ASSETS = Path(__file__).parents[3] / "assets"
STYLES = (ASSETS / "train/chart.css").read_text(encoding="utf-8")
HOSTILE = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=2</script> ${window.hacked=3} {{value}}"
CHART = scripts.module("train/chart.js")
NUMBERS = [0.0, 1e-5, 3.94e-4, 0.00123, 0.0312, 0.0996, 0.5, 3.2149, 9.994, 9.996, 24.83, 99.94, 99.97, 634.2]
NUMBERS += [1234.4, 9999.4, 9999.7, 12345.0, 48725.82, 999_400.0, 999_600.0, 1.26e6, 480e6, 1.2e9, -2.5, -12345.0]


def make_run(name: str, steps: int = 60, current: bool = True, color_index: int = 0) -> dict[str, Any]:
    """A run of 100 tokens a step, 20 steps an epoch, evaluated every 10 steps, best at step 40."""
    at = range(steps)
    evaluated = [i for i in at if i % 10 == 0]
    val = [3.0 + abs(i - 40) / 20 for i in evaluated]
    best = min(zip(val, evaluated, strict=True), default=None)
    place = {"step": best[1], "tokens": (best[1] + 1) * 100, "epoch": best[1] / 20} if best else {}
    return {
        "name": name,
        "color_index": color_index,
        "current": current,
        "stepped": {
            "step": list(at),
            "tokens": [(i + 1) * 100 for i in at],
            "epoch": [i / 20 for i in at],
            "loss": [None if i == 5 else 6.0 * math.exp(-i / 40) for i in at],
            "learning_rate": [4e-4 * (1 - i / 100) for i in at],
            "grad_norm": [math.nan if i == 7 else 1.0 for i in at],
            "tokens_per_second": [12_345.0] * steps,
        },
        "evaluated": {
            "step": evaluated,
            "tokens": [(i + 1) * 100 for i in evaluated],
            "epoch": [i / 20 for i in evaluated],
            "train_loss": [6.0 * math.exp(-i / 50) for i in evaluated],
            "val_loss": val,
        },
        "best": {**place, "val_loss": best[0]} if best else None,
        "overfit_from": place if steps > 50 else None,
    }


def make_snapshot(*runs: dict[str, Any]) -> dict[str, Any]:
    references = {"uniform": 6.93, "unigram": 5.6, "bigram": 3.9}
    return {"runs": list(runs), "references": references, "total_tokens": 6000, "tokens_per_epoch": 2000}


# The value and the template -------------------------------------------------------------------------------------------


def test_the_template_is_constant_and_the_value_holds_no_markup() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Gradio warns of a script in a value
        chart = training_chart(make_snapshot(make_run(HOSTILE)))
    assert chart.html_template == HTML_TEMPLATE
    assert not re.search(r"\$\{|\{\{|@children|value", HTML_TEMPLATE)
    assert chart.js_on_load == JS_ON_LOAD
    assert "<" not in chart.value
    assert json.loads(chart.value)["runs"][0]["name"] == HOSTILE


def test_page_json_turns_what_is_no_number_into_null() -> None:
    value = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": None, "d": 3, "e": True}}
    assert json.loads(page_json(value)) == {
        "a": [1.5, None, [None, None]],
        "b": {"c": None, "d": 3, "e": True},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345, "12k"),
        (3.2149, "3.21"),
        (0, "0"),
        (1_260_000, "1.3M"),
        (3.94e-4, "3.9e-4"),
        (1234.4, "1,234"),
        (24.83, "24.8"),
    ],
)
def test_compact(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_compact_of_no_number_is_a_dash(value: float | None) -> None:
    assert compact(value) == "\N{EN DASH}"


# Colors --------------------------------------------------------------------------------------------------------------


SURFACES = ("#ffffff", "#1e293b")  # of Gradio's blocks under the page's theme; test_dark_mode holds the second to it


def palettes() -> list[dict[str, str]]:
    """The colors of the light and of the dark page; of one that is mixed into the surface, the result."""
    found = []
    for surface, block in zip(SURFACES, STYLES.split("}"), strict=False):
        palette = dict(re.findall(r"--tc-([\w-]+): (#\w{6});", block))
        for name, color, share in re.findall(
            r"--tc-([\w-]+): color-mix\(in srgb, (#\w{6}) (\d+)%, transparent\);", block
        ):
            palette[name] = mixed(color, surface, int(share) / 100)
        found.append({**palette, "surface": surface})
    return found


def mixed(one: str, other: str, share: float) -> str:
    parts = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in (one, other)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in zip(*parts, strict=True))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two colors."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_texts_and_lines_stand_out(palette: dict[str, str]) -> None:
    for background in (palette["surface"], palette["soft"]):
        assert min(contrast(palette[name], background) for name in ("text", "quiet")) >= 4.5
    lines = [color for name, color in palette.items() if name in ("train", "validation") or name.startswith("past")]
    assert len(lines) == 7
    assert min(contrast(color, palette["surface"]) for color in lines) >= 3


def test_the_figure_has_the_colors_of_the_page() -> None:
    light = palettes()[0]
    for name in ("train", "validation", "text", "quiet"):
        assert getattr(figure_module, name.upper()) == light[name]
    assert list(PAST) == [light[f"past-{i}"] for i in range(5)]


# The figure -----------------------------------------------------------------------------------------------------------


def texts_of(picture: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in picture.findobj(Text))


def test_figure_shows_loss_perplexity_references_and_best() -> None:
    run = make_run("quick-1")
    picture = figure(make_snapshot(run, make_run("old", current=False, color_index=1)))
    loss, perplexity = picture.axes
    columns: list[Any] = [line.get_ydata() for line in perplexity.lines]
    drawn = [[float(value) for value in column] for column in columns]
    assert [math.exp(value) for value in run["evaluated"]["val_loss"]] in drawn
    assert perplexity.get_yscale() == "log"
    shown = texts_of(picture)
    for text in (
        "bigram 3.90",
        "uniform guessing: ln V 6.93",
        "best 3.00",
        "Epochs",
        "quick-1: training",
        "old: validation",
    ):
        assert text in shown
    assert loss.get_ylim()[1] > 6.93


def test_figure_leaves_out_far_references_and_spikes() -> None:
    run = make_run("tuned")
    run["evaluated"]["train_loss"] = run["evaluated"]["val_loss"] = [3.0] * 6
    run["stepped"]["loss"] = [3.0] * 30 + [99.0] + [3.0] * 29
    picture = figure(make_snapshot(run))
    assert picture.axes[0].get_ylim()[1] < 4.5
    assert "uniform" not in texts_of(picture)
    assert "ln V" not in texts_of(picture)


@pytest.mark.parametrize("name", ["$\\frac{", "${x}", "_hidden", "<b>", "two\nlines", "n" * 200, ""])
def test_figure_takes_any_name_as_text(name: str) -> None:
    picture = figure(make_snapshot(make_run("now"), make_run(name, current=False)))
    picture.canvas.draw()
    assert f"{' '.join(name.split())[:31]}" in texts_of(picture)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_figure_of_hardly_anything(steps: int) -> None:
    snapshot = {**make_snapshot(make_run("new", steps)), "tokens_per_epoch": 0, "total_tokens": None}
    picture = figure(snapshot)
    picture.canvas.draw()
    assert ("No steps yet." in texts_of(picture)) == (steps == 0)
    figure(EMPTY).canvas.draw()


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n\x1a\n"), (".PDF", b"%PDF-")])
def test_save_figure(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = save_figure(make_snapshot(make_run("quick-1")), tmp_path / f"curves{suffix}")
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["curves.exe", "curves"])
def test_save_figure_knows_two_kinds(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"use \.png or \.pdf"):
        save_figure(EMPTY, tmp_path / name)
    assert not list(tmp_path.iterdir())


# The browser ----------------------------------------------------------------------------------------------------------

SNAPSHOTS: dict[str, dict[str, Any]] = {
    "empty": EMPTY,
    "early": make_snapshot(make_run("quick-1", 25)),
    "full": make_snapshot(make_run("quick-1"), make_run(HOSTILE, current=False, color_index=1)),
    "hostile": make_snapshot(make_run(HOSTILE)),
    "no epochs": {**make_snapshot(make_run("random", 30)), "tokens_per_epoch": 0},
    "broken": {
        "runs": [{"name": None, "stepped": {"step": [0, 1], "loss": ["x"]}, "evaluated": None}],
        "references": None,
    },
}
for column in (SNAPSHOTS["no epochs"]["runs"][0][kind] for kind in ("stepped", "evaluated")):
    column["epoch"] = [None] * len(column["epoch"])


def build() -> gr.Blocks:
    """One chart and a button for each snapshot."""
    with gr.Blocks(analytics_enabled=False) as demo:
        chart = training_chart()
        for name, snapshot in SNAPSHOTS.items():
            value = page_json(snapshot)
            gr.Button(name).click(lambda value=value: value, None, chart, queue=False)
    return demo


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    demo, address = launch(build, {"css": STYLES, "theme": theme(), "ssr_mode": False, **scripts.launch_options()})
    yield address
    demo.close(verbose=False)


@pytest.fixture(scope="module")
def opened(url: str, chromium: Browser) -> Iterator[tuple[Page, list[str]]]:
    """The page, loaded once for all tests, and the errors its scripts have raised."""
    visitor = Visitor(chromium.new_context())
    yield visitor.open(url), visitor.errors
    visitor.context.close()


@pytest.fixture
def page(opened: tuple[Page, list[str]]) -> Iterator[Page]:
    page, errors = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    push(page, "empty")
    expect(page.locator(".tc-empty")).to_be_visible()
    yield page
    assert errors == []
    assert page.evaluate("window.hacked") is None


def push(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    evaluated = [run["evaluated"] for run in SNAPSHOTS[name]["runs"][:1]]
    count = len(evaluated[0]["step"]) if evaluated and evaluated[0] else 0
    expect(page.locator(".training-chart")).to_have_attribute("data-points", str(count))


def value_of(page: Page, name: str) -> Any:
    return page.locator(f"[data-value={name}]")


@pytest.mark.browser
def test_points_arrive_and_nothing_jumps(page: Page) -> None:
    root, main = page.locator(".training-chart"), page.get_by_role("img", name="Training curves")
    expect(page.get_by_text("The curves appear here as soon as training starts.")).to_be_visible()
    before = main.bounding_box()
    push(page, "early")
    expect(page.locator(".tc-empty")).to_be_hidden()
    expect(root).to_have_attribute("data-last-step", "24")
    expect(root).to_have_attribute("data-best", "4")
    expect(value_of(page, "val_loss")).to_have_text("4.00")
    expect(value_of(page, "val_perplexity")).to_have_text("54.6")
    expect(value_of(page, "tokens_per_second")).to_have_text("12k")
    expect(main).to_have_attribute("aria-label", re.compile(r"quick-1\. Latest: step 24, .* validation loss 4\.00"))
    expect(main.get_by_text("uniform guessing: ln V 6.93")).to_be_visible()
    assert main.bounding_box() == before


@pytest.mark.browser
def test_a_hostile_name_is_text(page: Page) -> None:
    push(page, "hostile")
    expect(page.locator(".tc-name")).to_have_text(HOSTILE)
    push(page, "full")
    expect(page.locator(".tc-run")).to_have_text(HOSTILE)
    expect(page.locator(".training-chart img, .training-chart script")).to_have_count(0)


@pytest.mark.browser
def test_arrow_keys_move_the_read_out(page: Page) -> None:
    root, main, spoken = page.locator(".training-chart"), page.locator(".tc-main"), page.locator(".tc-spoken")
    push(page, "full")
    main.focus()
    for key, step in (("Home", 0), ("ArrowRight", 10), ("Shift+ArrowRight", 11), ("ArrowLeft", 10), ("End", 50)):
        page.keyboard.press(key)
        expect(root).to_have_attribute("data-cursor-step", str(step))
        expect(spoken).to_contain_text(f"step {step}, {(step + 1) * 100:,} tokens")
    expect(value_of(page, "val_loss")).to_have_text("3.50")
    expect(spoken).to_contain_text("validation loss 3.50, loss of the step 1.72")
    page.keyboard.press("Escape")
    expect(root).to_have_attribute("data-cursor-step", "")
    expect(page.locator(".tc-at")).to_have_text("Latest: step 59, 6,000 tokens, epoch 2.95")


@pytest.mark.browser
def test_the_mouse_moves_the_read_out_in_all_plots(page: Page) -> None:
    push(page, "full")
    page.locator(".tc-small").last.hover()
    expect(page.locator(".tc-at")).to_have_text(re.compile(r"^At step \d+, "))
    expect(page.locator(".tc-cursor[x1]:not([style*=none])")).to_have_count(5)
    page.mouse.move(1, 1)
    expect(page.locator(".tc-at")).to_contain_text("Latest")


@pytest.mark.browser
def test_scales_and_x_axis_can_be_switched(page: Page) -> None:
    push(page, "full")
    loss = page.locator(".tc-main path.tc-validation").first
    perplexity = page.locator(".tc-small path.tc-validation").first
    linear = loss.get_attribute("d") or ""
    page.get_by_role("radiogroup", name="Loss scale").get_by_role("radio", name="Log").check()
    expect(loss).not_to_have_attribute("d", linear)
    before = perplexity.get_attribute("d") or ""
    page.get_by_label("Logarithmic scale of the perplexity").uncheck()
    expect(perplexity).not_to_have_attribute("d", before)
    for name, axis in (("Epochs", "epochs"), ("Steps", "steps"), ("Tokens", "tokens seen")):
        page.get_by_role("radio", name=name).check()
        expect(page.locator(".tc-main").get_by_text(axis, exact=True)).to_be_visible()


@pytest.mark.browser
def test_runs_without_epochs_and_broken_snapshots_are_drawn(page: Page) -> None:
    epochs = page.get_by_role("radio", name="Epochs")
    epochs.check()
    push(page, "no epochs")
    expect(epochs).to_be_disabled()
    expect(page.get_by_role("radio", name="Tokens")).to_be_checked()
    expect(page.locator(".tc-main path.tc-validation").first).to_have_attribute("d", re.compile("L"))
    push(page, "broken")
    expect(page.locator(".training-chart")).to_have_attribute("data-last-step", "1")
    push(page, "full")
    expect(epochs).to_be_enabled()


@pytest.mark.browser
def test_redrawing_makes_no_new_nodes(page: Page) -> None:
    push(page, "full")
    count = "document.querySelectorAll('.training-chart *').length"
    before = page.evaluate(count)
    push(page, "early")
    push(page, "full")
    assert page.evaluate(count) <= before + 12  # ticks and labels that the smaller picture needed besides


@pytest.mark.browser
def test_it_fits_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    push(page, "full")
    page.locator(".tc-small").last.scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator(".tc-main")).to_have_css("height", "240px")


def test_page_and_figure_write_numbers_alike(node: Node) -> None:
    written = node.evaluate(f"list => {module('train/ticks.js')}.then(({{ format }}) => list.map(format))", NUMBERS)
    assert written == [compact(n) for n in NUMBERS]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 900, 390])
def test_texts_of_the_x_axes_do_not_touch(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    push(page, "full")
    gaps = page.evaluate(
        """() => [...document.querySelectorAll(".tc-plot svg")].flatMap((svg) => {
          const texts = [...svg.querySelectorAll("text[text-anchor=middle]")].filter((text) => text.textContent);
          const boxes = texts.map((text) => text.getBoundingClientRect()).filter((box) => box.width);
          const row = boxes.filter((box) => Math.abs(box.top - boxes[0].top) < 2).sort((a, b) => a.left - b.left);
          return row.slice(1).map((box, i) => box.left - row[i].right);
        })"""
    )
    assert len(gaps) > 4
    assert min(gaps) >= 6


@pytest.mark.browser
def test_several_charts_live_side_by_side(page: Page) -> None:
    value = page_json(SNAPSHOTS["early"])
    page.evaluate(
        """value => CHART.then(({ mount }) => {
          const box = document.createElement("div");
          box.id = "second";
          box.className = "training-chart";
          document.querySelector("#training-chart").append(box);
          window.second = mount(box, () => value);
        })""".replace("CHART", CHART),
        value,
    )
    expect(page.locator("#second")).to_have_attribute("data-points", "3")
    expect(page.locator(".training-chart").first).to_have_attribute("data-points", "0")
    page.evaluate("value => window.second.update(value)", page_json(SNAPSHOTS["full"]))
    expect(page.locator("#second")).to_have_attribute("data-points", "6")
    page.evaluate("window.second.destroy(), document.querySelector('#second').remove()")


@pytest.mark.browser
def test_dark_mode(page: Page, url: str) -> None:
    page.goto(f"{url}?__theme=dark")
    push(page, "full")
    surface = palettes()[1]["surface"]
    color = "rgb({}, {}, {})".format(*(int(surface[i : i + 2], 16) for i in (1, 3, 5)))
    expect(page.locator(".training-chart")).to_have_css("background-color", color)
