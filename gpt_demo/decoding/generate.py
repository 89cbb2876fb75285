"""From a model to text: generate() chooses one token after another, generate_beams() runs a beam search.

Both are generators of events and hold no state between two of them: no inference mode, no changed model. A model in
training mode is put into eval mode for each step and back after it; a model that is not being trained can be shared.

Shapes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gpt_demo.decoding.beams import BeamsAdvanced, beam_search
from gpt_demo.decoding.darts import MAX_DARTS, DrawName, draw_of
from gpt_demo.decoding.race import Choice, Lane, decode, how
from gpt_demo.decoding.steps import STEPS
from gpt_demo.decoding.transforms import Stage, Transform, trace
from gpt_demo.decoding.window import MAX_NEW_TOKENS, Window, next_logits
from gpt_demo.errors import UserError, check_whole
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the settings of the five steps, and the draw. Raises UserError."""

    temperature: float = 1.0  # 0 is greedy: always the most probable token
    top_k: int = 0  # 0 is off
    top_p: float = 1.0  # 1 is off
    min_p: float = 0.0  # 0 is off
    repetition_penalty: float = 1.0  # 1 is off
    seed: int = 0
    draw: DrawName = "darts"

    def __post_init__(self) -> None:
        how(self._settings())
        draw_of(self.draw, self.seed)

    def _settings(self) -> list[tuple[str, float]]:
        return [(name, getattr(self, name)) for name in STEPS]

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transforms of the logits. With greedy decoding only the repetition penalty applies."""
        return how(self._settings())[0]

    @property
    def lane(self) -> Lane:
        return Lane("", self.transforms, self.greedy)


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
    """Continue `prompt`: a TokenChosen for each token, then one Generated.

    The prompt is a text or its ids; an empty one starts from the end-of-text token. The model sees (and the repetition
    penalty counts) the last n_ctx tokens: a longer prompt is cut from the left, and a full context slides; each step
    is then recomputed because every token's position has changed. So `use_cache` changes the speed, never the text.

    The end-of-text token ends the text without being part of it (its event has an empty text), unless
    `stop_at_end_of_text` is False: then it is a token like any other. Incomplete characters at the end become
    U+FFFD in the last event's text. Raises UserError at the call.
    """
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    end = tokenizer.end_of_text if stop_at_end_of_text else None
    choices = choices_after(model, tokenizer, ids, sampling, max_new_tokens, end, use_cache=use_cache)
    return _generated(choices, tokenizer, ids, max_new_tokens)


def choices_after(
    model: GPT,
    tokenizer: Tokenizer,
    ids: list[int],
    sampling: Sampling,
    count: int,
    end: int | None,
    *,
    use_cache: bool = True,
) -> Iterator[Choice]:
    """Every choice of `generate`, as the loop makes it. Raises UserError at the call."""  # fmt: skip
    check_whole("max_new_tokens", count, 1, MAX_NEW_TOKENS)
    start = ids or [tokenizer.end_of_text]
    if not sampling.greedy and len(start) + count > MAX_DARTS:
        raise UserError(f"Prompt and new tokens are {len(start) + count:,} tokens; up to {MAX_DARTS:,} can be drawn.")
    window = Window(model, start, count, use_cache)
    draw = draw_of(sampling.draw, sampling.seed)
    steps = decode(window, tokenizer.n_vocab, len(start), [sampling.lane], draw, count, end)
    return (step for step in steps if isinstance(step, Choice))


def _generated(
    choices: Iterator[Choice], tokenizer: Tokenizer, prompt: list[int], count: int
) -> Iterator[TokenChosen | Generated]:
    decoder = tokenizer.stream_decoder()
    pieces, seconds = ["".join(map(decoder.decode, prompt))], 0.0
    for n in range(1, count + 1):
        began = time.perf_counter()
        choice = next(choices)
        piece = "" if choice.last else decoder.decode(choice.id)
        if choice.last or n == count:
            piece += decoder.finish()
        pieces.append(piece)
        seconds += time.perf_counter() - began  # not the time the reader takes
        yield TokenChosen(choice.id, piece, choice.logprob)
        if choice.last:
            break
    yield Generated("".join(pieces), n, n / seconds, "end_of_text" if choice.last else "length")


def generate_beams(
    model: GPT, tokenizer: Tokenizer, prompt: str, n_beams: int, length_penalty: float, max_new_tokens: int
) -> Iterator[TokenChosen | Generated]:
    """The best text of a beam search; its tokens come when the search is done. Raises UserError at the call."""
    ids, V = tokenizer.encode(prompt), tokenizer.n_vocab
    search = beam_search(model, ids, n_beams, max_new_tokens, length_penalty, tokenizer.end_of_text, n_vocab=V)
    return _beam_events(search, tokenizer, prompt)


def _beam_events(
    search: Iterator[BeamsAdvanced], tokenizer: Tokenizer, prompt: str
) -> Iterator[TokenChosen | Generated]:
    started = time.perf_counter()
    logprobs: dict[tuple[int, ...], float] = {(): 0.0}
    best = None
    for step in search:
        logprobs.update({h.ids: h.logprob for h in (*step.live, *step.finished)})
        best = step.best[0] if step.best else best
    assert best is not None  # a search has at least one step, and its last one finishes what is live
    kept = [id for id in best.ids if id != tokenizer.end_of_text]
    pieces = token_texts(tokenizer, kept) + [""] * (len(best.ids) - len(kept))
    for i, (id, piece) in enumerate(zip(best.ids, pieces, strict=True)):
        yield TokenChosen(id, piece, logprobs[best.ids[: i + 1]] - logprobs[best.ids[:i]])
    speed = len(best.ids) / (time.perf_counter() - started)
    reason = "end_of_text" if len(kept) < len(best.ids) else "length"
    yield Generated(prompt + "".join(pieces), len(best.ids), speed, reason)


def token_texts(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text that each token adds; a character of several tokens comes with its last one."""
    decoder = tokenizer.stream_decoder()
    texts = [decoder.decode(id) for id in ids]
    return [*texts[:-1], texts[-1] + decoder.finish()] if texts else []


def next_token_stages(model: GPT, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> tuple[Stage, ...]:
    """The next-token distribution after the prompt, at every stage from the model's own to the one sampled from."""
    ids = (tokenizer.encode(prompt) or [tokenizer.end_of_text])[-model.config.n_ctx :]
    return trace(next_logits(model, tokenizer, ids), torch.tensor([ids]), sampling.transforms)
