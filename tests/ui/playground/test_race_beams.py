"""The Playground's panels "Race" and "Beam search" in a real browser, against the same jobs in Python."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import App, Visitor, start_app
from node import Node, module
from playwright.sync_api import Browser, Locator, Page, Request, expect

from gpt_demo.decoding.beams import BeamsAdvanced, BeamsNow, Hypothesis, beam_search
from gpt_demo.decoding.darts import LARGEST_SEED, dart, hit
from gpt_demo.decoding.race import Drawn, lane_of, race
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.store.folder import save_model
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.ui.playground.payload import row_payload

pytest_plugins = ["browser", "node"]
pytestmark = pytest.mark.browser

PROMPT = "Nell looked at the"
HOSTILE = "<img src=x onerror=window.hacked=1> ${window.hacked=1} {{7*7}} \u202eabc\u0000\u0007 \U0001f9d9\u200d♀️ مرحبا"
LANES: list[dict[str, Any]] = [
    {"name": "Greedy", "greedy": True},
    {"name": "Temperature", "steps": [{"name": "temperature", "value": 0.7}]},
    {"name": "Top-k", "steps": [{"name": "top_k", "value": 20}]},
    {"name": "Top-p", "steps": [{"name": "top_p", "value": 0.9}]},
    {"name": "Min-p", "steps": [{"name": "min_p", "value": 0.1}]},
    {"name": "Beam search", "beams": 4, "length_penalty": 1},
]


def make_starter(folder: Path) -> None:
    """A random model of bytes that is sure of some tokens and often ends its texts."""
    config = GPTConfig(n_vocab=257, n_ctx=64, n_embd=32, n_head=4, n_layer=2, tied_head=False)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = GPT(config, "pytorch")
        assert model.lm_head is not None
        torch.nn.init.normal_(model.lm_head.weight, std=0.25)
        with torch.no_grad():
            model.ln_f.bias.fill_(0.5)
            model.lm_head.weight[256] += 0.2
    save_model(folder, config, model.state_dict(), byte_level(), {})


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = tmp_path_factory.mktemp("lab")
    make_starter(home / "starter")
    app = start_app(home, starter=home / "starter")
    yield app
    app.close()


@pytest.fixture(scope="module")
def opened(app: App, chromium: Browser) -> Iterator[tuple[Page, Visitor]]:
    """The page, loaded once for all tests."""
    visitor = Visitor(chromium.new_context(locale="en-GB"))
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab")).to_have_attribute("data-ready", "true")
    expect(page.get_by_role("tab", name="Race", exact=True)).to_be_visible()
    yield page, visitor
    visitor.context.close()


@pytest.fixture
def page(opened: tuple[Page, Visitor]) -> Iterator[Page]:
    """The Playground as at its opening; no script may have failed in the test."""
    page, visitor = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.querySelector('.lab').lab.restore({})")
    yield page
    assert visitor.errors == []
    assert page.evaluate("window.hacked") is None
    assert page.locator(".lab img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def panel(page: Page, name: str) -> Locator:
    """The panel's root, chosen."""
    page.get_by_role("tab", name=name, exact=True).click()
    return page.locator({"Race": ".race", "Beam search": ".beams"}[name])


def number(root: Locator, label: str, value: float) -> None:
    field = root.get_by_label(label, exact=True)
    field.fill(f"{value:g}")
    field.blur()


def run(root: Locator) -> None:
    """Start, and wait until it is done."""
    root.get_by_role("button", name=re.compile("^Start the")).click()
    expect(root.locator(".job-status")).to_contain_text("Done.")
    expect(root).to_have_attribute("data-state", "idle")


def ids_of(locator: Locator) -> list[int]:
    return [int(id) for id in (locator.get_attribute("data-ids") or "").split(",") if id]


# Race -----------------------------------------------------------------------------------------------------------------


