// How the presenter draws a scene, in large type: one function per `show`, from what gpt_demo/presenter/recordings.py
// records.
//
//   const node = draw(show, data, still);   // still: nothing moves
//
// The data may be a visitor's own file: texts go through textContent, numbers through number(), and where it does not
// hold together draw() throws, which the presenter says in a sentence.

import { h } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { shade, legend as scale } from "../page/parts.js";
import { STEPS, isStepName } from "../playground/steps.js";
import { facts, list, nameOf, prompt, share, source, strip, table, text, token, twoBars } from "./parts.js";
import { sizes, toy, training } from "./unasked.js";

/** @import { State } from "../playground/state.js" */
/** @import { Setting } from "../playground/steps.js" */
/** @import { TableRow } from "./parts.js" */
/** @import { DrawnToken, Path, Recording, Recordings, Show, StageShown } from "./recording.js" */

const ROWS = 7; // of a distribution, so that the dart has its place too
const PACE = 140; // ms per token that is played
/** @type {Record<string, string>} */
const OTHERS = { model: "Model", greedy: "Greedy" };

/** What a stage is called.
 *  @param {string} name */
const called = (name) => (isStepName(name) ? STEPS[name].label : (OTHERS[name] ?? name));

// Chapters ------------------------------------------------------------------------------------------------------------

/** @param {Recordings["tokens"]} data */
function tokens(data) {
  const pieces = list(data.prompt);
  const boxes = pieces.map((piece, i) =>
    h("span", `stage-box tint-${i % 2}`, h("code", "", nameOf(piece)), h("small", "", String(piece.id))),
  );
  return h(
    "div",
    "",
    h("div", "stage-boxes", ...boxes),
    facts(`${pieces.length} tokens, ${[...text(pieces)].length} characters`, source(data)),
  );
}

/** @param {Recordings["logits"]} data */
function logits(data) {
  const shown = [...list(data.tokens), data.lowest];
  const values = shown.map((entry) => Number(entry.logit));
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  /** @param {number} x */
  const place = (x) => (x - low) / (high - low || 1);
  /** @type {TableRow[]} */
  const rows = shown.map((entry, i) => {
    const [from, to] = [Math.min(0, values[i]), Math.max(0, values[i])].map(place);
    const bar = h("i", "stage-bar-final");
    bar.style.left = share(from);
    bar.style.width = share(to - from);
    const zero = h("b", "stage-zero");
    zero.style.left = share(place(0));
    const cells = [token(entry), h("div", "stage-bar", bar, zero), number(values[i], 2)];
    return i === shown.length - 1 ? { className: "stage-apart", cells } : cells;
  });
  const hidden = Number(data.n_vocab) - shown.length;
  return h(
    "div",
    "",
    prompt(data),
    table("three", ["Token", "", "Logit"], rows),
    facts(`the first ten and the last; ${number(hidden)} between`, source(data)),
  );
}

/** @param {Recordings["softmax"]} data */
function softmax(data) {
  const [stage] = list(data.stages);
  const highest = Number(data.tokens[0].logit);
  /** @type {TableRow[]} */
  const rows = list(data.tokens).map((entry, i) => {
    const bar = h("i", "stage-bar-final");
    bar.style.width = share(stage.probabilities[i]);
    const weight = Math.exp(Number(entry.logit) - highest);
    return [
      token(entry),
      number(Number(entry.logit), 2),
      number(weight, 3),
      h("div", "stage-bar", bar),
      percent(stage.probabilities[i]),
    ];
  });
  const rest = h("i", "stage-bar-final");
  rest.style.width = share(stage.others);
  const others = `${number(Number(data.n_vocab) - rows.length)} others`;
  rows.push({
    className: "stage-apart",
    cells: [h("span", "quiet", others), "", "", h("div", "stage-bar", rest), percent(stage.others)],
  });
  const heads = ["Token", "Logit z", "e^(z \u2212 highest)", "", "Probability"];
  return h("div", "", prompt(data), table("five", heads, rows), facts("together 100 %", source(data)));
}

