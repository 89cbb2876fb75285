"""From a model to text: generate() draws or picks one token after the other, beam_search() follows several paths.

Both are generators of events and keep nothing open between two of them: no inference mode, no changed model. A model in
training mode is put into eval mode for each step and back after it; a model that nobody trains meanwhile can be shared.

Shapes: B batch (beams), T time, V vocabulary.
"""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from gpt_demo.decoding.transforms import LARGEST, LARGEST_SEED, TopK, Transform, chain, check_number, check_whole
from gpt_demo.errors import UserError
from gpt_demo.events import Event, Generated, TokenChosen
from gpt_demo.model.gpt import GPT, KVCache

if TYPE_CHECKING:
    from gpt_demo.text.tokenizer import Tokenizer

MAX_NEW_TOKENS = 100_000
MAX_BEAMS = 64


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the settings of the transforms, and the seed of the draws. Raises UserError."""

    temperature: float = 1.0  # 0 is greedy: the most probable token, always
    top_k: int = 0  # 0 is off
    top_p: float = 1.0  # 1 is off
    min_p: float = 0.0  # 0 is off
    repetition_penalty: float = 1.0  # 1 is off
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0, LARGEST, "0 is greedy, 1 turns it off")
        check_whole("seed", self.seed, 0, LARGEST_SEED)
        chain(self.temperature or 1.0, self.top_k, self.top_p, self.min_p, self.repetition_penalty)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """What the logits pass before the choice. Greedy decoding heeds the repetition penalty and nothing else."""
        if self.greedy:
            return chain(repetition_penalty=self.repetition_penalty)
        return chain(self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty)

    def generator(self) -> torch.Generator | None:
        """A generator of its own for the draws of one text, seeded; None where nothing is drawn."""
        return None if self.greedy else torch.Generator().manual_seed(self.seed)


# One token after the other --------------------------------------------------------------------------------------------


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | list[int],
    sampling: Sampling,
    max_new_tokens: int = 50,
    *,
    stop_at_end_of_text: bool = True,
    use_cache: bool = True,
) -> Iterator[TokenChosen | Generated]:
    """Continue `prompt`: a TokenChosen for each token as it comes, then one Generated.

    The prompt is a text or its ids; an empty one starts from the end-of-text token. The model sees (and the repetition
    penalty counts) the last n_ctx tokens: a longer prompt is cut from the left, and a full context slides, each step
    then computed afresh because every token's position has changed. So `use_cache` changes the speed, never the text.

    The end-of-text token ends the text without being part of it (its event has an empty text), unless
    `stop_at_end_of_text` is False: then it is a token like others. Bytes at the end that make no whole character become
    U+FFFD in the last event's text. Raises UserError at the call.
    """
    check_whole("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    window = Window(model, ids or [tokenizer.end_of_text], max_new_tokens, use_cache)
    text = _Text(tokenizer)
    end = tokenizer.end_of_text if stop_at_end_of_text else None
    return _generate(window, text, text.add(ids), sampling, max_new_tokens, end)


def _generate(
    window: Window, text: _Text, start: str, sampling: Sampling, max_new_tokens: int, end: int | None
) -> Iterator[TokenChosen | Generated]:
    transforms, generator = sampling.transforms, sampling.generator()
    pieces, seconds = [start], 0.0
    for n in range(1, max_new_tokens + 1):
        began = time.perf_counter()
        logits = window.logits().cpu()  # draws on the CPU: a seed means the same on every device
        id, logprob = next_token(logits[:, : text.n_vocab], window.ids.cpu(), transforms, generator)
        ended = id == end
        window.append([id])
        pieces.append(text.add([] if ended else [id], last=ended or n == max_new_tokens))
        seconds += time.perf_counter() - began  # the time a reader keeps the event is not the model's
        yield TokenChosen(id, pieces[-1], logprob)
        if ended:
            break
    yield Generated("".join(pieces), n, n / seconds, "end_of_text" if ended else "length")


@torch.no_grad()
def next_token(
    logits: Tensor, ids: Tensor, transforms: Sequence[Transform], generator: torch.Generator | None
) -> tuple[int, float]:
    """Choose the token that follows the context ids (1, T), given its logits (V,) or (1, V).

    With a generator it is one draw of torch.multinomial from the softmax of the transformed logits; without one it is
    greedy: the highest of them, of equal ones the lowest id. Gives the id and the natural logarithm of its probability
    in that distribution.
    """
    row = logits.reshape(1, -1).float()
    for transform in transforms:
        row = transform(row, ids)
    probabilities = row.softmax(dim=1)
    id = int(row.argmax(dim=1) if generator is None else torch.multinomial(probabilities, 1, generator=generator))
    return id, probabilities[0, id].log().item()


class Window:
    """The last n_ctx tokens of B rows, and the cache that saves computing all but the newest.

    Raises UserError on ids the model doesn't know.
    """

    def __init__(self, model: GPT, ids: list[int], max_new_tokens: int, use_cache: bool = True) -> None:
        V, self.n_ctx = model.config.n_vocab, model.config.n_ctx
        unknown = next((id for id in ids if not 0 <= id < V), None)
        if unknown is not None:
            raise UserError(
                f"Token {unknown} is outside of the model's vocabulary of {V} tokens. "
                "Use the tokenizer that the model was trained with."
            )
        self.model = model
        self.ids = torch.tensor([ids[-self.n_ctx :]], device=model.device)  # (B, T)
        room = len(ids) + max_new_tokens
        dtype = model.wpe.weight.dtype
        self.cache = KVCache(model.config, 1, room, dtype=dtype, device=model.device) if use_cache else None

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Those of the next token of each row, (B, V) float32. The head is computed for the last position only."""
        past = self.cache.length if self.cache else 0
        training = self.model.training
        if training:
            self.model.eval()
        try:
            hidden = self.model.hidden_states(self.ids[:, past:], self.cache)
            return self.model.head(hidden[:, -1]).float()
        finally:
            if training:
                self.model.train()

    def append(self, ids: list[int]) -> None:
        """One new token per row."""
        new = torch.tensor(ids, device=self.ids.device)[:, None]
        if self.ids.shape[1] == self.n_ctx:
            self.cache = None
        self.ids = torch.cat([self.ids, new], dim=1)[:, -self.n_ctx :]

    @torch.inference_mode()
    def reorder(self, rows: list[int]) -> None:
        """Row i becomes what row rows[i] was; the number of rows may change."""
        if rows == list(range(self.ids.shape[0])):
            return
        index = torch.tensor(rows, device=self.ids.device)
        self.ids = self.ids[index]
        if self.cache is not None:
            self.cache.reorder(index)


