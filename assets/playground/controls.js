// The left column of the panel "Write": model and prompt, then what can be turned: presets, the chain of five steps,
// greedy, seed and length. It only writes to lab.state and shows what stands there.
//
//   const { source, settings, update } = controls(lab);   // two elements; update(changed keys, about)

import { h } from "../page/dom.js";
import { button, field } from "../page/parts.js";
import { chainList } from "./chain.js";
import { cardWords } from "./core.js";
import { LARGEST_SEED, newSeed } from "./state.js";
import { chainOf } from "./steps.js";

/** @import { About, Change, Lab } from "./core.js" */
/** @import { State } from "./state.js" */
/** @import { Setting } from "./steps.js" */

/** @type {[label: string, title: string, steps: Setting[]][]} */
const PRESETS = [
  ["Precise", "Little chance: temperature 0.3, top-p 0.9", chainOf({ temperature: 0.3, top_p: 0.9 })],
  ["Balanced", "Temperature 0.8, top-k 40", chainOf({ temperature: 0.8, top_k: 40 })],
  [
    "Creative",
    "Temperature 1.1, min-p 0.05, repetition penalty 1.1",
    chainOf({ repetition_penalty: 1.1, temperature: 1.1, min_p: 0.05 }),
  ],
  ["Chaos", "Temperature 2, no truncation", chainOf({ temperature: 2 })],
];

/** A number field bound to a state entry; what is no whole number in the range is not taken.
 *  @param {Lab} lab
 *  @param {"seed" | "length"} key
 *  @param {string} label
 *  @param {string} title
 *  @param {number} low
 *  @param {number} high */
function whole(lab, key, label, title, low, high) {
  const { node, input } = field(label, { type: "number", min: low, max: high, step: 1 }, title);
  input.addEventListener("input", () => {
    const x = input.value === "" ? NaN : Number(input.value);
    if (Number.isInteger(x) && x >= low && x <= high) lab.set({ [key]: x });
  });
  input.addEventListener("change", () => (input.value = String(lab.state[key])));
  return {
    node,
    /** @param {State} state */
    show: (state) => Number(input.value || NaN) !== state[key] && (input.value = String(state[key])),
  };
}

/** @param {Lab} lab @param {"greedy" | "stop"} key @param {string} label @param {string} title */
function check(lab, key, label, title) {
  const box = h("input");
  box.type = "checkbox";
  box.addEventListener("change", () => lab.set({ [key]: box.checked }));
  const node = h("label", "check", box, h("span", "", label));
  node.title = title;
  return {
    node,
    /** @param {State} state */
    show: (state) => (box.checked = state[key]),
  };
}

/** @param {Lab} lab */
function modelField(lab) {
  const title = "A model that comes with the app, or one trained or downloaded here";
  const { node, input } = field("Model", { tag: "select" }, title);
  input.addEventListener("change", () => lab.set({ model: input.value }));
  function show() {
    const names = lab.models.includes(lab.state.model) ? lab.models : [lab.state.model, ...lab.models];
    input.replaceChildren(...names.map((name) => new Option(name, name)));
    input.value = lab.state.model;
  }
  return { node, show };
}

/** @param {Lab} lab */
function promptField(lab) {
  const title = "The text to continue. Without one, the text starts from <|endoftext|>.";
  const { node, input } = field("Prompt", { tag: "textarea", rows: 3, spellcheck: "false" }, title);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const take = () => {
    clearTimeout(timer);
    lab.set({ prompt: input.value });
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(take, 200);
  });
  input.addEventListener("change", take);
  input.addEventListener("keydown", (event) => event.key === "Enter" && take()); // Ctrl+Enter writes
  return {
    node,
    /** @param {State} state */
    show: (state) => input.value !== state.prompt && (input.value = state.prompt),
  };
}

/** @param {Lab} lab */
function presetButtons(lab) {
  const presets = PRESETS.map(([label, title, steps]) => {
    const node = button(label, title, () => lab.set({ steps, greedy: false }), "small");
    /** @param {State} state */
    const isSet = (state) => !state.greedy && JSON.stringify(state.steps) === JSON.stringify(steps);
    return {
      node,
      /** @param {State} state */
      show: (state) => node.setAttribute("aria-pressed", String(isSet(state))),
    };
  });
  const row = h("div", "row presets", ...presets.map(({ node }) => node));
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Presets");
  return {
    node: row,
    /** @param {State} state */
    show: (state) => presets.forEach((preset) => preset.show(state)),
  };
}

/** @type {[label: string, title: string]} */
const GREEDY = [
  "Greedy: always the most probable token",
  "No sampling. With greedy decoding only the repetition penalty applies.",
];
/** @type {[label: string, title: string]} */
const STOP = ["Stop at <|endoftext|>", "The token that separates texts ends the generation"];
const CHAIN = "The chain: from what the model says to what is sampled, one step after the other.";
const SEED = "The same seed throws the same darts at the same positions";

/** @param {Lab} lab */
export function controls(lab) {
  const spoken = h("span", "spoken");
  spoken.setAttribute("role", "status");
  const model = modelField(lab);
  const about = h("p", "quiet hint");
  const prompt = promptField(lab);
  const presets = presetButtons(lab);
  const steps = chainList(lab, (sentence) => (spoken.textContent = sentence));
  const greedy = check(lab, "greedy", ...GREEDY);
  const seed = whole(lab, "seed", "Seed", SEED, 0, LARGEST_SEED);
  const fresh = button("New seed", "A new seed throws new darts", () => lab.set({ seed: newSeed() }));
  const length = whole(lab, "length", "Tokens to write", "Maximum number of tokens that Write adds", 1, 5000);
  const stop = check(lab, "stop", ...STOP);
  const numbers = h("div", "numbers", seed.node, fresh, length.node);
  const chain = [h("p", "quiet hint", CHAIN), steps.list];
  const inside = h("div", "inside", presets.node, ...chain, greedy.node, numbers, stop.node, spoken);
  const settings = h("details", "settings", h("summary", "", "Settings"), inside);
  settings.open = true;
  const narrow = matchMedia("(max-width: 820px)");
  narrow.addEventListener("change", () => (settings.open ||= !narrow.matches));

  return {
    source: h("div", "source", model.node, about, prompt.node),
    settings,
    /** @param {Change[]} changed */
    update(changed) {
      if (changed.includes("models") || changed.includes("model")) model.show();
      if (changed.includes("prompt")) prompt.show(lab.state);
      for (const part of [steps, greedy, seed, length, stop, presets]) part.show(lab.state);
    },
    /** A model has been opened.
     *  @param {About} of */
    open(of) {
      about.textContent = cardWords(of);
      steps.open(of.n_vocab);
      steps.show(lab.state);
    },
    /** On a telephone the settings make room for the text once something is written. */
    fold() {
      if (narrow.matches) settings.open = false;
    },
  };
}
