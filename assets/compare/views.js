// The views of the Compare tab: the status of the work, the same prompts, the same text (gpt_demo/ui/compare_*.py).
// Drawn as those of page/views.js are: text of visitors and models reaches the page through textContent only.

import { h, set, setText, scrolling, svg } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { add } from "../page/views.js";
import { visible } from "../page/visible.js";

/** @import { Cell, Completions, LossRow, Losses, WorkStatus } from "../page/protocol.js" */

/** An element with an explanation: seen under the mouse, and read out.
 *  @template {HTMLElement} Kind
 *  @param {Kind} node
 *  @param {string} title */
const asked = (node, title) => set(node, { title });

/** Text on one line: line ends and characters that can't be seen are shown, blanks stay.
 *  @param {string} text */
const oneLine = (text) => (text.trim() ? text.split(" ").map(visible).join(" ") : visible(text));

const ROLES = {
  "thead, tbody": "rowgroup",
  tr: "row",
  td: "cell",
  "tbody th": "rowheader",
  "thead th": "columnheader",
};

/** A table that says it is one: on a telephone its cells stand below each other, which would hide it.
 *  @param {HTMLTableElement} table */
function named(table) {
  for (const [parts, role] of Object.entries(ROLES)) {
    table.querySelectorAll(parts).forEach((node) => node.setAttribute("role", role));
  }
  return set(table, { role: "table" });
}

// The status of the work --------------------------------------------------------------------------------------------

/** @param {HTMLElement} root @param {WorkStatus | null} data */
function work(root, data) {
  root.dataset.state = data?.state ?? "idle";
  if (!data) return root.replaceChildren();
  if (!root.querySelector("progress")) {
    const bar = set(h("progress"), { max: 1, "aria-label": "Progress" });
    root.replaceChildren(bar, set(h("p"), { role: "status" }), h("div", "troubles"));
  }
  const [bar, told, troubles] = root.children;
  const progress = /** @type {HTMLProgressElement} */ (bar);
  progress.hidden = data.state === "failed" || data.state === "stopped";
  progress.value = data.fraction;
  setText(told, data.text);
  told.className = data.state === "failed" ? "trouble" : "quiet";
  troubles.replaceChildren(...data.troubles.map((sentence) => h("p", "trouble", sentence)));
}

// The same prompts --------------------------------------------------------------------------------------------------

/** @param {Completions} data */
function completionTable(data) {
  const head = data.models.map((name) => set(h("th", "", name), { scope: "col" }));
  const rows = data.prompts.map((prompt) => {
    const begin = set(h("th", "prompt", prompt), { scope: "row", dir: "auto" });
    return h("tr", "", begin, ...data.models.map(() => h("td", "")));
  });
  const first = set(h("th", "", "Prompt"), { scope: "col" });
  const table = h("table", "completions", h("thead", "", h("tr", "", first, ...head)), h("tbody", "", ...rows));
  return named(table);
}

/** A cell: the prompt's last word, so that one sees how the text goes on, the new text, and how sure the model was.
 *  @param {Element} td
 *  @param {Cell | null} cell
 *  @param {string} prompt
 *  @param {string} model
 *  @param {boolean} failed */
function fill(td, cell, prompt, model, failed) {
  const key = JSON.stringify(cell ?? failed);
  if (td.getAttribute("data-key") === key) return;
  set(td, { "data-key": key });
  const name = h("span", "of", model); // seen on a telephone only
  if (!cell) return td.replaceChildren(name, h("span", "quiet", failed ? "\u2013" : "\u2026"));
  const [text, logprob, tokens] = cell;
  const words = text ? h("strong", "", oneLine(text)) : h("span", "quiet", " (ends here)");
  const title =
    `mean natural logarithm of the probability of its ${tokens} ${tokens === 1 ? "token" : "tokens"}: ` +
    `0 is certain, \u22122.3 is 10 % each`;
  const begin = h("span", "quiet", prompt.match(/\S{0,24}$/)?.[0]);
  td.replaceChildren(
    name,
    set(h("span", "", begin, words), { dir: "auto" }),
    asked(h("span", "logprob", number(logprob, 2)), title),
  );
}

