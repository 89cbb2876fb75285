// The distribution of one position, computed here from one row of logits at each move of a slider: bars, raw beside
// final; the bar that the dart hits; the ledger of the stages; a thousand darts. No request to the server.
//
//   const dist = distribution(lab, { take(id) });
//   dist.show({ row, u, context, about, chosen });   // another position; chosen: the id in the text there, or null
//   dist.draw();                                     // the settings have changed
//   dist.stages();                                   // for whoever wants to draw from it

import { h, set, within } from "../page/dom.js";
import { percent, number, button } from "../page/parts.js";
import { put, dartStrip, ledger as ledgerTable } from "./dart.js";
import * as S from "./sampler.js";

const NICE = [1, 0.75, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001];
const MOST_DARTS = 20_000;

/** All five steps as playground/sampler.js takes them; greedy is temperature 0 there. */
export function chainOf({ steps, greedy }) {
  if (!greedy) return steps;
  return [...steps.filter(({ name }) => name === "repetition_penalty"), { name: "temperature", value: 0 }];
}

export function stagesOf({ row, context, about }, state) {
  return S.trace(row, context.slice(-about.n_ctx), chainOf(state));
}

// The bars ------------------------------------------------------------------------------------------------------------

function bars(take) {
  const list = h("ul", "bars");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Tokens that could stand here, the most probable first");
  list.tabIndex = 0;
  const rest = line("div");
  rest.node.className = "bar-row others";
  rest.node.title = "All tokens that have no bar here, together";
  const top = h("span", "scale");
  const head = h("div", "bar-row bar-head", h("span", "", "token"), h("span", "id", "id"), h("span", "axis", "0", top), h("span", "percent", "model"), h("span", "percent", "drawn"));
  const titles = ["The token, blanks and line ends made visible", "Its number in the vocabulary", "The light bar is the model's own probability, the dark one that after the chain", "Probability the model gives it", "Probability after the chain: what is drawn from"];
  titles.forEach((title, i) => set(head.children[i], { title }));
  let lines = []; // those shown, in their order
  let spare = [];
  let active = -1;

  function line(tag) {
    const piece = h("code", "piece");
    const id = h("span", "id");
    const raw = h("i", "raw");
    const final = h("i", "final");
    const thrown = h("b", "thrown");
    const before = h("span", "percent");
    const after = h("span", "percent after");
    const node = h(tag, "bar-row", piece, id, h("span", "bar", raw, final, thrown), before, after);
    return { node, piece, id, raw, final, thrown, before, after, key: null };
  }

  function fill(part, { raw, final }, scale, count, darts) {
    part.raw.style.transform = `scaleX(${Math.min(1, raw / scale)})`;
    part.final.style.transform = `scaleX(${Math.min(1, final / scale)})`;
    part.thrown.hidden = !darts || (count === 0 && final === 0);
    if (darts) {
      part.thrown.style.left = `${100 * Math.min(1, count / darts / scale)}%`;
      part.thrown.title = `hit by ${number(count)} of ${number(darts)} darts`;
    }
    put(part.before, percent(raw));
    put(part.after, percent(final));
    Object.assign(part.node.dataset, { raw, final, thrown: darts ? count : "" });
  }

  /** Elements stay with their token while it is shown, and are used again afterwards. */
  function arrange(ids, nameOf) {
    const byId = new Map(lines.map((part) => [part.key, part]));
    const kept = new Set(ids);
    spare = [...spare, ...lines.filter((part) => !kept.has(part.key))];
    lines = ids.map((id) => byId.get(id) ?? spare.pop() ?? option());
    for (const part of spare) part.node.remove();
    lines.forEach((part, i) => {
      if (list.children[i] !== part.node) list.insertBefore(part.node, list.children[i] ?? null);
      if (part.key === ids[i]) return;
      part.key = ids[i];
      part.node.dataset.id = ids[i];
      part.node.id = `lab-bar-${ids[i]}`;
      put(part.piece, nameOf(ids[i]));
      put(part.id, String(ids[i]));
    });
  }

  function option() {
    const part = line("li");
    part.node.setAttribute("role", "option");
    part.node.addEventListener("click", () => take(part.key));
    return part;
  }

  function draw({ rows, others }, nameOf, hit, chosen, counts, darts) {
    arrange(rows.map(({ id }) => id), nameOf);
    const most = Math.max(...rows.map(({ raw, final }) => Math.max(raw, final)));
    const scale = NICE.findLast((x) => x >= most) ?? 1;
    put(top, `${number(100 * scale, scale < 0.01 ? 2 : scale < 0.1 ? 1 : 0)} %`);
    let shown = 0;
    rows.forEach((entry, i) => {
      const part = lines[i];
      const count = counts?.get(entry.id) ?? 0;
      shown += count;
      fill(part, entry, scale, count, darts);
      part.node.className = `bar-row${entry.kept ? "" : " removed"}${entry.id === hit ? " hit" : ""}${entry.id === chosen ? " chosen" : ""}${i === active ? " active" : ""}`;
      part.node.setAttribute("aria-selected", String(entry.id === chosen));
    });
    fill(rest, others, scale, darts - shown, darts);
    put(rest.piece, "all others");
    put(rest.id, number(others.count));
    rest.node.dataset.kept = others.kept;
    rest.node.classList.toggle("removed", others.kept === 0);
    rest.node.classList.toggle("hit", !rows.some(({ id }) => id === hit));
    rest.node.classList.toggle("beyond", Math.max(others.raw, others.final) > scale);
  }

  function activate(i) {
    lines[active]?.node.classList.remove("active");
    active = Math.max(-1, Math.min(lines.length - 1, i));
    if (active < 0) return list.removeAttribute("aria-activedescendant");
    lines[active].node.classList.add("active");
    list.setAttribute("aria-activedescendant", lines[active].node.id);
  }

  list.addEventListener("pointerover", (event) => {
    const row = within(event, ".bar-row");
    if (row) row.title = `Put this token in the text. Model ${exact(row.dataset.raw)}, drawn ${exact(row.dataset.final)}`;
  });
  list.addEventListener("focus", () => active < 0 && list.matches(":focus-visible") && activate(0));
  list.addEventListener("blur", () => activate(-1));
  list.addEventListener("keydown", (event) => {
    const to = { ArrowDown: active + 1, ArrowUp: Math.max(0, active - 1), Home: 0, End: lines.length - 1 }[event.key];
    if (to !== undefined) activate(to);
    else if ((event.key === "Enter" || event.key === " ") && active >= 0) take(lines[active].key);
    else return;
    event.preventDefault();
  });
  return { node: h("div", "bars-box", head, list, rest.node), list, draw, reset: () => activate(list.matches(":focus") ? 0 : -1) };
}

