"""The Playground's panel "Write", in a real browser: what it shows is what gpt_demo computes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from browser import App, Visitor, start_app
from playwright.sync_api import Browser, Locator, Page, expect

from gpt_demo.decoding.darts import dart, hit
from gpt_demo.decoding.race import Drawn, lane_of, race
from gpt_demo.decoding.scores import token_scores
from gpt_demo.decoding.transforms import Stage, Transform, chain, trace
from gpt_demo.decoding.window import next_logits
from gpt_demo.model.gpt import GPT, GPTConfig
from gpt_demo.text.tokenizer import Tokenizer, make
from gpt_demo.ui import scripts

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser

PROMPT = "Nell looked at the"  # the page's own
STEPS = {"temperature": 0.8, "top_k": 40}  # the page's own
N_CTX = 48
HOSTILE = (
    "<img src=x onerror='window.hacked=1'>${window.hacked=2}{{value}}\u202egnp\u200b \x07\x1b[31m 👩‍🚀 שלום\n</span>"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Two models on bytes, random but with opinions: "starter", which the page shows, and "other"."""
    home = tmp_path_factory.mktemp("playground")
    app = start_app(home)
    tokenizer = make("bytes")
    for seed, name in enumerate(["other", "starter"]):
        torch.manual_seed(seed)
        model = GPT(GPTConfig(n_vocab=tokenizer.n_vocab, n_ctx=N_CTX, n_embd=16, n_head=2, n_layer=1))
        weights = {key: value * (12 if key == "wte.weight" else 1) for key, value in model.state_dict().items()}
        app.store.save(name, model.config, weights, tokenizer, {})
    yield app
    app.close()


class Playground:
    """One visitor's panel "Write"."""

    def __init__(self, page: Page, app: App) -> None:
        self.page = page
        self.panel = page.get_by_role("tabpanel", name="Write")
        self.model, self.tokenizer = app.store.load("starter")
        self.root = page.locator(".lab-write")
        self.dist = page.locator(".lab-dist")
        self.bars = self.panel.get_by_role("listbox", name="Candidates for this position")
        self.text = self.panel.get_by_role("listbox", name="Tokens written")
        self.prompt = self.panel.get_by_role("textbox", name="Prompt")
        self.ids = self.tokenizer.encode(PROMPT)  # the prompt's

    def press(self, name: str) -> None:
        self.panel.get_by_role("button", name=name, exact=True).click()

    def expect_tokens(self, count: int) -> None:
        """So many tokens are written, and nothing is being written."""
        expect(self.root).to_have_attribute("data-tokens", str(count))
        expect(self.root).to_have_attribute("data-state", "idle")

    def expect_position(self, position: int) -> None:
        expect(self.dist).to_have_attribute("data-position", str(position))
        expect(self.dist).to_have_attribute("aria-busy", "false")

    def written(self) -> list[int]:
        """The ids of the tokens behind the prompt."""
        found: list[int] = self.text.evaluate("list => [...list.querySelectorAll('[data-id]')].map(t => +t.dataset.id)")
        return found

    def write(self, count: int, seed: int = 1) -> list[int]:
        """Set length and seed, write, and give what has been added."""
        before = len(self.written())
        self.panel.get_by_label("Tokens to write").fill(str(count))
        self.panel.get_by_label("Seed", exact=True).fill(str(seed))
        self.panel.get_by_label("Stop at <|endoftext|>").uncheck()
        self.press("Write")
        self.expect_tokens(before + count)
        self.expect_position(len(self.ids) + before + count)
        return self.written()[before:]

    def step(self, name: str) -> Locator:
        return self.panel.locator(f"[data-step={name}]")

    def set_step(self, name: str, value: float) -> None:
        self.step(name).get_by_role("spinbutton").fill(str(value))

    def drawn(self) -> None:
        """What the sliders ask for is on the screen: it is drawn at most once a frame."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def rows(self) -> list[dict[str, float]]:
        """What the bars say: id, raw, final."""
        self.drawn()
        found: list[dict[str, float]] = self.bars.evaluate(
            "list => [...list.children].map(({dataset: d}) => ({id: +d.id, raw: +d.raw, final: +d.final}))"
        )
        return found

    def ledger(self) -> list[dict[str, Any]]:
        """The stages shown: name and numbers, None where they are left out."""
        self.drawn()
        found: list[dict[str, Any]] = self.panel.locator(
            ".ledger tbody tr:visible"
        ).evaluate_all("""rows => rows.map(({dataset: d}) => ({
            name: d.stage, kept: d.kept && +d.kept, removed: d.removed && +d.removed, entropy: d.entropy && +d.entropy,
            renormalizer: d.renormalizer && +d.renormalizer, perplexity: d.perplexity && +d.perplexity,
        }))""")
        return found

    def stages(self, ids: list[int], steps: tuple[Transform, ...]) -> tuple[Stage, ...]:
        """What the server would say."""
        logits = next_logits(self.model, self.tokenizer, ids)
        return trace(logits, torch.tensor([ids[-N_CTX:]]), steps)

    def check(self, ids: list[int], steps: tuple[Transform, ...], seed: int = 1) -> None:
        """The bars, the ledger and the dart are those of the server behind these ids."""
        stages = self.stages(ids, steps)
        raw, final = stages[0].probabilities.tolist(), stages[-1].probabilities.tolist()
        rows = self.rows()
        order = sorted(range(len(raw)), key=lambda id: (-raw[id], id))
        assert [row["id"] for row in rows][:20] == order[:20]
        for row in rows:
            assert row["raw"] == pytest.approx(raw[int(row["id"])], rel=1e-3)
            assert row["final"] == pytest.approx(final[int(row["id"])], rel=1e-3)
        others = self.panel.locator(".bar-row.others")
        left = 1 - sum(final[int(row["id"])] for row in rows)
        assert float(others.get_attribute("data-final") or "nan") == pytest.approx(left, abs=1e-4)
        shown = {row["name"]: row for row in self.ledger()}
        for stage in stages:
            assert shown[stage.name]["kept"] == stage.kept
            assert shown[stage.name]["removed"] == pytest.approx(stage.removed_mass, rel=1e-3, abs=1e-6)
            assert shown[stage.name]["renormalizer"] == pytest.approx(stage.renormalizer, rel=1e-3)
            assert shown[stage.name]["entropy"] == pytest.approx(stage.entropy, rel=1e-3, abs=1e-5)
            assert shown[stage.name]["perplexity"] == pytest.approx(stage.perplexity, rel=1e-3)
        target = hit(torch.tensor(final), dart(seed, len(ids)))
        expect(self.dist).to_have_attribute("data-hit", str(target))


def drawn(model: GPT, tokenizer: Tokenizer, ids: list[int], count: int, seed: int = 1, **lane: Any) -> list[Drawn]:
    """What gpt_demo.decoding.lab.race writes with the page's settings, or those of `lane`."""
    steps = [{"name": name, "value": value} for name, value in STEPS.items()]
    record = {"name": "write", "steps": steps, **lane}
    return list(race(model, tokenizer.n_vocab, ids, [lane_of(record)], seed, count, None))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def opened(app: App, chromium: Browser) -> Iterator[tuple[Page, Visitor]]:
    """The page, loaded once for all tests."""
    visitor = Visitor(chromium.new_context(locale="en-GB"))
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    yield page, visitor
    visitor.context.close()


