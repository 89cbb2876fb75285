// The live training chart: draws the JSON snapshots of gpt_demo/ui/train/charts.py (format: there) as SVG.
//
//   const chart = mount(element, getValue);   // draws getValue() at once
//   chart.update(json);                                            // a newer snapshot
//   chart.destroy();
//
// Run names are visitors' text: everything reaches the page through textContent, never through markup.

const SVG = "http://www.w3.org/2000/svg";
const EMPTY = "The curves appear here as soon as training starts.";
const COLUMNS = {
  stepped: ["step", "tokens", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second"],
  evaluated: ["step", "tokens", "epoch", "train_loss", "val_loss"],
};
const PAST_COLORS = 5;
const REFERENCES = {
  uniform: ["knows nothing", "ln V"],
  unigram: ["token frequencies", "unigram"],
  bigram: ["previous token", "bigram"],
};
const AXES = { tokens: "tokens seen", epoch: "epochs", step: "steps" };
const MEANING = [
  ["Loss", "The average surprise per token: \u2212ln of the probability the model gave to the token that came next (cross-entropy, in nats). Lower is better."],
  ["Training, validation", "The loss on text the model learns from, and on text it never learns from, both measured with dropout off. The faint line is the loss of each single step: it is noisy, for it sees one batch only."],
  ["Overfitting", "The training loss still falls while the validation loss rises: the model learns its text by heart instead of the language."],
  ["Dashed lines", "What a model would reach that knows nothing and guesses evenly (ln of the vocabulary size V), one that knows only how frequent each token is (unigram), one that knows only which token came before (bigram)."],
  ["Perplexity", "exp(loss): the model is as unsure as if it chose evenly among this many tokens."],
  ["Learning rate", "How far each step moves the weights."],
  ["Gradient norm", "How hard the batch pulls at all weights together (L2 norm, before clipping)."],
  ["Tokens per second", "The speed of training."],
];

// Numbers ---------------------------------------------------------------------------------------------------------

/** One number format for the whole page: 12345 -> "12k", 3.2149 -> "3.21", NaN -> an en dash. */
export function format(value) {
  if (!Number.isFinite(value)) return "\u2013";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 9999.5) {
    const [unit, scale] = size >= 999.5e6 ? ["G", 1e9] : size >= 999.5e3 ? ["M", 1e6] : ["k", 1e3];
    return (value / scale).toFixed(size / scale < 9.95 ? 1 : 0) + unit;
  }
  if (size >= 99.95) return grouped(Math.round(value));
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.0995) return value.toFixed(2);
  return size >= 0.000995 ? value.toPrecision(2) : value.toExponential(1);
}

const grouped = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "\u2013");

/** 3 to 6 multiples of 1, 2, 2.5 or 5 times a power of ten between lo and hi, `wanted` if possible. */
function linearTicks(lo, hi, wanted, smallest = 0) {
  let best = null;
  const power = Math.floor(Math.log10(hi - lo));
  for (let k = power - 2; k <= power; k++) {
    for (const factor of [1, 2, 2.5, 5]) {
      const step = factor * 10 ** k;
      if (step < smallest || (smallest && factor === 2.5 && k < 1)) continue;
      const first = Math.ceil(lo / step - 1e-9);
      const count = Math.floor(hi / step + 1e-9) - first + 1;
      const off = Math.abs(count - wanted) + (factor === 2.5 ? 1.5 : 0) + (count < 3 || count > 6 ? 100 : 0);
      if (count > 0 && (!best || off < best.off)) best = { off, step, first, count };
    }
  }
  if (!best) return { step: 1, values: [] };
  const values = Array.from({ length: best.count }, (_, i) => (best.first + i) * best.step);
  return { step: best.step, values };
}

