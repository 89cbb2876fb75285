import assert from "node:assert/strict";
import { test } from "node:test";

import { Tree } from "../../../assets/playground/tree.js";

/** 0 - 1 - 2, with 3 - 4 beside 2 and 5 beside 0; the text ends with 4. */
const JSON_FORM = {
  nodes: [[-1, 7, 0], [0, 8, 0], [1, 9, 0], [1, 5, -1], [3, 6, 1], [-1, 4, 1]], // prettier-ignore
  ways: [
    { steps: [], greedy: true, seed: 1 },
    { steps: [], greedy: false, seed: 2 },
  ],
  leaf: 4,
};
const grown = () => Tree.from(JSON_FORM);

test("a tree is what its JSON says, and says it again", () => {
  assert.deepEqual(grown().toJSON(), JSON_FORM);
  assert.deepEqual(grown().ids(), [7, 8, 5, 6]);
  assert.deepEqual(grown().ids(2), [7, 8, 9]);
  assert.equal(grown().length(), 4);
  assert.deepEqual(new Tree().toJSON(), Tree.from().toJSON());
});

test("what is no tree is refused with a sentence", () => {
  const { nodes, ways } = JSON_FORM;
  for (const change of [
    { nodes: null },
    { ways: {} },
    { leaf: 6 },
    { leaf: 0.5 },
    { nodes: [[0, 7, 0]] }, // its own parent
    { nodes: [[-1, -7, 0]] },
    { nodes: [[-1, 7, ways.length]] },
    { nodes: [...nodes, [-1, 7, 0]] }, // the same token twice
    { nodes: ["x"] },
  ]) {
    assert.throws(() => Tree.from({ ...JSON_FORM, ...change }), /damaged/, JSON.stringify(change));
  }
});

test("the same token after the same path is the same node", () => {
  const tree = grown();
  assert.equal(tree.add(1, 9, 1), 2);
  assert.equal(tree.add(2, 3, 1, { logprob: -1 }), 6);
  assert.equal(tree.way({ steps: [], greedy: false, seed: 2 }), 1);
  assert.equal(tree.way({ steps: [], greedy: false, seed: 3 }), 2);
});

test("branches stand beside those they part from", () => {
  assert.deepEqual(grown().branches(), [
    { leaf: 2, start: 2, depth: 2 },
    { leaf: 4, start: 3, depth: 2 },
    { leaf: 5, start: 5, depth: 1 },
  ]);
  assert.equal(grown().tip(0), 4); // the branch that was grown last
  assert.equal(grown().tip(-1), 5);
});

test("a branch is deleted up to where others leave it", () => {
  const tree = grown();
  tree.remove(4);
  assert.deepEqual(tree.toJSON().nodes, [[-1, 7, 0], [0, 8, 0], [1, 9, 0], [-1, 4, 1]]); // prettier-ignore
  assert.deepEqual(tree.ids(), [7, 8, 9]); // the text was on it: now on what is left there
  tree.remove(2);
  tree.remove(0);
  assert.deepEqual(tree.toJSON(), { nodes: [], ways: JSON_FORM.ways, leaf: -1 });
});

test("a log-probability is known when all are", () => {
  const tree = new Tree();
  const first = tree.add(-1, 1, 0, { logprob: -1.5 });
  const second = tree.add(first, 2, 0);
  assert.equal(tree.logprob(first), -1.5);
  assert.equal(tree.logprob(second), null);
  tree.add(first, 2, 0, { logprob: -2 });
  assert.equal(tree.logprob(second), -3.5);
});