@pytest.fixture
def lab(app: App, opened: tuple[Page, Visitor]) -> Iterator[Playground]:
    """The panel as at its opening; no script may have failed in the test."""
    page, visitor = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.querySelector('.lab').lab.restore({ panel: 'write', model: 'starter' })")
    page.evaluate("document.querySelector('details.settings').open = true")
    playground = Playground(page, app)
    playground.expect_position(len(playground.ids))
    yield playground
    assert visitor.errors == []
    assert page.evaluate("window.hacked") is None
    expect(page.locator(".lab img")).to_have_count(0)


# The distribution -----------------------------------------------------------------------------------------------------


def test_bars_are_there_at_first_sight(lab: Playground) -> None:
    expect(lab.bars.get_by_role("option")).to_have_count(20)
    lab.check(lab.ids, chain(**STEPS))  # type: ignore[arg-type]
    expect(lab.panel.get_by_role("button", name="Balanced")).to_have_attribute("aria-pressed", "true")
    expect(lab.panel.locator(".story")).to_contain_text(re.compile(r"The dart at 0\.\d{4} hits .* from 0\.\d{4} to "))


def test_sliders_answer_without_the_server(lab: Playground) -> None:
    requests: list[str] = []
    lab.page.on("request", lambda request: requests.append(request.url))
    temperature = lab.step("temperature").get_by_role("slider")
    temperature.focus()
    for _ in range(7):
        lab.page.keyboard.press("ArrowRight")
    expect(lab.step("temperature").get_by_role("spinbutton")).to_have_value("0.87")
    lab.check(lab.ids, chain(temperature=0.87, top_k=40))
    for name in ("top_p", "min_p", "repetition_penalty", "top_k"):
        box = lab.step(name).get_by_role("slider").bounding_box()
        assert box is not None
        y, places = box["y"] + box["height"] / 2, (0.2, 0.35, 0.5, 0.62)
        lab.page.mouse.move(box["x"] + box["width"] * places[0], y)
        lab.page.mouse.down()
        for place in places:
            lab.page.mouse.move(box["x"] + box["width"] * place, y)
        lab.page.mouse.up()
    values = {n: float(lab.step(n).get_by_role("spinbutton").input_value()) for n in ("top_p", "min_p", "top_k")}
    penalty = float(lab.step("repetition_penalty").get_by_role("spinbutton").input_value())
    assert 0.5 < values["top_p"] < 0.75
    assert 0.5 < values["min_p"] < 0.75
    assert values["top_k"] > 10
    set_to = {"temperature": 0.87, "top_k": int(values["top_k"]), "top_p": values["top_p"], "min_p": values["min_p"]}
    lab.check(lab.ids, chain(**set_to, repetition_penalty=penalty))  # type: ignore[arg-type]
    assert requests == []


