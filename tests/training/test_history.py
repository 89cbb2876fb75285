"""A run's columns: complete, thin enough for a page, and never half a row."""

from __future__ import annotations

import json
import math
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import started, step

from gpt_demo.events import Evaluated, Event, Finished, Sampled, Saved
from gpt_demo.runs.folder import RunFolder
from gpt_demo.training.history import EVALUATION_COLUMNS, STEP_COLUMNS, History

MANY = 100_000


def evaluation(i: int, val_loss: float) -> Evaluated:
    return Evaluated(i, 10 * (i + 1), i / 10, 2.0, val_loss)


def history(*events: Event) -> History:
    collected = History()
    for event in events:
        collected.add(event)
    return collected


def with_losses(*losses: float) -> History:
    return history(*(evaluation(i, loss) for i, loss in enumerate(losses)))


@pytest.fixture(scope="module")
def many() -> list[Event]:
    events: list[Event] = [started(total_steps=MANY)]
    for i in range(MANY):
        if i % 25 == 0:
            events += [evaluation(i, 3 - i / MANY), Sampled(i, i / 10, f"text {i}")]
        events.append(step(i, 3 - i / MANY))
    return [*events, Finished(MANY, 10 * MANY, 60.0, "done", 2.0, 2.0, MANY - 1, 2.0)]


@pytest.fixture(scope="module")
def long_run(many: list[Event]) -> History:
    return history(*many)


