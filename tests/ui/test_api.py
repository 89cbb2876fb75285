"""The endpoints for programs, through gradio_client: the contract's six, and nothing else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import App, start_app, tiny_app, tiny_config
from gradio_client import Client
from gradio_client.exceptions import AppError

from gpt_demo.decoding.generate import Sampling, generate
from gpt_demo.events import Generated
from gpt_demo.store.store import owner_key
from gpt_demo.text.samples import sample_story
from gpt_demo.training.config import PRESETS
from gpt_demo.ui import page as page_module
from gpt_demo.ui.services import Limits

pytest_plugins = ["browser"]
SOMEBODY = "s" * 43


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with tiny_app(tmp_path_factory.mktemp("api")) as app:
        app.recorded("model", eval_interval=0)
        yield app


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[Client]:
    client = Client(app.url, verbose=False, httpx_kwargs={"timeout": 60})
    yield client
    client.close()


def call(client: Client, endpoint: str, **inputs: Any) -> Any:
    return client.predict(api_name=f"/{endpoint}", **inputs)


def wait_for_the_end(app: App, name: str) -> None:
    live = app.runs.live(name)
    if live is not None:
        live.join(30)


def test_the_contract_and_nothing_else(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)
    assert isinstance(named, dict)
    assert named["unnamed_endpoints"] == {}
    endpoints = {
        name: [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        for name, endpoint in named["named_endpoints"].items()
    }
    sampling = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty"]
    assert endpoints == {
        "/generate": ["model", "prompt", "max_new_tokens", *sampling, "seed"],
        "/next_token_distribution": ["model", "prompt", *sampling, "top_n"],
        "/train": ["text", "preset", "name"],
        "/run_status": ["run", "owner"],
        "/stop_run": ["run", "owner"],
        "/models": [],
    }


def test_models(client: Client) -> None:
    assert call(client, "models") == ["model"]


def test_generate_streams_the_same_text_as_the_core(app: App, client: Client) -> None:
    job = client.submit(model="model", prompt="Once", max_new_tokens=12, temperature=0.7, seed=3, api_name="/generate")
    *_, last = job
    events = generate(*app.store.load("model"), "Once", Sampling(temperature=0.7, seed=3), 12)
    assert [event.text for event in events if isinstance(event, Generated)] == [last["text"]]
    assert len(last["tokens"]) == 12
    assert "Once" + "".join(token["text"] for token in last["tokens"]) == last["text"]
    assert all(token["logprob"] <= 0 and isinstance(token["id"], int) for token in last["tokens"])


def test_next_token_distribution(client: Client) -> None:
    stages = call(client, "next_token_distribution", model="model", prompt="a", temperature=0.5, top_k=3, top_n=5)
    stages = stages["stages"]
    assert [stage["name"] for stage in stages] == ["model", "temperature", "top_k"]
    assert [stage["kept"] for stage in stages] == [257, 257, 3]
    assert [len(stage["tokens"]) for stage in stages] == [5, 5, 5]
    assert sum(token["probability"] for token in stages[-1]["tokens"]) == pytest.approx(1)
    assert stages[0]["removed_mass"] == 0


def test_train_status_and_stop(app: App, client: Client) -> None:
    started = call(client, "train", text=sample_story(), name="remote")
    assert started["run"] == "remote"
    wait_for_the_end(app, "remote")
    status = call(client, "run_status", **started)
    assert (status["run"], status["status"], status["message"]) == ("remote", "finished", "")
    assert [event["event"] for event in status["events"][-2:]] == ["saved", "finished"]
    assert status["events"][-2] == {"event": "saved", "name": "remote"}
    stopped = call(client, "stop_run", **started)
    assert stopped == {"run": "remote", "status": "finished", "saved": "remote", "steps": 12}
    assert app.run("remote").info["owner"] == owner_key(started["owner"])


def test_a_run_can_be_stopped_while_it_goes_on(app: App, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "steps", tiny_config(max_steps=100_000))
    started = call(client, "train", text=sample_story(), preset="steps")
    status = call(client, "run_status", **started)
    assert status["status"] in ("waiting", "running")
    asked = call(client, "stop_run", **started)
    assert (asked["status"], asked["saved"]) in (("stopping", None), ("stopped", started["run"]))
    wait_for_the_end(app, started["run"])
    assert call(client, "run_status", **started)["status"] == "stopped"
    stopped = call(client, "stop_run", **started)
    assert stopped["status"] == "stopped"
    assert stopped["steps"] == app.history(started["run"]).steps_done < 100_000
    assert stopped["saved"] in app.names()


@pytest.mark.parametrize("endpoint", ["run_status", "stop_run"])
@pytest.mark.parametrize("owner", ["", "somebody else", SOMEBODY[:-1], owner_key(SOMEBODY)])
def test_the_wrong_owner_sees_nothing(app: App, client: Client, endpoint: str, owner: str) -> None:
    if not (app.runs.home / "secret").exists():
        app.created("secret", owner=owner_key(SOMEBODY))
    with pytest.raises(AppError, match="owner is empty" if not owner else "There is no run named 'secret'"):
        call(client, endpoint, run="secret", owner=owner)
    assert call(client, "run_status", run="secret", owner=SOMEBODY)["status"] == "paused"


@pytest.mark.parametrize(
    ("endpoint", "inputs", "sentence"),
    [
        ("generate", {"model": "nobody"}, "There is no model named 'nobody'"),
        ("generate", {"model": "../model"}, "There is no model named"),
        ("generate", {"model": "model", "temperature": -1}, "temperature"),
        ("generate", {"model": "model", "temperature": "hot"}, "temperature is 'hot'; it must be a number"),
        ("generate", {"model": "model", "top_k": 1.5}, "top_k is 1.5; it must be a whole number"),
        ("generate", {"model": "model", "prompt": 7}, "prompt is 7; it must be a string"),
        ("generate", {"model": None}, "model is None; it must be a string"),
        ("next_token_distribution", {"model": "model", "top_n": None}, "top_n is None"),
        ("next_token_distribution", {"model": "model", "top_p": 2}, "top_p"),
        ("train", {"text": ""}, "The text is empty"),
        ("train", {"text": "too short"}, "The training text has 8 tokens, but n_ctx 16 needs at least 17"),
        ("train", {"text": 5}, "text is 5; it must be a string"),
        ("train", {"text": "x" * 999, "preset": "slow"}, "There is no preset named 'slow'"),
        ("train", {"text": "x" * 999, "name": "<b>"}, "'<b>' is not a valid name"),
        ("train", {"text": "x" * 999, "name": "model"}, "There is already a"),
        ("run_status", {"run": ["x"], "owner": SOMEBODY}, "run is"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client: Client, endpoint: str, inputs: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AppError) as error:
        call(client, endpoint, **inputs)
    assert sentence in str(error.value)


def test_the_pages_own_listeners_give_a_stranger_nothing(app: App) -> None:
    """They can be called without the page, by whoever guesses a name: nothing tells that there is such a run."""
    if not (app.runs.home / "secret").exists():
        app.created("secret", owner=owner_key(SOMEBODY))
    app.created("own", owner=owner_key("o" * 43))
    (number, poll), *_ = [(n, block.fn) for n, block in app.demo.fns.items() if block.name == "poll"]
    assert poll is not None
    assert "secret" in str(poll(SOMEBODY, ["secret"], None))
    for token in ("", "o" * 43, owner_key(SOMEBODY)):
        assert "secret" not in str(poll(token, ["secret", "own"], None))
        assert "secret" not in str(poll("o" * 43, ["own", "secret"], None))
        for name in ("secret", "own"):  # what the page shows is kept by the server, so a name sent along is not read
            assert "secret" not in str(post(app, number, [token, [name, "secret"], None]))


def post(app: App, number: int, data: list[Any]) -> Any:
    """What a listener answers; an error's sentence where it refuses."""
    body = json.dumps({"data": data, "fn_index": number, "session_hash": "stranger"}).encode()
    request = urllib.request.Request(
        f"{app.url}gradio_api/run/predict", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)["error"]


def test_the_tokenizers_vocabulary_counts_on_a_public_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """n_vocab of a configuration is only a wish: gpt2 has 50,257 tokens, and a model of 5,000 parameters was let in."""
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    monkeypatch.setattr(page_module, "Limits", lambda: Limits(params=100_000))
    monkeypatch.setitem(PRESETS, "steps", tiny_config(tokenizer="gpt2", n_vocab=257))
    app = start_app(tmp_path)
    client = Client(app.url, verbose=False, httpx_kwargs={"timeout": 60})
    try:
        with pytest.raises(AppError, match=r"This model has 1\.6 million parameters"):
            call(client, "train", text=sample_story(), preset="steps")
        for endpoint in ("generate", "next_token_distribution"):
            with pytest.raises(AppError, match=r"This prompt has 20,001 characters; this public server reads"):
                call(client, endpoint, prompt="x" * 20_001)
    finally:
        client.close()
        app.close()
