"""The form of the Train tab in a real browser: any text, any setting, and what the page says about them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from itertools import chain
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
    tiny_config,
    toast,
    unfold,
    upload,
    view_of,
)
from playwright.sync_api import expect

from gpt_demo.cli.main import main
from gpt_demo.cli.texts import read_options, sample_text, text_options
from gpt_demo.runs import recipes
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.store import ModelStore
from gpt_demo.text.reading import read_texts
from gpt_demo.text.samples import sample_story, the_verdict
from gpt_demo.training.config import FIELDS, preset
from gpt_demo.ui.services import Services
from gpt_demo.ui.train import clock, text_source
from gpt_demo.ui.train.form import FOLDED, SHOWN, TrainForm, full_command, save_text
from gpt_demo.ui.train.start_from import Choice

pytest_plugins = ["browser"]
HOSTILE = (
    "<img src=x onerror=window.hacked=1> ${window.hacked=2} {{7*7}} `alert(1)` \N{GRINNING FACE} "
    "\u05e9\u05dc\u05d5\u05dd \u202eright to left\u202c \x00\x07 <script>window.hacked=3</script> "
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with tiny_app(tmp_path_factory.mktemp("form")) as app:
        yield app


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(ModelStore(tmp_path, starter=None), Runs(tmp_path), None)


def test_every_setting_has_its_control() -> None:
    assert sorted([*SHOWN, *chain.from_iterable(FOLDED.values())]) == sorted(FIELDS)


def test_the_command_reads_the_text_as_the_page_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen columns, an encoding, the texts that are at hand: what the command reads is what the page has read."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes('id,"one, two",text\n1,x,y\n'.encode("cp1251"))
    Path("ru.txt").write_bytes("Мама мыла раму.".encode("koi8-r"))
    choice = Choice(preset("quick"))
    for source, files, columns, encoding in (
        (text_source.SAMPLE, None, [], text_source.DETECTED),
        (text_source.UPLOAD, ["a.csv"], ["one, two"], text_source.DETECTED),
        (text_source.UPLOAD, ["ru.txt"], [], "koi8-r"),
    ):
        before = text_source.Reading(uploaded=tuple(files or ()))  # the columns have been offered
        reading, _ = text_source.read(before, source, files, columns, "", encoding)
        words = shlex.split(full_command(reading, "quick", choice))
        parser = argparse.ArgumentParser()
        text_options(parser, "*")
        parser.add_argument("--sample")
        options, _ = parser.parse_known_args(words[words.index("train") + 1 :])
        assert reading.text == (sample_text(options.sample) if options.sample else read_options(options))
    pasted, _ = text_source.read(text_source.Reading(), text_source.PASTE, None, [], "some text\r\nto learn")
    assert pasted.files == ("pasted.txt",)
    assert read_texts([save_text(tmp_path, pasted)]) == pasted.text


def test_what_has_been_cut_into_tokens_is_not_cut_again(monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    """Neither at another setting nor at Start; another share for validation is another cut."""
    form = TrainForm.__new__(TrainForm)
    form.services, form._tokenizers, form._splits = services, OrderedDict(), {}
    reading, choice = text_source.Reading(sample_story()), Choice(preset("quick"))
    prepared = form.prepare(reading, choice)
    assert form.prepare(reading, choice.changed({"learning_rate": 0.1, "n_layer": 2})).split is prepared.split
    assert form.prepare(reading, choice.changed({"val_fraction": 0.2})).split is not prepared.split
    monkeypatch.setattr(recipes, "prepare", None)
    folder = recipes.create_run(services.runs, services.store, reading.text, choice.config, prepared=prepared)
    job = recipes.train_job(folder, services.store, prepared=prepared)
    assert next(job).kind == "started"
    job.close()


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_several_files_and_the_columns_of_a_table(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    preview, columns = view_of(page, "text-preview"), page.locator("#columns")
    upload(page, ("one.txt", b"first file " * 40), ("two.md", b"second file " * 40))
    expect(preview).to_contain_text("933")  # both, and <|endoftext|> between them
    expect(columns).to_be_hidden()
    rows = "".join(f'{i},"the title {i}","a body, with a comma"\n' for i in range(40))
    upload(page, ("table.csv", f"id,title,body\n{rows}".encode()))
    expect(columns.get_by_role("checkbox")).to_have_count(2)
    expect(preview).to_contain_text("the·title·0")
    expect(preview).to_contain_text("a·body")
    columns.get_by_label("title").uncheck()
    expect(preview).not_to_contain_text("the·title·0")
    expect(preview).to_contain_text("a·body")
    unfold(page, "The same on the command line")
    expect(page.locator("#command-line textarea")).to_have_value(
        "python3 start.py cli train table.csv --columns body --preset quick"
    )


@pytest.mark.browser
def test_hostile_text_is_text_everywhere(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    page.get_by_label("Paste", exact=True).check()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.get_by_label("Your text").fill(HOSTILE * 20)
    tokens = page.locator("#text-preview .tokens")
    for shown in ("<img·src=x·onerror=window.hacked=1>", "${window.hacked=2}", "{{7*7}}", "<U+0000><U+0007>"):
        expect(tokens).to_contain_text(shown)
    unfold(page, "All settings")
    setting(page, "sample_prompt").fill("<img src=x onerror=window.hacked=4>${window.hacked=5}")
    start_run(page, "hostile", 4)
    expect_state(page, "finished")
    expect(view_of(page, "samples").locator("strong").first).to_have_text(
        "<img src=x onerror=window.hacked=4>${window.hacked=5}"
    )
    assert page.locator(".view img, .view script").count() == 0
    assert page.evaluate("window.hacked") is None


@pytest.mark.browser
def test_a_text_that_cannot_be_used_is_explained_and_nothing_is_lost(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    start = page.get_by_role("button", name="Start training")
    page.get_by_label("Upload", exact=True).check()
    expect(start).to_be_disabled()
    page.get_by_label("Name").fill("stays")
    for name, content, sentence in (
        ("picture.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "picture.txt seems to be a PNG picture"),
        ("empty.txt", b" \n", "empty.txt contains no text"),
        ("short.txt", b"too short", 'The training text has 8 tokens, but "Context length" 16 needs at least 17'),
    ):
        upload(page, (name, content))
        trouble = page.locator("#text-preview .trouble")
        expect(trouble).to_contain_text(sentence)
        start.click()
        expect(toast(page)).to_have_text(trouble.inner_text())
        page.get_by_test_id("toast-close").click()
        expect(page.get_by_test_id("toast-text")).to_have_count(0)
    assert page.get_by_label("Name").input_value() == "stays"
    assert not (app.runs.home / "stays").exists()
    page.get_by_label("Sample story").check()
    expect(page.locator("#text-preview .trouble")).to_have_count(0)
    expect(view_of(page, "text-preview")).to_contain_text(f"{len(sample_story()):,}")


@pytest.mark.browser
def test_the_verdict_without_a_network(app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = partial(the_verdict, url="http://127.0.0.1:9/the-verdict.txt")
    monkeypatch.setattr(text_source, "the_verdict", nowhere)
    page = open_train(visitor, app)
    page.get_by_label("The Verdict").check()
    trouble = page.locator("#text-preview .trouble")
    expect(trouble).to_contain_text("The Verdict could not be downloaded from 127.0.0.1")
    expect(trouble).to_contain_text("use the sample story")


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_presets_fill_the_form_and_the_plan_follows_every_setting(app: App, visitor: Visitor) -> None:
    page = open_train(visitor, app)
    unfold(page, "All settings")
    plan, schedule = view_of(page, "plan"), page.locator("#plan svg")
    page.get_by_label("steps: random batches").check()
    expect(setting(page, "n_embd")).to_have_value("128")
    expect(setting(page, "max_steps")).to_have_value("1000")
    expect(setting(page, "min_learning_rate")).to_have_value("")
    expect(page.locator("#set-split input")).to_have_value("tokens")
    expect(plan).to_contain_text("7.2 million")
    expect(plan).to_contain_text("1,000")
    expect(schedule).to_have_attribute("aria-label", "learning rate over the run, at most 0.001")
    flat = page.locator("#plan polyline").get_attribute("points")
    setting(page, "warmup_steps").fill("500")
    expect(page.locator("#plan polyline")).not_to_have_attribute("points", flat or "")
    memory = plan.locator("dd").nth(1).inner_text()
    setting(page, "batch_size").fill("64")
    expect(plan.locator("dd").nth(1)).not_to_have_text(memory)
    setting(page, "n_layer").fill("")
    expect(plan).to_have_text("Layers is empty. Give it a value.")
    setting(page, "n_layer").fill("3")
    setting(page, "n_head").fill("5")
    expect(plan.locator(".trouble")).to_contain_text('"Width"')
    page.get_by_label("book: the 162").check()
    expect(plan).to_contain_text("162.4 million")
    expect(view_of(page, "text-preview")).to_contain_text("50,257")


@pytest.mark.browser
def test_the_command_line_starts_the_same_run(
    app: App, visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_train(visitor, app)
    text = sample_story()[:4000].encode()
    upload(page, ("my text.txt", text))
    unfold(page, "All settings")
    unfold(page, "The same on the command line")
    for name, value in (
        ("n_layer", 2),
        ("max_steps", 4),
        ("learning_rate", 0.003),
        ("sample_prompt", "a 'quoted' $word"),
        ("seed", 7),
    ):
        setting(page, name).fill(str(value))
    page.get_by_label("Tied head").uncheck()
    command = page.locator("#command-line textarea")
    for words in (
        "--tied-head false",
        "--max-steps 4",
        "--decay-steps 0",
        "--seed 7",
        "--n-layer 2",
        "--learning-rate 0.003",
        "--sample-prompt",
    ):
        expect(command).to_have_value(re.compile(words))
    words = shlex.split(command.input_value())
    assert words[:5] == ["python3", "start.py", "cli", "train", "my text.txt"]
    start_run(page, "by-page", 4)
    expect_state(page, "finished")
    (tmp_path / "my text.txt").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path))
    assert main([*words[3:], "--name", "by-command"]) == 0
    (record,) = tmp_path.glob("runs/by-command")
    assert app.run("by-page").info["config"] == RunFolder(record).info["config"]


@pytest.mark.browser
def test_fit_to_my_clock(app: App, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "measure_pace", partial(clock.measure_pace, budget=0.2))
    monkeypatch.setattr(clock, "PRESETS", {"quick": tiny_config(), "huge": tiny_config(n_embd=200_000)})
    page = open_train(visitor, app)
    page.locator("#minutes input").fill("0.2")
    page.get_by_role("button", name="Measure and fit").click()
    expect(setting(page, "max_steps")).not_to_have_value("12")
    times = view_of(page, "preset-times").locator("tbody tr")
    expect(times).to_have_count(3)
    expect(times.nth(2)).to_contain_text("GB of memory")
    for row in (0, 1):
        expect(times.nth(row)).to_contain_text(" s")
    time = view_of(page, "plan").locator("dd").nth(2)
    expect(time).to_have_text("12 s")
    setting(page, "max_steps").fill(str(20 * int(setting(page, "max_steps").input_value())))
    expect(time).not_to_have_text("12 s")
    expect(time).to_contain_text("min")

    start_run(page, "busy", 100_000)
    expect_more_points(page, 0)
    page.get_by_role("button", name="Measure and fit").click()
    expect(toast(page)).to_contain_text("A run is training")
    app.runs.delete("busy", app.run("busy").info["owner"])
