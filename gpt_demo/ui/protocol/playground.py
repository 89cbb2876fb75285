"""The Playground's questions and the server's answers (ui/playground/server.py, assets/playground/core.js)."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from gpt_demo.decoding.beams import BeamsAdvanced, BeamsNow
from gpt_demo.decoding.race import Drawn

# Questions --------------------------------------------------------------------------------------------------------


class Asked(TypedDict):
    """Every question says who asks."""

    token: str


class AskedOfModel(Asked):
    """A question to one of the visitor's models."""

    model: str


class AskedText(AskedOfModel):
    """A text to be turned into tokens."""

    text: str


class AskedRow(AskedOfModel):
    """The context; the seed of the dart."""

    ids: list[int]
    seed: NotRequired[int]


class AskedScores(AskedOfModel):
    """Scores of ids[first:]."""

    ids: list[int]
    first: int


class Step(TypedDict):
    """A transform of the logits by its name."""

    name: str
    value: float


class Lane(TypedDict):
    """One way to choose tokens: steps in their order, or greedy, or beam search."""

    name: NotRequired[str]
    steps: NotRequired[list[Step]]
    greedy: NotRequired[bool]
    beams: NotRequired[int]
    length_penalty: NotRequired[float]


class AskedJob(AskedOfModel):
    """Up to `count` tokens after ids: written in lanes, or else by beam search."""

    ids: list[int]
    seed: NotRequired[int]
    count: NotRequired[int]
    stop: NotRequired[bool]  # at the end-of-text token
    lanes: NotRequired[list[Lane]]
    beams: NotRequired[int]
    length_penalty: NotRequired[float]
    early_stopping: NotRequired[bool]


class AskedMore(Asked):
    """A job that was started, by its name."""

    job: str


class AskedToy(Asked):
    """Single draws of torch.multinomial from a few logits."""

    logits: list[float]
    temperature: NotRequired[float]
    top_k: NotRequired[int]
    seed: NotRequired[int]
    draws: NotRequired[int]


# The server answers ---------------------------------------------------------------------------------------------------


class Trouble(TypedDict):
    """What went wrong, in a sentence; the answer to any question, and what a view of the form shows then."""

    error: str


class Names(TypedDict):
    """The models that the visitor can use, the starter first."""

    models: list[str]


class Vocabulary(TypedDict):
    """The bytes of all n tokens: joined in the order of their ids, and the lengths as uint16; both in base64."""

    n: int
    data: str
    lengths: str


class Opened(TypedDict):
    """What is known of a model."""

    model: str
    card: str  # what it is, in a line
    fingerprint: str  # of its weights: another model may have the same name
    n_ctx: int
    n_vocab: int
    end_of_text: int
    vocabulary: Vocabulary


class Ids(TypedDict):
    """A text as tokens."""

    ids: list[int]


class Row(TypedDict):
    """Logits of n tokens in base64, little endian: logit = value + shift."""

    dtype: Literal["float32", "float16"]
    data: str
    n: int
    shift: float


class RowAndDart(TypedDict):
    """The logits of the next token, and the uniform number drawn for it."""

    row: Row
    dart: float


class Scores(TypedDict):
    """Log-probability, rank and entropy of some tokens, maybe not all that were asked for."""

    scores: list[tuple[float, int, float]]


class Job(TypedDict):
    """The name under which to ask for more."""

    job: str


class Happened(TypedDict):
    """What a job has done since it was last asked."""

    events: list[Drawn | BeamsNow | BeamsAdvanced]
    done: bool
    seconds: float  # that the job has computed, from its beginning


class Nothing(TypedDict):
    """Done."""


class Counts(TypedDict):
    """How often each word was drawn."""

    counts: list[int]


class Scene(TypedDict):
    """One scene of the presenter: the Playground's state, how it is drawn, and with what recording."""

    title: str
    note: str
    show: str
    state: dict[str, Any]
    recorded: NotRequired[dict[str, Any]]
    claims: NotRequired[list[dict[str, Any]]]  # gpt_demo/presenter/claims.py


class Deck(TypedDict):
    """The presenter's scenes."""

    title: str
    scenes: list[Scene]


class DeckAnswer(TypedDict):
    """The deck that comes with the app."""

    deck: Deck


class Example(TypedDict):
    """A state of the Playground that shows one effect, and in a sentence what to look for."""

    title: str
    about: str
    look: str
    state: dict[str, Any]
    claims: list[dict[str, Any]]  # gpt_demo/presenter/claims.py


class ExamplesAnswer(TypedDict):
    """The examples that come with the app."""

    examples: list[Example]


class Greeting(TypedDict):
    """The Playground's value: who the visitor is, and the models."""

    token: str
    models: list[str]
