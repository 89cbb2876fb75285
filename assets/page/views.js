// Small views of the page, each drawn from the JSON that the server sends (gpt_demo/ui/views.py).
//
//   draw(root, name, json)
//
// Text of visitors and models reaches the page through textContent only. What changes twice a second is changed in
// place, so that hints under the mouse, scroll positions and the focus stay.

import { find, h, scrolling, set, setText, svg } from "./dom.js";
import { visible } from "./visible.js";

/** @import { Fact, RunStatus, Views } from "./protocol.js" */

/** Numbers with their names. A list of as many is changed in place.
 *  @param {Fact[]} rows
 *  @param {Element | null} [old] */
export function facts(rows, old) {
  if (old?.children.length === rows.length) {
    rows.forEach(([label, value, title], i) => {
      const entry = old.children[i];
      setText(entry.children[0], label);
      setText(entry.children[1], value);
      set(entry, { title });
    });
    return old;
  }
  const list = h("dl", "facts");
  for (const [label, value, title] of rows) {
    list.append(set(h("div", "", h("dt", "", label), h("dd", "", value)), { title }));
  }
  return list;
}

/** A line of values, 0 at the bottom.
 *  @param {number[]} values
 *  @param {string} label */
function line(values, label) {
  const [width, height, high] = [240, 36, Math.max(...values) || 1];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label });
  const step = width / Math.max(1, values.length - 1);
  const points = values.map(
    (v, i) => `${(i * step).toFixed(1)},${(height - 2 - (height - 4) * (v / high)).toFixed(1)}`,
  );
  picture.append(svg("polyline", { points: points.join(" "), fill: "none" }));
  return picture;
}

// The browser's title says how the run stands, for who looks elsewhere meanwhile.
/** @type {string | null} */
let title = null;

/** @param {HTMLElement} root @param {RunStatus | null} data */
function tellTitle(root, data) {
  title ??= document.title;
  const alive = data?.state === "running" || data?.state === "waiting";
  if (data && alive) root.dataset.watched = data.name;
  const watched = data && root.dataset.watched === data.name;
  const words = alive ? `${Math.floor(100 * (data?.fraction ?? 0))} % ${data?.name}` : `${data?.name} ${data?.state}`;
  document.title = watched ? `${words} \u2013 ${title}` : title;
}

/** @typedef {{ [Name in keyof Views]: (root: HTMLElement, data: Views[Name]) => void }} Drawing */

