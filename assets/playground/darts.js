// Darts thrown at the last stage of a trace: the same tokens as gpt_demo/decoding/darts.py hits. `stages` as trace() of
// sampler.js gives them.

import { lastOf } from "./sampler.js";

/** @import { Stage } from "./sampler.js" */

/** The token that u, from [0, 1), hits on the final stage's bar: {id, rank, from, to}, from <= u < to.
 *
 *  The bar holds the tokens in rank order, the most probable at 0 and equal ones by id; each takes its probability,
 *  the last one all that is left. So: the first token, in rank order, whose cumulative probability is above u.
 *  @param {Stage[]} stages
 *  @param {number} u */
export function dart(stages, u) {
  if (!(u >= 0 && u < 1)) throw new RangeError(`u is ${u}; it must be from 0 to below 1.`);
  const { ranking, kept, sum } = lastOf(stages);
  let [rank, mass, from] = [0, ranking.weights[0], 0];
  while (rank < kept - 1 && u >= mass / sum) {
    from = mass / sum;
    mass += ranking.weights[++rank];
  }
  return { id: ranking.ids[rank], rank, from, to: rank === kept - 1 ? 1 : mass / sum };
}

/** The first `n` parts of the bar that dart() hits: [{id, from, to}]; what is left of it up to 1 has other tokens.
 *  @param {Stage[]} stages
 *  @param {number} n */
export function bar(stages, n) {
  const { ranking, kept, sum } = lastOf(stages);
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
 *  Ettinger, a counter in steps of 0x6D2B79F5 whose bits are mixed.
 *  @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `n` darts thrown with random(seed): a Map from id to how often it was hit, of those hit.
 *  @param {Stage[]} stages
 *  @param {number} n
 *  @param {number} seed
 *  @returns {Map<number, number>} */
export function drawMany(stages, n, seed) {
  const { ranking, kept, sum } = lastOf(stages);
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
