// The snapshots of gpt_demo/ui/protocol/chart.py, read into runs whose tables hold nothing but numbers.

import { extent } from "./scales.js";
import { REFERENCES } from "./words.js";

const COLUMNS = {
  stepped: ["step", "tokens", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second"],
  evaluated: ["step", "tokens", "epoch", "train_loss", "val_loss"],
};

const PAST_COLORS = 5;

export function readSnapshot(value) {
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
  const total = numeric(raw.total_tokens);
  return { now, past: runs.filter((run) => run !== now), references, total, perEpoch: numeric(raw.tokens_per_epoch) };
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
    names.map((name) => [name, Float64Array.from({ length }, (_, i) => numeric(raw[name]?.[i]))]),
  );
}

export const numeric = (value) => (typeof value === "number" ? value : NaN);

const perplexity = (loss) => (loss < 700 ? Math.exp(loss) : NaN);

export const last = (list) => list[list.length - 1];

export const furthest = (run, axis) => extent([run.stepped[axis], run.evaluated[axis]])?.[1] ?? 0;

export const hasPoints = (run) => run !== null && (run.stepped.step.length > 0 || run.evaluated.step.length > 0);

/** Where the x axis ends: the planned end, halved until the curve fills at least half, so that it moves seldom. */
export function xDomain(data, axis) {
  const reached = Math.max(0, ...[data.now, ...data.past].filter(Boolean).map((run) => furthest(run, axis)));
  let end = plannedEnd(data, axis);
  if (!Number.isFinite(end) || end < reached * 0.999) end = reached;
  while (reached > 0 && end / 2 >= reached * 1.02) end /= 2;
  return [0, end > 0 ? end : 1];
}

export function plannedEnd(data, axis) {
  if (axis === "tokens") return data.total;
  if (axis === "epoch") return data.total / data.perEpoch;
  const seen = data.now ? last(data.now.stepped.tokens) : NaN;
  return data.now ? ((last(data.now.stepped.step) + 1) * data.total) / seen - 1 : NaN;
}

/** The places the cursor can stand: all steps and evaluations of the run, in order. */
export function pointsOf(run, axis) {
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
