// A beam search as a tree: what the server's events say, kept by step, and how it is drawn: one column per step.
//
// A node is one token of one hypothesis: {step, slot, ids, id, logprob (of the whole path), own (of the token), kind
// ("live", "finished" or "pruned"), rank (in its step, by log-probability), parent, children}. In a column the children
// of one node stand together, in their parents' order: so no two lines cross.

import { h, within } from "../page/dom.js";
import { logarithm } from "../page/numbers.js";
import { shade } from "../page/parts.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, PITCH, ROW, TOP] = [116, 164, 31, 24]; // of a node, from column to column, from row to row; px

const nodeOfElement = new WeakMap();

/** The node of the tree that an element on the page shows, or null.
 *  @param {EventTarget | null} target */
export const nodeOf = (target) => (target && nodeOfElement.get(target)) ?? null;

// What is known -----------------------------------------------------------------------------------------------------

export class Search {
  constructor() {
    this.root = { step: -1, slot: 0, ids: [], logprob: 0, own: 0, kind: "live", rank: 0, parent: null, children: [] };
    this.columns = []; // per step: its nodes from top to bottom
    this.live = [[this.root]]; // per step, the prompt first: the nodes that go on, as the server numbers them
  }

  get steps() {
    return this.columns.length;
  }

  get size() {
    return this.columns.reduce((sum, column) => sum + column.length, 0);
  }

  /** One more step: an event "beams" (see gpt_demo/decoding/beams.py). */
  add(event) {
    const parents = this.live.at(-1);
    const nodes = ["live", "finished", "pruned"].flatMap((kind) =>
      event[kind].map(({ ids, logprob, parent }) => {
        const sum = logprob ?? -Infinity;
        const [step, from] = [this.steps, parents[parent]];
        const own = sum - from.logprob;
        return { step, ids, id: ids.at(-1), logprob: sum, own, kind, parent: from, children: [] };
      }),
    );
    this.live.push(nodes.slice(0, event.live.length));
    [...nodes].sort((a, b) => b.logprob - a.logprob).forEach((node, i) => (node.rank = i));
    nodes.sort((a, b) => a.parent.slot - b.parent.slot || a.rank - b.rank);
    nodes.forEach((node, i) => {
      node.slot = i;
      node.parent.children.push(node);
    });
    this.columns.push(nodes);
    return nodes;
  }

  /** What was finished up to this step and what is live in it, the first found first. */
  hypotheses(step) {
    const finished = this.columns
      .slice(0, step + 1)
      .flatMap((column) => column.filter((node) => node.kind === "finished").sort((a, b) => a.rank - b.rank));
    return [...finished, ...(this.live[step + 1] ?? [])];
  }

  /** Hypotheses by score, the best first: [{node, score}]. Once the search is over, what did not finish comes last. */
  ranked(step, penalty, over) {
    const entries = this.hypotheses(step).map((node) => ({ node, score: node.logprob / node.ids.length ** penalty }));
    const late = ({ node }) => (over && node.kind !== "finished" ? 1 : 0);
    return entries.sort((a, b) => late(a) - late(b) || b.score - a.score);
  }

  /** The node of each token of a path, as far as the tree has them up to `step`. */
  follow(ids, step) {
    const nodes = [];
    for (let at = this.root; nodes.length < ids.length;) {
      at = at.children.find((child) => child.id === ids[nodes.length] && child.step <= step);
      if (!at) break;
      nodes.push(at);
    }
    return nodes;
  }

  /** The nodes of a column and before it whose path goes on in it, or has finished: a Set. */
  standing(step) {
    const nodes = new Set();
    for (let node of this.hypotheses(step)) for (; node && !nodes.has(node); node = node.parent) nodes.add(node);
    return nodes;
  }
}

export const pathOf = (node) => {
  const nodes = [];
  for (; node?.parent; node = node.parent) nodes.unshift(node);
  return nodes;
};

// How it is drawn ---------------------------------------------------------------------------------------------------

export class Drawing {
  /** onPoint(node or null): a node is hovered or has the focus. */
  constructor(onPoint) {
    this.onPoint = onPoint;
    this.lines = document.createElementNS(SVG, "svg");
    this.lines.setAttribute("aria-hidden", "true");
    this.sheet = h("div", "beam-sheet", this.lines);
    this.scroller = h("div", "beam-scroll", this.sheet);
    this.scroller.setAttribute("role", "group");
    this.scroller.setAttribute(
      "aria-label",
      "Search tree: left and right go from step to step, up and down within one",
    );
    this.sheet.addEventListener("mouseover", (event) => onPoint(nodeOf(within(event, ".beam-node"))));
    this.sheet.addEventListener("mouseleave", () => onPoint(null));
    this.sheet.addEventListener("focusin", (event) => {
      const node = nodeOf(event.target);
      if (node) onPoint(node, true);
    });
  }

