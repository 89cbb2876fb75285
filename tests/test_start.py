"""Start and end: what start.py runs where, and how app.py ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import started, step

import app
import start
from gpt_demo.events import Event
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.runs import Runs


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no process")
def test_the_command_line_runs_in_the_environment_and_in_the_present_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(start, "install", lambda requirements: 0)
    monkeypatch.setattr(os, "execve", lambda *what: ran.append(what))
    for words in (["cli", "generate", "--prompt", "a b"], ["app"], []):
        monkeypatch.setattr(sys, "argv", ["start.py", *words])
        start.main()
    python = str(start.PYTHON)
    assert [(path, command) for path, command, _ in ran] == [
        (python, [python, "-m", "gpt_demo", "generate", "--prompt", "a b"]),
        *[(python, [python, str(start.ROOT / "app.py")])] * 2,
    ]
    assert all(env["PYTHONPATH"].split(os.pathsep)[0] == str(start.ROOT) for *_, env in ran)


def test_ctrl_c_lets_a_command_end_in_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own subprocess.run would kill it after a quarter of a second."""
    wait, interrupts = start.subprocess.Popen.wait, iter([KeyboardInterrupt, KeyboardInterrupt])

    def interrupted(self: Any, timeout: float | None = None) -> Any:
        for error in interrupts:
            raise error
        return wait(self, timeout)

    monkeypatch.setattr(start.subprocess.Popen, "wait", interrupted)
    assert start.run(sys.executable, "-c", "raise SystemExit(7)") == 7


def test_a_polite_kill_saves_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[RunFolder] = []

    class Page:
        def __init__(self, store: Any, runs: Runs, downloads: Any) -> None:
            self.runs = runs

        def launch(self, **_: Any) -> None:
            begun, ended = threading.Event(), threading.Event()

            def job(folder: RunFolder, *_: Any) -> Iterator[Event]:
                yield started()
                begun.set()
                for i in range(1_000_000):
                    yield step(i)

            folders.append(self.runs.create("a", None, {}))
            self.runs.start(folders[0], job)
            assert begun.wait(30)
            os.kill(os.getpid(), signal.SIGTERM)
            ended.wait(30)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path))
    monkeypatch.setattr(app, "build_app", Page)
    try:
        assert app.main() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert folders[0].status == "paused"


def test_a_home_that_can_not_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("GPT_DEMO_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert app.main() == 2
    assert capsys.readouterr().err == (
        f"{tmp_path} can't be read (Permission denied). Allow this program to read it, or set GPT_DEMO_HOME to another "
        "folder.\n"
    )
