// Nine words: the choice of a token small enough to be followed by hand, with the book's own numbers.
//
// The words and their logits are those of the toy vocabulary in the book behind this project.
// assets/playground/sampler.js computes the bars; the 1,000 single draws come from the server, which draws with
// torch.multinomial and the seed 123 as the book does, so that its printed counts come out exactly.

import { h, messageOf, set } from "../page/dom.js";
import { percent, number } from "../page/numbers.js";
import { button, trouble as troubleLine } from "../page/parts.js";
import { addPanel } from "./core.js";
import * as darts from "./darts.js";
import { lastOf, trace } from "./sampler.js";

/** @import { Lab } from "./core.js" */
/** @import { Toy } from "./state.js" */
/** @typedef {ReturnType<typeof compute>} Result */
/** @typedef {ReturnType<typeof wordRow>} WordRow */

export const WORDS = ["closer", "every", "effort", "forward", "inches", "moves", "pizza", "toward", "you"];
export const LOGITS = [4.51, 0.89, -1.9, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79];
export const CONTEXT = "every effort moves you";
export const DRAWS = 1000;
export const SEED = 123;
const row = new Float32Array(LOGITS);

/** Everything to be shown of {temperature, top_k, u}: per word raw, final; the parts of the bar; the word hit.
 *  @param {Pick<Toy, "temperature" | "top_k" | "u">} toy */
export function compute({ temperature, top_k, u }) {
  const stages = trace(
    row,
    [],
    [
      { name: "temperature", value: temperature },
      { name: "top_k", value: top_k },
    ],
  );
  const words = WORDS.map((word, id) => ({
    word,
    raw: stages[0].probability(id),
    final: lastOf(stages).probability(id),
    kept: lastOf(stages).rank(id) >= 0,
  }));
  const [parts, hit] = [darts.bar(stages, WORDS.length), darts.dart(stages, u)];
  return { words, parts, hit, perplexity: lastOf(stages).perplexity };
}

/** @param {Lab} lab @param {Partial<Toy>} patch */
const change = (lab, patch) => lab.set({ toy: { ...lab.state.toy, ...patch } });

// What can be turned -------------------------------------------------------------------------------------------------

/** @param {string} label
 *  @param {string} title
 *  @param {{ id: string, min: number, max: number, step: number }} attributes
 *  @param {(x: number) => string} say
 *  @param {(x: number) => void} onInput */
function slider(label, title, attributes, say, onInput) {
  const input = set(h("input", ""), { type: "range", ...attributes });
  const value = h("output", "toy-value");
  const name = h("label", "toy-label", label);
  name.htmlFor = input.id = `toy-${attributes.id}`;
  const node = h("div", "toy-slider", name, value, input);
  node.title = title;
  input.addEventListener("input", () => onInput(Number(input.value)));
  /** @param {number} x */
  const show = (x) => {
    if (Number(input.value) !== x) input.value = String(x);
    value.textContent = say(x);
    input.setAttribute("aria-valuetext", say(x));
  };
  return { node, show };
}

/** @param {Lab} lab */
function controls(lab) {
  const temperature = slider(
    "Temperature",
    "Every logit is divided by it before the softmax: below 1 sharpens the distribution, above 1 flattens it",
    { id: "temperature", min: 0.1, max: 5, step: 0.1 },
    (x) => (x === 1 ? "1 (off)" : String(x)),
    (x) => change(lab, { temperature: x }),
  );
  const topK = slider(
    "Keep the most probable (top-k)",
    "Only the k words with the highest logits can be drawn; 0 keeps all nine",
    { id: "top-k", min: 0, max: 9, step: 1 },
    (x) => (x === 0 ? "0 (off)" : String(x)),
    (x) => change(lab, { top_k: x }),
  );
  const u = slider(
    "Dart",
    "The uniform number from 0 to 1 that is drawn; the word on whose part of the bar it lands is the next one",
    { id: "dart", min: 0, max: 0.999, step: 0.001 },
    (x) => number(x, 3),
    (x) => change(lab, { u: x }),
  );
  const book = [0.1, 1, 5].map((t) =>
    button(String(t), `Temperature ${t}, with all nine words`, () => change(lab, { temperature: t, top_k: 0 })),
  );
  const dart = button("Throw the dart", "Draw a new number", () =>
    change(lab, { u: Math.floor(Math.random() * 1000) / 1000 }),
  );
  const left = h(
    "div",
    "toy-controls",
    temperature.node,
    h("div", "toy-row", h("span", "toy-label", "The book's three"), ...book),
    topK.node,
    u.node,
    h("div", "toy-row", dart),
  );
  /** @param {Toy} toy */
  const show = (toy) => {
    temperature.show(toy.temperature);
    topK.show(toy.top_k);
    u.show(toy.u);
  };
  return { node: left, show };
}

