"""What the server refuses before Gradio reads it, over HTTP; and when it is public by itself."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import loops
import pytest
from browser import App, start_app
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from gpt_demo.errors import UserError
from gpt_demo.ui import check_port, is_public, logs, reach, said_at_start
from gpt_demo.ui.door import Door, Rules
from gpt_demo.ui.logs import noted

pytest_plugins = ["browser"]
QUESTION = "/gradio_api/component_server/"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("local"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_DEMO_PUBLIC", "1")
        app = start_app(tmp_path_factory.mktemp("public"))
    yield app
    app.close()


def ask(app: App, method: str = "POST", path: str = QUESTION, body: Any = None, **headers: str) -> tuple[int, str]:
    """A question of the Playground: the status and the answer."""
    lab = next(block for block in app.demo.blocks.values() if getattr(block, "elem_id", None) == "lab")
    question = {"session_hash": "s", "component_id": lab._id, "fn_name": "models", "data": {"token": ""}}
    host = app.url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=60)
    body = json.dumps(question) if body is None and method == "POST" else body
    given = {"Content-Type": "application/json", "Host": host, **headers}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_itself_may_ask(local: App) -> None:
    host = local.url.split("/")[2]
    assert ask(local) == (200, '{"models":[]}')  # a program
    assert ask(local, Origin=f"http://{host}")[0] == 200
    port = host.split(":")[1]
    assert ask(local, Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "rebound.example.com"},
        {"Host": "rebound.example.com", "Origin": "http://rebound.example.com"},
        {"Host": "[["},
    ],
)
@pytest.mark.parametrize("path", [QUESTION, "/gradio_api/queue/join", "/gradio_api/upload"])
def test_no_other_website_posts_to_a_local_page(local: App, path: str, headers: dict[str, str]) -> None:
    status, said = ask(local, path=path, **headers)
    assert (status, "not from other websites" in said) == (403, True)


def test_a_public_page_is_asked_from_everywhere(public: App) -> None:
    """A reverse proxy may pass on another Host; and there is nothing that a browser would send along by itself."""
    assert ask(public, Host="gpt.example.com", Origin="https://gpt.example.com")[0] == 200


def test_a_large_request_is_refused_before_it_is_read(public: App) -> None:
    status, said = ask(public, **{"Content-Length": "200000000"})  # and nothing of it is sent
    assert (status, said) == (413, "This request is larger than 16 MB, the most that this server reads.")
    assert ask(public)[0] == 200


def through(door: Door, sizes: list[int], during: Callable[[], None] = lambda: None, **headers: str) -> tuple[int, int]:
    """A request whose body comes in parts of these sizes: the status, and how much the app has read."""
    parts, statuses = iter(sizes), list[int]()

    async def receive() -> Message:
        size = next(parts, None)
        return {"type": "http.request", "body": b" " * (size or 0), "more_body": size is not None}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: Scope = {"type": "http", "method": "POST", "path": "/x", "headers": encoded}
    scope["during"] = during
    loops.run(door(scope, receive, send))
    return statuses[0], scope.get("read", 0)


async def reader(scope: Scope, receive: Receive, send: Send) -> None:
    scope["read"] = 0
    while (message := await receive())["more_body"]:
        scope["read"] += len(message["body"])
    scope["during"]()
    await PlainTextResponse("read")(scope, receive, send)


def test_a_request_that_does_not_say_its_length_is_counted() -> None:
    door = Door(reader, Rules(body=100))
    assert through(door, [50, 50]) == (200, 100)
    assert through(door, [50, 50, 50, 50]) == (413, 100)
    assert through(door, [50], content_length="101") == (413, 0)
    assert through(Door(reader, Rules(body=None)), [50, 50, 50]) == (200, 150)


def test_large_requests_share_a_budget() -> None:
    MB = 1_000_000
    door, answers = Door(reader, Rules(body=4 * MB, bodies=6 * MB)), list[tuple[int, int]]()

    def during() -> None:
        with ThreadPoolExecutor(1) as pool:
            answers.append(pool.submit(lambda: through(door, [3 * MB], content_length=str(3 * MB))).result())
            answers.append(pool.submit(lambda: through(door, [10], content_length="10")).result())

    assert through(door, [4 * MB], during, content_length=str(4 * MB)) == (200, 4 * MB)
    assert answers == [(503, 0), (200, 10)]
    assert through(door, [3 * MB], content_length=str(3 * MB)) == (200, 3 * MB)


def test_what_gradio_counts_of_its_visitors_is_closed(local: App) -> None:
    for path in ("/monitoring", "/monitoring/summary"):
        status, said = ask(local, "GET", path)
        assert status >= 400
        assert "total_requests" not in said


def test_health_and_metrics(public: App) -> None:
    """A visitor's text, name and token are in none of them."""
    assert ask(public, "GET", "/health") == (200, '{"status":"ok"}')
    secret = "visitors-secret"
    lab = next(block for block in public.demo.blocks.values() if getattr(block, "elem_id", None) == "lab")
    asked = {"token": secret * 4, "model": secret, "text": secret}
    question = {"session_hash": secret, "component_id": lab._id, "fn_name": "encode", "data": asked}
    status, said = ask(public, body=json.dumps(question))
    assert (status, "There is no model named" in said) == (200, True)
    status, metrics = ask(public, "GET", "/metrics")
    assert status == 200
    assert secret not in metrics
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values['gpt_demo_events_total{event="refusal"}']) >= 1
    assert float(values["gpt_demo_memory_bytes"]) > 1e7
    assert {name for name in values if "runs" in name} == {"gpt_demo_runs_running", "gpt_demo_runs_waiting"}


