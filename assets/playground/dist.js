// The distribution of one position, computed here from one row of logits at each move of a slider: bars, raw beside
// final; the bar that the dart hits; the ledger of the stages; a thousand darts. No request to the server.
//
//   const dist = new Distribution(lab, { take(id) });
//   dist.show({ row, u, context, about, chosen });   // another position; chosen: the id in the text there, or null
//   dist.draw();                                     // the settings have changed

import { h, scrolling, setText } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { Bars } from "./bars.js";
import { drawMany } from "./darts.js";
import { ledger } from "./ledger.js";
import { lastOf, topRows, trace } from "./sampler.js";
import { STEPS, obeyed } from "./steps.js";
import { dartStrip } from "./strip.js";

/** @import { About, Lab } from "./core.js" */
/** @import { State } from "./state.js" */
/** @import { Others, Shown, Stage } from "./sampler.js" */
/** @import { Setting } from "./steps.js" */
/** @import { View } from "./story.js" */

const MOST_DARTS = 20_000;

const THROW =
  "A thousand draws from the distribution, the same for the same seed; again for a thousand more. The thin marks " +
  "show " +
  "how often each token was hit.";

const ORDERS = [
  ["raw", "as the model ranks them"],
  ["final", "as they are sampled"],
];

/** The stages of a position under a state's steps; greedy is temperature 0 for trace().
 *  @param {View} view
 *  @param {State} state */
export function stagesOf({ row, context, about }, { steps, greedy }) {
  /** @type {Setting[]} */
  const always = [{ name: "temperature", value: STEPS.temperature.greedy ?? 0 }];
  return trace(row, context.slice(-about.n_ctx), greedy ? [...obeyed(steps, true), ...always] : steps);
}

export class Distribution {
  /** @type {View | null} what show() was given */
  view = null;
  /** @type {Map<number, string>} tokens by their ids, visible */
  names = new Map();
  resting = false; // until the next frame
  again = false;
  strip = dartStrip();
  ledger = ledger();
  speed = h("p", "quiet speed");

  shown = h("input");
  shownCount = h("span", "shown-count");
  order = h("select", "", ...ORDERS.map(([value, words]) => new Option(words, value)));
  throwButton = button("Throw 1,000 darts", THROW, () => this.throw(this.lab.state.darts + 1000));
  clearButton = button("Clear", "Remove the darts", () => this.throw(0));
  result = h("p", "quiet result");

  /** @param {Lab} lab @param {{ take: (id: number) => void }} acts */
  constructor(lab, { take }) {
    this.lab = lab;
    this.chart = new Bars((id) => this.view && take(id));
    const left = h("div", "chart", this.options(), this.chart.node);
    const stages = scrolling(this.ledger.node, "What each step of the chain does");
    const right = h("div", "beside", stages, key(), this.throwing(), this.speed);
    this.node = h("div", "dist-body", this.strip.node, h("div", "two", left, right));
  }

  /** The list that the keyboard reaches. */
  get bars() {
    return this.chart.list;
  }

  options() {
    Object.assign(this.shown, { type: "range", min: "5", max: "50", title: "How many tokens are shown as bars" });
    this.shown.addEventListener("input", () => this.lab.set({ shown: Number(this.shown.value) }));
    this.order.addEventListener("change", () => this.lab.set({ order: this.order.value === "raw" ? "raw" : "final" }));
    const many = h("label", "check", h("span", "", "Bars"), this.shown, this.shownCount);
    return h("div", "row chart-options", many, h("label", "check", h("span", "", "Order"), this.order));
  }

  throwing() {
    return h("div", "throw", h("div", "row", this.throwButton, this.clearButton), this.result);
  }

  /** @param {number} darts */
  throw(darts) {
    this.lab.set({ darts: Math.min(MOST_DARTS, darts) });
  }

  /** @param {About} about @param {number} id */
  nameOf(about, id) {
    const known = this.names.get(id);
    if (known !== undefined) return known;
    const name = visible(about.vocabulary(id).bytes) || "<nothing>";
    this.names.set(id, name);
    return name;
  }

