"""The outcome of a run, in sentences: why it ended, which model is best, and how that compares to counting tokens."""

from __future__ import annotations

import math

from gpt_demo.format import duration, number
from gpt_demo.runs.keeping import BEST
from gpt_demo.training.history import History


def ending(history: History) -> str:
    """Why and when a finished run ended."""
    finished, started = history.finished, history.started
    if finished is None or started is None:
        return "Finished."
    after = f"after {finished.steps:,} of {started.total_steps:,} steps and {duration(finished.seconds)}"
    if finished.reason == "patience":
        patience = started.config.get("train", {}).get("patience")
        return f"Ended {after}: no lower validation loss in {patience} evaluations in a row (patience)."
    if finished.reason == "target":
        return f"Ended {after}: the validation loss reached its target."
    return f"Finished in {duration(finished.seconds)}."


def verdict(name: str, history: History) -> str:
    """Which model of the run is best, and whether it is better than counting tokens."""
    best = history.best
    if best is None:
        return ""
    step, loss = history.evaluations["step"][best], history.evaluations["val_loss"][best]
    sentences = []
    if step < history.steps_done - 1:
        last = history.evaluations["val_loss"][-1]
        since = f" (at the end: {number(last)})" if math.isfinite(last) else ""
        sentences.append(f"The best model is {name}{BEST}, step {step:,.0f}: validation loss {number(loss)}{since}.")
    sentences.append(_against_counting(history, loss))
    return " ".join(filter(None, sentences))


def _against_counting(history: History, loss: float) -> str:
    rulers = history.started.references if history.started else {}
    for ruler, counted in (("unigram", "single tokens"), ("bigram", "pairs of tokens")):
        if ruler in rulers and loss >= rulers[ruler]:
            return f"That is no better than counting {counted}, which reaches {number(rulers[ruler])} on the same text."
    return ""
