// Receipts: a few lines of Python on this package that give the same tokens as what is on screen.
//
//   const { title, code } = receipt(lab);
//
// Everything that comes from the state stands in the code as a Python literal, made by py(): nothing in a prompt, a
// name or a link can become code.

import { START } from "./state.js";
import { lanesOf } from "./lanes.js";
import { wayOf } from "./link.js";
import { WORDS, LOGITS, DRAWS, SEED } from "./toy.js";
import { Tree } from "./tree.js";

/** @import { Lab } from "./core.js" */
/** @import { State } from "./state.js" */
/** @import { Way } from "./tree.js" */

/** @typedef {number[] | (Way & { drawn: number })} TextPart ids put there by hand, or how many were drawn and how */
/** @typedef {{ title: string, code: string, first?: string }} Receipt `first`: what its first line prints */

/** A Python literal, in ASCII.
 *  @param {unknown} value
 *  @returns {string} */
export function py(value) {
  if (typeof value === "string") return `"${[...value].map(character).join("")}"`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(py).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value)
      .map(([key, item]) => `${py(key)}: ${py(item)}`)
      .join(", ")}}`;
  }
  return String(value);
}

/** @param {string} c */
function character(c) {
  if (c === "\\" || c === '"') return `\\${c}`;
  if (c === "\n") return "\\n";
  if (c >= " " && c <= "~") return c;
  const hex = Number(c.codePointAt(0)).toString(16);
  if (hex.length <= 2) return `\\x${hex.padStart(2, "0")}`;
  return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

// Parts of all of them ------------------------------------------------------------------------------------------------

/** @param {(string | string[])[]} parts */
const lines = (...parts) => `${parts.flat().join("\n")}\n`;

/** The model and the prompt's ids.
 *  @param {string} names
 *  @param {State} state */
const opening = (names, { model, prompt }) => [
  `from gpt_demo import ModelStore, data_home, ${names}`,
  "",
  `model, tokenizer = ModelStore(data_home(), see_all=True).load(${py(model)})`,
  `prompt = ${py(prompt)}`,
  "ids = tokenizer.encode(prompt) or [tokenizer.end_of_text]",
];

/** @param {State} state */
const end = ({ stop }) => (stop ? "tokenizer.end_of_text" : "None");
const closing = ["print(new)", "print(prompt + tokenizer.decode(new))"];

// What was written ----------------------------------------------------------------------------------------------------

const MOST_DRAWN = 5000; // by one call of race()

/** The text's tokens as parts: ids that were put there, or how many were drawn in which way.
 *  @param {State} state */
function partsOf({ tree }) {
  /** @type {TextPart[]} */
  const parts = [];
  let before = NaN;
  const text = Tree.from(tree);
  for (const at of text.path()) {
    const { id, way } = text.nodes[at];
    const how = way < 0 ? null : wayOf(text.ways[way]);
    const now = how ? way : -1;
    const last = now === before ? parts.at(-1) : undefined;
    if (!how) {
      if (Array.isArray(last)) last.push(id);
      else parts.push([id]);
    } else if (last && !Array.isArray(last) && last.drawn < MOST_DRAWN) last.drawn += 1;
    else parts.push({ drawn: 1, seed: how.seed, greedy: how.greedy, steps: how.steps });
    before = now;
  }
  return parts;
}

/** @param {State} state @param {Way} way @param {number} count @param {string} stop */
function oneWay(state, { steps, greedy, seed }, count, stop) {
  return lines(
    opening("lane_of, race", state),
    `lane = lane_of(${py({ steps, greedy })})`,
    `drawn = race(model, tokenizer.n_vocab, ids, [lane], seed=${py(seed)}, count=${py(count)}, end=${stop})`,
    "new = [token.id for token in drawn]",
    closing,
  );
}

/** @param {State} state @param {TextPart[]} parts */
function manyWays(state, parts) {
  return lines(
    opening("lane_of, race", state),
    "parts = [  # tokens inserted by hand, or how many were sampled and how",
    parts.map((part) => `    ${py(part)},`),
    "]",
    "new = []",
    "for part in parts:",
    "    if isinstance(part, dict):",
    '        drawn = race(model, tokenizer.n_vocab, ids + new, [lane_of(part)], part["seed"], part["drawn"], None)',
    "        part = [token.id for token in drawn]",
    "    new += part",
    closing,
  );
}

/** @param {Lab} lab
 *  @returns {Receipt} */
function written(lab) {
  const { state } = lab;
  const parts = partsOf(state);
  if (!parts.length) {
    const now = { steps: lab.steps, greedy: state.greedy, seed: state.seed };
    return {
      title: "The text that Write gives with these settings",
      code: oneWay(state, now, state.length, end(state)),
    };
  }
  const [only] = parts;
  const simple = parts.length === 1 && !Array.isArray(only);
  const code = simple ? oneWay(state, only, only.drawn, "None") : manyWays(state, parts);
  return { title: "The text on screen, token by token", code };
}

// The other panels ----------------------------------------------------------------------------------------------------

/** @param {Lab} lab
 *  @returns {Receipt} */
function raced({ state }) {
  const lanes = lanesOf(state);
  const code = lines(
    opening("lane_of, race", state),
    "lanes = [",
    lanes.map((lane) => `    ${py(lane)},`),
    "]",
    `events = race(model, tokenizer.n_vocab, ids, [*map(lane_of, lanes)], ${py(state.seed)}, ${py(state.length)}, ` +
      `${end(state)})`,
    "tokens = [[] for _ in lanes]",
    "for event in events:  # a beam search yields its whole path each time",
    "    whole = event.kind == 'beam_lane'",
    "    tokens[event.lane] = list(event.ids) if whole else [*tokens[event.lane], event.id]",
    "for lane, new in zip(lanes, tokens):",
    "    print(new)",
    '    print(lane["name"], "|", prompt + tokenizer.decode(new))',
  );
  return { title: "The lanes, from the same prompt with the same darts", code };
}

/** @param {Lab} lab
 *  @returns {Receipt} */
function toy({ state }) {
  const { temperature, top_k } = state.toy;
  const code = lines(
    "import torch",
    "",
    "from gpt_demo import draw_toy",
    "",
    `words = ${py(WORDS)}`,
    `logits = torch.tensor(${py(LOGITS)})`,
    `counts = draw_toy(logits, temperature=${py(temperature)}, top_k=${py(top_k)}, seed=${py(SEED)}, ` +
      `draws=${py(DRAWS)})`,
    "print(counts)",
    "for word, count in zip(words, counts):",
    "    print(word, count)",
  );
  return { title: "The 1,000 draws of the nine words", code, first: "the counts" };
}

/** @param {Lab} lab
 *  @returns {Receipt} */
function beams({ state }) {
  const { beams: count, length, length_penalty, early } = { ...START.beams, ...state.beams };
  const code = lines(
    opening("beam_search", state),
    `known = {"early_stopping": ${py(early)}, "n_vocab": tokenizer.n_vocab}`,
    `search = beam_search(model, ids, ${py(count)}, ${py(length)}, ${py(length_penalty)}, ${end(state)}, **known)`,
    "found = list(search)[-1].best",
    "print(list(found[0].ids))",
    "for path in found:",
    "    print(path.score, path.logprob, prompt + tokenizer.decode(path.ids))",
  );
  return { title: "The best texts of the beam search with these settings", code };
}

/** @type {Record<string, (lab: Lab) => Receipt>} */
const RECEIPTS = { write: written, race: raced, beams, toy };

/** @param {Lab} lab */
export const receipt = (lab) => {
  const { panel } = lab.state;
  return (Object.hasOwn(RECEIPTS, panel) ? RECEIPTS[panel] : written)(lab);
};
