// The panel "race": strategies side by side from one prompt, under the same darts, decoded as one batch on the server.
//
// lab.state.lanes says which (lanes.js), with prompt, model, seed, length and stop of the state. Not in the state: what
// has been written, which the same settings give again.

import { h } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { button, legend } from "../page/parts.js";
import { addPanel } from "./core.js";
import { START } from "./state.js";
import { LaneCard } from "./lanecard.js";
import { MOST_LANES, lanesOf } from "./lanes.js";
import { Seeds } from "./seeds.js";
import { Job, LONGEST, setup } from "./setup.js";

/** @import { Happened } from "../page/protocol.js" */
/** @import { About, Change, Lab } from "./core.js" */
/** @import { Prompt } from "./setup.js" */

export class Race {
  /** @type {LaneCard[]} */
  cards = [];
  pointed = -1;
  progress = "";
  /** @type {About | null} of the model that has written */
  about = null;
  measureAt = 0; // ms: not before
  node = h("div", "race");
  grid = h("div", "lanes");
  dartLine = h("p", "race-dart");
  add = button("Add a lane", "With the settings of the panel Write", () => this.addLane());
  ngram = h("select", "", new Option("3 tokens", "3"), new Option("4 tokens", "4"));

  /** @param {HTMLElement} container @param {Lab} lab */
  constructor(container, lab) {
    this.lab = lab;
    this.job = new Job(lab, this.node, {
      name: "race",
      label: "Start the race",
      title: "All lanes write at the same time",
      keeps: "The lanes keep their texts",
      stale: "The settings have changed since this was written.",
      work: (alive, prompt) => this.work(alive, prompt),
      progress: () => this.progress,
      count: () => this.length,
      key: () => this.key(),
      ended: () => {
        this.measure();
        this.point(this.pointed);
      },
    });
    const scale = h("span", "race-scale", h("span", "quiet", "Probability "), legend("probability"));
    scale.title = "The color of a token: its probability in the model's own distribution";
    const seeds = new Seeds(lab, () => this.n);
    this.node.append(setup(lab, "race"), ...this.job.nodes(scale), this.hints(), this.grid, this.foot());
    container.append(this.node, seeds.node);
    this.sync();
    lab.on((changed) => this.changed(changed));
  }

  hints() {
    const look = h("p", "quiet");
    look.append(
      h("strong", "", "What to look for: "),
      "where a lane leaves the first one (outlined); ",
      "which lanes repeat themselves (underlined), with this seed and with others; ",
      "how the same dart hits another token once a strategy has cut or sharpened the bar. ",
      "Point at a token to see its position in all lanes.",
    );
    return h("div", "race-hints", this.dartLine, look);
  }

  foot() {
    const reset = button("Reset to six lanes", "Restore the default lanes", () =>
      this.lab.set({ lanes: START.lanes }),
    );
    const { ngram } = this;
    ngram.id = "race-ngram";
    ngram.addEventListener("change", () => this.lab.set({ ngram: Number(ngram.value) }));
    const label = h("label", "quiet", "A repeat is");
    label.htmlFor = ngram.id;
    return h("div", "race-foot row", this.add, reset, h("span", "row", label, ngram));
  }

  get n() {
    return this.lab.state.ngram === 3 ? 3 : 4;
  }

  /** Of a lane: Write can be longer. */
  get length() {
    return Math.min(this.lab.state.length, LONGEST);
  }

  /** The settings of a result: while they are what they were, the result stands. */
  key() {
    const { prompt, model, seed, length, stop } = this.lab.state;
    return JSON.stringify([prompt, model, seed, length, stop, lanesOf(this.lab.state)]);
  }

  /** @param {Change[]} changed */
  changed(changed) {
    if (changed.includes("restored")) {
      for (const card of this.cards) {
        card.clear();
        card.open(false);
      }
      this.point(-1);
    }
    if (changed.some((key) => ["lanes", "ngram", "seed"].includes(key))) this.sync();
  }