def test_every_stage_is_in_the_ledger_and_can_be_off(lab: Playground) -> None:
    for name, value in {
        "repetition_penalty": 1.3,
        "temperature": 1.5,
        "top_k": 30,
        "top_p": 0.8,
        "min_p": 0.2,
    }.items():
        lab.set_step(name, value)
    lab.check(lab.ids, chain(1.5, 30, 0.8, 0.2, 1.3))
    lab.step("top_k").get_by_role("checkbox").uncheck()
    expect(lab.step("top_k").get_by_role("spinbutton")).to_have_value("0")
    lab.check(lab.ids, chain(1.5, 0, 0.8, 0.2, 1.3))
    lab.step("top_k").get_by_role("checkbox").check()
    lab.check(lab.ids, chain(1.5, 30, 0.8, 0.2, 1.3))
    lab.press("Chaos")
    lab.check(lab.ids, chain(2.0))
    expect(lab.panel.locator(".bars .removed")).to_have_count(0)
    lab.set_step("top_k", 5)
    expect(lab.panel.locator(".bars .removed")).to_have_count(15)
    lab.panel.get_by_label("Greedy").check()
    assert [row["name"] for row in lab.ledger() if row["kept"] == 1] == ["greedy"]
    assert lab.rows()[0]["final"] == 1
    expect(lab.panel.locator(".story")).to_contain_text("Greedy throws no dart")


def test_what_is_no_value_is_not_taken(lab: Playground) -> None:
    before = lab.rows()
    for name, value in {
        "temperature": "-1",
        "top_p": "1.5",
        "top_k": "2.5",
        "min_p": "",
        "repetition_penalty": "0",
    }.items():
        field = lab.step(name).get_by_role("spinbutton")
        good = field.input_value()
        field.fill(value)
        assert field.evaluate("field => field.validationMessage") != ""
        field.blur()
        expect(field).to_have_value(good)
    assert lab.rows() == before


def test_steps_change_places_by_keys_and_by_drag(lab: Playground) -> None:
    names = ["repetition_penalty", "temperature", "top_k", "top_p", "min_p"]
    lab.set_step("top_p", 0.7)
    in_order = [row["kept"] for row in lab.ledger()]
    lab.step("top_p").get_by_role("slider").focus()
    lab.page.keyboard.press("Alt+ArrowUp")
    lab.step("top_p").get_by_role("button", name="Move Top-p").focus()
    lab.page.keyboard.press("ArrowUp")
    expect(lab.step("top_p").get_by_role("button", name="Move Top-p")).to_be_focused()
    moved = ["repetition_penalty", "top_p", "temperature", "top_k", "min_p"]
    assert [row["name"] for row in lab.ledger()] == ["model", *moved]
    steps = chain(top_p=0.7) + chain(temperature=0.8) + chain(top_k=40)
    lab.check(lab.ids, steps)
    assert [row["kept"] for row in lab.ledger()] != in_order
    handle, last = lab.step("top_p").bounding_box(), lab.step("min_p").bounding_box()
    assert handle is not None
    assert last is not None
    lab.page.mouse.move(handle["x"] + 12, handle["y"] + 20)
    lab.page.mouse.down()
    for i in range(1, 9):
        lab.page.mouse.move(handle["x"] + 12, handle["y"] + (last["y"] - handle["y"]) * i / 8 + 30)
    lab.page.mouse.up()
    assert lab.panel.locator(".chain .step").evaluate_all("items => items.map(i => i.dataset.step)") == [
        *(name for name in names if name != "top_p"),
        "top_p",
    ]
    lab.check(lab.ids, chain(temperature=0.8) + chain(top_k=40) + chain(top_p=0.7))


def test_a_thousand_darts_make_a_histogram(lab: Playground) -> None:
    lab.press("Throw 1,000 darts")
    expect(lab.dist).to_have_attribute("data-darts", "1000")
    counts = lab.panel.locator(".bars-box .bar-row[data-thrown]").evaluate_all(
        "rows => rows.map(r => +r.dataset.thrown)"
    )
    finals = lab.panel.locator(".bars-box .bar-row[data-thrown]").evaluate_all(
        "rows => rows.map(r => +r.dataset.final)"
    )
    assert sum(counts) == 1000
    for count, final in zip(counts, finals, strict=True):
        assert abs(count / 1000 - final) < 5 * math.sqrt(final * (1 - final) / 1000) + 0.002
    lab.set_step("top_k", 1)  # the same darts, another bar
    assert lab.panel.locator(".bars .bar-row").first.get_attribute("data-thrown") == "1000"
    lab.press("Clear")
    expect(lab.panel.locator(".bars .thrown:visible")).to_have_count(0)


def test_the_number_and_the_order_of_bars(lab: Playground) -> None:
    lab.panel.get_by_role("slider", name="Bars").fill("50")
    expect(lab.bars.get_by_role("option")).to_have_count(50)
    lab.set_step("repetition_penalty", 2)
    lab.panel.get_by_role("combobox", name="Order").select_option("final")
    finals = [row["final"] for row in lab.rows()]
    assert finals == sorted(finals, reverse=True)
    lab.panel.get_by_role("slider", name="Bars").fill("5")
    expect(lab.bars.get_by_role("option")).to_have_count(5)


# Writing --------------------------------------------------------------------------------------------------------------


