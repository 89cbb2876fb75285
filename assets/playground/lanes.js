// The lanes of a race: what they are in the state, the form that changes one, and what is measured of their tokens.
//
// lab.state.lanes is a list of {name, steps: [{name, value}, ...] in their order, greedy, beams, length_penalty}; what
// a lane does not say is off. It may come from a link, so it is read through lanesOf() only.

import { h } from "../page/dom.js";
import { button, field } from "../page/parts.js";
import { OFF, STEP_NAMES, START } from "./core.js";

export const MOST_LANES = 12;

const STEPS = {
  repetition_penalty: ["Repetition penalty", 0.1, 5, 0.05, "Divides the logits of tokens that have occurred; 1 is off"],
  temperature: [
    "Temperature",
    0,
    10,
    0.05,
    "Divides logits: below 1 sharpens, above 1 flattens; 1 is off, 0 is greedy",
  ],
  top_k: ["Top-k", 0, 1_000_000, 1, "Only the k most probable tokens can be drawn; 0 is off"],
  top_p: ["Top-p", 0.01, 1, 0.01, "Only the most probable tokens that together reach p can be drawn; 1 is off"],
  min_p: ["Min-p", 0, 1, 0.01, "Only tokens of at least p times the highest probability can be drawn; 0 is off"],
};

// Reading the state -------------------------------------------------------------------------------------------------

const bounded = (x, low, high, otherwise) =>
  typeof x === "number" && Number.isFinite(x) ? Math.min(high, Math.max(low, x)) : otherwise;

function laneOf(record) {
  const given = record && typeof record === "object" ? record : {};
  const steps = (Array.isArray(given.steps) ? given.steps : [])
    .filter((step) => step && Object.hasOwn(OFF, step.name) && Number.isFinite(step.value))
    .slice(0, 20)
    .map(({ name, value }) => ({ name, value: bounded(value, STEPS[name][1], STEPS[name][2], OFF[name]) }));
  return {
    name: (typeof given.name === "string" ? given.name : "").slice(0, 40) || "Lane",
    steps: steps.map(({ name, value }) => ({ name, value: name === "top_k" ? Math.round(value) : value })),
    greedy: Boolean(given.greedy),
    beams: Math.round(bounded(given.beams, 0, 10, 0)),
    length_penalty: bounded(given.length_penalty, -10, 10, 1),
  };
}

/** The lanes of a state as they are run: whole, within bounds, at least one, at most one of them a beam search. */
export function lanesOf(state) {
  const given = Array.isArray(state.lanes) && state.lanes.length ? state.lanes : START.lanes;
  const lanes = given.slice(0, MOST_LANES).map(laneOf);
  const first = lanes.findIndex((lane) => lane.beams > 0);
  return lanes.map((lane, i) => (lane.beams > 0 && i !== first ? { ...lane, beams: 0 } : lane));
}

/** What a lane does, in a few words. */
export function summary({ steps, greedy, beams, length_penalty }) {
  if (beams) return `${beams} beam${beams > 1 ? "s" : ""}, length penalty ${length_penalty}`;
  const on = steps.filter(({ name, value }) => value !== OFF[name]);
  const zero = on.some(({ name, value }) => name === "temperature" && value === 0);
  const heeded = greedy || zero ? on.filter(({ name }) => name === "repetition_penalty") : on;
  const words = heeded.map(({ name, value }) => `${STEPS[name][0].toLowerCase()} ${value}`);
  if (greedy || zero) words.push("always the most probable token");
  return words.join(", ") || "drawn from the model's own distribution";
}

// The form of one lane ----------------------------------------------------------------------------------------------

/** A number in a field; `change(value)` gets what the visitor has entered, within the bounds. */
function numeric(label, title, low, high, step, value, change) {
  const { node, input } = field(label, { type: "number", min: low, max: high, step: step === 1 ? 1 : "any" }, title);
  input.value = value;
  input.addEventListener("change", () => {
    const entered = input.value.trim() ? bounded(Number(input.value), low, high, value) : value;
    input.value = step === 1 ? Math.round(entered) : entered;
    change(Number(input.value));
  });
  return node;
}

/** The steps of a lane and behind them those that it does not name, off. */
const allSteps = ({ steps }) => [
  ...steps,
  ...STEP_NAMES.filter((name) => !steps.some((step) => step.name === name)).map((name) => ({ name, value: OFF[name] })),
];

