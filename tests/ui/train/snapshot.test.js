import assert from "node:assert/strict";
import { test } from "node:test";

import { pointsOf, readSnapshot, xDomain } from "../../../assets/train/snapshot.js";

const run = (name, steps, extra = {}) => ({
  name,
  color_index: 0,
  current: true,
  stepped: { step: steps, tokens: steps.map((s) => 100 * (s + 1)), loss: steps.map(() => 3) },
  evaluated: { step: [steps[0]], tokens: [100 * (steps[0] + 1)], epoch: [0], train_loss: [2], val_loss: [null] },
  best: null,
  overfit_from: null,
  ...extra,
});
const snapshot = (...runs) => ({ runs, references: { uniform: 10.8, odd: null }, total_tokens: 1000 });

test("a snapshot becomes tables of numbers", () => {
  const data = readSnapshot(JSON.stringify(snapshot(run("old", [0], { current: false }), run("now", [0, 1, 2]))));
  assert.equal(data.now.name, "now");
  assert.deepEqual(data.past.map(({ name }) => name), ["old"]); // prettier-ignore
  assert.deepEqual([...data.now.stepped.loss], [3, 3, 3]);
  assert.deepEqual([...data.now.stepped.epoch], [NaN, NaN, NaN]); // not sent
  assert.deepEqual([...data.now.evaluated.val_loss], [NaN]);
  assert.ok(Math.abs(data.now.evaluated.train_perplexity[0] - Math.exp(2)) < 1e-9);
  assert.deepEqual(data.references.map(({ loss }) => loss), [10.8]); // prettier-ignore
  assert.equal(data.total, 1000);
  assert.ok(Number.isNaN(data.perEpoch));
});

test("what is no snapshot has no runs, and what is no JSON is none", () => {
  for (const value of ["", "{}", "[]", "3", "null", null, undefined]) {
    assert.equal(readSnapshot(value).now, null, String(value));
  }
  assert.equal(readSnapshot("{broken"), null);
  const { now } = readSnapshot({ runs: [{ name: null, stepped: { step: [0, 1], loss: ["x"] }, evaluated: null }] });
  assert.deepEqual([...now.stepped.loss], [NaN, NaN]);
});

test("overfitting is found at its tokens where no step was sent", () => {
  const data = readSnapshot(snapshot(run("r", [4, 5], { overfit_from: { tokens: 500, epoch: 1 } })));
  assert.equal(data.now.overfit.step, 4);
});

test("the x axis ends at the planned end, or halves it while little is done", () => {
  const tokens = (steps) => xDomain(readSnapshot(snapshot(run("r", steps))), "tokens")[1];
  assert.equal(tokens([0, 5]), 1000);
  assert.equal(tokens([0]), 125);
  assert.equal(tokens([0, 14]), 1500); // beyond the plan
  assert.deepEqual(xDomain(readSnapshot(snapshot()), "step"), [0, 1]);
});

test("the cursor can stand at every step and evaluation", () => {
  const { now } = readSnapshot(snapshot(run("r", [2, 0, 7])));
  assert.deepEqual(pointsOf(now, "step").map(({ step }) => step), [0, 2, 7]); // prettier-ignore
  assert.equal(pointsOf(now, "step").find(({ step }) => step === 2).evaluated, true);
});
