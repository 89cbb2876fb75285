"""download, import and export on the command line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from hub_server import HubServer
from others import logits, write_repo
from servers import Fault
from test_cli import ROOT, Home
from transformers import GPT2LMHeadModel

import gpt_demo.download.files
from gpt_demo.cli import output
from gpt_demo.cli.output import ProgressPrinter
from gpt_demo.download.files import DownloadFailed
from gpt_demo.events import Converting, Downloading, Kept, Saved
from gpt_demo.exchange.hub import REPOS, fetch_from_hub
from gpt_demo.model.gpt import GPT, GPT2_SIZES, GPTConfig
from gpt_demo.text.tokenizer import byte_level, gpt2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@pytest.fixture
def model(home: Home, tiny: Tiny) -> GPT:
    """The model called "one" in the store."""
    model = tiny(seed=3).eval()
    home.store.save("one", model.config, model.state_dict(), byte_level(), {"owner": "a visitor"})
    return model


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repos") / "124M"
    write_repo(folder, gpt2(), n_positions=16, n_embd=8, n_head=2, n_layer=2)
    return folder


@pytest.fixture
def hub(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(gpt_demo.download.files, "PAUSES", (0.0,) * len(gpt_demo.download.files.PAUSES))
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setitem(GPT2_SIZES, "124M", GPTConfig(50257, 16, 8, 2, 2))
    with HubServer({REPOS["124M"]: repo}) as server:
        server.replaces_the_hub(monkeypatch, tmp_path / "cache")
        yield server


def test_download_tells_every_event(hub: HubServer, home: Home) -> None:
    result = home("download", "124M", "--source", "huggingface", "--json")
    assert (result.code, result.err) == (0, "")
    assert list(dict.fromkeys(result.kinds())) == ["downloading", "converting", "saved", "finished"]
    first, last = result.events[0], result.events[-1]
    assert set(first) == {"event", "file", "received", "total", "all_received", "all_total", "trouble"}
    assert last["model"] == "gpt2-124M"
    assert last["path"] == str(home.path / "models" / "gpt2-124M")
    assert "gpt2-124M" in home("models").out
    again = home("download", "124M", "--source", "huggingface", "--json", "--no-keep-files")
    assert again.kinds() == ["finished"]
    assert not (home.path / "downloads" / "gpt2-124M-huggingface").exists()
    written = home("generate", "--model", "gpt2-124M", "--prompt", "A", "--max-new-tokens", "3", "--greedy")
    assert written.code == 0


def test_download_in_words(hub: HubServer, home: Home) -> None:
    result = home("download", "124M", "--source", "huggingface")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) < 25
    assert any(line.startswith("converting 28 of 28 tensors") for line in lines)
    assert lines[-2] == f"The downloaded files are kept in {home.path / 'downloads' / 'gpt2-124M-huggingface'}"
    assert lines[-1].startswith("gpt2-124M: ")


def test_export_and_import(model: GPT, home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = home("export", "--model", "one", "--to", str(out), "--json")
    assert (result.code, result.err) == (0, "")
    assert result.kinds()[-1] == "finished"
    theirs = GPT2LMHeadModel.from_pretrained(out).eval()
    assert torch.allclose(logits(theirs), logits(model), atol=1e-5)
    result = home("import", str(out), "--name", "two", "--json")
    assert (result.code, result.err) == (0, "")
    assert result.events[-1]["model"] == "two"
    assert torch.equal(logits(home.store.load("two")[0]), logits(model))
    words = home("import", str(out), "--name", "three")
    assert words.out.splitlines()[-1].startswith("three: ")


def test_weights_alone_take_options(model: GPT, home: Home, tmp_path: Path) -> None:
    """What is missing is printed in a form that can be pasted."""
    home("export", "--model", "one", "--to", str(tmp_path / "out"))
    weights = (tmp_path / "out" / "model.safetensors").rename(tmp_path / "x.safetensors")
    result = home("import", str(weights), "--name", "two")
    assert (result.code, result.err.count("\n")) == (2, 1)
    options = result.err.partition("guesses to be confirmed: ")[2].replace("--n-head ?", "--n-head 4")
    result = home("import", str(weights), "--name", "two", *shlex.split(options), "--json")
    assert (result.code, result.err) == (0, "")
    assert torch.equal(logits(home.store.load("two")[0]), logits(model))
    result = home("import", str(weights), "--name", "three", "--n-head", "four")
    assert (result.code, result.err) == (2, "n_head is 'four'; it must be a whole number.\n")


def test_evaluate_in_another_precision(model: GPT, home: Home) -> None:
    losses = {}
    for precision in ("fp32", "bf16", "int8"):
        result = home("evaluate", "--model", "one", home.text, "--precision", precision, "--json")
        assert result.code == 0
        losses[precision] = result.events[-1]["loss"]
    assert len(set(losses.values())) == 3
    assert max(losses.values()) - min(losses.values()) < 0.05


MISTAKES = [
    ("download", "required: SIZE|ORG/NAME"),
    ("download 125M", "Choose one of 124M, 355M, 774M, 1558M"),
    ("download 124M --source elsewhere", "Choose one of openai, huggingface"),
    ("download 124M --wings", "unrecognized arguments: --wings"),
    ("import", "required: PATH, --name"),
    ("import missing --name x", "There is no file or folder missing"),
    ("import text.txt --name x", "text.txt can't be imported"),
    ("import . --name x", "no config.json"),
    ("import one --name one", "already a model named one"),
    ("import one --name ../x", "is not a valid name"),
    ("import one --name gpt2-124M", "Choose another name"),
    ("export", "required: --model, --to"),
    ("export --model nobody --to x", "no model named 'nobody'"),
    ("export --model one --to text.txt", "text.txt is already there"),
    ("export --model one --to models", "models is already there"),
    ("export --model one --to text.txt/below", "text.txt"),
    ("evaluate --model one text.txt --precision fp8", "must be one of fp32, bf16, int8"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line(
    line: str, sentence: str, model: GPT, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.files()
    monkeypatch.chdir(home.path)
    result = home(*shlex.split(line))
    assert result.code == 2
    assert sentence in result.err
    assert len(result.err.splitlines()) == 1
    assert "Traceback" not in result.err
    assert home.files() - {home.path / "downloads"} == before


def test_a_download_that_fails_is_one_line(hub: HubServer, home: Home) -> None:
    hub.status = 404
    result = home("download", "124M", "--source", "huggingface")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "answered 404" in result.err


@pytest.mark.parametrize("words", ["download 124M", "import x --name x", "export --model x --to x"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_job(words: str, number: int, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of whatever it does, not only between events; and the job is closed."""
    closed = []

    def job(*_: Any, **__: Any) -> Iterator[Converting]:
        try:
            yield Converting(1, 2)
            signal.raise_signal(number)
            yield Converting(2, 2)
        finally:
            closed.append(True)

    before = signal.getsignal(signal.SIGTERM)
    for name in ("download_model", "import_model", "export_model"):
        monkeypatch.setattr(f"gpt_demo.exchange.pretrained.{name}", job)
    result = home(*words.split(), "--json")
    assert result.code == 130
    assert result.err.startswith("Stopped; ")
    assert result.err.count("\n") == 1
    assert ("To resume" in result.err) is words.startswith("download")
    assert len(result.events) == 1
    assert closed == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_during_a_download_and_the_same_command_again(hub: HubServer, home: Home, repo: Path) -> None:
    """A process of its own, which knows the Hub by HF_ENDPOINT: interrupted while nothing comes any more."""
    path, folder = hub.cdn_path("model.safetensors"), home.path / "downloads" / "gpt2-124M-huggingface"
    hub.cdn.faults[path] = [Fault(cut=500_000)]
    hub.cdn.always[path] = Fault(cut=0)
    with pytest.raises(DownloadFailed, match="500,000 bytes already downloaded are kept"):
        list(fetch_from_hub("124M", folder))
    hub.cdn.always[path] = Fault(stall=0)
    command = [sys.executable, "-m", "gpt_demo", "download", "124M", "--source", "huggingface", "--json"]
    env = {**os.environ, "GPT_DEMO_HOME": str(home.path), "HF_ENDPOINT": hub.url, "HF_HOME": str(home.path / "hf")}
    first = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert json.loads(first.stdout.readline())["event"] == "downloading"
    first.send_signal(signal.SIGINT)
    _, err = first.communicate()
    assert first.returncode == 130
    assert err.startswith("Stopped; the partial download is kept. To resume: download 124M")
    assert "Traceback" not in err
    assert "gpt2-124M" not in home("models").out
    hub.cdn.always.clear()
    hub.cdn.requests.clear()
    assert home("download", "124M", "--source", "huggingface").code == 0
    assert next(r.start for r in hub.cdn.requests if r.method == "GET") == 500_000
    assert (folder / "model.safetensors").read_bytes() == (repo / "model.safetensors").read_bytes()


