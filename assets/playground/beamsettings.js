// What a beam search is started with: lab.state.beams, and its form.

import { h } from "../page/dom.js";
import { clamp, logarithm, number } from "../page/numbers.js";
import { field } from "../page/parts.js";
import { START } from "./state.js";

/** @import { Lab } from "./core.js" */
/** @import { BeamSettings } from "./state.js" */

/** @typedef {"beams" | "length" | "length_penalty"} Bounded */

/** @type {Record<Bounded, [low: number, high: number]>} */
export const BOUNDS = { beams: [1, 10], length: [1, 60], length_penalty: [-10, 10] };

/** The settings of a state, whole and within bounds.
 *  @param {{ beams?: Partial<BeamSettings> }} state
 *  @returns {BeamSettings} */
export function settingsOf(state) {
  const given = state.beams && typeof state.beams === "object" ? state.beams : {};
  /** @param {Bounded} key */
  const bounded = (key) => {
    const x = given[key];
    return clamp(x !== undefined && Number.isFinite(x) ? x : START.beams[key], ...BOUNDS[key]);
  };
  return {
    beams: Math.round(bounded("beams")),
    length: Math.round(bounded("length")),
    length_penalty: bounded("length_penalty"),
    early: Boolean(given.early),
  };
}

/** The form of these settings. */
export class BeamForm {
  beams = this.whole("beams", "Beams", "How many hypotheses are kept at each step; 1 is greedy");
  length = this.whole("length", "Tokens", "Maximum length of a hypothesis");
  early = h("input", "");
  slider = field("Length penalty", { type: "range", min: -2, max: 4, step: 0.1 });
  value = h("output", "beam-penalty-value mono");
  other = h("p", "beam-old");

  /** @param {Lab} lab */
  constructor(lab) {
    this.lab = lab;
  }

  /** @param {Partial<BeamSettings>} patch */
  set(patch) {
    this.lab.set({ beams: { ...settingsOf(this.lab.state), ...patch } });
  }

  /** @param {Bounded} key @param {string} label @param {string} title */
  whole(key, label, title) {
    const [low, high] = BOUNDS[key];
    const { node, input } = field(label, { type: "number", min: low, max: high, step: 1 }, title);
    input.addEventListener("change", () => {
      if (input.value.trim()) this.set({ [key]: clamp(Math.round(Number(input.value)), low, high) });
      this.sync();
    });
    return { node, input };
  }

  fields() {
    this.early.type = "checkbox";
    this.early.addEventListener("change", () => this.set({ early: this.early.checked }));
    const early = h("label", "check beam-early", this.early, "Stop early");
    early.title = "As soon as there are as many finished hypotheses as beams (early stopping)";
    return [this.beams.node, this.length.node, early];
  }

  penalty() {
    const { node, input } = this.slider;
    node.children[0].append(" ", this.value);
    input.addEventListener("input", () => this.set({ length_penalty: Number(input.value) }));
    const words = h("p", "quiet");
    words.append(
      h("span", "mono", "score = log-probability / length ^ penalty"),
      ": 0 ranks by log-probability alone, more favors long texts. Moving it re-ranks the finished hypotheses. " +
        "Pruning does not depend on it, because it compares log-probabilities of equal length.",
    );
    this.other.setAttribute("role", "status");
    return h("div", "beam-penalty", node, words, this.other);
  }

  /** What is ranked was searched for under this penalty, which also decided what finished hypotheses were kept and when
   *  the search ended.
   *  @param {number} penalty */
  found(penalty) {
    const { length_penalty: now } = settingsOf(this.lab.state);
    const words =
      `Found by a search under the length penalty ${logarithm(penalty, 1)}, now ranked under ${logarithm(now, 1)}. ` +
      "A search under this one may keep other hypotheses: start it again to see.";
    this.other.textContent = penalty === now ? "" : words;
  }

  /** The form as the state has it. */
  sync() {
    const settings = settingsOf(this.lab.state);
    const { input: slider } = this.slider;
    this.beams.input.value = String(settings.beams);
    this.length.input.value = String(settings.length);
    this.early.checked = settings.early;
    if (Number(slider.value) !== settings.length_penalty) slider.value = String(settings.length_penalty);
    this.value.textContent = logarithm(settings.length_penalty, 1);
    slider.setAttribute("aria-valuetext", number(settings.length_penalty, 1));
  }
}