def test_the_text_is_that_of_the_race_in_python(lab: Playground) -> None:
    expected = drawn(lab.model, lab.tokenizer, lab.ids, 60)
    assert lab.write(60) == [token.id for token in expected]
    logprob = sum(token.raw_logprob for token in expected)
    assert float(lab.root.get_attribute("data-logprob") or "nan") == pytest.approx(logprob, rel=1e-5)
    expect(lab.panel.locator(".facts dd").nth(3)).to_have_text(f"{math.exp(-logprob / 60):,.2f}")
    expect(lab.panel.locator(".seen")).to_have_text(f"The model sees the last {N_CTX} of {len(lab.ids) + 60} tokens.")
    lab.check(lab.ids + [token.id for token in expected], chain(**STEPS))  # type: ignore[arg-type]
    lab.press("Start over")
    lab.expect_tokens(0)
    assert lab.write(60) == [token.id for token in expected]
    lab.press("Start over")
    lab.expect_tokens(0)
    assert lab.write(60, seed=2) == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, 60, seed=2)]


def test_greedy_heeds_the_penalty_only(lab: Playground) -> None:
    lab.set_step("repetition_penalty", 1.5)
    lab.panel.get_by_label("Greedy").check()
    steps = [{"name": "repetition_penalty", "value": 1.5}]
    expected = drawn(lab.model, lab.tokenizer, lab.ids, 30, greedy=True, steps=steps)
    assert lab.write(30) == [token.id for token in expected]


def test_one_token_is_the_one_that_is_hit(lab: Playground) -> None:
    expected = [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, 3)]
    for count in range(1, 4):
        target = lab.dist.get_attribute("data-hit")
        lab.press("One token")
        lab.expect_tokens(count)
        lab.expect_position(len(lab.ids) + count)
        assert str(lab.written()[-1]) == target
    assert lab.written() == expected
    assert lab.write(5) == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids + expected, 5)]


def test_autoplay_goes_on_until_it_is_stopped(lab: Playground) -> None:
    lab.panel.get_by_role("slider", name="Speed of autoplay").fill("10")
    lab.press("Autoplay")
    expect(lab.root).to_have_attribute("data-state", "writing")
    expect(lab.root).to_have_attribute("data-tokens", re.compile(r"^([3-9]|\d\d)$"))
    lab.press("Stop")
    expect(lab.root).to_have_attribute("data-state", "idle")
    written = lab.written()
    assert written == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, len(written))]


def test_stop_stops_and_nothing_is_lost(lab: Playground) -> None:
    lab.panel.get_by_label("Tokens to write").fill("5000")
    lab.panel.get_by_label("Stop at <|endoftext|>").uncheck()
    lab.press("Write")
    expect(lab.root).not_to_have_attribute("data-tokens", "0")
    lab.press("Stop")
    expect(lab.root).to_have_attribute("data-state", "idle")
    written = lab.written()
    assert 0 < len(written) < 5000
    lab.expect_position(len(lab.ids) + len(written))
    assert lab.written() == written
    assert written[:50] == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, 50)][: len(written)]
    assert len(lab.write(3)) == 3


def test_a_page_reloaded_in_the_middle_has_most_of_it(visitor: Visitor, app: App) -> None:
    page = visitor.open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    panel, root = page.get_by_role("tabpanel", name="Write"), page.locator(".lab-write")
    panel.get_by_label("Stop at <|endoftext|>").uncheck()
    panel.get_by_label("Tokens to write").fill("5000")
    panel.get_by_role("button", name="Write", exact=True).click()
    page.evaluate(
        """() => LINK.then(({ read }) => {
          const look = ({ state }) => { window.kept = state.tree.nodes.length; };
          setInterval(() => read(location.hash).then(look, () => {}), 100);
        })""".replace("LINK", scripts.module("playground/link.js"))
    )
    page.wait_for_function("window.kept > 0")
    expect(root).to_have_attribute("data-state", "writing")
    page.reload()
    expect(root).not_to_have_attribute("data-tokens", "0")
    model, tokenizer = app.store.load("starter")
    ids = page.evaluate("document.querySelector('.lab').lab.state.tree.nodes.map(([, id]) => id)")
    assert ids[:20] == [token.id for token in drawn(model, tokenizer, tokenizer.encode(PROMPT), 20)][: len(ids)]


# Nodes that come, go or are moved in the Playground, counted from here on: what a slow page spends its time on.
COUNT_NODES = """() => {
  window.moved = 0;
  new MutationObserver((records) => {
    for (const { addedNodes, removedNodes } of records) window.moved += addedNodes.length + removedNodes.length;
  }).observe(document.querySelector(".lab"), { childList: true, subtree: true });
}"""


def test_a_thousand_tokens_move_a_few_nodes_each(lab: Playground) -> None:
    """Drawing all of the text again for each token would move half a million."""
    lab.page.evaluate(COUNT_NODES)
    lab.write(1000)
    moved = lab.page.evaluate("moved")
    assert 1000 <= moved < 10_000