function logTicks(lo, hi, wanted) {
  const decades = Math.log10(hi / lo);
  if (decades < 0.8) return linearTicks(lo, hi, wanted);
  for (const factors of [[1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    const values = [];
    for (let k = Math.floor(Math.log10(lo)); k <= Math.log10(hi); k++) {
      for (const factor of factors) {
        const value = factor * 10 ** k;
        if (value >= lo * 0.999 && value <= hi * 1.001) values.push(value);
      }
    }
    if (values.length <= wanted + 1) return { step: 0, values };
    if (factors.length === 1) {
      const every = Math.ceil(values.length / (wanted + 1));
      return { step: 0, values: values.filter((_, i) => i % every === 0) };
    }
  }
  return { step: 0, values: [] };
}

/** Texts for ticks a `step` apart: the same unit and as many decimals for all (step 0: each for itself). */
function tickTexts({ step, values }) {
  const size = Math.max(...values.map(Math.abs), 0);
  if (!step) return values.map((value) => (value >= 1 && value < 1e4 ? grouped(value) : format(value)));
  if (size >= 1e4) {
    const [unit, scale] = size >= 1e9 ? ["G", 1e9] : size >= 1e6 ? ["M", 1e6] : ["k", 1e3];
    return values.map((value) => (value ? (value / scale).toFixed(decimals(step / scale)) + unit : "0"));
  }
  if (size < 1e-2) return values.map((value) => (value ? Number(value.toPrecision(6)).toExponential() : "0"));
  if (size >= 1e3 && decimals(step) === 0) return values.map(grouped);
  return values.map((value) => (value ? value.toFixed(decimals(step)) : "0"));
}

function decimals(step) {
  for (let n = 0; n < 8; n++) {
    const shifted = step * 10 ** n;
    if (Math.abs(shifted - Math.round(shifted)) < 1e-6 * shifted) return n;
  }
  return 8;
}

/** A function from values to pixels; NaN where a logarithmic axis has no place for the value. */
function scale([lo, hi], from, to, log = false) {
  const turn = log ? Math.log : (value) => value;
  const base = turn(lo);
  const slope = (to - from) / (turn(hi) - base);
  return (value) => (log && !(value > 0) ? NaN : from + (turn(value) - base) * slope);
}

function extent(columns, positive = false) {
  let lo = Infinity;
  let hi = -Infinity;
  for (const column of columns) {
    for (const value of column) {
      if (Number.isFinite(value) && (!positive || value > 0)) {
        if (value < lo) lo = value;
        if (value > hi) hi = value;
      }
    }
  }
  return hi >= lo ? [lo, hi] : null;
}

/** The 98th percentile: what a few spikes can't raise. NaN without values. */
function percentile98(column) {
  const sorted = column.filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(0.98 * (sorted.length - 1))] : NaN;
}

/** The largest value, unless a few spikes would flatten all the rest: then 1.5 times the 98th percentile. */
function calmMaximum(column) {
  const usual = percentile98(column);
  const most = extent([column])?.[1] ?? NaN;
  return most > 2.5 * usual && usual > 0 ? 1.5 * usual : most;
}

/** How high a line of losses reaches, spikes left out: a fall from the first values is no spike. */
function usualMaximum({ column, values }) {
  if (column !== "loss") return extent([values])?.[1] ?? NaN;
  return Math.max(percentile98(values), values.find(Number.isFinite) ?? NaN);
}

/** A little room above and below; never an empty range. */
function padded(lo, hi, log, room = 0.06) {
  if (log) {
    const factor = Math.max((hi / lo) ** room, 1.02);
    return [lo / factor, hi * factor];
  }
  const space = (hi - lo || Math.abs(hi) || 1) * room;
  return [lo >= 0 ? Math.max(0, lo - space) : lo - space, hi + space];
}

/** Index of the last x that is not beyond `x`, or -1; NaN is passed over. */
function lastUpTo(xs, x) {
  for (let i = xs.length - 1; i >= 0; i--) if (xs[i] <= x) return i;
  return -1;
}

// The snapshot ----------------------------------------------------------------------------------------------------

function readSnapshot(value) {
  let raw = value;
  if (typeof value === "string") {
    try {
      raw = JSON.parse(value || "{}");
    } catch {
      return null;
    }
  }
  raw = raw && typeof raw === "object" ? raw : {};
  const runs = (Array.isArray(raw.runs) ? raw.runs : []).map(readRun);
  const now = runs.find((run) => run.current) ?? runs[0] ?? null;
  const references = Object.entries(raw.references ?? {})
    .filter(([, loss]) => Number.isFinite(loss) && loss > 0)
    .map(([name, loss]) => ({ words: REFERENCES[name] ?? [name], loss }));
  const total = number(raw.total_tokens);
  return { now, past: runs.filter((run) => run !== now), references, total, perEpoch: number(raw.tokens_per_epoch) };
}

function readRun(raw, index) {
  const run = { name: String(raw.name ?? ""), current: raw.current === true };
  for (const [kind, names] of Object.entries(COLUMNS)) run[kind] = readTable(raw[kind], names);
  for (const side of ["train", "val"]) {
    run.evaluated[`${side}_perplexity`] = run.evaluated[`${side}_loss`].map(perplexity);
  }
  const color = Number.isInteger(raw.color_index) ? raw.color_index : index;
  run.color = ((color % PAST_COLORS) + PAST_COLORS) % PAST_COLORS;
  run.best = raw.best && Number.isFinite(raw.best.val_loss) ? raw.best : null;
  run.overfit = raw.overfit_from ? { ...raw.overfit_from } : null;
  if (run.overfit && !Number.isFinite(run.overfit.step)) {
    const { step, tokens } = run.evaluated;
    run.overfit.step = step[tokens.findIndex((seen) => seen >= run.overfit.tokens)] ?? NaN;
  }
  return run;
}

function readTable(raw, names) {
  const length = Array.isArray(raw?.step) ? raw.step.length : 0;
  return Object.fromEntries(
    names.map((name) => [name, Float64Array.from({ length }, (_, i) => number(raw[name]?.[i]))]),
  );
}

const number = (value) => (typeof value === "number" ? value : NaN);
const perplexity = (loss) => (loss < 700 ? Math.exp(loss) : NaN);
const last = (column) => (column.length ? column[column.length - 1] : NaN);
const furthest = (run, axis) => extent([run.stepped[axis], run.evaluated[axis]])?.[1] ?? 0;
const hasPoints = (run) => run !== null && (run.stepped.step.length > 0 || run.evaluated.step.length > 0);

/** Where the x axis ends: the planned end, halved until the curve fills at least half, so that it moves seldom. */
function xDomain(data, axis) {
  const reached = Math.max(0, ...[data.now, ...data.past].filter(Boolean).map((run) => furthest(run, axis)));
  let end = plannedEnd(data, axis);
  if (!Number.isFinite(end) || end < reached * 0.999) end = reached;
  while (reached > 0 && end / 2 >= reached * 1.02) end /= 2;
  return [0, end > 0 ? end : 1];
}

function plannedEnd(data, axis) {
  if (axis === "tokens") return data.total;
  if (axis === "epoch") return data.total / data.perEpoch;
  const seen = data.now ? last(data.now.stepped.tokens) : NaN;
  return data.now ? ((last(data.now.stepped.step) + 1) * data.total) / seen - 1 : NaN;
}

/** Every line of every panel. `at` says where the value is shown: in the legend or in a panel's head. */
function allSeries(data) {
  const list = [];
  for (const run of [...data.past, data.now].filter(Boolean)) {
    const now = run === data.now;
    const add = (panel, kind, column, look) => {
      const classes = now ? look : `${look} tc-past tc-color-${run.color}`.replace(/tc-(train|validation)/, "");
      list.push({ run, now, panel, column, classes, table: run[kind], values: run[kind][column] });
    };
    if (now || !run.evaluated.step.length) add("loss", "stepped", "loss", "tc-train tc-step");
    add("loss", "evaluated", "train_loss", now ? "tc-train" : "tc-dotted");
    add("loss", "evaluated", "val_loss", "tc-validation");
    add("perplexity", "evaluated", "train_perplexity", now ? "tc-train" : "tc-dotted");
    add("perplexity", "evaluated", "val_perplexity", "tc-validation");
    for (const column of ["learning_rate", "grad_norm", "tokens_per_second"]) add(column, "stepped", column, "tc-train");
  }
  return list;
}

function yDomain(panel, series, data, log) {
  const columns = series.map((line) => line.values);
  const range = extent(columns, log);
  if (panel === "loss") return lossDomain(range, series, data, log);
  if (!range) return log ? [1, 1000] : [0, 1];
  if (log) return padded(range[0], range[1], true, 0.1);
  const top = panel === "grad_norm" ? Math.max(...columns.map(calmMaximum).filter(Number.isFinite)) : range[1];
  return [Math.min(0, range[0]), top > 0 ? top * 1.1 : 1];
}

/** The references belong in the picture, except those far above it; a loss that explodes leaves the frame. */
function lossDomain(range, series, data, log) {
  const references = data.references.map((reference) => reference.loss);
  if (!range) return padded(log ? 1 : 0, Math.max(10, ...references), log);
  const usual = Math.max(...series.map(usualMaximum).filter(Number.isFinite));
  const top = range[1] > 1.5 * usual ? 1.05 * usual : range[1];
  const shown = references.filter((loss) => loss <= 1.25 * top);
  return padded(Math.min(range[0], ...shown), Math.max(top, ...shown), log);
}

// Drawing ---------------------------------------------------------------------------------------------------------

function html(tag, className, text, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  parent?.append(node);
  return node;
}

function svg(tag, parent, className = "") {
  const node = document.createElementNS(SVG, tag);
  if (className) node.setAttribute("class", className);
  parent?.append(node);
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Nodes that are used again at each redraw: take() them in order, then hide() the rest. */
class Pool {
  constructor(tag, parent) {
    Object.assign(this, { tag, parent, nodes: [], used: 0 });
  }

  take(className) {
    const node = this.nodes[this.used] ?? svg(this.tag, this.parent);
    this.nodes[this.used++] = node;
    node.style.display = "";
    return set(node, { class: className });
  }

  hide() {
    for (let i = this.used; i < this.nodes.length; i++) this.nodes[i].style.display = "none";
    this.used = 0;
  }
}

const LETTER = 7.2; // pixels of an average letter at 12 px, on the wide side
const tenth = (value) => Math.round(value * 10) / 10;

/** The path through the points; a gap where a value is missing. "h0" lets a lone point show as a dot. */
function pathData(xs, ys, sx, sy) {
  let path = "";
  let open = false;
  for (let i = 0; i < xs.length; i++) {
    const x = sx(xs[i]);
    const y = sy(ys[i]);
    if (x !== x || y !== y) open = false;
    else {
      const place = `${tenth(x)} ${tenth(Math.max(-2000, Math.min(4000, y)))}`;
      path += open ? `L${place}` : `M${place}h0`;
      open = true;
    }
  }
  return path;
}

function dotsData(xs, ys, sx, sy) {
  let path = "";
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = [sx(xs[i]), sy(ys[i])];
    if (x === x && y === y) path += `M${tenth(x)} ${tenth(y)}h0`;
  }
  return path;
}

/** One plot: axes, lines, marks and the cursor. Big ones carry references, labels and the x axis' name. */
class Panel {
  constructor(name, box, big) {
    Object.assign(this, { name, box, big, drawn: [] });
    const root = set(svg("svg", box), { "aria-hidden": "true", focusable: "false" });
    this.shade = svg("rect", root, "tc-shade");
    this.lines = new Pool("line", svg("g", root));
    this.ticks = new Pool("text", svg("g", root));
    this.frame = svg("svg", root); // a nested svg clips what leaves the plot
    this.paths = new Pool("path", svg("g", this.frame));
    this.cursor = svg("line", root, "tc-cursor");
    this.labels = new Pool("text", svg("g", root));
    this.marks = new Pool("circle", svg("g", root));
    this.dots = new Pool("circle", svg("g", root));
  }

  draw(view) {
    const { width, height } = view.sizes.get(this);
    const series = view.series.filter((line) => line.panel === this.name);
    const log = this.name === "loss" ? view.log.loss : this.name === "perplexity" && view.log.perplexity;
    const domain = yDomain(this.name, series, view.data, log);
    const references = view.data.references.filter(({ loss }) => this.big && loss >= domain[0] && loss <= domain[1]);
    const gutter = references.length > 0 && width >= 860;
    const bottom = height - (this.big ? 42 : 22);
    const right = width - (gutter ? 206 : 8);
    const rows = (log ? logTicks : linearTicks)(...domain, this.big ? 5 : 3);
    const known = this.big || series.some((line) => extent([line.values]));
    const rowTexts = known ? tickTexts(rows) : [];
    const left = 12 + LETTER * Math.max(2, ...rowTexts.map((text) => text.length));
    const x = scale(view.xDomain, left, right);
    const y = scale(domain, bottom, 8, log);
    Object.assign(this, { x, y, bottom, right, left, gutter, width, taken: [] });
    set(this.frame, { x: this.left - 3, y: 2, width: Math.max(0, right - this.left + 6), height: bottom - 1 });
    this.drawRows(rows.values, rowTexts);
    this.drawColumns(view);
    this.drawLines(series, view);
    this.drawReferences(references);
    this.drawMarks(view);
    this.drawShade(view);
    for (const pool of [this.lines, this.ticks, this.paths, this.marks, this.labels]) pool.hide();
  }

  drawRows(values, texts) {
    values.forEach((value, i) => {
      const at = tenth(this.y(value));
      this.line("tc-grid", this.left, at, this.right, at);
      this.tick(texts[i] ?? "", this.left - 8, at + 4, "end");
    });
  }

  /** The x axis; where texts would touch, only every second or third tick has one. */
  drawColumns(view) {
    const { x, left, right, bottom } = this;
    this.line("tc-axis", left, bottom, right, bottom);
    const wanted = Math.max(3, Math.min(6, Math.round((right - left) / 130) + 1));
    const columns = linearTicks(...view.xDomain, wanted, view.axis === "epoch" ? 0 : 1);
    const texts = view.xKnown ? tickTexts(columns) : [];
    const longest = LETTER * Math.max(0, ...texts.map((text) => text.length));
    const every = Math.ceil((longest + 6) / (x(columns.step) - x(0)));
    columns.values.forEach((value, i) => {
      const at = tenth(x(value));
      this.line("tc-axis", at, bottom, at, bottom + 4);
      const text = i % every ? "" : (texts[i] ?? "");
      this.tick(text, Math.min(at, this.width - 2 - (text.length * LETTER) / 2), bottom + 18, "middle");
    });
    if (this.big) this.tick(AXES[view.axis], (left + right) / 2, bottom + 36, "middle");
  }

  line(className, x1, y1, x2, y2) {
    set(this.lines.take(className), { x1, y1, x2, y2 });
  }

  tick(text, x, y, anchor) {
    setText(set(this.ticks.take(""), { x, y, "text-anchor": anchor }), text);
  }

  /** Writes a label at the first of the places [x, y, anchor] where it covers no line and no label, else at the first. */
  label(text, places, className = "tc-halo") {
    const boxes = places.map(([x, y, anchor]) => {
      const wide = text.length * LETTER;
      const from = x - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
      return [from, from + wide, y - 11, y + 4];
    });
    const free = boxes.findIndex((box) => this.isFree(box));
    const whole = boxes.findIndex(([x0, x1]) => x0 >= this.left && x1 <= this.width); // rather on a line than cut off
    const chosen = Math.max(0, free < 0 ? whole : free);
    const [x, y, anchor] = places[chosen];
    this.taken.push(boxes[chosen]);
    setText(set(this.labels.take(className), { x: tenth(x), y: tenth(y), "text-anchor": anchor }), text);
  }

  isFree([x0, x1, y0, y1]) {
    if (x0 < this.left || x1 > this.width || y1 > this.bottom) return false;
    if (this.taken.some(([a0, a1, b0, b1]) => a0 < x1 && a1 > x0 && b0 < y1 && b1 > y0)) return false;
    return !this.drawn.some((line) => {
      let before = NaN; // between two points the line runs through all heights between theirs
      for (let i = 0; i < line.xs.length; i++) {
        const x = this.x(line.xs[i]);
        const y = this.y(line.values[i]);
        if (x >= x0 && Math.min(y, before) < y1 && Math.max(y, before) > y0) return true;
        if (x > x1) return false;
        before = y;
      }
      return false;
    });
  }

  drawLines(series, view) {
    const frameX = (value) => this.x(value) - this.left + 3;
    const frameY = (value) => this.y(value) - 2;
    this.drawn = series.map((line) => ({ ...line, xs: line.table[view.axis] }));
    for (const line of this.drawn) {
      const path = this.paths.take(`tc-line ${line.classes}`);
      set(path, { d: pathData(line.xs, line.values, frameX, frameY) });
    }
    const measured = this.drawn.filter((line) => this.big && line.now && line.column.endsWith("_loss"));
    for (const line of measured) {
      const first = line.xs.length <= (this.right - this.left) / 26 ? 0 : line.xs.length - 1; // many: only the last
      const path = this.paths.take(`tc-line tc-points ${line.classes}`);
      set(path, { d: dotsData(line.xs.subarray(first), line.values.subarray(first), frameX, frameY) });
    }
  }

  drawShade(view) {
    const from = this.name === "loss" || this.name === "perplexity" ? view.data.now?.overfit?.[view.axis] : null;
    const start = Number.isFinite(from) ? this.x(from) : NaN;
    const end = view.data.now ? this.x(furthest(view.data.now, view.axis)) : NaN;
    const shown = end > start;
    set(this.shade, { x: shown ? tenth(start) : 0, width: shown ? tenth(end - start) : 0, y: 8, height: this.bottom - 8 });
    if (!shown || !this.big) return;
    const long = "overfitting: validation loss rises";
    const text = this.right - start > long.length * LETTER ? long : "overfitting";
    const room = this.right - start > text.length * LETTER;
    const place = room ? [start + 6, "start"] : [this.right - 4, "end"];
    const rows = Array.from({ length: Math.floor((this.bottom - 32) / 8) + 1 }, (_, i) => 24 + 8 * i);
    this.label(text, rows.map((y) => [place[0], y, place[1]]));
  }

  drawMarks(view) {
    if (!this.big) return;
    for (const run of [...view.data.past, view.data.now].filter((one) => one?.best)) {
      const cx = tenth(this.x(number(run.best[view.axis])));
      const cy = tenth(this.y(run.best.val_loss));
      if (cx !== cx || cy !== cy) continue;
      const now = run === view.data.now;
      set(this.marks.take(now ? "tc-ring" : `tc-ring tc-past tc-color-${run.color}`), { cx, cy, r: now ? 6.5 : 4.5 });
      if (now) this.labelBest(run.best, cx, cy);
    }
  }

  labelBest(best, x, y) {
    const places = [[x, y - 13, "middle"], [x, y + 23, "middle"], [x - 8, y + 23, "end"], [x + 12, y + 4, "start"]];
    places.push([x + 8, y - 12, "start"], [x, y - 30, "middle"], [x, y + 38, "middle"]);
    places.push([x + 8, y - 13, "end"], [x + 8, y - 30, "end"], [x + 8, y + 38, "end"]); // at the right edge
    this.label(`best ${format(best.val_loss)}`, places, "tc-halo tc-strong");
  }

  drawReferences(references) {
    let free = this.bottom + 4;
    for (const { words, loss } of references.sort((a, b) => a.loss - b.loss)) {
      const y = tenth(this.y(loss));
      this.line("tc-reference", this.left, y, this.right, y);
      this.taken.push([this.left, this.right, y, y]);
      if (this.gutter) {
        free = Math.min(y + 4, free) - 15;
        this.label(`${words.join(": ")} ${format(loss)}`, [[this.right + 8, free + 15, "start"]]);
      } else this.label(`${this.width > 560 ? words.join(": ") : words.at(-1)} ${format(loss)}`, [-6, 15].map((dy) => [this.right - 2, y + dy, "end"]));
    }
  }

  drawCursor(point, axis) {
    const at = point ? tenth(this.x(point[axis])) : NaN;
    const shown = Number.isFinite(at);
    this.cursor.style.display = shown ? "" : "none";
    if (shown) set(this.cursor, { x1: at, x2: at, y1: 8, y2: this.bottom });
    for (const line of shown ? this.drawn : []) {
      const i = indexAt(line, point, axis);
      const [cx, cy] = [this.x(line.xs[i]), this.y(line.values[i])];
      if (!(cy >= 0 && cy <= this.bottom) || cx !== cx) continue;
      set(this.dots.take(`tc-dot ${line.classes}`), { cx: tenth(cx), cy: tenth(cy), r: line.now ? 4 : 3 });
    }
    this.dots.hide();
  }
}

/** Which value of a line holds at the cursor: the latest up to there; none after a past run has ended. */
function indexAt(line, point, axis) {
  const xs = line.table[axis];
  if (!point) return xs.length - 1;
  const over = !line.now && point[axis] > furthest(line.run, axis) * 1.001;
  return over ? -1 : lastUpTo(xs, point[axis] * (1 + 1e-9));
}

// The component ---------------------------------------------------------------------------------------------------

let instances = 0;

class Chart {
  constructor(root) {
    Object.assign(this, { root, id: `tc-${++instances}`, axis: "tokens", log: { loss: false, perplexity: true } });
    Object.assign(this, { data: readSnapshot(""), raw: undefined, stale: true, cursorStep: null, items: [], points: [] });
    this.build();
    this.onVisible = () => (root.isConnected ? this.refresh() : this.destroy());
    this.onPress = (event) => root.contains(event.target) || this.moveTo(null); // a touch elsewhere ends the reading
    document.addEventListener("visibilitychange", this.onVisible);
    document.addEventListener("pointerdown", this.onPress);
    this.resizes = new ResizeObserver(() => this.redraw());
    for (const box of [root, ...this.panels.map((panel) => panel.box)]) this.resizes.observe(box);
  }

  build() {
    this.root.replaceChildren();
    const head = html("div", "tc-head", "", this.root);
    const titles = html("div", "", "", head);
    this.name = html("span", "tc-name", "", titles);
    this.place = html("span", "tc-at", "", titles);
    this.buildControls(html("div", "tc-controls", "", head));
    this.legend = html("div", "tc-legend", "", this.root);
    this.pastLegend = html("div", "tc-legend tc-earlier", "", this.root);
    this.main = set(html("div", "tc-plot tc-main", "", this.root), { role: "img", tabindex: 0 });
    this.panels = [new Panel("loss", this.main, true)];
    this.empty = html("p", "tc-empty", "", this.main);
    html("span", "", EMPTY, this.empty);
    const row = html("div", "tc-row", "", this.root);
    this.heads = {};
    for (const [name, title] of [
      ["perplexity", "Perplexity"],
      ["learning_rate", "Learning rate"],
      ["grad_norm", "Gradient norm"],
      ["tokens_per_second", "Tokens per second"],
    ]) {
      const cell = html("div", "", "", row);
      const head = html("div", "tc-cell", "", cell);
      html("span", "tc-title", title, head).title = meaningOf(title);
      if (name === "perplexity") this.buildLogSwitch(head);
      this.heads[name] = html("div", "tc-values", "", cell);
      this.panels.push(new Panel(name, html("div", "tc-plot tc-small", "", cell), false));
    }
    this.buildMeaning();
    this.spoken = set(html("div", "tc-spoken", "", this.root), { role: "status", "aria-live": "polite" });
    this.listen();
  }

  buildControls(box) {
    this.choice(box, "x axis", [["tokens", "Tokens"], ["epoch", "Epochs"], ["step", "Steps"]], "tokens", (axis) => {
      this.axis = axis;
    });
    this.choice(box, "Loss scale", [["linear", "Linear"], ["log", "Log"]], "linear", (value) => {
      this.log.loss = value === "log";
    });
  }

  choice(box, title, options, chosen, apply) {
    const group = set(html("div", "tc-choice", "", box), { role: "radiogroup", "aria-label": title });
    set(html("span", "", title, group), { "aria-hidden": "true" });
    const holder = html("div", "tc-options", "", group);
    for (const [value, text] of options) {
      const label = html("label", "", text, holder);
      label.dataset.text = text;
      const input = Object.assign(document.createElement("input"), { type: "radio", value, checked: value === chosen });
      input.name = `${this.id}-${title}`;
      input.setAttribute("aria-label", text);
      input.addEventListener("change", () => {
        apply(value);
        this.redraw();
      });
      label.append(input);
      if (value === "epoch") this.epochChoice = input;
    }
  }

  buildLogSwitch(head) {
    const label = html("label", "tc-switch", "", head);
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: this.log.perplexity });
    input.setAttribute("aria-label", "Logarithmic scale of the perplexity");
    input.addEventListener("change", () => {
      this.log.perplexity = input.checked;
      this.redraw();
    });
    label.append(input, "log");
  }

  redraw() {
    this.stale = true;
    this.refresh();
  }

  buildMeaning() {
    const details = html("details", "", "", this.root);
    html("summary", "", "What these curves say", details);
    const list = html("dl", "", "", details);
    for (const [term, text] of MEANING) {
      html("dt", "", term, list);
      html("dd", "", text, list);
    }
  }

  listen() {
    for (const panel of this.panels) {
      const follow = (event) => {
        const at = event.clientX - panel.box.getBoundingClientRect().left;
        this.moveTo(this.nearest((point) => Math.abs(panel.x(point[this.axis]) - at)));
      };
      panel.box.addEventListener("pointermove", follow);
      panel.box.addEventListener("pointerdown", follow);
      panel.box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.moveTo(null));
    }
    this.main.addEventListener("keydown", (event) => this.key(event));
    this.main.addEventListener("blur", () => this.moveTo(null));
  }

  /** Arrows go from one evaluation to the next (with Shift: from step to step), Home and End to the ends. */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") return this.moveTo(null);
    if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const evaluated = this.points.filter((point) => point.evaluated);
    const points = event.shiftKey || evaluated.length < 2 ? this.points : evaluated;
    if (!points.length) return;
    const here = this.cursorStep ?? (event.key === "ArrowLeft" ? Infinity : -Infinity);
    const after = points.findIndex((point) => point.step > here);
    const before = points.findLastIndex((point) => point.step < here);
    const targets = { ArrowLeft: Math.max(before, 0), ArrowRight: after < 0 ? points.length - 1 : after, Home: 0, End: points.length - 1 };
    this.moveTo(points[targets[event.key]]);
  }

  nearest(distance) {
    let best = null;
    let least = Infinity;
    for (const point of this.points) {
      const far = distance(point);
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  moveTo(point) {
    const step = point ? point.step : null;
    if (step === this.cursorStep || this.stale) return;
    this.cursorStep = step;
    this.drawCursor();
    setText(this.spoken, point ? this.sentence(point) : "");
  }

  update(value) {
    this.raw = value;
    this.refresh();
  }

  /** Reads and draws what is new, unless nobody can see it now. */
  refresh() {
    if (document.hidden || !this.main.clientWidth) return;
    if (this.raw !== undefined) {
      const data = readSnapshot(this.raw);
      this.raw = undefined;
      this.stale = this.stale || data !== null;
      this.data = data ?? this.data;
    }
    if (this.stale) this.draw();
  }

  draw() {
    this.stale = false;
    const { data } = this;
    const width = this.root.clientWidth;
    this.root.dataset.size = width > 900 ? "wide" : width > 640 ? "medium" : "narrow";
    this.epochChoice.disabled = !this.knowsEpochs();
    if (this.epochChoice.disabled && this.axis === "epoch") {
      this.axis = "tokens";
      this.root.querySelector("input[value=tokens]").checked = true;
    }
    this.points = data.now ? pointsOf(data.now, this.axis) : [];
    const sizes = new Map(this.panels.map((panel) => [panel, { width: panel.box.clientWidth, height: panel.box.clientHeight }]));
    const series = allSeries(data);
    const known = plannedEnd(data, this.axis) > 0 || [data.now, ...data.past].some(hasPoints);
    const view = { data, series, sizes, axis: this.axis, log: this.log, xDomain: xDomain(data, this.axis), xKnown: known };
    for (const panel of this.panels) panel.draw(view);
    this.empty.hidden = [data.now, ...data.past].some((run) => run && hasPoints(run));
    this.drawLegend(series);
    this.drawCursor();
    this.describe();
  }

  knowsEpochs() {
    const runs = [this.data.now, ...this.data.past].filter(Boolean);
    return !runs.some(hasPoints) || runs.some((run) => extent([run.evaluated.epoch, run.stepped.epoch]));
  }

  /** The legend's rows; rebuilt only when a run comes, goes or is renamed. */
  drawLegend(series) {
    const runs = [this.data.now, ...this.data.past].filter(Boolean);
    const key = JSON.stringify(runs.map((run) => [run.name, run.color]));
    setText(this.name, this.data.now?.name || "Training");
    if (key !== this.legendKey) {
      this.legendKey = key;
      this.items = [];
      this.buildLegend(runs);
    }
    for (const item of this.items) {
      item.line = series.find((line) => line.run === (runs[item.run] ?? null) && line.column === item.column);
    }
  }

  buildLegend(runs) {
    this.legend.replaceChildren();
    this.pastLegend.replaceChildren();
    this.pastLegend.hidden = runs.length < 2;
    const title = html("span", "tc-title", "", this.legend);
    title.title = meaningOf("Loss");
    html("b", "", "Loss", title);
    title.append("nats per token");
    this.item(this.legend, 0, "train_loss", "tc-train", "training");
    this.item(this.legend, 0, "val_loss", "tc-validation", "validation");
    this.item(this.legend, 0, "loss", "tc-train tc-step", "each step");
    runs.slice(1).forEach((run, i) => {
      const group = html("span", `tc-group tc-past tc-color-${run.color}`, "", this.pastLegend);
      html("span", "tc-run", run.name, group).title = run.name;
      this.item(group, i + 1, "train_loss", "tc-dotted", "training");
      this.item(group, i + 1, "val_loss", "", "validation");
    });
    for (const [name, box] of Object.entries(this.heads)) {
      box.replaceChildren();
      const two = name === "perplexity";
      if (two) this.item(box, 0, "train_perplexity", "tc-train", "");
      this.item(box, 0, two ? "val_perplexity" : name, two ? "tc-validation" : "tc-train", "");
    }
  }

  item(box, run, column, look, text) {
    const item = html("span", "tc-item", "", box);
    html("span", `tc-swatch ${look}`, "", item);
    if (text) html("span", "", text, item);
    const value = html("b", "", "", item);
    value.dataset.value = run === 0 ? column : `${column}-${run}`;
    this.items.push({ run, column, value });
  }

  drawCursor() {
    const point = this.cursorPoint();
    for (const panel of this.panels) panel.drawCursor(point, this.axis);
    for (const { line, value } of this.items) setText(value, line ? format(this.valueOf(line, point)) : format(NaN));
    const latest = this.points[this.points.length - 1];
    const where = point ?? latest;
    setText(this.place, where ? `${point ? "At" : "Latest:"} ${placeText(where)}` : "");
    this.root.dataset.cursorStep = point ? String(point.step) : "";
  }

  cursorPoint() {
    const found = this.cursorStep === null ? -1 : this.points.findLastIndex((point) => point.step <= this.cursorStep);
    return this.points[found] ?? null;
  }

  valueOf(line, point) {
    return line.values[indexAt(line, point, this.axis)] ?? NaN;
  }

  sentence(point) {
    const said = this.items
      .filter((item) => item.line)
      .map(({ line }) => [line, this.valueOf(line, point)])
      .filter(([, value]) => Number.isFinite(value))
      .map(([line, value]) => `${line.now ? "" : `${line.run.name} `}${SPOKEN[line.column]} ${format(value)}`);
    return `${placeText(point)}: ${said.join(", ")}`;
  }

  /** What a screen reader says of the picture, and what tests read. The label rests while somebody reads points. */
  describe() {
    const { now } = this.data;
    const best = now?.best ?? null;
    Object.assign(this.root.dataset, {
      points: String(now ? now.evaluated.step.length : 0),
      lastStep: now && now.stepped.step.length ? String(last(now.stepped.step)) : "",
      best: best ? String(best.val_loss) : "",
    });
    if (this.cursorStep !== null) return;
    const latest = this.points[this.points.length - 1];
    const summary = latest
      ? `Training curves of ${now.name}. Latest: ${this.sentence(latest)}.` +
        (best ? ` Best validation loss ${format(best.val_loss)} at step ${best.step}.` : "") +
        " Left and right arrow keys read the evaluations one by one, with Shift every step; Home and End go to the ends."
      : `Training curves. ${EMPTY}`;
    set(this.main, { "aria-label": summary });
  }

  destroy() {
    this.resizes.disconnect();
    document.removeEventListener("visibilitychange", this.onVisible);
    document.removeEventListener("pointerdown", this.onPress);
  }
}

const SPOKEN = {
  loss: "loss of the step",
  train_loss: "training loss",
  val_loss: "validation loss",
  train_perplexity: "training perplexity",
  val_perplexity: "validation perplexity",
  learning_rate: "learning rate",
  grad_norm: "gradient norm",
  tokens_per_second: "tokens per second",
};

const meaningOf = (title) => MEANING.find(([term]) => term === title)?.[1] ?? "";

/** The places the cursor can stand: all steps and evaluations of the run, in order. */
function pointsOf(run, axis) {
  const byStep = new Map();
  for (const kind of ["stepped", "evaluated"]) {
    const { step, tokens, epoch } = run[kind];
    for (let i = 0; i < step.length; i++) {
      const point = { step: step[i], tokens: tokens[i], epoch: epoch[i], evaluated: kind === "evaluated" };
      if (Number.isFinite(point.step) && Number.isFinite(point[axis])) byStep.set(point.step, point);
    }
  }
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

function placeText({ step, tokens, epoch }) {
  const parts = [`step ${grouped(step)}`, `${grouped(tokens)} tokens`];
  if (Number.isFinite(epoch)) parts.push(`epoch ${epoch.toFixed(2)}`);
  return parts.join(", ");
}

const mounted = new WeakMap();

export function mount(element, getValue) {
  mounted.get(element)?.destroy();
  const chart = new Chart(element);
  mounted.set(element, chart);
  chart.update(getValue?.() ?? "");
  return { update: (value) => chart.update(value ?? ""), destroy: () => chart.destroy() };
}
