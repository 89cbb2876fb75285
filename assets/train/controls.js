// The chart's controls: two rows of radio buttons, a switch, and the words that explain the curves.

import { h, set } from "../page/dom.js";
import { MEANING } from "./words.js";

/** One of `options` [[value, text], ...] at a time: {group, inputs by value}; `apply(value)` hears of each change.
 *  @template {string} Value
 *  @param {string} name
 *  @param {string} title
 *  @param {[Value, string][]} options
 *  @param {Value} chosen
 *  @param {(value: Value) => void} apply */
export function choice(name, title, options, chosen, apply) {
  const inputs = /** @type {Record<Value, HTMLInputElement>} */ ({});
  const labels = options.map(([value, text]) => {
    const input = Object.assign(h("input"), { type: "radio", name, value, checked: value === chosen });
    set(input, { "aria-label": text }).addEventListener("change", () => apply(value));
    inputs[value] = input;
    const label = h("label", "", text, input);
    label.dataset.text = text;
    return label;
  });
  const heading = set(h("span", "", title), { "aria-hidden": "true" });
  const group = h("div", "tc-choice", heading, h("div", "tc-options", labels));
  return { group: set(group, { role: "radiogroup", "aria-label": title }), inputs };
}

/** "log" for the perplexity.
 *  @param {boolean} checked
 *  @param {(checked: boolean) => void} apply */
export function logSwitch(checked, apply) {
  const input = Object.assign(h("input"), { type: "checkbox", checked });
  set(input, { "aria-label": "Logarithmic scale of the perplexity" });
  input.addEventListener("change", () => apply(input.checked));
  return h("label", "tc-switch", input, "log");
}

export function meaning() {
  const rows = MEANING.flatMap(([term, text]) => [h("dt", "", term), h("dd", "", text)]);
  return h("details", "", h("summary", "", "What these curves say"), h("dl", "", rows));
}