def test_fifty_thousand_tokens_follow_a_slider(lab: Playground, app: App) -> None:
    tokenizer = make("gpt2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(GPTConfig(n_vocab=tokenizer.n_vocab, n_ctx=16, n_embd=8, n_head=2, n_layer=1))
    app.store.save("large", model.config, model.state_dict(), tokenizer, {})
    lab.page.evaluate("document.querySelector('.lab').lab.restore({ model: 'large' })")
    lab.expect_position(len(tokenizer.encode(PROMPT)))
    lab.page.evaluate(COUNT_NODES)
    hits = lab.page.evaluate("""async () => {
      const slider = document.querySelector("[data-step=temperature] input[type=range]");
      const hits = new Set();
      for (let i = 20; i < 80; i++) {
        slider.value = i;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        hits.add(document.querySelector(".bars").innerText); // drawn at once, not in some later frame
        await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      }
      return hits.size;
    }""")
    expect(lab.page.locator(".lab-dist")).to_have_attribute("data-hit", re.compile(r"\d"))
    assert hits >= 10
    assert lab.page.evaluate("moved") < 60 * 200, "of 50,257 tokens, only those that are seen are drawn"
    app.store.delete("large")


def hold(lab: Playground, prompt: str = "Nell") -> None:
    """Another prompt, whose reading takes until `window.release` is called, with a sentence if it is to fail."""
    lab.page.evaluate(
        """prompt => {
      const { lab } = document.querySelector(".lab");
      const held = new Promise((resolve) => { window.release = resolve; });
      lab.encode = async (...args) => {
        delete lab.encode;
        const fault = await held;
        if (fault) throw new Error(fault);
        return lab.encode(...args);
      };
      lab.set({ prompt });
    }""",
        prompt,
    )


def test_write_waits_for_the_model_and_says_so(lab: Playground) -> None:
    lab.panel.get_by_label("Tokens to write").fill("5")
    lab.panel.get_by_label("Stop at <|endoftext|>").uncheck()
    hold(lab)
    lab.press("Write")
    expect(lab.root).to_have_attribute("data-state", "waiting")
    expect(lab.panel.locator(".seen")).to_have_text("The model is being opened. Then it writes.")
    lab.page.evaluate("release()")
    lab.expect_tokens(5)
    ids = lab.tokenizer.encode("Nell")
    assert lab.written() == [token.id for token in drawn(lab.model, lab.tokenizer, ids, 5)]
    expect(lab.panel.locator(".seen")).to_be_hidden()


def test_waiting_can_be_stopped_and_may_fail(lab: Playground) -> None:
    hold(lab)
    lab.press("One token")
    lab.press("Stop")
    expect(lab.root).to_have_attribute("data-state", "idle")
    lab.page.evaluate("release()")
    lab.expect_position(4)
    lab.expect_tokens(0)
    hold(lab, "Jory")
    lab.press("One token")
    lab.page.evaluate("release('It is not there.')")
    expect(lab.panel.get_by_role("alert").filter(has_text="It is not there.")).to_be_visible()
    expect(lab.root).to_have_attribute("data-state", "idle")
    lab.press("One token")  # asks again
    lab.expect_tokens(1)


# Looking back, and branches -------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_its_distribution(lab: Playground) -> None:
    written = lab.write(12)
    token = lab.text.get_by_role("option").nth(4)
    token.click()
    lab.expect_position(len(lab.ids) + 4)
    expect(token).to_have_attribute("aria-selected", "true")
    expect(lab.dist).to_have_attribute("data-chosen", str(written[4]))
    lab.check(lab.ids + written[:4], chain(**STEPS))  # type: ignore[arg-type]
    expect(lab.dist).to_have_attribute("data-hit", str(written[4]))
    expect(lab.panel.locator(".bar-row.chosen")).to_have_attribute("data-id", str(written[4]))
    lab.set_step("temperature", 3)
    expect(lab.panel.locator(".how")).to_contain_text("different settings")
    lab.press("Use its settings")
    expect(lab.step("temperature").get_by_role("spinbutton")).to_have_value("0.8")
    lab.page.keyboard.press("Escape")
    lab.text.focus()
    lab.page.keyboard.press("End")
    lab.expect_position(len(lab.ids) + 12)


def test_an_alternative_is_a_branch(lab: Playground) -> None:
    first = lab.write(8)
    lab.text.get_by_role("option").nth(3).click()
    lab.expect_position(len(lab.ids) + 3)
    other = lab.panel.locator(".bars .bar-row:not(.chosen)").nth(2)
    id = int(other.get_attribute("data-id") or "")
    other.click()
    lab.expect_tokens(4)
    assert lab.written() == [*first[:3], id]
    second = [*first[:3], id, *lab.write(5)]
    assert second[4:] == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids + second[:4], 5)]
    branches = lab.panel.locator(".branch-list li")
    expect(branches).to_have_count(2)
    expect(lab.panel.locator(".branch[aria-current=true] .place")).to_have_text("4")
    for box in branches.get_by_role("checkbox").all():
        box.check()
    expect(lab.panel.locator(".comparison")).to_have_attribute("data-common", "3")
    expect(lab.panel.locator(".column")).to_have_count(2)
    branches.nth(0).get_by_role("button").first.click()
    lab.expect_tokens(8)
    assert lab.written() == first
    branches.nth(0).get_by_role("button", name="Delete").click()
    lab.expect_tokens(9)
    assert lab.written() == second
    expect(lab.panel.get_by_role("region", name="Branches")).to_be_hidden()


def test_any_text_can_be_put_in_the_place_of_a_token(lab: Playground) -> None:
    first = lab.write(6)
    lab.text.get_by_role("option").nth(2).click()
    lab.expect_position(len(lab.ids) + 2)
    lab.panel.get_by_label("Put this text here").fill(HOSTILE)
    lab.press("Put")
    ids = [*first[:2], *lab.tokenizer.encode(HOSTILE)]
    lab.expect_tokens(len(ids))
    assert lab.written() == ids
    expect(lab.text.locator("[data-by=hand]")).to_have_count(len(ids) - 2)
    scores = token_scores(lab.model, lab.tokenizer.n_vocab, lab.ids + ids, len(lab.ids))
    expect(lab.root).not_to_have_attribute("data-logprob", "")
    total = sum(score.logprob for score in scores)
    assert float(lab.root.get_attribute("data-logprob") or "nan") == pytest.approx(total, rel=1e-4)
    assert HOSTILE in (lab.text.text_content() or "")


