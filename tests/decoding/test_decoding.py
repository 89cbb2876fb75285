"""Decoding against transformers, against a plain loop without a cache, and the promises made to its readers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from gpt_demo.decoding.generate import BeamsAdvanced, Hypothesis, Sampling, beam_search, generate, next_token
from gpt_demo.decoding.transforms import chain
from gpt_demo.errors import UserError
from gpt_demo.events import Generated, TokenChosen
from gpt_demo.model.gpt import GPT, GPTConfig, KVCache

GREEDY = Sampling(temperature=0)
PROMPT = [7, 20, 3, 11]


class Bytes:
    """A stand-in for a tokenizer: one token per byte, then the end-of-text token."""

    n_vocab = 257
    end_of_text = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def token_bytes(self, id: int) -> bytes:
        return bytes([id]) if id < 256 else b"<|endoftext|>"


TOKENIZER: Any = Bytes()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads only slow a model this small down, on a busy machine by far."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def small_model(n_vocab: int = 257, n_ctx: int = 48, seed: int = 1, width: float = 1.0) -> GPT:
    """A random model whose distributions are peaked: PyTorch's embeddings have a standard deviation of 1."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(n_vocab=n_vocab, n_ctx=n_ctx, n_embd=32, n_head=4, n_layer=2, tied_head=False), "pytorch")
    assert model.lm_head is not None
    torch.nn.init.normal_(model.lm_head.weight, std=0.25 * width)
    return model.eval()


@cache
def transformers_twin(model: GPT) -> Any:
    """The same weights in transformers' model; its Conv1D weights are the transpose of nn.Linear's."""
    c = model.config
    config = GPT2Config(
        vocab_size=c.n_vocab,
        n_positions=c.n_ctx,
        n_embd=c.n_embd,
        n_head=c.n_head,
        n_layer=c.n_layer,
        tie_word_embeddings=c.tied_head,
        bos_token_id=None,
        eos_token_id=None,
    )
    twin: Any = GPT2LMHeadModel(config)
    conv = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    state = {k: v.T if k.endswith(conv) else v for k, v in model.state_dict().items()}
    twin.load_state_dict({k if k.startswith("lm_head") else f"transformer.{k}": v for k, v in state.items()})
    return twin.eval()


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
        model = small_model(seed=seed)
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
    model = small_model()
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
    assert next_token(torch.tensor([0.0, 2.0, 2.0, 2.0]), torch.tensor([[0]]), (), None)[0] == 1


@torch.no_grad()
def plain_loop(model: GPT, ids: list[int], sampling: Sampling, n: int) -> list[int]:
    """No cache, the whole context at every step."""
    generator = torch.Generator().manual_seed(sampling.seed)
    for _ in range(n):
        context = torch.tensor([ids[-model.config.n_ctx :]])
        row = model(context)[0][:, -1]
        for transform in sampling.transforms:
            row = transform(row, context)
        draw = row.argmax() if sampling.greedy else torch.multinomial(row.softmax(1), 1, generator=generator)
        ids = [*ids, int(draw)]
    return ids[-n:]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(seed=3), Sampling(0.7, 40, 0.9, 0.01, 1.2, seed=4)], ids=["greedy", "plain", "all"]
)
@pytest.mark.parametrize("length", [1, 9, 16, 40], ids=lambda n: f"prompt{n}")
def test_equals_a_plain_loop_beyond_the_context(use_cache: bool, sampling: Sampling, length: int) -> None:
    model = small_model(n_ctx=16)
    prompt = [(i * 37) % 256 for i in range(length)]
    ids, _ = run(model, prompt, sampling, 30, use_cache=use_cache, stop_at_end_of_text=False)
    assert ids == plain_loop(model, prompt, sampling, 30)


def test_a_draw_is_the_books_draw() -> None:
    """Top-k first and then the temperature, as the book does it, is the same distribution to the bit."""
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(5)) * 3
    ours, books = torch.Generator().manual_seed(123), torch.Generator().manual_seed(123)
    cut = logits.masked_fill(logits < logits.topk(25).values[:, -1:], -torch.inf)
    for _ in range(50):
        id, logprob = next_token(logits, torch.tensor([[0]]), chain(temperature=1.4, top_k=25), ours)
        probabilities = (cut / 1.4).softmax(dim=1)
        assert id == int(torch.multinomial(probabilities, 1, generator=books))
        assert logprob == pytest.approx(math.log(probabilities[0, id]), abs=1e-6)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    model = small_model()
    state = torch.get_rng_state()
    first, second, other = (run(model, "One", Sampling(seed=seed))[0] for seed in (5, 5, 6))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_that_the_tokenizer_does_not_know_are_never_chosen() -> None:
    model = small_model(n_vocab=2000)
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
    model = small_model()
    ids, last = run(model, empty, GREEDY, 8)
    assert ids == run(model, [256], GREEDY, 8)[0]
    assert last.text == TOKENIZER.decode(ids)


