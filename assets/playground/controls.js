// The left column of the panel "Write": model and prompt, then what can be turned: presets, the chain of five steps,
// greedy, seed and length. It only writes to lab.state and shows what stands there.
//
//   const { source, settings, update } = controls(lab);   // two elements; update(changed keys, about)
//
// In the chain: a handle moves its step by drag or by arrow keys, Alt and an arrow key do from anywhere in the step.

import { h } from "../page/dom.js";
import { button, field, number } from "../page/parts.js";
import { OFF, STEP_NAMES, LARGEST_SEED } from "./core.js";

const range = (from, to, by) => Array.from({ length: Math.round((to - from) / by) + 1 }, (_, i) => +(from + i * by).toFixed(6));

/** Every whole number to 30, then in growing strides to V, then off. */
function counts(V) {
  const values = [];
  for (let k = 1; k < V; k = k < 30 ? k + 1 : Math.round(k * 1.06)) values.push(k);
  return [...values, V, 0];
}

// `on`: what a step is switched on with; `values`: what its slider stands on, from left to right.
const STEPS = {
  repetition_penalty: {
    label: "Repetition penalty",
    title: "Tokens that stand in the context already lose: positive logits are divided by this, negative ones multiplied. 1 is off.",
    on: 1.2,
    values: () => range(0.5, 2, 0.01),
    holds: (x) => x >= 1e-9 && x <= 1e9,
    rule: "Give a number above 0; 1 turns it off.",
  },
  temperature: {
    label: "Temperature",
    title: "The logits are divided by this: below 1 the probable gets more probable, above 1 all get more equal. 0 is greedy, 1 is off.",
    on: 0.8,
    values: () => range(0, 3, 0.01),
    holds: (x) => x === 0 || (x >= 1e-9 && x <= 1e9),
    rule: "Give 0 (greedy) or a number above it; 1 turns it off.",
  },
  top_k: {
    label: "Top-k",
    title: "Only the k most probable tokens stay. 0 is off.",
    on: 40,
    values: counts,
    holds: (x) => Number.isInteger(x) && x >= 0 && x <= 1e9,
    rule: "Give a whole number of at least 1; 0 turns it off.",
  },
  top_p: {
    label: "Top-p (nucleus)",
    title: "The most probable tokens stay, up to and with the one that makes their sum reach p. 1 is off.",
    on: 0.9,
    values: () => range(0.01, 1, 0.01),
    holds: (x) => x > 0 && x <= 1,
    rule: "Give a number above 0 and at most 1; 1 turns it off.",
  },
  min_p: {
    label: "Min-p",
    title: "Tokens stay that are at least this fraction as probable as the most probable one. 0 is off.",
    on: 0.05,
    values: () => range(0, 1, 0.01),
    holds: (x) => x >= 0 && x <= 1,
    rule: "Give a number from 0 to 1; 0 turns it off.",
  },
};

export const STEP_LABELS = Object.fromEntries(STEP_NAMES.map((name) => [name, STEPS[name].label]));

/** Steps from elsewhere (a link, a scene) made whole: each known step once, with a possible value, in their order. */
export function wholeChain(steps) {
  const found = new Map();
  for (const { name, value } of Array.isArray(steps) ? steps.filter((item) => item) : []) {
    if (Object.hasOwn(STEPS, name) && typeof value === "number" && STEPS[name].holds(value) && !found.has(name)) found.set(name, value);
  }
  for (const name of STEP_NAMES) if (!found.has(name)) found.set(name, OFF[name]);
  return [...found].map(([name, value]) => ({ name, value }));
}

const chainOf = (values) => STEP_NAMES.map((name) => ({ name, value: values[name] ?? OFF[name] }));
const PRESETS = [
  ["Precise", "Little chance: temperature 0.3, top-p 0.9", chainOf({ temperature: 0.3, top_p: 0.9 })],
  ["Balanced", "Temperature 0.8, top-k 40", chainOf({ temperature: 0.8, top_k: 40 })],
  ["Creative", "Temperature 1.1, min-p 0.05, repetition penalty 1.1", chainOf({ repetition_penalty: 1.1, temperature: 1.1, min_p: 0.05 })],
  ["Chaos", "Temperature 2 and nothing cut", chainOf({ temperature: 2 })],
];

// One step ------------------------------------------------------------------------------------------------------------

