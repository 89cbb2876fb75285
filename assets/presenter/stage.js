// How the presenter draws a scene, in large type: one function per `show`, from what gpt_demo/presenter/recordings.py records.
//
//   const node = draw(show, data, still);   // still: nothing moves
//
// The data may be a visitor's own file: texts go through textContent, numbers through number(), and where it does not
// hold together draw() throws, which the presenter says in a sentence.

import { h } from "../page/dom.js";
import { percent, number, shade, legend as scale } from "../page/parts.js";
import { STEP_LABELS } from "../playground/controls.js";
import * as S from "../playground/sampler.js";
import { WORDS, LOGITS, compute } from "../playground/toy.js";

const ROWS = 7; // of a distribution, so that the dart has its place too
const LONGEST = 150; // characters of a sample
const PACE = 140; // ms per token that is played
export const NAMES = {
  model: "Model",
  repetition_penalty: "Repetition penalty",
  temperature: "Temperature",
  top_k: "Top-k",
  top_p: "Top-p",
  min_p: "Min-p",
  greedy: "Greedy",
  ...STEP_LABELS,
};

// Small parts ---------------------------------------------------------------------------------------------------------

const share = (x) => `${100 * Math.min(1, Math.max(0, Number(x) || 0))}%`;
const list = (x) => {
  if (!Array.isArray(x)) throw new TypeError("a list is missing");
  return x;
};

/** A token as a name: blanks as signs, bytes that are no characters as bytes. */
function nameOf({ text, bytes }) {
  if (typeof bytes !== "string") return S.visible(String(text));
  return S.visible(Uint8Array.from(bytes.match(/[0-9a-f]{2}/g) ?? [], (pair) => parseInt(pair, 16)));
}

const token = (piece) => h("code", "stage-name", nameOf(piece));
const text = (pieces) => pieces.map((piece) => piece.text).join("");
const facts = (...parts) => h("p", "stage-facts", parts.filter(Boolean).join(" \u00b7 "));

/** Which model; shown with every scene that asks one. */
const source = ({ model, n_vocab }) => `${model}, ${number(n_vocab)} tokens`;

const prompt = (data) => h("p", "stage-prompt", h("span", "quiet", "After "), h("code", "stage-quoted", text(list(data.prompt))));

/** A table of rows, each a list of cells or {className, cells}. */
function table(className, heads, rows) {
  const cells = (tag, row) => row.map((cell, i) => h(tag, `c${i}`, typeof cell === "number" ? number(cell) : cell));
  const body = rows.map((row) => h("tr", row.className ?? "", ...cells("td", row.cells ?? row)));
  return h("table", `stage-table ${className}`, h("thead", "", h("tr", "", ...cells("th", heads.map((head) => h("span", "", head))))), h("tbody", "", ...body));
}

// Chapters ------------------------------------------------------------------------------------------------------------

function tokens(data) {
  const pieces = list(data.prompt);
  const boxes = pieces.map((piece, i) => h("span", `stage-box tint-${i % 2}`, h("code", "", nameOf(piece)), h("small", "", String(piece.id))));
  return h("div", "", h("div", "stage-boxes", ...boxes), facts(`${pieces.length} tokens, ${[...text(pieces)].length} characters`, source(data)));
}

function logits(data) {
  const shown = [...list(data.tokens), data.lowest];
  const values = shown.map((entry) => Number(entry.logit));
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const place = (x) => (x - low) / (high - low || 1);
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
  return h("div", "", prompt(data), table("three", ["Token", "", "Logit"], rows), facts(`the first ten and the last; ${number(hidden)} between`, source(data)));
}

function softmax(data) {
  const [stage] = list(data.stages);
  const highest = Number(data.tokens[0].logit);
  const rows = list(data.tokens).map((entry, i) => {
    const bar = h("i", "stage-bar-final");
    bar.style.width = share(stage.probabilities[i]);
    const weight = Math.exp(Number(entry.logit) - highest);
    return [token(entry), number(Number(entry.logit), 2), number(weight, 3), h("div", "stage-bar", bar), percent(stage.probabilities[i])];
  });
  const rest = h("i", "stage-bar-final");
  rest.style.width = share(stage.others);
  const others = `${number(Number(data.n_vocab) - rows.length)} others`;
  rows.push({ className: "stage-apart", cells: [h("span", "quiet", others), "", "", h("div", "stage-bar", rest), percent(stage.others)] });
  const heads = ["Token", "Logit z", "e^(z \u2212 highest)", "", "Probability"];
  return h("div", "", prompt(data), table("five", heads, rows), facts("together 100 %", source(data)));
}