def test_a_long_prompt_is_cut_for_the_model_but_not_in_the_text() -> None:
    model, prompt = small_model(n_ctx=16), "No more than the end of this fits."
    ids, last = run(model, prompt, GREEDY, 5)
    assert ids == run(model, prompt[-16:], GREEDY, 5)[0]
    assert last.text == prompt + TOKENIZER.decode(ids)
    assert last.tokens_per_second > 0


# Promises to readers --------------------------------------------------------------------------------------------------


def test_no_mode_leaks_between_events_or_after_an_abandoned_text() -> None:
    model = small_model(seed=9).train()
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
    model, seen = small_model(seed=8), []
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
        assert len(run(small_model(), "One", Sampling(), 5, stop_at_end_of_text=False)[0]) == 5


@pytest.mark.parametrize("n", [0, -1, 100_001, 2.0, True, None])
def test_bad_numbers_of_tokens_are_refused_at_the_call(n: Any) -> None:
    with pytest.raises(UserError, match="max_new_tokens"):
        generate(small_model(), TOKENIZER, "One", GREEDY, n)
    with pytest.raises(UserError, match="max_new_tokens"):
        beam_search(small_model(), PROMPT, 2, n)


@pytest.mark.parametrize("bad", [-1, 257])
def test_tokens_outside_of_the_vocabulary_are_refused_at_the_call(bad: int) -> None:
    with pytest.raises(UserError, match=f"Token {bad} is outside of the model's vocabulary of 257"):
        generate(small_model(), TOKENIZER, [1, bad], GREEDY)


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
        {"temperature": 0.0, "top_p": 1.5},
    ],
)
def test_bad_sampling_gets_a_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^{list(bad)[-1]} is .*; it must be a .*\.$"):
        Sampling(**bad)


def test_greedy_is_a_choice_that_heeds_only_the_penalty() -> None:
    assert Sampling(0, 5, 0.5, 0.1, 1.1).transforms == chain(repetition_penalty=1.1)
    assert Sampling(0).greedy
    assert not Sampling().greedy
    assert Sampling(0.5, 5).transforms == chain(temperature=0.5, top_k=5)


# Beam search ----------------------------------------------------------------------------------------------------------


def beams(
    model: GPT, n: int, new: int, *more: Any, prompt: list[int] | None = None, **named: Any
) -> list[BeamsAdvanced]:
    return list(beam_search(model, prompt or PROMPT, n, new, *more, **named))


def assert_equals_transformers(
    model: GPT, n: int, new: int, penalty: float, end: int | None, early: bool | str = False
) -> list[BeamsAdvanced]:
    theirs = transformers_twin(model).generate(
        torch.tensor([PROMPT]),
        num_beams=n,
        num_return_sequences=n,
        do_sample=False,
        max_new_tokens=new,
        length_penalty=penalty,
        early_stopping=early,
        eos_token_id=end,
        pad_token_id=0 if end is None else end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    events = beams(model, n, new, penalty, end, early)
    best = events[-1].best
    for ours, ids in zip(best, theirs.sequences[:, len(PROMPT) :].tolist(), strict=True):
        assert list(ours.ids) == ids[: len(ours.ids)]
        assert all(id == end for id in ids[len(ours.ids) :]), "longer than ours"
    if n > 1:  # with one beam transformers decodes greedily and gives no scores of sequences
        assert [h.score for h in best] == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)
    return events


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_beam_search_equals_transformers(n: int, penalty: float) -> None:
    for seed in (1, 2):
        events = assert_equals_transformers(small_model(60, seed=seed), n, 10, penalty, None)
        assert [len(h.ids) for h in events[-1].best] == [10] * n


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0, 2.0])
def test_beam_search_equals_transformers_where_texts_end(penalty: float, early: bool | str) -> None:
    ended, lengths = 0, set()
    for n, seed in ((2, 1), (4, 2), (4, 4)):
        model = small_model(60, seed=seed, width=0.5)
        path = beams(model, n, 12)[-1].best
        for end in {path[0].ids[2], path[-1].ids[5]}:  # met early by the best path, later by another
            events = assert_equals_transformers(model, n, 12, penalty, end, early)
            ended += sum(h.id == end for event in events for h in event.finished)
            lengths.add(len(events))
    assert ended > 6
    assert early == "never" or penalty == 2 or min(lengths) < 12, "the search never ended early"