// What comes out -----------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["Word", "A word of the vocabulary; its number in the list is its id"],
  ["Logit", "What the model gave to the word"],
  ["", ""],
  ["Model", "The softmax of the logits: the probability before temperature and top-k"],
  ["Drawn from", "The probability after temperature and top-k"],
  ["Expected", "1,000 times the probability"],
  ["Counted", "How often the word came in 1,000 draws with the seed 123"],
];

function table() {
  const heads = COLUMNS.map(([name, title], i) => {
    const head = h(i === 2 ? "td" : "th", `toy-c${i}`, name);
    if (title) head.title = title;
    return head;
  });
  const rows = WORDS.map(wordRow);
  const body = h("tbody", "", ...rows.map((entry) => entry.node));
  const caption = h(
    "caption",
    "toy-caption",
    `After \u201c${CONTEXT}\u201d the model gives each of its nine words a logit.`,
  );
  return { node: h("table", "toy-table", caption, h("thead", "", h("tr", "", ...heads)), body), rows };
}

/** @param {string} word @param {number} id */
function wordRow(word, id) {
  const raw = h("i", "toy-raw");
  const final = h("i", "toy-final");
  const mark = h("b", "toy-mark");
  const cells = {
    raw: h("td", "toy-c3"),
    final: h("td", "toy-c4"),
    expected: h("td", "toy-c5"),
    counted: h("td", "toy-c6"),
  };
  const name = h("th", "toy-c0", word);
  name.scope = "row";
  const bar = h("td", "toy-c2", h("div", "toy-bar", raw, final, mark));
  bar.setAttribute("aria-hidden", "true");
  const node = h("tr", "toy-word", name, h("td", "toy-c1", number(LOGITS[id], 2)), bar, ...Object.values(cells));
  node.dataset.id = String(id);
  return { node, raw, final, mark, cells };
}

/** @param {WordRow} row
 *  @param {Result["words"][number]} entry
 *  @param {number | null} count
 *  @param {boolean} hit */
function showWord({ node, raw, final, mark, cells }, entry, count, hit) {
  Object.assign(node.dataset, { raw: entry.raw, final: entry.final });
  node.classList.toggle("removed", !entry.kept);
  node.classList.toggle("hit", hit);
  raw.style.width = `${100 * entry.raw}%`;
  final.style.width = `${100 * entry.final}%`;
  cells.raw.textContent = percent(entry.raw);
  cells.final.textContent = percent(entry.final);
  const expected = DRAWS * entry.final;
  cells.expected.textContent = number(expected, 1);
  cells.expected.title =
    `Of 1,000 draws, give or take ${number(Math.sqrt(expected * (1 - entry.final)), 1)} ` + `(standard deviation)`;
  cells.counted.textContent = count === null ? "" : number(count);
  if (count === null) delete node.dataset.count;
  else node.dataset.count = String(count);
  mark.hidden = count === null;
  mark.style.left = `${(100 * (count ?? 0)) / DRAWS}%`;
}

