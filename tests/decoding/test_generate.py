"""Decoding against transformers, against a plain loop without a cache, and the promises made to its readers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import Tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from peaked import PROMPT, peaked, transformers_twin
from torch import Tensor

from gpt_demo.decoding.beams import beam_search
from gpt_demo.decoding.darts import MAX_DARTS, Darts, dart, draw_of, hit
from gpt_demo.decoding.generate import Sampling, generate, next_token_stages, token_texts
from gpt_demo.decoding.race import Lane, choose
from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT, GPTConfig, KVCache
from gpt_demo.text.tokenizer import byte_level, train_bpe

GREEDY = Sampling(temperature=0)
TOKENIZER = byte_level()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads only slow a model this small down, on a busy machine by far."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(
    model: GPT, prompt: str | list[int], sampling: Sampling, n: int = 20, **more: Any
) -> tuple[list[int], Generated]:
    """The ids chosen, and the last event."""
    *tokens, last = generate(model, TOKENIZER, prompt, sampling, n, **more)
    assert isinstance(last, Generated)
    return [t.id for t in tokens if isinstance(t, TokenChosen)], last


# Greedy and sampling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_equals_transformers(penalty: float) -> None:
    reasons = set()
    for seed in (1, 2):  # the first one's text ends early
        model = peaked(seed=seed)
        theirs = transformers_twin(model).generate(
            torch.tensor([PROMPT]),
            do_sample=False,
            max_new_tokens=40,
            repetition_penalty=penalty,
            eos_token_id=256,
            pad_token_id=256,
        )
        ids, last = run(model, PROMPT, Sampling(temperature=0, repetition_penalty=penalty), 40)
        assert ids == theirs[0, len(PROMPT) :].tolist()
        reasons.add(last.reason)
    assert reasons == {"end_of_text", "length"}


def test_greedy_logprobs_are_those_of_the_model_after_the_penalty() -> None:
    model = peaked()
    events = list(generate(model, TOKENIZER, PROMPT, Sampling(temperature=0, top_k=3, repetition_penalty=1.3), 5))
    ids = list(PROMPT)
    for event in events[:-1]:
        assert isinstance(event, TokenChosen)
        logits = model(torch.tensor([ids]))[0][:, -1].detach()
        (penalty,) = chain(repetition_penalty=1.3)
        expected = penalty(logits, torch.tensor([ids])).log_softmax(dim=1)[0]
        assert event.id == int(expected.argmax())
        assert event.logprob == pytest.approx(expected.max().item(), abs=1e-5)
        ids.append(event.id)


def test_greedy_takes_the_lowest_id_of_equal_ones() -> None:
    logits = torch.tensor([0.0, 2.0, 2.0, 2.0])
    assert choose(0, GREEDY.lane, logits, torch.tensor([[0]]), Darts(1), 0).id == 1


@torch.no_grad()
def plain_loop(model: GPT, ids: list[int], sampling: Sampling, n: int) -> list[int]:
    """No cache, the whole context at every step."""
    generator = torch.Generator().manual_seed(sampling.seed)
    for _ in range(n):
        context = torch.tensor([ids[-model.config.n_ctx :]])
        row = model(context)[0][:, -1]
        for transform in sampling.transforms:
            row = transform(row, context)
        if sampling.greedy:
            ids = [*ids, int(row.argmax())]
        elif sampling.draw == "darts":
            ids = [*ids, hit(row[0].double().softmax(0), dart(sampling.seed, len(ids)))]
        else:
            ids = [*ids, int(torch.multinomial(row.softmax(1), 1, generator=generator))]
    return ids[-n:]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(seed=3),
        Sampling(0.7, 40, 0.9, 0.01, 1.2, seed=4),
        Sampling(seed=3, draw="multinomial"),
        Sampling(0.7, 40, 0.9, 0.01, 1.2, seed=4, draw="multinomial"),
    ],
    ids=["greedy", "plain", "all", "books", "books-all"],
)
@pytest.mark.parametrize("length", [1, 9, 16, 40], ids=lambda n: f"prompt{n}")
def test_equals_a_plain_loop_beyond_the_context(use_cache: bool, sampling: Sampling, length: int) -> None:
    model = peaked(n_ctx=16)
    prompt = [(i * 37) % 256 for i in range(length)]
    ids, _ = run(model, prompt, sampling, 30, use_cache=use_cache, stop_at_end_of_text=False)
    assert ids == plain_loop(model, prompt, sampling, 30)


def test_a_draw_is_the_books_draw() -> None:
    """Top-k first and then the temperature, as the book does it, is the same distribution to the bit."""
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(5)) * 3
    lane = Lane("", chain(temperature=1.4, top_k=25))
    ours, books = draw_of("multinomial", 123), torch.Generator().manual_seed(123)
    cut = logits.masked_fill(logits < logits.topk(25).values[:, -1:], -torch.inf)
    for _ in range(50):
        choice = choose(0, lane, logits[0], torch.tensor([[0]]), ours, 7)
        probabilities = (cut / 1.4).softmax(dim=1)
        assert choice.id == int(torch.multinomial(probabilities, 1, generator=books))
        assert choice.logprob == pytest.approx(math.log(probabilities[0, choice.id]), abs=1e-6)
        assert choice.u is None


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    model = peaked()
    state = torch.get_rng_state()
    first, second, other = (run(model, "One", Sampling(seed=seed))[0] for seed in (5, 5, 6))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_that_the_tokenizer_does_not_know_are_never_chosen() -> None:
    model = peaked(n_vocab=2000)
    ids, _ = run(model, "One", Sampling(5.0), 40, stop_at_end_of_text=False)
    assert max(ids) < TOKENIZER.n_vocab


# Texts ----------------------------------------------------------------------------------------------------------------


class Fixed(GPT):
    """A model that writes given ids: its logits leave no doubt."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__(GPTConfig(n_vocab=257, n_ctx=64, n_embd=4, n_head=1, n_layer=1))
        self.script = ids

    def head(self, x: Tensor) -> Tensor:
        logits = torch.zeros(1, 257)
        logits[0, self.script.pop(0)] = 100
        return logits


