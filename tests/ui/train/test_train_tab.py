"""The Train tab in a real browser: from a text to a model, whatever the visitor does on the way."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from browser import (
    App,
    Visitor,
    expect_more_points,
    expect_state,
    open_train,
    points,
    setting,
    start_run,
    tiny_app,
    toast,
    unfold,
    upload,
    view_of,
)
from playwright.sync_api import Page, expect

from gpt_demo.events import Evaluated, Sampled, Stepped
from gpt_demo.runs.recipes import train_job
from gpt_demo.text.samples import sample_story

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser
FOREVER = 100_000


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with tiny_app(tmp_path_factory.mktemp("train")) as app:
        yield app


@pytest.fixture(autouse=True)
def _no_run_is_left(request: pytest.FixtureRequest, app: App) -> Iterator[None]:
    yield
    for folder in [path.parent.name for path in app.runs.home.glob("[!.]*/run.json")]:
        live = app.runs.live(folder)
        if live is not None:
            live.stop()
            live.join(20)


def place_of_chart(page: Page) -> list[float]:
    """Below the run's buttons, whatever the visitor has scrolled; and its size."""
    bar, chart = page.locator("#run-bar").bounding_box(), page.locator(".training-chart .tc-main").bounding_box()
    assert bar
    assert chart
    return [chart["x"] - bar["x"], chart["y"] - bar["y"], chart["width"], chart["height"]]


# A run and its visitors -----------------------------------------------------------------------------------------------


def test_from_a_file_to_live_curves_in_every_tab_of_the_visitor(
    app: App, visitor: Visitor, new_visitor: Callable[[], Visitor]
) -> None:
    page = open_train(visitor, app)
    upload(page, ("mine.txt", sample_story()[:6000].encode()))
    expect(page.locator("#text-preview")).to_contain_text("6,000")
    unfold(page, "All settings")
    setting(page, "n_embd").fill("48")
    setting(page, "eval_interval").fill("3")
    start_run(page, "mine", FOREVER)
    expect_more_points(page, 0)
    before = place_of_chart(page)
    expect_more_points(page, points(page) + 3)
    assert place_of_chart(page) == before, "numbers that change must not move the page"
    expect(view_of(page, "samples").locator("li")).not_to_have_count(0)
    expect(page.locator("#start")).to_be_enabled()
    assert app.runs.live("mine").folder.info["config"]["model"]["n_embd"] == 48  # type: ignore[union-attr]
    assert "% mine" in page.title()

    seen = points(page)
    page.reload()
    expect_state(page, "running")
    expect_more_points(page, seen)
    other_tab = visitor.open(app.url)
    expect(other_tab.locator("#run-status strong")).to_have_text("mine")
    expect_more_points(other_tab, seen)

    stranger = open_train(new_visitor(), app)
    expect(view_of(stranger, "run-status")).to_have_attribute("data-state", "none")
    stranger.get_by_label("Run", exact=True).click()
    expect(stranger.get_by_role("option")).to_have_count(0)


