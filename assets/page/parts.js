// What panels share: the scale of colors, and small parts of forms.
//
// The classes belong to assets/playground/lab.css.

import { h, set } from "./dom.js";

// Colors: one hue, five steps and a sixth for hardly anything --------------------------------------------------------

/** @typedef {"probability" | "rank" | "entropy"} Scale */

const STEPS = {
  probability: [0.5, 0.2, 0.05, 0.01, 0.001],
  rank: [0, 2, 9, 99, 999], // 0: the most probable
  entropy: [0.4, 1.1, 2.1, 3.4, 5], // nats; as if among 1.5, 3, 8, 30, 150 equally probable tokens
};
const LEGENDS = {
  probability: ["from 50 %", "20", "5", "1", "0.1", "less"],
  rank: ["first", "to 3rd", "10th", "100th", "1,000th", "beyond"],
  entropy: ["up to 0.4 nats", "1.1", "2.1", "3.4", "5", "more"],
};

/** The step of the scale, 5 (probable, first, sure) to 0: class "shade-5". null where nothing is known.
 *  @param {Scale} kind @param {unknown} value */
export function shade(kind, value) {
  if (typeof value !== "number" || Number.isNaN(value)) return null;
  const i = STEPS[kind].findIndex((limit) => (kind === "probability" ? value >= limit * (1 - 1e-9) : value <= limit));
  return i < 0 ? 0 : 5 - i;
}

/** The scale with its words, to be put beside what is colored.
 *  @param {Scale} kind */
export function legend(kind) {
  const parts = LEGENDS[kind].map((words, i) => h("span", `shade-${5 - i}`, words));
  return h("span", "legend", ...parts);
}

// Parts of forms ------------------------------------------------------------------------------------------------------

let count = 0;

/** A real button; `title` says what it does in a sentence.
 *  @param {string} label @param {string} title @param {(event: MouseEvent) => void} onClick */
export function button(label, title, onClick, className = "") {
  const node = h("button", className, label);
  node.type = "button";
  if (title) node.title = title;
  node.addEventListener("click", onClick);
  return node;
}

/** Ctrl+Enter anywhere in `node` (on a Mac also Cmd+Enter) is as good as its main button.
 *  @param {HTMLElement} node @param {() => void} act */
export function onCtrlEnter(node, act) {
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    act();
  });
}

/** An input with a label that is seen: {node, input}. The attribute `tag` makes another element of it.
 *  @param {string} label
 *  @param {Record<string, string | number> & { tag?: "input" | "textarea" | "select" }} attributes */
export function field(label, attributes = {}, title = "") {
  const { tag = "input", ...others } = attributes;
  const input = /** @type {HTMLInputElement} */ (set(document.createElement(tag), others));
  input.id ||= `lab-field-${++count}`;
  const text = h("label", "", label);
  text.htmlFor = input.id;
  const node = h("div", "field", text, input);
  if (title) node.title = title;
  return { node, input };
}

/** @typedef {ReturnType<typeof trouble>} TroubleLine */

/** A line for what went wrong, with a button to try again: {node, show(sentence, retry), hide()}. */
export function trouble() {
  /** @type {(() => void) | undefined} */
  let retrying;
  const words = h("span", "");
  const again = button("Try again", "Send the request again", () => retrying?.());
  const node = h("div", "trouble", words, again);
  node.setAttribute("role", "alert");
  node.hidden = true;
  return {
    node,
    /** @param {string} sentence @param {() => void} [retry] */
    show(sentence, retry) {
      words.textContent = sentence;
      retrying = retry;
      again.hidden = !retry;
      node.hidden = false;
    },
    hide() {
      node.hidden = true;
    },
  };
}
