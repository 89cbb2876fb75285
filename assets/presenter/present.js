// The presenter: one scene at a time in large type; keys.js says which keys turn. A scene plays from its recording at
// once; what the model answers takes its place when the model is there.

import { h, messageOf, set } from "../page/dom.js";
import { clamp } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { extend } from "../playground/core.js";
import { START } from "../playground/state.js";
import { clean } from "../playground/link.js";
import { STEPS } from "../playground/steps.js";
import { swap } from "../playground/swap.js";
import * as decks from "./deck.js";
import { drawer } from "./drawer.js";
import { take } from "./keys.js";
import * as live from "./live.js";
import { beside } from "./parts.js";
import * as stage from "./stage.js";

/** @import { Lab } from "../playground/core.js" */
/** @import { State } from "../playground/state.js" */
/** @import { Deck } from "./deck.js" */
/** @import { Answer } from "./live.js" */
/** @import { Recording, Show } from "./recording.js" */

const SOURCES = {
  live: ["live", "The numbers were just computed by the model"],
  recorded: ["recorded", "The numbers were recorded earlier; no model is needed"],
  computed: ["", ""],
};
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Presenter {
  /** @type {Deck} without scenes until it is first opened */
  deck = { title: "", scenes: [] };
  own = false;
  kept = false; // in this browser, where it is the visitor's own
  at = 0;
  turns = 0;
  open = false;
  /** @type {Answer | null} of the scene that is shown */
  live = null;
  /** @type {HTMLElement[]} the rest of the page, out of reach meanwhile */
  others = [];

  title = h("h2", "present-title");
  badge = h("span", "present-badge");
  picture = set(h("div", "present-picture"), {
    tabindex: 0, // it scrolls where the screen is small
    "aria-label": "The scene",
    role: "group",
  });
  sliders = h("div", "present-sliders");
  note = h("p", "present-note");
  trouble = set(h("p", "present-trouble"), { role: "status" });
  count = h("span", "present-count");
  before = button("Back", "The previous scene (left arrow, PageUp)", () => this.go(this.at - 1));
  after = button("Next", "The next scene (right arrow, PageDown, Space)", () => this.go(this.at + 1), "primary");
  again = button("Play again", "Play the scene again", () => this.show());
  now = button("Run it now", "Run the model now instead of the recording", () => this.ask());
  list = button("Scenes", "All scenes; open, save and link a deck", () => this.drawer.toggle());

  /** @param {KeyboardEvent} event */
  keys = (event) => {
    if (!take(this, event)) return;
    event.preventDefault();
    event.stopPropagation();
  };
  node = h("div", "lab-present");
  drawer = drawer(this);

  /** @param {Lab} lab @param {HTMLElement} opener */
  constructor(lab, opener) {
    this.lab = lab;
    this.opener = opener;
    this.build();
  }

  build() {
    const tryIt = button("Try it", "Open this scene in the Playground", () => this.take());
    const full = button("Full screen", "Fill the screen (F)", () => this.fill());
    const leave = button("Leave", "Back to the Playground (Escape)", () => this.close());
    const head = h("header", "present-head", this.title, this.badge);
    const turning = [this.before, this.count, this.after, h("span", "present-gap")];
    const foot = h("footer", "present-foot", ...turning, this.again, this.now, tryIt, this.list, full, leave);
    this.node.append(head, this.picture, this.sliders, this.trouble, this.note, foot, this.drawer.node);
    this.node.addEventListener("pointerdown", () => (this.blank = false));
    set(this.node, { tabindex: -1, role: "dialog", "aria-modal": "true", "aria-label": "Presenter" });
  }

  get scene() {
    return this.deck.scenes[this.at];
  }

  // Opening and leaving -----------------------------------------------------------------------------------------------

  /** `deck`: null for the one that comes with the app.
   *  @param {number} [at]
   *  @param {unknown} [deck] */
  async start(at = this.at, deck = undefined) {
    if (deck) [this.deck, this.own, this.kept] = [decks.check(deck), true, false];
    else if (deck === null) await this.standard();
    else if (!this.deck.scenes.length && !this.mine()) await this.standard();
    if (!this.open) {
      this.open = true;
      this.lab.root.append(this.node);
      this.others = beside(this.node);
      for (const node of this.others) node.inert = true;
      document.addEventListener("keydown", this.keys, true);
    }
    this.go(Number.isInteger(at) ? at : 0);
    this.node.focus();
  }

  /** The deck that comes with the app. */
  async standard() {
    const { deck } = await this.lab.ask("deck", {});
    [this.deck, this.own] = [decks.check(deck), false];
  }

  /** The deck that the visitor made here before; false where there is none. */
  mine() {
    const deck = decks.kept();
    if (deck) [this.deck, this.own, this.kept] = [deck, true, true];
    return deck !== null;
  }

  /** The visitor's own deck from now on.
   *  @param {Deck} deck */
  use(deck) {
    [this.deck, this.own, this.kept] = [deck, true, decks.keep(deck)];
  }

  close() {
    if (!this.open) return;
    this.open = this.blank = false;
    this.turns += 1; // what is still under way belongs to nothing any more
    if (document.fullscreenElement === this.node) document.exitFullscreen();
    document.removeEventListener("keydown", this.keys, true);
    for (const node of this.others) node.inert = false;
    this.node.remove();
    this.opener.focus();
  }

  take() {
    const { state } = clean(this.scene.state);
    this.close();
    this.lab.address.touched = true;
    swap(this.lab, state, `The scene \u201c${this.scene.title}\u201d is open here.`);
  }

  async fill() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await this.node.requestFullscreen();
    } catch {
      this.say("This browser does not allow full screen from the page. Try F11.");
    }
  }

  /** Nothing but an empty screen, so that a class looks up. */
  get blank() {
    return "blank" in this.node.dataset;
  }

  set blank(yes) {
    if (yes) this.node.dataset.blank = "";
    else delete this.node.dataset.blank;
  }

  // A scene -----------------------------------------------------------------------------------------------------------

  /** @param {number} at */
  go(at) {
    this.at = clamp(at, 0, this.deck.scenes.length - 1);
    const n = this.deck.scenes.length;
    this.title.textContent = this.scene.title;
    this.note.textContent = this.scene.note;
    this.count.textContent = `${this.at + 1} / ${n}`;
    this.count.title = `Scene ${this.at + 1} of ${n}: ${this.deck.title}`;
    this.before.disabled = this.at === 0;
    this.after.disabled = this.at === n - 1;
    this.picture.scrollTop = 0;
    this.node.dataset.scene = String(this.at + 1);
    this.node.dataset.show = this.scene.show;
    this.drawer.draw();
    this.live = null;
    this.show();
  }

  /** @param {string} sentence */
  say(sentence) {
    this.trouble.textContent = sentence;
  }

  get canAsk() {
    const { show, state } = this.scene;
    return live.can(show) && this.lab.models.includes(state.model ?? this.lab.state.model);
  }

  /** From the recording, and from the model where that takes no time or there is no recording. */
  show() {
    const { show, recorded, state } = this.scene;
    this.turns += 1;
    this.say("");
    this.sliders.replaceChildren();
    this.picture.replaceChildren();
    this.now.hidden = !this.canAsk || live.quick(show);
    this.again.hidden = !["text", "lanes", "beams"].includes(show);
    if (this.live) return this.draw(this.live.data, "live");
    if (show === "toy") return this.draw({ toy: state.toy ?? START.toy }, "computed");
    if (recorded) this.draw(recorded, "recorded");
    if (this.canAsk && (live.quick(show) || !recorded)) return this.ask();
    if (!recorded)
      this.fail("This scene has no recording, and its model is not available. Choose another model, or record it.");
  }

  /** @param {Recording} data @param {keyof typeof SOURCES} source */
  draw(data, source) {
    const { show, state } = this.scene;
    try {
      const node = stage.draw(show, data, still(), state.steps);
      node.classList.add("stage", `stage-${show}`);
      this.picture.replaceChildren(node);
      const [words, title] = SOURCES["model" in data && data.model ? source : "computed"];
      this.badge.textContent = words;
      this.badge.title = title;
      this.node.dataset.source = source;
    } catch {
      this.fail("The recording of this scene is damaged, so it can't be shown.");
    }
  }

  /** @param {string} sentence */
  fail(sentence) {
    this.badge.textContent = "";
    this.node.dataset.source = "none";
    this.say(sentence);
  }

  async ask() {
    const { show, state } = this.scene;
    const turn = (this.turns += 1);
    this.now.disabled = true;
    this.node.dataset.asking = "yes";
    try {
      const model = state.model ?? this.lab.state.model;
      const answer = await live.ask(this.lab, show, { ...state, model });
      if (turn !== this.turns) return;
      this.live = answer;
      this.draw(answer.data, "live");
      if (this.own && !this.scene.recorded) {
        this.scene.recorded = answer.data; // so a deck that is saved plays without the model
        if (this.kept) this.use(this.deck);
      }
      this.turnable(show, state, answer);
    } catch (error) {
      if (turn === this.turns) this.scene.recorded ? this.say(messageOf(error)) : this.fail(messageOf(error));
    } finally {
      this.now.disabled = false;
      if (turn === this.turns) delete this.node.dataset.asking;
    }
  }

  /** Sliders for the scene's steps, once the whole row of logits is here.
   *  @param {Show} show
   *  @param {Partial<State>} state
   *  @param {Answer} answer */
  turnable(show, state, { turn, data }) {
    if (show !== "distribution" || !turn || !("dart" in data)) return;
    const steps = structuredClone(state.steps ?? []);
    let u = data.dart.u ?? 0.5;
    const redraw = () => {
      const node = stage.draw(show, turn(steps, u), true, steps);
      node.classList.add("stage", `stage-${show}`);
      this.picture.replaceChildren(node);
    };
    const sliders = steps.map((step) => {
      const [min, max, size] = STEPS[step.name].scene;
      const input = h("input", "");
      set(input, { type: "range", min, max, step: size }).value = String(step.value);
      const value = h("output", "", String(step.value));
      input.addEventListener("input", () => {
        step.value = Number(input.value);
        value.textContent = input.value;
        redraw();
      });
      return h("label", "present-slider", h("span", "", STEPS[step.name].label), input, value);
    });
    const dart = button("Throw the dart", "Draw another number", () => {
      u = Math.random();
      redraw();
    });
    this.sliders.replaceChildren(...sliders, ...(data.dart.u === null ? [] : [dart]));
  }
}

extend((lab) => {
  /** @param {number} [at] @param {unknown} [deck] */
  const open = async (at, deck) => {
    try {
      await presenter.start(at, deck);
    } catch (error) {
      lab.say(messageOf(error), lab.dismiss());
    }
  };
  const opener = button(
    "Present",
    "Scenes in large type, for a class: arrow keys or Space to turn, F for full screen, B to blank it, Escape to leave",
    () => open(),
  );
  const presenter = new Presenter(lab, opener);
  lab.tools.append(opener);
  lab.present = ({ at, deck }) => open(Number(at), deck ?? null);
});
