// The branches of what has been written: a list with what tells them apart, and two of them side by side.
//
//   const branches = branchList({ go(leaf), remove(leaf) });
//   branches.show(tree, about, prompt);   // after each change of the tree

import { find, h } from "../page/dom.js";
import { percent, number, button, shade } from "../page/parts.js";
import { visible } from "./sampler.js";

const WORDS = 60; // characters of a branch in the list
const LOOK = 40; // tokens that are enough for them

/** The texts of the tokens of a path, from the token at `from` on, at most `count`. */
function pieces(tree, about, path, from = 0, count = Infinity) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return path
    .slice(0, from + count)
    .map((at) =>
      tree.nodes[at].id === about.end_of_text
        ? "<|endoftext|>"
        : decoder.decode(about.vocabulary(tree.nodes[at].id).bytes, { stream: true }),
    )
    .slice(from);
}

/** On one line, nothing hidden but blanks. */
const plain = (text) => visible(text.replace(/\s+/g, " ").trim()).replaceAll("\u00b7", " ");

function summary(tree, leaf, whole = false) {
  const [sum, length] = [tree.logprob(leaf), tree.length(leaf)];
  if (!length) return "nothing written";
  const figures =
    sum === null
      ? ""
      : `, log-probability ${number(sum, 1)}${whole ? `, perplexity ${number(Math.exp(-sum / length), 1)}` : ""}`;
  return `${number(length)} ${length === 1 ? "token" : "tokens"}${figures}`;
}

/** A branch in the list; go, pick(leaf, on) and away(leaf) are called for what is done with it. */
function row(tree, about, { leaf, start, depth }, { compared, go, pick, away }) {
  const path = tree.path(leaf);
  const from = Math.max(0, path.indexOf(start));
  const words = leaf < 0 ? "the prompt alone" : plain(pieces(tree, about, path, from, LOOK).join(""));
  const current = leaf === tree.leaf;
  const cut = leaf >= 0 && tree.children(leaf).length > 0;
  const text = h("bdi", "", words.length > WORDS ? `${words.slice(0, WORDS)}\u2026` : words || "(blank)");
  const open = h("button", "branch", h("span", "place", leaf < 0 ? "" : `${from + 1}`), text);
  open.type = "button";
  open.title = leaf < 0 ? "Show the prompt alone" : `Show this branch; it parts from the others at token ${from + 1}`;
  open.setAttribute("aria-current", String(current));
  open.addEventListener("click", () => go(leaf));
  const facts = h("span", "quiet", `${summary(tree, leaf)}${cut ? ", cut here" : ""}`);
  facts.title = "Sum of the log-probabilities in the model's own distribution";
  const box = h("input");
  Object.assign(box, { type: "checkbox", checked: compared.includes(leaf), disabled: leaf < 0 });
  box.addEventListener("change", () => pick(leaf, box.checked));
  const pickIt = h("label", "check", box, h("span", "", "Compare"));
  const drop = button("Delete", "Delete this branch up to where it parts from the others", () => away(leaf), "small");
  drop.setAttribute("aria-label", `Delete branch ${words.slice(0, 30)}`);
  drop.disabled = leaf < 0 || cut;
  const item = h("li", "", open, facts, h("span", "row", pickIt, drop));
  item.style.setProperty("--depth", String(Math.min(depth, 8)));
  item.dataset.leaf = leaf;
  return item;
}

function partingWords(tree, about, at) {
  if (at === undefined) return "nothing";
  const { id, numbers } = tree.nodes[at];
  const probability = numbers ? ` ${percent(Math.exp(numbers.logprob))}` : "";
  return visible(about.vocabulary(id).bytes) + probability;
}

function column(tree, about, path, common, leaf) {
  const parts = pieces(tree, about, path).map((piece, i) => {
    const numbers = tree.nodes[path[i]].numbers;
    const step = numbers && i >= common ? ` shade-${shade("probability", Math.exp(numbers.logprob))}` : "";
    return h("span", i < common ? "common" : `own${step}`, piece);
  });
  return h("div", "column", h("p", "quiet", summary(tree, leaf, true)), h("p", "column-text", ...parts));
}

export function branchList({ go, remove }) {
  const list = h("ol", "branch-list");
  const comparison = h("div", "comparison");
  const node = h("section", "branches", h("h3", "", "Branches"), list, comparison);
  node.setAttribute("aria-label", "Branches");
  node.hidden = true;
  let compared = []; // at most two leaves
  let shown = null;

  function show(tree, about) {
    const branches = tree.branches();
    shown = { tree, about };
    compared = compared.filter((leaf) => branches.some((branch) => branch.leaf === leaf));
    node.hidden = branches.length < 2;
    node.dataset.count = branches.length;
    const doing = { compared, go, pick, away };
    list.replaceChildren(...branches.map((branch) => row(tree, about, branch, doing)));
    compare();
  }

  function away(leaf) {
    compared = []; // the numbers of nodes change
    remove(leaf);
  }

  function pick(leaf, on) {
    compared = [...compared.filter((other) => other !== leaf), ...(on ? [leaf] : [])].slice(-2);
    for (const item of list.children)
      /** @type {HTMLInputElement} */ (find(item, "input")).checked = compared.includes(
        Number(/** @type {HTMLElement} */ (item).dataset.leaf),
      );
    compare();
  }

  function compare() {
    const { tree, about } = shown;
    comparison.replaceChildren();
    if (compared.length < 2) return;
    const paths = compared.map((leaf) => tree.path(leaf));
    let common = 0;
    while (paths[0][common] !== undefined && paths[0][common] === paths[1][common]) common++;
    const columns = paths.map((path, i) => column(tree, about, path, common, compared[i]));
    const parting = paths.map((path) => partingWords(tree, about, path[common]));
    const line = h(
      "p",
      "quiet parting",
      `They part at token ${common + 1}: `,
      h("code", "", parting[0]),
      " against ",
      h("code", "", parting[1]),
      ".",
    );
    comparison.append(line, h("div", "columns", ...columns));
    comparison.dataset.common = String(common);
  }

  return { node, show };
}
