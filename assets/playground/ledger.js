// What each stage of the chain did, as a table. It is redrawn at each move of a slider, so it keeps its elements.
//
//   const table = ledger();  table.draw(stages, steps);

import { h, set, setText } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { STEPS, STEP_NAMES, chainOf, isOn } from "./steps.js";

/** @import { Stage, StageName } from "./sampler.js" */
/** @import { Setting, StepName } from "./steps.js" */

/** @typedef {"kept" | "removed" | "renormalizer" | "entropy" | "perplexity"} Column */

/** @type {[Column, string, string][]} */
const COLUMNS = [
  ["kept", "kept", "Tokens that are not removed, of the whole vocabulary"],
  ["removed", "cut off", "Probability that the tokens removed here had in the stage before"],
  [
    "renormalizer",
    "\u00d7",
    "What cutting multiplied the probabilities of the others by: 1 / (1 \u2212 what was cut off)",
  ],
  ["entropy", "entropy", "Entropy of the distribution, in nats"],
  ["perplexity", "perpl.", "Perplexity, exp(entropy): as uncertain as a choice among this many equally likely tokens"],
];
/** @param {StageName} name */
const labelOf = (name) => (name === "model" ? "The model" : name === "greedy" ? "Greedy" : STEPS[name].label);

/** @param {Setting[]} steps
 *  @returns {StageName[]} */
const stagesOf = (steps) => ["model", ...steps.map(({ name }) => name), "greedy"];

export function ledger() {
  const heads = COLUMNS.map(([, label, title]) => Object.assign(h("th", "", label), { title }));
  const head = h("tr", "", h("th", "", "stage"), ...heads);
  for (const cell of head.children) set(cell, { scope: "col" });
  const rows = { model: row("model"), greedy: row("greedy"), ...rowsOfSteps() };
  const body = h("tbody", "", ...stagesOf(chainOf({})).map((name) => rows[name].node));
  const caption = h("caption", "spoken", "What each stage of the chain does to the distribution");
  const table = h("table", "ledger", caption, h("thead", "", head), body);
  const ties = h("p", "quiet ties");
  const node = h("div", "ledger-box", table, ties);

  function rowsOfSteps() {
    const entries = STEP_NAMES.map((name) => [name, row(name)]);
    return /** @type {Record<StepName, ReturnType<typeof row>>} */ (Object.fromEntries(entries));
  }

  /** @param {StageName} name */
  function row(name) {
    const setting = h("span", "setting");
    const label = h("th", "", h("span", "", labelOf(name)), " ", setting);
    label.scope = "row";
    const cells = COLUMNS.map(([, , title]) => Object.assign(h("td"), { title }));
    const line = h("tr", "", label, ...cells);
    line.dataset.stage = name;
    return { node: line, setting, cells };
  }

  /** `steps`: all five in their order, those that are off too.
   *  @param {Stage[]} stages
   *  @param {Setting[]} steps */
  function draw(stages, steps) {
    setText(ties, stages.map(tiesOf).join(" ").trim());
    const byName = new Map(stages.map((stage) => [stage.name, stage]));
    stagesOf(steps).forEach((name, i) => {
      const { node: line, setting, cells } = rows[name];
      if (body.children[i] !== line) body.insertBefore(line, body.children[i] ?? null);
      const stage = byName.get(name);
      const step = steps.find((one) => one.name === name);
      const off = step !== undefined && !isOn(step);
      line.hidden = name === "greedy" && !stage;
      line.classList.toggle("off", off || !stage);
      setText(setting, !step ? "" : stage ? (off ? "off" : String(step.value)) : "left out");
      const numbers = stage && {
        kept: stage.kept,
        removed: stage.removedMass,
        renormalizer: stage.renormalizer,
        entropy: stage.entropy,
        perplexity: stage.perplexity,
      };
      COLUMNS.forEach(([key], column) => {
        line.dataset[key] = numbers ? String(numbers[key]) : "";
        setText(cells[column], numbers ? written(key, numbers[key], off) : "");
      });
    });
  }

  return { node, draw };
}

/** Said, for other programs keep all of them (transformers does).
 *  @param {Stage} stage */
function tiesOf({ name, kept, ties }) {
  if (!ties || name === "greedy") return "";
  const [more, verb] = ties === 1 ? ["1 more token", "is"] : [`${number(ties)} more tokens`, "are"];
  const reason = `${more} ${verb} as probable as the last one kept, but cut: lower ids come first`;
  return `${labelOf(name)} keeps exactly ${number(kept)}; ${reason}.`;
}

/** @param {Column} key @param {number} x @param {boolean} off */
function written(key, x, off) {
  if (key === "kept") return number(x);
  if (key === "removed") return off || x === 0 ? "\u2013" : percent(x);
  if (key === "renormalizer") return off || x === 1 ? "\u2013" : number(x, x < 100 ? 3 : 0);
  if (key === "entropy") return number(Math.max(0, x), 2);
  return number(x, x < 1000 ? 1 : 0);
}
