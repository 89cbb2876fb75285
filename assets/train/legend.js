// The legend: every line with its color and its value at the cursor, and the values over the small panels.

import { h, setText } from "../page/dom.js";
import { format } from "./ticks.js";
import { meaningOf } from "./words.js";

/** @import { ColumnName, Line, PanelName } from "./series.js" */
/** @import { Run } from "./snapshot.js" */

/** A line's place among the runs, and the element of its value.
 *  @typedef {{ run: number, column: ColumnName, value: HTMLElement, line: Line | undefined }} Item */
/** @typedef {Exclude<PanelName, "loss">} Headed */

export class Legend {
  now = h("div", "tc-legend");
  past = h("div", "tc-legend tc-earlier");
  /** @type {Item[]} */
  items = [];
  drawn = ""; // the runs that the rows were made for

  /** `heads`: the elements over the small panels, by the panel's name.
   *  @param {[Headed, HTMLElement][]} heads */
  constructor(heads) {
    this.heads = heads;
  }

  /** The rows of these runs, the current one first; rebuilt only when a run comes, goes or is renamed.
   *  @param {Run[]} runs
   *  @param {Line[]} series */
  draw(runs, series) {
    const key = JSON.stringify(runs.map((run) => [run.name, run.color]));
    if (key !== this.drawn) {
      this.drawn = key;
      this.items = [];
      this.build(runs);
    }
    for (const item of this.items) {
      item.line = series.find((line) => line.run === (runs[item.run] ?? null) && line.column === item.column);
    }
  }

  /** The values: `valueOf(line)` of each.
   *  @param {(line: Line) => number} valueOf */
  show(valueOf) {
    for (const { line, value } of this.items) setText(value, format(line ? valueOf(line) : NaN));
  }

  /** @param {Run[]} runs */
  build(runs) {
    const title = h("span", "tc-title", h("b", "", "Loss"), "nats per token");
    title.title = meaningOf("Loss");
    this.now.replaceChildren(
      title,
      this.item(0, "train_loss", "tc-train", "training"),
      this.item(0, "val_loss", "tc-validation", "validation"),
      this.item(0, "loss", "tc-train tc-step", "each step"),
    );
    this.past.hidden = runs.length < 2;
    this.past.replaceChildren(...runs.slice(1).map((run, i) => this.group(run, i + 1)));
    for (const [name, box] of this.heads) box.replaceChildren(...this.head(name));
  }

  /** @param {Run} run @param {number} index */
  group(run, index) {
    const name = h("span", "tc-run", run.name);
    name.title = run.name;
    return h(
      "span",
      `tc-group tc-past tc-color-${run.color}`,
      name,
      this.item(index, "train_loss", "tc-dotted", "training"),
      this.item(index, "val_loss", "", "validation"),
    );
  }

  /** @param {Headed} name */
  head(name) {
    if (name !== "perplexity") return [this.item(0, name, "tc-train")];
    return [this.item(0, "train_perplexity", "tc-train"), this.item(0, "val_perplexity", "tc-validation")];
  }

  /** @param {number} run @param {ColumnName} column @param {string} look */
  item(run, column, look, text = "") {
    const value = h("b");
    value.dataset.value = run === 0 ? column : `${column}-${run}`;
    this.items.push({ run, column, value, line: undefined });
    return h("span", "tc-item", h("span", `tc-swatch ${look}`), text ? h("span", "", text) : null, value);
  }
}
