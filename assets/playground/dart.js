// Two parts of the distribution's view: the bar that the dart hits, and the ledger of the stages.
//
//   const strip = dartStrip();  strip.draw(stages, u, nameOf, {greedy, chosen});   // -> id under the dart
//   const ledger = ledger();    ledger.draw(stages, steps);
//
// Both are redrawn at each move of a slider, so they keep their elements.

import { h } from "../page/dom.js";
import { percent, number, shade } from "../page/parts.js";
import { STEP_LABELS } from "./controls.js";
import { STEP_NAMES, OFF } from "./core.js";
import * as S from "./sampler.js";

const PARTS = 60; // of the bar; what follows is one part

/** Text that is only written where it has changed. */
export function put(node, text) {
  if (node.data !== undefined ? node.data !== text : node.textContent !== text) node.textContent = text;
}

// The dart ------------------------------------------------------------------------------------------------------------

export function dartStrip() {
  const parts = Array.from({ length: PARTS + 1 }, () => h("span", "part"));
  const bar = h("div", "strip", ...parts);
  const flag = h("span", "flag");
  const dart = h("div", "dart");
  const story = h("p", "story");
  const node = h("div", "dart-strip", h("div", "flight", flag), h("div", "wall", bar, dart), story);
  bar.setAttribute("role", "img");
  bar.title =
    "The distribution as one bar from 0 to 1, the most probable token first; each token is as wide as it is probable";
  flag.title = "The number drawn for this position, uniform from 0 to 1; it depends on the seed and the position alone";
  let width = 800;
  new ResizeObserver(([entry]) => (width = entry.contentRect.width || width)).observe(bar);

  function draw(stages, u, nameOf, { greedy, chosen }) {
    const found = S.bar(stages, PARTS);
    const hit = greedy ? { id: stages.at(-1).idAt(0), rank: 0, from: 0, to: 1 } : S.dart(stages, u);
    found.forEach(({ id, from, to }, i) => paint(parts[i], id, from, to, id === hit.id));
    for (let i = found.length; i < PARTS; i++) parts[i].hidden = true;
    const rest = found.length ? found.at(-1).to : 0;
    paint(parts[PARTS], null, rest, 1, hit.rank >= found.length);
    parts[PARTS].hidden = rest > 1 - 1e-9;

    const name = nameOf(hit.id);
    dart.hidden = flag.hidden = greedy;
    dart.style.left = flag.style.left = `${100 * u}%`;
    flag.style.transform = `translateX(${-100 * u}%)`;
    put(flag, `dart ${u.toFixed(4)}`);
    const now = greedy
      ? `Greedy throws no dart: it takes ${name}.`
      : `The dart at ${u.toFixed(4)} hits ${name} (id ${hit.id}), which has the bar from ${hit.from.toFixed(4)} ` +
        `to ${hit.to.toFixed(4)}: ${percent(hit.to - hit.from)}.`;
    const other = chosen !== null && chosen !== hit.id ? ` In the text stands ${nameOf(chosen)}.` : "";
    put(story, now + other);
    bar.setAttribute("aria-label", now);
    return hit.id;

    function paint(part, id, from, to, struck) {
      const share = to - from;
      const wide = id !== null && share * width > 14;
      part.hidden = false;
      part.style.left = `${100 * from}%`;
      part.style.width = `${100 * share}%`;
      part.className = `part shade-${id === null ? 0 : shade("probability", share)}${struck ? " hit" : ""}`;
      put(part, wide ? nameOf(id) : "");
    }
  }

  return { node, draw };
}

// The ledger ----------------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["kept", "kept", "Tokens that are not removed, of the whole vocabulary"],
  ["removed", "cut off", "Probability that the tokens removed here had in the stage before"],
  [
    "renormalizer",
    "\u00d7",
    "What cutting multiplied the probabilities of the others by: 1 / (1 \u2212 what was cut off)",
  ],
  ["entropy", "entropy", "Entropy of the distribution, in nats"],
  ["perplexity", "perpl.", "Perplexity, exp(entropy): as if so many tokens were equally probable"],
];
const LABELS = { model: "The model", ...STEP_LABELS, greedy: "Greedy" };

export function ledger() {
  const head = h(
    "tr",
    "",
    h("th", "", "stage"),
    ...COLUMNS.map(([, label, title]) => Object.assign(h("th", "", label), { title })),
  );
  for (const cell of head.cells) cell.scope = "col";
  const rows = new Map(["model", ...STEP_NAMES, "greedy"].map((name) => [name, row(name)]));
  const body = h("tbody", "", ...[...rows.values()].map(({ line }) => line));
  const caption = h("caption", "spoken", "What each stage of the chain does to the distribution");
  const node = h("table", "ledger", caption, h("thead", "", head), body);

  function row(name) {
    const setting = h("span", "setting");
    const label = h("th", "", h("span", "", LABELS[name]), " ", setting);
    label.scope = "row";
    const cells = COLUMNS.map(([, , title]) => Object.assign(h("td"), { title }));
    const line = h("tr", "", label, ...cells);
    line.dataset.stage = name;
    return { line, setting, cells };
  }

  /** `steps`: all five in their order, those that are off too. */
  function draw(stages, steps) {
    const byName = new Map(stages.map((stage) => [stage.name, stage]));
    const order = ["model", ...steps.map(({ name }) => name), "greedy"];
    order.forEach((name, i) => {
      const { line, setting, cells } = rows.get(name);
      if (body.children[i] !== line) body.insertBefore(line, body.children[i] ?? null);
      const stage = byName.get(name);
      const value = steps.find((step) => step.name === name)?.value;
      const off = value !== undefined && value === OFF[name];
      line.hidden = name === "greedy" && !stage;
      line.classList.toggle("off", off || !stage);
      put(setting, value === undefined ? "" : stage ? (off ? "off" : String(value)) : "left out");
      const numbers = stage && {
        kept: stage.kept,
        removed: stage.removedMass,
        renormalizer: stage.renormalizer,
        entropy: stage.entropy,
        perplexity: stage.perplexity,
      };
      COLUMNS.forEach(([key], column) => {
        node.dataset[key] = numbers ? numbers[key] : "";
        put(cells[column], numbers ? written(key, numbers[key], off) : "");
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
