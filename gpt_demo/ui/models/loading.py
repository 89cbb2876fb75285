"""Models in memory: load one in a precision, unload it, compare its precisions."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_demo.compare.precisions import (
    TOKENS,
    PrecisionMeasured,
    PrecisionRefused,
    measure_precisions,
    tokens_per_second,
)
from gpt_demo.errors import UserError
from gpt_demo.format import DASH, number, size
from gpt_demo.model.decode_step import slower
from gpt_demo.model.quantization import PRECISIONS
from gpt_demo.store.store import ModelInfo
from gpt_demo.text.samples import sample_story
from gpt_demo.ui.models.table import estimate, speed_key, tokens_a_second
from gpt_demo.ui.protocol.views import Table
from gpt_demo.ui.sentences import in_words
from gpt_demo.ui.services import Services, owner

OWN_TEXT = ", which this model was trained on: on other text its perplexity is higher"
HEAD = ["", "Perplexity", "Against fp32", "Tokens/s", "Weights"]


def load(services: Services, info: ModelInfo, precision: str, token: str | None) -> float:
    """Load the model in this precision, and in no other; its speed, in tokens/s.

    Raises UserError if it does not fit; then what was in memory stays there.
    """
    store = services.store
    if store.memory.precision_of(info.folder) not in (None, precision):
        said = estimate(services, info, info.name, precision)
        if said["trouble"]:
            raise UserError(said["text"])
        store.unload(info.name, owner(token))
    model, tokenizer = store.load(info.name, owner(token), precision)
    speed = tokens_per_second(model, tokenizer)
    services.speeds[speed_key(info, precision)] = speed
    return speed


def unload(services: Services, info: ModelInfo, token: str | None) -> None:
    """Free the model's memory. Raises UserError on a public server, where others may be using it."""
    if services.limits and not services.may_delete(info, token):
        raise UserError(f"Other visitors may be using {info.name}. It is unloaded when another model needs the memory.")
    services.store.unload(info.name, owner(token))


def measure(services: Services, info: ModelInfo, token: str | None) -> Iterator[Table]:
    """The table of the precisions, one row more each time. Raises UserError at once if a run is training."""
    if services.runs.busy():
        raise UserError("A run is training, so the speeds would be wrong. Measure when it has finished.")
    most = services.limits.measured_tokens if services.limits else TOKENS
    events = measure_precisions(services.store, info.name, sample_story(), owner(token), most_tokens=most)
    rows: list[list[str]] = []
    base: float | None = None
    yield _table(info.name, rows, None)
    tokens, remark = 0, OWN_TEXT if _has_read_the_story(services, info) else ""
    for event in events:
        if isinstance(event, PrecisionMeasured):
            services.speeds[speed_key(info, event.precision)] = event.tokens_per_second
            base = event.perplexity if event.precision == "fp32" else base
            tokens = event.tokens
        rows.append(_row(event, base))
        yield _table(info.name, rows, tokens, remark, slower(info.config))


def _row(event: PrecisionMeasured | PrecisionRefused, base: float | None) -> list[str]:
    if isinstance(event, PrecisionRefused):
        return [event.precision, DASH, DASH, DASH, in_words(event.message)]
    change = DASH if base is None else f"{100 * (event.perplexity / base - 1):+.2f} %"
    return [
        event.precision,
        number(event.perplexity, 2),
        DASH if event.precision == "fp32" else change.replace("-", "\N{MINUS SIGN}"),
        tokens_a_second(event.tokens_per_second),
        size(event.bytes),
    ]


def _has_read_the_story(services: Services, info: ModelInfo) -> bool:
    """Whether the text that is measured on is (in) the one that the model was trained on, as far as is known."""
    if info.about.get("source") in ("story.txt", "story"):
        return True
    if not info.about.get("run"):
        return False
    try:
        text = (services.runs.home / str(info.about["run"]) / "text.txt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return sample_story()[:2000] in text


def _table(name: str, rows: list[list[str]], tokens: int | None, remark: str = "", said: str = "") -> Table:
    """What has been measured, and what is being measured now."""
    waiting = [[PRECISIONS[len(rows)], "", "", "", "being measured"]] if len(rows) < len(PRECISIONS) else []
    caption = f"{name}, measured here"
    if tokens:
        caption += f" on {tokens:,} tokens of the sample story{remark}"
    if said:
        caption += f". {said}"
    return {"head": HEAD, "rows": [*rows, *waiting], "wrap": True, "caption": caption}
