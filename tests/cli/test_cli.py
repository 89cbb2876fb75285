"""The command line: what scripts rely on, said in one line when it goes wrong, and never a run lost."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Tiny
from small import TEXT, options

import gpt_demo.cli.main as cli
from gpt_demo.cli import train, write
from gpt_demo.events import Event, Stepped, TokenChosen
from gpt_demo.model import decode_step
from gpt_demo.runs.folder import RunFolder
from gpt_demo.store.folder import load_model
from gpt_demo.store.store import SHIPPED, ModelStore
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training.config import FIELDS
from gpt_demo.training.evaluation import evaluate

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


class Home:
    """A folder of its own for models and runs, a text in it, and the command line on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = str(path / "text.txt")
        Path(self.text).write_text(TEXT)
        self.store = ModelStore(path, starter=None)

    def __call__(self, *words: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setenv("GPT_DEMO_HOME", str(self.path))
            patch.setattr("gpt_demo.paths.ASSETS", self.path)
            try:
                code = cli.main(list(words))
            except SystemExit as exit:
                code = int(exit.code or 0)
        return Result(code, out.getvalue(), err.getvalue())

    def train(self, *words: str, **changes: Any) -> Result:
        return self("train", self.text, "--json", *options(**changes), *words)

    def files(self) -> set[Path]:
        return {path for path in self.path.rglob("*") if path.name != ".lock"}

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.path / "runs" / name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Result]:
    """A home with the model "one", and how it was trained."""
    home = Home(tmp_path_factory.mktemp("trained"))
    return home, home.train("--name", "one")


# train ----------------------------------------------------------------------------------------------------------------

KEYS = {
    "stepped": {"step", "tokens_seen", "loss", "learning_rate", "grad_norm", "tokens_per_second"},
    "evaluated": {"step", "tokens_seen", "epoch", "train_loss", "val_loss"},
    "sampled": {"step", "epoch", "text"},
    "saved": {"path"},
}


def test_train_tells_every_event(trained: tuple[Home, Result]) -> None:
    home, result = trained
    assert (result.code, result.err) == (0, "")
    assert result.kinds() == [
        "started", *("evaluated", "sampled", "stepped", "stepped") * 2,
        *("evaluated", "sampled", "stepped", "evaluated", "sampled", "stepped"), "saved", "finished",
    ]  # fmt: skip
    for event in result.events:
        kind = event.pop("event")
        assert set(event) == KEYS.get(kind, set(event))
    assert [event["step"] for event in result.events if event["event"] == "stepped"] == list(range(6))
    assert home.run("one").status == "finished"
    lines = (home.path / "runs" / "one" / "events.jsonl").read_text().splitlines()
    assert lines == result.out.splitlines()


def test_train_in_words(home: Home) -> None:
    result = home("train", home.text, *options(sample_prompt="Nell "))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("quick-1: ")
    for words in ("steps 0 to 5 on cpu in fp32", "loss 5.", "perplexity 2", "Nell", "finished after 6 steps"):
        assert words in result.out


@pytest.mark.parametrize("name", ["book", "steps", None])
def test_presets(home: Home, name: str | None) -> None:
    small = options(max_steps=2, n_embd=4, n_head=1)
    result = home("train", home.text, *(["--preset", name] if name else []), *small)
    assert result.code == 0
    info = home.run(f"{name or 'quick'}-1").info
    assert info["preset"] == (name or "quick")
    assert info["config"]["train"]["decay"] == ("all" if name else "matrices")


def test_help_explains_every_setting(home: Home) -> None:
    result = home("train", "--help")
    assert result.code == 0
    for name in FIELDS:
        assert f"--{name.replace('_', '-')} VALUE" in result.out


def test_several_files_are_one_text(home: Home) -> None:
    other = home.path / "other.md"
    other.write_text("Another text.")
    home("train", home.text, str(other), *options(max_steps=1), "--name", "two")
    text = (home.path / "runs" / "two" / "text.txt").read_text()
    assert text == TEXT + "<|endoftext|>Another text."
    assert home.run("two").info["source"] == "text.txt"


def test_save_seconds_0(home: Home) -> None:
    result = home.train(save_seconds=0, max_steps=3, eval_interval=0, sample_interval=5)
    assert result.kinds() == [
        "started", "sampled", *("stepped", "saved") * 2, "sampled", "stepped", "saved", "saved", "finished",
    ]  # fmt: skip
    paths = [Path(event["path"]).name for event in result.events if event["event"] == "saved"]
    assert paths == ["checkpoint-1", "checkpoint-2", "checkpoint-3", "quick-1"]


