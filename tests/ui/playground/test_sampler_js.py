"""The page's arithmetic against the server's: the same cuts, probabilities, darts and texts."""

from __future__ import annotations

import base64
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from node import Node, module
from torch import Tensor

from gpt_demo.decoding.transforms import MinP, RepetitionPenalty, Stage, Temperature, TopK, TopP, Transform, trace
from gpt_demo.errors import UserError
from gpt_demo.text.tokenizer import make
from gpt_demo.ui.playground.payload import row_payload, vocabulary_payload

pytest_plugins = ["node"]
NO_IDS = torch.empty(1, 0, dtype=torch.int64)
TRANSFORMS: dict[str, type[Any]] = {t.name: t for t in (RepetitionPenalty, Temperature, TopK, TopP, MinP)}

Steps = list[tuple[str, float]]

# Everything the tests ask of it; arrays cross as base64, since JSON of 50,257 numbers is slow.
HARNESS = """
globalThis.pack = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
globalThis.load = (payload) => (globalThis.row = P.decodeRow(payload.data, payload.dtype, payload.shift));
globalThis.traced = (ids, steps) => S.trace(row, ids, steps.map(([name, value]) => ({ name, value })));
globalThis.told = (stages, all) => stages.map((s, i) => ({
  name: s.name, kept: s.kept, ties: s.ties, removedMass: s.removedMass, renormalizer: s.renormalizer,
  entropy: s.entropy,
  perplexity: s.perplexity, order: all ? [...s.ranking.ids.subarray(0, s.kept)] : null,
  probabilities: all || i === stages.length - 1 ? pack(s.probabilities) : null,
}));
globalThis.refusal = (f) => { try { f(); } catch (error) { return error.message; } };
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other cost far more than they save here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def js(node: Node) -> Node:
    """With the sampler as S, the decoding of what is sent as P, and what the tests ask of it."""
    names = ("playground/sampler", "playground/darts", "playground/steps", "page/visible", "playground/payload")
    parts = ", ".join(module(f"{name}.js") for name in names)
    spread = "{ S: Object.assign({}, ...all), P: all.at(-1) }"
    node.evaluate(f"Promise.all([{parts}]).then((all) => void Object.assign(globalThis, {spread}))")
    node.evaluate(f"(() => {{ {HARNESS} }})()")
    return node


# Rows, settings, and the comparison -----------------------------------------------------------------------------------


def make_row(kind: str, n_vocab: int, seed: int = 0) -> Tensor:
    """Logits (V,) of a kind."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn(n_vocab, generator=generator)
    if kind == "flat":
        return row * 0.4
    if kind == "ties":
        return (row * 2).round() / 2  # also of both zeros
    if kind == "holes":
        return (row * 3).masked_fill(torch.rand(n_vocab, generator=generator) < 0.3, -torch.inf)
    # As GPT-2's are: far below 0, and a few tokens far above the others.
    peaks = torch.randint(n_vocab, (1 + n_vocab // 1000,), generator=generator)
    return (row * 2 - 60).index_add(0, peaks, 10 * torch.rand(len(peaks), generator=generator))


def make_steps(rng: random.Random, n_vocab: int) -> Steps:
    """Some of the steps in some order, now and then one that is off or a k beyond the vocabulary."""
    values = {
        "repetition_penalty": rng.choice([1.0, 0.5, rng.uniform(1, 2)]),
        "temperature": math.exp(rng.uniform(math.log(0.05), math.log(8))),
        "top_k": rng.choice([0, 1, 10**9, int(n_vocab ** rng.random())]),
        "top_p": rng.choice([1.0, rng.uniform(0.01, 1), 1 - 10 ** rng.uniform(-6, -1)]),
        "min_p": rng.choice([0.0, 1.0, 10 ** rng.uniform(-5, 0)]),
    }
    return [(name, values[name]) for name in rng.sample(list(values), rng.randint(1, len(values)))]


def make_ids(rng: random.Random, n_vocab: int) -> list[int]:
    return [rng.randrange(n_vocab) for _ in range(rng.choice([0, 3, 200]))]


def server_trace(row: Tensor, ids: list[int], steps: Steps) -> tuple[Stage, ...]:
    chain: list[Transform] = [TRANSFORMS[name](value) for name, value in steps]
    return trace(row, torch.tensor([ids], dtype=torch.int64), chain)


def unpack(text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.frombuffer(base64.b64decode(text), dtype="<f8")


def check_stage(ours: dict[str, Any], theirs: Stage) -> None:
    """Equal to 1e-4; of more than 10,000 tokens, one may lie so near to a threshold that it differs.

    The tolerance is the server's: its float32 sums over many equals are off by up to 2e-5; the page sums float64.
    """
    assert ours["name"] == theirs.name
    assert ours["kept"] == pytest.approx(theirs.kept, rel=1e-4)
    assert ours["removedMass"] == pytest.approx(theirs.removed_mass, rel=1e-4, abs=1e-6)
    assert 1 / ours["renormalizer"] == pytest.approx(1 / theirs.renormalizer, rel=1e-4, abs=1e-4)
    assert ours["entropy"] == pytest.approx(theirs.entropy, rel=1e-4, abs=1e-6)
    assert ours["perplexity"] == pytest.approx(theirs.perplexity, rel=1e-3)
    if ours["probabilities"] is None:
        return
    p, expected = unpack(ours["probabilities"]), theirs.probabilities.double().numpy()
    cut = theirs.logits.numpy() == -np.inf
    assert (p[cut] > 0).sum() <= 1e-4 * theirs.kept
    shown = (p > 0) & (expected > 1e-30)  # below, float32 has fewer digits
    assert np.abs(p / np.where(shown, expected, 1) - 1)[shown].max() < 1e-4
    assert p.sum() == pytest.approx(1)
    assert ours["entropy"] == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum(), rel=1e-9, abs=1e-12)


def compare(js: Node, payload: dict[str, Any], row: Tensor, cases: list[tuple[list[int], Steps]]) -> int:
    """Every case on this row in the page against the server; how many stages kept another number of tokens."""
    js.evaluate("payload => { load(payload); }", payload)
    told = js.evaluate(
        "([cases, all]) => cases.map(([ids, steps]) => told(traced(ids, steps), all))", [cases, len(row) <= 300]
    )
    differing = 0
    for stages, (ids, steps) in zip(told, cases, strict=True):
        for ours, theirs in zip(stages, server_trace(row, ids, steps), strict=True):
            check_stage(ours, theirs)
            differing += ours["kept"] != theirs.kept
            if ours["order"] is not None:
                best_first = theirs.logits.sort(descending=True, stable=True).indices
                assert ours["order"] == best_first[: theirs.kept].tolist(), (ids, steps)
    return differing


@pytest.mark.parametrize("kind", ["flat", "peaked", "ties", "holes"])
@pytest.mark.parametrize(("n_vocab", "count"), [(9, 40), (300, 25), (50257, 8)])
def test_every_stage_equals_the_servers(js: Node, kind: str, n_vocab: int, count: int) -> None:
    rng = random.Random(f"{kind} {n_vocab}")
    row = make_row(kind, n_vocab)
    cases = [(make_ids(rng, n_vocab), make_steps(rng, n_vocab)) for _ in range(count)]
    differing = compare(js, row_payload(row), row, cases)
    assert differing == 0 or n_vocab > 10_000


@pytest.mark.parametrize("kind", ["flat", "peaked", "holes"])
def test_a_float16_row_gives_what_the_server_makes_of_the_same_row(js: Node, kind: str) -> None:
    rng = random.Random(kind)
    row = make_row(kind, 50257)
    cases = [(make_ids(rng, 50257), make_steps(rng, 50257)) for _ in range(4)]
    payload = row_payload(row, "float16")
    values = torch.from_numpy(np.frombuffer(base64.b64decode(payload["data"]), dtype="<f2").astype("<f4"))
    compare(js, payload, values + payload["shift"], cases)


def test_ties_that_rounding_makes_are_ordered_by_id(js: Node) -> None:
    """Neighbouring float32 numbers fall together when they are divided: the server then counts them as equal."""
    steps = torch.arange(400, dtype=torch.int32)
    row = (steps.flip(0) + torch.tensor(1.5).view(torch.int32)).view(torch.float32)
    row = torch.cat([row, row.flip(0)])
    cases: list[tuple[list[int], Steps]]
    cases = [([], [("temperature", t), ("top_k", k)]) for t in (1.1, 1.7, 0.9, 3.3) for k in (1, 7, 99, 500)]
    cases += [(list(range(0, 800, 3)), [("repetition_penalty", 1.3), ("temperature", 0.7), ("top_k", 300)])]
    assert compare(js, row_payload(row), row, cases) == 0


def test_equal_tokens_stay_by_id(js: Node) -> None:
    cases: list[tuple[list[int], Steps]] = [([], [(name, value)]) for name, value in (("top_k", 4), ("top_p", 0.5))]
    cases += [([], [("min_p", 1.0)]), ([7, 7, 2], [("repetition_penalty", 1.5), ("top_k", 5)])]
    for row in (torch.zeros(8), torch.tensor([-0.0, 0.0, -0.0, 1.0, 1.0, 0.0, -1.0, -1.0])):
        assert compare(js, row_payload(row), row, cases) == 0


def test_greedy_heeds_the_penalty_and_nothing_else(js: Node) -> None:
    js.evaluate("payload => { load(payload); }", row_payload(torch.tensor([1.0, 3.0, 3.0, 2.9])))
    steps = [("top_k", 3), ("temperature", 0), ("repetition_penalty", 1.1)]
    told = js.evaluate("steps => told(traced([1], steps), true)", steps)
    assert [(s["name"], s["kept"], s["order"][0]) for s in told] == [
        ("model", 4, 1), ("repetition_penalty", 4, 2), ("greedy", 1, 2),
    ]  # fmt: skip
    assert told[-1]["entropy"] == 0
    assert told[-1]["removedMass"] == pytest.approx(1 - unpack(told[1]["probabilities"])[2])
    assert unpack(told[-1]["probabilities"]).tolist() == [0, 0, 1, 0]


def test_what_is_off_can_be_left_out_and_what_is_wrong_gets_a_sentence(js: Node) -> None:
    off = {"repetition_penalty": 1, "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
    steps = [{"name": name, "value": value} for name, value in off.items()]
    assert js.evaluate("steps => S.active(steps)", [*steps, {"name": "min_p", "value": 0.1}]) == [
        {"name": "min_p", "value": 0.1}
    ]
    js.evaluate("payload => { load(payload); }", row_payload(torch.zeros(3)))
    bad: list[tuple[str, Any]] = [("temperature", -1), ("temperature", math.nan), ("top_k", 2.5), ("top_k", -1)]
    bad += [("top_p", 0), ("top_p", 1.1), ("min_p", "0.1"), ("repetition_penalty", 0), ("toString", 1)]
    for step in bad:
        message = js.evaluate("step => refusal(() => traced([], [step]))", step)
        assert "it must be" in message or "no step named" in message
    for values in ("[NaN, 1]", "[Infinity, 1]", "[-Infinity]", "[]"):
        assert "A row of logits holds" in js.evaluate(f"refusal(() => S.trace(new Float32Array({values}), [], []))")


# What is shown --------------------------------------------------------------------------------------------------------


def test_the_nine_words_of_the_book(js: Node, golden: dict[str, Any]) -> None:
    toy = golden["toy_vocabulary"]
    logits = torch.tensor(toy["logits"])
    js.evaluate("payload => { load(payload); }", row_payload(logits))
    for temperature in (1.0, 0.1, 5.0):
        compare(js, row_payload(logits), logits, [([], [("temperature", temperature)])])
    (top_k,) = js.evaluate("told(traced([], [['top_k', 3]]), true).slice(1)")
    assert unpack(top_k["probabilities"]).round(4).tolist() == toy["top_k_3_probabilities"]
    top = js.evaluate("S.topRows(traced([], [['top_k', 2]]), 3)")
    assert [toy["words"][entry["id"]] for entry in top["rows"]] == ["forward", "toward", "closer"]
    assert [entry["kept"] for entry in top["rows"]] == [True, True, False]
    assert [entry["raw"] for entry in top["rows"]] == pytest.approx(logits.softmax(0)[[3, 7, 0]].tolist(), rel=1e-5)
    assert top["others"] == pytest.approx(
        {"raw": 1 - sum(entry["raw"] for entry in top["rows"]), "final": 0, "count": 6, "kept": 0}
    )


def test_top_rows_by_raw_and_by_final_probability(js: Node) -> None:
    row = make_row("holes", 300)
    ids = row.topk(3).indices.tolist()
    steps: Steps = [("repetition_penalty", 3.0), ("top_k", 5)]
    js.evaluate("payload => { load(payload); }", row_payload(row))
    before, *_, after = server_trace(row, ids, steps)
    for by, n, expected in (
        ("raw", 20, before.probabilities.topk(20).indices.tolist()),
        ("final", 5, after.probabilities.topk(5).indices.tolist()),
    ):
        top = js.evaluate("([ids, steps, n, by]) => S.topRows(traced(ids, steps), n, by)", [ids, steps, n, by])
        assert [entry["id"] for entry in top["rows"]] == expected
        for key, stage in (("raw", before), ("final", after)):
            shown = stage.probabilities[expected]
            assert [entry[key] for entry in top["rows"]] == pytest.approx(shown.tolist(), rel=1e-5)
            assert top["others"][key] == pytest.approx(1 - shown.sum().item(), abs=1e-6)
    rest = js.evaluate("([ids, steps]) => S.topRows(traced(ids, steps), 999, 'final')", [ids, steps])
    tokens = (row > -torch.inf).nonzero()[:, 0].tolist()
    assert sorted(entry["id"] for entry in rest["rows"]) == tokens
    assert rest["others"] == {"raw": 0, "final": 0, "count": 300 - len(tokens), "kept": 0}


def test_rank_and_log_probability_of_a_token(js: Node) -> None:
    row = make_row("peaked", 300)
    js.evaluate("payload => { load(payload); }", row_payload(row))
    ask = (
        "steps => { const s = traced([], steps).at(-1); return [...row].map((_, id) => [s.rank(id), s.logprob(id)]); }"
    )
    ranks, logprobs = zip(*js.evaluate(ask, [["temperature", 0.01]]), strict=True)
    assert list(ranks) == row.argsort(descending=True, stable=True).argsort().tolist()
    expected = (row / 0.01).double().log_softmax(0)
    assert list(logprobs) == pytest.approx(expected.tolist(), rel=1e-9)
    assert expected.min() < -1000, "probabilities that no number can hold"
    answers = js.evaluate(ask, [["top_k", 2]])
    assert sorted(rank for rank, _ in answers)[-3:] == [-1, 0, 1]
    assert sum(logprob == -math.inf for _, logprob in answers) == 298


def bar_of(stage: Stage) -> tuple[list[int], Tensor]:
    """What the dart hits: the ids in rank order, and where each one's part of [0, 1) ends."""
    logits, ids = stage.logits.double().sort(descending=True, stable=True)
    return ids[: stage.kept].tolist(), logits.softmax(0)[: stage.kept].cumsum(0)


def reference_dart(stage: Stage, u: float) -> int:
    ids, ends = bar_of(stage)
    return ids[min(int((ends <= u).sum()), len(ids) - 1)]


@pytest.mark.parametrize("kind", ["flat", "peaked", "ties"])
def test_the_dart_hits_what_the_server_would_draw(js: Node, kind: str) -> None:
    rng = random.Random(kind)
    row = make_row(kind, 300)
    js.evaluate("payload => { load(payload); }", row_payload(row))
    settings: list[Steps] = [[], [("temperature", 1.5), ("top_p", 0.9)], [("top_k", 1)]]
    for steps in settings:
        stage = server_trace(row, [], steps)[-1]
        darts = [0.0, *(rng.random() for _ in range(50)), 1 - 2**-53]
        hits = js.evaluate("([steps, us]) => us.map((u) => S.dart(traced([], steps), u))", [steps, darts])
        assert [hit["id"] for hit in hits] == [reference_dart(stage, u) for u in darts]
        assert all(hit["from"] <= u < hit["to"] for hit, u in zip(hits, darts, strict=True))
        assert hits[-1]["to"] == 1


def test_the_parts_of_the_bar_fill_it_and_each_is_hit_from_its_first_point(js: Node) -> None:
    row = make_row("ties", 300)
    js.evaluate("payload => { load(payload); }", row_payload(row))
    parts = js.evaluate("S.bar(traced([], [['top_k', 40]]), 999)")
    assert [part["from"] for part in parts] == [0, *(part["to"] for part in parts[:-1])]
    assert parts[-1]["to"] == 1
    ids, ends = bar_of(server_trace(row, [], [("top_k", 40)])[-1])
    assert [part["id"] for part in parts] == ids
    assert [part["to"] for part in parts] == pytest.approx(ends.tolist())
    hits = js.evaluate("us => us.map((u) => S.dart(traced([], [['top_k', 40]]), u))", [p["from"] for p in parts])
    assert [{key: hit[key] for key in ("id", "from", "to")} for hit in hits] == parts
    assert js.evaluate("S.bar(traced([], []), 2).length") == 2
    assert "from 0 to below 1" in js.evaluate("refusal(() => S.dart(traced([], []), 1))")


def mulberry32(seed: int) -> Iterator[float]:
    """The page's uniform numbers."""
    word = 0xFFFFFFFF
    while True:
        seed = (seed + 0x6D2B79F5) & word
        mixed = (seed ^ seed >> 15) * (seed | 1) & word
        mixed ^= (mixed + ((mixed ^ mixed >> 7) * (mixed | 61) & word)) & word
        yield (mixed ^ mixed >> 14) / 2**32


@pytest.mark.parametrize("seed", [0, 123, 2**32 - 1])
def test_a_thousand_draws_are_a_thousand_darts(js: Node, golden: dict[str, Any], seed: int) -> None:
    logits = torch.tensor(golden["toy_vocabulary"]["logits"])
    js.evaluate("payload => { load(payload); }", row_payload(logits))
    stage = server_trace(logits, [], [("temperature", 5.0)])[-1]
    uniform = mulberry32(seed)
    numbers = [next(uniform) for _ in range(1000)]
    assert js.evaluate("seed => { const r = S.random(seed); return [r(), r(), r()]; }", seed) == numbers[:3]
    drawn = js.evaluate("seed => [...S.drawMany(traced([], [['temperature', 5]]), 1000, seed)]", seed)
    assert dict(drawn) == Counter(reference_dart(stage, u) for u in numbers)
    expected = 1000 * stage.probabilities
    counts = torch.tensor([dict(drawn).get(id, 0) for id in range(9)])
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square, 8 degrees of freedom, p = 0.001


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "bytes"])
def test_the_vocabulary_arrives_whole(js: Node, kind: str) -> None:
    tokenizer = make(kind)
    answer = js.evaluate(
        """payload => {
          const token = P.vocabulary(payload);
          const ids = Array.from({ length: payload.n }, (_, id) => id);
          return {
            bytes: ids.map((id) => [...token(id).bytes].map((b) => b.toString(16).padStart(2, "0")).join("")).join(" "),
            texts: ids.map((id) => token(id).text),
            unknown: [token(payload.n), token(-1)].map(({ text, bytes }) => [text, bytes.length]),
          };
        }""",
        vocabulary_payload(tokenizer),
    )
    pieces = [tokenizer.token_bytes(id) for id in range(tokenizer.n_vocab)]
    assert answer["bytes"].split(" ") == [piece.hex() for piece in pieces]
    assert answer["texts"] == [piece.decode("utf-8", "replace") for piece in pieces]
    assert answer["unknown"] == [["", 0], ["", 0]]


VISIBLE = [
    (b"plain <b>${x}</b>", "plain·<b>${x}</b>"),
    (b" the\n\t\r", "·the↵⇥␍"),
    ("é日本🙂".encode(), "é日本🙂"),
    ("🙂".encode()[:3], "<0xF0><0x9F><0x99>"),
    (b"a\xe2\x80b\xff\xc0\xaf", "a<0xE2><0x80>b<0xFF><0xC0><0xAF>"),
    (b"\x80\xc3\xa9", "<0x80>é"),
    (b"\xed\xa0\x80", "<0xED><0xA0><0x80>"),  # a surrogate is no character
    ("\x00\x07\x7f\u200b".encode(), "<U+0000><U+0007><U+007F><U+200B>"),
    ("\u202e\xa0\ufeff\u2028".encode(), "<U+202E><U+00A0><U+FEFF><U+2028>"),
    (b"", ""),
]  # fmt: skip


def test_nothing_in_a_token_is_invisible(js: Node) -> None:
    shown = js.evaluate("list => list.map((bytes) => S.visible(Uint8Array.from(bytes)))", [list(b) for b, _ in VISIBLE])
    assert shown == [text for _, text in VISIBLE]
    texts = [(data.decode(), text) for data, text in VISIBLE if "<0x" not in text]
    assert js.evaluate("list => list.map(S.visible)", [data for data, _ in texts]) == [text for _, text in texts]
    assert js.evaluate(r"S.visible('\ud800 x')") == "<U+D800>·x"


# The payload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 3.0, 1e4, 1e6])
def test_float16_is_off_by_no_more_than_stated(scale: float) -> None:
    row = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * scale
    row[::7] = -torch.inf
    payload = row_payload(row, "float16")
    values = np.frombuffer(base64.b64decode(payload["data"]), dtype="<f2").astype(np.float64)
    distances = (row.max() - row).double().numpy()
    assert ((values == -np.inf) == (row == -torch.inf).numpy()).all()
    near = distances < 65504
    assert (np.abs(values[near] + distances[near]) <= 2**-11 * distances[near] + 2**-25).all()
    assert payload["shift"] == row.max().item()


def test_float32_is_the_row_itself() -> None:
    row = make_row("holes", 300)
    payload = row_payload(row[None].requires_grad_())
    assert base64.b64decode(payload["data"]) == row.numpy().tobytes()
    assert {key: payload[key] for key in ("dtype", "n", "shift")} == {"dtype": "float32", "n": 300, "shift": 0.0}
    assert json.loads(json.dumps(payload)) == payload


@pytest.mark.parametrize("values", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
def test_a_row_that_is_no_distribution_gets_a_sentence(values: list[float]) -> None:
    with pytest.raises(UserError, match="so no token can be chosen"):
        row_payload(torch.tensor(values))


def test_ties_that_a_cut_leaves_out_are_counted(js: Node) -> None:
    for seed in range(6):
        row = make_row("ties", 300, seed)
        js.evaluate("(payload) => void load(payload)", row_payload(row))
        for k in (1, 3, 20, 150):
            ours = js.evaluate("([ids, steps]) => told(traced(ids, steps))", [[], [["top_k", k]]])
            theirs = server_trace(row, [], [("top_k", k)])
            assert [stage["ties"] for stage in ours] == [stage.ties for stage in theirs]
    assert any(stage["ties"] for stage in ours)