def written(ids: list[int], prompt: str | list[int] = "A", n: int | None = None, **more: Any) -> list[Any]:
    return list(generate(Fixed(list(ids)), TOKENIZER, prompt, GREEDY, n or len(ids), **more))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=12)
    | st.text(min_size=1, max_size=5).map(lambda text: list(text.encode()))
)
def test_joined_pieces_are_the_whole_continuation(ids: list[int]) -> None:
    *tokens, last = written(ids)
    assert "".join(t.text for t in tokens) == TOKENIZER.decode(ids)
    assert last.text == "A" + TOKENIZER.decode(ids)
    assert (last.tokens, last.reason) == (len(ids), "length")


def test_a_character_comes_with_its_last_byte() -> None:
    *tokens, _ = written(list("aé€".encode()))
    assert [t.text for t in tokens] == ["a", "", "é", "", "", "€"]


def test_an_unfinished_character_is_flushed_with_the_last_token() -> None:
    *tokens, last = written([97, 0xE2, 0x82])
    assert [t.text for t in tokens] == ["a", "", "\ufffd"]
    *tokens, last = written([97, 0xE2, 256, 98])
    assert [t.text for t in tokens] == ["a", "", "\ufffd"]
    assert (last.text, last.reason) == ("Aa\ufffd", "end_of_text")


def test_a_character_begun_by_the_ids_of_the_prompt_is_completed() -> None:
    token, last = written([0xA9], [97, 0xC3])
    assert (token.text, last.text) == ("é", "aé")


def test_end_of_text_ends_the_text_and_is_no_part_of_it() -> None:
    *tokens, last = written([98, 256, 99])
    assert [(t.id, t.text) for t in tokens] == [(98, "b"), (256, "")]
    assert (last.text, last.tokens, last.reason) == ("Ab", 2, "end_of_text")
    *tokens, last = written([98, 256, 99], stop_at_end_of_text=False)
    assert (last.text, last.tokens, last.reason) == ("Ab<|endoftext|>c", 3, "length")


@pytest.mark.parametrize("empty", ["", []])
def test_an_empty_prompt_starts_from_end_of_text(empty: str | list[int]) -> None:
    model = peaked()
    ids, last = run(model, empty, GREEDY, 8)
    assert ids == run(model, [256], GREEDY, 8)[0]
    assert last.text == TOKENIZER.decode(ids)


def test_a_long_prompt_is_cut_for_the_model_but_not_in_the_text() -> None:
    model, prompt = peaked(n_ctx=16), "No more than the end of this fits."
    ids, last = run(model, prompt, GREEDY, 5)
    assert ids == run(model, prompt[-16:], GREEDY, 5)[0]
    assert last.text == prompt + TOKENIZER.decode(ids)
    assert last.tokens_per_second > 0


# Promises to readers --------------------------------------------------------------------------------------------------


def test_no_mode_leaks_between_events_or_after_an_abandoned_text() -> None:
    model = peaked(seed=9).train()
    weight = model.wpe.weight
    for step, _ in enumerate(generate(model, TOKENIZER, "One", GREEDY, 10)):
        assert model.training
        assert all(m.training for m in model.modules())
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        if step == 3:
            break
    next(beam_search(model, PROMPT, 2, 3))
    assert model.training
    loss = model(torch.tensor([PROMPT]), torch.tensor([PROMPT]))[1]
    loss.backward()
    assert weight.grad is not None