/** {models, failed, prompts, rows: [[[text, logprob, tokens] or null]]}: rows are prompts, columns are models.
 *  @param {HTMLElement} root
 *  @param {Completions | null} data */
function completions(root, data) {
  root.dataset.cells = data ? String(data.rows.flat().filter(Boolean).length) : "";
  if (!data) return root.replaceChildren(h("p", "quiet", "Each prompt will be a row, each model a column."));
  const shape = JSON.stringify([data.models, data.prompts]);
  if (root.dataset.shape !== shape) {
    root.dataset.shape = shape;
    const hint =
      "The small number: mean log-probability of the new tokens in the model's own distribution, in nats; " +
      "nearer to 0 is more certain.";
    root.replaceChildren(scrolling(h("div", "scroll", completionTable(data)), "Completions"), h("p", "quiet", hint));
  }
  root.querySelectorAll("tbody tr").forEach((tr, i) => {
    data.models.forEach((name, j) => fill(tr.children[j + 1], data.rows[i][j], data.prompts[i], name, data.failed[j]));
  });
}

// The same text -----------------------------------------------------------------------------------------------------

/** @type {[keyof LossRow, string, number, string][]} */
const COLUMNS = [
  ["vocabulary", "Vocabulary", 0, "different tokens that its tokenizer knows"],
  [
    "train_loss",
    "Training loss",
    2,
    "nats per token on the first 90 % of the text; lower for models trained on it",
  ],
  ["val_loss", "Validation loss", 2, "nats per token on the last 10 % of the text"],
  [
    "train_perplexity",
    "Training perplexity",
    1,
    "exp(training loss): as uncertain as a choice among this many equally likely tokens",
  ],
  ["val_perplexity", "Validation perplexity", 1, "exp(validation loss)"],
  [
    "bits_per_byte",
    "Bits per byte",
    3,
    "on the last 10 % of the text; the only number here comparable across tokenizers",
  ],
  ["tokens", "Tokens", 0, "predicted, of both parts"],
  ["reported_loss", "Reported loss", 1, "of OpenAI\u2019s weights on The Verdict, as published, to one digit"],
];

/** @param {LossRow[]} rows */
function lossTable(rows) {
  const heads = COLUMNS.map(([, label, , title]) => asked(set(h("th", "", label), { scope: "col" }), title));
  /** @param {LossRow} row */
  const cells = (row) =>
    COLUMNS.map(([name, label, digits, title]) => {
      const value = number(row[name], digits);
      const words = name === "reported_loss" && row[name] ? `about ${value}, reported` : value;
      return asked(set(h("td", "", words), { "data-label": label }), title);
    });
  const body = rows.map((row) => h("tr", "", set(h("th", "", row.model), { scope: "row" }), ...cells(row)));
  const first = set(h("th", "", "Model"), { scope: "col" });
  return named(h("table", "", h("thead", "", h("tr", "", first, ...heads)), h("tbody", "", ...body)));
}

/** The smallest of 1, 2, 4, 6, 8, 10 times a power of ten that is at least x: the end of an axis.
 *  @param {number} x */
function roundUp(x) {
  const power = 10 ** Math.floor(Math.log10(x || 1));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((end) => end >= x * (1 - 1e-9)) ?? 10 * power;
}

/** @typedef {"train_loss" | "val_loss" | "bits_per_byte" | "reported_loss"} Measured */
/** `bars`: [what, of which part]; `mark`: what a line marks.
 *  @typedef {{ label: string, bars: [Measured, string][], mark: Measured | null, digits: number }} Measure */

/** @type {{ loss: Measure, bits: Measure }} */
const MEASURES = {
  loss: {
    label: "Loss (nats per token)",
    bars: [
      ["train_loss", "training"],
      ["val_loss", "validation"],
    ],
    mark: "reported_loss",
    digits: 2,
  },
  bits: { label: "Bits per byte", bars: [["bits_per_byte", "validation"]], mark: null, digits: 3 },
};

