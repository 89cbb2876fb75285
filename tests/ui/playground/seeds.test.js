// The race over 20 seeds: means, spread, and who repeats the most.
import assert from "node:assert/strict";
import test from "node:test";

import { mostRepeats, spread } from "../../../assets/playground/seeds.js";

test("mean and standard deviation of a sample", () => {
  assert.deepEqual(spread([2, 4, 6]), { mean: 4, deviation: 2 });
  assert.deepEqual(spread([5]), { mean: 5, deviation: 0 });
});

test("ties count for all, and no repeats for none", () => {
  const race = (...shares) => shares.map((share) => ({ share }));
  assert.deepEqual(mostRepeats([race(0.5, 0.5, 0.1), race(0, 0, 0), race(0.1, 0.2, 0)]), [1, 2, 0]);
});
