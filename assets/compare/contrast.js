// One text under two models, token by token (gpt_demo/ui/compare/contrast.py), for the mouse, keys and screen readers.
// Text of visitors reaches the page through textContent only.

import { h, set, setText } from "../page/dom.js";
import { clamp, number, odds } from "../page/numbers.js";
import { shade } from "../page/parts.js";
import { add } from "../page/views.js";
import { visible } from "../page/visible.js";

/** @import { Contrasted, Segment } from "../page/protocol.js" */

// What the colors show: a value of a segment, its class, and the legend ----------------------------------------------

const GAINS = [0.5, 2, 4]; // nats; beyond: the strongest color
const DIVERGENCES = [0.05, 0.15, 0.3, 0.45, 0.6]; // nats; at most ln 2 = 0.69

/** @param {Segment} segment */
function gainClass([, a, b]) {
  const gain = b - a;
  const step = GAINS.filter((limit) => Math.abs(gain) >= limit).length;
  return step ? `${gain > 0 ? "second" : "first"}-${step}` : "even";
}

/** @param {number} logprob */
const shadeOf = (logprob) => `shade-${shade("probability", Math.exp(logprob))}`;

/** The entries of a legend: [class, words].
 *  @type {Record<"gain" | "probability" | "divergence", (models: string[]) => [string, string][]>} */
const legends = {
  gain: (models) => [
    ["end", `\u2190 ${models[0]} more probable`],
    ["first-3", "4 nats and more"],
    ["first-2", "2"],
    ["first-1", "0.5"],
    ["even", "even"],
    ["second-1", "0.5"],
    ["second-2", "2"],
    ["second-3", "4 and more"],
    ["end", `${models[1]} more probable \u2192`],
  ],
  probability: () => [
    ["shade-5", "from 50 %"],
    ["shade-4", "20 %"],
    ["shade-3", "5 %"],
    ["shade-2", "1 %"],
    ["shade-1", "0.1 %"],
    ["shade-0", "less"],
  ],
  divergence: () => [
    ["js-0", "below 0.05"],
    ["js-1", "0.05"],
    ["js-2", "0.15"],
    ["js-3", "0.3"],
    ["js-4", "0.45"],
    ["js-5", "from 0.6 (most: 0.69)"],
  ],
};

/** A way to color the text.
 *  @typedef {{ label: string, title: string, color: (one: Segment) => string, legend: typeof legends.gain }} Mode */

/** @param {Contrasted} data */
function modesOf(data) {
  const [first, second] = data.models;
  /** @type {Mode[]} */
  const modes = [
    {
      label: "Difference",
      title: "in log-probability: which model found each piece more probable",
      color: gainClass,
      legend: legends.gain,
    },
    {
      label: first,
      title: `how probable ${first} found each piece`,
      color: (one) => shadeOf(one[1]),
      legend: legends.probability,
    },
    {
      label: second,
      title: `how probable ${second} found each piece`,
      color: (one) => shadeOf(one[2]),
      legend: legends.probability,
    },
  ];
  if (data.segments.some((one) => one[5] !== null)) {
    /** @type {Mode["color"]} */
    const color = ([, , , , , divergence]) => `js-${DIVERGENCES.filter((limit) => (divergence ?? 0) >= limit).length}`;
    const title =
      "Jensen-Shannon divergence of the two distributions over all tokens, in nats: 0 the same, 0.69 nothing in common";
    modes.push({ label: "Divergence", title, color, legend: legends.divergence });
  }
  return modes;
}

// The parts -----------------------------------------------------------------------------------------------------------

/** @param {Contrasted} data */
function totals(data) {
  const heads = [
    ["Tokens", "of the text, for its own tokenizer"],
    ["Loss", "nats per token of its own tokenizer"],
    ["Perplexity", "exp(loss)"],
    ["Bits per byte", "of the text; comparable whatever the tokenizers are"],
  ].map(([label, title]) => set(h("th", "", label), { scope: "col", title }));
  const rows = data.totals.map(([tokens, loss, perplexity, bits], i) => {
    const cells = [number(tokens), number(loss, 2), number(perplexity, 1), number(bits, 3)];
    return h("tr", "", set(h("th", "", data.models[i]), { scope: "row" }), ...cells.map((cell) => h("td", "", cell)));
  });
  const table = h(
    "table",
    "totals",
    h("thead", "", h("tr", "", set(h("th", "", "Model"), { scope: "col" }), ...heads)),
    h("tbody", "", ...rows),
  );
  return set(h("div", "scroll", table), { tabindex: 0, role: "region", "aria-label": "Totals" });
}

/** @param {number} n */
const counted = (n) => `${n} ${n === 1 ? "token" : "tokens"}`;

/** Three lines that always have their place: the piece, and what each model made of it.
 *  @param {HTMLElement} box
 *  @param {Contrasted} data
 *  @param {Segment | null} one */
function readOut(box, data, one) {
  if (!one) return void setText(box.children[0], "Point at a piece of the text, or choose it with the arrow keys.");
  const [text, a, b, n, m, divergence] = one;
  const gain = b - a;
  const better =
    Math.abs(gain) < 0.005
      ? "equally probable for both"
      : `${number(Math.abs(gain), 2)} nats more probable for ${data.models[gain > 0 ? 1 : 0]}`;
  const apart = divergence === null ? "" : `; divergence ${number(divergence, 2)}`;
  setText(box.children[0], `\u201c${visible(text)}\u201d: ${better}${apart}`);
  [
    [a, n],
    [b, m],
  ].forEach(([logprob, count], i) => {
    const log = number(logprob, 2);
    setText(box.children[1 + i], `${data.models[i]}: ${odds(logprob)} (log ${log}, ${counted(count)})`);
  });
}