function step(lab, name, move) {
  const { label, title, on, values: valuesFor, holds, rule } = STEPS[name];
  let values = valuesFor(1024);
  let last = on; // what it comes back with when it is switched on again
  const slider = h("input");
  slider.type = "range";
  slider.min = "0";
  slider.setAttribute("aria-label", label);
  const value = h("input", "value");
  value.type = "number";
  value.step = "any";
  value.setAttribute("aria-label", `${label}, value`);
  const box = h("input");
  box.type = "checkbox";
  const name_ = h("label", "check", box, h("span", "", label));
  const handle = button("", `Move ${label}: drag it, or press the arrow keys`, () => {}, "handle");
  handle.setAttribute("aria-label", `Move ${label}`);
  const up = button("\u2191", `${label} one step earlier (Alt and arrow up)`, () => move(name, -1), "small");
  const down = button("\u2193", `${label} one step later (Alt and arrow down)`, () => move(name, 1), "small");
  up.setAttribute("aria-label", `${label} earlier`);
  down.setAttribute("aria-label", `${label} later`);
  const item = h("li", "step", handle, name_, value, up, down, slider);
  item.dataset.step = name;
  item.title = title;

  const set = (x) => lab.set({ steps: lab.state.steps.map((other) => (other.name === name ? { name, value: x } : other)) });
  slider.addEventListener("input", () => set(values[Number(slider.value)]));
  box.addEventListener("change", () => set(box.checked ? last : OFF[name]));
  value.addEventListener("input", () => {
    const x = value.value === "" ? NaN : Number(value.value);
    value.setCustomValidity(holds(x) ? "" : rule);
    value.title = value.validationMessage;
    if (holds(x)) set(x);
  });
  value.addEventListener("change", () => {
    value.setCustomValidity("");
    show(lab.state);
  });
  item.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || !(event.altKey || event.target === handle)) return;
    event.preventDefault();
    move(name, by);
  });

  function show(state) {
    const x = state.steps.find((other) => other.name === name)?.value ?? OFF[name];
    const off = x === OFF[name];
    if (!off) last = x;
    let nearest = values.length - 1;
    if (!(name === "top_k" && off)) values.forEach((v, i) => Math.abs(v - x) < Math.abs(values[nearest] - x) && (nearest = i));
    slider.value = String(nearest);
    slider.setAttribute("aria-valuetext", off ? "off" : String(x));
    if (value.validationMessage === "" && Number(value.value || NaN) !== x) value.value = String(x);
    box.checked = !off;
    item.classList.toggle("off", off);
    item.classList.toggle("left-out", state.greedy && name !== "repetition_penalty");
  }

  /** The slider of top-k ends at the vocabulary. */
  function open(V) {
    values = valuesFor(V);
    slider.max = String(values.length - 1);
  }

  open(1024);
  return { item, handle, show, open };
}

// The chain -----------------------------------------------------------------------------------------------------------

function chain(lab, say) {
  const list = h("ol", "chain");
  list.setAttribute("aria-label", "Steps from the model's logits to the draw, in their order");
  const parts = new Map(STEP_NAMES.map((name) => [name, step(lab, name, move)]));
  for (const part of parts.values()) drag(part);

  function move(name, by) {
    const steps = [...lab.state.steps];
    const from = steps.findIndex((other) => other.name === name);
    const to = from + by;
    if (to < 0 || to >= steps.length) return;
    [steps[from], steps[to]] = [steps[to], steps[from]];
    lab.set({ steps });
    say(`${STEPS[name].label} is now step ${to + 1} of ${steps.length}.`);
  }

  /** The neighbours move, never the item under the pointer: so the pointer stays caught. */
  function drag({ item, handle }) {
    const over = (event) => {
      for (const [other, by] of [[item.previousElementSibling, -1], [item.nextElementSibling, 1]]) {
        if (!other) continue;
        const { top, height } = other.getBoundingClientRect();
        if ((event.clientY - top - height / 2) * by <= 0) continue;
        if (by < 0) item.after(other);
        else item.before(other);
        return move(item.dataset.step, by);
      }
    };
    const end = () => {
      item.classList.remove("dragged");
      handle.removeEventListener("pointermove", over);
    };
    handle.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
      item.classList.add("dragged");
      handle.addEventListener("pointermove", over);
    });
    handle.addEventListener("pointerup", end);
    handle.addEventListener("pointercancel", end);
  }

  function show(state) {
    const focused = document.activeElement;
    state.steps.forEach(({ name }, i) => {
      const { item } = parts.get(name);
      if (list.children[i] !== item) list.insertBefore(item, list.children[i] ?? null);
    });
    if (document.activeElement !== focused && list.contains(focused)) /** @type {any} */ (focused).focus();
    for (const part of parts.values()) part.show(state);
  }

  return { list, show, open: (V) => parts.forEach((part) => part.open(V)) };
}