  /** @param {View} view */
  show(view) {
    if (!this.view || this.view.about !== view.about) this.names = new Map();
    this.view = view;
    this.chart.reset();
    this.draw();
  }

  /** At once if nothing was drawn in this frame, else at the next one: never more than once for a frame. */
  draw() {
    if (!this.view) return;
    if (this.resting) {
      this.again = true;
      return;
    }
    this.render(this.view);
    this.resting = true;
    requestAnimationFrame(() => {
      this.resting = false;
      if (this.again) this.draw();
    });
  }

  /** @param {View} view */
  render(view) {
    this.again = false;
    const began = performance.now();
    const { state } = this.lab;
    const { darts } = state;
    const { chosen } = view;
    /** @param {number} id */
    const nameOf = (id) => this.nameOf(view.about, id);
    const stages = stagesOf(view, state);
    const hit = this.strip.draw(stages, view.u, nameOf, { greedy: lastOf(stages).name === "greedy", chosen });
    const counts = darts ? drawMany(stages, darts, state.seed) : null;
    const found = withChosen(topRows(stages, state.shown, state.order), stages, chosen);
    this.chart.draw(found, nameOf, { hit, chosen, counts, darts });
    this.ledger.draw(stages, state.steps);
    this.fill(counts, stages);
    const root = /** @type {HTMLElement} */ (this.node.closest(".lab-dist"));
    const ms = (performance.now() - began).toFixed(2);
    Object.assign(root.dataset, { hit, position: view.context.length, darts, chosen: chosen ?? "", ms });
    setText(this.speed, `All ${number(view.row.length)} tokens, computed in your browser in ${number(Number(ms))} ms.`);
  }

  /** @param {Map<number, number> | null} counts @param {Stage[]} stages */
  fill(counts, stages) {
    const { state } = this.lab;
    this.shown.value = String(state.shown);
    setText(this.shownCount, String(state.shown));
    this.order.value = state.order;
    this.clearButton.disabled = !state.darts;
    this.throwButton.disabled = state.darts >= MOST_DARTS;
    setText(this.result, counts ? thrownWords(counts, stages, state.darts) : "");
  }
}

/** @param {Map<number, number>} counts @param {Stage[]} stages @param {number} darts */
function thrownWords(counts, stages, darts) {
  const off = [...counts].map(([id, count]) => Math.abs(count / darts - lastOf(stages).probability(id)));
  const furthest = `the largest difference from a bar is ${number(100 * Math.max(...off), 2)} percentage points`;
  return `${number(darts)} darts hit ${number(counts.size)} different tokens; ${furthest}.`;
}

/** What the marks of the bars mean. */
function key() {
  const parts = [
    [h("i", "of-raw"), "the model's own probability"],
    [h("i", "of-final"), "what is sampled from, after the chain (the steps of the settings)"],
    [h("s", "", "the"), "removed by the chain"],
    [h("i", "of-dart"), "hit by the dart, a random number from 0 to 1 on the bar above"],
    [h("i", "of-chosen"), "in the text"],
    [h("i", "of-throw"), "how often the thousand darts hit it"],
    [h("code", "", "\u00b7 \u21b5"), "a space, a line break"],
  ];
  return h("div", "key", ...parts.flatMap(([mark, words]) => [mark, h("span", "", words)]));
}

/** The token of the text has a bar even where it is not among the first.
 *  @param {{ rows: Shown[], others: Others }} found
 *  @param {Stage[]} stages
 *  @param {number | null} id */
function withChosen({ rows, others }, stages, id) {
  if (id === null || rows.some((entry) => entry.id === id)) return { rows, others };
  const [raw, final] = [stages[0].probability(id), lastOf(stages).probability(id)];
  const kept = lastOf(stages).rank(id) >= 0;
  const left = {
    raw: Math.max(0, others.raw - raw),
    final: Math.max(0, others.final - final),
    count: others.count - 1,
    kept: others.kept - (kept ? 1 : 0),
  };
  return { rows: [...rows, { id, raw, final, kept }], others: left };
}
