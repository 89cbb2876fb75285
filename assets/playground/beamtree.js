// A beam search as a tree: what the server's events say, kept by step, and how it is drawn: one column per step.
//
// A node is one token of one hypothesis: {step, slot, ids, id, logprob (of the whole path), own (of the token), kind
// ("live", "finished" or "pruned"), rank (in its step, by log-probability), parent, children}. In a column the children
// of one node stand together, in their parents' order: so no two lines cross.

import { h, set, svg, within } from "../page/dom.js";
import { logarithm } from "../page/numbers.js";
import { shade } from "../page/parts.js";

/** @import { BeamsAdvanced } from "../page/protocol.js" */

/** @typedef {"live" | "finished" | "pruned"} Kind */
/** One token of one hypothesis: `ids` and `logprob` of the whole path, `own` of the token; `rank` in its step.
 *  @typedef {{
 *    step: number,
 *    slot: number,
 *    ids: number[],
 *    id: number,
 *    logprob: number,
 *    own: number,
 *    kind: Kind,
 *    rank: number,
 *    parent: BeamNode | null,
 *    children: BeamNode[],
 *  }} BeamNode */
/** @typedef {{ y: number, button: HTMLButtonElement, line: SVGPathElement }} Drawn a node on the sheet */
/** @typedef {(node: BeamNode) => { text: string, words: string }} Describe */

/** @type {Kind[]} */
const KINDS = ["live", "finished", "pruned"];
const [WIDTH, PITCH, ROW, TOP] = [116, 164, 31, 24]; // of a node, from column to column, from row to row; px

/** @type {WeakMap<EventTarget, BeamNode>} */
const nodeOfElement = new WeakMap();

/** The node of the tree that an element on the page shows, or null.
 *  @param {EventTarget | null} target */
export const nodeOf = (target) => (target && nodeOfElement.get(target)) ?? null;

// What is known -----------------------------------------------------------------------------------------------------

export class Search {
  root = newNode({ step: -1, ids: [], id: -1, logprob: 0, own: 0, kind: "live", parent: null });
  /** @type {BeamNode[][]} per step: its nodes from top to bottom */
  columns = [];
  live = [[this.root]]; // per step, the prompt first: the nodes that go on, as the server numbers them

  get steps() {
    return this.columns.length;
  }

  get size() {
    return this.columns.reduce((sum, column) => sum + column.length, 0);
  }

  /** One more step: an event "beams" (see gpt_demo/decoding/beams.py).
   *  @param {BeamsAdvanced} event */
  add(event) {
    const parents = this.live[this.live.length - 1];
    const nodes = KINDS.flatMap((kind) =>
      event[kind].map(({ ids, logprob, parent }) => {
        const sum = logprob ?? -Infinity;
        const [step, from] = [this.steps, parents[parent]];
        const own = sum - from.logprob;
        return newNode({ step, ids, id: ids[ids.length - 1], logprob: sum, own, kind, parent: from });
      }),
    );
    this.live.push(nodes.slice(0, event.live.length));
    [...nodes].sort((a, b) => b.logprob - a.logprob).forEach((node, i) => (node.rank = i));
    nodes.sort((a, b) => slotAbove(a) - slotAbove(b) || a.rank - b.rank);
    nodes.forEach((node, i) => {
      node.slot = i;
      node.parent?.children.push(node);
    });
    this.columns.push(nodes);
    return nodes;
  }

  /** What was finished up to this step and what is live in it, the first found first.
   *  @param {number} step */
  hypotheses(step) {
    const finished = this.columns
      .slice(0, step + 1)
      .flatMap((column) => column.filter((node) => node.kind === "finished").sort((a, b) => a.rank - b.rank));
    return [...finished, ...(this.live[step + 1] ?? [])];
  }

