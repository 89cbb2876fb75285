"""Random questions to the Playground's server and random states in links; the number tried is printed.

GPT_DEMO_FUZZ multiplies the numbers, for a longer search.
"""

from __future__ import annotations

import ast
import http.client
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from browser import App, start_app
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from node import Node, module
from small import Home
from starter import make_starter

from gpt_demo.decoding.steps import STEPS
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.services import Limits, Services

pytest_plugins = ["browser", "node"]

TIMES = float(os.environ.get("GPT_DEMO_FUZZ", "1"))
TRIED: Counter[str] = Counter()
HOSTILE = [
    "", "\0", "\ud800", "\u202e", "</script>", "${1}", "{{7*7}}", '"]); import os  #', "\\", "'", "../..", "__proto__",
    "constructor", "x" * 5000,
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 300), st.sampled_from([10**9, -(10**9), 2**64, 10**400]),
    st.floats(), st.text(max_size=20), st.sampled_from(HOSTILE),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=12,
)
STEP = st.fixed_dictionaries({"name": st.sampled_from([*STEPS, "nothing"]) | JSON, "value": st.floats(-2, 300) | JSON})


def fuzzed(examples: int) -> Any:
    """No deadline: a question may load the model. The same ones each time, unless a longer search is asked for."""
    return settings(
        max_examples=int(examples * TIMES), deadline=None, database=None, derandomize=TIMES == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nfuzzed: {', '.join(f'{count:,} {what}' for what, count in TRIED.items())}")


# Questions ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> LabServer:
    home = Home(tmp_path_factory.mktemp("fuzz"))
    make_starter(home.path)
    return LabServer(Services(home.store, home.runs, Limits()))


LANE = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=5) | JSON,
        "steps": st.lists(STEP, max_size=3) | JSON,
        "greedy": st.booleans() | JSON,
        "beams": st.integers(0, 4) | JSON,
        "length_penalty": st.floats(-2, 2) | JSON,
    },
)
FIELDS: dict[str, Any] = {
    "token": st.just("t" * 43) | JSON,
    "model": st.just("little") | JSON,
    "text": st.text(max_size=30) | JSON,
    "ids": st.lists(st.integers(0, 256), max_size=60) | JSON,
    "first": st.integers(0, 60) | JSON,
    "seed": st.integers(0, 9) | JSON,
    "count": st.integers(1, 5) | JSON,
    "stop": st.booleans() | JSON,
    "lanes": st.lists(LANE, max_size=3) | JSON,
    "beams": st.integers(1, 4) | JSON,
    "length_penalty": st.floats(-2, 2) | JSON,
    "early_stopping": st.booleans() | JSON,
    "job": JSON,
    "logits": st.lists(st.floats(-9, 9), max_size=9) | JSON,
    "temperature": st.floats(0.1, 5) | JSON,
    "top_k": st.integers(0, 9) | JSON,
    "draws": st.integers(1, 50) | JSON,
}
QUESTIONS = st.fixed_dictionaries({}, optional=FIELDS) | JSON


@fuzzed(1000)
@given(data=st.data())
def test_every_question_gets_an_answer_or_a_sentence(lab: LabServer, data: st.DataObject) -> None:
    function = data.draw(st.sampled_from(lab.functions))
    asked = data.draw(QUESTIONS)
    TRIED["questions"] += 1
    answer = function(asked)
    assert isinstance(answer, dict)
    json.dumps(answer)
    said = answer.get("error", "")
    assert "could not answer" not in said  # a bug, or a question whose type was not checked
    assert "/" not in said or "fuzz" not in said
    assert len(said) < 1000
    if "job" in answer:
        lab.close({"token": "", "job": answer["job"]})


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = start_app(tmp_path_factory.mktemp("fuzz-app"))
    yield app
    app.close()


