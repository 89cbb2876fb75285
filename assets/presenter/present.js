// The presenter: one scene at a time in large type. Arrow keys or PageUp and PageDown turn, F fills the screen, Escape
// leaves. A scene plays from its recording at once; what the model answers takes its place when the model is there.

import { h, messageOf, set } from "../page/dom.js";
import { clamp } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { START, extend } from "../playground/core.js";
import { clean } from "../playground/link.js";
import { STEPS } from "../playground/steps.js";
import * as decks from "./deck.js";
import { drawer } from "./drawer.js";
import * as live from "./live.js";
import * as stage from "./stage.js";

/** @import { Lab, State } from "../playground/core.js" */
/** @import { Deck } from "./deck.js" */
/** @import { Answer } from "./live.js" */
/** @import { Recording, Show } from "./recording.js" */

const SOURCES = {
  live: ["live", "The numbers were just computed by the model"],
  recorded: ["recorded", "The numbers were recorded earlier; no model is needed"],
  computed: ["", ""],
};
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Everything on the page that is not `node`, in it or around it, and can be reached now.
 *  @param {HTMLElement} node */
function beside(node) {
  /** @type {HTMLElement[]} */
  const found = [];
  for (let at = node; at.parentElement && at !== document.body; at = at.parentElement) {
    for (const other of at.parentElement.children) {
      if (other !== at && other instanceof HTMLElement && !other.inert) found.push(other);
    }
  }
  return found;
}

export class Presenter {
  /** @type {Deck} without scenes until it is first opened */
  deck = { title: "", scenes: [] };
  own = false;
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
  after = button("Next", "The next scene (right arrow, PageDown)", () => this.go(this.at + 1), "primary");
  again = button("Play again", "Play the scene again", () => this.show());
  now = button("Run it now", "Run the model now instead of the recording", () => this.ask());
  list = button("Scenes", "All scenes; open, save and link a deck", () => this.drawer.toggle());

  /** @param {KeyboardEvent} event */
  keys = (event) => this.key(event);
  node = h("div", "lab-present");
  drawer = drawer(this);

  /** @param {Lab} lab @param {HTMLElement} opener */
  constructor(lab, opener) {
    this.lab = lab;
    this.opener = opener;
    this.build();
  }

  build() {
    const take = button("Try it", "Open this scene in the Playground", () => this.take());
    const full = button("Full screen", "Fill the screen (F)", () => this.fill());
    const leave = button("Leave", "Back to the Playground (Escape)", () => this.close());
    const head = h("header", "present-head", this.title, this.badge);
    const foot = h(
      "footer",
      "present-foot",
      this.before,
      this.count,
      this.after,
      h("span", "present-gap"),
      this.again,
      this.now,
      take,
      this.list,
      full,
      leave,
    );
    this.node.append(head, this.picture, this.sliders, this.trouble, this.note, foot, this.drawer.node);
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
    if (deck) [this.deck, this.own] = [decks.check(deck), true];
    if (deck === null || !this.deck.scenes.length) await this.standard();
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

  close() {
    if (!this.open) return;
    this.open = false;
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
    this.lab.restore(state);
  }

  async fill() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await this.node.requestFullscreen();
    } catch {
      this.say("This browser does not allow full screen from the page. Try F11.");
    }
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = event.target instanceof Element ? event.target : null;
    const typing = target?.matches('input:not([type="range"]):not([type="file"]), textarea, select');
    const sliding = target?.matches('input[type="range"]');
    /** @type {Record<string, number>} */
    const turns = { PageDown: 1, PageUp: -1, ...(sliding ? {} : { ArrowRight: 1, ArrowLeft: -1 }) };
    if (event.key === "Escape") this.drawer.open ? this.drawer.toggle() : this.close();
    else if (typing) return;
    else if (turns[event.key]) this.go(this.at + turns[event.key]);
    else if (event.key.toLowerCase() === "f") this.fill();
    else if (!sliding && event.key === "Home") this.go(0);
    else if (!sliding && event.key === "End") this.go(this.deck.scenes.length - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
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
      if (this.own) this.scene.recorded ??= answer.data; // so a deck that is saved plays without the model
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
    "Scenes in large type, for a class: arrow keys to navigate, F for full screen, Escape to leave",
    () => open(),
  );
  const presenter = new Presenter(lab, opener);
  lab.tools.append(opener);
  lab.present = ({ at, deck }) => open(Number(at), deck ?? null);
});
