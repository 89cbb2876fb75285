// The text of the panel "Write": the prompt, then each token as a part that can be chosen, coloured by what the model
// thought of it. While it is written only new parts are added; nothing is built anew.
//
//   const text = new TextView({ choose(node), enter() });   // node: its index in the tree, or NEXT; enter: to its bars
//   text.show(prompt, tree, about); text.append(nodes); text.select(node); text.recolour();

import { h, within } from "../page/dom.js";
import { percent, number } from "../page/numbers.js";
import { shade } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { NEXT } from "./story.js";

export const COLOURS = ["probability", "rank", "entropy", "nothing"];

const nodeOf = (span) => (span.id === "lab-token-next" ? NEXT : Number(span.dataset.node));

export class TextView {
  constructor({ choose, enter }) {
    this.prompt = h("span", "prompt");
    this.next = nextToken();
    this.list = h("span", "written", this.next);
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Tokens written; arrow keys choose one");
    this.list.setAttribute("aria-orientation", "horizontal");
    this.list.tabIndex = 0;
    this.node = h("div", "text", this.prompt, this.list);
    this.tree = null;
    this.about = null;
    this.decoder = null;
    this.spans = new Map([[NEXT, this.next]]); // node -> element
    this.chosen = NEXT;
    this.listen(choose, enter);
  }

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
      if (to) choose(nodeOf(to));
      this.spans.get(this.chosen).scrollIntoView({ block: "nearest" });
    });
  }

  /** Where a key leads: an element, null for nowhere; undefined for other keys. */
  target(key) {
    const at = this.spans.get(this.chosen);
    return {
      ArrowLeft: at.previousElementSibling,
      ArrowUp: at.previousElementSibling,
      ArrowRight: at.nextElementSibling,
      ArrowDown: at.nextElementSibling,
      Home: this.list.firstElementChild,
      End: this.next,
      Escape: this.next,
    }[key];
  }

  /** What is known of a token, in words. */
  words(at) {
    const { id, way, numbers } = this.tree.nodes[at];
    const token = `${visible(this.about.vocabulary(id).bytes)}, id ${id}, ${way < 0 ? "inserted by hand" : "sampled"}`;
    if (!numbers) return token;
    const given = `${percent(Math.exp(numbers.logprob))}, rank ${number(numbers.rank + 1)}`;
    return `${token}. The model gave it ${given}; entropy ${number(numbers.entropy, 2)} nats`;
  }

  part(at) {
    const { id, way } = this.tree.nodes[at];
    const { bytes } = this.about.vocabulary(id);
    const ends = id === this.about.end_of_text;
    const piece = ends ? "<|endoftext|>" : this.decoder.decode(bytes, { stream: true });
    const span = option(`lab-token-${at}`);
    span.dataset.node = at;
    span.dataset.id = id;
    if (way < 0) span.dataset.by = "hand";
    if (ends) span.dataset.end = "";
    if (!piece) span.dataset.part = ""; // its character is not whole yet
    if (!piece.trim()) span.setAttribute("aria-label", visible(bytes) || "nothing");
    piece.split("\n").forEach((line, i) => span.append(...(i ? [h("i", "line-end"), "\n"] : []), line));
    return span;
  }

  append(nodes) {
    const { node } = this;
    const atEnd = node.scrollTop + node.clientHeight >= node.scrollHeight - 40;
    const fresh = document.createDocumentFragment();
    for (const at of nodes) {
      const span = this.part(at);
      colour(span, this.tree.nodes[at]);
      this.spans.set(at, span);
      fresh.append(span);
    }
    this.list.insertBefore(fresh, this.next);
    if (atEnd) node.scrollTop = node.scrollHeight;
  }

  select(at) {
    const before = this.spans.get(this.chosen);
    before?.setAttribute("aria-selected", "false");
    before?.classList.remove("selected");
    this.chosen = this.spans.has(at) ? at : NEXT;
    const span = this.spans.get(this.chosen);
    span.setAttribute("aria-selected", "true");
    span.classList.add("selected");
    this.list.setAttribute("aria-activedescendant", span.id);
  }

  show(words, tree, about) {
    this.tree = tree;
    this.about = about;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.prompt.textContent = words || "<|endoftext|>";
    this.prompt.classList.toggle("empty", !words);
    this.prompt.title = words ? "" : "Without a prompt, writing starts from this token";
    this.list.replaceChildren(this.next);
    this.spans = new Map([[NEXT, this.next]]);
    this.append(tree.path());
    this.select(NEXT);
  }

  recolour() {
    for (const [at, span] of this.spans) if (at !== NEXT) colour(span, this.tree.nodes[at]);
  }
}

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

/** The classes say all three colours; the text's data-colour says which is seen. */
function colour(span, { numbers }) {
  if (!numbers) return;
  const { logprob, rank, entropy } = numbers;
  const steps = [shade("probability", Math.exp(logprob)), shade("rank", rank), shade("entropy", entropy)];
  const selected = span.classList.contains("selected") ? " selected" : "";
  span.className = `tok p${steps[0]} r${steps[1]} e${steps[2]}${selected}`;
  span.dataset.p = Math.exp(logprob);
}