def test_one_beam_is_greedy() -> None:
    model = small_model(n_ctx=16)
    (best,) = beams(model, 1, 30)[-1].best
    *tokens, _ = generate(model, TOKENIZER, PROMPT, GREEDY, 30, stop_at_end_of_text=False)
    assert list(best.ids) == [t.id for t in tokens if isinstance(t, TokenChosen)]
    assert best.logprob == pytest.approx(sum(t.logprob for t in tokens if isinstance(t, TokenChosen)), abs=1e-4)


@pytest.mark.parametrize("n_ctx", [12, 48])
def test_cached_beams_equal_uncached_ones(n_ctx: int) -> None:
    for seed in (1, 2, 3):
        model = small_model(100, n_ctx, seed, 0.5)
        cached, uncached = (beams(model, 4, 20, 1.0, 7, use_cache=on) for on in (True, False))
        for a, b in zip(cached, uncached, strict=True):
            assert [(h.ids, h.parent) for h in a.live] == [(h.ids, h.parent) for h in b.live]
            assert [h.logprob for h in a.live] == pytest.approx([h.logprob for h in b.live], abs=1e-4)
        assert [h.ids for h in cached[-1].best] == [h.ids for h in uncached[-1].best]


def test_beams_of_equal_logits_take_the_lowest_ids() -> None:
    model = small_model(60, seed=6)
    flat = GPT(model.config).eval()
    assert flat.lm_head is not None
    torch.nn.init.zeros_(flat.lm_head.weight)
    first, second = beams(flat, 3, 2)
    assert [h.ids for h in first.live] == [(0,), (1,), (2,)]
    assert [h.ids for h in second.best] == [(0, 0), (0, 1), (0, 2)]


def test_the_tree_of_hypotheses_holds_together() -> None:
    model = small_model(60, seed=2, width=0.5)
    end = beams(model, 4, 12)[-1].best[0].ids[3]
    before: tuple[Hypothesis, ...] = (Hypothesis((), 0.0, 0.0, 0, False),)
    events = beams(model, 4, 12, 1.5, end)
    for step, event in enumerate(events):
        assert event.step == step
        everyone = (*event.live, *event.finished, *event.pruned)
        assert len({h.ids for h in everyone}) == len(everyone) == 8
        for h in everyone:
            assert h.ids[:-1] == before[h.parent].ids
            assert h.id == h.ids[-1]
            assert h.logprob <= before[h.parent].logprob
            assert h.score == pytest.approx(h.logprob / (step + 1) ** 1.5)
            assert h.finished == (h.id == end or step == 11)
        assert [h.logprob for h in event.live] == sorted((h.logprob for h in event.live), reverse=True)
        assert max(h.logprob for h in event.pruned) <= min(h.logprob for h in event.live or event.finished)
        before = event.live
    finished = sorted((h for e in events for h in e.finished), key=lambda h: -h.score)
    assert list(events[-1].best) == finished[:4]


def test_a_vocabulary_smaller_than_the_beams() -> None:
    events = beams(small_model(3), 8, 3, 0.0, prompt=[1])
    assert [len(e.live) for e in events] == [3, 8, 0]
    assert [len(e.best) for e in events] == [0, 0, 8]


def test_beam_events_have_a_json_form() -> None:
    record = json.loads(beams(small_model(60), 2, 3)[0].to_json())
    assert record["event"] == "beams"
    assert set(record["live"][0]) == {"ids", "logprob", "score", "parent", "finished"}


def test_bad_beam_settings_are_refused_at_the_call() -> None:
    model = small_model(60)
    for n_beams in (0, 65, True, 2.0):
        with pytest.raises(UserError, match="n_beams"):
            beam_search(model, PROMPT, n_beams, 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="length_penalty"):
        beam_search(model, PROMPT, 2, 5, math.nan)
    with pytest.raises(UserError, match="early_stopping"):
        beam_search(model, PROMPT, 2, 5, 1.0, None, "always")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="The prompt is empty"):
        beam_search(model, [], 2, 5)
    assert beams(model, 2, 4, 1.0, 9, prompt=[9])[-1] == list(beam_search(model, [], 2, 4, 1.0, 9))[-1]
