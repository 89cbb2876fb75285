// The panel "beams": a beam search that grows step by step as a tree (beamtree.js), its hypotheses ranked under a
// length penalty that can be moved afterwards, with the greedy path and a drawn one laid over it.
//
// lab.state.beams = {beams, length, length_penalty, early}, with prompt, model, stop; for the drawn path also the seed,
// and the steps of the panel "write". Moving the penalty asks nobody: it ranks again what was found.

import { h } from "../page/dom.js";
import { clamp, logarithm, number, score } from "../page/numbers.js";
import { KINDS, Stepper, Ranking, Paths, legend, tell } from "./beamparts.js";
import { BeamForm, settingsOf } from "./beamsettings.js";
import { Search, Drawing, pathOf, nodeOf } from "./beamtree.js";
import { addPanel } from "./core.js";
import { laneOf, summary } from "./lanes.js";
import { setup, Job, prose } from "./setup.js";

/** @import { Happened } from "../page/protocol.js" */
/** @import { Letter, Path } from "./beamparts.js" */
/** @import { BeamNode } from "./beamtree.js" */
/** @import { About, Change, Lab } from "./core.js" */
/** @import { Prompt } from "./setup.js" */

/** @type {Letter[]} */
const LETTERS = ["G", "S"]; // of the lanes, in their order

class Beams {
  search = new Search();
  /** @type {Partial<Record<Letter, Path>>} */
  paths = {};
  step = -1; // the one shown
  done = false;
  penalty = 1; // under which the search ran
  follow = true; // the search as it grows
  /** @type {About | null} of the model that is searched */
  about = null;
  /** @type {BeamNode | null} the best hypothesis */
  leader = null;
  /** @type {BeamNode | null} under the mouse, or with the focus */
  pointed = null;
  drawing = new Drawing((node, focused) => this.point(node, focused));
  stepper = new Stepper((step) => this.go(step));
  ranking = new Ranking((node) => this.focus(node));
  others = new Paths();
  node = h("div", "beams");
  text = h("p", "beam-text");
  numbers = h("p", "beam-numbers quiet");

  /** @param {HTMLElement} container @param {Lab} lab */
  constructor(container, lab) {
    this.lab = lab;
    this.form = new BeamForm(lab);
    this.job = new Job(lab, this.node, {
      name: "beams",
      label: "Start the search",
      title: "Search several hypotheses at once",
      keeps: "The tree so far is kept",
      stale: "The settings have changed since this search.",
      work: (alive, prompt) => this.work(alive, prompt),
      progress: () => this.progress(),
      count: () => settingsOf(this.lab.state).length,
      key: () => this.key(),
      ended: (word) => this.ended(word),
    });
    const fields = setup(lab, "beams", { withLength: false, extra: this.form.fields() });
    this.node.append(fields, ...this.job.nodes(legend()), this.look(), this.stepper.node);
    const lists = h("div", "beam-lists", this.ranking.node, this.others.node);
    this.node.append(this.drawing.scroller, this.facts(), this.form.penalty(), lists);
    container.append(this.node);
    this.drawing.scroller.addEventListener("keydown", (event) => this.press(event));
    this.drawing.clear("", 8, () => ({ text: "", words: "" }));
    this.form.sync();
    this.show(-1);
    lab.on((changed) => this.changed(changed));
  }

  // Parts -----------------------------------------------------------------------------------------------------------

  look() {
    // What is claimed here is computed by a test: see assets/examples.json.
    const words =
      "all hypotheses soon share one beginning, so that the alternatives differ in their last words only; " +
      "the greedy path (G) may be pruned. After this page's first prompt it is, and yet it ends more probable than " +
      "the best beam: a search that keeps a few can lose the best.";
    return h("p", "quiet", h("strong", "", "What to look for: "), words);
  }

  facts() {
    this.text.dir = "auto";
    return h("div", "beam-facts", this.text, this.numbers);
  }

  // What is shown ---------------------------------------------------------------------------------------------------

  get over() {
    return this.search.steps > 0 && this.step === this.search.steps - 1 && this.done;
  }

  /** The settings of a tree: while they are what they were, it stands. It throws no dart, so the seed is not one. */
  key() {
    const { prompt, model, stop } = this.lab.state;
    const { beams, length, early } = settingsOf(this.lab.state);
    return JSON.stringify([prompt, model, stop, beams, length, early]);
  }

