// One lane of a race: its name and settings, its text token by token, and what is measured of it.

import { find, h, set, within } from "../page/dom.js";
import { logarithm, number, percent } from "../page/numbers.js";
import { button, shade } from "../page/parts.js";
import { divergence, laneForm, lanesOf, measure, summary } from "./lanes.js";
import { prose, tokenTitle } from "./setup.js";

/** @import { About } from "./core.js" */
/** @import { WholeLane } from "./lanes.js" */
/** @import { Race } from "./race.js" */
/** @import { Token } from "./setup.js" */

/** @typedef {"differs" | "mean" | "perplexity" | "share" | "loop" | "distinct"} Fact */

/** @type {[Fact, string, string][]} */
const FACTS = [
  ["differs", "First difference", "The first token that differs from the lane all others are compared with"],
  ["mean", "Mean log-prob.", "Mean natural logarithm of the tokens' probabilities in the model's own distribution"],
  ["perplexity", "Perplexity", "exp(\u2212 mean log-probability): a choice among this many equally likely tokens"],
  ["share", "In repeats", "Share of the tokens in an n-gram that has occurred before in this lane (underlined)"],
  ["loop", "Loop", "Whether the text keeps repeating its last tokens: at least twice, and over 12 tokens"],
  ["distinct", "Distinct-1 / 2 / 3", "Different n-grams / all n-grams of 1, 2 and 3 tokens; 1.00: none occurs twice"],
];

export class LaneCard {
  /** @type {Token[]} */
  tokens = [];
  /** @type {{ span: HTMLElement, token: Token }[]} the tokens on the page */
  shown = [];
  name = h("h3", "");
  how = h("p", "lane-how quiet");
  settings = button("Settings", "Change, rename or remove this lane", () => this.toggle(), "small");
  form = h("div", "lane-edit");
  text = set(h("div", "lane-text"), { tabindex: 0, role: "group" });
  at = h("p", "lane-at quiet");
  values = FACTS.map(([key]) => ({ key, node: set(h("dd", "", "\u2013"), { "data-value": key }) }));

  /** @param {Race} race */
  constructor(race) {
    this.race = race;
    const facts = FACTS.map(([, label, title], i) => {
      const fact = h("div", "", h("dt", "", label), this.values[i].node);
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
      const token = within(event, ".token");
      const i = this.shown.findIndex(({ span }) => span === token);
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
      /** @type {Record<string, number>} */
      const to = { ArrowRight: Math.min(last, at + 1), ArrowLeft: Math.max(0, at - 1), Home: 0, End: last, Escape: -1 };
      if (!(event.key in to) || last < 0) return;
      event.preventDefault();
      this.race.point(to[event.key]);
      this.shown[this.race.pointed]?.span.scrollIntoView({ block: "nearest" });
    });
  }

  /** @param {boolean} yes */
  open(yes) {
    this.form.hidden = !yes;
    this.settings.setAttribute("aria-expanded", String(yes));
    if (yes) this.fill();
  }

  toggle() {
    this.open(Boolean(this.form.hidden));
    if (!this.form.hidden) find(this.form, "input").focus();
  }

  /** The form anew; the focus goes to the control of this key.
   *  @param {string} [key] */
  fill(key) {
    const { lab, cards } = this.race;
    const lanes = lanesOf(lab.state);
    const form = laneForm(lanes[cards.indexOf(this)], {
      edit: (change, at) => {
        const i = cards.indexOf(this);
        lab.set({ lanes: lanesOf(lab.state).map((lane, j) => (j === i ? { ...lane, ...change(lane) } : lane)) });
        if (at) this.fill(at);
      },
      remove: lanes.length > 1 ? () => this.race.remove(cards.indexOf(this)) : null,
      mayBeam: lanes.every((lane, j) => cards[j] === this || !lane.beams),
    });
    this.form.replaceChildren(form);
    const wanted = `[data-key="${key}"]:not(:disabled)`;
    if (key) find(form, form.querySelector(wanted) ? wanted : "input").focus();
  }

  /** @param {WholeLane} lane @param {number} i */
  show(lane, i) {
    this.name.textContent = lane.name;
    this.how.textContent = summary(lane);
    this.how.title = this.how.textContent;
    this.node.dataset.lane = String(i);
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

  /** The tokens as they are now; nodes of tokens that stay are kept.
   *  @param {About | null} about null where there is no token */
  draw(about) {
    const { tokens, shown } = this;
    shown.splice(tokens.length).forEach(({ span }) => span.remove());
    if (!about) return;
    const changed = shown.findIndex(({ token }, i) => token.id !== tokens[i].id || token.logprob !== tokens[i].logprob);
    // The character of up to four tokens before may have become whole; reading four more, the decoder is in step.
    const from = Math.max(0, (changed < 0 ? shown.length : changed) - 4);
    const start = Math.max(0, from - 4);
    const ids = tokens.slice(start).map(({ id }) => id);
    const pieces = this.race.lab.pieces(ids, about);
    for (let i = from; i < tokens.length; i++) {
      const words = prose(pieces[i - start], true);
      const there = shown[i];
      if (there?.token === tokens[i] && there.span.textContent === words) continue;
      const span = h("span", `token shade-${shade("probability", Math.exp(tokens[i].logprob))}`, words);
      span.dataset.id = String(tokens[i].id);
      span.title = tokenTitle(tokens[i], about);
      if (there) there.span.replaceWith(span);
      else this.text.append(span);
      shown[i] = { span, token: tokens[i] };
    }
  }

  /** Marks and numbers; `base` is the card all others are compared with.
   *  @param {LaneCard} base
   *  @param {number} n */
  measure(base, n) {
    const { ids, marks, mean, perplexity, share, loop, distinct } = measure(this.tokens, n);
    const differs =
      base === this
        ? -1
        : divergence(
            ids,
            base.tokens.map((token) => token.id),
          );
    this.shown.forEach(({ span }, i) => {
      span.classList.toggle("differs", i === differs);
      span.classList.toggle("repeat", marks[i]);
    });
    const than = base.name.textContent;
    const where = differs < 0 ? `none from ${than}` : `from ${than} at token ${differs + 1}`;
    /** @type {Record<Fact, string>} */
    const words = {
      differs: base === this ? "the others are compared with this" : where,
      mean: logarithm(mean, 3),
      perplexity: number(perplexity, 1),
      share: percent(share),
      loop: loop ? `of ${loop.period} token${loop.period > 1 ? "s" : ""}` : "none",
      distinct: distinct.map((x) => number(x, 2)).join(" / "),
    };
    for (const { key, node } of this.values) node.textContent = ids.length ? words[key] : "\u2013";
    Object.assign(this.node.dataset, { tokens: ids.length, ids: ids.join(), differs });
  }

  /** @param {number} i @param {About | null} about */
  point(i, about) {
    const token = this.tokens[i];
    this.shown.forEach(({ span }, j) => span.classList.toggle("at", j === i));
    const all = this.tokens.length ? `${this.tokens.length} tokens; point at one, or use the arrow keys.` : "";
    this.at.textContent = token && about ? `${i + 1}: ${tokenTitle(token, about)}` : all;
  }
}