  /** Hypotheses by score, the best first: [{node, score}]. Once the search is over, what did not finish comes last.
   *  @param {number} step
   *  @param {number} penalty
   *  @param {boolean} over */
  ranked(step, penalty, over) {
    const entries = this.hypotheses(step).map((node) => ({ node, score: node.logprob / node.ids.length ** penalty }));
    /** @param {{ node: BeamNode }} entry */
    const late = ({ node }) => (over && node.kind !== "finished" ? 1 : 0);
    return entries.sort((a, b) => late(a) - late(b) || b.score - a.score);
  }

  /** The node of each token of a path, as far as the tree has them up to `step`.
   *  @param {number[]} ids
   *  @param {number} step */
  follow(ids, step) {
    /** @type {BeamNode[]} */
    const nodes = [];
    let { children } = this.root;
    for (const id of ids) {
      const next = children.find((child) => child.id === id && child.step <= step);
      if (!next) break;
      nodes.push(next);
      ({ children } = next);
    }
    return nodes;
  }

  /** The nodes of a column and before it whose path goes on in it, or has finished: a Set.
   *  @param {number} step */
  standing(step) {
    /** @type {Set<BeamNode>} */
    const nodes = new Set();
    for (const end of this.hypotheses(step)) {
      for (const node of [...pathOf(end), this.root]) nodes.add(node);
    }
    return nodes;
  }
}

/** @param {Pick<BeamNode, "step" | "ids" | "id" | "logprob" | "own" | "kind" | "parent">} known
 *  @returns {BeamNode} */
const newNode = (known) => ({ ...known, slot: 0, rank: 0, children: [] });

/** @param {BeamNode} node */
const slotAbove = (node) => node.parent?.slot ?? 0;

/** The nodes from the first token to this one.
 *  @param {BeamNode | null} end */
export function pathOf(end) {
  /** @type {BeamNode[]} */
  const nodes = [];
  for (let node = end; node?.parent; node = node.parent) nodes.unshift(node);
  return nodes;
}

// How it is drawn ---------------------------------------------------------------------------------------------------

export class Drawing {
  lines = svg("svg", { "aria-hidden": "true" });
  sheet = h("div", "beam-sheet", this.lines);
  scroller = set(h("div", "beam-scroll", this.sheet), {
    role: "group",
    "aria-label": "Search tree: left and right go from step to step, up and down within one",
  });
  /** @type {Describe} */
  describe = () => ({ text: "", words: "" });
  rows = 0;
  /** @type {{ column: HTMLElement, lines: SVGGElement, nodes: BeamNode[] }[]} */
  columns = [];
  /** @type {Map<BeamNode, Drawn>} */
  drawn = new Map();
  /** @type {BeamNode | null} the node that Tab reaches */
  reached = null;

  /** A node is hovered or has the focus, or none.
   *  @param {(node: BeamNode | null, focused?: boolean) => void} onPoint */
  constructor(onPoint) {
    this.sheet.addEventListener("mouseover", (event) => onPoint(nodeOf(within(event, ".beam-node"))));
    this.sheet.addEventListener("mouseleave", () => onPoint(null));
    this.sheet.addEventListener("focusin", (event) => {
      const node = nodeOf(event.target);
      if (node) onPoint(node, true);
    });
  }

  /** An empty sheet with the prompt's end, for columns of up to `rows` nodes.
   *  @param {string} prompt
   *  @param {number} rows
   *  @param {Describe} describe */
  clear(prompt, rows, describe) {
    this.describe = describe;
    this.rows = rows;
    this.columns = [];
    this.drawn = new Map();
    this.lines.replaceChildren();
    const hint = "The tree grows here, a column for each step.";
    const start = prompt ? h("div", "beam-start mono", prompt) : h("p", "beam-hint quiet", hint);
    if (prompt) start.title = "The end of the prompt";
    start.style.top = `${this.y({ slot: 0 }, 1)}px`;
    this.sheet.replaceChildren(this.lines, start);
    this.sheet.style.height = `${TOP + rows * ROW + 6}px`;
    this.resize();
  }

  resize() {
    const width = (this.columns.length + 1) * PITCH;
    this.sheet.style.width = `${width}px`;
    set(this.lines, { width, height: TOP + this.rows * ROW + 6 });
  }