def test_the_log_is_lines_without_values(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "gpt_demo.server"):
        events = noted(iter([1, 2]), "download", model="gpt2-124M")
        assert next(events) == 1
        events.close()  # type: ignore[attr-defined]
        assert list(noted(iter([1]), "run")) == [1]
        try:
            raise ValueError("a visitor's text")
        except ValueError:
            logs._WithoutValues().print_exc()
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["event"] for line in lines] == [
        "download started", "download stopped", "run started", "run ended", "error",
    ]  # fmt: skip
    assert lines[-1]["error"] == "ValueError"
    assert lines[-1]["place"].startswith("test_door.py:")
    assert "visitor" not in caplog.text + capsys.readouterr().err


def test_nobody_passes_the_queue_by(local: App) -> None:
    body = json.dumps({"data": ["model", "x", 5, 1.0, 0, 1.0, 0.0, 1.0, 0]})
    assert ask(local, path="/gradio_api/run/generate", body=body)[0] >= 400


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, ""),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, ""),
        ({"GRADIO_SERVER_NAME": "[::1]"}, ""),
        ({"GRADIO_SHARE": "False"}, ""),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, "it listens on 0.0.0.0"),
        ({"GRADIO_SHARE": "True"}, "it has a share link"),
        ({"COLAB_RELEASE_TAG": "release"}, "it runs in Colab, behind a share link"),
        ({"SPACE_ID": "a/b"}, "it runs as a Hugging Face Space"),
    ],
)
def test_a_server_that_others_can_reach_is_public(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], why: str
) -> None:
    for name in ("GPT_DEMO_PUBLIC", "GRADIO_SERVER_NAME", "GRADIO_SHARE", "COLAB_RELEASE_TAG", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (is_public(), reach.why_public()) == (bool(why), why)
    assert (f"This server is public ({why})" in said_at_start(), "GPT_DEMO_PUBLIC=0" in said_at_start()) == (
        bool(why),
        bool(why),
    )
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "0")
    assert not is_public()
    assert ("may do everything" in said_at_start()) == bool(why)
    monkeypatch.setenv("GPT_DEMO_PUBLIC", "1")
    assert is_public()


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio took the next one in silence, or ended with a traceback."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(reach, "USUAL_PORT", taken)
        monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
        assert f"Port {taken} is taken by another program" in check_port()
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(taken))
        with pytest.raises(UserError, match=f"Port {taken} is taken .* set GRADIO_SERVER_PORT to another"):
            check_port()
    assert check_port() == ""
    monkeypatch.delenv("GRADIO_SERVER_PORT")
    assert check_port() == ""
