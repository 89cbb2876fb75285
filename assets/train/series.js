// Every line of every panel, and the range of its y axis.

import { calmMaximum, extent, lastUpTo, padded, usualMaximum } from "./scales.js";
import { furthest } from "./snapshot.js";

/** @import { Axis, Data, Point, Run } from "./snapshot.js" */
/** @import { SPOKEN } from "./words.js" */

/** @typedef {"learning_rate" | "grad_norm" | "tokens_per_second"} Small */
/** @typedef {"loss" | "perplexity" | Small} PanelName */
/** @typedef {keyof typeof SPOKEN} ColumnName */

/** A line of a panel.
 *  @typedef {{
 *    run: Run,
 *    now: boolean,
 *    panel: PanelName,
 *    column: ColumnName,
 *    classes: string,
 *    table: Record<Axis, Float64Array>,
 *    values: Float64Array,
 *  }} Line */

/** @type {Small[]} */
const SMALL = ["learning_rate", "grad_norm", "tokens_per_second"];

/** Every line of every panel.
 *  @param {Data} data */
export const allSeries = ({ past, now }) => [
  ...past.flatMap((run) => linesOf(run, false)),
  ...(now ? linesOf(now, true) : []),
];

/** @param {Run} run @param {boolean} now */
function linesOf(run, now) {
  /** @type {Line[]} */
  const list = [];
  /** @template {ColumnName} Name
   *  @param {PanelName} panel
   *  @param {Record<Axis | Name, Float64Array>} table
   *  @param {Name} column
   *  @param {string} look */
  const add = (panel, table, column, look) => {
    const classes = now ? look : `${look} tc-past tc-color-${run.color}`.replace(/tc-(train|validation)/, "");
    list.push({ run, now, panel, column, classes, table, values: table[column] });
  };
  const { stepped, evaluated } = run;
  if (now || !evaluated.step.length) add("loss", stepped, "loss", "tc-train tc-step");
  add("loss", evaluated, "train_loss", now ? "tc-train" : "tc-dotted");
  add("loss", evaluated, "val_loss", "tc-validation");
  add("perplexity", evaluated, "train_perplexity", now ? "tc-train" : "tc-dotted");
  add("perplexity", evaluated, "val_perplexity", "tc-validation");
  for (const column of SMALL) add(column, stepped, column, "tc-train");
  return list;
}

/** What the y axis of a panel shows.
 *  @param {PanelName} panel
 *  @param {Line[]} series
 *  @param {Data} data
 *  @param {boolean} log
 *  @returns {[number, number]} */
export function yDomain(panel, series, data, log) {
  const columns = series.map((line) => line.values);
  const range = extent(columns, log);
  if (panel === "loss") return lossDomain(range, series, data, log);
  if (!range) return log ? [1, 1000] : [0, 1];
  if (log) return padded(range[0], range[1], true, 0.1);
  const top = panel === "grad_norm" ? Math.max(...columns.map(calmMaximum).filter(Number.isFinite)) : range[1];
  return [Math.min(0, range[0]), top > 0 ? top * 1.1 : 1];
}

/** The references belong in the picture, except those far above it; a loss that explodes leaves the frame.
 *  @param {[number, number] | null} range
 *  @param {Line[]} series
 *  @param {Data} data
 *  @param {boolean} log */
function lossDomain(range, series, data, log) {
  const references = data.references.map((reference) => reference.loss);
  if (!range) return padded(log ? 1 : 0, Math.max(10, ...references), log);
  const usual = Math.max(...series.map(usualMaximum).filter(Number.isFinite));
  const top = range[1] > 1.5 * usual ? 1.05 * usual : range[1];
  const shown = references.filter((loss) => loss <= 1.25 * top);
  return padded(Math.min(range[0], ...shown), Math.max(top, ...shown), log);
}

/** Which value of a line holds at the cursor: the latest up to there; none after a past run has ended.
 *  @param {Line} line
 *  @param {Point | null} point
 *  @param {Axis} axis */
export function indexAt(line, point, axis) {
  const xs = line.table[axis];
  if (!point) return xs.length - 1;
  const over = !line.now && point[axis] > furthest(line.run, axis) * 1.001;
  return over ? -1 : lastUpTo(xs, point[axis] * (1 + 1e-9));
}