@fuzzed(150)
@given(body=JSON, fields=st.dictionaries(st.sampled_from(["session_hash", "component_id", "fn_name", "data"]), JSON))
@example(body={}, fields={"component_id": 0})
def test_no_request_ends_in_a_500(app: App, body: Any, fields: dict[str, Any]) -> None:
    """Not even those that are no question."""
    component = next(block for block in app.demo.blocks.values() if getattr(block, "elem_id", None) == "lab")
    whole = {"session_hash": "s", "component_id": component._id, "fn_name": "row", "data": {}, **fields}
    host = app.url.split("/")[2]
    for one in (body, whole):
        TRIED["requests"] += 1
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request(
            "POST", "/gradio_api/component_server/", json.dumps(one), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        assert answer.status < 500, said
        assert "Traceback" not in said


# Links ----------------------------------------------------------------------------------------------------------------

WAY = st.fixed_dictionaries(
    {"steps": st.lists(STEP, max_size=2), "greedy": st.booleans() | JSON, "seed": st.integers(0, 9) | JSON}
)
TREE = st.fixed_dictionaries(
    {
        "nodes": st.just([[-1, -1, -1], [0, 5, 0]]) | JSON,
        "leaf": st.integers(0, 1) | JSON,
        "ways": st.lists(WAY, max_size=2) | JSON,
    }
)
STATES = st.fixed_dictionaries(
    {},
    optional={
        "panel": st.sampled_from(["write", "race", "beams", "toy"]) | JSON,
        "model": st.text(max_size=9) | st.sampled_from(HOSTILE) | JSON,
        "prompt": st.text(max_size=30) | st.sampled_from(HOSTILE) | JSON,
        "steps": st.lists(STEP, max_size=3) | JSON,
        "greedy": st.booleans() | JSON,
        "seed": st.integers(0, 9) | JSON,
        "length": st.integers(1, 50) | JSON,
        "stop": st.booleans() | JSON,
        "lanes": st.lists(LANE, max_size=3) | JSON,
        "beams": st.fixed_dictionaries(
            {"beams": st.integers(1, 4) | JSON, "length": st.integers(1, 9), "length_penalty": st.floats(-2, 2) | JSON,
             "early": st.booleans()}
        ) | JSON,
        "toy": st.fixed_dictionaries(
            {"temperature": st.floats(0.1, 5) | JSON, "top_k": st.integers(0, 9), "u": st.floats(0, 1) | JSON,
             "draws": st.sampled_from([0, 1000])}
        ) | JSON,
        "tree": TREE | JSON,
        "ngram": st.integers(1, 5) | JSON,
    },
) | JSON  # fmt: skip

LINK = f"""async (raw) => {{
  const [{{ clean }}, {{ START }}, {{ receipt }}] = await Promise.all(
    [{module("playground/link.js")}, {module("playground/state.js")}, {module("playground/receipt.js")}]);
  const once = clean(raw), again = clean(structuredClone(once.state));
  const {{ title, code }} = receipt({{ state: {{ ...structuredClone(START), ...once.state }} }});
  return {{ same: JSON.stringify(once.state) === JSON.stringify(again.state), wrong: again.wrong,
            keys: Object.keys(once.state), code }};
}}"""
CALLS = {
    "ModelStore", "ModelStore(data_home(), see_all=True).load", "data_home", "tokenizer.encode", "tokenizer.decode",
    "print", "race", "len", "list", "beam_search", "lane_of", "dart", "draw_toy", "torch.tensor", "isinstance", "next",
    "max", "zip", "dict", "map",
}  # fmt: skip


@fuzzed(500)
@given(raw=STATES)
@example(raw={"panel": "__proto__"})
def test_of_a_link_only_what_holds_is_used_and_its_receipt_runs_nothing_of_it(node: Node, raw: Any) -> None:
    TRIED["links"] += 1
    raw = json.loads(json.dumps(raw).replace("NaN", "null").replace("-Infinity", "null").replace("Infinity", "null"))
    found = node.evaluate(LINK, raw)
    assert found["same"]
    assert found["wrong"] == []
    tree = ast.parse(found["code"])
    called = {ast.unparse(one.func) for one in ast.walk(tree) if isinstance(one, ast.Call)}
    assert called <= CALLS, called - CALLS
    imported = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    imported |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    assert imported <= {"gpt_demo", "torch"}, imported
