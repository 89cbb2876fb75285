"""What the page shows of runs: from their recorded events to the JSON of the chart and the views."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from gpt_demo.devices import used_memory
from gpt_demo.format import count, duration, number, size
from gpt_demo.runs.outcome import ending, verdict
from gpt_demo.runs.runs import RunFolder, Status
from gpt_demo.training.config import EXPLANATIONS
from gpt_demo.training.evaluation import perplexity
from gpt_demo.training.history import History
from gpt_demo.ui.protocol.chart import ChartRun, Place, Snapshot
from gpt_demo.ui.protocol.views import Fact, RunStatus, Sample, Table
from gpt_demo.ui.sentences import in_words

POINTS, POINTS_OF_OTHERS = 400, 120  # of steps and of evaluations, for each run


def chart_snapshot(runs: Sequence[tuple[str, History]]) -> Snapshot:
    """The chart's data: the first run is the current one, the others lie behind it."""
    started = runs[0][1].started if runs else None
    return {
        "runs": [_chart_run(name, history, i) for i, (name, history) in enumerate(runs)],
        "references": {name: short(loss) for name, loss in started.references.items()} if started else {},
        "total_tokens": started.total_tokens if started else None,
        "tokens_per_epoch": started.tokens_per_epoch or None if started else None,
    }


def _chart_run(name: str, history: History, index: int) -> ChartRun:
    columns = history.columns(POINTS_OF_OTHERS if index else POINTS)
    for table in columns.values():
        table["tokens"] = table.pop("tokens_seen")
    stepped = columns["stepped"]
    stepped["epoch"] = [_epoch(tokens, history) for tokens in stepped["tokens"]]
    rounded: Any = {kind: {key: [short(v) for v in column] for key, column in t.items()} for kind, t in columns.items()}
    best = history.best
    place: Place | None = None
    if best is not None:
        at = {key: short(column[best]) for key, column in history.evaluations.items()}
        place = {"step": at["step"], "tokens": at["tokens_seen"], "epoch": at["epoch"], "val_loss": at["val_loss"]}
    return {
        "name": name,
        "color_index": index,
        "current": index == 0,
        "stepped": rounded["stepped"],
        "evaluated": rounded["evaluated"],
        "best": place,
        "overfit_from": place if history.overfits else None,
    }


def _epoch(tokens: float | None, history: History) -> float | None:
    per_epoch = history.started.tokens_per_epoch if history.started else 0
    return tokens / per_epoch if tokens is not None and per_epoch else None


def short(value: float | None) -> float | None:
    """To five significant digits, so that what is sent twice a second is small; whole numbers as they are."""
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        return float(f"{value:.5g}")
    return value


def status_data(folder: RunFolder, history: History, status: Status) -> RunStatus:
    """The status of the run: progress, time left, the numbers of the last step."""
    started, done = history.started, history.steps_done
    total = started.total_steps if started else 0
    label = f"step {done:,} of {total:,}" if started else "preparing"
    evaluating = history.evaluating
    if status == "running" and history.steps["tokens_per_second"]:
        label += f", {duration(seconds_left(history))} left"
    if status == "running" and evaluating is not None:
        label += f", evaluating: {evaluating.done / max(1, evaluating.total):.0%}"
    return {
        "name": folder.name,
        "state": status,
        "step": done,
        "fraction": done / total if total else 0,
        "label": label,
        "facts": _facts(history, status),
        "message": in_words(folder.message) or _message(folder.name, history, status),
    }


def _facts(history: History, status: Status) -> list[Fact]:
    """The last numbers, each with what it means. Always the same ones, so that nothing moves when they come."""
    started, dash = history.started, number(None)
    train, val = ((history.evaluations[key] or [math.nan])[-1] for key in ("train_loss", "val_loss"))
    speed = count(recent_speed(history)) if history.steps["step"] else dash
    measured = f"nats per token, {_read(history)}never trained on"
    return [
        ("training loss", number(train), "nats per token, as last evaluated"),
        ("validation loss", number(val), measured),
        ("perplexity", number(perplexity(val), 1) if math.isfinite(val) else dash, "exp(validation loss)"),
        ("tokens/s", speed, "median of the last 20 steps"),
        ("parameters", count(started.n_params) if started else dash, "number of learned parameters"),
        ("computed in", f"{started.precision} on {started.device}" if started else dash, "precision and device"),
        ("memory", size(used_memory()) if status == "running" else dash, "used by the whole app now"),
    ]


