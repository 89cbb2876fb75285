// Scenes that ask no model: a training, the sizes of GPT-2, the nine words (see stage.js).

import { h } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { WORDS, LOGITS, compute } from "../playground/toy.js";
import { facts, list, strip, table, token, twoBars } from "./parts.js";

/** @import { Recordings } from "./recording.js" */

const LONGEST = 150; // characters of a sample

/** @param {string} words */
const clip = (words) => (words.length > LONGEST ? `${words.slice(0, LONGEST)}\u2026` : words);

/** @param {Recordings["training"]} data */
export function training(data) {
  const rows = list(data.samples).map((sample) => {
    const after = String(sample.text).startsWith(data.prompt)
      ? String(sample.text).slice(data.prompt.length)
      : String(sample.text);
    const words = h(
      "span",
      "stage-words",
      h("span", "quiet", after === sample.text ? "" : data.prompt),
      clip(after.replace(/\s+/g, " ")),
    );
    return [number(sample.step), number(Number(sample.val_loss), 2), words];
  });
  const how = data.temperature > 0 ? `drawn at temperature ${number(data.temperature, 1)}` : "greedy";
  return h(
    "div",
    "",
    table("of-training", ["Step", "Loss", "What it writes"], rows),
    facts(`run ${data.run}`, how, `knowing nothing: loss ${number(Number(data.uniform), 2)}`),
  );
}

/** @param {Recordings["sizes"]} data */
export function sizes(data) {
  const rows = list(data.sizes).map((size) => [
    size.name,
    ...[size.n_layer, size.n_head, size.n_embd, size.n_params].map((x) => number(x)),
  ]);
  const [{ n_vocab, n_ctx }] = data.sizes;
  return h(
    "div",
    "",
    table("of-sizes", ["Name", "Layers", "Heads", "Width", "Parameters"], rows),
    facts(`all: ${number(n_vocab)} tokens`, `context of ${number(n_ctx)} tokens`),
  );
}

/** @param {Recordings["toy"]} data */
export function toy(data) {
  const { words, parts, hit } = compute(data.toy);
  /** @param {number} id */
  const piece = (id) => ({ id, text: WORDS[id] });
  const rows = words.map((entry, id) => {
    const cells = [token(piece(id)), twoBars(entry.raw, entry.final), number(LOGITS[id], 2), percent(entry.final)];
    return { className: [entry.kept ? "" : "removed", id === hit.id ? "hit" : ""].join(" "), cells };
  });
  const bar = parts.map((part) => ({ ...part, ...piece(part.id) }));
  const settings = facts(`temperature ${data.toy.temperature}`, data.toy.top_k ? `top-k ${data.toy.top_k}` : "");
  return h(
    "div",
    "",
    strip({ ...piece(hit.id), u: data.toy.u, bar }, settings),
    table("four", ["Word", "", "Logit", "Drawn from"], rows),
  );
}
