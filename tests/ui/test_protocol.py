"""What server and browser say to each other: one declaration for both sides, and what is really sent against it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from protocol_types import TARGET, declarations, mismatch, questions
from small import Home
from starter import make_starter

from gpt_demo.compare.contrast import Contrast, Segment
from gpt_demo.compare.prompts import Completed
from gpt_demo.model.gpt import GPT2_SIZES
from gpt_demo.presenter.scenes import default_deck
from gpt_demo.training.history import History
from gpt_demo.ui.compare.contrast import contrast_data
from gpt_demo.ui.compare.prompts import Sheet
from gpt_demo.ui.compare.work import status
from gpt_demo.ui.models.architecture import architecture
from gpt_demo.ui.models.table import estimate, fit_line, table
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.playground.tab import PlaygroundTab
from gpt_demo.ui.protocol.chart import Snapshot
from gpt_demo.ui.protocol.playground import Greeting, Trouble
from gpt_demo.ui.protocol.views import Views
from gpt_demo.ui.services import Services
from gpt_demo.ui.train.chart import EMPTY
from gpt_demo.ui.train.snapshot import chart_snapshot, differences, samples_data, status_data
from gpt_demo.ui.views import page_json, view_json

VIEWS = get_type_hints(Views)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With a model called little and a run that is done."""
    home = Home(tmp_path_factory.mktemp("protocol"))
    make_starter(home.path)
    for _ in home.job(home.run("done")):
        pass
    return home


@pytest.fixture(scope="module")
def services(home: Home) -> Iterator[Services]:
    services = Services(home.store, home.runs, None)
    yield services
    services.runs.close()


def test_the_scripts_know_the_same_shapes() -> None:
    assert TARGET.read_text(encoding="utf-8") == declarations(), "Run: python -m tests.protocol_types"


@pytest.mark.parametrize(
    ("data", "right"),
    [
        ('{"error": "no"}', True),
        ('{"error": 1}', False),
        ("{}", False),
        ('{"error": "no", "more": 1}', False),
        ("null", False),
    ],
)
def test_the_check_sees_what_is_missing_too_much_or_of_another_kind(data: str, right: bool) -> None:
    assert (mismatch(Trouble, data) is None) == right


# Answers --------------------------------------------------------------------------------------------------------------


def ask(server: LabServer, question: str, **request: Any) -> Any:
    """The answer as the browser gets it; it and the question are what is declared."""
    asked, answered = questions()[question]
    request = {"token": "", **request}
    assert mismatch(asked, json.dumps(request)) is None
    (function,) = (one for one in server.functions if one.__name__ == question)
    text = json.dumps(function(request))
    assert mismatch(answered, text) is None, text[:500]
    return json.loads(text)


def test_every_answer_of_the_server_is_what_is_declared(services: Services) -> None:
    server, of_model = LabServer(services), {"model": "little", "ids": [1, 2, 3]}
    assert {one.__name__ for one in server.functions} == set(questions())
    assert ask(server, "models")["models"] == ["done", "little"]
    assert ask(server, "open", model="little")["n_ctx"] == 48
    assert len(ask(server, "encode", model="little", text="Nell and Jory")["ids"]) > 1
    assert ask(server, "row", **of_model, seed=3)["row"]["n"] > 256
    assert len(ask(server, "score", **of_model, first=1)["scores"]) == 2
    assert sum(ask(server, "toy", logits=[1.0, 2.0], draws=7)["counts"]) == 7
    assert ask(server, "deck")["deck"]["scenes"]


@pytest.mark.parametrize(
    ("request_", "kinds"),
    [
        ({"lanes": [{"greedy": True}, {"name": "Beams", "beams": 2, "length_penalty": 1.0}]}, {"drawn", "beam_lane"}),
        ({"lanes": [{"steps": [{"name": "top_k", "value": 3}]}], "seed": 7, "stop": False}, {"drawn"}),
        ({"beams": 3, "length_penalty": 0.5, "early_stopping": True}, {"beams"}),
    ],
)
def test_every_event_of_a_job_is_what_is_declared(services: Services, request_: Any, kinds: set[str]) -> None:
    server, found = LabServer(services), []
    job = ask(server, "start", model="little", ids=[5], count=4, **request_)["job"]
    while True:
        answer = ask(server, "more", job=job)
        found += answer["events"]
        if answer["done"]:
            break
    assert {event["event"] for event in found} == kinds
    ask(server, "close", job=job)


def test_a_failure_is_a_sentence(services: Services) -> None:
    (more,) = (one for one in LabServer(services).functions if one.__name__ == "more")
    assert mismatch(Trouble, json.dumps(more({"token": "", "job": "gone"}))) is None


def test_the_deck_of_the_app_has_scenes_of_the_declared_shape() -> None:
    assert mismatch(questions()["deck"][1], json.dumps({"deck": default_deck()})) is None


# Values of components -------------------------------------------------------------------------------------------------


def shown(name: str, data: Any) -> None:
    """What the view gets is what is declared for it."""
    assert mismatch(VIEWS[name], json.dumps(json.loads(view_json(data))["data"])) is None, name


def test_the_chart_of_a_run(home: Home) -> None:
    history = home.runs.get("done", None).history()
    for snapshot in (EMPTY, chart_snapshot([]), chart_snapshot([("new", History())])):
        assert mismatch(Snapshot, page_json(snapshot)) is None
    whole = page_json(chart_snapshot([("done", history), ("again", history)]))
    assert mismatch(Snapshot, whole) is None
    assert len(json.loads(whole)["runs"][1]["evaluated"]["val_loss"]) > 1


def test_the_views_of_a_run(home: Home) -> None:
    folder = home.runs.get("done", None)
    for history in (folder.history(), History()):
        shown("status", status_data(folder, history, "running"))
        shown("samples", samples_data(history))
        shown("table", differences([("done", history), ("again", history)]))
    assert samples_data(folder.history())


def test_the_views_of_models(services: Services) -> None:
    (little,) = (info for info in services.store.list(None) if info.name == "little")
    shown("fit", fit_line(services))
    shown("models", {**table(services, None, {"gpt2-355M": "downloading 3 %"}), "chosen": None})
    for info, name in ((little, "little"), (None, "gpt2-1558M")):
        shown("note", estimate(services, info, name, "fp32"))
    shown("architecture", architecture(GPT2_SIZES["124M"], "gpt2-124M"))


def test_the_views_of_comparisons() -> None:
    shown("work", json.loads(status("Reading", 0.5, "running", ["one failed"]))["data"])
    sheet = Sheet(["one", "other"], ["A", "B"])
    sheet.add(Completed("one", 1, " text", -1.25, 2))
    shown("completions", json.loads(sheet.data())["data"])
    segments = [Segment("a", (-1.0, -2.0), (1, 1), 0.5), Segment("b", (-1.0, -2.0), (1, 2), None)]
    found = Contrast(segments, (7, 9), (2.5, 3.25), (12.18, math.inf), (1.5, 2.5))
    shown("contrast", contrast_data(("one", "other"), found))


def test_the_greeting_of_the_playground(services: Services) -> None:
    tab = PlaygroundTab.__new__(PlaygroundTab)
    tab.services = services
    assert mismatch(Greeting, json.dumps(json.loads(tab.greet("t" * 40))["data"])) is None
