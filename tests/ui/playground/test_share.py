"""Nine words, links, receipts and examples, in a real browser: what is shared gives the same again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import App, Visitor, start_app
from node import Node, module
from playwright.sync_api import Locator, Page, expect
from starter import HOSTILE, make_starter

from gpt_demo.decoding.beams import beam_search
from gpt_demo.presenter.claims import read_examples
from gpt_demo.ui import scripts

pytest_plugins = ["browser", "node"]
LINK = scripts.module("playground/link.js")
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = tmp_path_factory.mktemp("share")
    make_starter(home)
    app = start_app(home)
    yield app
    app.close()


def opened(visitor: Visitor, app: App, panel: str = "Write", **size: int) -> Page:
    page = visitor.open(app.url, **size)
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator(".lab")).to_have_attribute("data-ready", "true")
    page.get_by_role("tab", name=panel, exact=True).click()
    return page


def entry(page: Page, name: str) -> Locator:
    """A field of the panel that is seen."""
    return page.locator(".lab-panel:visible").get_by_label(name, exact=True)


def enter(page: Page, **values: str) -> None:
    """Type into fields, and leave them."""
    for name, value in values.items():
        entry(page, name).fill(value)
        entry(page, name).blur()
    if page.locator(".lab-write:visible").count():
        expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def shared(page: Page) -> dict[str, Any]:
    """What the sheet "Share" gives: the link, the state, the Python."""
    press(page, "Share")
    sheet = page.get_by_role("dialog", name="Share")
    found = {
        "link": sheet.get_by_role("textbox", name="Link").input_value(),
        "python": sheet.get_by_role("textbox", name="Python").inner_text(),
    }
    with page.expect_download() as download:
        sheet.locator('[data-part="json"]').get_by_role("button", name="Download").click()
    found["state"] = json.loads(download.value.path().read_text(encoding="utf-8"))["state"]
    press(page, "Close")
    expect(sheet).to_have_count(0)
    return found


def run_alone(app: App, code: str) -> list[str]:
    """The lines that the Python prints in a process of its own, as its reader would run it."""
    environment = {**os.environ, "GPT_DEMO_HOME": str(app.home), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8").splitlines()


def run_receipt(app: App, code: str) -> list[str]:
    """The same in this process, where torch is imported already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setenv("GPT_DEMO_HOME", str(app.home))
        exec(compile(code, "receipt", "exec"), {"__name__": "__main__"})
    return printed.getvalue().splitlines()


def link(page: Page, payload: Any) -> str:
    """`payload` as the part of a link behind "#"."""
    found: str = page.evaluate(f"payload => {LINK}.then(({{ write }}) => write(payload))", payload)
    return found


def state_of(page: Page) -> dict[str, Any]:
    """What the address says, once it says it."""
    page.wait_for_function("location.hash.startsWith('#lab=')")
    found: dict[str, Any] = page.evaluate(
        f"{LINK}.then(({{ read }}) => read(location.hash)).then(payload => payload.state)"
    )
    return found


def expect_address(page: Page, state: dict[str, Any]) -> None:
    """Wait until the address says this state; while a text is written, it says an earlier one."""
    page.wait_for_function(
        """wanted => {
          const sorted = (key, value) => value && typeof value === "object" && !Array.isArray(value)
            ? Object.fromEntries(Object.entries(value).sort()) : value;
          const text = (value) => JSON.stringify(value, sorted);
          const said = LINK.then(({ read }) => read(location.hash));
          return said.then((payload) => text(payload?.state) === text(wanted));
        }""".replace("LINK", LINK),
        arg=state,
    )


