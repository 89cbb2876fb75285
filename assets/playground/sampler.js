// The Playground's arithmetic: every stage of the choice of a token, computed in the browser from one row of logits.
//
//   import * as S from "./sampler.js";
//   const row = decodeRow(p.data, p.dtype, p.shift) // payload.js
//   const stages = S.trace(row, contextIds, [{name: "temperature", value: 0.8}, {name: "top_k", value: 40}]);
//   S.topRows(stages, 20); S.dart(stages, 0.37); S.drawMany(stages, 1000, seed);
//
// Equal to gpt_demo/decoding/transforms.py: logits in float32 as there (Math.fround), probabilities in float64 from
// them, but in float32 again where top-p and min-p decide what they cut. A row costs one sort when it is first seen;
// after that no
// slider needs one. Tokens are kept in rank order (logit descending, of equal ones the lower id first), a cut keeps a
// prefix of it, temperature leaves the order alone, and the penalty merges two sequences that stay sorted.

import { Ranking, rankingOf } from "./ranking.js";

const factor = (x) => x >= 1e-9 && x <= 1e9; // beyond that, float32 logits overflow
const RULES = {
  repetition_penalty: [factor, "a number from 1e-9 to 1e9 (1 turns it off)"],
  temperature: [(x) => x === 0 || factor(x), "0 (greedy) or a number from 1e-9 to 1e9 (1 turns it off)"],
  top_k: [(x) => Number.isInteger(x) && x >= 0, "a whole number of at least 0 (0 turns it off)"],
  top_p: [(x) => x > 0 && x <= 1, "a number above 0 and at most 1 (1 turns it off)"],
  min_p: [(x) => x >= 0 && x <= 1, "a number from 0 to 1 (0 turns it off)"],
};
const OFF = { repetition_penalty: 1, temperature: 1, top_k: 0, top_p: 1, min_p: 0 };
const ROWS_REMEMBERED = 8;

// Texts ---------------------------------------------------------------------------------------------------------

const SHOWN = { " ": "\u00b7", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d" };
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Z}]/gu;
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A text or its bytes with nothing hidden: blanks as signs, what else has no shape as <U+200B>, a byte that is no
 *  part of a whole UTF-8 character as <0xE2>. */
export function visible(bytesOrText) {
  if (typeof bytesOrText === "string") return bytesOrText.replace(UNSEEN, sign);
  let shown = "";
  for (let i = 0; i < bytesOrText.length;) {
    const lead = bytesOrText[i];
    const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      shown += visible(strict.decode(bytesOrText.subarray(i, i + size)));
      i += size;
    } catch {
      shown += `<0x${hex(lead, 2)}>`;
      i += 1;
    }
  }
  return shown;
}

const hex = (value, digits) => value.toString(16).toUpperCase().padStart(digits, "0");
const sign = (character) => SHOWN[character] ?? `<U+${hex(character.codePointAt(0), 4)}>`;

// The stages ------------------------------------------------------------------------------------------------------

/** What one step left. Ranks count from 0. Its numbers hold until the next trace() of the same row. */
class Stage {
  constructor(name, ranking, kept, before) {
    this.name = name; // "model", a step's name, or "greedy"
    this.ranking = ranking;
    this.kept = kept; // tokens not removed: the first `kept` of the ranking
    this.removedMass = 0; // probability that the tokens removed here had in the stage before
    if (before && kept < before.kept) {
      for (let r = before.kept - 1; r >= kept; r--) this.removedMass += before.ranking.weights[r];
      this.removedMass /= before.sum;
    }
    let [sum, moment] = [0, 0];
    for (let r = kept - 1; r >= 0; r--) {
      sum += ranking.weights[r];
      moment += ranking.weights[r] * (ranking.logits[r] - ranking.logits[0]);
    }
    this.sum = sum; // of the weights of the tokens kept
    this.renormalizer = this.removedMass > 0 ? before.sum / sum : 1; // the factor of the others' probabilities
    this.entropy = Math.log(sum) - moment / sum; // nats
    this.perplexity = Math.exp(this.entropy);
  }

  idAt(rank) {
    return this.ranking.ids[rank];
  }

  probabilityAt(rank) {
    return rank < this.kept ? this.ranking.weights[rank] / this.sum : 0;
  }

  /** -1 for a removed token. */
  rank(id) {
    const place = this.ranking.place(id);
    return place < this.kept ? place : -1;
  }

  probability(id) {
    const rank = this.rank(id);
    return rank < 0 ? 0 : this.probabilityAt(rank);
  }

  /** Natural logarithm of the probability, right even where that is too small for a number; -Infinity if removed. */
  logprob(id) {
    const rank = this.rank(id);
    return rank < 0 ? -Infinity : this.ranking.logits[rank] - this.ranking.logits[0] - Math.log(this.sum);
  }

  /** All probabilities, Float64Array (V) by id: a new array, to be asked for once. */
  get probabilities() {
    const byId = new Float64Array(this.ranking.ids.length);
    for (let r = 0; r < this.kept; r++) byId[this.ranking.ids[r]] = this.probabilityAt(r);
    return byId;
  }
}