def test_from_a_stored_model(home: Home) -> None:
    assert home.train("--name", "parent").code == 0
    words = ["--learning-rate", "1e-12", "--max-steps", "1", "--dropout", "0", "--sample-tokens", "1"]
    result = home("train", home.text, "--model", "parent", "--name", "child", "--json", *words)
    assert result.code == 0
    assert result.events[0]["n_params"] == home.store.get("parent").config.n_params
    parent, child = (home.store.load(name)[0].wpe.weight for name in ("parent", "child"))
    torch.testing.assert_close(child, parent, rtol=0, atol=1e-6)


def test_a_resume_before_the_first_checkpoint_says_that_it_starts_over(home: Home) -> None:
    assert home.train("--name", "one", "--max-steps", "2").code == 0
    for checkpoint in home.run("one").path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    result = home("train", "--resume", "one", "--json")
    assert (result.code, result.err) == (0, "The run one had saved nothing yet, so it starts over.\n")
    assert [event["step"] for event in result.events if event["event"] == "stepped"] == [0, 1]


def test_resume_goes_on_counting(home: Home) -> None:
    assert home.train("--name", "one").code == 0
    result = home("train", "--resume", "one", "--max-steps", "8", "--json")
    assert (result.code, result.err) == (0, "")
    assert result.events[0]["step"] == 6
    assert [event["step"] for event in result.events if event["event"] == "stepped"] == [6, 7]
    assert [e.step for e in home.run("one").events() if isinstance(e, Stepped)] == list(range(8))


# generate, evaluate, models -------------------------------------------------------------------------------------------

GENERATE = ["generate", "--model", "one", "--prompt", "The ", "--max-new-tokens", "8"]


def test_generate_writes_the_text_as_it_comes(trained: tuple[Home, Result]) -> None:
    home, _ = trained
    result = home(*GENERATE, "--greedy")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("The ")
    assert result.out.endswith("\n")
    assert home(*GENERATE, "--temperature", "0").out == result.out