/** What a stage did, in words. */
function did(stage, value) {
  const name = value === undefined ? NAMES[stage.name] ?? stage.name : `${NAMES[stage.name] ?? stage.name} ${value}`;
  const kept = `${number(stage.kept)} tokens`;
  if (stage.name === "model") return "";
  return stage.removed_mass > 0 ? `${name} keeps ${kept} and removes ${percent(stage.removed_mass)}` : `${name}: all ${kept} stay`;
}

/** Two bars, one in the other: what the model gave, and what is drawn from. */
function twoBars(raw, final) {
  const bars = [h("i", "stage-bar-raw"), h("i", "stage-bar-final")];
  bars[0].style.width = share(raw);
  bars[1].style.width = share(final);
  return h("div", "stage-bar", ...bars);
}

function distribution(data, _still, steps = []) {
  const stages = list(data.stages);
  const [first, last] = [stages[0], stages.at(-1)].map(({ probabilities, others }) => ({
    of: list(probabilities),
    rest: probabilities.slice(ROWS).reduce((sum, p) => sum + p, others),
  }));
  const shown = list(data.tokens).slice(0, ROWS);
  const rows = shown.map((entry, i) => {
    const kinds = [last.of[i] > 0 ? "" : "removed", entry.id === data.dart.id ? "hit" : ""].join(" ");
    return { className: kinds, cells: [token(entry), twoBars(first.of[i], last.of[i]), percent(first.of[i]), percent(last.of[i])] };
  });
  const others = h("span", "quiet", `${number(Number(data.n_vocab) - shown.length)} others`);
  rows.push({ className: "stage-apart", cells: [others, twoBars(first.rest, last.rest), percent(first.rest), percent(last.rest)] });
  const value = (stage) => steps.find((step) => step.name === stage.name)?.value;
  const words = facts(...stages.map((stage) => did(stage, value(stage))), source(data));
  return h("div", "", prompt(data), strip(data.dart, words), table("four", ["Token", "", "Model", "Drawn from"], rows));
}

/** The cumulative bar with the dart, and what there is to say of it; without a dart (greedy) only the latter. */
function strip(hit, words) {
  if (hit.u === null || hit.u === undefined) return words;
  const parts = list(hit.bar).map((entry) => {
    const part = h("span", "stage-part", entry.to - entry.from > 0.07 ? nameOf(entry) : "");
    part.style.left = share(entry.from);
    part.style.width = share(entry.to - entry.from);
    part.dataset.hit = String(entry.id === hit.id);
    return part;
  });
  const dart = h("i", "stage-dart");
  dart.style.left = share(hit.u);
  const struck = h("p", "stage-hit", `The dart at ${number(Number(hit.u), 3)} hits `, token(hit));
  const bar = h("div", "stage-strip", ...parts, dart);
  bar.setAttribute("aria-hidden", "true");
  const node = h("div", "", bar, h("div", "stage-beside", struck, words));
  node.dataset.hit = hit.id;
  return node;
}

// What moves ----------------------------------------------------------------------------------------------------------

/** Call show(1), show(2), ... show(count) at a pace, as long as the node is on the page; at once where `still`. */
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

function writing(pieces) {
  const nodes = list(pieces).map((entry) => {
    const step = shade("probability", Math.exp(Number(entry.raw_logprob)));
    const node = h("span", step === null ? "stage-token" : `stage-token shade-${step}`, String(entry.text));
    node.title = `${nameOf(entry)}: ${percent(Math.exp(Number(entry.raw_logprob)))} in the model's distribution`;
    return node;
  });
  return { nodes, show: (count) => nodes.forEach((node, i) => (node.hidden = i >= count)) };
}

const mean = (pieces) => pieces.reduce((sum, entry) => sum + Number(entry.raw_logprob), 0) / pieces.length;

function written(data, still) {
  const { nodes, show } = writing(data.tokens);
  const page = h("p", "stage-text", h("span", "quiet", text(list(data.prompt))), ...nodes);
  const colours = h("p", "stage-facts", "Probability of each token ", scale("probability"));
  const node = h("div", "", page, colours, facts(`mean log-probability ${number(mean(data.tokens), 2)}`, source(data)));
  return play(node, nodes.length, show, still);
}

function lanes(data, still) {
  const columns = list(data.lanes).map((lane) => ({ lane, ...writing(lane.tokens) }));
  const longest = Math.max(0, ...columns.map((column) => column.nodes.length));
  const cards = columns.map(({ lane, nodes }) =>
    h("section", "stage-lane", h("h3", "", String(lane.name)), h("p", "stage-text", ...nodes), facts(`mean log-probability ${number(mean(lane.tokens), 2)}`)),
  );
  const node = h("div", "", prompt(data), h("div", "stage-lanes", ...cards), facts("the same darts for all", source(data)));
  return play(node, longest, (count) => columns.forEach((column) => column.show(count)), still);
}