/** @param {Segment} one @param {number} i */
function segmentSpan(one, i) {
  const span = h("span", "", visible(one[0]).replaceAll("\u21b5", "\u21b5\n"));
  if (/^\s/.test(one[0])) span.dataset.word = ""; // a line may end before it
  return set(span, { role: "option", id: `segment-${i}`, "aria-selected": "false" });
}

/** The text; `show(i)` is called with the piece that is read. Gives {node, select}.
 *  @param {Contrasted} data
 *  @param {(i: number) => void} show */
function textBox(data, show) {
  const spans = data.segments.map(segmentSpan);
  const node = set(h("div", "text", ...spans), {
    role: "listbox",
    tabindex: 0,
    "aria-label": "The text, piece by piece",
  });
  let at = -1;
  /** @param {number} i */
  function select(i) {
    spans[at]?.setAttribute("aria-selected", "false");
    at = clamp(i, 0, spans.length - 1);
    spans[at].setAttribute("aria-selected", "true");
    node.setAttribute("aria-activedescendant", spans[at].id);
    spans[at].scrollIntoView({ block: "nearest" });
    show(at);
  }
  /** @param {Event} event */
  const indexOf = ({ target }) => spans.findIndex((span) => span === target);
  node.addEventListener("pointerover", (event) => {
    const i = indexOf(event);
    if (i >= 0) show(i);
  });
  node.addEventListener("pointerleave", () => show(at));
  node.addEventListener("click", (event) => indexOf(event) >= 0 && select(indexOf(event)));
  node.addEventListener("focus", () => at < 0 && select(0));
  /** @type {Record<string, number>} */
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity };
  node.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    select(at + moves[event.key]);
  });
  return { node, spans, select };
}

/** @param {Contrasted} data @param {HTMLElement[]} spans */
function colored(data, spans) {
  const legend = h("div", "legend");
  const modes = modesOf(data);
  const buttons = modes.map((mode) => {
    const button = set(h("button", "", mode.label), { type: "button", title: mode.title });
    button.addEventListener("click", () => choose(mode));
    return button;
  });
  /** @param {Mode} mode */
  function choose(mode) {
    spans.forEach((span, i) => (span.className = mode.color(data.segments[i])));
    legend.replaceChildren(...mode.legend(data.models).map(([look, words]) => h("span", look, words)));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(modes[i] === mode)));
  }
  choose(modes[0]);
  return [set(h("div", "switch", ...buttons), { role: "group", "aria-label": "What the colors show" }), legend];
}

/** The ten pieces in which the models differ most; a click finds the piece in the text.
 *  @param {Contrasted} data
 *  @param {(i: number) => void} select */
function differences(data, select) {
  const most = data.segments
    .map(([text, a, b], i) => ({ text, a, b, gain: b - a, i }))
    .filter(({ gain }) => gain !== 0)
    .sort((x, y) => Math.abs(y.gain) - Math.abs(x.gain))
    .slice(0, 10);
  const rows = most.map(({ text, a, b, gain, i }) => {
    const find = set(h("button", "find", visible(text)), { type: "button", title: "show it in the text" });
    find.addEventListener("click", () => select(i));
    const change = `${gain > 0 ? "+" : ""}${number(gain, 2)}`;
    const cells = [odds(a), odds(b), change].map((cell) => h("td", "", cell));
    cells[2].className = gainClass(data.segments[i]);
    return h("tr", "", set(h("th", "", find), { scope: "row" }), ...cells);
  });
  const heads = ["Piece", ...data.models, "Difference"].map((label) => set(h("th", "", label), { scope: "col" }));
  heads[3].title =
    "of the log-probabilities, in nats: above 0 the second model found it more probable; 0.7 is twice, 2.3 ten times";
  const table = h("table", "most", h("thead", "", h("tr", "", ...heads)), h("tbody", "", ...rows));
  return [
    h("h3", "", "Where they differ most"),
    set(h("div", "scroll", table), { tabindex: 0, role: "region", "aria-label": "Where they differ most" }),
  ];
}

/** @param {HTMLElement} root @param {Contrasted | null} data */
function contrast(root, data) {
  root.dataset.segments = String(data?.segments.length ?? 0);
  if (!data)
    return root.replaceChildren(
      h("p", "quiet", "The text is shown here, colored by which model found each piece more probable."),
    );
  const out = h("div", "read-out", h("p", "piece"), h("p"), h("p"));
  const box = textBox(data, (i) => readOut(out, data, data.segments[i]));
  readOut(out, data, null);
  const cut = data.segments.every((one) => one[5] === null);
  const note =
    "The tokenizers differ, so the text is split where both split it; losses per token are not comparable, " +
    "bits per byte are.";
  root.replaceChildren(
    totals(data),
    ...(cut ? [h("p", "quiet", note)] : []),
    ...colored(data, box.spans),
    box.node,
    out,
    ...differences(data, box.select),
  );
}

add({ contrast });
