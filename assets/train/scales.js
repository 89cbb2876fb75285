// From values to pixels, and the range of values that an axis shows.

/** A function from values to pixels; NaN where a logarithmic axis has no place for the value.
 *  @param {[number, number]} range
 *  @param {number} from
 *  @param {number} to */
export function scale([lo, hi], from, to, log = false) {
  /** @param {number} value */
  const turn = (value) => (log ? Math.log(value) : value);
  const base = turn(lo);
  const slope = (to - from) / (turn(hi) - base);
  /** @param {number} value */
  return (value) => (log && !(value > 0) ? NaN : from + (turn(value) - base) * slope);
}

/** @typedef {ArrayLike<number> & Iterable<number>} Numbers */

/** The smallest and the largest of the numbers, null without any.
 *  @param {Numbers[]} columns
 *  @returns {[number, number] | null} */
export function extent(columns, positive = false) {
  let lo = Infinity;
  let hi = -Infinity;
  for (const column of columns) {
    for (const value of column) {
      if (Number.isFinite(value) && (!positive || value > 0)) {
        if (value < lo) lo = value;
        if (value > hi) hi = value;
      }
    }
  }
  return hi >= lo ? [lo, hi] : null;
}

/** The 98th percentile: what a few spikes can't raise. NaN without values.
 *  @param {Float64Array} column */
function percentile98(column) {
  const sorted = column.filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(0.98 * (sorted.length - 1))] : NaN;
}

/** The largest value, unless a few spikes would flatten all the rest: then 1.5 times the 98th percentile.
 *  @param {Float64Array} column */
export function calmMaximum(column) {
  const usual = percentile98(column);
  const most = extent([column])?.[1] ?? NaN;
  return most > 2.5 * usual && usual > 0 ? 1.5 * usual : most;
}

/** How high a line of losses reaches, spikes left out: a fall from the first values is no spike.
 *  @param {{ column: string, values: Float64Array }} line */
export function usualMaximum({ column, values }) {
  if (column !== "loss") return extent([values])?.[1] ?? NaN;
  return Math.max(percentile98(values), values.find(Number.isFinite) ?? NaN);
}

/** A little room above and below; never an empty range.
 *  @param {number} lo
 *  @param {number} hi
 *  @param {boolean} log
 *  @returns {[number, number]} */
export function padded(lo, hi, log, room = 0.06) {
  if (log) {
    const factor = Math.max((hi / lo) ** room, 1.02);
    return [lo / factor, hi * factor];
  }
  const space = (hi - lo || Math.abs(hi) || 1) * room;
  return [lo >= 0 ? Math.max(0, lo - space) : lo - space, hi + space];
}

/** Index of the last x that is not beyond `x`, or -1; NaN is passed over.
 *  @param {Numbers} xs
 *  @param {number} x */
export function lastUpTo(xs, x) {
  for (let i = xs.length - 1; i >= 0; i--) if (xs[i] <= x) return i;
  return -1;
}