def test_a_fork_goes_on_with_other_darts(lab: Playground) -> None:
    first = lab.write(10)
    lab.text.get_by_role("option").nth(4).click()
    lab.expect_position(len(lab.ids) + 4)
    lab.press("Fork here")
    lab.expect_tokens(5)
    seed = int(lab.panel.get_by_label("Seed", exact=True).input_value())
    assert lab.written() == first[:5]
    more = lab.write(5, seed=seed)
    assert more == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids + first[:5], 5, seed=seed)]
    expect(lab.panel.locator(".branch-list li")).to_have_count(1 if more == first[5:] else 2)


def test_a_fork_can_throw_the_same_darts(lab: Playground) -> None:
    first = lab.write(8)
    lab.text.get_by_role("option").nth(2).click()
    lab.expect_position(len(lab.ids) + 2)
    lab.press("Fork, same darts")
    lab.expect_tokens(3)
    expect(lab.panel.get_by_label("Seed", exact=True)).to_have_value("1")
    lab.set_step("temperature", 3)
    more = lab.write(5)
    hot = drawn(
        lab.model, lab.tokenizer, lab.ids + first[:3], 5,
        steps=[{"name": "temperature", "value": 3}, {"name": "top_k", "value": 40}],
    )  # fmt: skip
    assert more == [token.id for token in hot]
    assert more != first[3:]


def test_the_tree_in_the_state_is_checked(lab: Playground) -> None:
    told = lab.page.evaluate(
        """() => TREE.then(({ Tree }) => {
      const tree = new Tree();
      const way = tree.way({ steps: [], greedy: false, seed: 1 });
      let at = -1;
      for (const id of [5, 6, 7]) at = tree.add(at, id, way);
      tree.leaf = tree.add(tree.add(0, 9, -1), 8, way);
      const json = JSON.parse(JSON.stringify(tree));
      const again = Tree.from(json);
      const wrong = [{ ...json, leaf: 5 }, { ...json, nodes: [[0, 1, 0]] }, { ...json, nodes: [[-1, "<b>", 0]] },
        { ...json, nodes: [[-1, 1, 7]], leaf: 0 }, { nodes: 3 }].map((json) => {
        try { Tree.from(json); return ""; } catch (error) { return error.message; }
      });
      const ids = again.ids();
      const branches = again.branches();
      again.remove(2);
      return { json, ids, branches, wrong, left: again.toJSON() };
    })""".replace("TREE", scripts.module("playground/tree.js"))
    )
    nodes = [[-1, 5, 0], [0, 6, 0], [1, 7, 0], [0, 9, -1], [3, 8, 0]]
    assert told["json"] == {"nodes": nodes, "ways": [{"steps": [], "greedy": False, "seed": 1}], "leaf": 4}
    assert told["ids"] == [5, 9, 8]
    assert told["branches"] == [{"leaf": 2, "start": 1, "depth": 1}, {"leaf": 4, "start": 3, "depth": 1}]
    assert told["left"]["nodes"] == [[-1, 5, 0], [0, 9, -1], [1, 8, 0]]
    assert told["left"]["leaf"] == 2
    assert all("damaged" in sentence for sentence in told["wrong"])


def test_what_was_written_comes_back_with_the_state(lab: Playground) -> None:
    written = lab.write(7)
    lab.text.get_by_role("option").nth(3).click()
    lab.expect_position(len(lab.ids) + 3)
    lab.press("Fork here")
    lab.expect_tokens(4)
    state = lab.page.evaluate("JSON.stringify(document.querySelector('.lab').lab.state)")
    tree = json.loads(state)["tree"]
    assert [node[:2] for node in tree["nodes"]] == [[i - 1, id] for i, id in enumerate(written)]
    assert tree["leaf"] == 3
    assert tree["ways"][0]["steps"] == [{"name": name, "value": value} for name, value in STEPS.items()]
    lab.page.evaluate("document.querySelector('.lab').lab.restore({})")
    lab.expect_tokens(0)
    lab.page.evaluate("state => document.querySelector('.lab').lab.restore(JSON.parse(state))", state)
    lab.expect_tokens(4)
    assert lab.written() == written[:4]
    scores = token_scores(lab.model, lab.tokenizer.n_vocab, lab.ids + written, len(lab.ids))
    expect(lab.root).to_have_attribute("data-logprob", re.compile(r"^-\d"))
    logprob = float(lab.root.get_attribute("data-logprob") or "nan")
    assert logprob == pytest.approx(sum(score.logprob for score in scores[:4]), rel=1e-4)
    lab.panel.locator(".branch").filter(has_text="1").last.click()
    lab.expect_tokens(7)
    assert lab.written() == written
    lab.page.evaluate("document.querySelector('.lab').lab.restore({ tree: { nodes: [[9]], ways: [], leaf: 3 } })")
    expect(lab.panel.get_by_role("alert").filter(has_text="damaged")).to_be_visible()
    lab.expect_tokens(0)