class Expected:
    """A race in Python: per lane the ids and the log-probabilities in the model's own distribution."""

    def __init__(
        self, app: App, lanes: Sequence[dict[str, Any]] = LANES, count: int = 80, seed: int = 1, stop: bool = True
    ) -> None:
        model, tokenizer = app.store.load("starter")
        self.ids: list[list[int]] = [[] for _ in lanes]
        self.logprobs: list[list[float]] = [[] for _ in lanes]
        given = [lane_of(lane) for lane in lanes]
        prompt, end = tokenizer.encode(PROMPT), tokenizer.end_of_text if stop else None
        for event in race(model, tokenizer.n_vocab, prompt, given, seed, count, end):
            if isinstance(event, Drawn):
                self.ids[event.lane].append(event.id)
                self.logprobs[event.lane].append(event.raw_logprob)
            elif isinstance(event, BeamsNow):
                self.ids[event.lane], self.logprobs[event.lane] = list(event.ids), list(event.logprobs)

    def check(self, lanes: Locator) -> None:
        expect(lanes).to_have_count(len(self.ids))
        assert [ids_of(lane) for lane in lanes.all()] == self.ids


def divergence(ids: list[int], base: list[int]) -> int:
    return next((i for i, (mine, other) in enumerate(zip(ids, base, strict=False)) if mine != other), -1)


def repeated(ids: list[int], n: int) -> list[int]:
    seen: set[tuple[int, ...]] = set()
    marked: set[int] = set()
    for i in range(len(ids) - n + 1):
        gram = tuple(ids[i : i + n])
        marked |= set(range(i, i + n)) if gram in seen else set()
        seen.add(gram)
    return sorted(marked)


def distinct(ids: list[int]) -> str:
    grams = [[tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)] for n in (1, 2, 3)]
    return " / ".join(f"{len(set(g)) / len(g):.2f}" if g else "\N{EN DASH}" for g in grams)


