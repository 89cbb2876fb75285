// The live training chart: draws the JSON snapshots of gpt_demo/ui/protocol/chart.py as SVG.
//
//   const chart = mount(element, getValue);   // draws getValue() at once
//   chart.update(json);                       // a newer snapshot
//   chart.destroy();
//
// Run names are visitors' text: everything reaches the page through textContent, never through markup.

import { h, set, setText } from "../page/dom.js";
import { choice, logSwitch, meaning } from "./controls.js";
import { Legend } from "./legend.js";
import { Panel } from "./panel.js";
import { extent } from "./scales.js";
import { allSeries, indexAt } from "./series.js";
import { dataOf, hasPoints, last, plannedEnd, pointsOf, readSnapshot, runsOf, xDomain } from "./snapshot.js";
import { format } from "./ticks.js";
import { EMPTY, SPOKEN, meaningOf, placeText } from "./words.js";

/** @import { Snapshot } from "../page/protocol.js" */
/** @import { Line, Small } from "./series.js" */
/** @import { Axis, Point } from "./snapshot.js" */

/** @typedef {string | Partial<Snapshot>} Value a snapshot, or its JSON */

/** @type {["perplexity" | Small, string][]} */
const SMALL = [
  ["perplexity", "Perplexity"],
  ["learning_rate", "Learning rate"],
  ["grad_norm", "Gradient norm"],
  ["tokens_per_second", "Tokens per second"],
];

let instances = 0;

class Chart {
  id = `tc-${++instances}`;
  /** @type {Axis} */
  axis = "tokens";
  log = { loss: false, perplexity: true };
  data = dataOf({});
  /** @type {Value | undefined} a snapshot that is not read yet */
  raw = undefined;
  stale = true;
  /** @type {number | null} */
  cursorStep = null;
  /** @type {Point[]} where the cursor can be */
  points = [];