  /** Cards for the lanes of the state. */
  sync() {
    const lanes = lanesOf(this.lab.state);
    this.cards.splice(lanes.length).forEach((card) => card.node.remove());
    lanes.forEach((lane, i) => {
      if (!this.cards[i]) {
        this.cards[i] = new LaneCard(this);
        this.grid.append(this.cards[i].node);
      }
      this.cards[i].show(lane, i);
      const { form } = this.cards[i];
      if (!form.hidden && !form.contains(document.activeElement)) this.cards[i].fill();
    });
    this.add.disabled = lanes.length >= MOST_LANES;
    this.ngram.value = String(this.n);
    this.measure();
    this.dartLine.textContent =
      `All lanes throw the same dart at each position (common random numbers, seed ${this.lab.state.seed}), ` +
      "but one seed proves nothing: with another one, another lane may repeat the most. Race over 20 seeds to see.";
  }

  /** The card that the others are compared with: the greedy one, if there is one. */
  get base() {
    const greedy = lanesOf(this.lab.state).findIndex((lane) => lane.greedy && !lane.beams);
    return this.cards[greedy] ?? this.cards[0];
  }

  measure() {
    const began = performance.now();
    const { base } = this;
    for (const card of this.cards) card.measure(base, this.n);
    const now = performance.now();
    this.measureAt = now + Math.max(200, 10 * (now - began)); // while texts come: long ones take their time
  }

  addLane() {
    const { state, steps } = this.lab;
    const lanes = lanesOf(state);
    const lane = { name: `Lane ${lanes.length + 1}`, steps, greedy: state.greedy };
    this.lab.set({ lanes: lanesOf({ lanes: [...lanes, lane] }) });
    this.cards.at(-1)?.toggle();
  }

  /** @param {number} i */
  remove(i) {
    this.cards.splice(i, 1)[0].node.remove();
    this.lab.set({ lanes: lanesOf(this.lab.state).filter((_, j) => j !== i) });
    this.cards.filter((card) => !card.form.hidden).forEach((card) => card.fill());
    this.cards[Math.min(i, this.cards.length - 1)].settings.focus();
  }

  // Running ---------------------------------------------------------------------------------------------------------

  /** @param {() => boolean} alive @param {Prompt} prompt */
  async work(alive, { about, ids }) {
    const running = [...this.cards];
    running.forEach((card) => card.clear());
    this.about = about;
    this.progress = "";
    this.point(-1);
    const { stop } = this.lab.state;
    await this.lab.run({ ids, lanes: lanesOf(this.lab.state), count: this.length, stop }, (events, seconds) => {
      if (alive()) this.take(events, running, seconds);
      return alive();
    });
    if (alive()) for (const card of running) card.text.scrollTop = 0;
  }

  /** @param {Happened["events"]} events @param {LaneCard[]} running @param {number} seconds */
  take(events, running, seconds) {
    for (const event of events) {
      if (event.event === "beams") continue;
      const card = running[event.lane];
      if (event.event === "drawn") {
        card.tokens.push({ id: event.id, logprob: event.raw_logprob ?? -Infinity, rank: event.rank, u: event.u });
      } else {
        card.tokens = event.ids.map((id, i) => ({ id, logprob: event.logprobs[i] ?? -Infinity }));
      }
    }
    const counts = running.map((card) => card.tokens.length);
    const sum = counts.reduce((a, b) => a + b, 0);
    const shorter = this.lab.state.length > LONGEST ? ` Lanes end at ${number(LONGEST)} tokens.` : "";
    this.progress = `${Math.max(0, ...counts)} tokens, ${number(sum / seconds, 1)} tokens/s in all lanes.${shorter}`;
    const following = running.filter((card) => card.atEnd);
    for (const card of running) card.draw(this.about);
    for (const card of following) card.text.scrollTop = card.text.scrollHeight;
    if (performance.now() > this.measureAt) this.measure();
    if (this.pointed >= 0) this.point(this.pointed);
    this.job.goesOn("Writing\u2026");
  }

  /** Show the token at this index in all lanes; -1 for none.
   *  @param {number} i */
  point(i) {
    this.pointed = i;
    this.cards.forEach((card) => card.point(i, this.about));
  }
}

addPanel({ name: "race", title: "Race", mount: (container, lab) => new Race(container, lab) });