def test_the_prompt_is_ranked_token_by_token(lab: Playground) -> None:
    prompt = lab.panel.get_by_role("listbox", name="Tokens of the prompt")
    tokens = prompt.get_by_role("option")
    expect(tokens).to_have_count(len(lab.ids) - 1)  # nothing comes before the first
    expect(tokens.first).to_have_attribute("data-p", re.compile(r"\d"))
    scores = token_scores(lab.model, lab.tokenizer.n_vocab, lab.ids, 1)
    shown = tokens.evaluate_all("all => all.map((one) => +one.dataset.p)")
    assert shown == pytest.approx([math.exp(score.logprob) for score in scores], rel=1e-3)
    tokens.nth(4).click()
    lab.expect_position(5)
    expect(lab.dist).to_have_attribute("data-chosen", str(lab.ids[5]))
    expect(lab.panel.locator(".where")).to_contain_text("Token 6 of the prompt")
    expect(lab.panel.locator(".how")).to_contain_text(f"rank {scores[4].rank + 1}")
    prompt.press("ArrowRight")
    lab.expect_position(6)
    lab.bars.get_by_role("option").first.click()  # nothing is written into the prompt
    lab.expect_tokens(0)
    prompt.press("Escape")
    lab.expect_position(len(lab.ids))


def test_the_hint_is_there_until_it_is_hidden(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = new_visitor().open(app.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    hint = page.locator(".first-hint")
    expect(hint).to_contain_text("What to look for")
    hint.get_by_role("button", name="Hide").click()
    expect(hint).to_be_hidden()
    page.reload()
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    expect(hint).to_be_hidden()


# Prompts and models ---------------------------------------------------------------------------------------------------


def test_hostile_text_is_text(lab: Playground) -> None:
    lab.prompt.fill(HOSTILE)
    ids = lab.tokenizer.encode(HOSTILE)
    lab.expect_position(len(ids))
    expect(lab.panel.locator(".text .prompt")).to_have_text(HOSTILE, use_inner_text=False)
    lab.ids = ids
    lab.check(ids, chain(**STEPS))  # type: ignore[arg-type]
    lab.write(20)


def test_no_prompt_starts_from_the_end_of_a_text(lab: Playground) -> None:
    lab.prompt.fill("")
    end = lab.tokenizer.end_of_text
    lab.expect_position(1)
    expect(lab.panel.locator(".text .prompt")).to_have_text("<|endoftext|>")
    lab.ids = [end]
    lab.check([end], chain(**STEPS))  # type: ignore[arg-type]
    assert lab.write(6) == [token.id for token in drawn(lab.model, lab.tokenizer, [end], 6)]


def test_a_long_prompt_is_cut_with_a_notice(lab: Playground) -> None:
    text = "Everybody in Haddle knows the Weigh House. " * 2400  # 100,000 characters
    lab.prompt.fill(text)
    lab.ids = lab.tokenizer.encode(text)
    lab.expect_position(len(lab.ids))
    expect(lab.panel.locator(".seen")).to_have_text(f"The model sees the last {N_CTX} of {len(lab.ids):,} tokens.")
    lab.check(lab.ids, chain(**STEPS))  # type: ignore[arg-type]
    assert lab.write(3) == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, 3)]
    lab.prompt.fill("x" * 200_001)
    expect(lab.panel.get_by_role("alert").filter(has_text="200,001 characters")).to_be_visible()
    lab.prompt.fill(text)
    lab.expect_tokens(3)  # what was written there is still there


def test_another_model_answers(lab: Playground, app: App) -> None:
    lab.write(5)
    lab.panel.get_by_label("Model", exact=True).select_option("other")
    lab.expect_tokens(0)
    lab.expect_position(len(lab.ids))
    lab.model, _ = app.store.load("other")
    lab.check(lab.ids, chain(**STEPS))  # type: ignore[arg-type]
    assert lab.write(5) == [token.id for token in drawn(lab.model, lab.tokenizer, lab.ids, 5)]


def test_what_goes_wrong_is_said_and_can_be_tried_again(lab: Playground, opened: tuple[Page, Visitor]) -> None:
    lab.write(4)
    context, errors = lab.page.context, opened[1].errors
    context.set_offline(True)
    try:
        lab.press("Write")
        alert = lab.panel.get_by_role("alert").filter(has_text="The server did not answer")
        expect(alert).to_be_visible()
        assert len(lab.written()) == 4
    finally:
        context.set_offline(False)
    alert.get_by_role("button", name="Try again").click()
    lab.expect_tokens(8)
    assert lab.page.evaluate("document.querySelector('.lab-write .trouble').hidden")
    assert errors  # the browser's own, of the failed request
    errors.clear()


