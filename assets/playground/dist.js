// The distribution of one position, computed here from one row of logits at each move of a slider: bars, raw beside
// final; the bar that the dart hits; the ledger of the stages; a thousand darts. No request to the server.
//
//   const dist = new Distribution(lab, { take(id) });
//   dist.show({ row, u, context, about, chosen });   // another position; chosen: the id in the text there, or null
//   dist.draw();                                     // the settings have changed

import { h, setText } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { Bars } from "./bars.js";
import { drawMany } from "./darts.js";
import { ledger } from "./ledger.js";
import { topRows, trace } from "./sampler.js";
import { STEPS, obeyed } from "./steps.js";
import { dartStrip } from "./strip.js";

const MOST_DARTS = 20_000;

const THROW =
  "A thousand draws from the distribution, the same for the same seed; again for a thousand more. The thin marks " +
  "show " +
  "how often each token was hit.";

const ORDERS = [
  ["raw", "as the model ranks them"],
  ["final", "as they are sampled"],
];

/** The stages of a position under a state's steps; greedy is temperature 0 for trace(). */
export function stagesOf({ row, context, about }, { steps, greedy }) {
  const always = [{ name: "temperature", value: STEPS.temperature.greedy }];
  return trace(row, context.slice(-about.n_ctx), greedy ? [...obeyed(steps, true), ...always] : steps);
}

export class Distribution {
  constructor(lab, { take }) {
    this.lab = lab;
    this.view = null; // what show() was given
    this.names = new Map(); // id -> the token, visible
    this.darts = 0; // thrown
    this.resting = false; // until the next frame
    this.again = false;
    this.strip = dartStrip();
    this.ledger = ledger();
    this.chart = new Bars((id) => this.view && take(id));
    this.speed = h("p", "quiet speed");
    const left = h("div", "chart", this.options(), this.chart.node);
    const right = h("div", "beside", h("div", "ledger-box", this.ledger.node), key(), this.throwing(), this.speed);
    this.node = h("div", "dist-body", this.strip.node, h("div", "two", left, right));
  }

  /** The list that the keyboard reaches. */
  get bars() {
    return this.chart.list;
  }

  options() {
    this.shown = h("input");
    Object.assign(this.shown, { type: "range", min: "5", max: "50", title: "How many tokens are shown as bars" });
    this.shown.addEventListener("input", () => this.lab.set({ shown: Number(this.shown.value) }));
    this.shownCount = h("span", "shown-count");
    this.order = h("select", "", ...ORDERS.map(([value, words]) => Object.assign(h("option", "", words), { value })));
    this.order.addEventListener("change", () => this.lab.set({ order: this.order.value }));
    const many = h("label", "check", h("span", "", "Bars"), this.shown, this.shownCount);
    return h("div", "row chart-options", many, h("label", "check", h("span", "", "Order"), this.order));
  }

  throwing() {
    const to = (darts) => {
      this.darts = Math.min(MOST_DARTS, darts);
      this.draw();
    };
    this.throwButton = button("Throw 1,000 darts", THROW, () => to(this.darts + 1000));
    this.clearButton = button("Clear", "Remove the darts", () => to(0));
    this.result = h("p", "quiet result");
    return h("div", "throw", h("div", "row", this.throwButton, this.clearButton), this.result);
  }

  nameOf(id) {
    const { names, view } = this;
    if (!names.has(id)) names.set(id, visible(view.about.vocabulary(id).bytes) || "<nothing>");
    return names.get(id);
  }

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
    this.render();
    this.resting = true;
    requestAnimationFrame(() => {
      this.resting = false;
      if (this.again) this.draw();
    });
  }

  render() {
    this.again = false;
    const began = performance.now();
    const {
      view,
      darts,
      lab: { state },
    } = this;
    const { chosen } = view;
    const nameOf = (id) => this.nameOf(id);
    const stages = stagesOf(view, state);
    const hit = this.strip.draw(stages, view.u, nameOf, { greedy: stages.at(-1).name === "greedy", chosen });
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

  fill(counts, stages) {
    const { state } = this.lab;
    this.shown.value = String(state.shown);
    setText(this.shownCount, String(state.shown));
    this.order.value = state.order;
    this.clearButton.disabled = !this.darts;
    this.throwButton.disabled = this.darts >= MOST_DARTS;
    setText(this.result, counts ? thrownWords(counts, stages, this.darts) : "");
  }
}

function thrownWords(counts, stages, darts) {
  const off = [...counts].map(([id, count]) => Math.abs(count / darts - stages.at(-1).probability(id)));
  const furthest = `the largest difference from a bar is ${percent(Math.max(...off))}`;
  return `${number(darts)} darts hit ${number(counts.size)} different tokens; ${furthest}.`;
}

/** What the marks of the bars mean. */
function key() {
  const parts = [
    [h("i", "of-raw"), "the model's own probability"],
    [h("i", "of-final"), "what is sampled from, after the chain"],
    [h("s", "", "the"), "removed by the chain"],
    [h("i", "of-dart"), "hit by the dart"],
    [h("i", "of-chosen"), "in the text"],
    [h("i", "of-throw"), "how often the thousand darts hit it"],
  ];
  return h("div", "key", ...parts.flatMap(([mark, words]) => [mark, h("span", "", words)]));
}

/** The token of the text has a bar even where it is not among the first. */
function withChosen({ rows, others }, stages, id) {
  if (id === null || rows.some((entry) => entry.id === id)) return { rows, others };
  const [raw, final] = [stages[0].probability(id), stages.at(-1).probability(id)];
  const kept = stages.at(-1).rank(id) >= 0;
  const left = {
    raw: Math.max(0, others.raw - raw),
    final: Math.max(0, others.final - final),
    count: others.count - 1,
    kept: others.kept - (kept ? 1 : 0),
  };
  return { rows: [...rows, { id, raw, final, kept }], others: left };
}
