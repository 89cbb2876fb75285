"""Everything a job can tell its readers: small frozen dataclasses and their JSON form.

Training, generating, evaluating (and later downloading) are generators of these. The page, the command line, the tests
and the HTTP API are four readers of the same events. A failure is not an event: it is an exception.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events; `kind` is what the JSON form carries under the key "event"."""

    kind: ClassVar[str] = ""

    def to_json(self) -> str:
        """One line of JSON: the kind, then the fields. NaN and infinity become null."""
        record = {"event": self.kind, **asdict(self)}
        return json.dumps({key: finite(value) for key, value in record.items()}, ensure_ascii=False)


def finite(value: Any) -> Any:
    """`value`, or None where JSON has no number for it."""
    return None if isinstance(value, float) and not float("-inf") < value < float("inf") else value


# Training -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started(Event):
    """A run begins or goes on: what is known before the first step."""

    kind: ClassVar[str] = "started"
    run: str
    step: int  # steps already done: 0, or where a resumed run goes on
    total_steps: int
    steps_per_epoch: int  # optimizer steps, rounded
    tokens_per_epoch: int
    total_tokens: int  # read by the whole run
    n_params: int
    n_vocab: int
    train_tokens: int
    val_tokens: int
    device: str
    precision: str
    references: Mapping[str, float]  # name -> loss in nats per token: "uniform" (ln V), "unigram", "bigram"
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Stepped(Event):
    """One optimizer step is done. Always the last event of its step: now the state is whole and can be saved."""

    kind: ClassVar[str] = "stepped"
    step: int  # index of the step, from 0
    tokens_seen: int  # after the step
    loss: float  # mean over the step's tokens, nats per token, before the update
    learning_rate: float
    grad_norm: float  # L2 norm over all gradients, before clipping
    tokens_per_second: float


@dataclass(frozen=True)
class Evaluated(Event):
    """Losses in eval mode after a step, in nats per token."""

    kind: ClassVar[str] = "evaluated"
    step: int
    tokens_seen: int
    epoch: float
    train_loss: float
    val_loss: float


@dataclass(frozen=True)
class Sampled(Event):
    """What the model writes now, from the fixed prompt; `text` includes the prompt."""

    kind: ClassVar[str] = "sampled"
    step: int
    epoch: float
    text: str


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint or model is on disk, whole."""

    kind: ClassVar[str] = "saved"
    path: str


@dataclass(frozen=True)
class Finished(Event):
    """The end of a run that was not interrupted."""

    kind: ClassVar[str] = "finished"
    steps: int
    tokens_seen: int
    seconds: float  # of training, pauses left out
    reason: str  # "done" (all steps), "target" (target loss reached) or "max_steps"
    train_loss: float | None
    val_loss: float | None
    best_step: int | None  # where the validation loss was lowest
    best_val_loss: float | None


# Generating and evaluating --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenChosen(Event):
    """One token was chosen. The texts of all tokens, joined, are exactly the text of the whole."""

    kind: ClassVar[str] = "token"
    id: int
    text: str  # may be empty while a character of several tokens is incomplete
    logprob: float  # natural logarithm of its probability in the distribution it was drawn from


@dataclass(frozen=True)
class Generated(Event):
    """The end of a generation."""

    kind: ClassVar[str] = "finished"
    text: str  # prompt and continuation
    tokens: int  # new tokens
    tokens_per_second: float
    reason: str  # "length" or "end_of_text"


@dataclass(frozen=True)
class Measured(Event):
    """The result of an evaluation."""

    kind: ClassVar[str] = "finished"
    loss: float  # total negative log-likelihood / tokens, nats per token
    perplexity: float  # exp(loss)
    tokens: int  # tokens scored: every token of the text but the first


TRAINING_EVENTS: dict[str, type[Event]] = {
    cls.kind: cls for cls in (Started, Stepped, Evaluated, Sampled, Saved, Finished)
}


def training_event(line: str) -> Event:
    """The event of one line of a run's events.jsonl (see `Event.to_json`).

    Fields a newer or older version wrote and this one does not know are left out.
    Raises KeyError or ValueError on a line that is no training event.
    """
    record = json.loads(line)
    cls = TRAINING_EVENTS[record["event"]]
    known = {f.name for f in fields(cls)}
    values = {key: float("nan") if value is None else value for key, value in record.items() if key in known}
    return cls(**values)
