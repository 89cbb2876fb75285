// What the panels "race" and "beams" are started with and share with "write": prompt, model, seed, length, the end;
// how it goes on until it is done or stopped; and how their tokens are shown as text.

import { h, messageOf, set } from "../page/dom.js";
import { clamp, number, percent } from "../page/numbers.js";
import { button, field, onCtrlEnter, trouble } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { cardWords } from "./core.js";
import { LARGEST_SEED, newSeed } from "./state.js";

/** @import { About, Lab } from "./core.js" */

/** A model and the prompt's ids.
 *  @typedef {{ about: About, ids: number[] }} Prompt */
/** A token as it is shown: `logprob` in the model's own distribution, `u` the dart.
 *  @typedef {{ id: number, logprob: number, rank?: number, u?: number | null }} Token */
/** What a job is, see Job.
 *  @typedef {{
 *    label: string,
 *    title: string,
 *    keeps: string,
 *    stale: string,
 *    work: (alive: () => boolean, prompt: Prompt) => Promise<void>,
 *    progress: () => string,
 *    key: () => string,
 *    ended: (word: string) => void,
 *    count: () => number,
 *    name?: "race" | "beams",
 *  }} Work */

const END = "<|endoftext|>";

// Fields that are entries of the state ------------------------------------------------------------------------------

/** A whole number in a field and in lab.state[key], kept from `low` to `high`.
 *  @param {Lab} lab
 *  @param {"seed" | "length"} key
 *  @param {string} label
 *  @param {string} title
 *  @param {number} low
 *  @param {number} high */
function whole(lab, key, label, title, low, high) {
  const { node, input } = field(label, { type: "number", min: low, max: high, step: 1, inputmode: "numeric" }, title);
  const show = () => (input.value = String(clamp(lab.state[key], low, high)));
  input.addEventListener("change", () => {
    const value = Math.round(Number(input.value));
    if (input.value.trim() && Number.isFinite(value)) lab.set({ [key]: clamp(value, low, high) });
    show();
  });
  lab.on((changed) => changed.includes(key) && show());
  show();
  return node;
}

/** @param {Lab} lab */
function prompt(lab) {
  const { node, input } = field("Prompt", { tag: "textarea", rows: 2, spellcheck: "false", dir: "auto" });
  node.classList.add("setup-prompt");
  input.addEventListener("input", () => lab.set({ prompt: input.value }));
  const show = () => input.value !== lab.state.prompt && (input.value = String(lab.state.prompt));
  lab.on((changed) => changed.includes("prompt") && show());
  show();
  return node;
}

/** @param {Lab} lab */
function model(lab) {
  const { node, input } = field("Model", { tag: "select" }, "The starter, and what you have trained");
  input.addEventListener("change", () => lab.set({ model: input.value }));
  const show = () => {
    const names = lab.models.includes(lab.state.model) ? lab.models : [lab.state.model, ...lab.models];
    input.replaceChildren(...names.map((name) => new Option(name, name)));
    input.value = lab.state.model;
  };
  lab.on((changed) => (changed.includes("models") || changed.includes("model")) && show());
  show();
  return node;
}

/** What the model is, as soon as the panel is seen.
 *  @param {Lab} lab @param {string} panel */
function card(lab, panel) {
  const node = h("p", "quiet setup-card");
  lab.on(async (changed) => {
    if (!changed.some((key) => ["model", "models", "panel"].includes(key))) return;
    const name = lab.state.model;
    if (lab.state.panel !== panel || !lab.models.includes(name)) return;
    const words = await lab.open().then(cardWords, () => ""); // what is wrong with it is said where it is started
    if (name === lab.state.model) node.textContent = words;
  });
  return node;
}

/** @param {Lab} lab */
function stop(lab) {
  const input = h("input", "");
  input.type = "checkbox";
  const node = h("label", "check", input, `Stop at ${END}`);
  node.title = "The token that ends a text ends it here too";
  input.addEventListener("change", () => lab.set({ stop: input.checked }));
  const show = () => (input.checked = Boolean(lab.state.stop));
  lab.on((changed) => changed.includes("stop") && show());
  show();
  return node;
}

export const LONGEST = 1000; // tokens in a lane

/** The form; `extra` nodes stand between the model and the seed. `withLength`: the length is the shared one.
 *  @param {Lab} lab
 *  @param {string} panel that it stands in
 *  @param {{ extra?: HTMLElement[], withLength?: boolean }} parts */
export function setup(lab, panel, { extra = [], withLength = true } = {}) {
  const seed = whole(lab, "seed", "Seed", "The same seed throws the same darts", 0, LARGEST_SEED);
  const other = button("New", "Another seed, drawn at random", () => lab.set({ seed: newSeed() }));
  other.setAttribute("aria-label", "New seed");
  const most = `Tokens to write, at most ${number(LONGEST)} here`;
  const length = withLength ? whole(lab, "length", "Length", most, 1, LONGEST) : null;
  const fields = h("div", "setup-fields", model(lab), ...extra, length, h("div", "setup-seed", seed, other), stop(lab));
  return h("div", "setup", prompt(lab), fields, card(lab, panel));
}

// Something that is started, goes on, and can be stopped ------------------------------------------------------------

/**
 * Its buttons, its line of words, its troubles. `root` gets data-state "idle" or "running"; work(alive, prompt) does
 * it, until alive() is false; progress() says how far it has come; key() is a string of all settings that its result
 * has; ended() is called when it is done or stopped; count() is how many tokens it writes at most; `name` is the panel
 * whose result a link gives again.
 */