def test_a_page_left_open_over_a_restart_says_that_it_must_be_reloaded(
    visitor: Visitor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("restarted")
    first = start_app(home)
    tokenizer = make("bytes")
    model = GPT(GPTConfig(n_vocab=tokenizer.n_vocab, n_ctx=N_CTX, n_embd=16, n_head=2, n_layer=1))
    first.store.save("starter", model.config, model.state_dict(), tokenizer, {})
    page = visitor.open(first.url)
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    first.close()
    second = start_app(home, port=int(first.url.rstrip("/").rsplit(":", 1)[1]))
    try:
        page.get_by_role("button", name="Write", exact=True).click()
        expect(
            page.get_by_role("alert").filter(has_text="restarted after this page was opened. Reload")
        ).to_be_visible()
        page.reload()
        page.get_by_role("tab", name="Playground", exact=True).click()
        expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
        page.get_by_role("button", name="Write", exact=True).click()
        expect(page.locator(".lab-write[data-state=idle]")).not_to_have_attribute("data-tokens", "0")
    finally:
        second.close()
    visitor.errors.clear()  # the browser's own, of the failed requests


# Telephone, keyboard, looks -------------------------------------------------------------------------------------------


def test_it_fits_a_telephone(lab: Playground) -> None:
    lab.page.set_viewport_size({"width": 390, "height": 800})
    assert lab.page.evaluate("document.documentElement.scrollWidth") <= 390
    settings = lab.panel.locator("details.settings")
    expect(settings).to_have_attribute("open", "")
    label = lab.panel.get_by_text("Put this text here", exact=True).bounding_box()
    assert label is not None
    assert label["height"] < 25  # one line
    assert (
        lab.page.evaluate(
            "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('.lab-tabs'))"
        )
        <= 0
    )
    lab.write(30)
    expect(settings).not_to_have_attribute("open", "")
    lab.text.get_by_role("option").nth(3).click()
    lab.expect_position(len(lab.ids) + 3)
    lab.panel.locator(".bars .bar-row").nth(5).click()
    lab.expect_tokens(4)
    assert lab.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(("width", "height"), [(390, 844), (640, 450)], ids=["telephone", "zoomed to 200 %"])
def test_what_is_written_is_on_a_small_screen(lab: Playground, width: int, height: int) -> None:
    lab.page.set_viewport_size({"width": width, "height": height})
    lab.page.evaluate("window.scrollTo(0, 0)")
    lab.write(40)
    for part in (lab.panel.locator(".text"), lab.panel.get_by_role("button", name="Stop", exact=True)):
        expect(part).to_be_in_viewport(ratio=1)


def test_nothing_touches_on_the_narrowest_telephone(lab: Playground) -> None:
    lab.page.set_viewport_size({"width": 320, "height": 600})
    assert lab.page.evaluate("document.documentElement.scrollWidth") <= 320
    box = lab.panel.get_by_role("region", name="What each step of the chain does")
    box.focus()
    expect(box).to_be_focused()
    gap = """axis => {
        const [zero, most] = [document.createRange(), document.createRange()];
        zero.selectNode(axis.firstChild);
        most.selectNodeContents(axis.lastChild);
        return most.getBoundingClientRect().left - zero.getBoundingClientRect().right;
    }"""
    assert lab.panel.locator(".bar-head .axis").evaluate(gap) >= 4


def test_control_enter_writes(lab: Playground) -> None:
    lab.prompt.fill("Nell and Jory")
    lab.page.keyboard.press("Control+Enter")
    expect(lab.root).to_have_attribute("data-state", "idle")
    expect(lab.root).not_to_have_attribute("data-tokens", "0")
    assert lab.written() == [event.id for event in drawn(
        lab.model, lab.tokenizer, lab.tokenizer.encode("Nell and Jory"), len(lab.written())
    )]  # fmt: skip


def test_the_settings_can_be_skipped(lab: Playground) -> None:
    lab.prompt.focus()
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Enter")
    expect(lab.panel.get_by_role("button", name="Write", exact=True)).to_be_focused()


def test_everything_by_keyboard(lab: Playground) -> None:
    press = lab.page.keyboard.press
    lab.prompt.focus()
    for _ in range(60):
        press("Tab")
        if lab.page.evaluate("document.activeElement.textContent") == "One token":
            break
    press("Enter")
    lab.expect_tokens(1)
    lab.expect_position(len(lab.ids) + 1)
    press("Enter")
    lab.expect_tokens(2)
    lab.expect_position(len(lab.ids) + 2)
    for _ in range(10):
        press("Tab")
        if "Tokens written" in lab.page.evaluate("document.activeElement.ariaLabel ?? ''"):
            break
    expect(lab.text).to_be_focused()
    press("ArrowLeft")
    lab.expect_position(len(lab.ids) + 1)
    press("ArrowLeft")
    lab.expect_position(len(lab.ids))
    for _ in range(20):
        press("Tab")
        if lab.page.evaluate("document.activeElement.classList.contains('bars')"):
            break
    for _ in range(7):
        press("ArrowDown")
    id = lab.panel.locator(".bars .active").get_attribute("data-id")
    press("Enter")
    lab.expect_tokens(1)
    assert [str(token) for token in lab.written()] == [id]
    lab.expect_position(len(lab.ids) + 1)
    expect(lab.bars).to_be_focused()


def test_tokens_are_colored(lab: Playground) -> None:
    lab.write(30)
    colors = set()
    for name in ("probability", "rank", "entropy", "nothing"):
        lab.panel.get_by_role("combobox", name="Color").select_option(name)
        expect(lab.panel.locator(".text")).to_have_attribute("data-color", name)
        colors.add(
            json.dumps(
                lab.text.evaluate(
                    "list => [...list.querySelectorAll('[data-id]')].map(t => getComputedStyle(t).backgroundColor)"
                )
            )
        )
    assert len(colors) == 4
