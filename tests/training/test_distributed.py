"""Several processes, started as torchrun does, against one: the same losses, one voice, and what is left of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from small import TEXT, Home, options

from gpt_demo.cli.main import main
from gpt_demo.errors import UserError
from gpt_demo.training.distributed import ALONE, Team, check_batch

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "dropout": 0.0, "batch_size": 4, "grad_accum_steps": 2, "n_embd": 16, "eval_batches": 0, "eval_interval": 10,
    "sample_interval": 20,
}  # fmt: skip
Told = list[dict[str, Any]]


def torchrun(*words: str) -> subprocess.Popen[str]:
    """Two processes of `python -m gpt_demo train --json`; each computes on one thread."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gpt_demo"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, "train", "--json", *words], env=environment, text=True, stdout=pipe, stderr=pipe)


def ended(job: subprocess.Popen[str]) -> tuple[Told, str]:
    """All that was said: every line of the output is an event."""
    out, err = job.communicate(timeout=300)
    return [json.loads(line) for line in out.splitlines()], err


def of_kind(told: Told, kind: str, *names: str) -> list[Any]:
    return [event[names[0]] if names else event for event in told if event["event"] == kind]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path))
    (tmp_path / "my.txt").write_text(TEXT)
    return Home(tmp_path)


def test_two_processes_are_one_and_one_resumes_them(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(home.path / "my.txt")
    job = torchrun(text, "--name", "two", *options(**SETTINGS, max_steps=50))
    assert main(["train", "--json", text, "--name", "one", *options(**SETTINGS, max_steps=50)]) == 0
    one = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    two, err = ended(job)
    assert job.returncode == 0, err
    assert [event["event"] for event in two] == [event["event"] for event in one], "one stream"
    for kind, name in (("stepped", "loss"), ("evaluated", "val_loss"), ("evaluated", "train_loss")):
        assert of_kind(two, kind, name) == pytest.approx(of_kind(one, kind, name), rel=0, abs=1e-5)
    assert len(of_kind(two, "stepped")) == 50
    assert of_kind(two, "sampled", "text") == of_kind(one, "sampled", "text")
    assert sorted(info.name for info in home.store.list()) == ["one", "two"]

    resumed = []
    for name in ("one", "two"):
        assert main(["train", "--json", "--resume", name, "--max-steps", "60"]) == 0
        resumed.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert of_kind(resumed[1], "stepped", "step") == list(range(50, 60))
    assert of_kind(resumed[1], "stepped", "loss") == pytest.approx(of_kind(resumed[0], "stepped", "loss"), abs=1e-4)


def test_a_killed_process_ends_the_job_with_a_sentence_and_a_checkpoint(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = options(**{**SETTINGS, "dropout": 0.1}, max_steps=10**6)
    job = torchrun(str(home.path / "my.txt"), "--name", "two", *settings)
    assert job.stdout is not None
    try:
        told = [json.loads(next(job.stdout)) for _ in range(30)]
        [second] = [
            child for child in psutil.Process(job.pid).children(recursive=True) if child.environ().get("RANK") == "1"
        ]
        second.kill()
        more, err = ended(job)
    finally:
        job.kill()
    assert job.returncode != 0
    assert err.count("Another process of this run has ended") == 1
    folder = home.runs.get("two")
    assert folder.status == "failed"
    assert "train --resume" in folder.message
    done = len(of_kind(told + more, "stepped"))
    assert main(["train", "--json", "--resume", "two", "--max-steps", str(done + 3)]) == 0
    resumed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert of_kind(resumed, "stepped", "step") == [done, done + 1, done + 2], "no step is lost"


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_made(home: Home) -> None:
    with pytest.raises(UserError, match=r"batch_size is 3, and 2 processes .* Set it to 4"):
        check_batch(3, 2)
    check_batch(4, 2)
    job = torchrun(str(home.path / "my.txt"), "--name", "two", *options(batch_size=3))
    told, err = ended(job)
    assert (told, job.returncode) == ([], 1)
    assert err.count("batch_size is 3, and 2 processes share each batch evenly") == 1
    assert home.runs.list() == []


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A team of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield Team()
    dist.destroy_process_group()


def test_dropout_has_numbers_of_its_own_in_every_process(team: Team) -> None:
    torch.manual_seed(0)
    common = torch.rand(3)
    drawn = {}
    for rank, step, number in ((0, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 2)):
        team.rank = rank
        torch.manual_seed(0)
        with team.masks(123, step, number):
            drawn[rank, step, number] = torch.rand(3)
        assert torch.equal(torch.rand(3), common), "batches go on with the numbers that all share"
    assert len({tuple(numbers.tolist()) for numbers in drawn.values()}) == 4
    team.rank = 1
    with team.masks(123, 5, 1):
        assert torch.equal(torch.rand(3), drawn[1, 5, 1]), "a resumed run draws them again"


def test_the_rows_of_all_processes_are_the_batch(team: Team) -> None:
    batch = torch.arange(12).view(6, 2), torch.arange(12, 24).view(6, 2)
    team.count, shares = 3, []
    for rank in range(3):
        team.rank = rank
        shares.append(team.rows(batch))
    for i in (0, 1):
        assert sorted(torch.cat([share[i] for share in shares]).tolist()) == batch[i].tolist()
    assert ALONE.rows(batch) is batch


def test_a_team_stops_only_where_all_know(team: Team) -> None:
    asked = [False]
    stopping = team.agreed(lambda: asked[0])
    asked[0] = True
    assert not stopping(), "the others can't know yet"
    assert team.mean_loss(2.5) == 2.5
    assert stopping()
    assert team.mean_loss(float("inf")) != team.mean_loss(1.0) == 1.0
    assert team.same("a näme") == "a näme"
