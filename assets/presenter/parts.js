// Small parts of what the presenter draws (stage.js).

import { h } from "../page/dom.js";
import { clamp, number } from "../page/numbers.js";
import { visible } from "../page/visible.js";

/** @import { Hit, Piece, Prompted } from "./recording.js" */

/** A share as a width in CSS, of whatever a file holds.
 *  @param {unknown} x */
export const share = (x) => `${100 * clamp(Number(x) || 0, 0, 1)}%`;
/** A list, which a file may lack.
 *  @template Item
 *  @param {Item[]} x */
export const list = (x) => {
  if (!Array.isArray(x)) throw new TypeError("a list is missing");
  return x;
};

/** A token as a name: blanks as signs, bytes that are no characters as bytes.
 *  @param {Pick<Piece, "text" | "bytes">} piece */
export function nameOf({ text, bytes }) {
  if (typeof bytes !== "string") return visible(String(text));
  return visible(Uint8Array.from(bytes.match(/[0-9a-f]{2}/g) ?? [], (pair) => parseInt(pair, 16)));
}

/** @param {Piece} piece */
export const token = (piece) => h("code", "stage-name", nameOf(piece));
/** @param {Piece[]} pieces */
export const text = (pieces) => pieces.map((piece) => piece.text).join("");
/** @param {string[]} parts */
export const facts = (...parts) => h("p", "stage-facts", parts.filter(Boolean).join(" \u00b7 "));

/** Which model; shown with every scene that asks one.
 *  @param {Prompted} data */
export const source = ({ model, n_vocab }) => `${model}, ${number(n_vocab)} tokens`;

/** @param {Prompted} data */
export const prompt = (data) =>
  h("p", "stage-prompt", h("span", "quiet", "After "), h("code", "stage-quoted", text(list(data.prompt))));

/** @typedef {string | number | Node} Cell */
/** @typedef {Cell[] | { className: string, cells: Cell[] }} TableRow */

/** A table of rows, each a list of cells or {className, cells}.
 *  @param {string} className
 *  @param {string[]} heads
 *  @param {TableRow[]} rows */
export function table(className, heads, rows) {
  const body = rows.map((row) => {
    const [look, cells] = Array.isArray(row) ? ["", row] : [row.className, row.cells];
    return h("tr", look, ...cells.map((cell, i) => h("td", `c${i}`, typeof cell === "number" ? number(cell) : cell)));
  });
  const head = h("tr", "", ...heads.map((words, i) => h("th", `c${i}`, h("span", "", words))));
  return h("table", `stage-table ${className}`, h("thead", "", head), h("tbody", "", ...body));
}

/** Two bars, one in the other: what the model gave, and what is drawn from.
 *  @param {unknown} raw
 *  @param {unknown} final */
export function twoBars(raw, final) {
  const bars = [h("i", "stage-bar-raw"), h("i", "stage-bar-final")];
  bars[0].style.width = share(raw);
  bars[1].style.width = share(final);
  return h("div", "stage-bar", ...bars);
}

/** The cumulative bar with the dart, and what there is to say of it; without a dart (greedy) only the latter.
 *  @param {Hit} hit
 *  @param {HTMLElement} words */
export function strip(hit, words) {
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
  node.dataset.hit = String(hit.id);
  return node;
}

/** Everything on the page that is not `node`, in it or around it, and can be reached now.
 *  @param {HTMLElement} node */
export function beside(node) {
  /** @type {HTMLElement[]} */
  const found = [];
  for (let at = node; at.parentElement && at !== document.body; at = at.parentElement) {
    for (const other of at.parentElement.children) {
      if (other !== at && other instanceof HTMLElement && !other.inert) found.push(other);
    }
  }
  return found;
}
