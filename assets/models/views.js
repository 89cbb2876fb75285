// Views of the Models tab, beside those of page/views.js and drawn with its tools.
//
// A row of the table can be chosen: the view's root then says so with the event "choose", {name}.

import { find, h, scrolling, set, setText, svg } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { add, facts } from "../page/views.js";

/** @import { Architecture, FetchPart, Flow, ModelRow, Models, Part } from "../page/protocol.js" */

/** A bar with words above it.
 *  @param {FetchPart} data */
function bar(data) {
  const words = h("div", "fetch-words", h("span"), h("span", "quiet"));
  const entry = h("div", "fetch-part", words, set(h("progress"), { max: 1 }));
  fillBar(entry, data);
  return entry;
}

/** The share is null where it is not known.
 *  @param {Element} entry
 *  @param {FetchPart} data */
function fillBar(entry, [label, share, words]) {
  const [name, said] = entry.children[0].children;
  setText(name, label);
  setText(said, words);
  const progress = /** @type {HTMLProgressElement} */ (entry.children[1]);
  progress.setAttribute("aria-label", label.trim() || "Progress");
  if (share === null) progress.removeAttribute("value");
  else progress.value = share;
}

/** @typedef {(name: string) => void} Choose */

/** The rows of a group; where the names are the same as before, only what changed is changed.
 *  @param {HTMLElement} body
 *  @param {ModelRow[]} rows
 *  @param {string | null | undefined} chosen
 *  @param {Choose} choose */
function fillRows(body, rows, chosen, choose) {
  const names = rows.map((row) => row.name).join("\n");
  if (body.dataset.names !== names) {
    body.dataset.names = names;
    const heading = find(body, ".group");
    body.replaceChildren(heading, ...rows.map((row) => newRow(row, choose)));
  }
  rows.forEach((row, i) => {
    const tr = body.children[i + 1];
    row.cells.forEach((cell, j) => setText(tr.children[j + 1], cell));
    tr.className = `${row.kind}${row.name === chosen ? " chosen" : ""}`;
    set(find(tr, ".choose"), { "aria-pressed": row.name === chosen });
  });
}

/** @param {ModelRow} row @param {Choose} choose */
function newRow(row, choose) {
  const name = set(h("button", "choose", row.name), { type: "button" });
  const tr = h("tr", "", set(h("th", "", name), { scope: "row" }), ...row.cells.map(() => h("td")));
  tr.addEventListener("click", () => choose(row.name));
  return tr;
}

/** @param {Models} data */
function newTable(data) {
  const heads = data.head.map(([label, title]) => set(h("th", "", label), { scope: "col", title }));
  const bodies = data.groups.map(({ key, title }) => {
    const heading = set(h("th", "", title), { scope: "rowgroup", colspan: data.head.length });
    return h("tbody", key, h("tr", "group", heading));
  });
  return h("table", "models", h("thead", "", h("tr", "", ...heads)), ...bodies);
}

// The picture of a model ----------------------------------------------------------------------------------------------

/** How wide the stream of numbers is before and after a part: 4 widths of the residual stream fill the picture.
 *  @param {Flow} widths */
function flow([from, to]) {
  /** @param {number | null} n */
  const wide = (n) => (n ?? 5) * 10;
  const [a, b] = [wide(from), wide(to)];
  const picture = svg("svg", {
    viewBox: "0 0 50 16",
    class: "flow",
    "aria-hidden": "true",
    preserveAspectRatio: "none",
  });
  const points = [
    [25 - a / 2, 0],
    [25 + a / 2, 0],
    [25 + b / 2, 16],
    [25 - b / 2, 16],
  ];
  picture.append(svg("polygon", { points: points.map((point) => point.join(",")).join(" ") }));
  return picture;
}

/** @param {Part} data */
function part(data) {
  const share = set(h("span", "share", percent(data.share)), { title: "share of all parameters" });
  const meter = h("span", "meter", h("i"));
  find(meter, "i").style.width = `${100 * data.share}%`;
  meter.setAttribute("aria-hidden", "true");
  const shape = set(h("span", "shape", data.shape), { title: "its shape: in \u00d7 out, + bias" });
  const numbers = set(h("span", "numbers", data.count), { title: "parameters" });
  const words = h("div", "part-words", h("strong", "", data.name), h("span", "quiet", data.words));
  return h("li", "part", flow(data.flow), words, h("div", "part-numbers", shape, numbers, share), meter);
}

