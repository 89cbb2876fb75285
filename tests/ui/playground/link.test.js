import assert from "node:assert/strict";
import { test } from "node:test";

import { START } from "../../../assets/playground/state.js";
import { clean, isLink, isSteps, read, write } from "../../../assets/playground/link.js";

const HOSTILE = "</script>\u0000\u202e \ud83e\uddd9 ${1} {{7*7}}";

test("a link says what was written, short and long", async () => {
  for (const state of [{ prompt: HOSTILE, seed: 7 }, { prompt: HOSTILE.repeat(500) }]) {
    const link = await write({ state });
    assert.ok(isLink(link));
    assert.match(link, /^#lab=[jz][\w-]+$/);
    assert.deepEqual(await read(link), { state });
  }
  assert.ok((await write({ state: { prompt: "a".repeat(10_000) } })).length < 1000);
});

test("what is no link is refused with a sentence", async () => {
  const whole = await write({ state: { prompt: "a".repeat(1000) } });
  const other = await write({ nothing: true });
  for (const link of ["", "#lab=", "#lab=jA", "#lab=j!!", "#lab=xAAAA", whole.slice(0, -9), `${whole}AAAA`, other]) {
    await assert.rejects(read(link), /^Error: This link can't be read/, link);
  }
});

test("a bomb is not unpacked", async () => {
  const bomb = await write({ state: { prompt: "a".repeat(5_000_000) } });
  assert.ok(bomb.length < 100_000);
  await assert.rejects(read(bomb), /holds more than this page reads/);
});

test("the state at the start is clean", () => {
  assert.deepEqual(clean(structuredClone(START)), { state: START, wrong: [] });
});

test("of a state from outside only what holds is used", () => {
  const way = { steps: [], greedy: false, seed: "open('x')" };
  const { state, wrong } = clean({
    prompt: 7,
    seed: -1,
    length: 80,
    unknown: true,
    steps: [{ name: "top_k", value: 5 }],
    tree: { nodes: [[-1, 5, 0]], ways: [way], leaf: 0 },
  });
  assert.deepEqual(wrong.sort(), ["prompt", "seed"]);
  assert.equal(state.length, 80);
  assert.deepEqual(state.steps.map(({ name }) => name).sort(), START.steps.map(({ name }) => name).sort());
  assert.deepEqual(state.tree, { nodes: [[-1, 5, -1]], ways: [], leaf: 0 });
  assert.deepEqual(clean(null), { state: {}, wrong: [] });
});

test("steps are named once each and within their bounds", () => {
  assert.ok(isSteps([{ name: "top_p", value: 0.5 }]));
  for (const value of [0, 1.5, NaN, "0.5", null]) assert.ok(!isSteps([{ name: "top_p", value }]), String(value));
  assert.ok(!isSteps([{ name: "constructor", value: 1 }]));
  assert.ok(!isSteps(Array(2).fill({ name: "top_p", value: 0.5 })));
});

test("the name that version 0.1 had for the color is still read", () => {
  assert.deepEqual(clean({ colour: "rank" }), { state: { color: "rank" }, wrong: [] });
  assert.deepEqual(clean({ colour: "none", color: "entropy" }), { state: { color: "entropy" }, wrong: [] });
});
