"""What the page draws from JSON: the views of the tabs."""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

from gpt_demo.runs.folder import Status
from gpt_demo.ui.protocol.playground import Trouble

Fact = tuple[str, str, str]  # label, value, what it is

# Views of the Train tab (assets/page/views.js) ------------------------------------------------------------------------


class Note(TypedDict):
    """A quiet sentence where a text would be."""

    note: str


class Preview(TypedDict):
    """The text as the model will read it: its first tokens as [id, text], and why it can't be used, if so."""

    facts: list[Fact]
    fault: str
    tokens: int
    pieces: list[tuple[int, str]]
    more: bool


class Schedule(TypedDict):
    """The learning rate over a run."""

    values: list[float]
    label: str


class Plan(TypedDict):
    """What a run will be."""

    facts: list[Fact]
    schedule: Schedule


class RunStatus(TypedDict):
    """The status of a run."""

    name: str
    state: Status
    step: int
    fraction: float
    label: str
    facts: list[Fact]
    message: str


class Sample(TypedDict):
    """What the model wrote during its training."""

    step: str
    epoch: str
    prompt: str
    text: str


class Table(TypedDict):
    """The first cell of a row names it."""

    head: list[str]
    rows: list[list[str]]
    note: NotRequired[str]
    wrap: NotRequired[bool]
    caption: NotRequired[str]


# Views of the Models tab (assets/models/views.js) ---------------------------------------------------------------------


class Fit(TypedDict):
    """What this machine has room for."""

    text: str
    note: str


class Remark(TypedDict):
    """A sentence on the chosen model."""

    text: str
    trouble: bool


ModelKind = Literal["busy", "absent", "loaded", "here"]


class ModelRow(TypedDict):
    """A model: its cells after the name."""

    name: str
    cells: list[str]
    kind: ModelKind


class ModelGroup(TypedDict):
    """Models under one heading."""

    key: str
    title: str
    rows: list[ModelRow]


class Models(TypedDict):
    """The table of models; a column is [label, what it is]."""

    head: list[tuple[str, str]]
    groups: list[ModelGroup]
    note: str
    chosen: NotRequired[str | None]


FetchState = Literal["running", "cancelling", "cancelled", "failed", "done"]
FetchPart = tuple[str, float | None, str]  # label, share (null: not known), words


class Fetch(TypedDict):
    """A download or an import."""

    name: str
    state: FetchState
    title: str
    facts: list[Fact]
    parts: list[FetchPart]
    message: str


Flow = tuple[float | None, float | None]  # numbers in and out, in widths of the stream; null: the vocabulary's


class Part(TypedDict):
    """A part of a model; `share`: of all parameters."""

    name: str
    words: str
    shape: str
    params: int
    count: str
    share: float
    flow: Flow
    branch: str


class Block(TypedDict):
    """One of the equal blocks."""

    params: str
    all: str
    share: float
    parts: list[Part]


class Architecture(TypedDict):
    """The parts of a model in the order of computation."""

    name: str
    params: int
    width: int
    layers: int
    heads: int
    head_width: int
    before: list[Part]
    block: Block
    after: list[Part]
    total: str


# Views of the Compare tab (assets/compare/) ---------------------------------------------------------------------------


WorkState = Literal["waiting", "running", "stopped", "failed", "done"]


class WorkStatus(TypedDict):
    """The status of long-running work."""

    text: str
    fraction: float
    state: WorkState
    troubles: list[str]


Cell = tuple[str, float, int]  # text, mean log-probability, tokens


class Completions(TypedDict):
    """Rows are prompts, columns models; null where there is no result yet."""

    models: list[str]
    failed: list[bool]
    prompts: list[str]
    rows: list[list[Cell | None]]


class LossRow(TypedDict):
    """How well a model predicts the text; losses in nats per token."""

    model: str
    vocabulary: int
    train_loss: float | None
    val_loss: float | None
    train_perplexity: float | None
    val_perplexity: float | None
    bits_per_byte: float | None
    tokens: int
    reported_loss: float | None


class Losses(TypedDict):
    """Of the first `measured` of `of` characters of the text; `mixed`: the tokenizers differ."""

    rows: list[LossRow]
    text: str
    measured: int
    of: int
    mixed: bool


Totals = tuple[int, float | None, float | None, float | None]  # tokens, loss, perplexity, bits per byte
Segment = tuple[str, float, float, int, int, float | None]  # text, log-probabilities, numbers of tokens, divergence


class Contrasted(TypedDict):
    """One text under two models."""

    models: tuple[str, str]
    totals: list[Totals]
    segments: list[Segment]


Shown = (
    Trouble | Note | Preview | Plan | RunStatus | list[Sample] | Table | Fit | Remark | Models | Fetch | Architecture
    | WorkStatus | Completions | Losses | Contrasted | None
)  # fmt: skip


class Views(TypedDict):
    """What each view draws; null: nothing yet."""

    preview: Trouble | Note | Preview | None
    plan: Trouble | Plan | None
    status: RunStatus | None
    samples: list[Sample] | None
    table: Table | None
    fit: Fit | None
    note: Remark | None
    models: Models | None
    fetch: Fetch | None
    architecture: Architecture | None
    work: WorkStatus | None
    completions: Completions | None
    losses: Losses | None
    contrast: Contrasted | None
