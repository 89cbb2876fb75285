// Parts of the panel "beams": the buttons that go through its steps, and its tables.

import { h } from "../page/dom.js";
import { logarithm, percent, score } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { visible } from "../page/visible.js";

const LISTED = 10; // hypotheses in the table
export const KINDS = { live: "continues", finished: "finished", pruned: "pruned" };

// Going through the steps -------------------------------------------------------------------------------------------

/** Buttons, a slider and a player; go(step) is asked for a step, from 0, and may be out of range. */
export class Stepper {
  constructor(go) {
    this.go = go;
    this.at = -1;
    this.steps = 0;
    const move = (label, title, to) =>
      button(label, title, () => {
        this.pause();
        go(to());
      });
    this.range = h("input", "");
    Object.assign(this.range, { type: "range", min: 1 });
    this.range.setAttribute("aria-label", "Step");
    this.range.addEventListener("input", () => {
      this.pause();
      go(Number(this.range.value) - 1);
    });
    this.count = h("output", "beam-count");
    this.player = button("Play", "Show the steps one after the other", () => (this.timer ? this.pause() : this.play()));
    this.speed = h("select", "");
    this.speed.setAttribute("aria-label", "Speed");
    this.speed.append(...[1, 2, 5, 10].map((n) => new Option(`${n} step${n > 1 ? "s" : ""}/s`, String(n))));
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
    this.timer = null;
    this.player.textContent = "Play";
  }
}

// Tables ------------------------------------------------------------------------------------------------------------

function cells(names) {
  return names.map((name) => {
    const node = h("td", name === "words" ? "beam-words" : "");
    node.dataset.value = name;
    if (name === "words") node.dir = "auto";
    return node;
  });
}

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

function fill(row, values) {
  for (const cell of row.children) {
    const value = values[cell.dataset.value];
    if (value !== undefined && cell.textContent !== String(value)) cell.textContent = value;
  }
}

const numbers = (logprob, length, points) => ({ logprob: logarithm(logprob), length, score: score(points) });
const NOTHING = { logprob: "", length: "", score: "" };

/** The hypotheses by score; choose(node) is called where one is chosen. */
export class Ranking {
  constructor(choose) {
    this.nodes = []; // of the rows
    this.rows = Array.from({ length: LISTED }, (_, i) => {
      const row = h("tr", "", ...cells(["rank", "words", "logprob", "length", "score", "kind"]));
      const choice = button("", "Show it in the tree", () => choose(this.nodes[i]), "beam-choose");
      row.children[1].append(choice);
      row.children[0].textContent = String(i + 1);
      return row;
    });
    const { node, caption } = table("Hypotheses by score", ["Rank", "Text", ...NUMBERS, "State"], this.rows);
    this.node = node;
    this.caption = caption;
  }

  /** ranked: [{node, score}]; words(ids, other) writes a text; at least `room` rows stand, so that nothing jumps. */
  show(ranked, words, over, room) {
    const more = ranked.length > LISTED ? `, the first ${LISTED} of ${ranked.length}` : "";
    this.caption.textContent = `Hypotheses by score${more}`;
    this.rows.forEach((row, i) => {
      const entry = ranked[i];
      row.hidden = i >= Math.max(room, ranked.length);
      row.classList.toggle("none", !entry);
      const choice = /** @type {HTMLButtonElement} */ (row.querySelector("button"));
      this.nodes[i] = entry?.node;
      choice.disabled = !entry;
      choice.textContent = entry ? words(entry.node.ids, ranked[0].node.ids) : "";
      row.dataset.ids = entry ? entry.node.ids.join() : "";
      const kind = entry && (over && entry.node.kind === "live" ? "not finished" : KINDS[entry.node.kind]);
      const rest = entry ? numbers(entry.node.logprob, entry.node.ids.length, entry.score) : NOTHING;
      fill(row, { kind: kind ?? "", ...rest });
    });
  }
}

/** The paths laid over the tree: "G" greedy and "S" drawn. */
export class Paths {
  constructor() {
    this.rows = {};
    for (const [letter, name] of [
      ["G", "G greedy"],
      ["S", "S drawn"],
    ]) {
      const head = h("th", "", name);
      head.scope = "row";
      this.rows[letter] = h("tr", "", head, ...cells(["words", "logprob", "length", "score", "place"]));
      this.rows[letter].dataset.path = letter;
    }
    const heads = ["Path", "Text", ...NUMBERS, "In the tree"];
    this.node = table("Other paths", heads, Object.values(this.rows)).node;
  }

  /** path: {ids, logprob} or nothing yet; `found` of its tokens are in the tree, which has `steps` columns. */
  show(letter, path, words, penalty, found, steps) {
    const row = this.rows[letter];
    const n = path?.ids.length ?? 0;
    const whole = found === n ? "all of it" : "all so far";
    const place = found === Math.min(n, steps) ? whole : `${found} token${found === 1 ? "" : "s"}`;
    const rest = n ? numbers(path.logprob, n, path.logprob / n ** penalty) : NOTHING;
    fill(row, { words: n ? words(path.ids) : "", place: n ? place : "", ...rest });
    Object.assign(row.dataset, { ids: n ? path.ids.join() : "", place: found });
  }
}

/** How nodes are drawn. */
export function legend() {
  const keys = { best: "best", greedy: "G greedy", sampled: "S drawn", finished: "finished", pruned: "pruned" };
  const parts = Object.entries(keys).map(([name, words]) => h("span", `beam-key ${name}`, words));
  const node = h("p", "beam-legend", ...parts);
  node.title = "How nodes are drawn; their colour is the probability of the token after its beginning";
  return node;
}

/** What there is to say of a node. */
export function tell({ id, logprob, own, rank, step, kind }, about) {
  const text = visible(about.vocabulary(id).bytes);
  const alone = `${logarithm(own)} of the token itself, ${percent(Math.exp(own))}`;
  const place = `rank ${rank + 1} in step ${step + 1}, ${KINDS[kind]}`;
  return { text, words: `${text} ${logarithm(logprob)} log-probability so far, ${alone}; ${place}` };
}
