// The bars of one position's distribution: the most probable tokens, raw beside final. They are redrawn at each move of
// a slider, so elements stay with their token while it is shown, and are used again afterwards.

import { h, set, setText, within } from "../page/dom.js";
import { clamp, number, percent } from "../page/numbers.js";

/** @import { Others, Shown } from "./sampler.js" */

/** @typedef {ReturnType<typeof line> & { key: number }} Bar of the token with the id `key` */
/** What is drawn over the bars: the token `hit`, the one `chosen`, how often each was hit by so many darts.
 *  @typedef {{ hit: number, chosen: number | null, counts: Map<number, number> | null, darts: number }} Marks */

const NICE = [1, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001];

const LISTED = "Candidates for this position, most probable first";
const TITLES = [
  "The token, with spaces and line breaks made visible",
  "Its id in the vocabulary",
  "The light bar is the model's own probability, the dark one that after the chain",
  "Probability the model gives it",
  "Probability after the chain, from which the token is sampled",
];

/** @param {string | undefined} p */
const exact = (p) => `${(100 * Number(p)).toPrecision(4)} %`;

/** The parts of one line, of a token or of all others.
 *  @param {"li" | "div"} tag */
function line(tag) {
  const piece = h("code", "piece");
  const id = h("span", "id");
  const raw = h("i", "raw");
  const final = h("i", "final");
  const thrown = h("b", "thrown");
  const before = h("span", "percent");
  const after = h("span", "percent after");
  const node = h(tag, "bar-row", piece, id, h("span", "bar", raw, final, thrown), before, after);
  return { node, piece, id, raw, final, thrown, before, after };
}

/** @param {ReturnType<typeof line>} part
 *  @param {Shown | Others} shares
 *  @param {number} scale
 *  @param {number} count
 *  @param {number} darts */
function fill(part, { raw, final }, scale, count, darts) {
  part.raw.style.transform = `scaleX(${Math.min(1, raw / scale)})`;
  part.final.style.transform = `scaleX(${Math.min(1, final / scale)})`;
  part.thrown.hidden = !darts || (count === 0 && final === 0);
  if (darts) {
    part.thrown.style.left = `${100 * Math.min(1, count / darts / scale)}%`;
    part.thrown.title = `hit by ${number(count)} of ${number(darts)} darts`;
  }
  setText(part.before, percent(raw));
  setText(part.after, percent(final));
  Object.assign(part.node.dataset, { raw, final, thrown: darts ? count : "" });
}

export class Bars {
  /** @type {Bar[]} those shown, in their order */
  lines = [];
  /** @type {Bar[]} */
  spare = [];
  active = -1;
  top = h("span", "scale");
  list = set(h("ul", "bars"), { role: "listbox", "aria-label": LISTED, tabindex: 0 });
  rest = line("div");

  /** `take(id)` is called with the token of the bar that is chosen.
   *  @param {(id: number) => void} take */
  constructor(take) {
    this.take = take;
    this.rest.node.className = "bar-row others";
    this.rest.node.title = "All tokens not shown as bars, together";
    this.node = h("div", "bars-box", this.head(), this.list, this.rest.node);
    this.listen();
  }

  head() {
    const axis = h("span", "axis", "0", this.top);
    const numbers = ["model", "drawn"].map((words) => h("span", "percent", words));
    const head = h("div", "bar-row bar-head", h("span", "", "token"), h("span", "id", "id"), axis, ...numbers);
    TITLES.forEach((title, i) => set(head.children[i], { title }));
    return head;
  }

