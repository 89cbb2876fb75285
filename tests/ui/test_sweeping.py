"""What is removed from the disk, and what stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from small import Home

from gpt_demo.ui.sweeping import DAY, HOUR, Keeping, Sweeper

NOW = time.time()
KEEPING = Keeping(files_bytes=250, fresh=60, visitors=30 * DAY, visitors_bytes=None)


def aged(path: Path, seconds: float, bytes: int = 100) -> Path:
    """A folder with a file, both last changed so long ago."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").write_bytes(b"x" * bytes)
    return older(path, seconds)


def older(path: Path, seconds: float) -> Path:
    for one in (*path.rglob("*"), path):
        os.utime(one, (NOW - seconds, NOW - seconds))
    return path


def test_saved_files_go_by_age_and_total_but_not_while_they_are_fetched(tmp_path: Path) -> None:
    home, cache = Home(tmp_path / "home"), tmp_path / "cache"
    ages = {"old": 2 * DAY, "third": 3 * HOUR, "second": 2 * HOUR, "first": HOUR, "now": 0}
    for name, age in ages.items():
        aged(cache / name, age)
    sweeper = Sweeper(home.store, home.runs, KEEPING, cache)
    sweeper.sweep(NOW)
    assert sorted(path.name for path in cache.iterdir()) == ["first", "now"]
    aged(cache / "large", 1, bytes=1000)
    sweeper.sweep(NOW)
    assert sorted(path.name for path in cache.iterdir()) == ["large", "now"]  # too large, but being saved
    Sweeper(home.store, home.runs, KEEPING, None).sweep(NOW + 9 * DAY)
    assert len(list(cache.iterdir())) == 2  # the folder of other programs too


def test_what_dead_processes_left_goes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    run, busy = home.run("run"), home.run("busy")
    left = ["models/.a.new", "runs/.b.new.123", "models/.c.deleted", "downloads/.import-x", "runs/run/.checkpoint.new"]
    kept = ["downloads/124M", "runs/busy/.checkpoint.new", "runs/run/checkpoint-5"]
    for name in (*left, *kept):
        aged(tmp_path / name, 2 * HOUR)
    new = aged(tmp_path / "downloads/.import-y", 0)
    lock = busy.lock()
    Sweeper(home.store, home.runs, KEEPING).sweep(NOW)
    lock.release()
    assert [name for name in left if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert new.exists()
    assert {folder.name for folder in home.runs.list()} == {run.name, "busy"}


@pytest.mark.parametrize("bytes", [None, 0])
def test_runs_and_models_of_visitors_go_after_a_time(tmp_path: Path, bytes: int | None) -> None:
    """Not the server's own, and none that is being trained."""
    home = Home(tmp_path)
    for name, owner, age in (("theirs", "o", 40), ("ours", None, 40), ("new", "o", 1), ("busy", "o", 40)):
        folder = home.run(name, owner, max_steps=1)
        home.train(folder)
        older(folder.path, age * DAY)
        older(home.store.folder(name), age * DAY)
    lock = home.runs.get("busy", "o").lock()
    keeping = Keeping(visitors=30 * DAY, visitors_bytes=bytes)
    Sweeper(home.store, home.runs, keeping).sweep(NOW)
    lock.release()
    new = ["new"] if bytes is None else []
    assert sorted(folder.name for folder in home.runs.list("o")) == ["busy", *new, "ours"]
    assert sorted(info.name for info in home.store.list("o")) == [*new, "ours"]


def test_on_a_private_machine_nothing_of_anybody_goes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.train(home.run("theirs", "o", max_steps=1))
    Sweeper(home.store, home.runs, Keeping()).sweep(NOW + 1000 * DAY)
    assert [folder.name for folder in home.runs.list("o")] == ["theirs"]
    assert [info.name for info in home.store.list("o")] == ["theirs"]
