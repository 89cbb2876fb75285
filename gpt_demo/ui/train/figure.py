"""The training curves as a figure to download: what the page's chart shows, drawn by matplotlib from its snapshot.

The run with `current` (else the first) is drawn in full, the others thinner behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_demo.errors import UserError
from gpt_demo.format import compact
from gpt_demo.ui.protocol.chart import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's colors (assets/train/chart.css, light).
TRAIN, VALIDATION, TEXT, QUIET, GRID = "#0069a8", "#c4500a", "#1b2430", "#4d5866", "#e8ebef"
PAST = ("#7a55b0", "#0b7a6b", "#a83278", "#6b6a10", "#56657a")
STEP_STYLE: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.4}
REFERENCES = {
    "uniform": "uniform guessing: ln V",
    "unigram": "token frequencies: unigram",
    "bigram": "previous token: bigram",
    "unigram_in_sample": "token frequencies of the training text",
    "bigram_in_sample": "pairs of the training text",
}


def save_figure(snapshot: Snapshot, path: str | Path) -> Path:
    """Writes the figure as PNG (2000 pixels wide) or PDF, by the suffix of `path`.

    Raises UserError on any other suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf"):
        raise UserError(f"A figure can't be saved as {path.suffix or 'a file without suffix'}: use .png or .pdf.")
    figure(snapshot).savefig(path, dpi=200)
    return path


def figure(snapshot: Snapshot) -> Figure:
    """Loss above, perplexity (log scale) below, over tokens seen, with a second axis that counts epochs.

    Made without pyplot, so any thread may call it. Names are drawn as they are: nothing in them is read as math.
    """
    from matplotlib.figure import Figure

    picture = Figure(figsize=(10, 7), layout="constrained", facecolor="white")
    loss, perplexity = picture.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    current = current_run(snapshot)
    for run in snapshot["runs"]:
        _draw_run(loss, perplexity, run, run is current)
    _draw_references(loss, snapshot["references"])
    if current is not None:
        _draw_overfitting((loss, perplexity), current)
        _add_legend(picture, snapshot["runs"], current)
    _dress(loss, "Loss (nats per token)")
    _dress(perplexity, "Perplexity")
    _scale_perplexity(perplexity)
    _scale_tokens(loss, perplexity, snapshot["total_tokens"])
    _add_epochs(loss, snapshot["tokens_per_epoch"])
    return picture


def current_run(snapshot: Snapshot) -> Mapping[str, Any] | None:
    """The run drawn in full: the one marked as current, else the first, else none."""
    runs = snapshot["runs"]
    return next((run for run in runs if run["current"]), runs[0] if runs else None)


def _draw_run(loss: Axes, perplexity: Axes, run: Mapping[str, Any], current: bool) -> None:
    color = PAST[run["color_index"] % len(PAST)]
    train, validation = (TRAIN, VALIDATION) if current else (color, color)
    style: dict[str, Any] = {"linewidth": 2.0} if current else {"linewidth": 1.0, "zorder": 1.5}
    train_style = style if current else {**style, "linestyle": ":"}
    stepped, evaluated = run["stepped"], run["evaluated"]
    if current or not evaluated["step"]:  # the noise of earlier runs would only hide this one
        loss.plot(_floats(stepped["tokens"]), _floats(stepped["loss"]), color=train, **STEP_STYLE)
    tokens = _floats(evaluated["tokens"])
    for name, tint, look in (("train_loss", train, train_style), ("val_loss", validation, style)):
        losses = _floats(evaluated[name])
        loss.plot(tokens, losses, color=tint, **look)
        perplexity.plot(tokens, [_perplexity(value) for value in losses], color=tint, **look)
    if run["best"]:
        _draw_best(loss, run["best"], TEXT if current else color, current)