class _Text:
    """Bytes of tokens in, characters out as soon as they are whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.n_vocab = tokenizer.n_vocab  # a model may have more: they mean nothing, and must not be chosen
        self.token_bytes = tokenizer.token_bytes
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, ids: list[int], last: bool = False) -> str:
        return self.decoder.decode(b"".join(map(self.token_bytes, ids)), final=last)


# Several paths --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hypothesis:
    """A path of beam search."""

    ids: tuple[int, ...]  # the new tokens, the end-of-text token included
    logprob: float  # sum over the new tokens, natural logarithm
    score: float  # logprob / length ** length_penalty: what finished hypotheses are ranked by
    parent: int  # which of the live hypotheses of the step before it extends; 0 in the first step (the prompt)
    finished: bool  # nothing follows: it ends with the end-of-text token, or has all the tokens asked for

    @property
    def id(self) -> int:
        """The last token."""
        return self.ids[-1]


@dataclass(frozen=True)
class BeamsAdvanced(Event):
    """One step of beam search is done. The last event's `best` is the result."""

    kind: ClassVar[str] = "beams"
    step: int  # from 0; hypotheses of this step have step + 1 tokens
    live: tuple[Hypothesis, ...]  # those that go on, by logprob; none in the last step if it is the longest allowed
    finished: tuple[Hypothesis, ...]  # those that ended in this step
    pruned: tuple[Hypothesis, ...]  # the next best candidates, dropped
    best: tuple[Hypothesis, ...]  # the n_beams best of all finished so far, by score