/** The steps in their order, each with its value and two buttons that move it. */
function stepFields(lane, edit) {
  const put = (i, value) =>
    edit((now) => ({ steps: allSteps(now).map((step, j) => (j === i ? { ...step, value } : step)) }));
  const swap = (i, j, key) =>
    edit((now) => {
      const steps = allSteps(now);
      [steps[i], steps[j]] = [steps[j], steps[i]];
      return { steps };
    }, key);
  return allSteps(lane).map(({ name, value }, i, all) => {
    const [label, low, high, step, title] = STEPS[name];
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
      numeric(label, title, low, high, step, value, (x) => put(i, x)),
      ...arrows,
    );
  });
}

const WAYS = { draw: "Draw by probability", greedy: "Always the most probable (greedy)", beams: "Beam search" };

/**
 * The form. edit(change, key) is called with a function from the lane as it is now to what changes of it; with a `key`
 * the form must be made anew and the control of that key focused. `mayBeam`: no other lane is a beam search.
 */
export function laneForm(lane, { edit, remove, mayBeam }) {
  const name = field("Name", { type: "text", maxlength: 40 });
  name.input.value = lane.name;
  name.input.addEventListener("change", () => edit(() => ({ name: name.input.value.trim() || "Lane" })));
  const way = field("Strategy", { tag: "select", "data-key": "way" });
  way.input.append(...Object.entries(WAYS).map(([value, words]) => new Option(words, value)));
  /** @type {any} */ (way.input).options[2].disabled = !mayBeam;
  way.input.value = lane.beams ? "beams" : lane.greedy ? "greedy" : "draw";
  way.input.addEventListener("change", () => {
    const { value } = way.input;
    edit(() => ({ greedy: value === "greedy", beams: value === "beams" ? 4 : 0 }), "way");
  });
  const steps = lane.beams ? beamFields(lane, edit) : stepFields(lane, edit);
  const note = "Greedy heeds the repetition penalty and no other step.";
  const heeded = lane.greedy && !lane.beams ? h("p", "quiet", note) : null;
  const away = remove ? button("Remove this lane", "It is taken out of the race", remove, "small") : null;
  return h("div", "lane-form", name.node, way.node, heeded, ...steps, away);
}

function beamFields({ beams, length_penalty }, edit) {
  const penalty = "Finished hypotheses are ranked by log-probability / length ^ penalty";
  return [
    numeric("Beams", "Hypotheses followed at once", 1, 10, 1, beams, (x) => edit(() => ({ beams: x }))),
    numeric("Length penalty", penalty, -10, 10, 0.1, length_penalty, (x) => edit(() => ({ length_penalty: x }))),
  ];
}

// What is measured of a lane's tokens -------------------------------------------------------------------------------

/** Which tokens stand in an n-gram that has occurred before among these tokens: an array of booleans. */
export function repeated(ids, n) {
  const [seen, marks] = [new Set(), new Array(ids.length).fill(false)];
  for (let i = 0; i + n <= ids.length; i++) {
    const key = ids.slice(i, i + n).join();
    if (seen.has(key)) marks.fill(true, i, i + n);
    seen.add(key);
  }
  return marks;
}

/** {period, from} if the text has come to repeat its last `period` tokens: at least twice, and over 12 tokens. */
export function loop(ids) {
  for (let period = 1; 2 * period <= ids.length; period++) {
    let from = ids.length - period;
    while (from > 0 && ids[from - 1] === ids[from - 1 + period]) from--;
    if (ids.length - from >= Math.max(12, 2 * period)) return { period, from };
  }
  return null;
}

/** Different n-grams / all n-grams (Li et al. 2016, "distinct-n"); NaN where there is none. */
export function distinct(ids, n) {
  const total = ids.length - n + 1;
  if (total < 1) return NaN;
  return new Set(Array.from({ length: total }, (_, i) => ids.slice(i, i + n).join())).size / total;
}

/** The first index at which `ids` differs from `base` as far as both have come; -1 for none. */
export function divergence(ids, base) {
  const n = Math.min(ids.length, base.length);
  for (let i = 0; i < n; i++) if (ids[i] !== base[i]) return i;
  return -1;
}

/** Everything under a lane, of its tokens [{id, logprob}]. */
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
