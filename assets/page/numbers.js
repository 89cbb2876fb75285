// How numbers are written on the page; number() is gpt_demo/format.py's, character by character.

const DASH = "\u2013"; // where there is no number
const MINUS = "\u2212";

/** @param {number} x @param {number} low @param {number} high */
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/** A number with `digits` after the point, thousands by comma; ties go away from 0, and there is no "\u22120.00".
 *  @param {unknown} x */
export function number(x, digits = 0) {
  if (typeof x !== "number" || !Number.isFinite(x)) return DASH;
  const size = Math.abs(x);
  const [whole, part = "0".repeat(digits)] = (size < 1e21 ? size.toFixed(digits) : String(BigInt(size))).split(".");
  const words = whole.replace(/\B(?=(\d{3})+$)/g, ",") + (digits ? `.${part}` : "");
  return x < 0 && /[1-9]/.test(words) ? MINUS + words : words;
}

/** A logarithm: two digits after the point, or `digits`; it may be that of 0.
 *  @param {number} x */
export const logarithm = (x, digits = 2) => (x === -Infinity ? `${MINUS}\u221e` : number(x, digits));

/** A score, which may be of any size: three digits that count.
 *  @param {number} x */
export function score(x) {
  const size = Math.abs(x);
  if (x === 0 || !Number.isFinite(x) || size >= 100) return logarithm(x, 0);
  if (size < 1e-3) return x.toExponential(2).replaceAll("-", MINUS);
  return number(x, Math.max(0, 2 - Math.floor(Math.log10(size))));
}

/** A share or a probability: "12.3 %", "0.12 %"; "<0.01 %" and ">99.9 %" where nothing or all would be wrong.
 *  @param {number} p */
export function percent(p) {
  const x = 100 * p;
  if (!Number.isFinite(x)) return DASH;
  if (x === 0 || x > 100 - 1e-9) return `${Math.round(x)} %`;
  if (x < 0.005) return "<0.01 %";
  return x >= 99.95 ? ">99.9 %" : `${x.toFixed(x >= 0.995 ? 1 : 2)} %`;
}

/** A probability given as natural logarithm, small ones as odds: "12.3 %", "0.01 %", "1 in 34 million".
 *  @param {number} logprob */
export function odds(logprob) {
  const p = Math.exp(logprob);
  if (p >= 1e-4) return percent(p);
  if (logprob < -34) return `e^${logprob.toFixed(0)}`.replace("-", MINUS);
  const one = Number((1 / p).toPrecision(2));
  return `1 in ${one.toLocaleString("en-GB", one < 1e6 ? {} : { notation: "compact", compactDisplay: "long" })}`;
}