/** The cumulative bar: nine parts, in rank order, and the dart. */
function strip() {
  const parts = WORDS.map((word) => h("span", "toy-part", word));
  const dart = h("i", "toy-dart");
  const bar = h("div", "toy-strip", ...parts, dart);
  bar.setAttribute("aria-hidden", "true");
  const words = h("p", "toy-hit");
  /** @param {Result} result @param {number} u */
  const show = (result, u) => {
    for (const part of parts) part.hidden = true;
    for (const { id, from, to } of result.parts) {
      parts[id].hidden = false;
      parts[id].style.left = `${100 * from}%`;
      parts[id].style.width = `${100 * (to - from)}%`;
      parts[id].dataset.narrow = String(to - from < 0.09);
      parts[id].dataset.hit = String(id === result.hit.id);
    }
    dart.style.left = `${100 * u}%`;
    bar.dataset.hit = WORDS[result.hit.id];
    const [from, to] = [result.hit.from, result.hit.to].map((x) => number(x, 3));
    words.textContent =
      `The dart at ${number(u, 3)} hits \u201c${WORDS[result.hit.id]}\u201d, whose part of the ` +
      `bar goes from ${from} to ${to}.`;
  };
  return { node: h("div", "", bar, words), show };
}

// The 1,000 draws
// ------------------------------------------------------------------------------------------------------

/** Asks for the counts that belong to the sliders, a moment after they rest; `show` is called when they came. */
class Draws {
  /** @type {number[] | null} */
  counts = null;
  /** @type {string | null} the key of the counts */
  of = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;

  /** @param {Lab} lab @param {() => void} show @param {(sentence: string) => void} fail */
  constructor(lab, show, fail) {
    this.lab = lab;
    this.show = show;
    this.fail = fail;
  }

  /** @param {Toy} toy */
  static key = ({ temperature, top_k }) => `${temperature} ${top_k}`;

  /** The counts for the present state, null while there are none. */
  get now() {
    return this.of === Draws.key(this.lab.state.toy) ? this.counts : null;
  }

  follow() {
    clearTimeout(this.timer);
    const { toy, panel } = this.lab.state;
    if (!toy.draws || panel !== "toy" || this.now) return;
    this.timer = setTimeout(() => this.ask(Draws.key(toy), toy), 150);
  }

  /** @param {string} key @param {Toy} toy */
  async ask(key, { temperature, top_k }) {
    try {
      const { counts } = await this.lab.ask("toy", { logits: LOGITS, temperature, top_k, seed: SEED, draws: DRAWS });
      if (key !== Draws.key(this.lab.state.toy)) return; // moved on: another question is under way
      [this.counts, this.of] = [counts, key];
      this.show();
    } catch (error) {
      this.fail(messageOf(error));
    }
  }
}

// The panel -----------------------------------------------------------------------------------------------------------

/** @param {HTMLElement} container @param {Lab} lab */
function mount(container, lab) {
  const left = controls(lab);
  const words = table();
  const bar = strip();
  const trouble = troubleLine();
  const facts = h("p", "toy-facts");
  const draw = button(
    "Draw 1,000 words",
    "1,000 single draws of torch.multinomial with the seed 123, as in the book",
    () => change(lab, { draws: DRAWS }),
  );
  const clear = button("Clear", "Take the counts away", () => change(lab, { draws: 0 }));
  const method = h("span", "toy-quiet");
  const show = () => {
    const { toy } = lab.state;
    const result = compute(toy);
    const counts = toy.draws ? draws.now : null;
    left.show(toy);
    result.words.forEach((entry, id) =>
      showWord(words.rows[id], entry, counts ? counts[id] : null, id === result.hit.id),
    );
    bar.show(result, toy.u);
    method.textContent = `Seed 123${toy.temperature === 1 && !toy.top_k ? ": the book's own counts" : ""}.`;
    const kept = result.words.filter((entry) => entry.kept).length;
    facts.textContent =
      `${kept} of 9 words are possible; as uncertain as a choice among ` +
      `${number(result.perplexity, 2)} equally likely words (perplexity).`;
    root.dataset.drawn = !toy.draws ? "no" : counts ? "done" : "asking";
    clear.disabled = !toy.draws;
    draws.follow();
  };
  const draws = new Draws(
    lab,
    () => (trouble.hide(), show()),
    (sentence) => trouble.show(sentence, () => (trouble.hide(), show())),
  );
  const results = h(
    "div",
    "toy-results",
    words.node,
    h("div", "toy-row", draw, clear, method),
    trouble.node,
    bar.node,
    facts,
  );
  const root = h("div", "lab-toy", left.node, results);
  container.append(root);
  lab.on((changed) => (changed.includes("toy") || changed.includes("panel")) && show());
  show();
}

addPanel({ name: "toy", title: "Nine words", mount });
