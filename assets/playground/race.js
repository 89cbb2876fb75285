// The panel "race": strategies side by side from one prompt, under the same darts, decoded as one batch on the server.
//
// lab.state.lanes says which (lanes.js), with prompt, model, seed, length and stop of the state. Not in the state: what
// has been written, which the same settings give again. lab.commands.race = {start, stop} for others.

import { find, h, within } from "../page/dom.js";
import { button, percent, number, shade, legend } from "../page/parts.js";
import { START, addPanel } from "./core.js";
import { MOST_LANES, lanesOf, summary, laneForm, measure, divergence } from "./lanes.js";
import { setup, Job, prose, minus, tokenTitle } from "./setup.js";

const FACTS = [
  ["differs", "First difference", "The first token that is not the one of the lane all others are compared with"],
  ["mean", "Mean log-prob.", "Mean natural logarithm of the tokens' probabilities in the model's own distribution"],
  ["perplexity", "Perplexity", "exp(\u2212 mean log-probability): how uncertain the model would be of this text"],
  ["share", "In repeats", "Share of the tokens in an n-gram that has occurred before in this lane (underlined)"],
  ["loop", "Loop", "Whether the text has come to repeat its last tokens: at least twice, and over 12 tokens"],
  ["distinct", "Distinct-1 / 2 / 3", "Different n-grams / all n-grams of 1, 2 and 3 tokens; 1.00: none occurs twice"],
];

// One lane ----------------------------------------------------------------------------------------------------------

class LaneCard {
  constructor(race) {
    this.race = race;
    this.tokens = []; // {id, logprob, rank, u}
    this.spans = [];
    this.name = h("h3", "");
    this.how = h("p", "lane-how quiet");
    this.settings = button("Settings", "Change, rename or remove this lane", () => this.toggle(), "small");
    this.form = h("div", "lane-edit");
    this.text = h("div", "lane-text");
    this.text.tabIndex = 0;
    this.text.setAttribute("role", "group");
    this.at = h("p", "lane-at quiet");
    this.values = {};
    const facts = FACTS.map(([key, label, title]) => {
      this.values[key] = h("dd", "", "\u2013");
      this.values[key].dataset.value = key;
      const fact = h("div", "", h("dt", "", label), this.values[key]);
      fact.title = title;
      return fact;
    });
    const head = h("div", "lane-head", this.name, this.settings);
    this.node = h("article", "lane", head, this.how, this.form, this.text, this.at, h("dl", "lane-facts", ...facts));
    this.listen();
    this.open(false);
  }

  listen() {
    this.text.addEventListener("mouseover", (event) => {
      const i = this.spans.indexOf(within(event, ".token"));
      if (i >= 0) this.race.point(i);
    });
    this.text.addEventListener("mouseleave", () => this.race.point(-1));
    this.text.addEventListener("focus", () => this.at.setAttribute("aria-live", "polite")); // of this lane alone
    this.text.addEventListener("blur", () => {
      this.at.removeAttribute("aria-live");
      this.race.point(-1);
    });
    this.text.addEventListener("keydown", (event) => {
      const [at, last] = [this.race.pointed, this.tokens.length - 1];
      const to = { ArrowRight: Math.min(last, at + 1), ArrowLeft: Math.max(0, at - 1), Home: 0, End: last, Escape: -1 };
      if (!(event.key in to) || last < 0) return;
      event.preventDefault();
      this.race.point(to[event.key]);
      this.spans[this.race.pointed]?.scrollIntoView({ block: "nearest" });
    });
  }

  open(yes) {
    this.form.hidden = !yes;
    this.settings.setAttribute("aria-expanded", String(yes));
    if (yes) this.fill();
  }

  toggle() {
    this.open(this.form.hidden);
    if (!this.form.hidden) this.form.querySelector("input").focus();
  }

  /** The form anew; the focus goes to the control of this key. */
  fill(key) {
    const { lab, cards } = this.race;
    const lanes = lanesOf(lab.state);
    const form = laneForm(lanes[cards.indexOf(this)], {
      edit: (change, key) => {
        const i = cards.indexOf(this);
        lab.set({ lanes: lanesOf(lab.state).map((lane, j) => (j === i ? { ...lane, ...change(lane) } : lane)) });
        if (key) this.fill(key);
      },
      remove: lanes.length > 1 ? () => this.race.remove(cards.indexOf(this)) : null,
      mayBeam: lanes.every((lane, j) => cards[j] === this || !lane.beams),
    });
    this.form.replaceChildren(form);
    if (key) find(form, form.querySelector(`[data-key="${key}"]:not(:disabled)`) ? `[data-key="${key}"]` : "input").focus();
  }