/** What a stage did, in words.
 *  @param {StageShown} stage
 *  @param {number | undefined} value */
function did(stage, value) {
  const name = value === undefined ? called(stage.name) : `${called(stage.name)} ${value}`;
  const kept = `${number(stage.kept)} tokens`;
  if (stage.name === "model") return "";
  return stage.removed_mass > 0
    ? `${name} keeps ${kept} and removes ${percent(stage.removed_mass)}`
    : `${name}: all ${kept} stay`;
}

/** @param {Recordings["distribution"]} data @param {boolean} _still @param {Setting[]} steps */
function distribution(data, _still, steps = []) {
  const stages = list(data.stages);
  const [first, last] = [stages[0], stages[stages.length - 1]].map(({ probabilities, others }) => ({
    of: list(probabilities),
    rest: probabilities.slice(ROWS).reduce((sum, p) => sum + p, others),
  }));
  const shown = list(data.tokens).slice(0, ROWS);
  const rows = shown.map((entry, i) => {
    const kinds = [last.of[i] > 0 ? "" : "removed", entry.id === data.dart.id ? "hit" : ""].join(" ");
    return {
      className: kinds,
      cells: [token(entry), twoBars(first.of[i], last.of[i]), percent(first.of[i]), percent(last.of[i])],
    };
  });
  const others = h("span", "quiet", `${number(Number(data.n_vocab) - shown.length)} others`);
  rows.push({
    className: "stage-apart",
    cells: [others, twoBars(first.rest, last.rest), percent(first.rest), percent(last.rest)],
  });
  /** @param {StageShown} stage */
  const value = (stage) => steps.find((step) => step.name === stage.name)?.value;
  const words = facts(...stages.map((stage) => did(stage, value(stage))), source(data));
  return h("div", "", prompt(data), strip(data.dart, words), table("four", ["Token", "", "Model", "Drawn from"], rows));
}

// What moves ----------------------------------------------------------------------------------------------------------

/** Call show(1), show(2), ... show(count) at a pace, as long as the node is on the page; at once where `still`.
 *  @param {HTMLElement} node
 *  @param {number} count
 *  @param {(count: number) => void} show
 *  @param {boolean} still */
function play(node, count, show, still) {
  node.dataset.played = "no";
  let at = still ? count : Math.min(1, count);
  const next = () => {
    show(at);
    if (at >= count) return (node.dataset.played = "yes");
    at += 1;
    setTimeout(() => node.isConnected && next(), PACE);
  };
  next();
  return node;
}

/** @param {DrawnToken[]} pieces */
function writing(pieces) {
  const nodes = list(pieces).map((entry) => {
    const step = shade("probability", Math.exp(Number(entry.raw_logprob)));
    const node = h("span", step === null ? "stage-token" : `stage-token shade-${step}`, String(entry.text));
    node.title = `${nameOf(entry)}: ${percent(Math.exp(Number(entry.raw_logprob)))} in the model's distribution`;
    return node;
  });
  /** @param {number} count */
  const show = (count) => nodes.forEach((node, i) => (node.hidden = i >= count));
  return { nodes, show };
}

/** @param {DrawnToken[]} pieces */
const mean = (pieces) => pieces.reduce((sum, entry) => sum + Number(entry.raw_logprob), 0) / pieces.length;

/** @param {Recordings["text"]} data @param {boolean} still */
function written(data, still) {
  const { nodes, show } = writing(data.tokens);
  const page = h("p", "stage-text", h("span", "quiet", text(list(data.prompt))), ...nodes);
  const colors = h("p", "stage-facts", "Probability of each token ", scale("probability"));
  const node = h("div", "", page, colors, facts(`mean log-probability ${number(mean(data.tokens), 2)}`, source(data)));
  return play(node, nodes.length, show, still);
}

