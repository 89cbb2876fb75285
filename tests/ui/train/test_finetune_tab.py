"""Going on from a stored model, in a real browser: its shape is taken over, the plan says what it takes, it trains."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import (
    App,
    Visitor,
    expect_more_points,
    expect_state,
    open_train,
    setting,
    start_run,
    tiny_app,
    toast,
    unfold,
    upload,
    view_of,
)
from playwright.sync_api import Page, expect

from gpt_demo.cli.main import main
from gpt_demo.runs.folder import RunFolder
from gpt_demo.text.samples import sample_story

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser
SHAPE = {"n_embd": "32", "n_head": "2", "n_layer": "1", "n_ctx": "16", "n_vocab": "257"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """With a model "parent", everybody's."""
    with tiny_app(tmp_path_factory.mktemp("finetune")) as app:
        app.recorded("parent")
        yield app


def start_from(page: Page, name: str) -> None:
    page.get_by_label("Start from").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_from_a_model_to_a_finished_run(
    app: App, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_train(visitor, app)
    text = sample_story()[:6000].encode()
    upload(page, ("mine.txt", text))
    unfold(page, "All settings")
    unfold(page, "The same on the command line")
    setting(page, "n_embd").fill("48")
    setting(page, "n_layer").fill("3")
    plan, command = view_of(page, "plan"), page.locator("#command-line textarea")
    start_from(page, "parent")
    for name, value in SHAPE.items():
        expect(setting(page, name)).to_have_value(value)
        expect(setting(page, name)).to_be_disabled()
    expect(page.locator("#set-tokenizer input")).to_have_value("bytes")
    expect(page.locator("#set-tokenizer input")).to_be_disabled()
    expect(setting(page, "learning_rate")).to_have_value("0.0001")
    expect(page.locator("#set-trainable input")).to_have_value("all")
    expect(plan).to_contain_text("memory by what is trained")
    expect(plan).to_contain_text("LoRA of rank 8")
    page.locator("#set-trainable input").click()
    page.get_by_role("option", name="lora", exact=True).click()
    expect(plan).to_contain_text("4,096")  # 16 x 32 x 8 numbers of the adapters
    expect(command).to_have_value(re.compile("--model parent .*--trainable lora"))
    setting(page, "eval_interval").fill("2")
    setting(page, "max_steps").fill("6")
    expect(command).to_have_value(re.compile("--max-steps 6 .*--eval-interval 2"))
    words = shlex.split(command.input_value())
    start_run(page, "tuned")
    expect_more_points(page, 1)
    expect_state(page, "finished")
    assert {"parent", "tuned"} <= set(app.names())
    assert app.run("tuned").info["base"] == "parent"

    (tmp_path / "mine.txt").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_DEMO_HOME", str(app.home))
    assert main([*words[3:], "--name", "by-command"]) == 0
    settings = [RunFolder(app.runs.home / name).info["config"] for name in ("tuned", "by-command")]
    assert settings[0] == settings[1]

    start_from(page, "from scratch")
    expect(setting(page, "n_embd")).to_be_enabled()
    expect(page.locator("#set-trainable input")).to_have_value("all")
    expect(plan).not_to_contain_text("LoRA")
    expect(command).not_to_have_value(re.compile("--model"))


def test_models_come_and_go(app: App, visitor: Visitor, new_visitor: Callable[[], Visitor]) -> None:
    page = open_train(visitor, app)
    app.recorded("later")
    start_from(page, "later")
    expect(view_of(page, "plan")).to_contain_text("memory by what is trained")
    app.store.delete("later")
    page.get_by_label("Name").fill("orphan")
    page.get_by_role("button", name="Start training").click()
    expect(toast(page)).to_contain_text("There is no model named 'later'")
    assert not (app.runs.home / "orphan").exists()
    app.recorded("private", owner="somebody else's key")
    app.store._see_all = False
    stranger = open_train(new_visitor(), app)
    stranger.get_by_label("Start from").click()
    expect(stranger.get_by_role("option", name="parent", exact=True)).to_be_visible()
    expect(stranger.get_by_role("option", name="private", exact=True)).to_have_count(0)
