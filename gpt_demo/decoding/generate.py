"""From a model to text: generate() draws or picks one token after the other.

It is a generator of events and keeps nothing open between two of them: no inference mode, no changed model. A model in
training mode is put into eval mode for each step and back after it; a model that nobody trains meanwhile can be shared.

Shapes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt_demo.decoding.darts import LARGEST_SEED
from gpt_demo.decoding.transforms import LARGEST, Stage, Transform, chain, trace
from gpt_demo.decoding.window import MAX_NEW_TOKENS, Window, next_logits
from gpt_demo.errors import check_number, check_whole
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import Tokenizer


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


class _Text:
    """Bytes of tokens in, characters out as soon as they are whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.n_vocab = tokenizer.n_vocab  # a model may have more: they mean nothing, and must not be chosen
        self.token_bytes = tokenizer.token_bytes
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, ids: list[int], last: bool = False) -> str:
        return self.decoder.decode(b"".join(map(self.token_bytes, ids)), final=last)


def token_texts(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text that each token adds; characters of several tokens come with their last one."""
    decoder = tokenizer.stream_decoder()
    texts = [decoder.decode(id) for id in ids]
    return [*texts[:-1], texts[-1] + decoder.finish()] if texts else []


def next_token_stages(model: GPT, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> tuple[Stage, ...]:
    """The distribution of the token after the prompt, at every stage from the model's own to what is drawn from."""
    ids = (tokenizer.encode(prompt) or [tokenizer.end_of_text])[-model.config.n_ctx :]
    return trace(next_logits(model, tokenizer, ids), torch.tensor([ids]), sampling.transforms)