export class Job {
  /** @type {object | null} what is under way */
  going = null;
  /** @type {string | null} the key of what has run */
  ran = null;
  said = "";
  cut = ""; // what a visitor must know of the context length
  waits = false; // for the page, which is still being opened
  status = h("p", "job-status quiet");
  spoken = set(h("p", "spoken"), { role: "status" });
  trouble = trouble();

  /** @param {Lab} lab @param {HTMLElement} root @param {Work} doing */
  constructor(lab, root, doing) {
    this.lab = lab;
    this.root = root;
    this.doing = doing;
    this.startButton = button(doing.label, doing.title, () => this.start(), "primary");
    this.stopButton = button("Stop", doing.keeps, () => this.stop());
    this.state("idle");
    onCtrlEnter(root, () => this.start());
    lab.on((changed) => {
      if (changed.includes("restored")) this.restored();
      if (!this.going) this.state("idle");
      this.tell();
      if (this.waits && lab.models.length) this.start();
    });
  }

  /** The buttons and what stands beside them, and below it what may have gone wrong.
   *  @param {HTMLElement[]} beside */
  nodes(...beside) {
    const bar = h("div", "job-bar", this.startButton, this.stopButton, this.status, this.spoken, ...beside);
    return [bar, this.trouble.node];
  }

  /** @param {"idle" | "running"} now */
  state(now) {
    const [running, known] = [now === "running", this.lab.models.length > 0]; // unknown while the page is being opened
    const { startButton, stopButton } = this;
    this.root.dataset.state = now;
    const [from, to] = running ? [startButton, stopButton] : [stopButton, startButton];
    const focused = document.activeElement === from;
    startButton.disabled = running || !known;
    stopButton.disabled = !running;
    if (focused) to.focus();
  }

  /** A line for the eye, and where something has begun or ended for the ear.
   *  @param {string} words */
  say(words, aloud = false) {
    this.said = words;
    if (aloud) this.spoken.textContent = words;
    this.tell();
  }

  tell() {
    const stale = this.ran && !this.going && this.ran !== this.doing.key();
    this.status.textContent = stale ? this.doing.stale : this.said;
    const { name } = this.doing;
    if (name && stale && this.lab.state.ran === name) this.lab.set({ ran: "" });
  }

  /** Another state: what ran there runs again, if it is the panel that is seen. */
  restored() {
    const { ran, panel } = this.lab.state;
    this.forget();
    if (ran && ran === this.doing.name && ran === panel) this.start();
  }

  async start() {
    this.waits = !this.lab.models.length;
    if (this.going || this.waits) return;
    const going = (this.going = {});
    const alive = () => this.going === going;
    this.ran = this.doing.key();
    this.cut = "";
    this.trouble.hide();
    this.state("running");
    this.say("The prompt is read\u2026", true);
    try {
      const [about, ids] = await Promise.all([this.lab.open(), this.lab.encode(this.lab.state.prompt)]);
      this.cut = contextWords(about.n_ctx, ids.length, this.doing.count());
      this.status.title = this.cut && CONTEXT;
      if (alive()) await this.doing.work(alive, { about, ids });
      if (alive()) this.end("Done.");
    } catch (error) {
      if (!alive()) return;
      this.end("");
      this.trouble.show(messageOf(error), () => this.start());
    }
  }

  /** More of it is there.
   *  @param {string} word */
  goesOn(word) {
    this.say(this.line(word));
  }

  stop() {
    if (this.going) this.end("Stopped.");
  }

  /** @param {string} word */
  end(word) {
    this.going = null;
    if (!word) this.ran = null;
    this.doing.ended(word);
    this.state("idle");
    this.say(word && this.line(word), true);
    if (this.doing.name && word === "Done.") this.lab.set({ ran: this.doing.name });
  }

  /** @param {string} word */
  line(word) {
    return [this.doing.progress(), word, this.cut].filter(Boolean).join(" ");
  }

  /** There was nothing. */
  forget() {
    this.stop();
    this.ran = null;
    this.trouble.hide();
    this.say("");
  }
}

/** What a visitor must know of the context length; nothing where all of it fits.
 *  @param {number} n_ctx
 *  @param {number} length
 *  @param {number} count */
function contextWords(n_ctx, length, count) {
  if (length > n_ctx) return `The model sees the last ${number(n_ctx)} of ${number(length)} tokens.`;
  if (length + count <= n_ctx + 1) return "";
  return `Slower from token ${number(n_ctx - length + 2)} on: the context is full.`;
}

const CONTEXT =
  "The model has a fixed number of places for tokens. Behind them the oldest token falls out at each step and all " +
  "others " +
  "change their place, so that all of them are recomputed.";

// Tokens as text ----------------------------------------------------------------------------------------------------

const UNSEEN =
  /[\p{Cc}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** A text to be read: blanks as blanks, line ends with a sign (and as line ends where `lines`), nothing hidden.
 *  @param {string} text */
export function prose(text, lines = false) {
  return text.replace(UNSEEN, (c) => (c === "\n" ? (lines ? "\u21b5\n" : "\u21b5 ") : visible(c)));
}

/** What there is to say of a token.
 *  @param {Token} token
 *  @param {About} about */
export function tokenTitle(token, about) {
  const parts = [
    `\u201c${visible(about.vocabulary(token.id).bytes)}\u201d (token ${token.id})`,
    `${percent(Math.exp(token.logprob))} in the model's own distribution`,
  ];
  if (token.rank !== undefined) parts.push(`rank ${token.rank + 1}`);
  if (typeof token.u === "number") parts.push(`dart ${number(token.u, 4)}`);
  return parts.join(", ");
}
