// Where an axis has its ticks, and how their numbers are written.

/** One number format for the whole page: 12345 -> "12k", 3.2149 -> "3.21", NaN -> an en dash.
 *  @param {number} value */
export function format(value) {
  if (!Number.isFinite(value)) return "\u2013";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 9999.5) {
    const [unit, scale] = size >= 999.5e6 ? ["G", 1e9] : size >= 999.5e3 ? ["M", 1e6] : ["k", 1e3];
    return (value / scale).toFixed(size / scale < 9.95 ? 1 : 0) + unit;
  }
  if (size >= 99.95) return grouped(Math.round(value));
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.0995) return value.toFixed(2);
  return size >= 0.000995 ? value.toPrecision(2) : value.toExponential(1);
}

/** @param {number} value */
export const grouped = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "\u2013");

/** 3 to 6 multiples of 1, 2, 2.5 or 5 times a power of ten between lo and hi, `wanted` if possible.
 *  @param {number} lo
 *  @param {number} hi
 *  @param {number} wanted */
export function linearTicks(lo, hi, wanted, smallest = 0) {
  let best = null;
  const power = Math.floor(Math.log10(hi - lo));
  for (let k = power - 2; k <= power; k++) {
    for (const factor of [1, 2, 2.5, 5]) {
      const step = factor * 10 ** k;
      if (step < smallest || (smallest && factor === 2.5 && k < 1)) continue;
      const first = Math.ceil(lo / step - 1e-9);
      const count = Math.floor(hi / step + 1e-9) - first + 1;
      const off = Math.abs(count - wanted) + (factor === 2.5 ? 1.5 : 0) + (count < 3 || count > 6 ? 100 : 0);
      if (count > 0 && (!best || off < best.off)) best = { off, step, first, count };
    }
  }
  if (!best) return { step: 1, values: [] };
  const values = Array.from({ length: best.count }, (_, i) => (best.first + i) * best.step);
  return { step: best.step, values };
}

/** @param {number} lo @param {number} hi @param {number} wanted */
export function logTicks(lo, hi, wanted) {
  const decades = Math.log10(hi / lo);
  if (decades < 0.8) return linearTicks(lo, hi, wanted);
  for (const factors of [[1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    /** @type {number[]} */
    const values = [];
    for (let k = Math.floor(Math.log10(lo)); k <= Math.log10(hi); k++) {
      for (const factor of factors) {
        const value = factor * 10 ** k;
        if (value >= lo * 0.999 && value <= hi * 1.001) values.push(value);
      }
    }
    if (values.length <= wanted + 1) return { step: 0, values };
    if (factors.length === 1) {
      const every = Math.ceil(values.length / (wanted + 1));
      return { step: 0, values: values.filter((_, i) => i % every === 0) };
    }
  }
  return { step: 0, values: [] };
}

/** Texts for ticks a `step` apart: the same unit and as many decimals for all (step 0: each for itself).
 *  @param {{ step: number, values: number[] }} ticks */
export function tickTexts({ step, values }) {
  const size = Math.max(...values.map(Math.abs), 0);
  if (!step) return values.map((value) => (value >= 1 && value < 1e4 ? grouped(value) : format(value)));
  if (size >= 1e4) {
    const [unit, scale] = size >= 1e9 ? ["G", 1e9] : size >= 1e6 ? ["M", 1e6] : ["k", 1e3];
    return values.map((value) => (value ? (value / scale).toFixed(decimals(step / scale)) + unit : "0"));
  }
  if (size < 1e-2) return values.map((value) => (value ? Number(value.toPrecision(6)).toExponential() : "0"));
  if (size >= 1e3 && decimals(step) === 0) return values.map(grouped);
  return values.map((value) => (value ? value.toFixed(decimals(step)) : "0"));
}

/** @param {number} step */
function decimals(step) {
  for (let n = 0; n < 8; n++) {
    const shifted = step * 10 ** n;
    if (Math.abs(shifted - Math.round(shifted)) < 1e-6 * shifted) return n;
  }
  return 8;
}
