// The five steps between a model's logits and the draw, in the order they are applied in unless somebody moves them.
//
// `off`, `low`, `high`, `open` (low itself is out of range), `whole` and `greedy` (as a setting also this value) are
// those of gpt_demo/decoding/steps.py; a test holds them equal. `on` is what a step is switched on with; `slider` and
// `scene` are the ends and the stride of its slider in Write and in the presenter.

const SMALLEST = 1e-9;
const LARGEST = 1e9;

/** @typedef {"repetition_penalty" | "temperature" | "top_k" | "top_p" | "min_p"} StepName */
/** @typedef {{ name: StepName, value: number }} Setting a step of a chain */
/** @typedef {[low: number, high: number, stride: number]} Range */

/** What is known of a step.
 *  @typedef {{
 *    label: string,
 *    title: string,
 *    rule: string,
 *    off: number,
 *    low: number,
 *    high: number,
 *    open: boolean,
 *    whole: boolean,
 *    greedy: number | null,
 *    on: number,
 *    slider: Range | null,
 *    scene: Range,
 *  }} StepKind */

/** @type {Record<StepName, StepKind>} */
export const STEPS = {
  repetition_penalty: {
    label: "Repetition penalty",
    title:
      "Penalizes tokens already in the context: positive logits are divided by this, negative ones multiplied. " +
      "1 is off.",
    rule: "a number above 0; 1 turns it off",
    off: 1, low: SMALLEST, high: LARGEST, open: false, whole: false, greedy: null,
    on: 1.2, slider: [0.5, 2, 0.01], scene: [0.5, 2, 0.05],
  },
  temperature: {
    label: "Temperature",
    title:
      "The logits are divided by this: below 1 sharpens the distribution, above 1 flattens it. 0 is greedy, 1 is off.",
    rule: "0 (greedy) or a number above it; 1 turns it off",
    off: 1, low: SMALLEST, high: LARGEST, open: false, whole: false, greedy: 0,
    on: 0.8, slider: [0, 3, 0.01], scene: [0.1, 3, 0.05],
  },
  top_k: {
    label: "Top-k",
    title: "Keeps only the k most probable tokens; of equally probable ones those with the lower ids. 0 is off.",
    rule: "a whole number of at least 1; 0 turns it off",
    off: 0, low: 0, high: LARGEST, open: false, whole: true, greedy: null,
    on: 40, slider: null, scene: [1, 50, 1], // Write's grows with the vocabulary
  },
  top_p: {
    label: "Top-p",
    title:
      "Keeps the smallest set of top tokens whose total probability reaches p (nucleus sampling). 1 is off.",
    rule: "a number above 0 and at most 1; 1 turns it off",
    off: 1, low: 0, high: 1, open: true, whole: false, greedy: null,
    on: 0.9, slider: [0.01, 1, 0.01], scene: [0.05, 1, 0.05],
  },
  min_p: {
    label: "Min-p",
    title: "Keeps tokens at least this fraction as probable as the most probable one. 0 is off.",
    rule: "a number from 0 to 1; 0 turns it off",
    off: 0, low: 0, high: 1, open: false, whole: false, greedy: null,
    on: 0.05, slider: [0, 1, 0.01], scene: [0, 0.5, 0.01],
  },
};

export const STEP_NAMES = /** @type {StepName[]} */ (Object.keys(STEPS));

/** @param {unknown} name
 *  @returns {name is StepName} */
export const isStepName = (name) => typeof name === "string" && Object.hasOwn(STEPS, name);

/** Whether the step can be set to this.
 *  @param {StepName} name
 *  @param {unknown} x
 *  @returns {x is number} */
export function holds(name, x) {
  const { low, high, open, whole, greedy } = STEPS[name];
  if (typeof x !== "number" || !Number.isFinite(x)) return false;
  if (x === greedy) return true;
  return x <= high && (open ? x > low : x >= low) && (!whole || Number.isInteger(x));
}

/** The possible value that is nearest, or nearly so; off for what is no number.
 *  @param {StepName} name
 *  @param {unknown} x */
export function nearest(name, x) {
  const { low, high, open, whole, greedy, off } = STEPS[name];
  if (holds(name, x)) return x;
  if (typeof x !== "number" || !Number.isFinite(x)) return off;
  if (greedy !== null && x <= greedy) return greedy;
  return Math.min(high, Math.max(open ? SMALLEST : low, whole ? Math.round(x) : x));
}

// Chains: lists of {name, value} --------------------------------------------------------------------------------------

/** @param {Setting} step */
export const isOn = ({ name, value }) => value !== STEPS[name].off;

/** The steps that do something, in their order.
 *  @param {Setting[]} steps */
export const active = (steps) => steps.filter(isOn);

/** @param {StepName} name */
const off = (name) => ({ name, value: STEPS[name].off });

/** All five in the usual order, from {name: value}; what is not named is off.
 *  @param {Partial<Record<StepName, number>>} values */
export const chainOf = (values) => STEP_NAMES.map((name) => ({ name, value: values[name] ?? STEPS[name].off }));

/** Those that a chain does not name, off.
 *  @param {Setting[]} steps */
export const missing = (steps) => STEP_NAMES.filter((name) => !steps.some((step) => step.name === name)).map(off);

/** All five: those of `steps` in their order, the others, off, where they would stand between them.
 *  @param {Setting[]} steps */
export function wholeChain(steps) {
  const all = steps.map(({ name, value }) => ({ name, value }));
  for (const step of missing(steps)) {
    const next = all.findIndex(({ name }) => STEP_NAMES.indexOf(name) > STEP_NAMES.indexOf(step.name));
    all.splice(next < 0 ? all.length : next, 0, step);
  }
  return all;
}

/** What is obeyed of a chain: with greedy decoding only the repetition penalty applies.
 *  @param {Setting[]} steps
 *  @param {boolean} greedy */
export const obeyed = (steps, greedy) => (greedy ? steps.filter(({ name }) => name === "repetition_penalty") : steps);

/** Whether a chain decodes greedily of itself: by temperature 0.
 *  @param {Setting[]} steps */
export const isGreedy = (steps) => steps.some(({ name, value }) => value === STEPS[name].greedy);
