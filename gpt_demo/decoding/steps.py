"""The five steps between a model's logits and the draw: their names, order, ranges, and off values.

One table for all users: the transforms and their checks, `Sampling`, lanes, the command line's options, the HTTP
endpoints, and (held equal by a test) the browser. It needs no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gpt_demo.errors import check_number, check_whole

SMALLEST, LARGEST = 1e-9, 1e9  # of factors: beyond them float32 logits overflow, and inf - inf is NaN


@dataclass(frozen=True)
class Step:
    """One step and its one setting."""

    name: str  # of the setting, the transform and its stage
    field: str  # of the transform
    off: float  # the value that changes nothing
    low: float
    high: float
    words: str  # what it does
    open: bool = False  # `low` itself is out of range
    whole: bool = False  # whole numbers only
    greedy: float | None = None  # as a setting, this value means greedy decoding

    def check(self, value: Any, *, setting: bool = False) -> None:
        """Raises UserError unless the value is in range, or (of a setting) means greedy decoding."""
        note = f"{self.off:g} turns it off"
        if setting and self.greedy is not None:
            if type(value) in (int, float) and value == self.greedy:
                return
            note += f", {self.greedy:g} is greedy decoding"
        if self.whole:
            check_whole(self.name, value, int(self.low), int(self.high), note)
        else:
            check_number(self.name, value, self.low, self.high, note, open_low=self.open)


# In the default order of application; a lane may have its own.
STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step(
            "repetition_penalty", "penalty", 1.0, SMALLEST, LARGEST,
            "above 1: tokens already in the context become less probable",
        ),
        Step("temperature", "t", 1.0, SMALLEST, LARGEST, "below 1: safer; above 1: wilder", greedy=0.0),
        Step("top_k", "k", 0, 0, 1_000_000_000, "keep only the K most probable tokens", whole=True),
        Step("top_p", "p", 1.0, 0.0, 1.0, "keep the smallest set of top tokens with total probability P", open=True),
        Step("min_p", "p", 0.0, 0.0, 1.0, "keep tokens at least P times as probable as the top token"),
    )
}  # fmt: skip


def table() -> list[dict[str, Any]]:
    """All steps in their order, as JSON."""
    return [asdict(step) for step in STEPS.values()]
