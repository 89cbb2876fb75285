// One step of the chain in the panel "Write": on or off, its value by slider or by number, and its place.

import { h } from "../page/dom.js";
import { button } from "../page/parts.js";
import { STEPS, holds, isOn } from "./steps.js";

/** @import { Lab } from "./core.js" */
/** @import { State } from "./state.js" */
/** @import { StepName } from "./steps.js" */

/** @typedef {(name: StepName, by: number) => void} Move change the place of a step */

/** @param {number} from @param {number} to @param {number} by */
const range = (from, to, by) =>
  Array.from({ length: Math.round((to - from) / by) + 1 }, (_, i) => +(from + i * by).toFixed(6));

/** Every whole number to 30, then in growing strides to V, then off.
 *  @param {number} V */
function counts(V) {
  const values = [];
  for (let k = 1; k < V; k = k < 30 ? k + 1 : Math.round(k * 1.06)) values.push(k);
  return [...values, V, 0];
}

/** What a step's slider stands on, from left to right, with a vocabulary of V tokens.
 *  @param {StepName} name
 *  @param {number} V */
function valuesOf(name, V) {
  const { slider } = STEPS[name];
  return slider ? range(...slider) : counts(V);
}

/** @param {string} type @param {string} label */
function input(type, label, className = "") {
  const node = h("input", className);
  node.type = type;
  node.setAttribute("aria-label", label);
  return node;
}

export class StepControl {
  box = Object.assign(h("input"), { type: "checkbox" });
  /** @type {number[]} what the slider stands on */
  values = [];

  /** @param {Lab} lab @param {StepName} name @param {Move} move */
  constructor(lab, name, move) {
    const { label, title, on } = STEPS[name];
    this.lab = lab;
    this.name = name;
    this.last = on; // what it comes back with when it is switched on again
    this.slider = input("range", label);
    this.slider.min = "0";
    this.value = input("number", `${label}, value`, "value");
    this.value.step = "any";
    this.handle = button("", `Move ${label}: drag it, or press the arrow keys`, () => {}, "handle");
    this.handle.setAttribute("aria-label", `Move ${label}`);
    const up = button("\u2191", `${label} one step earlier (Alt and arrow up)`, () => move(name, -1), "small");
    const down = button("\u2193", `${label} one step later (Alt and arrow down)`, () => move(name, 1), "small");
    up.setAttribute("aria-label", `${label} earlier`);
    down.setAttribute("aria-label", `${label} later`);
    const check = h("label", "check", this.box, h("span", "", label));
    this.item = h("li", "step", this.handle, check, this.value, up, down, this.slider);
    this.item.dataset.step = name;
    this.item.title = title;
    this.listen(move);
    this.open(1024);
  }

  /** @param {Move} move */
  listen(move) {
    const { name, value } = this;
    this.slider.addEventListener("input", () => this.set(this.values[Number(this.slider.value)]));
    this.box.addEventListener("change", () => this.set(this.box.checked ? this.last : STEPS[name].off));
    value.addEventListener("input", () => {
      const x = value.value === "" ? NaN : Number(value.value);
      value.setCustomValidity(holds(name, x) ? "" : `Give ${STEPS[name].rule}.`);
      value.title = value.validationMessage;
      if (holds(name, x)) this.set(x);
    });
    value.addEventListener("change", () => {
      value.setCustomValidity("");
      this.show(this.lab.state);
    });
    this.item.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
      if (!by || !(event.altKey || event.target === this.handle)) return;
      event.preventDefault();
      move(name, by);
    });
  }

  /** @param {number} x */
  set(x) {
    const { name } = this;
    this.lab.set({ steps: this.lab.state.steps.map((step) => (step.name === name ? { name, value: x } : step)) });
  }

  /** @param {State} state */
  show(state) {
    const { name, value } = this;
    const x = state.steps.find((step) => step.name === name)?.value ?? STEPS[name].off;
    const on = isOn({ name, value: x });
    if (on) this.last = x;
    this.slider.value = String(this.placeOf(x, on));
    this.slider.setAttribute("aria-valuetext", on ? String(x) : "off");
    if (value.validationMessage === "" && Number(value.value || NaN) !== x) value.value = String(x);
    const zero = state.steps.some((step) => step.name === "temperature" && step.value === 0);
    const idle = zero && !["repetition_penalty", "temperature"].includes(name); // greedy: nothing is cut
    this.box.checked = on && !idle;
    this.box.disabled = idle;
    this.item.classList.toggle("off", !on);
    this.item.classList.toggle("left-out", idle || (state.greedy && name !== "repetition_penalty"));
  }

  /** Where on the slider a value stands, or the value nearest to it; top-k is off at the end.
   *  @param {number} x
   *  @param {boolean} on */
  placeOf(x, on) {
    const { values } = this;
    let nearest = values.length - 1;
    if (this.name === "top_k" && !on) return nearest;
    values.forEach((v, i) => Math.abs(v - x) < Math.abs(values[nearest] - x) && (nearest = i));
    return nearest;
  }

  /** The slider of top-k ends at the vocabulary.
   *  @param {number} V */
  open(V) {
    this.values = valuesOf(this.name, V);
    this.slider.max = String(this.values.length - 1);
  }
}
