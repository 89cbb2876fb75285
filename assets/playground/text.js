// The text of the panel "Write": the prompt, then each token as a part that can be chosen, coloured by what the model
// thought of it. While it is written only new parts are added; nothing is built anew.
//
//   const text = textView({ choose(node), enter() });   // node: its index in the tree, or NEXT; enter: to its bars
//   text.show(prompt, tree, about); text.append(nodes); text.select(node); text.recolour();

import { h, within } from "../page/dom.js";
import { percent, number, shade } from "../page/parts.js";
import { visible } from "./sampler.js";
import { NEXT } from "./story.js";

export const COLOURS = ["probability", "rank", "entropy", "nothing"];

export function textView({ choose, enter }) {
  const prompt = h("span", "prompt");
  const next = h("span", "tok next");
  next.setAttribute("role", "option");
  next.setAttribute("aria-label", "next token");
  next.title = "The next token";
  next.id = "lab-token-next";
  const list = h("span", "written", next);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Tokens written; arrow keys choose one");
  list.setAttribute("aria-orientation", "horizontal");
  list.tabIndex = 0;
  const node = h("div", "text", prompt, list);
  let [tree, about, decoder] = [null, null, null];
  let spans = new Map([[NEXT, next]]); // node -> element
  let chosen = NEXT;

  list.addEventListener("click", (event) => {
    const span = within(event, ".tok");
    if (span) choose(span === next ? NEXT : Number(span.dataset.node));
  });
  list.addEventListener("pointerover", (event) => {
    const span = within(event, ".tok");
    if (span && span !== next) span.title = words(Number(span.dataset.node));
  });
  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = spans.get(chosen);
    const to = {
      ArrowLeft: at.previousElementSibling,
      ArrowUp: at.previousElementSibling,
      ArrowRight: at.nextElementSibling,
      ArrowDown: at.nextElementSibling,
      Home: list.firstElementChild,
      End: next,
      Escape: next,
    }[event.key];
    if (event.key === "Enter") enter();
    if (to === undefined) return;
    event.preventDefault();
    if (to) choose(to === next ? NEXT : Number(to.dataset.node));
    spans.get(chosen).scrollIntoView({ block: "nearest" });
  });

  /** What is known of a token, in words. */
  function words(at) {
    const { id, way, numbers } = tree.nodes[at];
    const bytes = visible(about.vocabulary(id).bytes);
    const how = way < 0 ? "put here by hand" : "drawn";
    if (!numbers) return `${bytes}, id ${id}, ${how}`;
    return `${bytes}, id ${id}, ${how}. The model gave it ${percent(Math.exp(numbers.logprob))}, rank ${number(numbers.rank + 1)}; entropy ${number(numbers.entropy, 2)} nats`;
  }

  function part(at) {
    const { id, way } = tree.nodes[at];
    const { bytes } = about.vocabulary(id);
    const ends = id === about.end_of_text;
    const piece = ends ? "<|endoftext|>" : decoder.decode(bytes, { stream: true });
    const span = h("span", "tok");
    span.setAttribute("role", "option");
    span.setAttribute("aria-selected", "false");
    span.dataset.node = at;
    span.dataset.id = id;
    span.id = `lab-token-${at}`;
    if (way < 0) span.dataset.by = "hand";
    if (ends) span.dataset.end = "";
    if (!piece) span.dataset.part = ""; // its character is not whole yet
    if (!piece.trim()) span.setAttribute("aria-label", visible(bytes) || "nothing");
    piece.split("\n").forEach((line, i) => span.append(...(i ? [h("i", "line-end"), "\n"] : []), line));
    return span;
  }

  /** The classes say all three colours; the text's data-colour says which is seen. */
  function colour(span, { numbers }) {
    if (!numbers) return;
    const { logprob, rank, entropy } = numbers;
    const steps = [shade("probability", Math.exp(logprob)), shade("rank", rank), shade("entropy", entropy)];
    span.className = `tok p${steps[0]} r${steps[1]} e${steps[2]}${span.classList.contains("selected") ? " selected" : ""}`;
    span.dataset.p = Math.exp(logprob);
  }

  function append(nodes) {
    const atEnd = node.scrollTop + node.clientHeight >= node.scrollHeight - 40;
    const fresh = document.createDocumentFragment();
    for (const at of nodes) {
      const span = part(at);
      colour(span, tree.nodes[at]);
      spans.set(at, span);
      fresh.append(span);
    }
    list.insertBefore(fresh, next);
    if (atEnd) node.scrollTop = node.scrollHeight;
  }

  function select(at) {
    const before = spans.get(chosen);
    before?.setAttribute("aria-selected", "false");
    before?.classList.remove("selected");
    chosen = spans.has(at) ? at : NEXT;
    const span = spans.get(chosen);
    span.setAttribute("aria-selected", "true");
    span.classList.add("selected");
    list.setAttribute("aria-activedescendant", span.id);
  }

  return {
    node,
    append,
    select,
    show(words, newTree, newAbout) {
      [tree, about] = [newTree, newAbout];
      decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      prompt.textContent = words || "<|endoftext|>";
      prompt.classList.toggle("empty", !words);
      prompt.title = words ? "" : "Without a prompt, writing starts from this token";
      list.replaceChildren(next);
      spans = new Map([[NEXT, next]]);
      append(tree.path());
      select(NEXT);
    },
    recolour() {
      for (const [at, span] of spans) if (at !== NEXT) colour(span, tree.nodes[at]);
    },
    words,
  };
}