  name = h("span", "tc-name");
  place = h("span", "tc-at");
  empty = h("p", "tc-empty", h("span", "", EMPTY));
  main = set(h("div", "tc-plot tc-main"), { role: "img", tabindex: 0 });
  panels = [new Panel("loss", this.main, true)];
  spoken = set(h("div", "tc-spoken"), { role: "status", "aria-live": "polite" });
  legend = new Legend(SMALL.map(([name]) => [name, h("div", "tc-values")]));
  axes = this.axisChoice();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.build();
    this.onVisible = () => (root.isConnected ? this.refresh() : this.destroy());
    /** A touch elsewhere ends the reading.
     *  @param {PointerEvent} event */
    this.onPress = ({ target }) => (target instanceof Node && root.contains(target)) || this.moveTo(null);
    document.addEventListener("visibilitychange", this.onVisible);
    document.addEventListener("pointerdown", this.onPress);
    this.resizes = new ResizeObserver(() => this.redraw());
    for (const box of [root, ...this.panels.map((panel) => panel.box)]) this.resizes.observe(box);
  }

  build() {
    this.main.append(this.empty);
    const cells = SMALL.map(([name, title], i) => this.cell(name, title, this.legend.heads[i][1]));
    const controls = h("div", "tc-controls", this.axes.group, this.scaleChoice().group);
    this.root.replaceChildren(
      h("div", "tc-head", h("div", "", this.name, this.place), controls),
      this.legend.now,
      this.legend.past,
      this.main,
      h("div", "tc-row", cells),
      meaning(),
      this.spoken,
    );
    this.listen();
  }

  /** @param {"perplexity" | Small} name @param {string} title @param {HTMLElement} values */
  cell(name, title, values) {
    const label = h("span", "tc-title", title);
    label.title = meaningOf(title);
    /** @param {boolean} on */
    const switched = (on) => this.change(() => (this.log.perplexity = on));
    const log = name === "perplexity" && logSwitch(this.log.perplexity, switched);
    const plot = h("div", "tc-plot tc-small");
    this.panels.push(new Panel(name, plot, false));
    return h("div", "", h("div", "tc-cell", label, log), values, plot);
  }

  axisChoice() {
    /** @type {[Axis, string][]} */
    const axes = [
      ["tokens", "Tokens"],
      ["epoch", "Epochs"],
      ["step", "Steps"],
    ];
    return choice(`${this.id}-axis`, "x axis", axes, "tokens", (axis) => this.change(() => (this.axis = axis)));
  }

  scaleChoice() {
    /** @type {["linear" | "log", string][]} */
    const scales = [
      ["linear", "Linear"],
      ["log", "Log"],
    ];
    return choice(`${this.id}-scale`, "Loss scale", scales, "linear", (value) =>
      this.change(() => (this.log.loss = value === "log")),
    );
  }

  /** @param {() => void} apply */
  change(apply) {
    apply();
    this.redraw();
  }

  redraw() {
    this.stale = true;
    this.refresh();
  }

  listen() {
    for (const panel of this.panels) {
      /** @param {PointerEvent} event */
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

  /** Arrows go from one evaluation to the next (with Shift: from step to step), Home and End to the ends.
   *  @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") this.moveTo(null);
    if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const evaluated = this.points.filter((point) => point.evaluated);
    const points = event.shiftKey || evaluated.length < 2 ? this.points : evaluated;
    if (!points.length) return;
    const here = this.cursorStep ?? (event.key === "ArrowLeft" ? Infinity : -Infinity);
    const after = points.findIndex((point) => point.step > here);
    const before = points.findLastIndex((point) => point.step < here);
    const end = points.length - 1;
    /** @type {Record<string, number>} */
    const targets = { ArrowLeft: Math.max(before, 0), ArrowRight: after < 0 ? end : after, Home: 0, End: end };
    this.moveTo(points[targets[event.key]]);
  }

  /** @param {(point: Point) => number} distance */
  nearest(distance) {
    /** @type {Point | null} */
    let best = null;
    let least = Infinity;
    for (const point of this.points) {
      const far = distance(point);
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  /** @param {Point | null} point */
  moveTo(point) {
    const step = point ? point.step : null;
    if (step === this.cursorStep || this.stale) return;
    this.cursorStep = step;
    this.drawCursor();
    setText(this.spoken, point ? this.sentence(point) : "");
  }

  /** @param {Value} value */
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
    this.checkEpochs();
    this.points = data.now ? pointsOf(data.now, this.axis) : [];
    const series = allSeries(data);
    const runs = runsOf(data);
    const begun = runs.some(hasPoints);
    const xKnown = plannedEnd(data, this.axis) > 0 || begun;
    const { axis, log } = this;
    const view = { data, series, sizes: this.sizes(), axis, log, xDomain: xDomain(data, axis), xKnown };
    for (const panel of this.panels) panel.draw(view);
    this.empty.hidden = begun;
    setText(this.name, data.now?.name || "Training");
    this.legend.draw(runs, series);
    this.drawCursor();
    this.describe();
  }

  /** All sizes before anything is drawn: reading one after a change would lay the page out again. */
  sizes() {
    const sizes = this.panels.map(({ box }) => ({ width: box.clientWidth, height: box.clientHeight }));
    return new Map(this.panels.map((panel, i) => [panel, sizes[i]]));
  }

  /** Epochs can't be chosen where no run knows them. */
  checkEpochs() {
    const runs = runsOf(this.data);
    const known = !runs.some(hasPoints) || runs.some((run) => extent([run.evaluated.epoch, run.stepped.epoch]));
    this.axes.inputs.epoch.disabled = !known;
    if (!known && this.axis === "epoch") {
      this.axis = "tokens";
      this.axes.inputs.tokens.checked = true;
    }
  }

  drawCursor() {
    const point = this.cursorPoint();
    for (const panel of this.panels) panel.drawCursor(point, this.axis);
    this.legend.show((line) => this.valueOf(line, point));
    const where = point ?? last(this.points);
    setText(this.place, where ? `${point ? "At" : "Latest:"} ${placeText(where)}` : "");
    this.root.dataset.cursorStep = point ? String(point.step) : "";
  }

  cursorPoint() {
    const step = this.cursorStep;
    return step === null ? null : (this.points.findLast((point) => point.step <= step) ?? null);
  }

  /** @param {Line} line @param {Point | null} point */
  valueOf(line, point) {
    return line.values[indexAt(line, point, this.axis)] ?? NaN;
  }

  /** @param {Point} point */
  sentence(point) {
    const said = this.legend.items
      .flatMap(({ line }) => (line ? [{ line, value: this.valueOf(line, point) }] : []))
      .filter(({ value }) => Number.isFinite(value))
      .map(({ line, value }) => `${line.now ? "" : `${line.run.name} `}${SPOKEN[line.column]} ${format(value)}`);
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
    const latest = last(this.points);
    const summary = latest
      ? `Training curves of ${now?.name}. Latest: ${this.sentence(latest)}.` +
        (best ? ` Best validation loss ${format(best.val_loss)} at step ${best.step}.` : "") +
        " Left and right arrow keys step through the evaluations, with Shift every step;" +
        " Home and End go to the ends."
      : `Training curves. ${EMPTY}`;
    set(this.main, { "aria-label": summary });
  }

  destroy() {
    this.resizes.disconnect();
    document.removeEventListener("visibilitychange", this.onVisible);
    document.removeEventListener("pointerdown", this.onPress);
  }
}

/** @type {WeakMap<HTMLElement, Chart>} */
const mounted = new WeakMap();

/** @param {HTMLElement} element @param {() => Value | null | undefined} [getValue] */
export function mount(element, getValue) {
  mounted.get(element)?.destroy();
  const chart = new Chart(element);
  mounted.set(element, chart);
  chart.update(getValue?.() ?? "");
  return {
    /** @param {Value | null | undefined} value */
    update: (value) => chart.update(value ?? ""),
    destroy: () => chart.destroy(),
  };
}
