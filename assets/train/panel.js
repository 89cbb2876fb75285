// One plot: axes, lines, marks and the cursor.

import { set, setText } from "../page/dom.js";
import { extent, scale } from "./scales.js";
import { indexAt, yDomain } from "./series.js";
import { furthest } from "./snapshot.js";
import { LETTER, Pool, dotsData, pathData, svg, tenth } from "./svg.js";
import { format, linearTicks, logTicks, tickTexts } from "./ticks.js";
import { AXES } from "./words.js";

/** @import { Line, PanelName } from "./series.js" */
/** @import { Axis, Data, Point, Reference } from "./snapshot.js" */

/** What a panel draws.
 *  @typedef {{
 *    data: Data,
 *    series: Line[],
 *    sizes: Map<Panel, { width: number, height: number }>,
 *    axis: Axis,
 *    log: { loss: boolean, perplexity: boolean },
 *    xDomain: [number, number],
 *    xKnown: boolean,
 *  }} View */
/** @typedef {"start" | "middle" | "end"} Anchor */
/** @typedef {[x: number, y: number, anchor: Anchor]} Spot where a label can be */
/** @typedef {[x0: number, x1: number, y0: number, y1: number]} Box */

/** One plot: axes, lines, marks and the cursor. Big ones carry references, labels and the x axis' name. */
export class Panel {
  /** @type {(Line & { xs: Float64Array })[]} */
  drawn = [];
  /** @type {Box[]} of labels and references */
  taken = [];
  x = scale([0, 1], 0, 1);
  y = scale([0, 1], 0, 1);
  left = 0;
  right = 0;
  bottom = 0;
  width = 0;
  gutter = false; // references are named at the right of the plot