// All of it -----------------------------------------------------------------------------------------------------------

/** A number field bound to a state entry; what is no whole number in the range is not taken. */
function whole(lab, key, label, title, low, high) {
  const { node, input } = field(label, { type: "number", min: low, max: high, step: 1 }, title);
  input.addEventListener("input", () => {
    const x = input.value === "" ? NaN : Number(input.value);
    if (Number.isInteger(x) && x >= low && x <= high) lab.set({ [key]: x });
  });
  input.addEventListener("change", () => (input.value = String(lab.state[key])));
  return { node, show: (state) => Number(input.value || NaN) !== state[key] && (input.value = String(state[key])) };
}

function check(lab, key, label, title) {
  const box = h("input");
  box.type = "checkbox";
  box.addEventListener("change", () => lab.set({ [key]: box.checked }));
  const node = h("label", "check", box, h("span", "", label));
  node.title = title;
  return { node, show: (state) => (box.checked = state[key]) };
}

export function controls(lab) {
  const spoken = h("span", "spoken");
  spoken.setAttribute("role", "status");
  const model = field("Model", { tag: "select" }, "Who writes: the starter model, or one trained or downloaded here");
  model.input.addEventListener("change", () => lab.set({ model: model.input.value }));
  const about = h("p", "quiet hint");
  const prompt = field("Prompt", { tag: "textarea", rows: 3, spellcheck: "false" }, "The text that is continued. Without one, writing starts from <|endoftext|>.");
  let timer = 0;
  const take = () => {
    clearTimeout(timer);
    lab.set({ prompt: prompt.input.value });
  };
  prompt.input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(take, 200);
  });
  prompt.input.addEventListener("change", take);
  const source = h("div", "source", model.node, about, prompt.node);

  const presets = PRESETS.map(([label, title, steps]) => {
    const node = button(String(label), String(title), () => lab.set({ steps, greedy: false }), "small");
    return { node, show: (state) => node.setAttribute("aria-pressed", String(!state.greedy && JSON.stringify(state.steps) === JSON.stringify(steps))) };
  });
  const row = h("div", "row presets", ...presets.map(({ node }) => node));
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Presets");
  const steps = chain(lab, (sentence) => (spoken.textContent = sentence));
  const greedy = check(lab, "greedy", "Greedy: always the most probable token", "No chance at all. Of the steps, only the repetition penalty is heeded.");
  const seed = whole(lab, "seed", "Seed", "The same seed throws the same darts at the same positions", 0, LARGEST_SEED);
  const fresh = button("New seed", "Another seed, so other darts", () => lab.set({ seed: Math.floor(Math.random() * 100_000) }));
  const length = whole(lab, "length", "Tokens to write", "How many tokens Write adds at most", 1, 5000);
  const stop = check(lab, "stop", "Stop at <|endoftext|>", "The token that stands between texts ends the writing");
  const settings = h("details", "settings", h("summary", "", "Settings"), h("div", "inside", row, steps.list, greedy.node, h("div", "numbers", seed.node, fresh, length.node), stop.node, spoken));
  settings.open = true;
  const narrow = matchMedia("(max-width: 820px)");
  narrow.addEventListener("change", () => (settings.open ||= !narrow.matches));

  function models() {
    const names = lab.models.includes(lab.state.model) ? lab.models : [lab.state.model, ...lab.models];
    const options = names.map((name) => Object.assign(h("option", "", name), { value: name }));
    model.input.replaceChildren(...options);
    model.input.value = lab.state.model;
  }

  function update(changed) {
    if (changed.includes("models") || changed.includes("model")) models();
    if (changed.includes("prompt") && prompt.input.value !== lab.state.prompt) prompt.input.value = lab.state.prompt;
    for (const part of [steps, greedy, seed, length, stop, ...presets]) part.show(lab.state);
  }

  return {
    source,
    settings,
    update,
    /** A model has been opened. */
    open({ n_vocab, n_ctx }) {
      about.textContent = `${number(n_vocab)} tokens in its vocabulary, sees ${number(n_ctx)} at once`;
      steps.open(n_vocab);
      steps.show(lab.state);
    },
    /** On a telephone the settings make room for the text once something is written. */
    fold() {
      if (narrow.matches) settings.open = false;
    },
  };
}
