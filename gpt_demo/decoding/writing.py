"""What is asked of a loaded model beside `generate`: how likely each next token is, and beam search as text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from gpt_demo.decoding.generate import BeamsAdvanced, Sampling, beam_search
from gpt_demo.decoding.transforms import Stage, trace
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT
from gpt_demo.text.tokenizer import Tokenizer


def next_token_stages(model: GPT, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> tuple[Stage, ...]:
    """The distribution of the token after the prompt, at every stage from the model's own to what is drawn from."""
    ids = (tokenizer.encode(prompt) or [tokenizer.end_of_text])[-model.config.n_ctx :]
    return trace(next_logits(model, tokenizer, ids), torch.tensor([ids]), sampling.transforms)


def next_logits(model: GPT, tokenizer: Tokenizer, ids: list[int]) -> Tensor:
    """The logits (V,) of the token after `ids`, of which the last n_ctx are seen; V is the tokenizer's."""
    context = torch.tensor([ids[-model.config.n_ctx :]], device=model.device)
    with torch.inference_mode():
        logits = model.head(model.hidden_states(context)[0, -1])
    return logits.float().cpu()[: tokenizer.n_vocab].clone()


def beam_job(
    model: GPT, tokenizer: Tokenizer, prompt: str, n_beams: int, length_penalty: float, max_new_tokens: int
) -> Iterator[TokenChosen | Generated]:
    """The best text of a beam search, its tokens told when the search is done. Raises UserError at the call."""
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
    """The text that each token adds; characters of several tokens come with their last one."""
    decoder = tokenizer.stream_decoder()
    texts = [decoder.decode(id) for id in ids]
    return [*texts[:-1], texts[-1] + decoder.finish()] if texts else []