/** Steps that change logits: (stage before, value, context ids, ranking to fill). */
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

/** Steps that remove tokens: (stage before, value) to the number of tokens kept. */
const cut = {
  greedy: () => 1,

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

const recent = new Map(); // row -> {model: Stage, spare: [Ranking]}, the last used at the end

function prepare(row) {
  const ranking = recent.has(row) ? null : rankingOf(row);
  const entry = recent.get(row) ?? { model: new Stage("model", ranking, ranking.n, null), spare: [] };
  recent.delete(row);
  recent.set(row, entry);
  if (recent.size > ROWS_REMEMBERED) recent.delete(recent.keys().next().value);
  return entry;
}

function check({ name, value }) {
  if (!Object.hasOwn(RULES, name)) throw new RangeError(`There is no step called ${name}.`);
  const [holds, rule] = RULES[name];
  if (typeof value !== "number" || !holds(value)) throw new RangeError(`${name} is ${value}; it must be ${rule}.`);
}

/** The steps that are not off, in their order. */
export const chain = (steps) => steps.filter(({ name, value }) => value !== OFF[name]);

/** The row as the model gave it, then after each step {name, value}, in the order given: an array of Stage.
 *
 *  `ids` is the context that the repetition penalty counts. The row must not be changed afterwards. Temperature 0 is
 *  greedy decoding, which heeds the repetition penalty and nothing else: the other steps are left out, and the last
 *  stage is "greedy". The arrays of a row's stages are used again by the next trace() of that row. */
export function trace(row, ids, steps) {
  steps.forEach(check);
  const { model, spare } = prepare(row);
  const greedy = steps.some(({ name, value }) => name === "temperature" && value === 0);
  const obeyed = greedy ? [...steps.filter(({ name }) => name === "repetition_penalty"), { name: "greedy" }] : steps;
  const stages = [model];
  obeyed.forEach(({ name, value }, i) => {
    const before = stages[i];
    if (name in cut) {
      stages.push(new Stage(name, before.ranking, cut[name](before, value), before));
    } else if (value === OFF[name]) {
      stages.push(new Stage(name, before.ranking, before.kept, before));
    } else {
      const into = (spare[i] ??= new Ranking(row.length));
      into.n = 0;
      reweigh[name](before, value, ids, into);
      stages.push(new Stage(name, into.finish(), before.kept, before));
    }
  });
  return stages;
}

// What is shown ---------------------------------------------------------------------------------------------------

/** The `n` most probable tokens by "raw" (the model's) or "final" probability, and what all others have together:
 *  {rows: [{id, raw, final, kept}], others: {raw, final, count, kept}}. By "final", removed ones follow by raw. */
export function topRows(stages, n, by = "raw") {
  const [first, last] = [stages[0], stages.at(-1)];
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

/** The token that u, from [0, 1), hits on the final stage's bar: {id, rank, from, to}, from <= u < to.
 *
 *  The bar holds the tokens in rank order, the most probable at 0 and equal ones by id; each takes its probability,
 *  the last one all that is left. So: the first token, in rank order, whose cumulative probability is above u. */
export function dart(stages, u) {
  if (!(u >= 0 && u < 1)) throw new RangeError(`u is ${u}; it must be from 0 to below 1.`);
  const { ranking, kept, sum } = stages.at(-1);
  let [rank, mass, from] = [0, ranking.weights[0], 0];
  while (rank < kept - 1 && u >= mass / sum) {
    from = mass / sum;
    mass += ranking.weights[++rank];
  }
  return { id: ranking.ids[rank], rank, from, to: rank === kept - 1 ? 1 : mass / sum };
}

/** The first `n` parts of the bar that dart() hits: [{id, from, to}]; what is left of it up to 1 has other tokens. */
export function bar(stages, n) {
  const { ranking, kept, sum } = stages.at(-1);
  const parts = [];
  let [mass, from] = [0, 0];
  for (let r = 0; r < Math.min(n, kept); r++) {
    mass += ranking.weights[r];
    const to = r === kept - 1 ? 1 : mass / sum;
    parts.push({ id: ranking.ids[r], from, to });
    from = to;
  }
  return parts;
}

/** Uniform numbers in [0, 1), multiples of 2^-32, the same for the same seed (modulo 2^32): mulberry32 by Tommy
 *  Ettinger, a counter in steps of 0x6D2B79F5 whose bits are mixed. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `n` darts thrown with random(seed): a Map from id to how often it was hit, of those hit. */
export function drawMany(stages, n, seed) {
  const { ranking, kept, sum } = stages.at(-1);
  const ends = new Float64Array(kept);
  for (let [r, mass] = [0, 0]; r < kept; r++) ends[r] = (mass += ranking.weights[r]) / sum;
  const next = random(seed);
  const counts = new Map();
  for (let i = 0; i < n; i++) {
    const u = next();
    let [low, high] = [0, kept - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (u < ends[middle]) high = middle;
      else low = middle + 1;
    }
    counts.set(ranking.ids[low], (counts.get(ranking.ids[low]) ?? 0) + 1);
  }
  return counts;
}
