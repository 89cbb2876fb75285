// The snapshots of gpt_demo/ui/protocol/chart.py, read into runs whose tables hold nothing but numbers.

import { extent } from "./scales.js";
import { REFERENCES } from "./words.js";

/** @import { ChartRun, Column, EvaluationColumns, Place, Snapshot, StepColumns } from "../page/protocol.js" */

/** @typedef {"step" | "tokens" | "epoch"} Axis */
/** @typedef {Record<keyof StepColumns, Float64Array>} Stepped */
/** @typedef {Record<keyof EvaluationColumns | "train_perplexity" | "val_perplexity", Float64Array>} Evaluated */
/** @typedef {Record<Axis, number> & { evaluated: boolean }} Point a place of the cursor */
/** @typedef {{ words: string[], loss: number }} Reference */

/** A run; `color`: which of the colors of past runs.
 *  @typedef {{
 *    name: string,
 *    current: boolean,
 *    color: number,
 *    stepped: Stepped,
 *    evaluated: Evaluated,
 *    best: Record<keyof Place, number> | null,
 *    overfit: Record<Axis, number> | null,
 *  }} Run */

/** What the chart draws; `total`: the tokens that are planned.
 *  @typedef {{ now: Run | null, past: Run[], references: Reference[], total: number, perEpoch: number }} Data */

/** @type {(keyof StepColumns)[]} */
const STEPPED = ["step", "tokens", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second"];
/** @type {(keyof EvaluationColumns)[]} */
const EVALUATED = ["step", "tokens", "epoch", "train_loss", "val_loss"];

const PAST_COLORS = 5;

/** The data in a snapshot or its JSON, null where it can't be read.
 *  @param {string | Partial<Snapshot>} value */
export function readSnapshot(value) {
  if (typeof value !== "string") return dataOf(value);
  try {
    return dataOf(JSON.parse(value || "{}"));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** @param {Partial<Snapshot>} value
 *  @returns {Data} */
export function dataOf(value) {
  const raw = value && typeof value === "object" ? value : {};
  const runs = (Array.isArray(raw.runs) ? raw.runs : []).map(readRun);
  const now = runs.find((run) => run.current) ?? runs[0] ?? null;
  const references = Object.entries(raw.references ?? {})
    .map(([name, loss]) => ({ words: REFERENCES[name] ?? [name], loss: numeric(loss) }))
    .filter(({ loss }) => Number.isFinite(loss) && loss > 0);
  const total = numeric(raw.total_tokens);
  return { now, past: runs.filter((run) => run !== now), references, total, perEpoch: numeric(raw.tokens_per_epoch) };
}

/** @param {Partial<ChartRun>} raw
 *  @param {number} index
 *  @returns {Run} */
function readRun(raw, index) {
  const measured = readTable(raw.evaluated, EVALUATED);
  const [train_perplexity, val_perplexity] = [measured.train_loss, measured.val_loss].map((of) => of.map(perplexity));
  const color = Number.isInteger(raw.color_index) ? numeric(raw.color_index) : index;
  const best = raw.best ? placeOf(raw.best) : null;
  return {
    name: String(raw.name ?? ""),
    current: raw.current === true,
    color: ((color % PAST_COLORS) + PAST_COLORS) % PAST_COLORS,
    stepped: readTable(raw.stepped, STEPPED),
    evaluated: { ...measured, train_perplexity, val_perplexity },
    best: best && Number.isFinite(best.val_loss) ? best : null,
    overfit: raw.overfit_from ? overfitOf(placeOf(raw.overfit_from), measured) : null,
  };
}

/** @param {Partial<Place>} raw */
const placeOf = (raw) => ({
  step: numeric(raw.step),
  tokens: numeric(raw.tokens),
  epoch: numeric(raw.epoch),
  val_loss: numeric(raw.val_loss),
});

/** Where overfitting begins; its step, where it isn't sent, is that of the evaluation at its tokens.
 *  @param {Record<Axis, number>} place
 *  @param {Pick<Evaluated, "step" | "tokens">} measured */
function overfitOf(place, { step, tokens }) {
  if (Number.isFinite(place.step)) return place;
  return { ...place, step: step[tokens.findIndex((seen) => seen >= place.tokens)] ?? NaN };
}

/** @template {string} Name
 *  @param {Partial<Record<Name | "step", Column>> | undefined} raw
 *  @param {Name[]} names */
function readTable(raw, names) {
  const length = Array.isArray(raw?.step) ? raw.step.length : 0;
  const columns = names.map((name) => [name, Float64Array.from({ length }, (_, i) => numeric(raw?.[name]?.[i]))]);
  return /** @type {Record<Name, Float64Array>} */ (Object.fromEntries(columns));
}

/** @param {unknown} value */
export const numeric = (value) => (typeof value === "number" ? value : NaN);

/** @param {number} loss */
const perplexity = (loss) => (loss < 700 ? Math.exp(loss) : NaN);

/** @template Item
 *  @param {ArrayLike<Item>} list
 *  @returns {Item | undefined} */
export const last = (list) => list[list.length - 1];

/** @param {Run} run @param {Axis} axis */
export const furthest = (run, axis) => extent([run.stepped[axis], run.evaluated[axis]])?.[1] ?? 0;

/** The current run first.
 *  @param {Data} data */
export const runsOf = ({ now, past }) => (now ? [now, ...past] : past);

/** @param {Run} run */
export const hasPoints = (run) => (run.stepped.step.length > 0 || run.evaluated.step.length > 0);

/** Where the x axis ends: the planned end, halved until the curve fills at least half, so that it moves seldom.
 *  @param {Data} data
 *  @param {Axis} axis
 *  @returns {[number, number]} */
export function xDomain(data, axis) {
  const reached = Math.max(0, ...runsOf(data).map((run) => furthest(run, axis)));
  let end = plannedEnd(data, axis);
  if (!Number.isFinite(end) || end < reached * 0.999) end = reached;
  while (reached > 0 && end / 2 >= reached * 1.02) end /= 2;
  return [0, end > 0 ? end : 1];
}

/** @param {Data} data @param {Axis} axis */
export function plannedEnd(data, axis) {
  if (axis === "tokens") return data.total;
  if (axis === "epoch") return data.total / data.perEpoch;
  const [step, seen] = [data.now?.stepped.step, data.now?.stepped.tokens].map((column) => last(column ?? []) ?? NaN);
  return ((step + 1) * data.total) / seen - 1;
}

/** The places the cursor can stand: all steps and evaluations of the run, in order.
 *  @param {Run} run
 *  @param {Axis} axis */
export function pointsOf(run, axis) {
  /** @type {Map<number, Point>} */
  const byStep = new Map();
  for (const table of [run.stepped, run.evaluated]) {
    const { step, tokens, epoch } = table;
    for (let i = 0; i < step.length; i++) {
      const point = { step: step[i], tokens: tokens[i], epoch: epoch[i], evaluated: table === run.evaluated };
      if (Number.isFinite(point.step) && Number.isFinite(point[axis])) byStep.set(point.step, point);
    }
  }
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}