  /** @param {Change[]} changed */
  changed(changed) {
    if (changed.includes("restored")) this.empty("");
    if (changed.includes("panel")) requestAnimationFrame(() => this.drawing.reveal(this.step)); // it was hidden
    if (changed.includes("beams")) {
      this.form.sync();
      this.rank();
    }
  }

  /** @param {string} prompt */
  empty(prompt) {
    const { about } = this;
    this.stepper.pause();
    this.search = new Search();
    this.paths = {};
    this.done = false;
    this.drawing.reach(null);
    const rows = 2 * settingsOf(this.lab.state).beams;
    this.drawing.clear(prompt, rows, (node) => (about ? tell(node, about) : { text: "", words: "" }));
    this.show(-1);
  }

  /** The text of a path; of a long one only what differs from the path `other`, and a little before it.
   *  @param {number[]} ids
   *  @param {number[]} other */
  words(ids, other = []) {
    const pieces = this.about ? this.lab.pieces(ids, this.about) : [];
    const text = prose(pieces.join(""));
    const differs = ids.findIndex((id, i) => id !== other[i]);
    return text.length < 60 || differs < 3 ? text : `\u2026${prose(pieces.slice(differs - 2).join(""))}`;
  }

  /** Go to a step as a visitor does: following the search ends, unless it is the last step.
   *  @param {number} step */
  go(step) {
    this.follow = step >= this.search.steps - 1;
    this.show(clamp(step, 0, this.search.steps - 1));
  }

  /** Show the search as it stood after this step.
   *  @param {number} step */
  show(step) {
    const { steps } = this.search;
    this.step = Math.min(step, steps - 1);
    this.stepper.show(this.step, steps);
    this.drawing.reveal(this.step);
    Object.assign(this.node.dataset, { steps, nodes: this.search.size, step: this.step + 1 });
    this.rank();
  }

  /** Everything that depends on the penalty and the step: needs no server. */
  rank() {
    const { length_penalty: penalty, beams } = settingsOf(this.lab.state);
    /** @param {number[]} ids @param {number[]} [other] */
    const words = (ids, other) => this.words(ids, other);
    const ranked = this.step < 0 ? [] : this.search.ranked(this.step, penalty, this.over);
    const leader = ranked[0]?.node ?? null;
    this.leader = leader;
    this.form.found(this.step < 0 ? penalty : this.penalty);
    this.ranking.show(ranked, words, this.over, beams);
    /** @type {Record<string, BeamNode[]>} */
    const overlays = {};
    for (const letter of LETTERS) {
      const path = this.paths[letter];
      overlays[letter] = path ? this.search.follow(path.ids, this.step) : [];
      this.others.show(letter, path, words, penalty, overlays[letter].length, this.step + 1);
    }
    this.drawing.show(this.step, this.search.standing(this.step), leader, overlays);
    if (!this.drawing.reached || this.drawing.reached.step > this.step) this.drawing.reach(leader);
    this.node.dataset.best = leader ? leader.ids.join() : "";
    this.node.dataset.score = leader ? String(ranked[0].score) : "";
    this.point(this.pointed && this.pointed.step <= this.step ? this.pointed : null);
  }

  /** What there is to say of a hypothesis: the one pointed at, else the one with the focus, else the best.
   *  @param {BeamNode | null} node */
  point(node, focused = false) {
    this.pointed = node;
    if (focused) this.drawing.reach(node);
    const active = nodeOf(document.activeElement);
    const shown = node ?? (active && active.step <= this.step ? active : null) ?? this.leader;
    if (!shown?.parent) {
      this.text.textContent = "";
      this.numbers.textContent = "Point at a node, or use the arrow keys, to read its hypothesis.";
      return;
    }
    const points = shown.logprob / shown.ids.length ** settingsOf(this.lab.state).length_penalty;
    const { length } = this.search.columns[shown.step];
    const room = Math.max(40, Math.floor((2 * this.text.clientWidth) / 9)); // characters in two lines, about
    const letters = [...this.words(shown.ids)];
    this.text.textContent = letters.length > room ? `\u2026${letters.slice(-room).join("")}` : letters.join("");
    this.numbers.textContent =
      `log-probability ${logarithm(shown.logprob)}, length ${shown.ids.length}, score ${score(points)}; ` +
      `rank ${shown.rank + 1} of ${length} in step ${shown.step + 1}: ${KINDS[shown.kind]}`;
  }

