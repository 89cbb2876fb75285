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
import { hasPoints, last, plannedEnd, pointsOf, readSnapshot, xDomain } from "./snapshot.js";
import { format } from "./ticks.js";
import { EMPTY, SPOKEN, meaningOf, placeText } from "./words.js";

const SMALL = [
  ["perplexity", "Perplexity"],
  ["learning_rate", "Learning rate"],
  ["grad_norm", "Gradient norm"],
  ["tokens_per_second", "Tokens per second"],
];

let instances = 0;

class Chart {
  id = `tc-${++instances}`;
  axis = "tokens";
  log = { loss: false, perplexity: true };
  data = readSnapshot("");
  raw = undefined; // a snapshot that is not read yet
  stale = true;
  cursorStep = null;
  points = []; // where the cursor can be

  constructor(root) {
    this.root = root;
    this.build();
    this.onVisible = () => (root.isConnected ? this.refresh() : this.destroy());
    this.onPress = (event) => root.contains(event.target) || this.moveTo(null); // a touch elsewhere ends the reading
    document.addEventListener("visibilitychange", this.onVisible);
    document.addEventListener("pointerdown", this.onPress);
    this.resizes = new ResizeObserver(() => this.redraw());
    for (const box of [root, ...this.panels.map((panel) => panel.box)]) this.resizes.observe(box);
  }

  build() {
    this.name = h("span", "tc-name");
    this.place = h("span", "tc-at");
    this.empty = h("p", "tc-empty", h("span", "", EMPTY));
    this.main = set(h("div", "tc-plot tc-main"), { role: "img", tabindex: 0 });
    this.panels = [new Panel("loss", this.main, true)];
    this.main.append(this.empty);
    const heads = {};
    const cells = SMALL.map(([name, title]) => this.cell(name, title, (heads[name] = h("div", "tc-values"))));
    this.legend = new Legend(heads);
    this.spoken = set(h("div", "tc-spoken"), { role: "status", "aria-live": "polite" });
    this.root.replaceChildren(
      h("div", "tc-head", h("div", "", this.name, this.place), h("div", "tc-controls", this.choices())),
      this.legend.now,
      this.legend.past,
      this.main,
      h("div", "tc-row", cells),
      meaning(),
      this.spoken,
    );
    this.listen();
  }

  cell(name, title, values) {
    const label = h("span", "tc-title", title);
    label.title = meaningOf(title);
    const switched = (on) => this.change(() => (this.log.perplexity = on));
    const log = name === "perplexity" && logSwitch(this.log.perplexity, switched);
    const plot = h("div", "tc-plot tc-small");
    this.panels.push(new Panel(name, plot, false));
    return h("div", "", h("div", "tc-cell", label, log), values, plot);
  }

  choices() {
    const axes = [
      ["tokens", "Tokens"],
      ["epoch", "Epochs"],
      ["step", "Steps"],
    ];
    const scales = [
      ["linear", "Linear"],
      ["log", "Log"],
    ];
    this.axes = choice(`${this.id}-axis`, "x axis", axes, "tokens", (axis) => this.change(() => (this.axis = axis)));
    const loss = choice(`${this.id}-scale`, "Loss scale", scales, "linear", (value) =>
      this.change(() => (this.log.loss = value === "log")),
    );
    return [this.axes.group, loss.group];
  }

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
    const targets = { ArrowLeft: Math.max(before, 0), ArrowRight: after < 0 ? end : after, Home: 0, End: end };
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
    this.checkEpochs();
    this.points = data.now ? pointsOf(data.now, this.axis) : [];
    const series = allSeries(data);
    const xKnown = plannedEnd(data, this.axis) > 0 || this.runs().some(hasPoints);
    const { axis, log } = this;
    const view = { data, series, sizes: this.sizes(), axis, log, xDomain: xDomain(data, axis), xKnown };
    for (const panel of this.panels) panel.draw(view);
    this.empty.hidden = this.runs().some(hasPoints);
    setText(this.name, data.now?.name || "Training");
    this.legend.draw(this.runs(), series);
    this.drawCursor();
    this.describe();
  }

  /** All sizes before anything is drawn: reading one after a change would lay the page out again. */
  sizes() {
    const sizes = this.panels.map(({ box }) => ({ width: box.clientWidth, height: box.clientHeight }));
    return new Map(this.panels.map((panel, i) => [panel, sizes[i]]));
  }

  /** The current run first. */
  runs() {
    return [this.data.now, ...this.data.past].filter(Boolean);
  }

  /** Epochs can't be chosen where no run knows them. */
  checkEpochs() {
    const runs = this.runs();
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
    const found = this.cursorStep === null ? -1 : this.points.findLastIndex((point) => point.step <= this.cursorStep);
    return this.points[found] ?? null;
  }

  valueOf(line, point) {
    return line.values[indexAt(line, point, this.axis)] ?? NaN;
  }

  sentence(point) {
    const said = this.legend.items
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
    const latest = last(this.points);
    const summary = latest
      ? `Training curves of ${now.name}. Latest: ${this.sentence(latest)}.` +
        (best ? ` Best validation loss ${format(best.val_loss)} at step ${best.step}.` : "") +
        " Left and right arrow keys read the evaluations one by one, with Shift every step;" +
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

const mounted = new WeakMap();

export function mount(element, getValue) {
  mounted.get(element)?.destroy();
  const chart = new Chart(element);
  mounted.set(element, chart);
  chart.update(getValue?.() ?? "");
  return { update: (value) => chart.update(value ?? ""), destroy: () => chart.destroy() };
}
