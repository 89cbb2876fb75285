"""Runs: a thread and a folder. Jobs here are scripted, so that every moment can be looked at."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small import HOSTILE, started, step

from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Saved, Stepped
from gpt_demo.runs.folder import RunFolder
from gpt_demo.runs.runs import Run, Runs
from gpt_demo.store.store import owner_key

FINISHED = Finished(3, 30, 1.0, "done", None, None, None, None)
PATIENCE = 30.0  # seconds, for a machine that is busy with other things


def job(*events: Event) -> Generator[Event, None, None]:
    yield from events


class Script:
    """A job of three steps; each waits for a permit."""

    def __init__(self, permits: int = 3, error: Exception | None = None) -> None:
        self.permits = threading.Semaphore(permits)
        self.error = error
        self.began = threading.Event()
        self.closed = threading.Event()  # by then its state is saved

    def __call__(self, folder: RunFolder, stopping: Callable[[], bool]) -> Generator[Event, None, None]:
        return folder.record(self.events())

    def events(self) -> Generator[Event, None, None]:
        self.began.set()
        try:
            yield started()
            for i in range(3):
                assert self.permits.acquire(timeout=PATIENCE)
                if self.error:
                    raise self.error
                yield Evaluated(i, 10 * i, 0.1, 2.0, 2.5)
                yield step(i)
            yield FINISHED
        finally:
            self.closed.set()

    def let(self, steps: int = 1) -> None:
        self.permits.release(steps)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    yield runs
    runs.close()


def start(runs: Runs, script: Script, name: str = "") -> Run:
    return runs.start(runs.create(name or runs.free_name("run"), None, {}), script)


def kinds(events: list[Event]) -> str:
    return " ".join(event.kind for event in events)


WHOLE = "started evaluated stepped evaluated stepped evaluated stepped finished"


# From start to end ----------------------------------------------------------------------------------------------------


def test_a_run_from_start_to_end(runs: Runs) -> None:
    run = start(runs, Script())
    events = [event for batch in run.follow() for event in batch]
    assert kinds(events) == WHOLE
    assert run.folder.status == "finished"
    assert list(run.folder.events()) == events
    assert runs.live(run.folder.name) is None
    assert not runs.busy()
    assert run.history.steps["step"] == [0, 1, 2]


def test_a_run_outlives_its_reader(runs: Runs) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    reader = run.follow()
    assert next(reader) == [started()]
    reader.close()
    script.let(3)
    run.join(PATIENCE)
    assert run.folder.status == "finished"
    assert kinds(list(run.folder.events())) == WHOLE


def test_several_readers_get_all_events_in_order(runs: Runs) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(lambda n=n: [e for batch in run.follow(n) for e in batch]) for n in (0, 0, 2, 5, 99)]
        for _ in range(3):
            script.let()
        read = [future.result(PATIENCE) for future in futures]
    assert kinds(read[0]) == WHOLE
    assert read == [run.events[n:] for n in (0, 0, 2, 5, 99)]
    assert [event for batch in run.follow(3) for event in batch] == run.events[3:]  # one who comes after the end


def test_what_a_reader_sees_is_on_disk(runs: Runs) -> None:
    script = Script(permits=1)
    run = start(runs, script)
    seen: list[Event] = []
    for batch in run.follow():
        seen += batch
        assert list(run.folder.events())[: len(seen)] == seen
        script.let()


# Stopping, pausing, resuming ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stopped", "paused"])
def test_stop_after_the_present_step(runs: Runs, ending: Any) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    assert next(run.follow()) == [started()]
    run.stop(ending)
    assert not script.closed.is_set()  # a step is going on
    script.let()
    run.join(PATIENCE)
    assert script.closed.is_set()
    assert kinds(run.events) == "started evaluated stepped"
    assert run.folder.status == ending
    assert [event for batch in run.follow() for event in batch] == run.events  # no error


def test_a_stopped_run_can_be_started_again(runs: Runs) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    run.stop("paused")
    script.let()
    run.join(PATIENCE)
    again = runs.start(run.folder, Script())
    assert kinds([event for batch in again.follow() for event in batch]) == WHOLE
    assert run.folder.status == "finished"
    assert runs.history(run.folder).steps["step"] == [0, 1, 2]


def test_stop_in_the_last_moment_leaves_a_finished_run(runs: Runs) -> None:
    run = start(runs, Script())
    run.join(PATIENCE)
    run.stop()
    assert run.folder.status == "finished"


# One at a time --------------------------------------------------------------------------------------------------------


def test_runs_take_turns_in_the_order_they_came(runs: Runs) -> None:
    scripts = [Script(permits=0) for _ in range(4)]
    running, *waiting = [start(runs, script) for script in scripts]
    assert scripts[0].began.wait(PATIENCE)
    assert [run.folder.status for run in (running, *waiting)] == ["running", "waiting", "waiting", "waiting"]
    assert runs.waiting() == 3
    assert runs.busy()
    for i, script in enumerate(scripts):
        assert script.began.wait(PATIENCE)
        assert not any(later.began.is_set() for later in scripts[i + 1 :])
        script.let(3)
    for run in (running, *waiting):
        run.join(PATIENCE)
        assert run.folder.status == "finished"
    assert runs.waiting() == 0


def test_a_stopped_run_keeps_its_model_on_its_own_thread(runs: Runs) -> None:
    scripts, kept = [Script(permits=0) for _ in range(3)], list[tuple[str, bool]]()
    names: list[Any] = ["stopped", "paused", "discarded"]
    for name, script in zip(names, scripts, strict=True):
        keep = lambda folder, script=script: kept.append((folder.name, script.closed.is_set()))  # noqa: E731
        run = runs.start(runs.create(name, None, {}), script, keep)
        assert script.began.wait(PATIENCE)
        run.stop(name)  # returns at once: the run waits for a permit
        assert run.alive
        script.let()
        run.join(PATIENCE)
    assert kept == [("stopped", True)]  # after its state was saved


def test_a_model_that_can_not_be_kept_is_said(runs: Runs) -> None:
    def full(folder: RunFolder) -> None:
        raise UserError("The model can't be written.")

    script = Script(permits=0)
    run = runs.start(runs.create("a", None, {}), script, full)
    assert script.began.wait(PATIENCE)
    run.stop()
    script.let()
    run.join(PATIENCE)
    assert (run.folder.status, run.folder.message) == ("stopped", "The model can't be written.")
    assert not run.folder.is_locked()


def test_a_run_pauses_when_its_minutes_are_over(runs: Runs) -> None:
    run = runs.start(runs.create("a", None, {}), Script(), minutes=0.0)
    run.join(PATIENCE)
    assert kinds(run.events) == "started evaluated stepped"
    assert run.folder.status == "paused"
    assert "Paused after 0 minutes" in run.folder.message
    again = runs.start(run.folder, Script(), minutes=60.0)
    again.join(PATIENCE)
    assert (run.folder.status, run.folder.message) == ("finished", "")


@pytest.mark.parametrize("ending", ["stopped", "paused"])
def test_a_waiting_run_can_be_stopped(runs: Runs, ending: Any) -> None:
    first, second, third = Script(permits=0), Script(), Script()
    running, waiting, last = start(runs, first), start(runs, second), start(runs, third)
    waiting.stop(ending)
    waiting.join(PATIENCE)
    assert waiting.folder.status == ending
    assert list(waiting.follow()) == []
    assert not second.began.is_set()
    assert running.folder.status == "running"
    first.let(3)
    last.join(PATIENCE)
    assert last.folder.status == "finished"


@pytest.mark.parametrize("error", [UserError("The loss is no number. Lower it."), ValueError("a\n  bug")])
def test_a_failing_run_says_why_and_makes_room(runs: Runs, error: Exception) -> None:
    failing, next_one = start(runs, Script(error=error)), start(runs, Script())
    events: list[Event] = []
    with pytest.raises(type(error)) as raised:
        events += [event for batch in failing.follow() for event in batch]
    assert raised.value is error
    assert failing.folder.status == "failed"
    message = failing.folder.message
    assert message == str(error) if isinstance(error, UserError) else "error in the app: ValueError: a bug" in message
    assert kinds(failing.events) == "started"
    next_one.join(PATIENCE)
    assert next_one.folder.status == "finished"
    again = runs.start(failing.folder, Script())  # and can be tried again
    again.join(PATIENCE)
    assert (failing.folder.status, failing.folder.message) == ("finished", "")


def test_a_job_that_can_not_even_begin(runs: Runs) -> None:
    def refuse(folder: RunFolder, stopping: Callable[[], bool]) -> Generator[Event, None, None]:
        raise UserError("There is no text.")

    run = runs.start(runs.create("a", None, {}), refuse)
    with pytest.raises(UserError, match="no text"):
        list(run.follow())
    assert run.folder.status == "failed"


def test_a_full_disk_leaves_no_run_locked(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    assert script.began.wait(PATIENCE)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "update", full)
    script.let(3)
    run.join(PATIENCE)
    assert not run.alive
    assert run.folder.status == "interrupted"


# Processes ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from gpt_demo.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).working():
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process() -> Iterator[Callable[[RunFolder], subprocess.Popen[str]]]:
    """Another process that works on a run until it is killed."""
    processes: list[subprocess.Popen[str]] = []

    def work(folder: RunFolder) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(folder.path)]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        return process

    yield work
    for process in processes:
        process.kill()
        process.communicate()


def test_two_processes_never_work_on_one_run(runs: Runs, other_process: Any) -> None:
    folder = runs.create("a", None, {})
    process = other_process(folder)
    assert folder.status == "running"
    with pytest.raises(UserError, match="already running"):
        runs.start(folder, Script())
    with pytest.raises(UserError, match="already running"), folder.working():
        pass
    with pytest.raises(UserError, match="Another process"):
        runs.delete("a")
    assert folder.status == "running"
    process.kill()
    process.wait(PATIENCE)
    assert folder.status == "interrupted"
    run = runs.start(folder, Script())
    run.join(PATIENCE)
    assert folder.status == "finished"


def test_one_process_does_not_start_a_run_twice(runs: Runs) -> None:
    script = Script(permits=0)
    run = start(runs, script)
    with pytest.raises(UserError, match="already running"):
        runs.start(run.folder, Script())
    script.let(3)
    run.join(PATIENCE)
    assert run.folder.status == "finished"


def test_a_run_that_ends_while_it_is_looked_at(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at run.json and the look at the lock; the page would go on saying "interrupted"."""
    folder = runs.create("a", None, {})
    folder.update(status="running")

    def ends(self: RunFolder) -> bool:
        self.update(status="finished")
        return False

    monkeypatch.setattr(RunFolder, "is_locked", ends)
    assert folder.status == "finished"


