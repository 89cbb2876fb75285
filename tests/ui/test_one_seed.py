"""The same model, prompt, settings and seed give the same text everywhere."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from conftest import Tiny

import gpt_demo.cli.main as cli
from gpt_demo.compare.prompts import complete
from gpt_demo.decoding.generate import Sampling, token_texts
from gpt_demo.runs.runs import Runs
from gpt_demo.store.folder import save_model
from gpt_demo.store.store import ModelStore
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.plan import TrainConfig
from gpt_demo.training.watch import sample
from gpt_demo.ui.api import Api
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.services import Services

PROMPT, SEED, COUNT = "Once", 7, 40
STEPS = {"repetition_penalty": 1.2, "temperature": 0.9, "top_k": 60, "top_p": 0.95, "min_p": 0.01}
# As assets/playground/receipt.js writes it.
RECEIPT = """
from gpt_demo import lane_of, race
from gpt_demo import ModelStore, data_home

model, tokenizer = ModelStore(data_home(), see_all=True).load("tiny")
prompt = "Once"
ids = tokenizer.encode(prompt) or [tokenizer.end_of_text]
lane = lane_of({lane})
drawn = race(model, tokenizer.n_vocab, ids, [lane], seed=7, count=40, end=tokenizer.end_of_text)
new = [token.id for token in drawn]
print(new)
print(prompt + tokenizer.decode(new))
"""


@pytest.fixture
def home(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path))
    model = tiny()
    save_model(tmp_path / "models" / "tiny", model.config, model.state_dict(), byte_level(), {})
    return tmp_path


@pytest.fixture
def services(home: Path) -> Services:
    return Services(ModelStore(home, starter=None), Runs(home), None)


def printed(call: Any) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        call()
    return out.getvalue()


def on_the_command_line(*more: str) -> str:
    options = [word for name, value in STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["generate", "--model", "tiny", "--prompt", PROMPT, "--seed", str(SEED), "--max-new-tokens", str(COUNT)]
    return printed(lambda: cli.main([*words, *options, *more])).removesuffix("\n")


def at_the_endpoint(services: Services) -> str:
    *_, last = Api(services).generate(gr.Request(), "tiny", PROMPT, COUNT, seed=SEED, **STEPS)  # type: ignore[arg-type]
    return str(last["text"])


def in_the_playground(services: Services) -> str:
    server, tokenizer = LabServer(services), byte_level()
    request = {"model": "tiny", "ids": tokenizer.encode(PROMPT), "seed": SEED, "count": COUNT, "lanes": [LANE]}
    job, ids, done = server.start(request), list[int](), False
    while not done:
        answer = server.more(job)
        ids += [event["id"] for event in answer["events"]]
        done = answer["done"]
    return PROMPT + "".join(token_texts(tokenizer, ids))


LANE: dict[str, Any] = {"name": "", "steps": [{"name": name, "value": value} for name, value in STEPS.items()]}


def test_one_seed_one_text(services: Services) -> None:
    expected = on_the_command_line()
    assert len(expected) > len(PROMPT) + 10
    assert at_the_endpoint(services) == expected
    assert in_the_playground(services) == expected
    receipt = printed(lambda: exec(RECEIPT.replace("{lane}", repr(LANE)), {}))
    assert receipt.split("\n", 1)[1] == expected + "\n"
    [event] = complete(["tiny"], services.store.load, [PROMPT], COUNT, Sampling(**STEPS, seed=SEED))  # type: ignore[arg-type]
    assert PROMPT + event.text == expected


def test_a_training_sample_is_the_same_text_too(services: Services) -> None:
    lane = {"steps": [{"name": "temperature", "value": 1.2}, {"name": "top_k", "value": 60}]}
    config = replace(
        TrainConfig(), sample_prompt=PROMPT, sample_tokens=COUNT, seed=SEED, sample_temperature=1.2, sample_top_k=60
    )
    receipt = printed(lambda: exec(RECEIPT.replace("{lane}", repr(lane)), {}))
    assert receipt.split("\n", 1)[1] == sample(*services.store.load("tiny"), config) + "\n"


def test_the_books_draw_is_another_text(home: Path) -> None:
    texts = {on_the_command_line("--draw", draw) for draw in ("darts", "multinomial")}
    assert len(texts) == 2


@pytest.mark.parametrize(
    "code",
    [
        "from gpt_demo.lab import lane_of, race, draw_toy",
        "from gpt_demo.decoding import beam_search",
        "from gpt_demo.store import ModelStore, data_home",
        "from gpt_demo import ModelStore, beam_search, data_home, draw_toy, lane_of, race",
    ],
)
def test_imports_of_receipts_made_by_the_first_version_work(code: str) -> None:
    import gpt_demo

    names: dict[str, Any] = {}
    exec(code, names)
    for name in set(names) & set(gpt_demo.__all__):
        assert names[name] is getattr(gpt_demo, name)