def _read(history: History) -> str:
    """On how much of the validation text the loss is measured."""
    started = history.started
    if started is None or not 0 < started.eval_tokens < started.val_tokens - 1:
        return "on text that is "
    return f"on {started.eval_tokens:,} of the {started.val_tokens:,} tokens that are "


def recent_speed(history: History) -> float:
    return statistics.median(history.steps["tokens_per_second"][-20:])


def seconds_left(history: History) -> float:
    """The remaining steps at the recent pace, plus the remaining evaluations and samples at the last one's time."""
    speed = recent_speed(history) if history.steps["step"] else 0.0
    if not history.started or not speed or not history.steps_done:
        return math.inf
    tokens_per_step = history.steps["tokens_seen"][-1] / history.steps_done
    steps, total = history.steps_done, history.started.total_steps
    settings = history.started.config.get("train", {})
    evaluations = _still_due(steps, total, settings.get("eval_interval", 0))
    samples = _still_due(steps, total, settings.get("sample_interval", 0) or history.started.steps_per_epoch)
    watching = evaluations * history.eval_seconds + samples * history.sample_seconds
    return (total - steps) * tokens_per_step / speed + watching


def _still_due(done: int, total: int, interval: int) -> int:
    """How often something is still done that is done every so many steps and at the end."""
    return len(range(-(-done // interval) * interval, total, interval)) + 1 if interval and done < total else 0


def _message(name: str, history: History, status: Status) -> str:
    """What the state means and what to do next."""
    if status == "waiting":
        return "Another run is training; this one starts after it."
    if status == "paused":
        return "Paused; its state is saved. Resume continues exactly where it stopped."
    if status == "interrupted":
        return "The app stopped while this run was training. Resume continues from its last checkpoint."
    if status == "stopped":
        kept = "the model is kept" if history.steps_done else "nothing had been trained yet"
        return f"Stopped; {kept}. Resume continues exactly where it stopped. {verdict(name, history)}".strip()
    if status == "finished":
        ready = "The model is ready. Try it in the Playground."
        return f"{ending(history)} {ready} {verdict(name, history)}".strip()
    if history.overfits and history.best is not None:
        step = history.evaluations["step"][history.best]
        return f"Overfitting: it is memorizing the text. The best model, step {step:,.0f}, is marked and kept."
    return ""


def samples_data(history: History, most: int = 40) -> list[Sample]:
    """Samples, the newest first."""
    prompt = history.started.config.get("train", {}).get("sample_prompt", "") if history.started else ""
    samples: list[Sample] = [
        {"step": f"{s.step:,}", "epoch": f"{s.epoch:.1f}", "prompt": prompt, "text": s.text}
        for s in reversed(history.samples[-most:])
    ]
    end = history.finished
    if end is None or end.best_sample is None or end.best_step is None:
        return samples
    epoch = _epoch((end.best_step + 1) * end.tokens_seen / end.steps, history) or 0
    step = f"{end.best_step:,}, the best model"
    return [{"step": step, "epoch": f"{epoch:.1f}", "prompt": prompt, "text": end.best_sample}, *samples]


def differences(runs: Sequence[tuple[str, History]]) -> Table:
    """A table of the runs: the settings that are not the same in all, the texts' lengths, and how each came out."""
    known = [(name, history) for name, history in runs if history.started]
    started = [history.started for _, history in known if history.started]
    settings = [{key: value for part in start.config.values() for key, value in part.items()} for start in started]
    keys = dict.fromkeys(key for one in settings for key in one)
    rows = [[EXPLANATIONS.get(key, (key,))[0], *(_setting(one.get(key)) for one in settings)] for key in keys]
    rows.append(["Training tokens", *(f"{start.train_tokens:,}" for start in started)])
    rows.append(["Parameters", *(count(start.n_params) for start in started)])
    rows = [row for row in rows if len(set(row[1:])) > 1]
    rows.append(["Steps done", *(f"{history.steps_done:,}" for _, history in known)])
    rows.append(["Last validation loss", *(_last(history) for _, history in known)])
    rows.append(["Best validation loss", *(_best(history) for _, history in known)])
    return {"head": ["", *(name for name, _ in known)], "rows": rows if known else []}


def _setting(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _last(history: History) -> str:
    losses = history.evaluations["val_loss"]
    return number(losses[-1]) if losses else number(None)


def _best(history: History) -> str:
    best = history.best
    if best is None:
        return number(None)
    return f"{number(history.evaluations['val_loss'][best])} at step {history.evaluations['step'][best]:,.0f}"