def test_a_paused_run_goes_on_at_the_same_step_and_a_stopped_one_can_go_on_too(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    start_run(page, "pauses", FOREVER)
    expect_more_points(page, 1)
    page.get_by_role("button", name="Pause").click()
    expect_state(page, "paused")
    expect(page.locator("#run-status")).to_contain_text("Resume continues exactly where it stopped")
    step = int(view_of(page, "run-status").get_attribute("data-step") or 0)
    assert step == app.history("pauses").steps_done
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Resume").click()
    expect_state(page, "running")
    expect_more_points(page, points(page))

    stop, question = page.get_by_role("button", name="Stop", exact=True), page.locator("#stop-choices")
    stop.click()
    page.get_by_role("button", name="Continue training").click()
    expect(question).to_be_hidden()
    expect_more_points(page, points(page))
    expect_state(page, "running")
    stop.click()
    page.get_by_role("button", name="Stop and keep the model").click()
    expect_state(page, "stopped")
    expect(page.locator("#run-status")).to_contain_text("Stopped; the model is kept")
    expect(question).to_be_hidden()
    steps = app.history("pauses").steps["step"]
    assert steps == list(range(len(steps))), "no step is lost or done twice"
    assert len(steps) > step
    assert "pauses" in app.names()

    page.get_by_role("button", name="Let it write").click()
    expect(page.get_by_role("tab", name="Playground")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lab")).to_have_attribute("data-model", re.compile("^pauses(-best)?$"))


def test_a_discarded_run_is_gone(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    start_run(page, "unwanted", FOREVER)
    expect_more_points(page, 0)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Stop and discard the run").click()
    expect(page.locator("#run-status strong")).not_to_have_text("unwanted")
    assert not (app.runs.home / "unwanted").exists()
    assert not app.store.folder("unwanted").exists()


def test_a_second_run_waits_and_a_finished_one_says_so(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    start_run(page, "first", FOREVER)
    expect_more_points(page, 0)
    start_run(page, "second", 6)
    expect_state(page, "waiting")
    expect(page.locator("#run-status")).to_contain_text("this one starts after it")
    app.runs.live("first").stop()  # type: ignore[union-attr]
    expect_state(page, "finished")
    expect(page.locator("#run-status")).to_contain_text("The model is ready")
    expect(page.get_by_role("button", name="Let it write")).to_be_enabled()
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    assert page.title() == "second finished \N{EN DASH} GPT, from scratch"
    assert page.get_by_role("status").filter(has_text="second is finished").count() == 1


def test_a_run_that_fails_says_why(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    unfold(page, "All settings")
    setting(page, "learning_rate").fill("1000000000")
    setting(page, "grad_clip").fill("0")
    start_run(page, "diverges", 200)
    expect_state(page, "failed")
    message = page.locator("#run-status .trouble")
    expect(message).to_contain_text("became NaN or infinite at step")
    expect(message).to_contain_text('Try a lower "Learning rate"')


def test_a_name_is_taken_or_impossible(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    start_run(page, "taken", 4)
    expect_state(page, "finished")
    page.get_by_label("Name").fill("taken")
    page.get_by_role("button", name="Start training").click()
    expect(toast(page)).to_contain_text("There is already a")
    assert page.get_by_label("Name").input_value() == "taken", "what was typed stays"
    for name in ("../up", "<img src=x onerror='window.hacked=1'>", "${window.hacked=1}", "{{7*7}}", "a b", "Ä", "."):
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Start training").click()
        expect(toast(page)).to_contain_text(f"{name!r} is not a valid name")
    assert page.evaluate("window.hacked") is None
    assert len(list(app.runs.home.glob("taken*"))) == 1


def test_a_long_run_stays_quick(app: App, visitor: Visitor) -> None:
    """100,000 recorded steps, which another process goes on with: opened soon, and what a poll brings is small."""
    folder = app.created("long", max_steps=200_000)
    with contextlib.closing(train_job(folder, app.store)) as job:  # type: ignore[type-var]
        next(job)  # Started
    step = Stepped(99, 64, 3.1234567, 1e-3 / 3, 1 / 3, 12345.678).to_json() + "\n"
    with (folder.path / "events.jsonl").open("a", encoding="utf-8") as file:
        for i in range(100_000):
            file.write(step.replace("99", str(i)).replace("64", str(64 * i + 64)))
            if i % 100 == 0:
                file.write(Evaluated(i, 64 * i + 64, (i + 1) / 7, 3 - i / 1e7, 3 + i / 1e7).to_json() + "\n")
                file.write(Sampled(i, (i + 1) / 7, "so " * 20).to_json() + "\n")
    with folder.working() as finish:
        page = visitor.open(app.url)
        sizes: list[int] = []
        page.on("response", lambda r: sizes.append(len(r.body())) if r.url.endswith("/run/predict") else None)
        expect(page.locator(".training-chart")).to_have_attribute("data-last-step", "99999")
        expect(page.locator("#run-status")).to_contain_text("step 100,000 of 200,000")
        page.get_by_role("button", name="Pause").click()
        expect(toast(page)).to_contain_text("is being trained by another program")
        finish("paused")
    expect_state(page, "paused")
    assert 0 < max(sizes) < 60_000
    app.runs.delete("long")
