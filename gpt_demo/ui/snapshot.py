"""What the page shows of runs: from their recorded events to the JSON of the chart and the views."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from gpt_demo.devices import used_memory
from gpt_demo.evaluation import perplexity
from gpt_demo.history import History
from gpt_demo.runs import RunFolder, Status
from gpt_demo.ui.format import count, duration, number, size


def chart_snapshot(runs: Sequence[tuple[str, History]]) -> dict[str, Any]:
    """The chart's data (format: charts.py): the first run is the current one, the others lie behind it."""
    started = runs[0][1].started if runs else None
    tokens_per_epoch = started.tokens_per_epoch if started else None
    return {
        "runs": [_chart_run(name, history, i) for i, (name, history) in enumerate(runs)],
        "references": dict(started.references) if started else {},
        "total_tokens": started.total_tokens if started else None,
        "tokens_per_epoch": tokens_per_epoch,
    }


def _chart_run(name: str, history: History, index: int) -> dict[str, Any]:
    columns = history.columns()
    per_epoch = history.started.tokens_per_epoch if history.started else 1
    for table in columns.values():
        table["tokens"] = table.pop("tokens_seen")
    stepped = columns["stepped"]
    stepped["epoch"] = [tokens / per_epoch if tokens is not None else None for tokens in stepped["tokens"]]
    best = history.best
    place = {
        "step": history.evaluations["step"][best],
        "tokens": history.evaluations["tokens_seen"][best],
        "epoch": history.evaluations["epoch"][best],
    } if best is not None else None  # fmt: skip
    return {
        "name": name,
        "color_index": index,
        "current": index == 0,
        **columns,
        "best": {**place, "val_loss": history.evaluations["val_loss"][best]} if place and best is not None else None,
        "overfit_from": place if history.overfits else None,
    }


def status_data(folder: RunFolder, history: History, status: Status) -> dict[str, Any]:
    """How the run stands: progress, time left, the numbers of the last step."""
    started, done = history.started, history.steps_done
    total = started.total_steps if started else 0
    label = f"step {done:,} of {total:,}" if started else "getting ready"
    if status == "running" and history.steps["tokens_per_second"]:
        label += f", {duration(seconds_left(history))} left"
    return {
        "name": folder.name,
        "state": status,
        "step": done,
        "fraction": done / total if total else 0,
        "label": label,
        "facts": _facts(history, status),
        "message": folder.message or _message(history, status),
    }


def _facts(history: History, status: Status) -> list[list[str]]:
    """The last numbers, each with what it means."""
    facts = []
    if history.evaluations["step"]:
        train, val = history.evaluations["train_loss"][-1], history.evaluations["val_loss"][-1]
        facts += [
            ["training loss", number(train), "nats per token, as last evaluated"],
            ["validation loss", number(val), "nats per token, on text that is never trained on"],
            ["perplexity", number(perplexity(val), 1), "exp(validation loss)"],
        ]
    if history.steps["step"]:
        facts.append(["tokens per second", count(recent_speed(history)), "median of the last 20 steps"])
    if history.started:
        facts.append(["parameters", count(history.started.n_params), "numbers that are learned"])
        computed = f"{history.started.precision} on {history.started.device}"
        facts.append(["computed in", computed, "precision and device"])
    if status == "running":
        facts.append(["memory", size(used_memory()), "what the whole app holds now"])
    return facts


def recent_speed(history: History) -> float:
    return statistics.median(history.steps["tokens_per_second"][-20:])


def seconds_left(history: History) -> float:
    """Steps left at the pace of the last ones."""
    if not history.started or not history.steps["step"]:
        return float("inf")
    tokens_per_step = history.steps["tokens_seen"][-1] / history.steps_done
    return (history.started.total_steps - history.steps_done) * tokens_per_step / recent_speed(history)


def _message(history: History, status: Status) -> str:
    if status == "waiting":
        return "Another run is training; this one starts when it has ended."
    if status == "paused":
        return "Paused; its state is saved. Resume goes on exactly where it stopped."
    if status == "interrupted":
        return "The app stopped while this run was training. Resume goes on from its last checkpoint."
    if history.overfits:
        return (
            "The validation loss rises while the training loss falls: the model now learns the text by heart. "
            "The best point is marked and kept as a model of its own."
        )
    return ""


def samples_data(history: History, most: int = 40) -> list[dict[str, Any]]:
    """Samples, the newest first."""
    prompt = history.started.config["train"]["sample_prompt"] if history.started else ""
    return [
        {"step": f"{s.step:,}", "epoch": f"{s.epoch:.1f}", "prompt": prompt, "text": s.text}
        for s in reversed(history.samples[-most:])
    ]


def differences(runs: Sequence[tuple[str, History]]) -> dict[str, Any]:
    """A table of the runs: the settings that are not the same in all, and how each came out."""
    known = [(name, history) for name, history in runs if history.started]
    flat = [
        {key: value for part in history.started.config.values() for key, value in part.items()}
        for _, history in known
        if history.started
    ]
    keys = [key for key in (flat[0] if flat else {}) if len({str(settings.get(key)) for settings in flat}) > 1]
    rows = [[key, *(str(settings.get(key)) for settings in flat)] for key in keys]
    rows.append(["steps done", *(f"{history.steps_done:,}" for _, history in known)])
    rows.append(["last validation loss", *(_last(history) for _, history in known)])
    rows.append(["best validation loss", *(_best(history) for _, history in known)])
    return {"head": ["", *(name for name, _ in known)], "rows": rows if known else [], "note": "Tick runs to compare."}


def _last(history: History) -> str:
    losses = history.evaluations["val_loss"]
    return number(losses[-1]) if losses else number(None)


def _best(history: History) -> str:
    best = history.best
    if best is None:
        return number(None)
    return f"{number(history.evaluations['val_loss'][best])} at step {history.evaluations['step'][best]:,.0f}"
