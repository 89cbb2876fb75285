// The text of the panel "Write": the tokens of the prompt, then each token written, as parts that can be chosen,
// colored by what the model thought of them. While it is written only new parts are added; nothing is built anew.
//
//   const text = new TextView({ choose(place), enter() });   // place: see story.js; enter: to its bars
//   text.show(prompt, story); text.append(nodes); text.select(place); text.recolor();

import { h } from "../page/dom.js";
import { percent, number } from "../page/numbers.js";
import { visible } from "../page/visible.js";
import { NEXT, givenAt, givenIndex } from "./story.js";
import { TokenList, color, fill, newDecoder, option } from "./tokenlist.js";
import { Tree } from "./tree.js";

/** @import { About } from "./core.js" */
/** @import { Color } from "./state.js" */
/** @import { Story } from "./story.js" */
/** @import { Numbers } from "./tree.js" */

/** @type {Color[]} */
export const COLORS = ["probability", "rank", "entropy", "nothing"];

/** @param {string} name */
export const colorOf = (name) => COLORS.find((one) => one === name) ?? COLORS[0];

export class TextView {
  tree = new Tree();
  /** @type {About | null} */
  about = null;
  /** @type {{ ids: number[], numbers: (Numbers | null)[] }} the prompt's tokens, and what the model thinks of them */
  given = { ids: [], numbers: [] };
  decoder = newDecoder();
  next = nextToken();

  /** @param {{ choose: (place: number) => void, enter: () => void }} acts */
  constructor(acts) {
    const words = (/** @type {number} */ at) => this.words(at);
    this.prompt = new TokenList("prompt", "Tokens of the prompt", { ...acts, words });
    this.written = new TokenList("written", "Tokens written", { ...acts, words });
    this.written.add(NEXT, this.next);
    this.node = h("div", "text", this.prompt.node, this.written.node);
    this.select(NEXT);
  }

  /** @param {number} at
   *  @returns {{ id: number, how: string, numbers: Numbers | null | undefined }} */
  token(at) {
    const i = givenIndex(at);
    if (i >= 0) return { id: this.given.ids[i], how: "in the prompt", numbers: this.given.numbers[i] };
    const { id, way, numbers } = this.tree.nodes[at];
    return { id, how: way < 0 ? "inserted by hand" : "sampled", numbers };
  }

  /** What is known of a token, in words.
   *  @param {number} at */
  words(at) {
    if (at === NEXT) return "The next token";
    const { id, how, numbers } = this.token(at);
    const token = `${visible(this.about?.vocabulary(id).bytes ?? "")}, id ${id}, ${how}`;
    if (!numbers) return token;
    const given = `${percent(Math.exp(numbers.logprob))}, rank ${number(numbers.rank + 1)}`;
    return `${token}. The model gave it ${given}; entropy ${number(numbers.entropy, 2)} nats`;
  }

  /** @param {number} at @param {About} about */
  part(at, about) {
    const { id, way } = this.tree.nodes[at];
    const { bytes } = about.vocabulary(id);
    const ends = id === about.end_of_text;
    const span = option(`lab-token-${at}`);
    span.dataset.id = String(id);
    if (way < 0) span.dataset.by = "hand";
    if (ends) span.dataset.end = "";
    return fill(span, ends ? "<|endoftext|>" : this.decoder.decode(bytes, { stream: true }), bytes);
  }

  /** @param {number[]} nodes */
  append(nodes) {
    const { node, about, written } = this;
    if (!about) return;
    const atEnd = node.scrollTop + node.clientHeight >= node.scrollHeight - 40;
    const fresh = document.createDocumentFragment();
    for (const at of nodes) {
      const span = this.part(at, about);
      color(span, this.tree.nodes[at].numbers);
      written.keep(at, span);
      fresh.append(span);
    }
    written.node.insertBefore(fresh, this.next);
    if (atEnd) node.scrollTop = node.scrollHeight;
  }

  /** @param {number} at */
  select(at) {
    const ours = this.prompt.spans.has(at);
    this.prompt.select(ours ? at : null);
    this.written.select(ours ? null : this.written.spans.has(at) ? at : NEXT);
  }

  /** @param {string} words @param {Story} story */
  show(words, { tree, about, promptIds: ids, given: numbers }) {
    this.tree = tree;
    this.about = about;
    this.given = { ids, numbers };
    this.decoder = newDecoder();
    this.written.clear();
    this.written.add(NEXT, this.next);
    this.showPrompt(words);
    this.append(tree.path());
    this.select(NEXT);
  }

  /** Token by token, where the model sees all of it and its tokens are the text; else as it stands.
   *  @param {string} words */
  showPrompt(words) {
    const { prompt, about, given } = this;
    prompt.clear();
    prompt.node.classList.toggle("empty", !words);
    const decoder = newDecoder();
    const parts = about && given.ids.length <= about.n_ctx ? given.ids.map((id) => about.vocabulary(id).bytes) : [];
    const pieces = parts.map((bytes) => decoder.decode(bytes, { stream: true }));
    if (!words || pieces.join("") !== words) {
      prompt.node.append(words || "<|endoftext|>");
      prompt.node.title = words ? "" : "Without a prompt, writing starts from this token";
      return;
    }
    prompt.node.title = "";
    pieces.forEach((piece, i) => {
      if (!i) return prompt.node.append(fill(first(), piece, parts[i]));
      prompt.add(givenAt(i), fill(option(`lab-given-${i}`), piece, parts[i]));
    });
    this.recolor();
  }

  recolor() {
    for (const [at, span] of [...this.prompt.spans, ...this.written.spans]) {
      if (at !== NEXT) color(span, this.token(at).numbers);
    }
  }
}

function first() {
  const span = h("span", "first");
  span.title = "The first token: nothing comes before it, so the model gives it no probability";
  return span;
}

function nextToken() {
  const span = option("lab-token-next");
  span.classList.add("next");
  span.setAttribute("aria-label", "next token");
  return span;
}
