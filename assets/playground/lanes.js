// The lanes of a race: what they are in the state, the form that changes one, and what is measured of their tokens.
//
// lab.state.lanes is a list of {name, steps: [{name, value}, ...] in their order, greedy, beams, length_penalty}; what
// a lane does not say is off. It may come from a link, so it is read through lanesOf() only.

import { h } from "../page/dom.js";
import { clamp } from "../page/numbers.js";
import { button, field } from "../page/parts.js";
import { START } from "./state.js";
import { STEPS, active, isGreedy, isStepName, missing, nearest, obeyed } from "./steps.js";

/** @import { Lane } from "../page/protocol.js" */
/** @import { Setting } from "./steps.js" */

/** A lane as it is run: nothing left out.
 *  @typedef {Required<Omit<Lane, "steps">> & { steps: Setting[] }} WholeLane */
/** What changes of a lane, of what it is now.
 *  @typedef {(change: (now: WholeLane) => Partial<WholeLane>, key?: string) => void} Edit */

export const MOST_LANES = 12;

// Reading the state -------------------------------------------------------------------------------------------------

/** @param {unknown} x @param {number} low @param {number} high @param {number} otherwise */
const bounded = (x, low, high, otherwise) =>
  typeof x === "number" && Number.isFinite(x) ? clamp(x, low, high) : otherwise;

/** @param {Lane} record of any types
 *  @returns {WholeLane} */
export function laneOf(record) {
  const given = record && typeof record === "object" ? record : {};
  return {
    name: (typeof given.name === "string" ? given.name : "").slice(0, 40) || "Lane",
    steps: (Array.isArray(given.steps) ? given.steps : []).flatMap(settingOf).slice(0, 20),
    greedy: Boolean(given.greedy),
    beams: Math.round(bounded(given.beams, 0, 10, 0)),
    length_penalty: bounded(given.length_penalty, -10, 10, 1),
  };
}

/** A possible setting, none for what is no step.
 *  @param {{ name: string, value: number }} step of any types
 *  @returns {Setting[]} */
const settingOf = (step) =>
  step && isStepName(step.name) && Number.isFinite(step.value)
    ? [{ name: step.name, value: nearest(step.name, step.value) }]
    : [];

/** The lanes of a state as they are run: whole, within bounds, at least one, at most one of them a beam search.
 *  @param {{ lanes?: Lane[] }} state */
export function lanesOf(state) {
  const given = Array.isArray(state.lanes) && state.lanes.length ? state.lanes : START.lanes;
  const lanes = given.slice(0, MOST_LANES).map(laneOf);
  const first = lanes.findIndex((lane) => lane.beams > 0);
  return lanes.map((lane, i) => (lane.beams > 0 && i !== first ? { ...lane, beams: 0 } : lane));
}

/** What a lane does, in a few words.
 *  @param {WholeLane} lane */
export function summary({ steps, greedy, beams, length_penalty }) {
  if (beams) return `${beams} beam${beams > 1 ? "s" : ""}, length penalty ${length_penalty}`;
  const always = greedy || isGreedy(steps);
  const words = obeyed(active(steps), always).map(({ name, value }) => `${STEPS[name].label.toLowerCase()} ${value}`);
  if (always) words.push("always the most probable token");
  return words.join(", ") || "sampled from the model's own distribution";
}

// The form of one lane ----------------------------------------------------------------------------------------------

/** A number in a field; `fit` makes what the visitor has entered a possible one, which `change` gets.
 *  @param {string} label
 *  @param {string} title
 *  @param {number} value
 *  @param {(entered: number) => number} fit
 *  @param {(value: number) => void} change
 *  @param {Record<string, string | number>} attributes */
function numeric(label, title, value, fit, change, attributes = {}) {
  const { node, input } = field(label, { type: "number", step: "any", ...attributes }, title);
  input.value = String(value);
  input.addEventListener("change", () => {
    const entered = Number(input.value);
    input.value = String(input.value.trim() && Number.isFinite(entered) ? fit(entered) : value);
    change(Number(input.value));
  });
  return node;
}

/** The steps of a lane and behind them those that it does not name, off.
 *  @param {WholeLane} lane */
const allSteps = ({ steps }) => [...steps, ...missing(steps)];

/** The steps in their order, each with its value and two buttons that move it.
 *  @param {WholeLane} lane
 *  @param {Edit} edit */
function stepFields(lane, edit) {
  /** @param {number} i @param {number} value */
  const put = (i, value) =>
    edit((now) => ({ steps: allSteps(now).map((step, j) => (j === i ? { ...step, value } : step)) }));
  /** @param {number} i @param {number} j @param {string} key */
  const swap = (i, j, key) =>
    edit((now) => {
      const steps = allSteps(now);
      [steps[i], steps[j]] = [steps[j], steps[i]];
      return { steps };
    }, key);
  return allSteps(lane).map(({ name, value }, i, all) => {
    const { label, title } = STEPS[name];
    const moves = /** @type {const} */ ([
      [-1, "earlier", "\u2191"],
      [1, "later", "\u2193"],
    ]);
    const arrows = moves.map(([by, words, sign]) => {
      const key = `${name}-${words}`;
      const arrow = button(sign, `${label} one step ${words}`, () => swap(i, i + by, key), "small");
      arrow.setAttribute("aria-label", `${label} ${words}`);
      arrow.dataset.key = key;
      arrow.disabled = !all[i + by];
      return arrow;
    });
    return h(
      "div",
      "lane-step",
      numeric(
        label,
        title,
        value,
        (x) => nearest(name, x),
        (x) => put(i, x),
      ),
      ...arrows,
    );
  });
}