def steps_on(state: dict[str, Any]) -> list[tuple[str, float]]:
    off = {"repetition_penalty": 1, "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
    return [(step["name"], step["value"]) for step in state["steps"] if step["value"] != off[step["name"]]]


# Nine words -----------------------------------------------------------------------------------------------------------


def test_nine_words_are_drawn_as_the_book_does(visitor: Visitor, app: App, golden: dict[str, Any]) -> None:
    page, toy = opened(visitor, app, "Nine words"), golden["toy_vocabulary"]
    panel, rows = page.locator(".lab-toy"), page.locator(".toy-word")
    assert rows.locator(".toy-c0").all_inner_texts() == toy["words"]
    written = rows.locator(".toy-c1").all_inner_texts()
    assert [float(text.replace("\N{MINUS SIGN}", "-")) for text in written] == toy["logits"]
    press(page, "Draw 1,000 words")
    for temperature, counts in toy["counts_of_1000_draws_seed_123"].items():
        press(page, f"{float(temperature):g}")
        expect(panel).to_have_attribute("data-drawn", "done")
        for i, count in enumerate(counts):
            expect(rows.nth(i)).to_have_attribute("data-count", str(count))
        expected = torch.tensor(toy["logits"]).div(float(temperature)).softmax(0)
        shown = [float(row.get_attribute("data-final") or "nan") for row in rows.all()]
        assert shown == pytest.approx(expected.tolist(), abs=1e-6)
        assert rows.locator(".toy-c5").all_inner_texts() == [f"{1000 * p:,.1f}" for p in expected.tolist()]
    press(page, "1")
    entry(page, "Keep the most probable (top-k)").fill("3")
    expect(panel).to_have_attribute("data-drawn", "done")
    shown = [round(float(row.get_attribute("data-final") or "nan"), 4) for row in rows.all()]
    assert shown == toy["top_k_3_probabilities"]
    press(page, "Clear")
    assert page.locator(".toy-word[data-count]").count() == 0


def test_the_dart_hits_the_word_whose_part_it_is_in(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app, "Nine words", width=390)
    for u, word in [
        ("0", "forward"),
        ("0.571", "forward"),
        ("0.573", "toward"),
        ("0.95", "closer"),
        ("0.997", "inches"),
    ]:
        page.get_by_label("Dart", exact=True).fill(u)
        expect(page.locator(".toy-strip")).to_have_attribute("data-hit", word)
    entry(page, "Temperature").press("Home")  # 0.1: the same dart, another bar
    expect(page.locator(".toy-strip")).to_have_attribute("data-hit", "toward")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# Links ----------------------------------------------------------------------------------------------------------------


def write_something(page: Page, app: App) -> None:
    """Two ways of drawing, and a text put between them."""
    enter(page, **{"Prompt": "Nell and Jory", "Tokens to write": "12"})
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).to_have_attribute("data-tokens", "12")
    page.get_by_label("Put this text here", exact=False).fill(" Bishop")
    press(page, "Put")
    expect(page.locator(".lab-write")).not_to_have_attribute("data-tokens", "12")
    before = int(page.locator(".lab-write").get_attribute("data-tokens") or 0)
    enter(page, Seed="7")
    press(page, "Creative")
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).to_have_attribute("data-tokens", str(before + 12))


def written(page: Page) -> list[int]:
    nodes = page.get_by_role("listbox", name="Tokens written")
    found: list[int] = nodes.evaluate("list => [...list.querySelectorAll('[data-id]')].map(t => +t.dataset.id)")
    return found


def test_a_written_text_survives_its_link_and_its_receipt(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app)
    write_something(page, app)
    ids, sheet = written(page), shared(page)
    assert len(ids) > 24
    expect_address(page, sheet["state"])
    other = new_visitor().open(sheet["link"])  # nobody has been here before
    expect(other.locator(".lab-write")).to_have_attribute("data-tokens", str(len(ids)))
    assert written(other) == ids
    again = shared(other)
    assert (again["state"], again["link"]) == (sheet["state"], sheet["link"])
    assert 10 <= len(sheet["python"].splitlines()) <= 22
    printed = run_alone(app, sheet["python"])
    assert run_receipt(app, sheet["python"]) == printed
    assert json.loads(printed[0]) == ids
    assert "Bishop" in "\n".join(printed)


def test_a_branch_survives_its_link_and_its_receipt(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app)
    enter(page, **{"Prompt": "Nell and Jory", "Tokens to write": "10"})
    page.get_by_label("Stop at <|endoftext|>").first.uncheck()
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).to_have_attribute("data-tokens", "10")
    trunk = written(page)
    page.get_by_role("listbox", name="Tokens written").get_by_role("option").nth(3).click()
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    page.locator(".bars .bar-row:not(.chosen)").nth(4).click()  # another token: a branch
    expect(page.locator(".lab-write[data-state=idle]")).to_have_attribute("data-tokens", "4")
    press(page, "Chaos")
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).to_have_attribute("data-tokens", "14")
    ids, sheet = written(page), shared(page)
    assert (ids[:3], ids[3] == trunk[3]) == (trunk[:3], False)
    other = new_visitor().open(sheet["link"])
    expect(other.locator(".lab-write")).to_have_attribute("data-tokens", "14")
    assert written(other) == ids
    assert json.loads(run_receipt(app, sheet["python"])[0]) == ids
    expect(other.locator(".branch-list li")).to_have_count(2)
    other.locator(".branch-list li").first.get_by_role("button").first.click()
    expect(other.locator(".lab-write")).to_have_attribute("data-tokens", "10")
    assert written(other) == trunk
    assert json.loads(run_receipt(app, shared(other)["python"])[0]) == trunk


