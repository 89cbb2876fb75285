// Parts of the panel "beams": the buttons that go through its steps, and its tables.

import { h, set, setText } from "../page/dom.js";
import { logarithm, percent, score } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { visible } from "../page/visible.js";

/** @import { About } from "./core.js" */
/** @import { BeamNode, Kind } from "./beamtree.js" */

/** @typedef {{ ids: number[], logprob: number }} Path */
/** @typedef {"G" | "S"} Letter of a path laid over the tree */
/** @typedef {(ids: number[], other?: number[]) => string} Words writes a text, or what differs from another */
/** @typedef {"rank" | "words" | "logprob" | "length" | "score" | "kind" | "place"} Column */

const LISTED = 10; // hypotheses in the table
/** @type {Record<Kind, string>} */
export const KINDS = { live: "continues", finished: "finished", pruned: "pruned" };

// Going through the steps -------------------------------------------------------------------------------------------

/** Buttons, a slider and a player; go(step) is asked for a step, from 0, and may be out of range. */
export class Stepper {
  at = -1;
  steps = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} while it plays */
  timer = undefined;
  range = h("input", "");
  count = h("output", "beam-count");
  player = button("Play", "Show the steps one after the other", () => (this.timer ? this.pause() : this.play()));
  speed = h("select", "", ...[1, 2, 5, 10].map((n) => new Option(`${n} step${n > 1 ? "s" : ""}/s`, String(n))));

  /** @param {(step: number) => void} go */
  constructor(go) {
    this.go = go;
    /** @param {string} label @param {string} title @param {() => number} to */
    const move = (label, title, to) =>
      button(label, title, () => {
        this.pause();
        go(to());
      });
    Object.assign(this.range, { type: "range", min: 1 });
    this.range.setAttribute("aria-label", "Step");
    this.range.addEventListener("input", () => {
      this.pause();
      go(Number(this.range.value) - 1);
    });
    this.speed.setAttribute("aria-label", "Speed");
    this.speed.value = "2";
    this.speed.addEventListener("change", () => this.timer && this.play());
    this.movers = [
      move("First", "The first step", () => 0),
      move("Back", "One step back", () => this.at - 1),
      this.player,
      move("Next", "One step on", () => this.at + 1),
      move("Last", "The last step", () => this.steps - 1),
      this.range,
    ];
    this.node = h("div", "beam-stepper", ...this.movers, this.count, this.speed);
  }

  /** @param {number} at @param {number} steps */
  show(at, steps) {
    this.at = at;
    this.steps = steps;
    for (const mover of this.movers) mover.disabled = steps === 0;
    this.range.max = String(Math.max(1, steps));
    this.range.value = String(at + 1);
    this.count.textContent = steps ? `Step ${at + 1} of ${steps}` : "No step yet";
    this.range.setAttribute("aria-valuetext", this.count.textContent);
    if (this.timer && at >= steps - 1) this.pause();
  }

  play() {
    clearInterval(this.timer);
    this.player.textContent = "Pause";
    this.timer = setInterval(() => this.go(this.at + 1), 1000 / Number(this.speed.value));
    if (this.at >= this.steps - 1) this.go(0);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.player.textContent = "Play";
  }
}

// Tables ------------------------------------------------------------------------------------------------------------

/** @param {Column[]} names */
function cells(names) {
  return names.map((name) => {
    const node = h("td", name === "words" ? "beam-words" : "");
    node.dataset.value = name;
    if (name === "words") node.dir = "auto";
    return node;
  });
}

/** @param {string} title @param {string[]} names @param {HTMLTableRowElement[]} rows */
function table(title, names, rows) {
  const head = h("tr", "", ...names.map((name) => h("th", "", name)));
  for (const th of head.cells) th.scope = "col";
  const caption = h("caption", "", title);
  const node = h("div", "beam-table", h("table", "", caption, h("thead", "", head), h("tbody", "", ...rows)));
  node.tabIndex = 0; // it may be wider than the page: then the keys move it
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", title);
  return { caption, node };
}

const NUMBERS = ["Log-prob.", "Length", "Score"];

/** @param {HTMLTableRowElement} row @param {Partial<Record<Column, string>>} values */
function fill(row, values) {
  for (const cell of row.cells) {
    const value = values[/** @type {Column} */ (cell.dataset.value)];
    if (value !== undefined) setText(cell, value);
  }
}

/** @param {number} logprob @param {number} length @param {number} points */
const numbers = (logprob, length, points) => ({
  logprob: logarithm(logprob),
  length: String(length),
  score: score(points),
});
const NOTHING = { logprob: "", length: "", score: "" };

