// The text of the panel "Write": the prompt, then each token as a part that can be chosen, colored by what the model
// thought of it. While it is written only new parts are added; nothing is built anew.
//
//   const text = new TextView({ choose(node), enter() });   // node: its index in the tree, or NEXT; enter: to its bars
//   text.show(prompt, tree, about); text.append(nodes); text.select(node); text.recolor();

import { h, set, within } from "../page/dom.js";
import { percent, number } from "../page/numbers.js";
import { shade } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { NEXT } from "./story.js";
import { Tree } from "./tree.js";

/** @import { About, Color } from "./core.js" */
/** @import { TreeNode } from "./tree.js" */

/** @type {Color[]} */
export const COLORS = ["probability", "rank", "entropy", "nothing"];

/** @param {string} name */
export const colorOf = (name) => COLORS.find((one) => one === name) ?? COLORS[0];

/** @param {HTMLElement} span */
const nodeOf = (span) => (span.id === "lab-token-next" ? NEXT : Number(span.dataset.node));

export class TextView {
  prompt = h("span", "prompt");
  next = nextToken();
  list = h("span", "written", this.next);
  node = h("div", "text", this.prompt, this.list);
  tree = new Tree();
  /** @type {About | null} */
  about = null;
  decoder = newDecoder();
  spans = new Map([[NEXT, this.next]]); // node -> element
  chosen = this.next;

  /** @param {{ choose: (node: number) => void, enter: () => void }} acts */
  constructor({ choose, enter }) {
    set(this.list, {
      role: "listbox",
      "aria-label": "Tokens written; arrow keys choose one",
      "aria-orientation": "horizontal",
      tabindex: 0,
    });
    this.listen(choose, enter);
  }

  /** @param {(node: number) => void} choose @param {() => void} enter */
  listen(choose, enter) {
    this.list.addEventListener("click", (event) => {
      const span = within(event, ".tok");
      if (span) choose(nodeOf(span));
    });
    this.list.addEventListener("pointerover", (event) => {
      const span = within(event, ".tok");
      if (span && span !== this.next) span.title = this.words(nodeOf(span));
    });
    this.list.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const to = this.target(event.key);
      if (event.key === "Enter") enter();
      if (to === undefined) return;
      event.preventDefault();
      if (to instanceof HTMLElement) choose(nodeOf(to));
      this.chosen.scrollIntoView({ block: "nearest" });
    });
  }

  /** Where a key leads: an element, null for nowhere; undefined for other keys.
   *  @param {string} key */
  target(key) {
    const at = this.chosen;
    /** @type {Record<string, Element | null>} */
    const targets = {
      ArrowLeft: at.previousElementSibling,
      ArrowUp: at.previousElementSibling,
      ArrowRight: at.nextElementSibling,
      ArrowDown: at.nextElementSibling,
      Home: this.list.firstElementChild,
      End: this.next,
      Escape: this.next,
    };
    return targets[key];
  }

  /** What is known of a token, in words.
   *  @param {number} at */
  words(at) {
    const { id, way, numbers } = this.tree.nodes[at];
    const bytes = this.about?.vocabulary(id).bytes ?? "";
    const token = `${visible(bytes)}, id ${id}, ${way < 0 ? "inserted by hand" : "sampled"}`;
    if (!numbers) return token;
    const given = `${percent(Math.exp(numbers.logprob))}, rank ${number(numbers.rank + 1)}`;
    return `${token}. The model gave it ${given}; entropy ${number(numbers.entropy, 2)} nats`;
  }

  /** @param {number} at @param {About} about */
  part(at, about) {
    const { id, way } = this.tree.nodes[at];
    const { bytes } = about.vocabulary(id);
    const ends = id === about.end_of_text;
    const piece = ends ? "<|endoftext|>" : this.decoder.decode(bytes, { stream: true });
    const span = option(`lab-token-${at}`);
    Object.assign(span.dataset, { node: at, id });
    if (way < 0) span.dataset.by = "hand";
    if (ends) span.dataset.end = "";
    if (!piece) span.dataset.part = ""; // its character is not whole yet
    if (!piece.trim()) span.setAttribute("aria-label", visible(bytes) || "nothing");
    piece.split("\n").forEach((line, i) => span.append(...(i ? [h("i", "line-end"), "\n"] : []), line));
    return span;
  }

  /** @param {number[]} nodes */
  append(nodes) {
    const { node, about } = this;
    if (!about) return;
    const atEnd = node.scrollTop + node.clientHeight >= node.scrollHeight - 40;
    const fresh = document.createDocumentFragment();
    for (const at of nodes) {
      const span = this.part(at, about);
      color(span, this.tree.nodes[at]);
      this.spans.set(at, span);
      fresh.append(span);
    }
    this.list.insertBefore(fresh, this.next);
    if (atEnd) node.scrollTop = node.scrollHeight;
  }

  /** @param {number} at */
  select(at) {
    this.chosen.setAttribute("aria-selected", "false");
    this.chosen.classList.remove("selected");
    this.chosen = this.spans.get(at) ?? this.next;
    this.chosen.setAttribute("aria-selected", "true");
    this.chosen.classList.add("selected");
    this.list.setAttribute("aria-activedescendant", this.chosen.id);
  }

  /** @param {string} words @param {Tree} tree @param {About | null} about */
  show(words, tree, about) {
    this.tree = tree;
    this.about = about;
    this.decoder = newDecoder();
    this.prompt.textContent = words || "<|endoftext|>";
    this.prompt.classList.toggle("empty", !words);
    this.prompt.title = words ? "" : "Without a prompt, writing starts from this token";
    this.list.replaceChildren(this.next);
    this.spans = new Map([[NEXT, this.next]]);
    this.append(tree.path());
    this.select(NEXT);
  }

  recolor() {
    for (const [at, span] of this.spans) if (at !== NEXT) color(span, this.tree.nodes[at]);
  }
}

const newDecoder = () => new TextDecoder("utf-8", { ignoreBOM: true });

/** @param {string} id */
function option(id) {
  const span = h("span", "tok");
  span.id = id;
  span.setAttribute("role", "option");
  span.setAttribute("aria-selected", "false");
  return span;
}

function nextToken() {
  const span = option("lab-token-next");
  span.classList.add("next");
  span.setAttribute("aria-label", "next token");
  span.title = "The next token";
  return span;
}

/** The classes say all three colors; the text's data-color says which is seen.
 *  @param {HTMLElement} span
 *  @param {TreeNode} node */
function color(span, { numbers }) {
  if (!numbers) return;
  const { logprob, rank, entropy } = numbers;
  const steps = [shade("probability", Math.exp(logprob)), shade("rank", rank), shade("entropy", entropy)];
  const selected = span.classList.contains("selected") ? " selected" : "";
  span.className = `tok p${steps[0]} r${steps[1]} e${steps[2]}${selected}`;
  span.dataset.p = String(Math.exp(logprob));
}