@pytest.mark.parametrize(
    "way", ["x", {}, {"steps": [{"name": "evil", "value": 1}], "greedy": False, "seed": 1},
            {"steps": [], "greedy": False, "seed": 2**32}]
)  # fmt: skip
def test_tokens_without_their_settings_count_as_put_by_hand(visitor: Visitor, app: App, way: Any) -> None:
    page = opened(visitor, app)
    tree = {"nodes": [[-1, 5, 0]], "ways": [way], "leaf": 0}
    page.evaluate("part => { location.hash = part; }", link(page, {"state": {"tree": tree}}))
    expect(page.locator(".lab-write")).to_have_attribute("data-tokens", "1")
    assert page.evaluate("document.querySelector('.lab').lab.state.tree") == {
        "nodes": [[-1, 5, -1]], "ways": [], "leaf": 0,
    }  # fmt: skip
    page.get_by_role("listbox", name="Tokens written").get_by_role("option").first.click()
    expect(page.locator(".lab-write .how")).to_contain_text("inserted by hand")
    expect(page.get_by_role("button", name="Use its settings")).to_be_disabled()


def test_the_receipt_of_settings_gives_what_write_then_writes(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    enter(page, **{"Prompt": HOSTILE, "Tokens to write": "9", "Seed": "11"})
    before = shared(page)
    assert before["state"]["prompt"] == entry(page, "Prompt").input_value()
    printed = run_receipt(app, before["python"])
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).not_to_have_attribute("data-tokens", "0")
    assert json.loads(printed[0]) == written(page)
    after = shared(page)
    assert 10 <= len(after["python"].splitlines()) <= 15
    assert run_receipt(app, after["python"])[0] == printed[0]
    assert page.evaluate("window.hacked") is None
    assert before["python"].isascii()


def test_a_race_survives_its_link_and_its_receipt(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app, "Race")
    enter(page, Length="15", Seed="5")
    sheet = shared(page)
    assert (sheet["state"]["panel"], sheet["state"]["length"], sheet["state"]["seed"]) == ("race", 15, 5)
    other = new_visitor().open(sheet["link"])
    expect(other.get_by_role("tab", name="Race")).to_have_attribute("aria-selected", "true")
    press(other, "Start the race")
    expect(other.locator(".race .job-status")).to_contain_text("Done.")
    lanes = [lane.get_attribute("data-ids") or "" for lane in other.locator(".race [data-ids]").all()]
    printed = [line for line in run_receipt(app, sheet["python"]) if re.fullmatch(r"\[[\d, ]*\]", line)]
    assert [",".join(map(str, json.loads(line))) for line in printed] == lanes
    assert len(lanes) == 6


def test_links_open_with_the_race_and_the_search_that_ran(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app, "Race")
    enter(page, Length="9")
    press(page, "Start the race")
    expect(page.locator(".race .job-status")).to_contain_text("Done.")
    texts = page.locator(".race [data-ids]").evaluate_all("all => all.map((one) => one.dataset.ids)")
    race = shared(page)["link"]
    enter(page, Length="10")  # what is on the screen is not what the settings give
    stale = shared(page)["link"]
    page.get_by_role("tab", name="Beam search").click()
    enter(page, Tokens="6")
    press(page, "Start the search")
    expect(page.locator(".beams .job-status")).to_contain_text("Done.")
    best = page.locator(".beams").get_attribute("data-best") or ""
    beams = shared(page)["link"]
    other = new_visitor()
    opened_race = other.open(race)
    expect(opened_race.locator(".race .job-status")).to_contain_text("Done.")
    assert opened_race.locator(".race [data-ids]").evaluate_all("all => all.map((one) => one.dataset.ids)") == texts
    expect(other.open(beams).locator(".beams")).to_have_attribute("data-best", best)
    opened_stale = other.open(stale)
    expect(opened_stale.get_by_role("button", name="Start the race")).to_be_enabled()
    expect(opened_stale.locator(".race .job-status")).to_be_empty()


