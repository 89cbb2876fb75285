import assert from "node:assert/strict";
import { test } from "node:test";

import { START } from "../../../assets/playground/state.js";
import { lanesOf, summary } from "../../../assets/playground/lanes.js";

test("the lanes at the start are whole, with one beam search", () => {
  const lanes = lanesOf(START);
  assert.deepEqual(lanes.map(({ name }) => name), START.lanes.map(({ name }) => name)); // prettier-ignore
  assert.equal(lanes.filter(({ beams }) => beams > 0).length, 1);
  assert.deepEqual(lanesOf({ lanes: [] }), lanes);
  assert.deepEqual(lanesOf({ lanes: "x" }), lanes);
});

test("a lane from outside becomes whole and bounded", () => {
  const bad = [{ name: "top_p", value: 7 }, { name: "valueOf", value: 1 }, null];
  const steps = [{ name: "top_k", value: 2.6 }, ...bad];
  const lanes = lanesOf({ lanes: [{ name: "x".repeat(99), steps, beams: 99 }, { beams: 3 }, null] });
  assert.equal(lanes[0].name.length, 40);
  assert.deepEqual(lanes[0].steps, [{ name: "top_k", value: 3 }, { name: "top_p", value: 1 }]); // prettier-ignore
  assert.deepEqual(lanes.map(({ beams }) => beams), [10, 0, 0]); // prettier-ignore
  assert.deepEqual(lanes[2], { name: "Lane", steps: [], greedy: false, beams: 0, length_penalty: 1 });
  assert.equal(lanesOf({ lanes: Array(50).fill({}) }).length, 12);
});

test("a lane is described by what it does", () => {
  const lane = (given) => lanesOf({ lanes: [given] })[0];
  const words = (given) => summary(lane(given));
  assert.equal(words({ beams: 1, length_penalty: 0.5 }), "1 beam, length penalty 0.5");
  assert.match(words({ steps: [{ name: "top_k", value: 3 }] }), /^top-k 3$/i);
  assert.match(words({ greedy: true, steps: [{ name: "top_k", value: 3 }] }), /^always the most probable token$/);
  assert.equal(words({ steps: [{ name: "temperature", value: 0 }] }), words({ greedy: true }));
  assert.notEqual(words({}), words({ greedy: true }));
});