@pytest.mark.parametrize("status", ["running", "waiting"])
def test_a_run_whose_process_died_was_interrupted(runs: Runs, status: str) -> None:
    folder = runs.create("a", None, {})
    folder.update(status=status)
    assert folder.status == "interrupted"


def test_looking_at_the_status_disturbs_nobody(runs: Runs) -> None:
    """A look takes the lock for a moment; a run that is started just then is started all the same."""
    folder = runs.create("a", None, {})
    folder.update(status="running")  # so every look has to try the lock
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            assert folder.status in ("running", "interrupted")

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            folder.lock().release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def test_a_disk_that_can_not_be_written_to_is_said_at_the_start(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"The run a can't be written \(Read-only file system\)\. Free some space"):
        runs.create("a", None, {})


def test_a_disk_that_is_full_for_the_events_is_said(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Event.to_json

    def full(self: Event) -> str:
        if self.kind == "stepped":
            raise OSError(28, "No space left on device")
        return write(self)

    monkeypatch.setattr(Event, "to_json", full)
    run = start(runs, Script())
    with pytest.raises(UserError, match=r"can't be written \(No space left on device\)"):
        list(run.follow())
    assert run.folder.status == "failed"
    assert "Free some space on the disk" in run.folder.message


def test_working_in_the_foreground(runs: Runs) -> None:
    folder = runs.create("a", None, {})
    with folder.working() as finish:
        assert folder.status == "running"
        finish("stopped")
    assert folder.status == "stopped"
    with pytest.raises(UserError, match="too short"), folder.working():
        raise UserError("The text is too short.")
    assert (folder.status, folder.message) == ("failed", "The text is too short.")
    with pytest.raises(ZeroDivisionError), folder.working():
        _ = 1 / 0
    assert folder.info["status"] == "interrupted"
    with folder.working() as finish:
        finish("finished")
    assert (folder.status, folder.message) == ("finished", "")


# Closing and deleting -------------------------------------------------------------------------------------------------


def test_close_pauses_everything(runs: Runs) -> None:
    scripts = [Script(permits=0), Script(permits=0)]
    first, second = [start(runs, script) for script in scripts]
    assert scripts[0].began.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(runs.close)
        second.join(PATIENCE)
        scripts[0].let()
        closing.result(PATIENCE)
    assert scripts[0].closed.is_set()
    assert not scripts[1].began.is_set()
    assert [run.folder.info["status"] for run in (first, second)] == ["paused", "waiting"]
    assert not runs.busy()


def test_runs_that_waited_when_the_server_ended_are_found_in_their_order(runs: Runs, other_process: Any) -> None:
    first = Script(permits=0)
    start(runs, first, "first")
    assert first.began.wait(PATIENCE)
    waiting = [start(runs, Script(), name) for name in ("third", "second")]  # in the order of the queue, not by name
    runs.create("new", None, {})
    stopped = start(runs, Script(), "stopped")
    stopped.stop()
    runs.pause()  # returns at once
    first.let(3)
    for run in (*waiting, stopped):
        run.join(PATIENCE)
    damaged = runs.create("damaged", None, {})
    (damaged.path / "run.json").write_text("{")
    runs.create("odd", None, {}).update(status="waiting", queued="yesterday")
    elsewhere = runs.create("elsewhere", None, {})
    other_process(elsewhere)
    elsewhere.update(status="waiting")
    assert [folder.name for folder in runs.left_waiting()] == ["odd", "third", "second"]


def test_delete_while_running_does_not_wait_for_the_run(runs: Runs) -> None:
    script = Script(permits=0)
    run = start(runs, script, "a")
    assert script.began.wait(PATIENCE)
    runs.delete("a")
    assert run.alive
    assert run.folder.path.exists()
    assert runs.list() == []  # nobody sees it any more
    with pytest.raises(UserError, match="no run named 'a'"):
        runs.get("a")
    run.stop("paused")  # from another tab, a moment before: it still goes
    script.let(3)
    run.join(PATIENCE)
    assert not list(runs.home.iterdir())
    assert runs.list() == []
    with pytest.raises(UserError, match="no run named 'a'"):
        runs.get("a")
    assert start(runs, Script(), "a").folder.path.exists()  # the name is free again


def test_delete_a_run_that_waits(runs: Runs) -> None:
    first = Script(permits=0)
    running, waiting = start(runs, first), start(runs, Script(), "a")
    runs.delete("a")
    waiting.join(PATIENCE)
    assert not waiting.folder.path.exists()
    first.let(3)
    running.join(PATIENCE)
    assert running.folder.status == "finished"


# Names and owners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(runs: Runs, name: str) -> None:
    for use in (lambda n: runs.create(n, None, {}), runs.get, runs.delete):
        with pytest.raises(UserError) as error:
            use(name)
        assert len(str(error.value)) < 400
    assert not list(runs.home.parent.rglob("*"))


def test_a_name_is_taken_once(runs: Runs) -> None:
    folder = runs.create("a", None, {"text.txt": "one\r\ntwo"})
    with pytest.raises(UserError, match="already a run named a"):
        runs.create("a", "somebody else", {"text.txt": "other"})
    assert (folder.path / "text.txt").read_bytes() == b"one\r\ntwo"
    assert [path.name for path in runs.home.iterdir()] == ["a"]


def test_a_name_that_many_want_at_once(runs: Runs) -> None:
    def create(i: int) -> bool:
        try:
            runs.create("a", None, {"text.txt": str(i)}, number=i)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1
    folder = runs.get("a")
    assert (folder.path / "text.txt").read_text() == str(folder.info["number"])


def test_a_run_that_could_not_be_written_is_not_there(runs: Runs) -> None:
    with pytest.raises(TypeError):
        runs.create("a", None, {}, setting=object())  # no JSON
    with pytest.raises(UnicodeEncodeError):
        runs.create("a", None, {"text.txt": "\ud800"})
    assert runs.list() == []
    assert runs.create("a", None, {}).name == "a"


def test_free_names(runs: Runs) -> None:
    assert runs.free_name("quick") == "quick-1"
    runs.create("quick-1", None, {})
    assert runs.free_name("quick") == "quick-2"
    assert runs.free_name("quick", {"quick-2", "quick-3"}.__contains__) == "quick-4"


def test_owners_do_not_see_each_other(runs: Runs) -> None:
    anna, ben = owner_key("anna's secret"), owner_key("ben's secret")
    for name, owner in (("of-anna", anna), ("of-ben", ben), ("of-all", None)):
        runs.create(name, owner, {})
    assert [folder.name for folder in runs.list(anna)] == ["of-all", "of-anna"]
    assert [folder.name for folder in runs.list(ben)] == ["of-all", "of-ben"]
    assert [folder.name for folder in runs.list()] == ["of-all"]
    for owner in (ben, None, "", "anna's secret"):
        for use in (runs.get, runs.delete):
            with pytest.raises(UserError, match="no run named 'of-anna'") as error:
                use("of-anna", owner)
            assert "of-anna," not in str(error.value)
    assert runs.get("of-anna", anna).info["owner"] == anna
    everything = Runs(runs.home.parent, see_all=True)
    assert [folder.name for folder in everything.list()] == ["of-all", "of-ben", "of-anna"]
    assert "secret" not in "".join(path.read_text() for path in runs.home.rglob("*.json"))


def test_folders_that_are_no_runs(runs: Runs) -> None:
    runs.create("good", None, {})
    for name, content in (("broken", "{"), ("list", "[]"), ("binary", "\0")):
        (runs.home / name).mkdir()
        (runs.home / name / "run.json").write_text(content)
    (runs.home / "empty").mkdir()
    (runs.home / ".hidden.new.1").mkdir()
    (runs.home / ".hidden.new.1" / "run.json").write_text("{}")
    assert [folder.name for folder in runs.list()] == ["good"]
    for name in ("broken", "list", "binary", "empty"):
        with pytest.raises(UserError, match="There is no run named"):
            runs.get(name, shared=False)
        with pytest.raises(UserError, match="Available: good" if name == "empty" else "can't be read"):
            runs.get(name)
        with pytest.raises(UserError, match="can't be read"):
            _ = RunFolder(runs.home / name).info


# What is recorded -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(runs: Runs) -> RunFolder:
    """A run of five steps whose process died while it wrote the sixth."""
    folder = runs.create("a", None, {})
    events = [started(), step(0), step(1), Saved("c-2"), step(2), Evaluated(3, 1, 0.1, 2.0, 2.0), step(3), step(4)]
    lines = "".join(event.to_json() + "\n" for event in events)
    (folder.path / "events.jsonl").write_text(lines + '{"event": "future"}\n' + step(5).to_json()[:-9])
    return folder


def test_record_goes_on_from_a_step(recorded: RunFolder) -> None:
    new = [started(step=3), step(3, 1.0), step(4, 1.0)]
    assert list(recorded.record(job(*new), 3)) == new
    assert list(recorded.events()) == [started(), step(0), step(1), Saved("c-2"), step(2), *new]
    text = (recorded.path / "events.jsonl").read_text()
    assert text.endswith("\n")
    for line in text.splitlines():
        json.loads(line)


def test_record_again_after_the_end(recorded: RunFolder) -> None:
    list(recorded.record(job(started(step=5), FINISHED), 5))
    list(recorded.record(job(started(step=5), step(5), FINISHED), 5))
    assert [event.kind for event in recorded.events()].count("finished") == 1
    assert [e.step for e in recorded.events() if isinstance(e, Stepped)] == [0, 1, 2, 3, 4, 5]


def test_record_from_the_beginning(recorded: RunFolder) -> None:
    list(recorded.record(job(started()), 0))
    assert list(recorded.events()) == [started()]


def test_a_crash_while_the_record_is_cut_loses_nothing(recorded: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(recorded.events())

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        next(recorded.record(job(started(step=3)), 3))
    assert list(recorded.events()) == before


def test_a_reader_who_leaves_closes_the_job(recorded: RunFolder) -> None:
    script = Script()
    events = recorded.record(script.events())
    next(events)
    events.close()
    assert script.closed.is_set()


def test_history_of_a_resumed_run_has_each_step_once(runs: Runs, recorded: RunFolder) -> None:
    gate = threading.Event()

    def events() -> Generator[Event, None, None]:
        assert gate.wait(PATIENCE)
        yield started(step=3)
        yield step(3, 1.0)

    run = runs.start(recorded, lambda folder, stopping: folder.record(events(), 3))
    assert runs.history(recorded) is run.history
    assert run.history.steps["step"] == [0, 1, 2, 3, 4]  # what there was, until it goes on
    gate.set()
    run.join(PATIENCE)
    assert run.history.steps["step"] == [0, 1, 2, 3]
    assert run.history.steps["loss"][3] == 1.0
    assert vars(runs.history(recorded)) == vars(run.history)


def test_history_on_disk_is_read_once(runs: Runs, recorded: RunFolder) -> None:
    first = runs.history(recorded)
    assert runs.history(recorded) is first
    with (recorded.path / "events.jsonl").open("a") as file:
        file.write("\n" + step(9).to_json() + "\n")
    assert runs.history(recorded).steps["step"][-1] == 9
    for i in range(20):
        folder = runs.create(f"r{i}", None, {"events.jsonl": step(i).to_json() + "\n"})
        assert runs.history(folder).steps["step"] == [i]
    assert len(runs._read) <= 16
    assert runs.history(runs.create("new", None, {})).steps_done == 0


def test_update_is_whole_or_not_at_all(runs: Runs) -> None:
    folder = runs.create("a", None, {})
    with pytest.raises(TypeError):
        folder.update(status=object())
    assert folder.info["status"] == "paused"
    folder.update(status="stopped", extra=1)
    assert (folder.info["name"], folder.info["status"], folder.info["extra"]) == ("a", "stopped", 1)
    assert [path.name for path in folder.path.iterdir()] == ["run.json"]
