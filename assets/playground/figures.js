// What is said of the text of the panel "Write": its numbers, what its colors mean, and how much of it the model sees.

import { h } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { legend } from "../page/parts.js";
import { COLORS, colorOf } from "./text.js";

/** @import { Lab } from "./core.js" */
/** @import { Color } from "./state.js" */
/** @import { Story } from "./story.js" */

/** @type {[string, string][]} */
const FIGURES = [
  ["tokens", "Tokens after the prompt"],
  ["tokens/s", "Generation speed, tokens per second, the last time"],
  [
    "log-probability",
    "Sum of the tokens' log-probabilities, natural logarithm, in the model's own distribution (before the chain)",
  ],
  [
    "perplexity",
    "exp(\u2212 log-probability / tokens), in the model's own distribution (before the chain): as uncertain as a " +
      "choice among this many equally likely tokens",
  ],
];

const COLORED =
  "The color of each token: its probability, its rank among all tokens, or the model's entropy before it";

/** @param {[string, string]} figure */
function figure([name, title]) {
  const value = h("dd", "", "\u2013");
  return { value, node: Object.assign(h("div", "", h("dt", "", name), value), { title }) };
}

/** @param {Lab} lab @param {Story} story */
export function figures(lab, story) {
  const shown = FIGURES.map(figure);
  const seen = h("p", "quiet seen");
  seen.setAttribute("role", "status");
  const colors = h("select", "", ...COLORS.map((name) => Object.assign(h("option", "", name), { value: name })));
  colors.title = COLORED;
  colors.addEventListener("change", () => lab.set({ color: colorOf(colors.value) }));
  const scale = h("span", "scale-box");
  const look = h("div", "row look", h("label", "check", h("span", "quiet", "Color"), colors), scale);
  const node = h("div", "row facts-row", h("dl", "facts", ...shown.map((one) => one.node)), look);

  /** Redraw all; `job`: {count, seconds} of what is being written, if its speed is known. Gives it as data too.
   *  @param {{ count: number, seconds: number } | null} job */
  function show(job = null) {
    const { tree, about, promptIds } = story;
    const [length, sum] = [tree.length(), tree.logprob()];
    const speed = job?.seconds ? number(job.count / job.seconds, 1) : shown[1].value.textContent;
    const [total, perplexity] = length ? [sum, Math.exp(-(sum ?? NaN) / length)] : [null, NaN];
    const values = [number(length), speed, number(total, 2), number(perplexity, 2)];
    values.forEach((value, i) => (shown[i].value.textContent = value));
    const all = promptIds.length + length;
    const most = about?.n_ctx ?? Infinity;
    seen.textContent = all > most ? `The model sees the last ${number(most)} of ${number(all)} tokens.` : "";
    return { tokens: length, prompt: promptIds.length, logprob: sum ?? "", seen: Math.min(all, most) };
  }

  /** The colors that are chosen; gives their name. */
  function color() {
    const kind = colorOf(lab.state.color);
    colors.value = kind;
    scale.replaceChildren(...(kind === "nothing" ? [] : [legend(kind)]));
    return kind;
  }

  return { node, seen, show, color };
}
