// The Playground's arithmetic: every stage of the choice of a token, computed in the browser from one row of logits.
//
//   const row = decodeRow(p.data, p.dtype, p.shift)   // payload.js
//   const stages = trace(row, contextIds, [{name: "temperature", value: 0.8}, {name: "top_k", value: 40}]);
//   topRows(stages, 20); dart(stages, 0.37); drawMany(stages, 1000, seed);   // the latter two of darts.js
//
// Equal to gpt_demo/decoding/transforms.py: logits in float32 as there (Math.fround), probabilities in float64 from
// them, but in float32 again where top-p and min-p decide what they cut. A row costs one sort when it is first seen;
// after that no slider needs one. Tokens are kept in rank order (logit descending, of equal ones the lower id first), a
// cut keeps a prefix of it, temperature leaves the order alone, and the penalty merges two sequences that stay sorted.

import { Ranking, rankingOf } from "./ranking.js";
import { STEPS, holds, isGreedy, isOn, isStepName, obeyed } from "./steps.js";

/** @import { Setting, StepName } from "./steps.js" */

/** @typedef {StepName | "model" | "greedy"} StageName */
/** Probabilities of a token, by the model and as drawn from; whether it is not removed.
 *  @typedef {{ id: number, raw: number, final: number, kept: boolean }} Shown */
/** The other tokens together; `kept` of them are not removed.
 *  @typedef {{ raw: number, final: number, count: number, kept: number }} Others */

const ROWS_REMEMBERED = 8;

// The stages ------------------------------------------------------------------------------------------------------

/** What one step left. Ranks count from 0. Its numbers hold until the next trace() of the same row. */
export class Stage {
  /** @type {number} tokens not removed: the first ones of the ranking */
  kept;
  /** @type {number} of the weights of the tokens kept */
  sum;
  /** @type {Ranking} */
  ranking;
  removedMass = 0; // probability that the tokens removed here had in the stage before
  ties = 0; // tokens removed here although as probable as one that was kept

  /** @param {StageName} name @param {Ranking} ranking @param {number} kept @param {Stage | null} before */
  constructor(name, ranking, kept, before) {
    this.name = name;
    this.ranking = ranking;
    this.kept = kept;
    if (before && kept < before.kept) {
      for (let r = before.kept - 1; r >= kept; r--) this.removedMass += before.ranking.weights[r];
      this.removedMass /= before.sum;
      const { logits } = ranking;
      while (kept + this.ties < before.kept && logits[kept + this.ties] === logits[kept - 1]) this.ties += 1;
    }
    let [sum, moment] = [0, 0];
    for (let r = kept - 1; r >= 0; r--) {
      sum += ranking.weights[r];
      moment += ranking.weights[r] * (ranking.logits[r] - ranking.logits[0]);
    }
    this.sum = sum;
    // the factor of the others' probabilities
    this.renormalizer = before && this.removedMass > 0 ? before.sum / sum : 1;
    this.entropy = Math.log(sum) - moment / sum; // nats
    this.perplexity = Math.exp(this.entropy);
  }

  /** @param {number} place */
  idAt(place) {
    return this.ranking.ids[place];
  }

  /** @param {number} place */
  probabilityAt(place) {
    return place < this.kept ? this.ranking.weights[place] / this.sum : 0;
  }

  /** -1 for a removed token.
   *  @param {number} id */
  rank(id) {
    const place = this.ranking.place(id);
    return place < this.kept ? place : -1;
  }

  /** @param {number} id */
  probability(id) {
    const place = this.rank(id);
    return place < 0 ? 0 : this.probabilityAt(place);
  }

  /** Natural logarithm of the probability, right even where that is too small for a number; -Infinity if removed.
   *  @param {number} id */
  logprob(id) {
    const place = this.rank(id);
    return place < 0 ? -Infinity : this.ranking.logits[place] - this.ranking.logits[0] - Math.log(this.sum);
  }

  /** All probabilities, Float64Array (V) by id: a new array, to be asked for once. */
  get probabilities() {
    const byId = new Float64Array(this.ranking.ids.length);
    for (let r = 0; r < this.kept; r++) byId[this.ranking.ids[r]] = this.probabilityAt(r);
    return byId;
  }
}

/** Steps that change logits: (stage before, value, context ids, ranking to fill).
 *  @type {Record<
 *    "temperature" | "repetition_penalty",
 *    (before: Stage, value: number, ids: number[], into: Ranking) => void
 *  >} */
const reweigh = {
  temperature({ ranking, kept }, value, _ids, into) {
    const t = Math.fround(value);
    for (let r = 0; r < kept; r++) into.add(ranking.ids[r], ranking.logits[r] / t);
  },

  /** Those of the context stay sorted among themselves, and so do the others: two sequences to merge. */
  repetition_penalty({ ranking, kept }, value, ids, into) {
    const penalty = Math.fround(value);
    const seen = new Uint8Array(ranking.ids.length);
    for (const id of ids) seen[id] = 1;
    const changed = [];
    for (let r = 0; r < kept; r++) if (seen[ranking.ids[r]]) changed.push(r);
    const after = changed.map((r) => ranking.logits[r]).map((x) => Math.fround(x < 0 ? x * penalty : x / penalty));
    after.push(-Infinity);
    let next = 0;
    for (let r = 0; r < kept; r++) {
      if (seen[ranking.ids[r]]) continue;
      for (; after[next] >= ranking.logits[r]; next++) into.add(ranking.ids[changed[next]], after[next]);
      into.add(ranking.ids[r], ranking.logits[r]);
    }
    for (; next < changed.length; next++) into.add(ranking.ids[changed[next]], after[next]);
  },
};

