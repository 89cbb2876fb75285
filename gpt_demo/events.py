"""The events that jobs report to their readers: small frozen dataclasses and their JSON form.

Training, generating, evaluating and downloading are generators of these. The page, the command line, the tests
and the HTTP API are four readers of the same events. A failure is not an event: it is an exception.
Events that only the Playground or Compare reads are defined with the job that yields them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

LIVE = {"live": True}  # metadata of a field that is not recorded


@dataclass(frozen=True)
class Event:
    """Base of all events; `kind` is the value of the key "event" in the JSON form."""

    kind: ClassVar[str] = ""

    def to_json(self) -> str:
        """One line of JSON, in ASCII: the kind, then the fields. NaN and infinity become null."""
        known = {f.name: finite(getattr(self, f.name)) for f in fields(self) if not f.metadata.get("live")}
        return json.dumps({"event": self.kind, **known}, allow_nan=False)


def finite(value: Any) -> Any:
    """`value` as valid JSON: None for NaN and infinity, dicts for dataclasses, at any depth."""
    if value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return finite(vars(value)) if is_dataclass(value) else value


# Training -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started(Event):
    """A run starts or resumes: what is known before the first step."""

    kind: ClassVar[str] = "started"
    run: str
    step: int  # steps already done: 0, or those of a resumed run
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
    references: Mapping[str, float]  # name -> loss in nats per token, see training/counters.py
    config: Mapping[str, Any]
    eval_tokens: int = 0  # of the validation text, read by each evaluation; 0: not recorded


@dataclass(frozen=True)
class Stepped(Event):
    """One optimizer step is done. Always the last event of its step: the state is consistent and can be saved."""

    kind: ClassVar[str] = "stepped"
    step: int  # index of the step, from 0
    tokens_seen: int  # after the step
    loss: float  # mean over the step's tokens, nats per token, before the update
    learning_rate: float
    grad_norm: float  # L2 norm over all gradients, before clipping
    tokens_per_second: float


@dataclass(frozen=True)
class Evaluating(Event):
    """An evaluation is in progress: about once a second, not recorded."""

    kind: ClassVar[str] = "evaluating"
    step: int
    done: int  # tokens
    total: int


@dataclass(frozen=True)
class Evaluated(Event):
    """Losses in eval mode after a step, in nats per token."""

    kind: ClassVar[str] = "evaluated"
    step: int
    tokens_seen: int
    epoch: float
    train_loss: float
    val_loss: float
    seconds: float = field(default=0.0, compare=False, metadata=LIVE)  # that it took


@dataclass(frozen=True)
class Sampled(Event):
    """A sample of the current model from the fixed prompt; `text` includes the prompt."""

    kind: ClassVar[str] = "sampled"
    step: int
    epoch: float
    text: str
    seconds: float = field(default=0.0, compare=False, metadata=LIVE)  # that it took


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint or model has been saved completely."""

    kind: ClassVar[str] = "saved"
    path: str


@dataclass(frozen=True)
class Finished(Event):
    """The end of a run that was not interrupted."""

    kind: ClassVar[str] = "finished"
    steps: int
    tokens_seen: int
    seconds: float  # of training, pauses left out
    reason: str  # "done" (all steps), "max_steps", "target" (target loss reached) or "patience" (it ran out)
    train_loss: float | None
    val_loss: float | None
    best_step: int | None  # where the validation loss was lowest
    best_val_loss: float | None
    best_sample: str | None = None  # sample of that step's model, if it is not the last


# Generating and evaluating --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenChosen(Event):
    """One token was chosen. The texts of all tokens, joined, are exactly the generated text."""

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


# Downloading and converting -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Downloading(Event):
    """Progress of one file of a download."""

    kind: ClassVar[str] = "downloading"
    file: str
    received: int  # bytes of the file so far, including earlier attempts
    total: int | None  # bytes of the file; None if the host does not report it
    all_received: int  # of all files of the download
    all_total: int | None
    trouble: str = ""  # what went wrong just now, while it waits to try again


@dataclass(frozen=True)
class Converting(Event):
    """A checkpoint is being converted to a model of this app, tensor by tensor."""

    kind: ClassVar[str] = "converting"
    done: int  # tensors
    total: int


@dataclass(frozen=True)
class Kept(Event):
    """The end of a download, an import or an export: the model is complete."""

    kind: ClassVar[str] = "finished"
    model: str  # its name in the store
    path: str  # its folder
    bytes: int
    seconds: float


TRAINING_EVENTS: dict[str, type[Event]] = {
    cls.kind: cls for cls in (Started, Stepped, Evaluated, Sampled, Saved, Finished)
}
_TYPES = {kind: {f.name: f.type for f in fields(cls)} for kind, cls in TRAINING_EVENTS.items()}


def training_event(line: str | bytes) -> Event:
    """The event of one line of a run's events.jsonl (see `Event.to_json`); null in a float field is NaN.

    Unknown fields, from newer or older versions, are ignored.
    """
    try:
        record = json.loads(line)
        kind = record["event"]
        values = {
            name: math.nan if record[name] is None and of == "float" else record[name]
            for name, of in _TYPES[kind].items()
            if name in record
        }
        return TRAINING_EVENTS[kind](**values)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a training event: {line[:80]!r}") from error
