"""Damaged data and odd questions are said in a sentence that does not tell where the server's files are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from small import Home

from gpt_demo.errors import UserError
from gpt_demo.runs.keeping import store_model
from gpt_demo.runs.runs import Runs
from gpt_demo.store.store import owner_key
from gpt_demo.training.checkpoint import latest
from gpt_demo.ui.playground.questions import checked
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.protocol.playground import AskedJob, AskedRow, AskedToy
from gpt_demo.ui.sentences import sentences, without_paths
from gpt_demo.ui.services import Limits, Services

TOKEN = "s" * 43


def flip(file: Path) -> None:
    """One bit of the last tensor."""
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_flipped_byte_of_a_checkpoint_is_noticed(tmp_path: Path, name: str) -> None:
    """The format has no checksum: the run went on from other numbers."""
    home = Home(tmp_path)
    folder = home.run("a")
    job = home.job(folder, lambda: True)
    list(job)
    checkpoint = latest(folder.path)
    assert checkpoint is not None
    flip(checkpoint / name)
    with pytest.raises(UserError, match=f"checkpoint of the run a can't be read: {name} is damaged"):
        list(home.job(folder))
    if name == "model.safetensors":
        with pytest.raises(UserError, match=r"model of the run a can't be kept: model\.safetensors is damaged"):
            store_model(folder, home.store)
    flip(checkpoint / name)
    home.train(folder)


def test_a_checkpoint_of_before_checksums_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = home.run("a")
    list(home.job(folder, lambda: True))
    state = latest(folder.path) / "state.json"  # type: ignore[operator]
    record = json.loads(state.read_text())
    assert {"model.safetensors", "optimizer.safetensors"} < set(record.pop("checksums"))
    state.write_text(json.dumps(record))
    home.train(folder)


DAMAGED = ["", "{", "[]", "null", "[" * 100_000, '{"name": "damaged"', "\ufffd"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    home.run("whole", owner_key(TOKEN))
    (home.run("damaged", owner_key(TOKEN)).path / "run.json").write_text(content)
    private, public = Services(home.store, home.runs, None), Services(home.store, home.runs, Limits())
    assert home.runs.damaged() == ["damaged"]
    for services in (private, public):
        assert [folder.name for folder in services.runs_of(TOKEN)] == ["whole"]
    with pytest.raises(UserError, match=r"The run damaged can't be read: .* Put its run\.json back"):
        private.run("damaged", TOKEN)
    with pytest.raises(UserError, match=r"no run named 'damaged'\. Available: whole\."):
        public.run("damaged", TOKEN)  # whose it is can't be read, so it may be somebody else's
    with pytest.raises(UserError, match="no run named"):
        public.delete_run("damaged", TOKEN)
    private.delete_run("damaged", TOKEN)
    assert home.runs.damaged() == []
    assert [folder.name for folder in private.runs_of(TOKEN)] == ["whole"]


@pytest.mark.parametrize(
    "odd",
    [{"created": "x"}, {"created": None}, {"created": [1]}, {"created": float("nan")}, {"status": 7},
     {"status": "resting"}, {"message": 3}, {"config": 5}],
)  # fmt: skip
def test_odd_entries_of_a_run_break_nothing(tmp_path: Path, odd: dict[str, Any]) -> None:
    home = Home(tmp_path)
    home.run("whole")
    folder = home.run("odd")
    folder.update(**odd)
    assert sorted(folder.name for folder in home.runs.list()) == ["odd", "whole"]
    assert folder.status in ("paused", "interrupted")
    assert isinstance(folder.message, str)
    if "config" in odd:
        with pytest.raises(UserError, match="settings of this run can't be read"):
            list(home.job(folder))


def test_sentences_do_not_say_where_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "secret place" / "home"
    monkeypatch.setenv("GPT_DEMO_HOME", str(home))
    said = (
        f"The files of {home}/runs/a/checkpoint-16 can't be read: [Errno 2] '{home}/runs/a/x.safetensors'. In {home}."
    )
    assert without_paths(said) == (
        "The files of checkpoint-16 can't be read: [Errno 2] 'x.safetensors'. In the server's folder."
    )
    assert without_paths("A text of n/a, and 1/2 of it.") == "A text of n/a, and 1/2 of it."
    with pytest.raises(gr.Error) as error, sentences():
        raise UserError(said)
    assert "secret" not in str(error.value)
    monkeypatch.setenv("GPT_DEMO_HOME", "data")  # a folder of the present one: no word of a sentence
    assert without_paths("The data is read.") == "The data is read."


def test_what_the_disk_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    with pytest.raises(gr.Error, match=r"disk refused it \(No space left on device\)"), sentences():
        raise OSError(28, "No space left on device", str(tmp_path / "runs"))
    lab = LabServer(Services(home.store, home.runs, None))
    models = next(function for function in lab.functions if function.__name__ == "models")

    def full(*_: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(home.store), "list", full)
    assert "disk refused it (Read-only file system)" in models({"token": ""})["error"]


@pytest.mark.parametrize(
    ("kind", "asked", "sentence"),
    [
        (AskedRow, [], r"The question is \[\]; it must be an object"),
        (AskedRow, None, "The question is None"),
        (AskedRow, {"ids": [1]}, "The question does not say .*model"),
        (AskedJob, {"model": "m", "ids": [1], "lanes": [{"steps": [{"name": "top_k"}]}]}, "does not say value"),
        (AskedRow, {"ids": "x"}, "ids is 'x'; it must be a list"),
        (AskedRow, {"ids": [1, True]}, "ids is True; it must be a whole number"),
        (AskedRow, {"ids": [1.5]}, "ids is 1.5; it must be a whole number"),
        (AskedRow, {"token": 5}, "token is 5; it must be a text"),
        (AskedJob, {"stop": 1}, "stop is 1; it must be true or false"),
        (AskedJob, {"lanes": [3]}, "The question is 3; it must be an object"),
        (AskedJob, {"lanes": [{"steps": [{"name": "top_k", "value": "x"}]}]}, "value is 'x'; it must be a number"),
        (AskedToy, {"logits": ["x" * 1000]}, "logits is 'xxx"),
    ],
)
def test_questions_of_wrong_types_are_refused(kind: Any, asked: Any, sentence: str) -> None:
    if isinstance(asked, dict) and "does not say" not in sentence:
        asked = {"model": "m", "ids": [1], "logits": [1.0], **asked}
    with pytest.raises(UserError, match=sentence) as error:
        checked(kind, asked)
    assert len(str(error.value)) < 300


def test_questions_of_the_page_pass() -> None:
    lane = {"name": "a", "steps": [{"name": "top_k", "value": 3}], "greedy": False, "length_penalty": 1}
    asked = {"token": "t", "model": "m", "ids": [1], "lanes": [lane], "count": 3, "stop": True, "seed": None}
    passed = checked(AskedJob, {**asked, "unknown": 5})
    assert passed == {name: value for name, value in asked.items() if value is not None}


def test_reading_runs_of_another_home(tmp_path: Path) -> None:
    assert Runs(tmp_path / "nothing").damaged() == []
