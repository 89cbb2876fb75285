// What each stage of the chain did, as a table. It is redrawn at each move of a slider, so it keeps its elements.
//
//   const table = ledger();  table.draw(stages, steps);

import { h, set, setText } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { STEPS, STEP_NAMES, isOn } from "./steps.js";

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
const LABELS = { model: "The model", greedy: "Greedy" };

export function ledger() {
  const heads = COLUMNS.map(([, label, title]) => Object.assign(h("th", "", label), { title }));
  const head = h("tr", "", h("th", "", "stage"), ...heads);
  for (const cell of head.children) set(cell, { scope: "col" });
  const rows = new Map(["model", ...STEP_NAMES, "greedy"].map((name) => [name, row(name)]));
  const body = h("tbody", "", ...[...rows.values()].map(({ node }) => node));
  const caption = h("caption", "spoken", "What each stage of the chain does to the distribution");
  const node = h("table", "ledger", caption, h("thead", "", head), body);

  function row(name) {
    const setting = h("span", "setting");
    const label = h("th", "", h("span", "", LABELS[name] ?? STEPS[name].label), " ", setting);
    label.scope = "row";
    const cells = COLUMNS.map(([, , title]) => Object.assign(h("td"), { title }));
    const line = h("tr", "", label, ...cells);
    line.dataset.stage = name;
    return { node: line, setting, cells };
  }

  /** `steps`: all five in their order, those that are off too. */
  function draw(stages, steps) {
    const byName = new Map(stages.map((stage) => [stage.name, stage]));
    const order = ["model", ...steps.map(({ name }) => name), "greedy"];
    order.forEach((name, i) => {
      const { node: line, setting, cells } = rows.get(name);
      if (body.children[i] !== line) body.insertBefore(line, body.children[i] ?? null);
      const stage = byName.get(name);
      const value = steps.find((step) => step.name === name)?.value;
      const off = value !== undefined && !isOn({ name, value });
      line.hidden = name === "greedy" && !stage;
      line.classList.toggle("off", off || !stage);
      setText(setting, value === undefined ? "" : stage ? (off ? "off" : String(value)) : "left out");
      const numbers = stage && {
        kept: stage.kept,
        removed: stage.removedMass,
        renormalizer: stage.renormalizer,
        entropy: stage.entropy,
        perplexity: stage.perplexity,
      };
      COLUMNS.forEach(([key], column) => {
        line.dataset[key] = numbers ? numbers[key] : "";
        setText(cells[column], numbers ? written(key, numbers[key], off) : "");
      });
    });
  }

  return { node, draw };
}

function written(key, x, off) {
  if (key === "kept") return number(x);
  if (key === "removed") return off || x === 0 ? "\u2013" : percent(x);
  if (key === "renormalizer") return off || x === 1 ? "\u2013" : number(x, x < 100 ? 3 : 0);
  if (key === "entropy") return number(Math.max(0, x), 2);
  return number(x, x < 1000 ? 1 : 0);
}