def test_generate_says_why_a_large_model_is_slower(
    trained: tuple[Home, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = trained
    monkeypatch.setattr(decode_step.PRODUCT, "trouble", "There is no C++ compiler here. Install g++ or clang++.")
    assert home(*GENERATE).err == "", "a small one is not"
    monkeypatch.setattr(decode_step, "WORTHWHILE", 0)
    assert home(*GENERATE).err == (
        "Each token takes longer than it could. There is no C++ compiler here. Install g++ or clang++.\n"
    )


def test_generate_json(trained: tuple[Home, Result]) -> None:
    home, _ = trained
    result = home(*GENERATE, "--json", "--seed", "5")
    *tokens, finished = result.events
    for token in tokens:
        assert list(token) == ["event", "id", "text", "logprob"]
        assert token["event"] == "token"
        assert token["logprob"] <= 0
    assert set(finished) == {"event", "text", "tokens", "tokens_per_second", "reason"}
    assert finished["text"] == "The " + "".join(token["text"] for token in tokens)
    assert finished["tokens"] == len(tokens) == 8
    assert [event.get("id") for event in home(*GENERATE, "--json", "--seed", "5").events] == [
        *(token["id"] for token in tokens), None
    ]  # fmt: skip
    assert home(*GENERATE, "--json", "--seed", "6").out != result.out


SAMPLING = "--temperature 0.7 --top-k 20 --top-p 0.9 --min-p 0.01 --repetition-penalty 1.2"


@pytest.mark.parametrize(
    "words",
    [
        SAMPLING,
        "--beams 3 --length-penalty 0.5",
        "--precision bf16",
        "--precision int8 --greedy",
        "--prompt",
        "--beams 1",
    ],
)
def test_generate_takes_every_option(trained: tuple[Home, Result], words: str) -> None:
    home, _ = trained
    result = home(*GENERATE, "--json", *words.split(), *([""] if words == "--prompt" else []))
    assert (result.code, result.err) == (0, "")
    assert result.kinds() == ["token"] * (len(result.events) - 1) + ["finished"]


def test_one_beam_is_greedy(trained: tuple[Home, Result]) -> None:
    home, _ = trained
    texts = [home(*GENERATE, "--json", *words).events[-1]["text"] for words in (["--beams", "1"], ["--greedy"])]
    assert texts[0] == texts[1]


def test_characters_a_terminal_lacks(trained: tuple[Home, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """An old Windows console, say."""
    home, _ = trained
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setenv("GPT_DEMO_HOME", str(home.path))
    monkeypatch.setattr(sys, "stdout", console)
    assert cli.main([*GENERATE, "--prompt", "名前 é"]) == 0
    console.flush()
    assert console.buffer.getvalue().startswith("?? é".encode("cp1252"))  # type: ignore[attr-defined]


def test_evaluate(trained: tuple[Home, Result]) -> None:
    home, _ = trained
    result = home("evaluate", "--model", "one", home.text, "--json")
    (measured,) = evaluate(*home.store.load("one"), TEXT)
    assert result.events == [json.loads(measured.to_json())]
    assert set(result.events[0]) == {"event", "loss", "perplexity", "tokens"}
    assert result.events[0]["tokens"] == len(byte_level().encode(TEXT)) - 1
    words = home("evaluate", "--model", "one", home.text).out
    assert words.startswith(f"loss {measured.loss:.4f}  perplexity {measured.perplexity:,.2f}  tokens ")


def test_models(trained: tuple[Home, Result]) -> None:
    home, _ = trained
    listed = {event["name"]: event for event in home("models", "--json").events}
    assert set(listed) <= {*SHIPPED, "one", "one-best"}
    one = listed["one"]
    assert (one["event"], one["parameters"]) == ("model", home.store.get("one").config.n_params)
    assert one["about"]["source"] == "text.txt"
    assert "owner" not in one["about"]
    names = [line.split()[0] for line in home("models").out.splitlines()]
    assert names[: len(SHIPPED) + 1] == [*SHIPPED, "one"]


def test_models_of_all_visitors(home: Home, tiny: Tiny) -> None:
    assert [event["name"] for event in home("models", "--json").events] == list(SHIPPED)
    model = tiny()
    home.store.save("hers", model.config, model.state_dict(), byte_level(), {"owner": "x", "val_loss": float("nan")})
    event = home("models", "--json").events[-1]
    assert (event["name"], event["about"]) == ("hers", {"val_loss": None})


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hall_of_mistakes(trained: tuple[Home, Result]) -> Home:
    """The trained home with files that can't be used; nothing that is done to it changes it."""
    home, _ = trained
    (home.path / "binary.txt").write_bytes(bytes(range(256)))
    (home.path / "empty.txt").write_text("")
    (home.path / "blank.txt").write_text(" \n")
    (home.path / "short.txt").write_text("abc")
    (home.path / "picture.png").write_bytes(b"\x89PNG")
    (home.path / "folder.txt").mkdir()
    for name, content in (("broken", "{"), ("odd", '{"config": {"data": {}, "model": {"n_layer": "x"}, "train": {}}}')):
        (home.path / "runs" / name).mkdir()
        (home.path / "runs" / name / "run.json").write_text(content)
    (home.path / "models" / "broken").mkdir()
    (home.path / "models" / "broken" / "config.json").write_text("{")
    return home


MISTAKES = [
    ("", "required: COMMAND"),
    ("fly", "invalid choice: 'fly'"),
    ("train", "No text file is given"),
    ("train missing.txt", "missing.txt can't be read: No such file"),
    ("train folder.txt", "folder.txt can't be read: Is a directory"),
    ("train .", "without an extension"),
    ("train binary.txt", "binary data"),
    ("train picture.png", "is a .png file"),
    ("train empty.txt", "contains no text"),
    ("train blank.txt", "contains no text"),
    ("train short.txt --tokenizer bytes", "training text has 2 tokens, but n_ctx 128"),
    ("train text.txt missing.txt", "missing.txt can't be read"),
    ("train text.txt --preset slow", "no preset named 'slow'"),
    ("train text.txt --model nobody", "no model named 'nobody'. Available: starter, early, memorized, one"),
    ("train text.txt --model broken", "no model named 'broken'"),
    ("train text.txt --model one --n-layer 3 --tokenizer bpe", "keeps that model's n_layer, tokenizer"),
    ("train text.txt --name one", "already a model named one"),
    ("train text.txt --name ../x", "is not a valid name"),
    ("train text.txt --name starter", "starter is reserved for a model of the app"),
    ("train text.txt --wings 2", "unrecognized arguments: --wings 2"),
    ("train text.txt --n-lay 2", "unrecognized arguments: --n-lay 2"),
    ("train text.txt --n-layer", "expected one argument"),
    ("train text.txt --n-layer two", "must be a whole number"),
    ("train text.txt --n-layer 0", "at least 1"),
    ("train text.txt --n-layer -1", "at least 1"),
    ("train text.txt --n-head 5", "must be a multiple of n_head"),
    ("train text.txt --batch-size 1.5", "must be a whole number"),
    ("train text.txt --batch-size inf", "must be a whole number"),
    ("train text.txt --learning-rate nan", "learning_rate is nan"),
    ("train text.txt --learning-rate inf", "learning_rate is inf"),
    ("train text.txt --learning-rate=-inf", "learning_rate is -inf"),
    ("train text.txt --learning-rate -1", "learning_rate is -1"),
    ("train text.txt --dropout nan", "dropout is nan"),
    ("train text.txt --grad-clip nan", "grad_clip is nan"),
    ("train text.txt --save-seconds -1", "save_seconds is -1"),
    ("train text.txt --val-fraction 0.9", "val_fraction is 0.9"),
    ("train text.txt --seed -1", "seed is -1"),
    ("train text.txt --seed 1000000000000000000000000000000", "seed is 1000"),
    ("train text.txt --max-steps 0", "the run would never end"),
    ("train text.txt --qkv-bias perhaps", "must be true or false"),
    ("train text.txt --split words", "must be one of characters, tokens"),
    ("train text.txt --precision fp8", "must be one of auto, fp32, bf16"),
    ("train text.txt --tokenizer words", "must be one of gpt2"),
    ("train text.txt --n-vocab 3", "n_vocab is 3"),
    ("train text.txt --tokenizer bytes --n-embd 1000000 --n-head 1", "GB of memory"),
    ("train --resume nobody", "no run named 'nobody'. Available: one"),
    ("train --resume broken", "The run broken can't be read"),
    ("train --resume odd", "n_layer is 'x'"),
    ("train --resume one", "raise max_steps above 6"),
    ("train --resume one --n-layer 3", "keeps its n_layer"),
    ("train --resume one --name two", "omit FILE, --preset, --model and --name"),
    ("train --resume one --preset quick", "omit FILE, --preset, --model and --name"),
    ("train text.txt --resume one", "omit FILE, --preset, --model and --name"),
    ("train --resume", "expected one argument"),
    ("train --resume ''", "no run named ''"),
    ("generate", "required: --model"),
    ("generate --model nobody", "no model named 'nobody'"),
    ("generate --model broken", "no model named 'broken'"),
    ("generate --model one --temperature nan", "temperature is nan"),
    ("generate --model one --temperature -1", "temperature is -1"),
    ("generate --model one --temperature warm", "invalid float value: 'warm'"),
    ("generate --model one --top-k -1", "top_k is -1"),
    ("generate --model one --top-k 1.5", "invalid int value: '1.5'"),
    ("generate --model one --top-p 2", "top_p is 2"),
    ("generate --model one --top-p nan", "top_p is nan"),
    ("generate --model one --min-p inf", "min_p is inf"),
    ("generate --model one --repetition-penalty 0", "repetition_penalty is 0"),
    ("generate --model one --max-new-tokens 0", "max_new_tokens is 0"),
    ("generate --model one --max-new-tokens 9999999", "max_new_tokens is 9999999"),
    ("generate --model one --seed -1", "seed is -1"),
    ("generate --model one --beams -1", "n_beams is -1"),
    ("generate --model one --beams 2 --top-k 3 --seed 4", "so it ignores --top-k, --seed."),
    ("generate --model one --beams 2 --greedy", "so it ignores --greedy."),
    ("generate --model one --length-penalty 2", "--length-penalty belongs to beam search"),
    ("generate --model one --beams 1000", "n_beams is 1000"),
    ("generate --model one --beams 2 --length-penalty nan", "length_penalty is nan"),
    ("generate --model one --precision fp8", "must be one of fp32, bf16, int8"),
    ("evaluate", "required:"),
    ("evaluate --model one", "required: FILE"),
    ("evaluate --model one missing.txt", "missing.txt can't be read"),
    ("evaluate --model one folder.txt", "Is a directory"),
    ("evaluate --model one empty.txt", "contains no text"),
    ("evaluate --model nobody text.txt", "no model named 'nobody'"),
    ("models --wings", "unrecognized arguments: --wings"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line(
    hall_of_mistakes: Home, line: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = hall_of_mistakes
    before = home.files()
    monkeypatch.chdir(home.path)
    result = home(*shlex.split(line))
    assert result.code == 2
    assert sentence in result.err
    assert len(result.err.splitlines()) == 1
    assert result.err.endswith("\n")
    assert "Traceback" not in result.err
    assert home.files() == before


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.path = tmp_path / "text.txt"
    result = home("train", home.text, *options())
    assert result.code == 2
    assert "text.txt" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_run_that_fails_says_why(home: Home) -> None:
    result = home.train("--name", "one", learning_rate=1e38, warmup_steps=0, grad_clip=0)
    assert result.code == 2
    assert "Try a lower learning_rate" in result.err
    assert len(result.err.splitlines()) == 1
    assert home.run("one").status == "failed"
    assert home.run("one").message in result.err


def test_a_run_that_somebody_works_on(home: Home) -> None:
    home.train("--name", "one")
    with home.run("one").working():
        result = home("train", "--resume", "one", "--max-steps", "9")
    assert (result.code, result.err) == (2, "The run one is already running.\n")


# Interrupted ----------------------------------------------------------------------------------------------------------


def signalled(at: type[Event], number: int, count: int = 1) -> Any:
    """Prints events, and sends this process a signal (as often as said) after the third event of a kind."""
    seen = iter(range(100))
    show = train.print_json

    def print_and_signal(event: Event) -> None:
        show(event)
        if isinstance(event, at) and next(seen) == 2:
            for _ in range(count):
                os.kill(os.getpid(), number)

    return print_and_signal


@pytest.mark.parametrize(("number", "count"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 3)])
def test_an_interrupted_training_is_saved(home: Home, number: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(train, "print_json", signalled(Stepped, number, count))
    result = home.train("--name", "one")
    assert result.code == 130
    assert result.err == "Stopped; the model and its state are saved. To resume: train --resume one\n"
    assert result.kinds().count("stepped") == 4  # the step after the signal is measured, then saved
    assert signal.getsignal(number) is before
    assert home.run("one").status == "stopped"
    assert load_model(home.path / "models" / "one")
    again = home("train", "--resume", "one", "--json")
    assert again.code == 0
    assert [event["step"] for event in again.events if event["event"] == "stepped"] == [4, 5]


def test_an_interrupted_generation_ends(trained: tuple[Home, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = trained
    monkeypatch.setattr(write, "print_json", signalled(TokenChosen, signal.SIGINT))
    result = home(*GENERATE, "--json")
    assert (result.code, result.kinds()) == (130, ["token"] * 3)


def test_interrupted_anywhere_else(trained: tuple[Home, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = trained

    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._RUN, "models", interrupt)
    assert home("models") == (130, "", "")


def test_a_reader_that_has_had_enough(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train ... | head`: no traceback, and the run can go on."""
    show, lines = train.print_json, iter(range(100))

    def full(event: Event) -> None:
        if next(lines) == 5:
            raise BrokenPipeError
        show(event)

    with monkeypatch.context() as patch:
        patch.setattr(train, "print_json", full)
        result = home.train("--name", "one")
    assert (result.code, result.err) == (
        0,
        "Stopped; the model and its state are saved. To resume: train --resume one\n",
    )
    assert home.run("one").info["status"] == "stopped"
    assert load_model(home.path / "models" / "one")
    assert home("train", "--resume", "one").code == 0
    assert home.run("one").status == "finished"


def test_a_pipe_that_is_closed(trained: tuple[Home, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = trained
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setenv("GPT_DEMO_HOME", str(home.path))
    with open(write, "w") as pipe:  # closing it writes what is left
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli.main(["models"]) == 0


# Processes ------------------------------------------------------------------------------------------------------------


class Process:
    """A process that prints events. It can't run far ahead of its reader: its pipe holds few lines."""

    def __init__(self, home: Home, *words: str) -> None:
        env = {**os.environ, "GPT_DEMO_HOME": str(home.path)}
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines = io.BufferedReader(self.process.stdout, 512)  # type: ignore[arg-type]
        with contextlib.suppress(AttributeError, OSError):  # Linux only
            fcntl.fcntl(self.lines.fileno(), fcntl.F_SETPIPE_SZ, 4096)

    def read_until(self, step: int) -> list[dict[str, Any]]:
        """The events up to the one of this step."""
        events = []
        for line in self.lines:
            events.append(json.loads(line))
            if events[-1]["event"] == "stepped" and events[-1]["step"] == step:
                break
        return events

    def end(self) -> Result:
        """Read the rest and wait."""
        with self.process, self.lines:
            assert self.process.stderr is not None
            out, err = self.lines.read().decode(), self.process.stderr.read().decode()
            return Result(self.process.wait(), out, err)


STEPS = 60
LONG = {"max_steps": STEPS, "save_seconds": 0, "eval_interval": 7}

EVERY_COMMAND = """
import contextlib, io, sys
from gpt_demo.cli.main import main

def loaded():
    heavy = ("torch", "numpy", "tiktoken", "tensorflow", "gradio", "transformers", "pandas", "matplotlib")
    return " ".join(name for name in heavy if name in sys.modules)

def run(*words):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        assert main(list(words)) == 0

run("--help")
at_first = loaded()
code = main(sys.argv[1:])
run("generate", "--model", "one", "--max-new-tokens", "3")
run("evaluate", "--model", "one", sys.argv[2])
run("models")
print(f"[{at_first}] [{loaded()}]", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that was interrupted with Ctrl-C, resumed, killed, and resumed to its end."""
    home = Home(tmp_path_factory.mktemp("battered"))
    first = Process(home, "-c", EVERY_COMMAND, "train", home.text, "--json", "--name", "one", *options(**LONG))
    first.read_until(4)
    first.process.send_signal(signal.SIGINT)
    seen: dict[str, Any] = {"home": home, "interrupted": first.end()}
    seen |= {"status": home.run("one").status, "kept": home.store.get("one").about["step"]}

    second = Process(home, "-m", "gpt_demo", "train", "--resume", "one", "--json")
    seen["again"] = second.read_until(STEPS // 2)
    second.process.kill()
    seen |= {"killed": second.end(), "status_killed": home.run("one").status}
    seen["recorded"] = (home.path / "runs" / "one" / "events.jsonl").read_bytes()
    return seen | {"last": home("train", "--resume", "one", "--json")}


def test_ctrl_c_saves_the_state(battered: dict[str, Any]) -> None:
    result = battered["interrupted"]
    assert result.code == 130
    assert result.err.startswith("Stopped; the model and its state are saved. To resume: train --resume one\n")
    assert battered["status"] == "stopped"
    last = [event["step"] for event in result.events if event["event"] == "stepped"][-1:]
    assert last in ([], [battered["kept"]])  # (its last lines may have been read before the signal)
    assert battered["again"][0]["step"] == battered["kept"] + 1


def test_nothing_heavy_is_imported_without_need(battered: dict[str, Any]) -> None:
    """Nothing for --help; and no command here needs tensorflow, gradio, or what draws figures."""
    assert battered["interrupted"].err.splitlines()[1:] == ["[] [torch numpy tiktoken]"]


def test_a_killed_run_was_interrupted(battered: dict[str, Any]) -> None:
    assert battered["killed"].code == -signal.SIGKILL
    assert battered["status_killed"] == "interrupted"
    assert b'"finished"' not in battered["recorded"]


def test_it_comes_out_as_if_nothing_had_happened(battered: dict[str, Any], home: Home) -> None:
    """Bit for bit, every step exactly once, no half line."""
    assert battered["last"].code == 0
    uninterrupted = home.train("--name", "one", **LONG)
    lines = (battered["home"].path / "runs" / "one" / "events.jsonl").read_text().splitlines()
    record = [json.loads(line) for line in lines]
    at_the_stop = [e for e in record if e["event"] == "evaluated" and e["step"] % 7 and e["step"] < STEPS - 1]
    assert len(at_the_stop) <= 1, "measured where it was stopped"
    record = [event for event in record if event not in at_the_stop]
    for kind in ("stepped", "evaluated", "sampled"):
        told = [[event for event in events if event["event"] == kind] for events in (record, uninterrupted.events)]
        for event in (event for events in told for event in events):
            event.pop("tokens_per_second", None)
        assert told[0] == told[1]
    assert [event["step"] for event in record if event["event"] == "stepped"] == list(range(STEPS))
    assert [event["event"] for event in record].count("finished") == 1
    assert battered["home"].run("one").status == "finished"


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "gpt_demo", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("train", "generate", "evaluate", "models"):
        assert command in done.stdout