@pytest.fixture(scope="module")
def folder(many: list[Event], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same run, recorded."""
    path = tmp_path_factory.mktemp("long")
    (path / "events.jsonl").write_text("".join(event.to_json() + "\n" for event in many))
    return RunFolder(path)


def test_a_long_run_is_thinned(long_run: History) -> None:
    columns = long_run.columns()
    for kind, names in (("stepped", STEP_COLUMNS), ("evaluated", EVALUATION_COLUMNS)):
        assert tuple(columns[kind]) == names
        rows = {len(column) for column in columns[kind].values()}
        assert len(rows) == 1
        assert 200 <= rows.pop() <= 401
    assert columns["stepped"]["step"][0] == 0
    assert columns["stepped"]["step"][-1] == MANY - 1
    assert len(json.dumps(columns)) < 100_000


def test_thin_rows_are_real_rows(long_run: History) -> None:
    thin = long_run.columns(most=50)["stepped"]
    for i, loss in zip(thin["step"], thin["loss"], strict=True):
        assert loss == 3 - i / MANY  # type: ignore[operator]


def test_a_recorded_run_reads_back_the_same(long_run: History, folder: RunFolder) -> None:
    again = folder.history()
    assert vars(again) == vars(long_run)
    assert again.steps_done == MANY


@given(st.integers(0, 300), st.integers(1, 50))
def test_thinning_keeps_the_ends(n: int, most: int) -> None:
    rows = history(*map(step, range(n))).columns(most)["stepped"]["step"]
    assert len(rows) <= most + 1
    assert rows == sorted(set(rows))  # type: ignore[type-var]
    assert (rows[:1], rows[-1:]) == (([0], [n - 1]) if n else ([], []))


def test_a_short_run_is_whole() -> None:
    events = [started(), evaluation(0, 2.5), Sampled(0, 0.0, "a"), step(0), Saved("x"), step(1), step(2)]
    collected = history(*events)
    assert collected.columns()["stepped"]["step"] == [0, 1, 2]
    assert collected.columns()["evaluated"]["val_loss"] == [2.5]
    assert collected.samples == [Sampled(0, 0.0, "a")]
    assert collected.steps_done == 3
    assert collected.started == started()
    assert collected.finished is None


def test_nothing_yet() -> None:
    empty = History()
    assert empty.columns()["stepped"]["loss"] == []
    assert (empty.steps_done, empty.best, empty.overfits) == (0, None, False)
    assert len(empty.table()) == 0


def test_not_a_number_becomes_none() -> None:
    columns = history(evaluation(0, math.nan), step(0, math.inf)).columns()
    assert columns["evaluated"]["val_loss"] == [None]
    assert columns["stepped"]["loss"] == [None]


def test_a_resumed_run_takes_back_what_it_does_again() -> None:
    events = [started(), *map(step, range(5)), evaluation(3, 9.0), evaluation(4, 9.0), Sampled(4, 0.4, "old")]
    finished = Finished(5, 50, 1.0, "done", None, None, None, None)
    collected = history(*events, finished, started(step=4), step(4, 1.0), step(5))
    assert collected.steps["step"] == [0, 1, 2, 3, 4, 5]
    assert collected.steps["loss"][4] == 1.0
    assert collected.evaluations["step"] == [3]
    assert collected.samples == []
    assert collected.finished is None
    assert collected.started == started(step=4)


@pytest.mark.parametrize(
    ("losses", "best"),
    [((), None), ((math.nan,), None), ((3.0, 2.0, 2.5), 1), ((math.nan, 2.0, math.nan), 1), ((2.0, 2.0), 0)],
)
def test_best(losses: tuple[float, ...], best: int | None) -> None:
    assert with_losses(*losses).best == best


@pytest.mark.parametrize(
    ("losses", "overfits"),
    [
        ((3.0, 2.0, 2.1, 2.2, 2.3), True),
        ((3.0, 2.0, 2.1, 2.2), False),  # two evaluations are not enough
        ((3.0, 2.0, 2.001, 2.002, 2.003), False),  # less than 1 %
        ((3.0, 2.0, 2.1, 2.2, 2.3, 1.9), False),  # it went on to a new best
        ((2.0, 2.5, 2.5, 2.01), False),  # back within 1 % of the best
        ((math.nan,) * 9, False),
    ],
)
def test_overfits(losses: tuple[float, ...], overfits: bool) -> None:
    assert with_losses(*losses).overfits is overfits


def test_table_has_a_row_for_every_step() -> None:
    table = history(evaluation(0, 2.5), step(0), step(1), evaluation(2, 2.0), step(2)).table()
    assert list(table) == [*STEP_COLUMNS, "epoch", "train_loss", "val_loss"]
    assert table["step"].tolist() == [0, 1, 2]
    assert table["val_loss"].fillna(0).tolist() == [2.5, 0, 2.0]
    assert table.to_csv(index=False).splitlines()[2] == "1,20,2.0,0.001,1.5,1000.0,,,"


def test_table_without_evaluations_or_of_half_a_row() -> None:
    collected = history(step(0), step(1))
    collected.steps["step"].append(2)  # another thread is about to add the rest
    assert collected.table()["step"].tolist() == [0, 1]
    assert collected.columns()["stepped"]["step"] == [0, 1]


def test_views_while_another_thread_writes() -> None:
    """Rows are whole and in order at any moment, a resume included."""
    collected, done = History(), threading.Event()

    def write() -> None:
        for _ in range(20):
            collected.add(started(step=100))
            for i in range(len(collected.steps["step"]), 300):
                collected.add(step(i, float(i)))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() or looks == 0:
        rows = collected.columns(10_000)["stepped"]
        assert rows["step"] == rows["loss"]
        assert len(rows["step"]) == len(rows["tokens_per_second"])
        assert collected.steps_done >= 0
        looks += 1
    writer.join()
    assert collected.steps["step"] == list(range(300))


def test_unreadable_lines_are_skipped(tmp_path: Path) -> None:
    lines = [step(0).to_json(), '{"event": "melted"}', step(1).to_json(), step(2).to_json()[:20]]
    (tmp_path / "events.jsonl").write_bytes("\n".join(lines).encode() + b"\xc3")  # half a character, too
    assert RunFolder(tmp_path).history().steps["step"] == [0, 1]


# Overfitting, by simulation -------------------------------------------------------------------------------------------

RUNS = 150


def noisy(mean: list[float], size: float, draw: random.Random) -> list[float]:
    return [value + draw.gauss(0, size) for value in mean]


def ever_overfits(losses: list[float]) -> bool:
    collected = History()
    for i, loss in enumerate(losses):
        collected.add(evaluation(i, loss))
        if collected.overfits:
            return True
    return False


def falling(shape: str, n: int) -> list[float]:
    if shape == "exponential":
        return [3 + 3 * math.exp(-5 * i / n) for i in range(n)]
    if shape == "power":
        return [2.5 + 4 / math.sqrt(i + 1) for i in range(n)]
    return [5 - 2 * i / n for i in range(n)]


@pytest.mark.parametrize("shape", ["exponential", "power", "line"])
@pytest.mark.parametrize("n", [13, 40, 120])
@pytest.mark.parametrize("size", [0.03, 0.1, 0.2])
def test_a_falling_noisy_loss_is_seldom_called_overfitting(shape: str, n: int, size: float) -> None:
    """At any of its evaluations: in under 5 % of the runs."""
    draw = random.Random(f"{shape} {n} {size}")
    flagged = sum(ever_overfits(noisy(falling(shape, n), size, draw)) for _ in range(RUNS))
    assert flagged < 0.05 * RUNS


@pytest.mark.parametrize("size", [0.01, 0.03])
def test_a_loss_that_rises_is_called_so(size: float) -> None:
    """As the story's: down to 4.2 in four evaluations, then up by a quarter of a nat at each."""
    mean = [6.8, 4.5, 4.22, *(4.2 + 0.2 * i for i in range(10))]
    draw = random.Random(7)
    found = sum(ever_overfits(noisy(mean, size, draw)) for _ in range(RUNS))
    assert found > 0.95 * RUNS