/** @param {Recordings["lanes"]} data @param {boolean} still */
function lanes(data, still) {
  const columns = list(data.lanes).map((lane) => ({ lane, ...writing(lane.tokens) }));
  const longest = Math.max(0, ...columns.map((column) => column.nodes.length));
  const cards = columns.map(({ lane, nodes }) =>
    h(
      "section",
      "stage-lane",
      h("h3", "", String(lane.name)),
      h("p", "stage-text", ...nodes),
      facts(`mean log-probability ${number(mean(lane.tokens), 2)}`),
    ),
  );
  const node = h(
    "div",
    "",
    prompt(data),
    h("div", "stage-lanes", ...cards),
    facts("the same darts for all", source(data)),
  );
  return play(node, longest, (count) => columns.forEach((column) => column.show(count)), still);
}

/** The texts that the search follows, step by step; at its end what it found, and greedy and drawn text beside it.
 *  @param {Recordings["beams"]} data
 *  @param {boolean} still */
function beams(data, still) {
  const steps = list(data.steps);
  let texts = [""];
  const lives = steps.map((step) => {
    const now = list(step.live).map((entry) => ({
      text: (texts[entry.parent] ?? "") + entry.text,
      logprob: entry.logprob,
    }));
    if (now.length) texts = now.map((entry) => entry.text);
    return now;
  });
  /** @param {{ text: string, logprob: number, name: string, kind?: string }} entry */
  const line = ({ text: words, logprob, name, kind = "" }) => ({
    className: kind,
    cells: [
      h("span", "quiet", name),
      h("span", "stage-words", words.replace(/\s*\n\s*/g, " \u21b5 ")),
      number(Number(logprob), 2),
    ],
  });
  /** @param {Path} entry */
  const path = (entry) => ({ text: list(entry.texts).join(""), logprob: entry.logprob });
  const found = list(data.best).map((entry, i) =>
    line({ ...path(entry), name: i ? `Beam ${i + 1}` : "Best beam", kind: i ? "" : "hit" }),
  );
  const beside = [
    line({ ...path(data.beside.greedy), name: "Greedy", kind: "stage-apart" }),
    line({ ...path(data.beside.drawn), name: "Drawn" }),
  ];
  const results = table("of-beams", ["", "Text", "Log-probability"], [...found, ...beside]);
  const going = h("div", "");
  const node = h(
    "div",
    "",
    prompt(data),
    going,
    facts(`${steps.length} steps`, "the nearer the log-probability is to 0, the more probable the text", source(data)),
  );
  /** @param {number} count */
  const show = (count) => {
    const live = (lives[count - 1] ?? []).map((entry, i) => line({ ...entry, name: `Beam ${i + 1}` }));
    going.replaceChildren(
      count >= steps.length ? results : table("of-beams", [`Step ${count}`, "Text", "Log-probability"], live),
    );
  };
  return play(node, steps.length, show, still);
}

/** @type {{ [Name in Show]: (data: Recordings[Name], still: boolean, steps?: Setting[]) => HTMLElement }} */
const DRAWN = { tokens, logits, softmax, distribution, text: written, lanes, beams, training, sizes, toy };

export const SHOWS = /** @type {Show[]} */ (Object.keys(DRAWN));

/** What a scene without a `show` is drawn as.
 *  @param {Partial<State>} state
 *  @returns {Show} */
export const showOf = ({ panel }) =>
  panel === "race" ? "lanes" : panel === "beams" || panel === "toy" ? panel : "text";

/** @typedef {(data: Recording, still: boolean, steps?: Setting[]) => HTMLElement} Draw */

/** An Error where the data are not what `show` draws.
 *  @param {Show} show
 *  @param {Recording} data
 *  @param {boolean} still
 *  @param {Setting[]} [steps] */
export const draw = (show, data, still, steps) => /** @type {Draw} */ (DRAWN[show])(data, still, steps);