  show(lane, i) {
    this.name.textContent = lane.name;
    this.how.textContent = summary(lane);
    this.how.title = this.how.textContent;
    this.node.dataset.lane = i;
    this.settings.setAttribute("aria-label", `Settings of ${lane.name}`);
    this.text.setAttribute("aria-label", `Text of ${lane.name}: arrow keys go from token to token`);
  }

  clear() {
    this.tokens = [];
    this.draw(null);
  }

  /** Whether the end of the text is in sight: then it is to stay so. */
  get atEnd() {
    return this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 40;
  }

  /** The tokens as they are now; nodes of tokens that stay are kept. */
  draw(about) {
    const { tokens, spans } = this;
    spans.splice(tokens.length).forEach((span) => span.remove());
    const changed = spans.findIndex(({ token }, i) => token.id !== tokens[i].id || token.logprob !== tokens[i].logprob);
    // The character of up to four tokens before may have become whole; reading four more, the decoder is in step.
    const from = Math.max(0, (changed < 0 ? spans.length : changed) - 4);
    const start = Math.max(0, from - 4);
    const pieces = about ? this.race.lab.pieces(tokens.slice(start).map(({ id }) => id), about) : [];
    for (let i = from; i < tokens.length; i++) {
      const words = prose(pieces[i - start], true);
      if (spans[i]?.token === tokens[i] && spans[i].textContent === words) continue;
      const span = h("span", `token shade-${shade("probability", Math.exp(tokens[i].logprob))}`, words);
      /** @type {any} */ (span).token = tokens[i];
      span.dataset.id = tokens[i].id;
      span.title = tokenTitle(tokens[i], about);
      if (spans[i]) spans[i].replaceWith(span);
      else this.text.append(span);
      spans[i] = span;
    }
  }

  /** Marks and numbers; `base` is the card all others are compared with. */
  measure(base, n) {
    const { ids, marks, mean, perplexity, share, loop, distinct } = measure(this.tokens, n);
    const differs = base === this ? -1 : divergence(ids, base.tokens.map((token) => token.id));
    this.spans.forEach((span, i) => {
      span.classList.toggle("differs", i === differs);
      span.classList.toggle("repeat", marks[i]);
    });
    const than = base.name.textContent;
    const where = differs < 0 ? `none from ${than}` : `from ${than} at token ${differs + 1}`;
    const words = {
      differs: base === this ? "the others are compared with this" : where,
      mean: minus(mean, 3),
      perplexity: number(perplexity, 1),
      share: percent(share),
      loop: loop ? `of ${loop.period} token${loop.period > 1 ? "s" : ""}` : "none",
      distinct: distinct.map((x) => number(x, 2)).join(" / "),
    };
    for (const [key, value] of Object.entries(words)) this.values[key].textContent = ids.length ? value : "\u2013";
    Object.assign(this.node.dataset, { tokens: ids.length, ids: ids.join(), differs });
  }

  point(i, about) {
    const token = this.tokens[i];
    this.spans.forEach((span, j) => span.classList.toggle("at", j === i));
    const all = this.tokens.length ? `${this.tokens.length} tokens; point at one, or use the arrow keys.` : "";
    this.at.textContent = token ? `${i + 1}: ${tokenTitle(token, about)}` : all;
  }
}

// The panel ---------------------------------------------------------------------------------------------------------

class Race {
  constructor(container, lab) {
    this.lab = lab;
    this.cards = [];
    this.pointed = -1;
    this.progress = "";
    this.node = h("div", "race");
    this.job = new Job(lab, this.node, {
      label: "Start the race",
      title: "All lanes write at once",
      keeps: "The lanes keep what they have written",
      stale: "The settings have changed: this was written before.",
      work: (alive, prompt) => this.work(alive, prompt),
      progress: () => this.progress,
      count: () => this.lab.state.length,
      key: () => this.key(),
      ended: () => {
        this.measure();
        this.point(this.pointed);
      },
    });
    this.grid = h("div", "lanes");
    const scale = h("span", "race-scale", h("span", "quiet", "Probability "), legend("probability"));
    scale.title = "The colour of a token: its probability in the model's own distribution";
    this.node.append(setup(lab), ...this.job.nodes(scale), this.hints(), this.grid, this.foot());
    container.append(this.node);
    this.sync();
    lab.on((changed) => this.changed(changed));
    (lab.commands ??= {}).race = { start: () => this.job.start(), stop: () => this.job.stop() };
  }

  hints() {
    this.dartLine = h("p", "race-dart");
    const look = h("p", "quiet");
    look.append(
      h("strong", "", "What to look for: "),
      "where a lane leaves the first one (outlined); how soon greedy and beam search repeat themselves (underlined); ",
      "how the same dart hits another token once a strategy has cut or sharpened the bar. ",
      "Move over a token to see its place in all lanes.",
    );
    return h("div", "race-hints", this.dartLine, look);
  }