  listen() {
    const { list } = this;
    list.addEventListener("pointerover", (event) => {
      const row = within(event, ".bar-row");
      if (!row) return;
      row.title = `Insert this token into the text. Model ${exact(row.dataset.raw)}, drawn ${exact(row.dataset.final)}`;
    });
    list.addEventListener("focus", () => this.active < 0 && list.matches(":focus-visible") && this.activate(0));
    list.addEventListener("blur", () => this.activate(-1));
    list.addEventListener("keydown", (event) => {
      const { active, lines } = this;
      /** @type {Record<string, number>} */
      const moves = { ArrowDown: active + 1, ArrowUp: Math.max(0, active - 1), Home: 0, End: lines.length - 1 };
      const to = moves[event.key];
      if (to !== undefined) this.activate(to);
      else if ((event.key === "Enter" || event.key === " ") && active >= 0) this.take(lines[active].key);
      else return;
      event.preventDefault();
    });
  }

  /** @returns {Bar} */
  option() {
    const part = { ...line("li"), key: -1 };
    part.node.setAttribute("role", "option");
    part.node.addEventListener("click", () => this.take(part.key));
    return part;
  }

  /** @param {number[]} ids @param {(id: number) => string} nameOf */
  arrange(ids, nameOf) {
    const byId = new Map(this.lines.map((part) => [part.key, part]));
    const kept = new Set(ids);
    this.spare = [...this.spare, ...this.lines.filter((part) => !kept.has(part.key))];
    this.lines = ids.map((id) => byId.get(id) ?? this.spare.pop() ?? this.option());
    for (const part of this.spare) part.node.remove();
    this.lines.forEach((part, i) => {
      if (this.list.children[i] !== part.node) this.list.insertBefore(part.node, this.list.children[i] ?? null);
      if (part.key === ids[i]) return;
      part.key = ids[i];
      part.node.dataset.id = String(ids[i]);
      part.node.id = `lab-bar-${ids[i]}`;
      setText(part.piece, nameOf(ids[i]));
      setText(part.id, String(ids[i]));
    });
  }

  /** @param {{ rows: Shown[], others: Others }} found
   *  @param {(id: number) => string} nameOf
   *  @param {Marks} marks */
  draw({ rows, others }, nameOf, { hit, chosen, counts, darts }) {
    this.arrange(
      rows.map(({ id }) => id),
      nameOf,
    );
    const most = Math.max(...rows.map(({ raw, final }) => Math.max(raw, final)));
    const scale = NICE.findLast((x) => x >= most) ?? 1;
    setText(this.top, `${number(100 * scale, scale < 0.01 ? 2 : scale < 0.1 ? 1 : 0)} %`);
    let shown = 0;
    rows.forEach((entry, i) => {
      const { node } = this.lines[i];
      const count = counts?.get(entry.id) ?? 0;
      shown += count;
      fill(this.lines[i], entry, scale, count, darts);
      node.className = "bar-row";
      node.classList.toggle("removed", !entry.kept);
      node.classList.toggle("hit", entry.id === hit);
      node.classList.toggle("chosen", entry.id === chosen);
      node.classList.toggle("active", i === this.active);
      node.setAttribute("aria-selected", String(entry.id === chosen));
    });
    this.drawRest(others, scale, darts - shown, darts);
    this.rest.node.classList.toggle("hit", !rows.some(({ id }) => id === hit));
  }

  /** @param {Others} others @param {number} scale @param {number} count @param {number} darts */
  drawRest(others, scale, count, darts) {
    const { node, piece, id } = this.rest;
    fill(this.rest, others, scale, count, darts);
    setText(piece, "all others");
    setText(id, number(others.count));
    node.dataset.kept = String(others.kept);
    node.classList.toggle("removed", others.kept === 0);
    node.classList.toggle("beyond", Math.max(others.raw, others.final) > scale);
  }

  /** @param {number} i */
  activate(i) {
    this.lines[this.active]?.node.classList.remove("active");
    this.active = clamp(i, -1, this.lines.length - 1);
    const part = this.lines[this.active];
    if (!part) {
      this.list.removeAttribute("aria-activedescendant");
      return;
    }
    part.node.classList.add("active");
    this.list.setAttribute("aria-activedescendant", part.node.id);
  }

  reset() {
    this.activate(this.list.matches(":focus") ? 0 : -1);
  }
}