def test_a_link_carries_the_chosen_token_the_compared_branches_and_the_darts(
    new_visitor: Callable[[], Visitor], app: App
) -> None:
    page = opened(new_visitor(), app)
    enter(page, **{"Tokens to write": "6"})
    press(page, "Write")
    expect(page.locator(".lab-write[data-state=idle]")).not_to_have_attribute("data-tokens", "0")
    tokens = page.get_by_role("listbox", name="Tokens written").get_by_role("option")
    tokens.nth(1).click()
    entry(page, "Put this text here").fill(" zebra")
    press(page, "Put")
    expect(page.locator(".branches")).to_have_attribute("data-count", "2")
    for box in page.locator(".branches").get_by_role("checkbox").all():
        box.check()
    tokens.nth(0).click()
    press(page, "Throw 1,000 darts")
    seen = {name: page.locator(name).evaluate("node => ({ ...node.dataset })") for name in (".comparison", ".lab-dist")}
    other = new_visitor().open(shared(page)["link"])
    expect(other.locator(".lab-dist")).to_have_attribute("data-darts", "1000")
    for name, data in seen.items():
        for key in data.keys() & {"common", "position", "chosen", "hit", "darts"}:
            expect(other.locator(name)).to_have_attribute(f"data-{key}", data[key])