  /** @param {PanelName} name @param {HTMLElement} box @param {boolean} big */
  constructor(name, box, big) {
    this.name = name;
    this.box = box;
    this.big = big;
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

  /** @param {View} view */
  draw(view) {
    const { width, height } = view.sizes.get(this) ?? { width: 0, height: 0 };
    const series = view.series.filter((line) => line.panel === this.name);
    const log = (this.name === "loss" || this.name === "perplexity") && view.log[this.name];
    const domain = yDomain(this.name, series, view.data, log);
    const references = view.data.references.filter(({ loss }) => this.big && loss >= domain[0] && loss <= domain[1]);
    this.taken = [];
    this.width = width;
    this.gutter = references.length > 0 && width >= 860;
    this.bottom = height - (this.big ? 42 : 22);
    this.right = width - (this.gutter ? 206 : 8);
    const rows = (log ? logTicks : linearTicks)(domain[0], domain[1], this.big ? 5 : 3);
    const known = this.big || series.some((line) => extent([line.values]));
    const rowTexts = known ? tickTexts(rows) : [];
    this.left = 12 + LETTER * Math.max(2, ...rowTexts.map((text) => text.length));
    this.x = scale(view.xDomain, this.left, this.right);
    this.y = scale(domain, this.bottom, 8, log);
    const inside = Math.max(0, this.right - this.left + 6);
    set(this.frame, { x: this.left - 3, y: 2, width: inside, height: this.bottom - 1 });
    this.drawRows(rows.values, rowTexts);
    this.drawColumns(view);
    this.drawLines(series, view);
    this.drawReferences(references);
    this.drawMarks(view);
    this.drawShade(view);
    for (const pool of [this.lines, this.ticks, this.paths, this.marks, this.labels]) pool.hide();
  }

  /** @param {number[]} values @param {string[]} texts */
  drawRows(values, texts) {
    values.forEach((value, i) => {
      const at = tenth(this.y(value));
      this.line("tc-grid", this.left, at, this.right, at);
      this.tick(texts[i] ?? "", this.left - 8, at + 4, "end");
    });
  }

  /** The x axis; where texts would touch, only every second or third tick has one.
   *  @param {View} view */
  drawColumns(view) {
    const { x, left, right, bottom } = this;
    this.line("tc-axis", left, bottom, right, bottom);
    const wanted = Math.max(3, Math.min(6, Math.round((right - left) / 130) + 1));
    const [lo, hi] = view.xDomain;
    const columns = linearTicks(lo, hi, wanted, view.axis === "epoch" ? 0 : 1);
    const texts = view.xKnown ? tickTexts(columns) : [];
    const longest = LETTER * Math.max(0, ...texts.map((text) => text.length));
    const every = Math.ceil((longest + 14) / (x(columns.step) - x(0)));
    columns.values.forEach((value, i) => {
      const at = tenth(x(value));
      this.line("tc-axis", at, bottom, at, bottom + 4);
      const text = i % every ? "" : (texts[i] ?? "");
      this.tick(text, Math.min(at, this.width - 2 - (text.length * LETTER) / 2), bottom + 18, "middle");
    });
    if (this.big) this.tick(AXES[view.axis], (left + right) / 2, bottom + 36, "middle");
  }

  /** @param {string} className @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 */
  line(className, x1, y1, x2, y2) {
    set(this.lines.take(className), { x1, y1, x2, y2 });
  }

  /** @param {string} text @param {number} x @param {number} y @param {Anchor} anchor */
  tick(text, x, y, anchor) {
    setText(set(this.ticks.take(""), { x, y, "text-anchor": anchor }), text);
  }

  /** Writes a label at the first of the places where it covers no line and no label.
   *  @param {string} text
   *  @param {Spot[]} places */
  label(text, places, className = "tc-halo") {
    const boxes = places.map(([x, y, anchor]) => {
      const wide = text.length * LETTER;
      const from = x - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
      return /** @type {Box} */ ([from, from + wide, y - 11, y + 4]);
    });
    const free = boxes.findIndex((box) => this.isFree(box));
    const whole = boxes.findIndex(([x0, x1]) => x0 >= this.left && x1 <= this.width); // rather on a line than cut off
    const chosen = Math.max(0, free < 0 ? whole : free);
    const [x, y, anchor] = places[chosen];
    this.taken.push(boxes[chosen]);
    setText(set(this.labels.take(className), { x: tenth(x), y: tenth(y), "text-anchor": anchor }), text);
  }

  /** @param {Box} box */
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

  /** @param {Line[]} series @param {View} view */
  drawLines(series, view) {
    /** @param {number} value */
    const frameX = (value) => this.x(value) - this.left + 3;
    /** @param {number} value */
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

  /** @param {View} view */
  drawShade(view) {
    const from = this.name === "loss" || this.name === "perplexity" ? view.data.now?.overfit?.[view.axis] : NaN;
    const start = this.x(from ?? NaN);
    const end = view.data.now ? this.x(furthest(view.data.now, view.axis)) : NaN;
    const shown = end > start;
    const [x, width] = shown ? [tenth(start), tenth(end - start)] : [0, 0];
    set(this.shade, { x, width, y: 8, height: this.bottom - 8 });
    if (!shown || !this.big) return;
    const long = "overfitting: validation loss rises";
    const text = this.right - start > long.length * LETTER ? long : "overfitting";
    const room = this.right - start > text.length * LETTER;
    const rows = Array.from({ length: Math.floor((this.bottom - 32) / 8) + 1 }, (_, i) => 24 + 8 * i);
    this.label(
      text,
      rows.map((y) => (room ? [start + 6, y, "start"] : [this.right - 4, y, "end"])),
    );
  }

  /** @param {View} view */
  drawMarks({ data: { past, now }, axis }) {
    if (!this.big) return;
    for (const run of now ? [...past, now] : past) {
      if (!run.best) continue;
      const cx = tenth(this.x(run.best[axis]));
      const cy = tenth(this.y(run.best.val_loss));
      if (cx !== cx || cy !== cy) continue;
      const current = run === now;
      const look = current ? "" : ` tc-past tc-color-${run.color}`;
      set(this.marks.take(`tc-ring${look}`), { cx, cy, r: current ? 6.5 : 4.5 });
      if (current) this.labelBest(run.best.val_loss, cx, cy);
    }
  }

  /** @param {number} loss @param {number} x @param {number} y */
  labelBest(loss, x, y) {
    /** @type {Spot[]} */
    const places = [
      [x, y - 13, "middle"],
      [x, y + 23, "middle"],
      [x - 8, y + 23, "end"],
      [x + 12, y + 4, "start"],
      [x + 8, y - 12, "start"],
      [x, y - 30, "middle"],
      [x, y + 38, "middle"],
      [x + 8, y - 13, "end"],
      [x + 8, y - 30, "end"],
      [x + 8, y + 38, "end"], // at the right edge
    ];
    this.label(`best ${format(loss)}`, places, "tc-halo tc-strong");
  }

  /** @param {Reference[]} references */
  drawReferences(references) {
    let free = this.bottom + 4;
    for (const { words, loss } of references.sort((a, b) => a.loss - b.loss)) {
      const y = tenth(this.y(loss));
      this.line("tc-reference", this.left, y, this.right, y);
      this.taken.push([this.left, this.right, y, y]);
      if (this.gutter) {
        free = Math.min(y + 4, free) - 15;
        this.label(`${words.join(": ")} ${format(loss)}`, [[this.right + 8, free + 15, "start"]]);
        continue;
      }
      const text = this.width > 560 ? words.join(": ") : words.at(-1);
      this.label(
        `${text} ${format(loss)}`,
        [-6, 15].map((dy) => [this.right - 2, y + dy, "end"]),
      );
    }
  }

  /** @param {Point | null} point @param {Axis} axis */
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