def test_dropout_is_off_while_decoding() -> None:
    torch.manual_seed(2)
    model = GPT(GPTConfig(n_vocab=257, n_ctx=32, n_embd=32, n_head=4, n_layer=2, dropout=0.5), "pytorch").train()
    assert run(model, "One", GREEDY)[0] == run(model, "One", GREEDY)[0]


def test_the_head_reads_one_position_and_the_cache_is_never_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = peaked(seed=8), []
    head, extend = model.head, KVCache.extend

    def counted_head(x: Tensor) -> Tensor:
        seen.append(("head", *x.shape[:-1]))
        return head(x)

    def counted_extend(self: KVCache, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((self.keys.data_ptr(), k.shape[2]))
        return extend(self, layer, k, v)

    monkeypatch.setattr(model, "head", counted_head)
    monkeypatch.setattr(KVCache, "extend", counted_extend)
    run(model, PROMPT, GREEDY, 3, stop_at_end_of_text=False)
    place = seen[0][0]
    first, later = [(place, 4)] * 2 + [("head", 1)], [(place, 1)] * 2 + [("head", 1)]
    assert seen == first + later + later


def test_bf16_weights_and_autocast_work() -> None:
    model = GPT(GPTConfig(n_vocab=257, n_ctx=32, n_embd=32, n_head=4, n_layer=1)).bfloat16()
    assert len(run(model, "One", Sampling(), 5, stop_at_end_of_text=False)[0]) == 5
    with torch.autocast("cpu", torch.bfloat16):
        assert len(run(peaked(), "One", Sampling(), 5, stop_at_end_of_text=False)[0]) == 5


@pytest.mark.parametrize("n", [0, -1, 100_001, 2.0, True, None])
def test_bad_numbers_of_tokens_are_refused_at_the_call(n: Any) -> None:
    with pytest.raises(UserError, match="max_new_tokens"):
        generate(peaked(), TOKENIZER, "One", GREEDY, n)
    with pytest.raises(UserError, match="max_new_tokens"):
        beam_search(peaked(), PROMPT, 2, n)


@pytest.mark.parametrize("bad", [-1, 257])
def test_tokens_outside_of_the_vocabulary_are_refused_at_the_call(bad: int) -> None:
    with pytest.raises(UserError, match=f"Token {bad} is outside the model's vocabulary of 257"):
        generate(peaked(), TOKENIZER, [1, bad], GREEDY)


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": False},
        {"top_k": -1},
        {"top_p": 0.0},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": 2**32},
        {"temperature": 0.0, "top_p": 1.5},
    ],
)
def test_bad_sampling_gets_a_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^{list(bad)[-1]} is .*; it must be a .*\.$"):
        Sampling(**bad)


def test_a_draw_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"There is no draw named 'dice'. Available: darts, multinomial."):
        Sampling(draw="dice")  # type: ignore[arg-type]


def test_a_prompt_that_leaves_no_darts_is_refused_at_the_call() -> None:
    ids = [1] * (MAX_DARTS - 4)
    assert generate(peaked(), TOKENIZER, ids, GREEDY, 5)
    assert generate(peaked(), TOKENIZER, ids, Sampling(), 4)
    with pytest.raises(UserError, match="1,000,001 tokens; up to 1,000,000 can be drawn"):
        generate(peaked(), TOKENIZER, ids, Sampling(), 5)


def test_with_greedy_decoding_only_the_repetition_penalty_applies() -> None:
    assert Sampling(0, 5, 0.5, 0.1, 1.1).transforms == chain(repetition_penalty=1.1)
    assert Sampling(0).greedy
    assert not Sampling().greedy
    assert Sampling(0.5, 5).transforms == chain(temperature=0.5, top_k=5)


# The distribution of the next token, and the texts of tokens ----------------------------------------------------------


def test_stages(tiny: Tiny) -> None:
    stages = next_token_stages(tiny().eval(), TOKENIZER, "The old town", Sampling(temperature=0.5, top_k=3))
    assert [stage.name for stage in stages] == ["model", "temperature", "top_k"]
    assert [stage.kept for stage in stages] == [257, 257, 3]
    assert stages[-1].probabilities.sum().item() == pytest.approx(1)
    assert next_token_stages(tiny().eval(), TOKENIZER, "", Sampling())[0].kept == 257


@pytest.mark.parametrize("text", ["", "plain", "Ünïcödé 你好 🎉"])
def test_token_texts_join_to_the_text(text: str) -> None:
    for tokenizer in (TOKENIZER, train_bpe(text * 3, 300)):
        texts = token_texts(tokenizer, tokenizer.encode(text))
        assert "".join(texts) == text
        assert len(texts) == len(tokenizer.encode(text))
    assert token_texts(byte_level(), list("é".encode())[:1]) == ["\ufffd"]