/** @type {Partial<Drawing>} */
const views = {
  /** The text as tokens, or why not. */
  preview(root, data) {
    root.dataset.tokens = data && "tokens" in data ? String(data.tokens) : "";
    if (data && "error" in data) return root.replaceChildren(h("p", "trouble", data.error));
    if (!data || "note" in data) {
      const hint = data?.note ?? "Choose a text to see it here as the model will read it.";
      return root.replaceChildren(h("p", "quiet", hint));
    }
    const tokens = scrolling(h("div", "tokens"), "The beginning of the text, token by token");
    data.pieces.forEach(([id, text], i) => {
      const token = h("span", `token t${i % 4}`, visible(text));
      token.title = `token ${id}`;
      tokens.append(token);
      if (text.includes("\n")) tokens.append(h("br"));
    });
    if (data.more) tokens.append(h("span", "quiet", " \u2026"));
    const fault = data.fault ? h("p", "trouble", data.fault) : "";
    root.replaceChildren(facts(data.facts), fault, tokens);
  },

  /** What a run will be, or why it can't be. */
  plan(root, data) {
    if (!data) return root.replaceChildren();
    if ("error" in data) return root.replaceChildren(h("p", "trouble", data.error));
    const { values, label } = data.schedule;
    const schedule = h("div", "schedule", line(values, label), h("span", "quiet", label));
    root.replaceChildren(facts(data.facts, root.querySelector(".facts")), schedule);
  },

  /** The status of a run. */
  status(root, data) {
    tellTitle(root, data);
    root.dataset.state = data?.state ?? "none";
    root.dataset.step = String(data?.step ?? "");
    if (!data) return root.replaceChildren(h("p", "quiet", "No run yet. Choose a text and start training."));
    if (!root.querySelector(".run-line")) {
      const head = h("div", "run-line", h("strong"), h("span", "badge"), h("span", "quiet"));
      const bar = set(h("progress"), { max: 1, "aria-label": "Progress of the run" });
      root.replaceChildren(head, bar, facts(data.facts), h("p", "message"), set(h("p", "spoken"), { role: "status" }));
    }
    const [name, badge, label] = find(root, ".run-line").children;
    setText(name, data.name);
    setText(badge, data.state);
    badge.className = `badge ${data.state}`;
    setText(label, data.label);
    /** @type {HTMLProgressElement} */ (find(root, "progress")).value = data.fraction;
    facts(data.facts, root.querySelector(".facts"));
    const message = find(root, ".message");
    setText(message, data.message || "\u00a0"); // the place of one line is always there
    message.className = `message ${!data.message ? "none" : data.state === "failed" ? "trouble" : "notice"}`;
    setText(find(root, ".spoken"), `The run ${data.name} is ${data.state}.`);
  },

  /** What the model wrote over time, the newest first. Empty lines are only signs. */
  samples(root, data) {
    root.dataset.samples = String(data?.length ?? 0);
    if (!data?.length) {
      const hint = "Samples of the model\u2019s text appear here during training, newest first.";
      return root.replaceChildren(h("p", "quiet", hint));
    }
    const entries = data.map(({ step, epoch, prompt, text }) => {
      const begin = text.startsWith(prompt) ? prompt : "";
      const rest = text.slice(begin.length).replace(/\n+/g, (ends) => `${"\u21b5".repeat(ends.length)}\n`);
      const writing = set(h("p", "", h("strong", "", begin), rest), { dir: "auto" });
      return h("li", "", h("div", "when", h("div", "", `step ${step}`), h("div", "", `epoch ${epoch}`)), writing);
    });
    /** @type {HTMLElement | null} */
    let box = root.querySelector(".samples");
    const fromBottom = box?.scrollTop ? box.scrollHeight - box.scrollTop : 0;
    if (!box) root.replaceChildren((box = scrolling(h("div", "samples", h("ol")), "Samples, the newest first")));
    box.children[0].replaceChildren(...entries);
    if (fromBottom) box.scrollTop = box.scrollHeight - fromBottom; // what is being read stays where it is
  },

  /** A table. */
  table(root, data) {
    root.dataset.rows = String(data?.rows.length ?? 0);
    if (!data?.rows.length) return root.replaceChildren(...(data?.note ? [h("p", "quiet", data.note)] : []));
    /** @param {string[]} row */
    const cells = (row) => row.map((cell, i) => (i ? h("td", "", cell) : set(h("th", "", cell), { scope: "row" })));
    const body = h("tbody", "", ...data.rows.map((row) => h("tr", "", ...cells(row))));
    const heads = data.head.map((cell) => (cell ? set(h("th", "", cell), { scope: "col" }) : h("td")));
    const node = h("table", data.wrap ? "wrap" : "", h("thead", "", h("tr", "", ...heads)), body);
    if (data.caption) node.prepend(h("caption", "quiet", data.caption));
    root.replaceChildren(scrolling(h("div", "scroll", node), "Table"));
  },
};

/** Another file's views.
 *  @param {Partial<Drawing>} more */
export const add = (more) => Object.assign(views, more);

/** @param {HTMLElement} root @param {keyof Views} name @param {string} json */
export function draw(root, name, json) {
  let data;
  try {
    data = JSON.parse(json).data;
  } catch {
    data = null; // the first moment, before a value has come
  }
  views[name]?.(root, data);
}