def test_another_model_of_the_same_name_is_said(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    own = shared(page)["link"].split("#")[1]
    page.evaluate("part => { location.hash = part; }", own)
    expect(page.locator(".lab-said")).to_be_empty()
    strange = link(page, {"state": {"model": "little", "seed": 4}, "fingerprint": "0123456789ab"})
    page.evaluate("part => { location.hash = part; }", strange)
    expect(page.locator(".lab-said")).to_contain_text("Another model is called \u201clittle\u201d here")


def test_a_beam_search_survives_its_link_and_its_receipt(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app, "Beam search")
    enter(page, Beams="3")
    sheet = shared(page)
    assert sheet["state"]["beams"]["beams"] == 3
    other = new_visitor().open(sheet["link"])
    expect(entry(other, "Beams")).to_have_value("3")
    model, tokenizer = app.store.load("little")
    ids = tokenizer.encode(sheet["state"]["prompt"])
    best = list(beam_search(model, ids, 3, 20, 1.0, tokenizer.end_of_text))[-1].best[0]
    assert json.loads(run_receipt(app, sheet["python"])[0]) == list(best.ids)


def test_nine_words_survive_their_link_and_their_receipt(new_visitor: Callable[[], Visitor], app: App) -> None:
    page = opened(new_visitor(), app, "Nine words")
    press(page, "5")
    page.get_by_label("Dart", exact=True).fill("0.731")
    press(page, "Draw 1,000 words")
    expect(page.locator(".lab-toy")).to_have_attribute("data-drawn", "done")
    counts = [int(row.get_attribute("data-count") or -1) for row in page.locator(".toy-word").all()]
    sheet = shared(page)
    assert json.loads(run_receipt(app, sheet["python"])[0]) == counts
    other = new_visitor().open(sheet["link"])
    expect(other.locator(".lab-toy")).to_have_attribute("data-drawn", "done")
    assert [int(row.get_attribute("data-count") or -1) for row in other.locator(".toy-word").all()] == counts
    assert other.get_by_label("Dart", exact=True).input_value() == "0.731"


def test_the_address_stays_until_something_is_changed_and_a_json_opens(
    visitor: Visitor, app: App, tmp_path: Path
) -> None:
    page = opened(visitor, app)
    expect(page.locator(".lab-dist")).to_have_attribute("aria-busy", "false")
    page.evaluate("history.replaceState(null, '', location.pathname)")  # the tab that was clicked did not count
    enter(page, Seed="42")
    page.wait_for_function("location.hash.startsWith('#lab=z')")
    assert state_of(page)["seed"] == 42
    assert page.evaluate("history.length") <= 2  # nothing to go back through
    file = tmp_path / "playground.json"
    file.write_text(json.dumps({"state": {**state_of(page), "seed": 43, "prompt": "Rook Mill"}}))
    for content, seed in [(file, "43"), (tmp_path / "broken.json", "43")]:
        (tmp_path / "broken.json").write_text('{"state": ')
        press(page, "Share")
        with page.expect_file_chooser() as chooser:
            press(page, "Open a JSON file")
        chooser.value.set_files(content)
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(entry(page, "Seed")).to_have_value(seed)
    expect(page.locator(".lab-said")).to_contain_text("This file can't be read")


BROKEN = {
    "nothing": "#lab=",
    "no such kind": "#lab=q" + "A" * 20,
    "not base64": "#lab=j%%%%",
    "not JSON": "#lab=jAAAA",
    "cut": "#lab=zdVNNb8IwDP0ryOeAAmIay3",
    "no record": "#lab=jWzEsMl0",  # [1,2]
    "no state": "#lab=je30",  # {}
}


def test_a_broken_link_gives_a_sentence(visitor: Visitor, app: App) -> None:
    page = visitor.open(f"{app.url}{BROKEN['cut']}")
    for name, link in BROKEN.items():
        page.evaluate("link => (location.hash = link)", link)
        expect(page.locator(".lab-said"), name).to_contain_text("This link can't be read")
        expect(entry(page, "Prompt")).to_have_value("Nell looked at the")
        press(page, "OK")
        expect(page.locator(".lab-said")).to_be_empty()


def test_a_hostile_link_is_taken_as_far_as_it_holds(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    step = {"name": "temperature", "value": "1); alert(1"}
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep]
    state = {
        "prompt": HOSTILE, "seed": -1, "length": 10**9, "steps": [step], "greedy": "yes", "shown": 1e9, "panel": "<b>",
        "lanes": "all", "tree": {"nodes": [[5, 1, 0]], "ways": [], "leaf": 9}, "toy": {"temperature": 0}, "beams": deep,
        "color": "javascript:", "model": "../../etc", "__proto__": {"polluted": 1}, "constructor": 1,
    }  # fmt: skip
    page.goto(f"{app.url}{link(page, {'state': state})}")
    page.reload()
    expect(page.locator(".lab-said")).to_contain_text("Parts of it could not be read")
    expect(page.locator(".lab-said")).to_contain_text("which is not here")
    expect(entry(page, "Prompt")).to_have_value(HOSTILE.replace("\r", ""))
    expect(entry(page, "Seed")).to_have_value("1")
    assert page.evaluate("[window.hacked, {}.polluted]") == [None, None]
    ways = [{"steps": [step], "greedy": False, "seed": "1 or print(open('x').read())"}]
    tree = {"nodes": [[-1, 5, 0], [0, 6, 0]], "ways": ways, "leaf": 1}
    page.goto(f"{app.url}{link(page, {'state': {'panel': 'write', 'tree': tree}})}")
    page.reload()
    expect(page.locator(".lab-write")).to_have_attribute("data-tokens", "2")
    code = shared(page)["python"]
    assert "open(" not in code
    assert json.loads(run_receipt(app, code)[0]) == [5, 6]


def test_a_bomb_is_not_unpacked(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    bomb = link(page, {"state": {"prompt": "a" * 5_000_000}})
    assert len(bomb) < 100_000
    page.goto(f"{app.url}{bomb}")
    page.reload()
    expect(page.locator(".lab-said")).to_contain_text("holds more than this page reads")


def test_python_literals_survive_everything(node: Node) -> None:
    texts = [HOSTILE, "\\", '"', "\\\"'", "\ud800", "\r\n\x7f\x85\u2028", "{}%s", "\U0001f9d9", "#", "", "é\\N{BULLET}"]
    value = [*texts, {'a"b': [1, 0.5, 1e-9, 1e21, True, False, None]}]
    code = node.evaluate(f"value => {module('playground/receipt.js')}.then(({{ py }}) => py(value))", value)
    assert code.isascii()
    namespace: dict[str, Any] = {}
    exec(f"value = {code}", namespace)
    assert namespace["value"] == value


# Examples -------------------------------------------------------------------------------------------------------------


def test_examples_set_their_state_and_say_what_to_look_for(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    enter(page, Prompt="My own text")
    for example in read_examples()["examples"]:
        press(page, "Examples")
        page.get_by_role("button", name=re.compile(f"^{re.escape(example['title'])}")).click()
        expect(page.locator(".lab-said")).to_contain_text(example["look"])
        state, wanted = shared(page)["state"], example["state"]
        same = [key for key in wanted if key not in ("steps", "model")]  # this app has no model of its name
        assert {key: state[key] for key in same} == {key: wanted[key] for key in same}
        if "steps" in wanted:
            assert steps_on(state) == [(step["name"], step["value"]) for step in wanted["steps"]]
        press(page, "Back to what was here")
        expect(entry(page, "Prompt")).to_have_value("My own text")


def test_the_menu_of_examples_is_used_by_keys(visitor: Visitor, app: App) -> None:
    page = opened(visitor, app)
    opener = page.get_by_role("button", name="Examples", exact=True)
    opener.press("Enter")
    expect(page.get_by_role("button", name=re.compile("^Temperature ramp"))).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name=re.compile("^Greedy loop"))).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")
    opener.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Race")).to_have_attribute("aria-selected", "true")
    expect(opener).to_be_focused()