def beam_search(
    model: GPT,
    prompt_ids: list[int],
    n_beams: int,
    max_new_tokens: int,
    length_penalty: float = 1.0,
    end_of_text: int | None = None,
    early_stopping: bool | Literal["never"] = False,
    use_cache: bool = True,
    n_vocab: int | None = None,
) -> Iterator[BeamsAdvanced]:
    """Follow the `n_beams` most probable paths at once: an event per step, the result that transformers gives.

    Of the 2 * n_beams best continuations those among the first n_beams that end are finished; of the others the first
    n_beams go on. Finished ones are ranked by log-probability / length ** length_penalty, the length being the number
    of new tokens, end-of-text included: 0 is none, more favours long ones. The search ends after max_new_tokens, or
    once n_beams are finished and, if `early_stopping` is False, the best live one scored at its present length is no
    better than the worst of them; if "never", nor could become so at the full length. Ids from `n_vocab` on never come.

    An empty prompt starts from `end_of_text`. Context and cache are as in `generate`. Raises UserError at the call.
    """
    check_whole("n_beams", n_beams, 1, MAX_BEAMS)
    check_whole("max_new_tokens", max_new_tokens, 1, MAX_NEW_TOKENS)
    check_number("length_penalty", length_penalty, -10, 10, "0 ranks by log-probability alone")
    if early_stopping not in (True, False, "never"):
        raise UserError(f'early_stopping is {early_stopping!r}; it must be True, False or "never".')
    if not prompt_ids and end_of_text is None:
        raise UserError("The prompt is empty. Give at least one token to start from.")
    search = BeamSearch(n_beams, max_new_tokens, length_penalty, end_of_text, early_stopping)
    window = Window(model, list(prompt_ids) or [end_of_text or 0], max_new_tokens, use_cache)
    return _beam_search(window, search, n_vocab)


def _beam_search(window: Window, search: BeamSearch, n_vocab: int | None) -> Iterator[BeamsAdvanced]:
    event = None
    while event is None or search.goes_on(event):
        if event is not None:
            window.reorder([h.parent for h in event.live])
            window.append([h.id for h in event.live])
        event = search.advance(window.logits()[:, :n_vocab], event)
        yield event


@dataclass(frozen=True)
class BeamSearch:
    """The rules of one search."""

    n_beams: int
    max_new_tokens: int
    length_penalty: float
    end_of_text: int | None
    early_stopping: bool | Literal["never"]

    def advance(self, logits: Tensor, before: BeamsAdvanced | None) -> BeamsAdvanced:
        """The step behind `before`, given logits (B, V) after each of its live hypotheses."""
        candidates = self.candidates(logits, before.live if before else (Hypothesis((), 0.0, 0.0, 0, False),))
        finished = tuple(h for h in candidates[: self.n_beams] if h.finished)
        live = tuple(h for h in candidates if not h.finished)[: self.n_beams]
        pruned = tuple(h for h in candidates if h not in finished + live)
        best = sorted((before.best if before else ()) + finished, key=lambda h: -h.score)[: self.n_beams]
        return BeamsAdvanced(before.step + 1 if before else 0, live, finished, pruned, tuple(best))

    def candidates(self, logits: Tensor, live: tuple[Hypothesis, ...]) -> list[Hypothesis]:
        """The 2 * n_beams most probable continuations of all live hypotheses, the most probable first."""
        V, length = logits.shape[1], len(live[0].ids) + 1
        found = []
        for logprob, index in self._top(logits.detach().cpu(), [h.logprob for h in live]):
            parent, id = divmod(index, V)
            finished = id == self.end_of_text or length == self.max_new_tokens
            found.append(Hypothesis((*live[parent].ids, id), logprob, logprob / self.penalty(length), parent, finished))
        return found

    def _top(self, logits: Tensor, logprobs: list[float]) -> list[tuple[float, int]]:
        """(log-probability, row * V + id) of the best 2 * n_beams: each row has one way to end, so n_beams go on.

        In float64, which keeps the order of the logits, and with equal ones by index: so one beam is greedy decoding.
        """
        sums = logits.double().log_softmax(dim=1) + torch.tensor(logprobs, dtype=torch.float64)[:, None]
        kept = TopK(2 * self.n_beams)(sums.reshape(1, -1), torch.empty(1, 0, dtype=torch.int64))[0]
        index = (kept > -torch.inf).nonzero()[:, 0]
        values, order = kept[index].sort(descending=True, stable=True)
        return list(zip(values.tolist(), index[order].tolist(), strict=True))

    def penalty(self, length: int) -> float:
        return math.pow(length, self.length_penalty)

    def goes_on(self, event: BeamsAdvanced) -> bool:
        """Whether another step may change the result."""
        if not event.live or len(event.best) < self.n_beams:
            return bool(event.live)
        longest = self.early_stopping == "never" and self.length_penalty > 0
        reachable = event.live[0].logprob / self.penalty(self.max_new_tokens if longest else event.step + 1)
        return self.early_stopping is not True and reachable > event.best[-1].score