/** The texts that the search follows, step by step; at its end what it found, and greedy and drawn text beside it. */
function beams(data, still) {
  const steps = list(data.steps);
  let texts = [""];
  const lives = steps.map((step) => {
    const now = list(step.live).map((entry) => ({ text: (texts[entry.parent] ?? "") + entry.text, logprob: entry.logprob }));
    if (now.length) texts = now.map((entry) => entry.text);
    return now;
  });
  const line = ({ text: words, logprob, name, kind }) =>
    ({ className: kind ?? "", cells: [h("span", "quiet", name), h("span", "stage-words", words.replace(/\s*\n\s*/g, " \u21b5 ")), number(Number(logprob), 2)] });
  const path = (entry) => ({ text: list(entry.texts).join(""), logprob: entry.logprob });
  const found = list(data.best).map((entry, i) => line({ ...path(entry), name: i ? `Beam ${i + 1}` : "Best beam", kind: i ? "" : "hit" }));
  const beside = [["Greedy", data.beside.greedy], ["Drawn", data.beside.drawn]].map(([name, entry], i) => line({ ...path(entry), name, kind: i ? "" : "stage-apart" }));
  const results = table("of-beams", ["", "Text", "Log-probability"], [...found, ...beside]);
  const going = h("div", "");
  const node = h("div", "", prompt(data), going, facts(`${steps.length} steps`, "the nearer the log-probability is to 0, the more probable the text", source(data)));
  const show = (count) => {
    const live = (lives[count - 1] ?? []).map((entry, i) => line({ ...entry, name: `Beam ${i + 1}` }));
    going.replaceChildren(count >= steps.length ? results : table("of-beams", [`Step ${count}`, "Text", "Log-probability"], live));
  };
  return play(node, steps.length, show, still);
}

// Without a model -----------------------------------------------------------------------------------------------------

const clip = (words) => (words.length > LONGEST ? `${words.slice(0, LONGEST)}\u2026` : words);

function training(data) {
  const rows = list(data.samples).map((sample) => {
    const after = String(sample.text).startsWith(data.prompt) ? String(sample.text).slice(data.prompt.length) : String(sample.text);
    const words = h("span", "stage-words", h("span", "quiet", after === sample.text ? "" : data.prompt), clip(after.replace(/\s+/g, " ")));
    return [number(sample.step), number(Number(sample.val_loss), 2), words];
  });
  const how = data.temperature > 0 ? `drawn at temperature ${number(data.temperature, 1)}` : "greedy";
  return h("div", "", table("of-training", ["Step", "Loss", "What it writes"], rows), facts(`run ${data.run}`, how, `knowing nothing: loss ${number(Number(data.uniform), 2)}`));
}

function sizes(data) {
  const rows = list(data.sizes).map((size) => [size.name, ...["n_layer", "n_head", "n_embd", "n_params"].map((key) => number(size[key]))]);
  const [{ n_vocab, n_ctx }] = data.sizes;
  return h("div", "", table("of-sizes", ["Name", "Layers", "Heads", "Width", "Parameters"], rows), facts(`all: ${number(n_vocab)} tokens`, `context of ${number(n_ctx)} tokens`));
}

function toy(data) {
  const { words, parts, hit } = compute(data.toy);
  const piece = (id) => ({ id, text: WORDS[id] });
  const rows = words.map((entry, id) => {
    const cells = [token(piece(id)), twoBars(entry.raw, entry.final), number(LOGITS[id], 2), percent(entry.final)];
    return { className: [entry.kept ? "" : "removed", id === hit.id ? "hit" : ""].join(" "), cells };
  });
  const bar = parts.map((part) => ({ ...part, ...piece(part.id) }));
  const settings = facts(`temperature ${data.toy.temperature}`, data.toy.top_k ? `top-k ${data.toy.top_k}` : "");
  return h("div", "", strip({ ...piece(hit.id), u: data.toy.u, bar }, settings), table("four", ["Word", "", "Logit", "Drawn from"], rows));
}

const DRAWN = { tokens, logits, softmax, distribution, text: written, lanes, beams, training, sizes, toy };

export const SHOWS = Object.keys(DRAWN);

/** What a scene without a `show` is drawn as. */
export const showOf = ({ panel }) => ({ race: "lanes", beams: "beams", toy: "toy" })[panel] ?? "text";

export const draw = (show, data, still, steps) => DRAWN[show](data, still, steps);
