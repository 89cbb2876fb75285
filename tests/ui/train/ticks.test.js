import assert from "node:assert/strict";
import { test } from "node:test";

import { lastUpTo, padded, scale } from "../../../assets/train/scales.js";
import { linearTicks, logTicks, tickTexts } from "../../../assets/train/ticks.js";

const RANGES = [[0, 1], [0.3, 11], [2.95, 3.05], [0, 5e6], [-2, 7], [1e-5, 4e-4], [97, 103_000]]; // prettier-ignore

test("ticks lie in their range, 3 to 6 of them, a round step apart", () => {
  for (const [lo, hi] of RANGES) {
    const { step, values } = linearTicks(lo, hi, 5);
    assert.ok(values.length >= 3 && values.length <= 6, `${lo} ${hi}: ${values}`);
    assert.ok(values.every((value) => value >= lo - step * 1e-6 && value <= hi + step * 1e-6));
    const digits = step / 10 ** Math.floor(Math.log10(step) + 1e-9);
    assert.ok(
      [1, 2, 2.5, 5].some((factor) => Math.abs(digits - factor) < 1e-9),
      `${step}`,
    );
  }
});

test("logarithmic ticks lie in their range and are not too many", () => {
  for (const [lo, hi] of [
    [1, 1e6],
    [3, 300],
    [1, 3],
    [2e-4, 0.5],
    [1, 1e30],
  ]) {
    // prettier-ignore
    const { values } = logTicks(lo, hi, 5);
    assert.ok(values.length >= 1 && values.length <= 6, `${lo} ${hi}: ${values}`);
    assert.ok(values.every((value) => value >= lo * 0.999 && value <= hi * 1.001));
  }
});

test("the texts of ticks differ wherever the ticks do", () => {
  for (const [lo, hi] of RANGES) {
    const texts = tickTexts(linearTicks(lo, hi, 5));
    assert.equal(new Set(texts).size, texts.length, texts.join(" "));
  }
  assert.deepEqual(tickTexts({ step: 0.5, values: [0, 0.5, 1] }), ["0", "0.5", "1.0"]);
  assert.deepEqual(tickTexts({ step: 20_000, values: [0, 20_000] }), ["0", "20k"]);
});

test("a scale goes from one end to the other", () => {
  assert.deepEqual([0, 5, 10].map(scale([0, 10], 100, 0)), [100, 50, 0]);
  const log = scale([1, 100], 0, 2, true);
  assert.ok(Math.abs(log(10) - 1) < 1e-12);
  assert.ok(Number.isNaN(log(0)));
});

test("there is room around every range, also an empty one", () => {
  for (const [lo, hi] of [
    [0, 1],
    [3, 3],
    [0, 0],
    [-1, 1],
  ]) {
    // prettier-ignore
    const [from, to] = padded(lo, hi, false);
    assert.ok(from <= lo && to > hi && (lo < 0 || from >= 0), `${from} ${to}`);
  }
  const [from, to] = padded(5, 5, true);
  assert.ok(from < 5 && to > 5);
});

test("the last x up to a place", () => {
  assert.deepEqual([0, 1, 2.5, 9].map((x) => lastUpTo([1, 2, NaN, 3], x)), [-1, 0, 1, 3]); // prettier-ignore
});