/** The bars of one model, lengths in percent of the picture, so that it fits every width.
 *  @param {LossRow} row
 *  @param {Measure} measure
 *  @param {number} end */
function bars(row, measure, end) {
  /** @param {number} value */
  const at = (value) => `${((86 * value) / end).toFixed(2)}%`;
  const shown = measure.bars.flatMap(([name, part]) => {
    const value = row[name];
    return value === null ? [] : [{ part, value, words: number(value, measure.digits) }];
  });
  const words = shown.map((one) => `${one.part} ${one.words}`);
  const mark = measure.mark && row[measure.mark];
  if (mark) words.push(`reported about ${number(mark, 1)}`);
  const height = 22 * measure.bars.length;
  const picture = svg("svg", { height, role: "img", "aria-label": `${row.model}: ${words.join(", ")}` });
  shown.forEach(({ part, value, words: written }, i) => {
    picture.append(svg("rect", { x: 0, y: 22 * i + 3, width: at(value), height: 16, class: part }));
    const over = mark && Math.abs(mark - value) < 0.14 * end && mark > value ? at(mark) : at(value);
    picture.append(setText(svg("text", { x: over, dx: 8, y: 22 * i + 16 }), written));
  });
  if (mark) picture.append(svg("line", { x1: at(mark), x2: at(mark), y1: 0, y2: height, class: "reported" }));
  return picture;
}

/** @param {LossRow[]} rows @param {Measure} measure */
function chart(rows, measure) {
  const { mark } = measure;
  const names = [...measure.bars.map(([name]) => name), ...(mark ? [mark] : [])];
  const end = roundUp(Math.max(0, ...rows.flatMap((row) => names.map((name) => row[name] ?? 0))));
  const lines = rows.flatMap((row) => [h("div", "model", row.model), bars(row, measure, end)]);
  const marked = mark && rows.some((row) => row[mark]);
  const keys = measure.bars.map(([, part]) => h("span", `key ${part}`, part));
  if (marked) keys.push(h("span", "key reported", "reported"));
  return [h("div", "keys", h("span", "", measure.label), ...keys), h("div", "bars", ...lines)];
}

/** @param {LossRow[]} rows */
function chartWithSwitch(rows) {
  const place = h("div", "chart");
  const measures = Object.values(MEASURES);
  const buttons = measures.map((measure) => {
    const button = set(h("button", "", measure.label), { type: "button" });
    button.addEventListener("click", () => choose(measure));
    return button;
  });
  /** @param {Measure} measure */
  function choose(measure) {
    place.replaceChildren(...chart(rows, measure));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(measures[i] === measure)));
  }
  choose(MEASURES.loss);
  return [set(h("div", "switch", ...buttons), { role: "group", "aria-label": "What the bars show" }), place];
}

/** {rows, text, measured, of, mixed}: the chart, the table, and what can be compared.
 *  @param {HTMLElement} root
 *  @param {Losses | null} data */
function losses(root, data) {
  root.dataset.rows = String(data?.rows.length ?? 0);
  if (!data?.rows.length)
    return root.replaceChildren(h("p", "quiet", "The losses of each model on the text appear here."));
  const cut =
    data.measured < data.of
      ? `the first ${number(data.measured, 0)} of its ${number(data.of, 0)} characters`
      : `${number(data.of, 0)} characters`;
  const note =
    "Losses and perplexities are per token, so they compare only models with the same tokenizer; bits per byte " +
    "compare all.";
  const words = data.mixed ? `These models have different tokenizers. ${note}` : note;
  root.replaceChildren(
    h("p", "quiet", `${data.text}: ${cut}. The first 90 % count as training, the last 10 % as validation.`),
    ...chartWithSwitch(data.rows),
    scrolling(h("div", "scroll", lossTable(data.rows)), "Losses"),
    h("p", data.mixed ? "message notice" : "quiet", words),
  );
}

add({ work, completions, losses });
