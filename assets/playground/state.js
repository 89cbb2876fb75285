// What determines what is seen in the Playground, as plain JSON that a link can carry, and what it is at the start.

import { chainOf } from "./steps.js";

/** @import { Lane } from "../page/protocol.js" */
/** @import { Setting } from "./steps.js" */
/** @import { TreeJSON } from "./tree.js" */

/** @typedef {"probability" | "rank" | "entropy" | "nothing"} Color of a text: what the model thought of a token */
/** @typedef {{ beams: number, length: number, length_penalty: number, early: boolean }} BeamSettings */
/** @typedef {{ temperature: number, top_k: number, u: number, draws: number }} Toy */

/** What determines what is seen; explained at START.
 *  @typedef {{
 *    panel: string,
 *    model: string,
 *    prompt: string,
 *    steps: Setting[],
 *    greedy: boolean,
 *    seed: number,
 *    length: number,
 *    stop: boolean,
 *    shown: number,
 *    lanes: Lane[],
 *    ngram: number,
 *    beams: BeamSettings,
 *    order: "raw" | "final",
 *    color: Color,
 *    speed: number,
 *    tree: TreeJSON,
 *    selected: number,
 *    compared: number[],
 *    darts: number,
 *    ran: "" | "race" | "beams",
 *    toy: Toy,
 *  }} State */

export const LARGEST_SEED = 2 ** 32 - 1; // as in gpt_demo/decoding/darts.py

/** @type {State} */
export const START = {
  panel: "write",
  model: "starter",
  prompt: "Nell looked at the",
  steps: chainOf({ temperature: 0.8, top_k: 40 }),
  greedy: false,
  seed: 1,
  length: 80,
  stop: true, // at the end-of-text token
  shown: 20, // bars
  lanes: [
    // of a race: see lanes.js
    { name: "Greedy", greedy: true },
    { name: "Temperature", steps: [{ name: "temperature", value: 0.7 }] },
    { name: "Top-k", steps: [{ name: "top_k", value: 20 }] },
    { name: "Top-p", steps: [{ name: "top_p", value: 0.9 }] },
    { name: "Min-p", steps: [{ name: "min_p", value: 0.1 }] },
    { name: "Beam search", beams: 4, length_penalty: 1 },
  ],
  ngram: 4, // tokens that count as a repeat in a race
  beams: { beams: 4, length: 20, length_penalty: 1, early: false }, // of the panel "beams"
  order: "raw", // of the bars; or "final"
  color: "probability", // of the text; or "rank", "entropy", "nothing"
  speed: 2, // of autoplay, tokens per second
  tree: { nodes: [], ways: [], leaf: -1 }, // what has been written: see assets/playground/tree.js
  selected: -2, // the token whose distribution is shown: a node of the tree, or the next one (NEXT of story.js)
  compared: [], // at most two leaves, side by side
  darts: 0, // thrown at the distribution shown
  ran: "", // the panel whose result is on screen: whoever opens the link runs it again
  toy: { temperature: 1, top_k: 0, u: 0.5, draws: 0 }, // nine words: u is where the dart stands
};

/** Another seed, drawn at random: short enough to be said aloud. */
export const newSeed = () => Math.floor(Math.random() * 1_000_000);
