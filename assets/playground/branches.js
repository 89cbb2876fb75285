// The branches of what has been written: a list with what tells them apart, and two of them side by side.
//
//   const branches = new Branches({ go(leaf), remove(leaf) });
//   branches.show(tree, about);   // after each change of the tree

import { h } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { button, shade } from "../page/parts.js";
import { visible } from "../page/visible.js";

const WORDS = 60; // characters of a branch in the list
const LOOK = 40; // tokens that are enough for them

/** The texts of the tokens of a path, from the token at `from` on, at most `count`. */
function pieces(tree, about, path, from = 0, count = Infinity) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const textOf = ({ id }) =>
    id === about.end_of_text ? "<|endoftext|>" : decoder.decode(about.vocabulary(id).bytes, { stream: true });
  return path
    .slice(0, from + count)
    .map((at) => textOf(tree.nodes[at]))
    .slice(from);
}

/** On one line, nothing hidden but blanks. */
const plain = (text) => visible(text.replace(/\s+/g, " ").trim()).replaceAll("\u00b7", " ");

function summary(tree, leaf, whole = false) {
  const [sum, length] = [tree.logprob(leaf), tree.length(leaf)];
  if (!length) return "nothing written";
  const perplexity = whole ? `, perplexity ${number(Math.exp(-sum / length), 1)}` : "";
  const figures = sum === null ? "" : `, log-probability ${number(sum, 1)}${perplexity}`;
  return `${number(length)} ${length === 1 ? "token" : "tokens"}${figures}`;
}

function partingWords(tree, about, at) {
  if (at === undefined) return "nothing";
  const { id, numbers } = tree.nodes[at];
  return visible(about.vocabulary(id).bytes) + (numbers ? ` ${percent(Math.exp(numbers.logprob))}` : "");
}

function column(tree, about, path, common, leaf) {
  const parts = pieces(tree, about, path).map((piece, i) => {
    const { numbers } = tree.nodes[path[i]];
    const step = numbers && i >= common ? ` shade-${shade("probability", Math.exp(numbers.logprob))}` : "";
    return h("span", i < common ? "common" : `own${step}`, piece);
  });
  return h("div", "column", h("p", "quiet", summary(tree, leaf, true)), h("p", "column-text", ...parts));
}

export class Branches {
  constructor({ go, remove }) {
    this.go = go;
    this.remove = remove;
    this.list = h("ol", "branch-list");
    this.comparison = h("div", "comparison");
    this.node = h("section", "branches", h("h3", "", "Branches"), this.list, this.comparison);
    this.node.setAttribute("aria-label", "Branches");
    this.node.hidden = true;
    this.compared = []; // at most two leaves
    this.tree = null;
    this.about = null;
  }

  show(tree, about) {
    const branches = tree.branches();
    this.tree = tree;
    this.about = about;
    this.compared = this.compared.filter((leaf) => branches.some((branch) => branch.leaf === leaf));
    this.node.hidden = branches.length < 2;
    this.node.dataset.count = branches.length;
    this.list.replaceChildren(...branches.map((branch) => this.row(branch)));
    this.compare();
  }

  row({ leaf, start, depth }) {
    const { tree, about } = this;
    const path = tree.path(leaf);
    const from = Math.max(0, path.indexOf(start));
    const words = leaf < 0 ? "the prompt alone" : plain(pieces(tree, about, path, from, LOOK).join(""));
    const cut = leaf >= 0 && tree.children(leaf).length > 0;
    const facts = h("span", "quiet", `${summary(tree, leaf)}${cut ? ", cut here" : ""}`);
    facts.title = "Sum of the log-probabilities in the model's own distribution";
    const buttons = h("span", "row", this.pickBox(leaf), this.deleteButton(leaf, words, leaf < 0 || cut));
    const item = h("li", "", this.opener(leaf, from, words), facts, buttons);
    item.style.setProperty("--depth", String(Math.min(depth, 8)));
    item.dataset.leaf = leaf;
    return item;
  }

  opener(leaf, from, words) {
    const text = h("bdi", "", words.length > WORDS ? `${words.slice(0, WORDS)}\u2026` : words || "(blank)");
    const title = `Show this branch; it parts from the others at token ${from + 1}`;
    const node = button("", leaf < 0 ? "Show the prompt alone" : title, () => this.go(leaf), "branch");
    node.append(h("span", "place", leaf < 0 ? "" : `${from + 1}`), text);
    node.setAttribute("aria-current", String(leaf === this.tree.leaf));
    return node;
  }

  pickBox(leaf) {
    const box = h("input");
    Object.assign(box, { type: "checkbox", checked: this.compared.includes(leaf), disabled: leaf < 0 });
    box.addEventListener("change", () => this.pick(leaf, box.checked));
    return h("label", "check", box, h("span", "", "Compare"));
  }

  deleteButton(leaf, words, disabled) {
    const away = () => {
      this.compared = []; // the numbers of nodes change
      this.remove(leaf);
    };
    const node = button("Delete", "Delete this branch up to where it parts from the others", away, "small");
    node.setAttribute("aria-label", `Delete branch ${words.slice(0, 30)}`);
    node.disabled = disabled;
    return node;
  }

  pick(leaf, on) {
    this.compared = [...this.compared.filter((other) => other !== leaf), ...(on ? [leaf] : [])].slice(-2);
    for (const item of this.list.querySelectorAll("li")) {
      item.querySelector("input").checked = this.compared.includes(Number(item.dataset.leaf));
    }
    this.compare();
  }

  compare() {
    const { tree, about, compared, comparison } = this;
    comparison.replaceChildren();
    if (compared.length < 2) return;
    const paths = compared.map((leaf) => tree.path(leaf));
    let common = 0;
    while (paths[0][common] !== undefined && paths[0][common] === paths[1][common]) common++;
    const columns = paths.map((path, i) => column(tree, about, path, common, compared[i]));
    const [one, other] = paths.map((path) => h("code", "", partingWords(tree, about, path[common])));
    const line = h("p", "quiet parting", `They diverge at token ${common + 1}: `, one, " or ", other, ".");
    comparison.append(line, h("div", "columns", ...columns));
    comparison.dataset.common = String(common);
  }
}