const WAYS = { draw: "Sampling", greedy: "Greedy (always the most probable)", beams: "Beam search" };

/**
 * The form. edit(change, key) is called with a function from the lane as it is now to what changes of it; with a `key`
 * the form must be made anew and the control of that key focused. `mayBeam`: no other lane is a beam search.
 *
 * @param {WholeLane} lane
 * @param {{ edit: Edit, remove: (() => void) | null, mayBeam: boolean }} doing
 */
export function laneForm(lane, { edit, remove, mayBeam }) {
  const name = field("Name", { type: "text", maxlength: 40 });
  name.input.value = lane.name;
  name.input.addEventListener("change", () => edit(() => ({ name: name.input.value.trim() || "Lane" })));
  const way = field("Strategy", { tag: "select", "data-key": "way" });
  const options = Object.entries(WAYS).map(([value, words]) => new Option(words, value));
  options[2].disabled = !mayBeam;
  way.input.append(...options);
  way.input.value = lane.beams ? "beams" : lane.greedy ? "greedy" : "draw";
  way.input.addEventListener("change", () => {
    const { value } = way.input;
    edit(() => ({ greedy: value === "greedy", beams: value === "beams" ? 4 : 0 }), "way");
  });
  const steps = lane.beams ? beamFields(lane, edit) : stepFields(lane, edit);
  const note = "With greedy decoding only the repetition penalty applies.";
  const greedy = lane.greedy && !lane.beams ? h("p", "quiet", note) : null;
  const away = remove ? button("Remove this lane", "Remove this lane from the race", remove, "small") : null;
  return h("div", "lane-form", name.node, way.node, greedy, ...steps, away);
}

/** @param {WholeLane} lane @param {Edit} edit */
function beamFields({ beams, length_penalty }, edit) {
  const penalty = "Finished hypotheses are ranked by log-probability / length ^ penalty";
  return [
    numeric(
      "Beams",
      "Number of hypotheses",
      beams,
      (x) => clamp(Math.round(x), 1, 10),
      (x) => edit(() => ({ beams: x })),
      { min: 1, max: 10, step: 1 },
    ),
    numeric(
      "Length penalty",
      penalty,
      length_penalty,
      (x) => clamp(x, -10, 10),
      (x) => edit(() => ({ length_penalty: x })),
      { min: -10, max: 10 },
    ),
  ];
}

// What is measured of a lane's tokens -------------------------------------------------------------------------------

/** Which tokens stand in an n-gram that has occurred before among these tokens: an array of booleans.
 *  @param {number[]} ids
 *  @param {number} n
 *  @returns {boolean[]} */
export function repeated(ids, n) {
  const [seen, marks] = [new Set(), new Array(ids.length).fill(false)];
  for (let i = 0; i + n <= ids.length; i++) {
    const key = ids.slice(i, i + n).join();
    if (seen.has(key)) marks.fill(true, i, i + n);
    seen.add(key);
  }
  return marks;
}

/** {period, from} if the text has come to repeat its last `period` tokens: at least twice, and over 12 tokens.
 *  @param {number[]} ids */
export function loop(ids) {
  for (let period = 1; 2 * period <= ids.length; period++) {
    let from = ids.length - period;
    while (from > 0 && ids[from - 1] === ids[from - 1 + period]) from--;
    if (ids.length - from >= Math.max(12, 2 * period)) return { period, from };
  }
  return null;
}

/** Different n-grams / all n-grams (Li et al. 2016, "distinct-n"); NaN where there is none.
 *  @param {number[]} ids
 *  @param {number} n */
export function distinct(ids, n) {
  const total = ids.length - n + 1;
  if (total < 1) return NaN;
  return new Set(Array.from({ length: total }, (_, i) => ids.slice(i, i + n).join())).size / total;
}

/** The first index at which `ids` differs from `base` as far as both have come; -1 for none.
 *  @param {number[]} ids
 *  @param {number[]} base */
export function divergence(ids, base) {
  const n = Math.min(ids.length, base.length);
  for (let i = 0; i < n; i++) if (ids[i] !== base[i]) return i;
  return -1;
}

/** Everything under a lane, of its tokens.
 *  @param {{ id: number, logprob: number }[]} tokens
 *  @param {number} n */
export function measure(tokens, n) {
  const ids = tokens.map((token) => token.id);
  const mean = tokens.reduce((sum, token) => sum + token.logprob, 0) / tokens.length; // NaN for none
  const marks = repeated(ids, n);
  return {
    ids,
    marks,
    mean,
    perplexity: Math.exp(-mean),
    share: marks.filter(Boolean).length / ids.length,
    loop: loop(ids),
    distinct: [1, 2, 3].map((k) => distinct(ids, k)),
  };
}