def _draw_best(loss: Axes, best: Mapping[str, Any], color: str, labelled: bool) -> None:
    from matplotlib.patheffects import withStroke

    x, y = _floats([best["tokens"], best["val_loss"]])
    loss.plot([x], [y], "o", markersize=9 if labelled else 6, fillstyle="none", color=color)
    if labelled:
        style: dict[str, Any] = {"color": TEXT, "fontweight": "bold", "ha": "center", "textcoords": "offset points"}
        label = loss.annotate(f"best {compact(y)}", (x, y), (0, 10), **style)
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _draw_references(loss: Axes, references: Mapping[str, float | None]) -> None:
    """Dashed lines across, named at the right, and the axis: as lossDomain of assets/train/series.js has it.

    References far above all curves are left out; a few steps with a huge loss leave the frame.
    """
    lines = [values for line in loss.lines if (values := _shown(line.get_ydata()))]
    usual = max((max(values[0], sorted(values)[int(0.98 * (len(values) - 1))]) for values in lines), default=math.inf)
    highest = max(map(max, lines), default=math.inf)
    top = 1.05 * usual if highest > 1.5 * usual else highest
    shown = {name: value for name, value in references.items() if value is not None and 0 < value <= 1.25 * top}
    style: dict[str, Any] = {"color": QUIET, "fontsize": 9, "va": "center", "textcoords": "offset points"}
    for name, value in shown.items():
        loss.axhline(value, color=QUIET, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        text = f"{REFERENCES.get(name, name)} {compact(value)}"
        loss.annotate(text, (1, value), (6, 0), xycoords=("axes fraction", "data"), parse_math=False, **style)
    everything = [*chain.from_iterable(lines), *shown.values()]
    if everything:
        low, high = min(everything), max(*shown.values(), min(top, max(everything)), -math.inf)
        room = 0.06 * (high - low or 1)
        loss.set_ylim(max(0, low - room), high + room)


def _draw_overfitting(axes: Sequence[Axes], run: Mapping[str, Any]) -> None:
    start = _floats([(run["overfit_from"] or {}).get("tokens")])[0]
    end = max(_shown(_floats([*run["stepped"]["tokens"], *run["evaluated"]["tokens"]])), default=math.nan)
    if not start < end:
        return
    for ax in axes:
        ax.axvspan(start, end, color=VALIDATION, alpha=0.08, linewidth=0, zorder=0)
    style: dict[str, Any] = {"color": QUIET, "fontsize": 9, "ha": "right", "textcoords": "offset points"}
    axes[0].annotate(
        "overfitting: validation loss rises", (end, 1), (-4, -14), xycoords=("data", "axes fraction"), **style
    )


def _dress(ax: Axes, title: str) -> None:
    ax.set_ylabel(title, color=QUIET)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=QUIET, labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)


def _scale_perplexity(perplexity: Axes) -> None:
    """A log scale with plain numbers; below one decade with evenly spaced ones. A log scale needs data."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    values = [value for line in perplexity.lines for value in _shown(line.get_ydata())]
    if not values:
        perplexity.set_yticks([])
        return
    perplexity.set_yscale("log")
    narrow = max(values) < 8 * min(values)
    perplexity.yaxis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(numticks=6))
    perplexity.yaxis.set_minor_locator(NullLocator())
    perplexity.yaxis.set_major_formatter(_tick)


def _scale_tokens(loss: Axes, perplexity: Axes, total: float | None) -> None:
    seen = max(chain.from_iterable(_shown(line.get_xdata()) for line in loss.lines), default=0.0)
    if not seen > 1:  # the dashed lines span 0 to 1
        loss.text(0.5, 0.5, "No steps yet.", transform=loss.transAxes, ha="center", color=QUIET)
    perplexity.set_xlim(0, 1.01 * seen if seen > 1 else total or 1)
    perplexity.set_xlabel("Tokens seen", color=QUIET)
    perplexity.xaxis.set_major_formatter(_tick)


def _add_epochs(loss: Axes, tokens_per_epoch: float | None) -> None:
    if not tokens_per_epoch:
        return
    count = float(tokens_per_epoch)
    axis = loss.secondary_xaxis("top", functions=(partial(_scaled, by=1 / count), partial(_scaled, by=count)))
    axis.set_xlabel("Epochs", color=QUIET)
    axis.tick_params(colors=QUIET, labelsize=9)
    axis.spines["top"].set_color(QUIET)


def _add_legend(picture: Figure, runs: Sequence[Mapping[str, Any]], current: Mapping[str, Any]) -> None:
    """Below the plots, row by row. Names go into the finished legend: the labels it is given may not start with "_"."""
    from matplotlib.lines import Line2D

    names = [f"{_short(current['name'])}: training", "validation", "each step"]
    styles: list[dict[str, Any]] = [{"color": TRAIN}, {"color": VALIDATION}, {"color": TRAIN, **STEP_STYLE}]
    for run in (run for run in runs if run is not current):
        names.append(f"{_short(run['name'])}: validation")
        styles.append({"color": PAST[run["color_index"] % len(PAST)], "linewidth": 1.0})
    rows_first = [i for column in range(3) for i in range(column, len(names), 3)]  # the legend fills its columns
    handles = [Line2D([], [], **styles[i]) for i in rows_first]
    legend = picture.legend(
        handles, ["name"] * len(names), loc="outside lower left", ncols=3, frameon=False, fontsize=9
    )
    for text, i in zip(legend.get_texts(), rows_first, strict=True):
        text.set_parse_math(False)
        text.set_text(names[i])


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _shown(values: Any) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _scaled(values: Any, by: float) -> Any:
    return values * by


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= 32 else f"{line[:31]}\N{HORIZONTAL ELLIPSIS}"


def _perplexity(loss: float) -> float:
    """exp(loss); NaN where that is beyond any float."""
    return math.exp(loss) if loss < 700 else math.nan


def _tick(value: float, _position: float = 0) -> str:
    if abs(value) < 1e4:
        return f"{value:,g}"
    unit, scale = ("M", 1e6) if abs(value) >= 1e6 else ("k", 1e3)
    return f"{value / scale:g}{unit}"