def loop(ids: list[int]) -> str:
    for period in range(1, len(ids) // 2 + 1):
        length = period
        while length < len(ids) and ids[-length - 1] == ids[-length - 1 + period]:
            length += 1
        if length >= max(12, 2 * period):
            return f"of {period} token{'s' if period > 1 else ''}"
    return "none"


def value(lane: Locator, name: str) -> str:
    return lane.locator(f"[data-value={name}]").inner_text()


def test_all_lanes_write_together_what_the_race_in_python_gives(app: App, page: Page) -> None:
    root = panel(page, "Race")
    root.get_by_label("Stop at").uncheck()
    number(root, "Length", 120)
    page.evaluate(
        """() => {
          window.seen = [];
          const lanes = () => [...document.querySelectorAll(".lane")].map((lane) => Number(lane.dataset.tokens));
          const watch = new MutationObserver(() => window.seen.push(lanes()));
          const what = { attributes: true, subtree: true, attributeFilter: ["data-tokens"] };
          watch.observe(document.querySelector(".lanes"), what);
        }"""
    )
    run(root)
    Expected(app, count=120, stop=False).check(root.locator(".lane"))
    between = [lanes for lanes in page.evaluate("window.seen") if 0 < lanes[0] < 120]
    assert between, "the text came all at once"
    assert any(min(lanes) > 0 for lanes in between)
    expect(root.locator(".job-status")).to_have_text(
        re.compile(
            r"^120 tokens, [\d,.]+ tokens/s in all lanes\. Done\. Slower from token 48 on: the context is full\.$"
        )
    )


def test_what_stands_under_a_lane_is_right(app: App, page: Page) -> None:
    root, lanes = panel(page, "Race"), page.locator(".lane")
    run(root)
    expected = Expected(app)
    expected.check(lanes)
    for i, lane in enumerate(lanes.all()):
        mean = sum(expected.logprobs[i]) / len(expected.ids[i])
        assert float(value(lane, "mean").replace("\N{MINUS SIGN}", "-")) == pytest.approx(mean, abs=1.1e-3)
        assert float(value(lane, "perplexity").replace(",", "")) == pytest.approx(math.exp(-mean), rel=1e-3, abs=0.051)
        assert value(lane, "distinct") == distinct(expected.ids[i])
        assert value(lane, "loop") == loop(expected.ids[i])
        differs = divergence(expected.ids[i], expected.ids[0])
        words = f"from Greedy at token {differs + 1}" if differs >= 0 else "none from Greedy"
        assert value(lane, "differs") == (words if i else "the others are compared with this")
        marked = lane.locator(".token").evaluate_all(
            "spans => spans.flatMap((s, i) => (s.matches('.differs') ? [i] : []))"
        )
        assert marked == ([differs] if differs >= 0 else [])
    assert lanes.locator(".differs").count() >= 3  # else the test shows nothing


@pytest.mark.parametrize("n", [3, 4])
def test_repeats_are_marked_and_counted(page: Page, n: int) -> None:
    root, lanes = panel(page, "Race"), page.locator(".lane")
    root.get_by_label("Stop at").uncheck()
    root.get_by_label("A repeat is").select_option(str(n))
    number(root, "Length", 60)
    run(root)
    for lane in lanes.all():
        at = lane.locator(".token").evaluate_all("spans => spans.flatMap((s, i) => (s.matches('.repeat') ? [i] : []))")
        assert at == repeated(ids_of(lane), n)
        share = float(value(lane, "share").rstrip(" %")) / 100
        assert share == pytest.approx(len(at) / 60, abs=6e-4)
    assert lanes.first.locator(".repeat").count() > 0


def test_a_race_past_the_context_says_that_it_gets_slower(app: App, page: Page) -> None:
    root = panel(page, "Race")
    root.get_by_label("Stop at").uncheck()
    number(root, "Length", 65 - len(PROMPT))  # all that fits, and one that is computed from it
    run(root)
    expect(root.locator(".job-status")).not_to_contain_text("Slower")
    number(root, "Length", 66 - len(PROMPT))
    run(root)
    note = f"Done. Slower from token {66 - len(PROMPT)} on: the context is full."
    expect(root.locator(".job-status")).to_contain_text(note)


def test_a_seed_is_at_most_what_all_take(app: App, page: Page) -> None:
    for name in ("Race", "Beam search"):
        root = panel(page, name)
        number(root, "Length" if name == "Race" else "Tokens", 3)
        root.get_by_label("Seed", exact=True).fill("9007199254740991")
        root.get_by_label("Seed", exact=True).blur()
        expect(root.get_by_label("Seed", exact=True)).to_have_value(str(LARGEST_SEED))
        run(root)


def test_stop_keeps_what_is_written(app: App, page: Page) -> None:
    root = panel(page, "Race")
    root.get_by_label("Stop at").uncheck()
    number(root, "Length", 1000)
    start = root.get_by_role("button", name="Start the race")
    start.press("Enter")
    expect(root.locator(".lane").first).not_to_have_attribute("data-tokens", "0")
    stop = root.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_focused()
    stop.press("Enter")
    expect(root).to_have_attribute("data-state", "idle")
    expect(start).to_be_focused()
    expect(root.locator(".job-status")).to_contain_text("Stopped.")
    assert 0 < len(ids_of(root.locator(".lane").first)) < 1000


def test_a_lane_can_be_changed_renamed_and_its_steps_moved(app: App, page: Page) -> None:
    root, lanes = panel(page, "Race"), page.locator(".lane")
    number(root, "Seed", 12)
    lane = lanes.nth(2)
    lane.get_by_role("button", name="Settings of Top-k").click()
    number(lane, "Top-k", 5)
    number(lane, "Temperature", 1.5)
    lane.get_by_label("Name").fill("Mine")
    lane.get_by_label("Name").press("Tab")
    expect(lane.get_by_role("heading")).to_have_text("Mine")
    expect(lane.locator(".lane-how")).to_have_text("top-k 5, temperature 1.5")
    lane.get_by_role("button", name="Temperature earlier").press("Enter")
    lane.get_by_role("button", name="Temperature earlier").press("Enter")
    expect(lane.locator(".lane-how")).to_have_text("temperature 1.5, top-k 5")
    expect(lane.get_by_role("button", name="Top-k later")).to_be_enabled()
    lanes.nth(1).get_by_role("button", name="Settings of Temperature").click()
    lanes.nth(1).get_by_label("Strategy").select_option("greedy")
    expect(lanes.nth(1).locator(".lane-how")).to_have_text("always the most probable token")
    beam = lanes.nth(1).get_by_role("option", name="Beam search")
    assert beam.is_disabled()  # one lane is one already
    run(root)
    steps = [{"name": "temperature", "value": 1.5}, {"name": "top_k", "value": 5}]
    changed = [LANES[0], {"greedy": True}, {"steps": steps}, *LANES[3:]]
    Expected(app, changed, seed=12).check(lanes)
    number(lane, "Top-k", 6)
    expect(root.locator(".job-status")).to_have_text("The settings have changed since this was written.")
    number(lane, "Top-k", 5)
    expect(root.locator(".job-status")).to_contain_text("Done.")


def test_lanes_come_and_go(app: App, page: Page) -> None:
    root, lanes = panel(page, "Race"), page.locator(".lane")
    root.get_by_role("button", name="Add a lane").click()
    expect(lanes).to_have_count(7)
    expect(lanes.last.get_by_label("Name")).to_be_focused()
    expect(lanes.last.locator(".lane-how")).to_have_text("temperature 0.8, top-k 40")  # as in the panel Write
    lanes.nth(5).get_by_role("button", name="Settings of Beam search").click()
    lanes.nth(5).get_by_role("button", name="Remove this lane").click()
    expect(lanes).to_have_count(6)
    lanes.last.get_by_label("Strategy").select_option("beams")
    number(lanes.last, "Beams", 2)
    expect(lanes.last.locator(".lane-how")).to_have_text("2 beams, length penalty 1")
    run(root)
    Expected(app, [*LANES[:5], {"beams": 2, "length_penalty": 1}]).check(lanes)
    root.get_by_role("button", name="Reset to six lanes").click()
    expect(lanes.last.locator(".lane-how")).to_have_text("4 beams, length penalty 1")
    for _ in range(6):
        root.get_by_role("button", name="Add a lane").click()
    expect(root.get_by_role("button", name="Add a lane")).to_be_disabled()


def test_keys_and_mouse_show_one_place_in_all_lanes(app: App, page: Page) -> None:
    root, lanes = panel(page, "Race"), page.locator(".lane")
    run(root)
    text = lanes.nth(2).locator(".lane-text")
    text.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    u = dart(1, len(PROMPT.encode()) + 1)
    for i, lane in enumerate(lanes.all()):
        if len(ids_of(lane)) > 1:
            expect(lane.locator(".token").nth(1)).to_have_class(re.compile(r"\bat\b"))
            said = lane.locator(".lane-at")
            expect(said).to_have_text(re.compile(r"^2: “.+” \(token \d+\), .+ % in the model's own distribution"))
            drawn = 1 <= i <= 4
            assert (f"dart {u:.4f}" in said.inner_text()) == drawn
    page.keyboard.press("Escape")
    expect(root.locator(".token.at")).to_have_count(0)
    lanes.nth(3).locator(".token").first.hover()
    expect(root.locator(".token.at")).to_have_count(6)


@pytest.mark.parametrize(
    "state",
    [
        {"lanes": "x", "beams": 7, "ngram": "y"},
        {"lanes": [None, 5, {"name": {}, "steps": [{"name": "constructor", "value": 1}, 3], "beams": 99}], "beams": {}},
        {"lanes": [{"steps": [{"name": "top_k", "value": -5.5}]}] * 40, "beams": {"beams": "4", "length": -3}},
    ],
)
def test_a_broken_state_breaks_nothing(page: Page, state: dict[str, Any]) -> None:
    page.evaluate("state => document.querySelector('.lab').lab.restore({length: 3, ...state})", state)
    assert 1 <= page.locator(".lane").count() <= 12
    run(panel(page, "Race"))
    run(panel(page, "Beam search"))


def test_hostile_texts_are_shown_as_text(app: App, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    root = panel(page, "Race")
    root.get_by_label("Prompt").fill(HOSTILE)
    number(root, "Length", 30)
    first = root.locator(".lane").first
    first.get_by_role("button", name="Settings of Greedy").click()
    first.get_by_label("Name").fill(HOSTILE)
    first.get_by_label("Name").press("Enter")
    first.get_by_label("Strategy").focus()
    expect(first.get_by_role("heading")).to_contain_text("<img src=x onerror")
    run(root)
    run(panel(page, "Beam search"))


def test_a_long_prompt_is_cut_with_a_notice_and_an_impossible_one_refused(app: App, page: Page) -> None:
    root = panel(page, "Race")
    number(root, "Length", 5)
    root.get_by_label("Prompt").fill("a" * 200_001)
    root.get_by_role("button", name="Start the race").click()
    expect(root.get_by_role("alert")).to_contain_text("200,001 characters; the limit is 200,000")
    expect(root).to_have_attribute("data-state", "idle")
    root.get_by_label("Prompt").fill("é" * 50_000)
    root.get_by_role("button", name="Try again").click()
    expect(root.locator(".job-status")).to_contain_text("Done. The model sees the last 64 of 100,000 tokens.")
    expect(root.get_by_role("alert")).to_be_hidden()
    root.get_by_label("Prompt").fill("")
    run(root)


# Beam search ----------------------------------------------------------------------------------------------------------


def searched(app: App, beams: int, count: int, penalty: float = 1.0, early: bool = False) -> list[BeamsAdvanced]:
    model, tokenizer = app.store.load("starter")
    ids = tokenizer.encode(PROMPT)
    return list(beam_search(model, ids, beams, count, penalty, tokenizer.end_of_text, early_stopping=early))


def seen(steps: Sequence[BeamsAdvanced]) -> list[Hypothesis]:
    """Everything the tree has a node for."""
    return [h for step in steps for h in (*step.live, *step.finished, *step.pruned)]


def ranked(steps: Sequence[BeamsAdvanced], penalty: float, over: bool = True) -> list[tuple[int, ...]]:
    """All finished and live hypotheses by score; once it is over, those that did not finish come last."""
    finished = [h for step in steps for h in step.finished]
    found = [*finished, *steps[-1].live]
    return [
        h.ids for h in sorted(found, key=lambda h: (over and h not in finished, -h.logprob / len(h.ids) ** penalty))
    ]


def table(root: Locator) -> list[tuple[int, ...]]:
    rows = root.locator(".beam-table").first.locator("tbody tr:not(.none)").all()
    return [tuple(ids_of(row)) for row in rows]


def test_the_tree_is_the_search_in_python(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Beams", 5)
    number(root, "Tokens", 14)
    run(root)
    steps = searched(app, 5, 14)
    nodes = seen(steps)
    expect(root).to_have_attribute("data-steps", str(len(steps)))
    expect(root).to_have_attribute("data-nodes", str(len(nodes)))
    expect(root.locator(".beam-node")).to_have_count(len(nodes))
    expect(root.locator(".beam-sheet path")).to_have_count(len(nodes))
    for kind, count in (
        ("live", sum(len(step.live) for step in steps)),
        ("finished", sum(len(step.finished) for step in steps)),
        ("pruned", sum(len(step.pruned) for step in steps)),
    ):
        expect(root.locator(f".beam-node[data-kind={kind}]")).to_have_count(count)
    best = steps[-1].best[0]
    expect(root).to_have_attribute("data-best", ",".join(map(str, best.ids)))
    assert float(root.get_attribute("data-score") or "nan") == pytest.approx(best.score, abs=1e-4)
    on_path = root.locator(".beam-node.best").evaluate_all(
        "all => all.map((n) => [n.dataset.step, n.dataset.id].map(Number))"
    )
    assert on_path == [[i + 1, id] for i, id in enumerate(best.ids)]
    assert table(root) == ranked(steps, 1.0)[:10]


def test_moving_the_length_penalty_ranks_anew_and_asks_nobody(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Tokens", 12)
    run(root)
    steps = searched(app, 4, 12)
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))
    slider, winners = root.get_by_label("Length penalty"), set()
    slider.focus()
    for key, penalty in (("Home", -2.0), ("PageUp", None), ("End", 4.0), ("ArrowLeft", 3.9)):
        page.keyboard.press(key)
        now = float(slider.input_value())
        assert penalty in (None, pytest.approx(now))
        order = ranked(steps, now)
        expect(root).to_have_attribute("data-best", ",".join(map(str, order[0])))
        assert table(root) == order[:10]
        winners.add(order[0])
    assert len(winners) > 1  # else the test shows nothing
    assert [request.url for request in requests] == []
    assert root.locator(".job-status").inner_text().endswith("Done.")  # no setting of the tree itself has changed


def test_going_through_the_steps_by_keys_buttons_and_player(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    root.get_by_label("Stop at").uncheck()
    number(root, "Tokens", 8)
    run(root)
    model, tokenizer = app.store.load("starter")
    steps = list(beam_search(model, tokenizer.encode(PROMPT), 4, 8, 1.0, None))

    def shown(n: int) -> None:
        expect(root).to_have_attribute("data-step", str(n))
        expect(root.locator(".beam-column:not([hidden])")).to_have_count(n)
        assert table(root) == ranked(steps[:n], 1.0, n == 8)[:10]

    shown(8)
    focused = page.locator(".beam-node:focus")
    root.locator(".beam-node[tabindex='0']").focus()
    for key, n in (("ArrowLeft", 7), ("ArrowLeft", 6), ("ArrowRight", 7), ("Home", 1), ("ArrowLeft", 1), ("End", 8)):
        page.keyboard.press(key)
        shown(n)
        expect(focused).to_have_attribute("data-step", str(n))
    rank = focused.get_attribute("data-rank")
    page.keyboard.press("ArrowDown")
    expect(focused).not_to_have_attribute("data-rank", rank or "")
    for name, n in (("First", 1), ("Next", 2), ("Next", 3), ("Back", 2), ("Last", 8)):
        root.get_by_role("button", name=name, exact=True).click()
        shown(n)
    root.get_by_label("Step", exact=True).press("ArrowLeft")
    shown(7)
    root.get_by_label("Speed").select_option("10")
    root.get_by_role("button", name="Last", exact=True).click()
    root.get_by_role("button", name="Play", exact=True).click()
    expect(root).not_to_have_attribute("data-step", "8")
    expect(root.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    shown(8)
    expect(root.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_a_node_tells_its_hypothesis(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Tokens", 6)
    run(root)
    third = searched(app, 4, 6)[2]
    everything = sorted((*third.live, *third.finished, *third.pruned), key=lambda h: -h.logprob)
    for h in (third.live[-1], third.pruned[0]):
        rank = everything.index(h) + 1
        node = root.locator(f".beam-node[data-step='3'][data-rank='{rank}']")
        expect(node).to_have_attribute("data-id", str(h.id))
        assert float(node.locator("span").inner_text().replace("\N{MINUS SIGN}", "-")) == pytest.approx(
            h.logprob, abs=6e-3
        )
        node.hover()
        told = root.locator(".beam-numbers").inner_text().replace("\N{MINUS SIGN}", "-")
        numbers = re.fullmatch(r"log-probability (\S+), length 3, score (\S+); rank (\d) of (\d) in step 3: (.+)", told)
        assert numbers is not None, told
        assert [float(numbers[1]), float(numbers[2])] == pytest.approx([h.logprob, h.logprob / 3], abs=6e-3)
        assert (int(numbers[3]), int(numbers[4])) == (rank, len(everything))
        assert numbers[5] == ("continues" if h in third.live else "pruned")
    page.mouse.move(1, 1)
    row = root.locator(".beam-table").first.locator("tbody tr").nth(1)
    row.get_by_role("button").click()
    focused = page.locator(".beam-node:focus")
    expect(focused).to_have_attribute("data-id", str(ids_of(row)[-1]))


def test_greedy_and_a_drawn_path_lie_over_the_tree(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Tokens", 10)
    number(root, "Seed", 3)
    run(root)
    lanes = [LANES[0], {"steps": [{"name": "temperature", "value": 0.8}, {"name": "top_k", "value": 40}]}]
    expected = Expected(app, lanes, 10, seed=3)
    tree = {h.ids for h in seen(searched(app, 4, 10))}
    for i, letter in enumerate("GS"):
        ids = expected.ids[i]
        row = root.locator(f"tr[data-path={letter}]")
        assert ids_of(row) == ids
        there = next((n for n in range(len(ids)) if tuple(ids[: n + 1]) not in tree), len(ids))
        assert row.get_attribute("data-place") == str(there)
        expect(root.locator(f".beam-node[data-paths*={letter}]")).to_have_count(there)
        shown = float(row.locator("[data-value=logprob]").inner_text().replace("\N{MINUS SIGN}", "-"))
        assert shown == pytest.approx(sum(expected.logprobs[i]), abs=6e-3)


def test_beams_stop_early_or_when_told_to(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Beams", 2)
    number(root, "Tokens", 60)
    root.get_by_label("Stop early").check()
    run(root)
    steps = searched(app, 2, 60, early=True)
    assert len(steps) < 60
    expect(root).to_have_attribute("data-steps", str(len(steps)))
    expect(root).to_have_attribute("data-best", ",".join(map(str, steps[-1].best[0].ids)))
    number(root, "Beams", 10)
    expect(root.locator(".job-status")).to_have_text("The settings have changed since this search.")
    root.get_by_label("Stop at").uncheck()
    root.get_by_role("button", name="Start the search").press("Enter")
    expect(root).not_to_have_attribute("data-steps", "0")
    page.keyboard.press("Enter")  # the focus has gone to Stop
    expect(root).to_have_attribute("data-state", "idle")
    expect(root.locator(".job-status")).to_contain_text("Stopped.")
    grown = int(root.get_attribute("data-steps") or 0)
    expect(root.locator(".beam-column")).to_have_count(grown)


def test_a_tree_says_what_it_was_made_with(app: App, page: Page) -> None:
    root = panel(page, "Beam search")
    number(root, "Tokens", 8)
    run(root)
    done = root.locator(".job-status").inner_text()
    number(root, "Seed", 77)  # the search throws no dart
    expect(root.locator(".job-status")).to_have_text(done)
    expect(root).to_contain_text("S was drawn with seed 1, temperature 0.8, top-k 40: the settings of Write.")
    expect(root.locator(".beam-old")).to_be_empty()
    slider = root.get_by_role("slider", name=re.compile("^Length penalty"))
    slider.fill("2")
    expect(root.locator(".beam-old")).to_contain_text("length penalty 1.0, now ranked under 2.0")
    slider.fill("1")
    expect(root.locator(".beam-old")).to_be_empty()


def test_a_race_says_that_it_is_shorter_than_what_write_writes(page: Page) -> None:
    root = panel(page, "Race")
    page.evaluate("document.querySelector('.lab').lab.set({ length: 3000, stop: false })")
    expect(root.get_by_label("Length", exact=True)).to_have_value("1000")
    root.get_by_role("button", name="Start the race").click()
    expect(root.locator(".job-status")).to_contain_text("Lanes end at 1,000 tokens.")
    root.get_by_role("button", name="Stop").first.click()
    expect(root).to_have_attribute("data-state", "idle")


@pytest.mark.parametrize("name", ["Race", "Beam search"])
def test_the_model_says_what_it_is(page: Page, name: str) -> None:
    expect(panel(page, name).locator(".setup-card")).to_contain_text("257 tokens in its vocabulary, sees 64 at once.")


# Both -----------------------------------------------------------------------------------------------------------------


def test_they_fit_a_telephone_and_a_screen(app: App, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    root = panel(page, "Race")
    columns = "getComputedStyle(document.querySelector('.lanes')).gridTemplateColumns.split(' ').length"
    run(root)
    assert page.evaluate(columns) == 1
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate(columns) == 3
    page.get_by_role("tab", name="Beam search", exact=True).click()
    page.set_viewport_size({"width": 390, "height": 800})
    run(page.locator(".beams"))


def test_the_pages_dart_is_the_servers(node: Node) -> None:
    names = ("sampler", "darts", "payload")
    modules = f"Promise.all([{', '.join(module(f'playground/{name}.js') for name in names)}])"
    generator, draw = torch.Generator().manual_seed(4), random.Random(4)
    for V, scale in ((9, 2.0), (257, 3.0), (3000, 8.0)):
        logits = (torch.randn(V, generator=generator) * scale).round(decimals=1)  # with ties
        us = [0.0, 0.999999, *(draw.random() for _ in range(200))]
        ids = node.evaluate(
            """([{data, dtype, shift}, us]) => MODULES.then(([S, D, P]) => {
              const stages = S.trace(P.decodeRow(data, dtype, shift), [], []);
              return us.map((u) => D.dart(stages, u).id);
            })""".replace("MODULES", modules),
            [row_payload(logits), us],
        )
        assert ids == [hit(logits.double().softmax(0), u) for u in us]