  /** An empty sheet with the prompt's end, for columns of up to `rows` nodes. */
  clear(prompt, rows, describe) {
    this.describe = describe;
    this.rows = rows;
    this.columns = [];
    this.lines.replaceChildren();
    const hint = "The tree grows here, a column for each step.";
    this.start = prompt ? h("div", "beam-start mono", prompt) : h("p", "beam-hint quiet", hint);
    if (prompt) this.start.title = "The end of the prompt";
    this.start.style.top = `${this.y({ slot: 0 }, 1)}px`;
    this.sheet.replaceChildren(this.lines, this.start);
    this.sheet.style.height = `${TOP + rows * ROW + 6}px`;
    this.resize();
  }

  resize() {
    const width = (this.columns.length + 1) * PITCH;
    this.sheet.style.width = `${width}px`;
    this.lines.setAttribute("width", String(width));
    this.lines.setAttribute("height", String(TOP + this.rows * ROW + 6));
  }

  y(node, count) {
    return TOP + (node.slot + (this.rows - count) / 2) * ROW;
  }

  add(nodes) {
    const step = this.columns.length;
    const left = (step + 1) * PITCH;
    const lines = document.createElementNS(SVG, "g");
    const column = h("div", "beam-column", h("span", "beam-number quiet", `${step + 1}`));
    column.style.left = `${left}px`;
    const count = nodes.length;
    for (const node of nodes) {
      node.y = this.y(node, count);
      node.button = this.button(node);
      const from = node.parent.y ?? this.y({ slot: 0 }, 1);
      node.line = document.createElementNS(SVG, "path");
      const [x0, x1, y0, y1] = [left - PITCH + WIDTH, left, from + 13, node.y + 13];
      node.line.setAttribute("d", `M${x0},${y0}C${(x0 + x1) / 2},${y0} ${(x0 + x1) / 2},${y1} ${x1},${y1}`);
      lines.append(node.line);
      column.append(node.button);
    }
    this.columns.push({ column, lines, nodes });
    this.lines.append(lines);
    this.sheet.append(column);
    this.resize();
  }

  button(node) {
    const { text, words } = this.describe(node);
    const element = h("button", `beam-node ${node.kind}`, h("code", "", text), h("span", "", logarithm(node.logprob)));
    element.type = "button";
    element.tabIndex = -1;
    nodeOfElement.set(element, node);
    element.style.top = `${node.y}px`;
    if (node.kind !== "pruned") element.classList.add(`shade-${shade("probability", Math.exp(node.own))}`);
    element.setAttribute("aria-label", words);
    element.title = words;
    Object.assign(element.dataset, { kind: node.kind, step: node.step + 1, id: node.id, rank: node.rank + 1 });
    return element;
  }

  /** Show the columns up to `step`, with what stands, the winner's path and the paths laid over: {letter: [node]}. */
  show(step, standing, winner, overlays) {
    const best = new Set(pathOf(winner));
    this.columns.forEach(({ column, lines, nodes }, i) => {
      column.hidden = i > step;
      lines.style.display = i > step ? "none" : "";
      column.classList.toggle("present", i === step);
      if (i > step) return;
      for (const node of nodes) {
        const letters = Object.keys(overlays)
          .filter((letter) => overlays[letter].includes(node))
          .join(" ");
        node.button.dataset.paths = letters;
        node.button.classList.toggle("greedy", letters.includes("G"));
        node.button.classList.toggle("sampled", letters.includes("S"));
        node.button.classList.toggle("lost", !standing.has(node));
        node.button.classList.toggle("best", best.has(node));
        node.line.setAttribute("class", best.has(node) ? "best" : standing.has(node) ? "" : "lost");
      }
    });
  }

  /** Make this column visible, without moving more than needed. */
  reveal(step) {
    const { scroller } = this;
    const [left, right] = [(step + 1) * PITCH - PITCH, (step + 2) * PITCH];
    if (right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth;
    else if (left < scroller.scrollLeft) scroller.scrollLeft = left;
  }

  /** The node that Tab reaches. */
  reach(node) {
    if (this.reached) this.reached.button.tabIndex = -1;
    this.reached = node;
    if (node) node.button.tabIndex = 0;
  }
}