  foot() {
    this.add = button("Add a lane", "With the settings of the panel Write", () => this.addLane());
    const reset = button("The six lanes of the start", "Puts the lanes back as they were at first", () =>
      this.lab.set({ lanes: START.lanes }),
    );
    const ngram = h("select", "");
    ngram.append(new Option("3 tokens", "3"), new Option("4 tokens", "4"));
    ngram.id = "race-ngram";
    ngram.addEventListener("change", () => this.lab.set({ ngram: Number(ngram.value) }));
    this.ngram = ngram;
    const label = h("label", "quiet", "A repeat is");
    label.htmlFor = ngram.id;
    return h("div", "race-foot row", this.add, reset, h("span", "row", label, ngram));
  }

  get n() {
    return this.lab.state.ngram === 3 ? 3 : 4;
  }

  /** The settings of a result: while they are what they were, the result stands. */
  key() {
    const { prompt, model, seed, length, stop } = this.lab.state;
    return JSON.stringify([prompt, model, seed, length, stop, lanesOf(this.lab.state)]);
  }

  changed(changed) {
    if (changed.includes("lanes") && changed.includes("panel")) {
      this.job.forget(); // another state altogether: a link, a scene, an example
      for (const card of this.cards) {
        card.clear();
        card.open(false);
      }
      this.point(-1);
    }
    if (["lanes", "ngram", "seed"].some((key) => changed.includes(key))) this.sync();
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
    this.base = this.cards[Math.max(0, lanes.findIndex((lane) => lane.greedy && !lane.beams))];
    this.measure();
    this.dartLine.textContent =
      `All lanes throw the same dart at each position (common random numbers, seed ${this.lab.state.seed}): ` +
      "where they differ, it is the strategy and not luck.";
  }

  measure() {
    const began = performance.now();
    for (const card of this.cards) card.measure(this.base, this.n);
    const now = performance.now();
    this.measureAt = now + Math.max(200, 10 * (now - began)); // while texts come: long ones take their time
  }

  addLane() {
    const { state, steps } = this.lab;
    const lanes = lanesOf(state);
    const lane = { name: `Lane ${lanes.length + 1}`, steps, greedy: state.greedy };
    this.lab.set({ lanes: lanesOf({ lanes: [...lanes, lane] }) });
    this.cards.at(-1).toggle();
  }

  remove(i) {
    this.cards.splice(i, 1)[0].node.remove();
    this.lab.set({ lanes: lanesOf(this.lab.state).filter((_, j) => j !== i) });
    this.cards.filter((card) => !card.form.hidden).forEach((card) => card.fill());
    this.cards[Math.min(i, this.cards.length - 1)].settings.focus();
  }

  // Running ---------------------------------------------------------------------------------------------------------

  async work(alive, { about, ids }) {
    const running = [...this.cards];
    running.forEach((card) => card.clear());
    this.about = about;
    this.progress = "";
    this.point(-1);
    const { length, stop } = this.lab.state;
    await this.lab.run({ ids, lanes: lanesOf(this.lab.state), count: length, stop }, (events, seconds) => {
      if (alive()) this.take(events, running, seconds);
      return alive();
    });
    if (alive()) for (const card of running) card.text.scrollTop = 0;
  }

  take(events, running, seconds) {
    for (const event of events) {
      const card = running[event.lane];
      if (event.event === "drawn") {
        card.tokens.push({ id: event.id, logprob: event.raw_logprob ?? -Infinity, rank: event.rank, u: event.u });
      } else if (event.event === "beam_lane") {
        card.tokens = event.ids.map((id, i) => ({ id, logprob: event.logprobs[i] ?? -Infinity }));
      }
    }
    const counts = running.map((card) => card.tokens.length);
    const sum = counts.reduce((a, b) => a + b, 0);
    this.progress = `${Math.max(0, ...counts)} tokens, ${number(sum / seconds, 1)} tokens/s in all lanes.`;
    const following = running.filter((card) => card.atEnd);
    for (const card of running) card.draw(this.about);
    for (const card of following) card.text.scrollTop = card.text.scrollHeight;
    if (performance.now() > this.measureAt) this.measure();
    if (this.pointed >= 0) this.point(this.pointed);
    this.job.goesOn("Writing\u2026");
  }

  /** Show the token at this index in all lanes; -1 for none. */
  point(i) {
    this.pointed = i;
    this.cards.forEach((card) => card.point(i, this.about));
  }
}

addPanel({ name: "race", title: "Race", mount: (container, lab) => new Race(container, lab) });