const exact = (p) => `${(100 * Number(p)).toPrecision(4)} %`;

// All of it -----------------------------------------------------------------------------------------------------------

export function distribution(lab, { take }) {
  let view = null; // what show() was given
  let names = new Map();
  let darts = 0; // thrown
  const strip = dartStrip();
  const ledger = ledgerTable();
  const chart = bars((id) => view && take(id));

  const shown = h("input");
  Object.assign(shown, { type: "range", min: "5", max: "50", title: "How many tokens have a bar of their own" });
  shown.addEventListener("input", () => lab.set({ shown: Number(shown.value) }));
  const shownCount = h("span", "shown-count");
  const order = h("select", "", ...[["raw", "as the model ranks them"], ["final", "as they are drawn"]].map(([value, words]) => Object.assign(h("option", "", words), { value })));
  order.addEventListener("change", () => lab.set({ order: order.value }));
  const head = h("div", "row chart-options", h("label", "check", h("span", "", "Bars"), shown, shownCount), h("label", "check", h("span", "", "Order"), order));

  const throwThem = button("Throw 1,000 darts", "A thousand draws from the distribution, the same for the same seed; again for a thousand more. The thin marks show how often each token was hit.", () => {
    darts = Math.min(MOST_DARTS, darts + 1000);
    draw();
  });
  const clear = button("Clear", "Take the darts away", () => {
    darts = 0;
    draw();
  });
  const result = h("p", "quiet result");
  const speed = h("p", "quiet speed");
  const thrown = h("div", "throw", h("div", "row", throwThem, clear), result);
  const left = h("div", "chart", head, chart.node);
  const right = h("div", "beside", h("div", "ledger-box", ledger.node), key(), thrown, speed);
  const node = h("div", "dist-body", strip.node, h("div", "two", left, right));

  const nameOf = (id) => {
    if (!names.has(id)) names.set(id, S.visible(view.about.vocabulary(id).bytes) || "<nothing>");
    return names.get(id);
  };

  /** At once if nothing was drawn in this frame, else at the next one: never more than once for a frame. */
  let [resting, again] = [false, false];
  function draw() {
    if (!view) return;
    if (resting) {
      again = true;
      return;
    }
    render();
    resting = true;
    requestAnimationFrame(() => {
      resting = false;
      if (again) draw();
    });
  }

  function render() {
    again = false;
    const began = performance.now();
    const { state } = lab;
    const stages = stagesOf(view, state);
    const greedy = stages.at(-1).name === "greedy";
    const hit = strip.draw(stages, view.u, nameOf, { greedy, chosen: view.chosen });
    const found = withChosen(S.topRows(stages, state.shown, state.order), stages, view.chosen);
    const counts = darts ? S.drawMany(stages, darts, state.seed) : null;
    chart.draw(found, nameOf, hit, view.chosen, counts, darts);
    ledger.draw(stages, state.steps);
    shown.value = String(state.shown);
    put(shownCount, String(state.shown));
    order.value = state.order;
    clear.disabled = !darts;
    throwThem.disabled = darts >= MOST_DARTS;
    put(result, counts ? thrownWords(counts, stages) : "");
    const root = /** @type {HTMLElement} */ (node.closest(".lab-dist"));
    Object.assign(root.dataset, { hit, position: view.context.length, darts, chosen: view.chosen ?? "" });
    root.dataset.ms = (performance.now() - began).toFixed(2);
    put(speed, `All ${number(view.row.length)} tokens, computed in your browser in ${number(Number(root.dataset.ms), 0)} ms.`);
  }

  function thrownWords(counts, stages) {
    let furthest = 0;
    for (const [id, count] of counts) furthest = Math.max(furthest, Math.abs(count / darts - stages.at(-1).probability(id)));
    return `${number(darts)} darts hit ${number(counts.size)} different tokens; the furthest mark is ${percent(furthest)} off its bar.`;
  }

  return {
    node,
    bars: chart.list,
    show(next) {
      if (!view || view.about !== next.about) names = new Map();
      view = next;
      chart.reset();
      draw();
    },
    draw,
    nameOf,
    get view() {
      return view;
    },
  };
}

/** What the marks of the bars mean. */
function key() {
  const parts = [
    [h("i", "of-raw"), "the model's own probability"],
    [h("i", "of-final"), "what is drawn from, behind the chain"],
    [h("s", "", "the"), "removed by the chain"],
    [h("i", "of-dart"), "hit by the dart"],
    [h("i", "of-chosen"), "stands in the text"],
    [h("i", "of-throw"), "how often the thousand darts hit it"],
  ];
  return h("div", "key", ...parts.flatMap(([mark, words]) => [mark, h("span", "", words)]));
}

/** The token of the text has a bar even where it is not among the first. */
function withChosen({ rows, others }, stages, id) {
  if (id === null || rows.some((entry) => entry.id === id)) return { rows, others };
  const [raw, final] = [stages[0].probability(id), stages.at(-1).probability(id)];
  const kept = stages.at(-1).rank(id) >= 0;
  return {
    rows: [...rows, { id, raw, final, kept }],
    others: { raw: Math.max(0, others.raw - raw), final: Math.max(0, others.final - final), count: others.count - 1, kept: others.kept - (kept ? 1 : 0) },
  };
}