  /** @param {{ slot: number }} node @param {number} count */
  y(node, count) {
    return TOP + (node.slot + (this.rows - count) / 2) * ROW;
  }

  /** @param {BeamNode[]} nodes */
  add(nodes) {
    const step = this.columns.length;
    const left = (step + 1) * PITCH;
    const lines = svg("g", {});
    const column = h("div", "beam-column", h("span", "beam-number quiet", `${step + 1}`));
    column.style.left = `${left}px`;
    const count = nodes.length;
    for (const node of nodes) {
      const y = this.y(node, count);
      const above = node.parent && this.drawn.get(node.parent);
      const [x0, x1, y0, y1] = [left - PITCH + WIDTH, left, (above?.y ?? this.y({ slot: 0 }, 1)) + 13, y + 13];
      const middle = (x0 + x1) / 2;
      const line = svg("path", { d: `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${x1},${y1}` });
      const element = this.button(node, y);
      this.drawn.set(node, { y, button: element, line });
      lines.append(line);
      column.append(element);
    }
    this.columns.push({ column, lines, nodes });
    this.lines.append(lines);
    this.sheet.append(column);
    this.resize();
  }

  /** @param {BeamNode} node @param {number} y */
  button(node, y) {
    const { text, words } = this.describe(node);
    const element = h("button", `beam-node ${node.kind}`, h("code", "", text), h("span", "", logarithm(node.logprob)));
    element.type = "button";
    element.tabIndex = -1;
    nodeOfElement.set(element, node);
    element.style.top = `${y}px`;
    if (node.kind !== "pruned") element.classList.add(`shade-${shade("probability", Math.exp(node.own))}`);
    element.setAttribute("aria-label", words);
    element.title = words;
    Object.assign(element.dataset, { kind: node.kind, step: node.step + 1, id: node.id, rank: node.rank + 1 });
    return element;
  }

  /** Show the columns up to `step`, with what stands, the winner's path and the paths laid over, by their letters.
   *  @param {number} step
   *  @param {Set<BeamNode>} standing
   *  @param {BeamNode | null} winner
   *  @param {Record<string, BeamNode[]>} overlays */
  show(step, standing, winner, overlays) {
    const best = new Set(pathOf(winner));
    this.columns.forEach(({ column, lines, nodes }, i) => {
      column.hidden = i > step;
      lines.style.display = i > step ? "none" : "";
      column.classList.toggle("present", i === step);
      if (i > step) return;
      for (const node of nodes) {
        const letters = Object.keys(overlays).filter((letter) => overlays[letter].includes(node));
        this.mark(node, letters, { best: best.has(node), lost: !standing.has(node) });
      }
    });
  }

  /** @param {BeamNode} node @param {string[]} letters @param {{ best: boolean, lost: boolean }} how */
  mark(node, letters, { best, lost }) {
    const drawn = this.drawn.get(node);
    if (!drawn) return;
    const { classList, dataset } = drawn.button;
    dataset.paths = letters.join(" ");
    classList.toggle("greedy", letters.includes("G"));
    classList.toggle("sampled", letters.includes("S"));
    classList.toggle("lost", lost);
    classList.toggle("best", best);
    set(drawn.line, { class: best ? "best" : lost ? "lost" : "" });
  }

  /** Make this column visible, without moving more than needed.
   *  @param {number} step */
  reveal(step) {
    const { scroller } = this;
    const [left, right] = [(step + 1) * PITCH - PITCH, (step + 2) * PITCH];
    if (right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth;
    else if (left < scroller.scrollLeft) scroller.scrollLeft = left;
  }

  /** The node that Tab reaches.
   *  @param {BeamNode | null} node */
  reach(node) {
    const [before, now] = [this.reached, node].map((one) => one && this.drawn.get(one)?.button);
    if (before) before.tabIndex = -1;
    this.reached = node;
    if (now) now.tabIndex = 0;
  }

  /** @param {BeamNode} node */
  focus(node) {
    this.drawn.get(node)?.button.focus({ preventScroll: true });
  }
}