/** The hypotheses by score; choose(node) is called where one is chosen. */
export class Ranking {
  /** @type {(BeamNode | undefined)[]} of the rows */
  nodes = [];

  /** @param {(node: BeamNode | undefined) => void} choose */
  constructor(choose) {
    this.rows = Array.from({ length: LISTED }, (_, i) => {
      const row = h("tr", "", ...cells(["rank", "words", "logprob", "length", "score", "kind"]));
      const choice = button("", "Show it in the tree", () => choose(this.nodes[i]), "beam-choose");
      row.children[1].append(choice);
      row.children[0].textContent = String(i + 1);
      return { row, choice };
    });
    const heads = ["Rank", "Text", ...NUMBERS, "State"];
    const { node, caption } = table(
      "Hypotheses by score",
      heads,
      this.rows.map(({ row }) => row),
    );
    this.node = node;
    this.caption = caption;
  }

  /** At least `room` rows are there, so that nothing jumps.
   *  @param {{ node: BeamNode, score: number }[]} ranked
   *  @param {Words} words
   *  @param {boolean} over
   *  @param {number} room */
  show(ranked, words, over, room) {
    const more = ranked.length > LISTED ? `, the first ${LISTED} of ${ranked.length}` : "";
    this.caption.textContent = `Hypotheses by score${more}`;
    this.rows.forEach(({ row, choice }, i) => {
      const entry = ranked[i];
      row.hidden = i >= Math.max(room, ranked.length);
      row.classList.toggle("none", !entry);
      this.nodes[i] = entry?.node;
      choice.disabled = !entry;
      choice.textContent = entry ? words(entry.node.ids, ranked[0].node.ids) : "";
      row.dataset.ids = entry ? entry.node.ids.join() : "";
      const kind = entry ? (over && entry.node.kind === "live" ? "not finished" : KINDS[entry.node.kind]) : "";
      const rest = entry ? numbers(entry.node.logprob, entry.node.ids.length, entry.score) : NOTHING;
      fill(row, { kind, ...rest });
    });
  }
}

/** The paths laid over the tree: "G" greedy and "S" drawn. */
export class Paths {
  rows = { G: pathRow("G", "G greedy"), S: pathRow("S", "S drawn") };
  drawn = h("p", "quiet");
  table = table("Other paths", ["Path", "Text", ...NUMBERS, "In the tree"], Object.values(this.rows)).node;
  node = h("div", "", this.table, this.drawn);

  /** How the path S was drawn.
   *  @param {string} how */
  from(how) {
    this.drawn.textContent = `S was drawn with ${how}.`;
  }

  /** `found` of the path's tokens are in the tree, which has `steps` columns.
   *  @param {Letter} letter
   *  @param {Path | undefined} path
   *  @param {Words} words
   *  @param {number} penalty
   *  @param {number} found
   *  @param {number} steps */
  show(letter, path, words, penalty, found, steps) {
    const row = this.rows[letter];
    const n = path?.ids.length ?? 0;
    const whole = found === n ? "all of it" : "all so far";
    const place = found === Math.min(n, steps) ? whole : `${found} token${found === 1 ? "" : "s"}`;
    const rest = path && n ? numbers(path.logprob, n, path.logprob / n ** penalty) : NOTHING;
    fill(row, { words: path && n ? words(path.ids) : "", place: n ? place : "", ...rest });
    Object.assign(row.dataset, { ids: path?.ids.join() ?? "", place: found });
  }
}

/** @param {Letter} letter @param {string} name */
function pathRow(letter, name) {
  const head = set(h("th", "", name), { scope: "row" });
  const row = h("tr", "", head, ...cells(["words", "logprob", "length", "score", "place"]));
  return set(row, { "data-path": letter });
}

/** How nodes are drawn. */
export function legend() {
  const keys = { best: "best", greedy: "G greedy", sampled: "S drawn", finished: "finished", pruned: "pruned" };
  const parts = Object.entries(keys).map(([name, words]) => h("span", `beam-key ${name}`, words));
  const node = h("p", "beam-legend", ...parts);
  node.title = "How nodes are drawn; their color is the probability of the token after its beginning";
  return node;
}

/** What there is to say of a node.
 *  @param {BeamNode} node
 *  @param {About} about */
export function tell({ id, logprob, own, rank, step, kind }, about) {
  const text = visible(about.vocabulary(id).bytes);
  const alone = `${logarithm(own)} of the token itself, ${percent(Math.exp(own))}`;
  const place = `rank ${rank + 1} in step ${step + 1}, ${KINDS[kind]}`;
  return { text, words: `${text} ${logarithm(logprob)} log-probability so far, ${alone}; ${place}` };
}