/** @param {Architecture} data */
function block(data) {
  const { layers, block: inner } = data;
  /** @param {"div" | "span"} tag @param {string} name @param {number} n */
  const ticks = (tag, name, n) =>
    set(h(tag, name, ...Array.from({ length: n }, () => h("i"))), { "aria-hidden": "true" });
  const stack = ticks("div", "stack", Math.min(layers, 48));
  const title = h("div", "", h("strong", "", `${layers} ${layers === 1 ? "block" : "equal blocks"}`));
  const words = `${inner.params} parameters each, ${inner.all} in all, ${percent(inner.share)}`;
  const branches = ["attention", "MLP"].map((name) => {
    const parts = inner.parts.filter((one) => one.branch === name).map(part);
    const heads = `attention, ${data.heads} ${data.heads === 1 ? "head" : "heads"} of ${data.head_width}`;
    const label = name === "MLP" ? [name] : [heads, ticks("span", "head-ticks", Math.min(data.heads, 32))];
    return h(
      "li",
      "branch",
      h("div", "branch-name", ...label),
      h("ol", "parts", ...parts),
      h("div", "sum", "+ added to the residual stream"),
    );
  });
  title.append(h("span", "quiet", words));
  return h("li", "block-of", flow([1, 1]), h("div", "block-head", title, stack), h("ol", "branches", ...branches));
}

add({
  fit(root, data) {
    root.replaceChildren(
      ...(data ? [h("p", "fit", h("span", "", data.text), " ", h("span", "quiet", data.note))] : []),
    );
  },

  note(root, data) {
    if (!data) return root.replaceChildren();
    if (!root.firstChild) root.replaceChildren(set(h("p"), { role: "status" }));
    const [line] = root.children;
    line.className = data.trouble ? "trouble" : "quiet";
    setText(line, data.text);
  },

  models(root, data) {
    root.dataset.rows = String(data ? data.groups.reduce((sum, group) => sum + group.rows.length, 0) : 0);
    if (!data) return root.replaceChildren();
    const keys = data.groups.map((group) => group.key).join();
    if (root.dataset.keys !== keys) {
      root.dataset.keys = keys;
      root.replaceChildren(scrolling(h("div", "scroll", newTable(data)), "Models"));
    }
    /** @type {Choose} */
    const choose = (name) => root.dispatchEvent(new CustomEvent("choose", { detail: { name } }));
    data.groups.forEach((group, i) => {
      const body = root.querySelectorAll("tbody")[i];
      fillRows(body, group.rows, data.chosen, choose);
      body.hidden = !group.rows.length;
    });
  },

  /** A download or an import. */
  fetch(root, data) {
    root.dataset.state = data?.state ?? "none";
    root.dataset.name = data?.name ?? "";
    if (!data) return root.replaceChildren();
    if (!root.querySelector(".fetch-head")) {
      const head = h("div", "fetch-head run-line", h("strong"), h("span", "badge"));
      root.replaceChildren(head, h("div", "fetch-parts"), h("div", "fetch-facts"), set(h("p"), { role: "status" }));
    }
    const [head, parts, numbers, message] = root.children;
    const [title, badge] = head.children;
    setText(title, data.title);
    setText(badge, data.state);
    badge.className = `badge ${data.state}`;
    if (parts.children.length !== data.parts.length) parts.replaceChildren(...data.parts.map(bar));
    else data.parts.forEach((one, i) => fillBar(parts.children[i], one));
    if (data.facts.length) {
      const list = facts(data.facts, numbers.children[0]);
      if (list !== numbers.children[0]) numbers.replaceChildren(list);
    } else numbers.replaceChildren();
    setText(message, data.message);
    message.className = !data.message
      ? "none"
      : data.state === "failed"
        ? "trouble"
        : data.state === "done"
          ? "notice"
          : "quiet";
  },

  /** A model's parts, see gpt_demo/ui/models/architecture.py. */
  architecture(root, data) {
    root.dataset.model = data?.name ?? "";
    if (!data) return root.replaceChildren();
    const heading = h("h3", "arch-title", data.name, h("span", "quiet", ` ${data.total} parameters`));
    const widths =
      `The residual stream is ${number(data.width)} numbers wide; each sketch shows ` +
      `how a part widens or narrows it.`;
    const list = h("ol", "arch", ...data.before.map(part), block(data), ...data.after.map(part));
    list.setAttribute("aria-label", `The parts of ${data.name}, in the order of computation`);
    /** @param {string} text */
    const end = (text) => h("div", "arch-end", text);
    root.replaceChildren(
      heading,
      h("p", "quiet arch-note", widths),
      end("token ids"),
      list,
      end("a score for each token"),
    );
  },
});