/** Steps that remove tokens: (stage before, value) to the number of tokens kept.
 *  @type {Record<"top_k" | "top_p" | "min_p", (before: Stage, value: number) => number>} */
const cut = {
  top_k: ({ kept }, k) => (k > 0 ? Math.min(k, kept) : kept),

  /** From the least probable up: a token goes if it and all below it weigh at most 1 - p. */
  top_p({ ranking: { weights }, kept, sum }, p) {
    if (p === 1) return kept;
    const [total, room] = [Math.fround(sum), Math.fround(1 - p)];
    let below = 0;
    for (let r = kept - 1; r > 0; r--) {
      below += Math.fround(Math.fround(weights[r]) / total);
      if (Math.fround(below) > room) return r + 1;
    }
    return 1;
  },

  min_p({ ranking: { weights }, kept, sum }, p) {
    const total = Math.fround(sum);
    const least = Math.fround(Math.fround(p) * Math.fround(1 / total));
    let n = kept;
    while (n > 1 && Math.fround(Math.fround(weights[n - 1]) / total) < least) n--;
    return n;
  },
};

/** @type {Map<Float32Array, { model: Stage, spare: Ranking[] }>} by row, the last used at the end */
const recent = new Map();

/** @param {Float32Array} row */
function modelOf(row) {
  const ranking = rankingOf(row);
  return new Stage("model", ranking, ranking.n, null);
}

/** @param {Float32Array} row */
function prepare(row) {
  const entry = recent.get(row) ?? { model: modelOf(row), spare: [] };
  recent.delete(row);
  recent.set(row, entry);
  for (const oldest of recent.keys()) if (recent.size > ROWS_REMEMBERED) recent.delete(oldest);
  return entry;
}

/** @param {Setting} step */
function check({ name, value }) {
  if (!isStepName(name)) throw new RangeError(`There is no step named ${name}.`);
  if (!holds(name, value)) throw new RangeError(`${name} is ${value}; it must be ${STEPS[name].rule}.`);
}

/** The row as the model gave it, then after each step {name, value}, in the order given: an array of Stage.
 *
 *  `ids` is the context that the repetition penalty counts. The row must not be changed afterwards. Temperature 0 is
 *  greedy decoding, to which only the repetition penalty applies: the other steps are left out, and the last
 *  stage is "greedy". The arrays of a row's stages are used again by the next trace() of that row.
 *  @param {Float32Array} row
 *  @param {number[]} ids
 *  @param {Setting[]} steps */
export function trace(row, ids, steps) {
  steps.forEach(check);
  const { model, spare } = prepare(row);
  const greedy = isGreedy(steps);
  const stages = [model];
  obeyed(steps, greedy).forEach(({ name, value }, i) => {
    const before = stages[i];
    if (name !== "temperature" && name !== "repetition_penalty") {
      stages.push(new Stage(name, before.ranking, cut[name](before, value), before));
    } else if (!isOn({ name, value })) {
      stages.push(new Stage(name, before.ranking, before.kept, before));
    } else {
      const into = (spare[i] ??= new Ranking(row.length));
      into.n = 0;
      reweigh[name](before, value, ids, into);
      stages.push(new Stage(name, into.finish(), before.kept, before));
    }
  });
  const last = lastOf(stages);
  return greedy ? [...stages, new Stage("greedy", last.ranking, 1, last)] : stages;
}

/** The stage that is drawn from.
 *  @param {Stage[]} stages */
export const lastOf = (stages) => stages[stages.length - 1];

// What is shown ---------------------------------------------------------------------------------------------------

/** The `n` most probable tokens by "raw" (the model's) or "final" probability, and what all others have together:
 *  {rows: [{id, raw, final, kept}], others: {raw, final, count, kept}}. By "final", removed ones follow by raw.
 *  @param {Stage[]} stages
 *  @param {number} n
 *  @param {"raw" | "final"} by
 *  @returns {{ rows: Shown[], others: Others }} */
export function topRows(stages, n, by = "raw") {
  const [first, last] = [stages[0], lastOf(stages)];
  const ids = by === "final" ? [...last.ranking.ids.subarray(0, Math.min(n, last.kept))] : [];
  for (let r = 0; ids.length < n && r < first.kept; r++) {
    if (by !== "final" || last.rank(first.idAt(r)) < 0) ids.push(first.idAt(r));
  }
  const others = { raw: 1, final: 1, count: first.ranking.ids.length - ids.length, kept: last.kept };
  const rows = ids.map((id) => {
    const entry = { id, raw: first.probability(id), final: last.probability(id), kept: last.rank(id) >= 0 };
    others.raw -= entry.raw;
    others.final -= entry.final;
    others.kept -= entry.kept ? 1 : 0;
    return entry;
  });
  others.raw = first.kept > rows.length ? Math.max(0, others.raw) : 0;
  others.final = others.kept > 0 ? Math.max(0, others.final) : 0;
  return { rows, others };
}
