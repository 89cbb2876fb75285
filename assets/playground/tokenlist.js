// Tokens in a row, one of which can be chosen by mouse or by arrow keys: a list box. TextView (text.js) has two.

import { h, set, within } from "../page/dom.js";
import { shade } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { NEXT } from "./story.js";

/** @import { Numbers } from "./tree.js" */

/** choose(place): its token was chosen; enter(): Enter was pressed; words(place): what is known of a token.
 *  @typedef {{ choose: (place: number) => void, enter: () => void, words: (place: number) => string }} Acts */

export class TokenList {
  /** @type {Map<number, HTMLElement>} the tokens by their places */
  spans = new Map();
  /** @type {HTMLElement | null} */
  chosen = null;

  /** @param {string} className @param {string} label @param {Acts} acts */
  constructor(className, label, { choose, enter, words }) {
    this.node = set(h("span", className), {
      role: "listbox",
      "aria-label": `${label}; arrow keys choose one`,
      "aria-orientation": "horizontal",
      tabindex: 0,
    });
    this.node.addEventListener("click", (event) => {
      const span = within(event, ".tok");
      if (span) choose(Number(span.dataset.place));
    });
    this.node.addEventListener("pointerover", (event) => {
      const span = within(event, ".tok");
      if (span) span.title = words(Number(span.dataset.place));
    });
    this.node.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "Enter") enter();
      const to = this.target(event.key);
      if (to === undefined) return;
      event.preventDefault();
      if (to !== null) choose(to);
      this.chosen?.scrollIntoView({ block: "nearest" });
    });
  }

  /** The place that a key leads to, null for nowhere; undefined for other keys.
   *  @param {string} key
   *  @returns {number | null | undefined} */
  target(key) {
    const places = [...this.node.children].filter((child) => child.classList.contains("tok"));
    const at = this.chosen ? places.indexOf(this.chosen) : -1;
    const last = places.length - 1;
    const [before, after] = [at < 0 ? last : at - 1, at + 1];
    /** @type {Record<string, number>} */
    const targets = { ArrowLeft: before, ArrowUp: before, ArrowRight: after, ArrowDown: after, Home: 0, End: last };
    if (key === "Escape") return NEXT;
    if (!(key in targets)) return undefined;
    const found = places[targets[key]];
    return found instanceof HTMLElement ? Number(found.dataset.place) : null;
  }

  /** A token at the end.
   *  @param {number} place @param {HTMLElement} span */
  add(place, span) {
    this.keep(place, span);
    this.node.append(span);
  }

  /** @param {number} place @param {HTMLElement} span */
  keep(place, span) {
    span.dataset.place = String(place);
    this.spans.set(place, span);
  }

  clear() {
    this.select(null);
    this.spans = new Map();
    this.node.replaceChildren();
  }

  /** @param {number | null} place */
  select(place) {
    this.chosen?.setAttribute("aria-selected", "false");
    this.chosen?.classList.remove("selected");
    this.chosen = place === null ? null : (this.spans.get(place) ?? null);
    this.chosen?.setAttribute("aria-selected", "true");
    this.chosen?.classList.add("selected");
    if (this.chosen) this.node.setAttribute("aria-activedescendant", this.chosen.id);
    else this.node.removeAttribute("aria-activedescendant");
  }
}

export const newDecoder = () => new TextDecoder("utf-8", { ignoreBOM: true });

/** @param {string} id */
export function option(id) {
  const span = h("span", "tok");
  span.id = id;
  span.setAttribute("role", "option");
  span.setAttribute("aria-selected", "false");
  return span;
}

/** The token's text, with line ends that are seen.
 *  @param {HTMLElement} span @param {string} piece @param {Uint8Array} bytes */
export function fill(span, piece, bytes) {
  if (!piece) span.dataset.part = ""; // its character is not whole yet
  if (!piece.trim()) span.setAttribute("aria-label", visible(bytes) || "nothing");
  piece.split("\n").forEach((line, i) => span.append(...(i ? [h("i", "line-end"), "\n"] : []), line));
  return span;
}

/** The classes say all three colors; the text's data-color says which is seen.
 *  @param {HTMLElement} span
 *  @param {Numbers | null | undefined} numbers */
export function color(span, numbers) {
  if (!numbers) return;
  const { logprob, rank, entropy } = numbers;
  const steps = [shade("probability", Math.exp(logprob)), shade("rank", rank), shade("entropy", entropy)];
  const selected = span.classList.contains("selected") ? " selected" : "";
  span.className = `tok p${steps[0]} r${steps[1]} e${steps[2]}${selected}`;
  span.dataset.p = String(Math.exp(logprob));
}