  // Keys, and going through the steps -------------------------------------------------------------------------------

  /** @param {BeamNode | undefined} node */
  focus(node) {
    if (!node) return;
    if (node.step > this.step) this.goTo(node.step);
    this.drawing.reach(node);
    this.drawing.reveal(node.step);
    this.drawing.focus(node);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const from = nodeOf(event.target);
    const last = this.search.steps - 1;
    if (!from || event.ctrlKey || event.altKey || event.metaKey) return;
    /** @param {number} by */
    const inColumn = (by) => this.search.columns[from.step][from.slot + by];
    /** @type {Record<string, () => BeamNode | undefined>} */
    const moves = {
      ArrowUp: () => inColumn(-1),
      ArrowDown: () => inColumn(1),
      ArrowLeft: () => (this.goTo(from.step - 1), from.parent?.parent ? from.parent : from),
      ArrowRight: () => (this.goTo(from.step + 1), this.after(from)),
      Home: () => (this.goTo(0), pathOf(from)[0]),
      End: () => (this.goTo(last), pathOf(this.leader).at(-1)),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    this.focus(moves[event.key]());
  }

  /** @param {number} step */
  goTo(step) {
    this.stepper.pause();
    this.go(step);
  }

  /** Where a step on leads: the best of what follows, or of the next column where nothing does.
   *  @param {BeamNode} node */
  after(node) {
    const following = node.children.filter((child) => child.step <= this.step);
    const column = this.search.columns[node.step + 1];
    const onPath = following.find((child) => pathOf(this.leader).includes(child));
    /** @param {BeamNode[]} nodes */
    const best = (nodes) => nodes.reduce((a, b) => (a.rank < b.rank ? a : b));
    return onPath ?? (following.length ? best(following) : column && node.step < this.step ? best(column) : node);
  }

  // Running ---------------------------------------------------------------------------------------------------------

  /** @param {() => boolean} alive @param {Prompt} prompt */
  async work(alive, { about, ids }) {
    const { lab } = this;
    const { prompt, stop } = lab.state;
    const { beams, length: count, length_penalty, early } = settingsOf(lab.state);
    this.about = about;
    this.penalty = length_penalty;
    this.others.from(`seed ${lab.state.seed}, ${summary(laneOf({ steps: lab.steps }))}: the settings of Write`);
    this.empty(prose(prompt.slice(-14)));
    this.follow = true;
    /** @param {Happened["events"]} events */
    const take = (events) => {
      if (alive()) this.take(events);
      return alive();
    };
    const lanes = [
      { name: "greedy", greedy: true },
      { name: "drawn", steps: lab.steps },
    ];
    await Promise.all([
      lab.run({ ids, count, stop, beams, length_penalty, early_stopping: early }, take),
      lab.run({ ids, count, stop, lanes }, take),
    ]);
  }

  /** @param {string} word */
  ended(word) {
    this.done = word === "Done.";
    this.show(this.step);
  }

  progress() {
    const { steps, size } = this.search;
    return `${steps} step${steps === 1 ? "" : "s"}, ${number(size)} hypotheses seen.`;
  }

  /** @param {Happened["events"]} events */
  take(events) {
    const { steps } = this.search;
    for (const event of events) {
      if (event.event === "beams") this.drawing.add(this.search.add(event));
      if (event.event !== "drawn") continue;
      const path = (this.paths[LETTERS[event.lane]] ??= { ids: [], logprob: 0 });
      path.ids.push(event.id);
      path.logprob += event.raw_logprob ?? -Infinity;
    }
    if (steps === this.search.steps) return this.rank();
    this.job.goesOn("Searching\u2026");
    this.show(this.follow ? this.search.steps - 1 : this.step);
    if (this.follow && !this.drawing.scroller.contains(document.activeElement)) this.drawing.reach(this.leader);
  }
}

addPanel({ name: "beams", title: "Beam search", mount: (container, lab) => new Beams(container, lab) });