# Progress in words ----------------------------------------------------------------------------------------------------


def at(received: int, total: int | None = 1000_000_000) -> Downloading:
    return Downloading("model.ckpt", received, total, received, total)


def said(events: list[Any], capsys: pytest.CaptureFixture[str], seconds: float = 0.0, tty: bool = False) -> str:
    """What is printed, `seconds` passing between two events."""
    clock = iter(range(10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output.time, "monotonic", lambda: seconds * next(clock))
        patch.setattr(sys.stdout, "isatty", lambda: tty)
        printer = ProgressPrinter()
        for event in events:
            printer.show(event)
        printer.end_line()
    return capsys.readouterr().out


def test_a_line_every_ten_percent(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([at(i * 1_000_000) for i in range(1001)], capsys).splitlines()
    assert len(lines) == 11
    assert lines[0] == "0.0 of 1,000.0 MB  model.ckpt"
    assert lines[-1] == "1,000.0 of 1,000.0 MB  model.ckpt"


def test_a_line_every_100_mb_where_the_length_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([at(i * 10_000_000, None) for i in range(31)], capsys).splitlines()
    assert lines == [f"{n}.0 MB  model.ckpt" for n in (0, 100, 200, 300)]


def test_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Of what came in this process: the 400 MB that were there do not count."""
    lines = said([at(400_000_000), at(500_000_000), at(700_000_000)], capsys, seconds=10).splitlines()
    assert lines[1:] == [
        "500.0 of 1,000.0 MB  10.0 MB/s, 50 s left  model.ckpt",
        "700.0 of 1,000.0 MB  15.0 MB/s, 20 s left  model.ckpt",
    ]
    slow = said([at(0), at(100_000_000)], capsys, seconds=10).splitlines()[-1]
    assert "10.0 MB/s, 1 min 30 s left" in slow


def test_on_a_terminal_one_line_is_rewritten(capsys: pytest.CaptureFixture[str]) -> None:
    events = [at(0), at(999_000_000), Converting(1, 2), Saved("/x"), Kept("m", "/y", 5_000_000, 2.0)]
    out = said(events, capsys, tty=True)
    assert out.count("\n") == 3
    assert out.startswith("\r0.0 of 1,000.0 MB  model.ckpt\r999.0 of 1,000.0 MB  model.ckpt\rconverting 1 of 2 tensors")
    assert out.endswith("\nThe downloaded files are kept in /x\nm: 5.0 MB in /y, after 2.0 s\n")
    longest = max(map(len, out.split("\n")[0].split("\r")))
    assert len(out.split("\n")[0].split("\r")[-1]) == longest  # a shorter line covers the one before


def test_help(home: Home) -> None:
    for command, word in (
        ("download", "--source"),
        ("import", "--name"),
        ("export", "--to"),
        ("evaluate", "--precision"),
    ):
        result = home(command, "--help")
        assert result.code == 0
        assert word in result.out
