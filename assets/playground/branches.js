// The branches of what has been written: a list with what tells them apart, and two of them side by side.
//
//   const branches = new Branches({ go(leaf), remove(leaf), compare(leaves) });
//   branches.show(tree, about);   // after each change of the tree

import { h } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { button, shade } from "../page/parts.js";
import { visible } from "../page/visible.js";

/** @import { About } from "./core.js" */
/** @import { Tree, TreeNode } from "./tree.js" */

const WORDS = 60; // characters of a branch in the list
const LOOK = 40; // tokens that are enough for them

/** The texts of the tokens of a path, from the token at `from` on, at most `count`.
 *  @param {Tree} tree
 *  @param {About} about
 *  @param {number[]} path */
function pieces(tree, about, path, from = 0, count = Infinity) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** @param {TreeNode} node */
  const textOf = ({ id }) =>
    id === about.end_of_text ? "<|endoftext|>" : decoder.decode(about.vocabulary(id).bytes, { stream: true });
  return path
    .slice(0, from + count)
    .map((at) => textOf(tree.nodes[at]))
    .slice(from);
}

/** On one line, nothing hidden but blanks.
 *  @param {string} text */
const plain = (text) => visible(text.replace(/\s+/g, " ").trim()).replaceAll("\u00b7", " ");

/** @param {Tree} tree @param {number} leaf */
function summary(tree, leaf, whole = false) {
  const [sum, length] = [tree.logprob(leaf), tree.length(leaf)];
  if (!length) return "nothing written";
  const words = `${number(length)} ${length === 1 ? "token" : "tokens"}`;
  if (sum === null) return words;
  const perplexity = whole ? `, perplexity ${number(Math.exp(-sum / length), 1)}` : "";
  return `${words}, log-probability ${number(sum, 1)}${perplexity}`;
}

/** @param {Tree} tree @param {About} about @param {number | undefined} at */
function partingWords(tree, about, at) {
  if (at === undefined) return "nothing";
  const { id, numbers } = tree.nodes[at];
  return visible(about.vocabulary(id).bytes) + (numbers ? ` ${percent(Math.exp(numbers.logprob))}` : "");
}

/** @param {Tree} tree @param {About} about @param {number[]} path @param {number} common @param {number} leaf */
function column(tree, about, path, common, leaf) {
  const parts = pieces(tree, about, path).map((piece, i) => {
    const { numbers } = tree.nodes[path[i]];
    const step = numbers && i >= common ? ` shade-${shade("probability", Math.exp(numbers.logprob))}` : "";
    return h("span", i < common ? "common" : `own${step}`, piece);
  });
  return h("div", "column", h("p", "quiet", summary(tree, leaf, true)), h("p", "column-text", ...parts));
}

export class Branches {
  list = h("ol", "branch-list");
  comparison = h("div", "comparison");
  node = h("section", "branches", h("h3", "", "Branches"), this.list, this.comparison);
  /** @type {number[]} at most two leaves */
  compared = [];

  /** @param {{
   *    go: (leaf: number) => void, remove: (leaf: number) => void, compare: (leaves: number[]) => void,
   *  }} acts */
  constructor({ go, remove, compare }) {
    this.go = go;
    this.remove = remove;
    this.tell = compare;
    this.node.setAttribute("aria-label", "Branches");
    this.node.hidden = true;
  }

  /** @param {number[]} leaves */
  choose(leaves) {
    this.compared = leaves;
    this.tell(leaves);
  }

  /** @param {Tree} tree @param {About} about */
  show(tree, about) {
    const branches = tree.branches();
    this.choose(this.compared.filter((leaf) => branches.some((branch) => branch.leaf === leaf)));
    this.node.hidden = branches.length < 2;
    this.node.dataset.count = String(branches.length);
    this.list.replaceChildren(...branches.map((branch) => this.row(tree, about, branch)));
    this.compare(tree, about);
  }

  /** @param {Tree} tree @param {About} about @param {ReturnType<Tree["branches"]>[number]} branch */
  row(tree, about, { leaf, start, depth }) {
    const path = tree.path(leaf);
    const from = Math.max(0, path.indexOf(start));
    const words = leaf < 0 ? "the prompt alone" : plain(pieces(tree, about, path, from, LOOK).join(""));
    const cut = leaf >= 0 && tree.children(leaf).length > 0;
    const facts = h("span", "quiet", `${summary(tree, leaf)}${cut ? ", cut here" : ""}`);
    facts.title = "Sum of the log-probabilities in the model's own distribution";
    const buttons = h("span", "row", this.pickBox(tree, about, leaf), this.deleteButton(leaf, words, leaf < 0 || cut));
    const opener = this.opener(leaf, from, words);
    opener.setAttribute("aria-current", String(leaf === tree.leaf));
    const item = h("li", "", opener, facts, buttons);
    item.style.setProperty("--depth", String(Math.min(depth, 8)));
    item.dataset.leaf = String(leaf);
    return item;
  }

  /** @param {number} leaf @param {number} from @param {string} words */
  opener(leaf, from, words) {
    const text = h("bdi", "", words.length > WORDS ? `${words.slice(0, WORDS)}\u2026` : words || "(blank)");
    const title = `Show this branch; it parts from the others at token ${from + 1}`;
    const node = button("", leaf < 0 ? "Show the prompt alone" : title, () => this.go(leaf), "branch");
    node.append(h("span", "place", leaf < 0 ? "" : `${from + 1}`), text);
    return node;
  }

  /** @param {Tree} tree @param {About} about @param {number} leaf */
  pickBox(tree, about, leaf) {
    const box = h("input");
    Object.assign(box, { type: "checkbox", checked: this.compared.includes(leaf), disabled: leaf < 0 });
    box.addEventListener("change", () => {
      this.pick(leaf, box.checked);
      this.compare(tree, about);
    });
    return h("label", "check", box, h("span", "", "Compare"));
  }

  /** @param {number} leaf @param {string} words @param {boolean} disabled */
  deleteButton(leaf, words, disabled) {
    const away = () => {
      this.choose([]); // the numbers of nodes change
      this.remove(leaf);
    };
    const node = button("Delete", "Delete this branch up to where it parts from the others", away, "small");
    node.setAttribute("aria-label", `Delete branch ${words.slice(0, 30)}`);
    node.disabled = disabled;
    return node;
  }

  /** @param {number} leaf @param {boolean} on */
  pick(leaf, on) {
    this.choose([...this.compared.filter((other) => other !== leaf), ...(on ? [leaf] : [])].slice(-2));
    for (const item of this.list.querySelectorAll("li")) {
      for (const box of item.querySelectorAll("input")) box.checked = this.compared.includes(Number(item.dataset.leaf));
    }
  }

  /** @param {Tree} tree @param {About} about */
  compare(tree, about) {
    const { compared, comparison } = this;
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
