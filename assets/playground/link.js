// Links: the state of the Playground as the part of an address behind "#", and back.
//
//   #lab=j<base64url of the JSON>   or   #lab=z<base64url of the JSON, compressed with deflate-raw>
//
// The JSON is {"state": lab.state, "fingerprint": of the model's weights} and, for a scene, {"present": {"at": n,
// "deck": null for the one that comes with the app, or the deck}}. A link comes from anywhere, so what is in it is
// checked value by value before it is used.

import { LARGEST_SEED } from "./state.js";
import { STEP_NAMES, holds, isStepName, wholeChain } from "./steps.js";
import { Tree } from "./tree.js";

/** @import { State } from "./state.js" */
/** @import { Setting } from "./steps.js" */
/** @import { TreeJSON, Way } from "./tree.js" */

/** @typedef {Record<string, unknown>} Raw what may be a record of anything */

export const PREFIX = "#lab=";
const LONG = 300; // characters of JSON from which compressing pays
const MOST = 4_000_000; // characters of JSON that are read
const BROKEN = "This link can't be read: a part of it is missing or was changed. Ask for it again, or for the JSON.";

/** @param {string} hash */
export const isLink = (hash) => hash.startsWith(PREFIX);

// Characters ----------------------------------------------------------------------------------------------------------

/** @param {Uint8Array} bytes */
function toBase64url(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** @param {string} text */
function fromBase64url(text) {
  if (!/^[\w-]+$/.test(text)) throw new Error(BROKEN);
  const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** All bytes of a stream, up to `most`: a few characters can be compressed gigabytes.
 *  @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 *  @param {number} most */
async function collect(stream, most) {
  const reader = stream.getReader();
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const chunks = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (length > most) {
      reader.cancel().catch(() => {});
      throw new Error("This link holds more than this page reads.");
    }
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** @param {Uint8Array<ArrayBuffer>} bytes
 *  @param {CompressionStream | DecompressionStream} transform
 *  @param {number} most */
const through = (bytes, transform, most) => collect(new Blob([bytes]).stream().pipeThrough(transform), most);

/** {"state", ...} to "#lab=...".
 *  @param {{ state: Partial<State> | Raw, fingerprint?: string, present?: Raw }} payload */
export async function write(payload) {
  const json = JSON.stringify(payload);
  const bytes = new TextEncoder().encode(json);
  if (json.length < LONG || !globalThis.CompressionStream) return `${PREFIX}j${toBase64url(bytes)}`;
  return `${PREFIX}z${toBase64url(await through(bytes, new CompressionStream("deflate-raw"), Infinity))}`;
}

/** "#lab=..." to what was written. Rejects with a sentence.
 *  @param {string} hash
 *  @returns {Promise<{ state?: Raw, fingerprint?: unknown, present?: Raw }>} */
export async function read(hash) {
  try {
    const [kind, data] = [hash[PREFIX.length], hash.slice(PREFIX.length + 1)];
    if (!hash.startsWith(PREFIX) || data.length > MOST) throw new Error(BROKEN);
    let bytes = fromBase64url(data);
    if (kind === "z") bytes = await through(bytes, new DecompressionStream("deflate-raw"), MOST);
    else if (kind !== "j") throw new Error(BROKEN);
    const payload = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (!isRecord(payload) || !(isRecord(payload.state) || isRecord(payload.present))) throw new Error(BROKEN);
    return payload;
  } catch (error) {
    throw error instanceof Error && error.message.startsWith("This link") ? error : new Error(BROKEN);
  }
}

// Values --------------------------------------------------------------------------------------------------------------

/** @typedef {(x: unknown) => boolean} Check */

/** @param {unknown} x
 *  @returns {x is Raw} */
export const isRecord = (x) => typeof x === "object" && x !== null && !Array.isArray(x);
/** @type {(most: number) => Check} */
const isText = (most) => (x) => typeof x === "string" && x.length <= most;
/** @param {unknown} x
 *  @returns {x is boolean} */
export const isBoolean = (x) => typeof x === "boolean";
/** @type {(low: number, high: number) => (x: unknown) => x is number} */
const isNumber = (low, high) => /** @returns {x is number} */ (x) => typeof x === "number" && x >= low && x <= high;
/** @type {(low: number, high: number) => (x: unknown) => x is number} */
const isWhole = (low, high) => /** @returns {x is number} */ (x) => Number.isInteger(x) && isNumber(low, high)(x);
/** @type {(most: number, item: Check) => Check} */
const isList = (most, item) => (x) => Array.isArray(x) && x.length <= most && x.every(item);

/** @type {(...values: unknown[]) => Check} */
const isOneOf =
  (...values) =>
  (x) =>
    values.includes(x);

/** @param {unknown} x
 *  @returns {x is Setting} */
const isStep = (x) => isRecord(x) && isStepName(x.name) && holds(x.name, x.value);
export const isSeed = isWhole(0, LARGEST_SEED);
/** @param {unknown[]} names */
const isUnique = (names) => new Set(names).size === names.length;

/** @param {unknown} x
 *  @returns {x is Setting[]} */
export const isSteps = (x) =>
  Array.isArray(x) && x.length <= STEP_NAMES.length && x.every(isStep) && isUnique(x.map((step) => step.name));

/** How tokens were drawn: with these settings, whatever else is in the record; null where it can't be read.
 *  @param {unknown} x
 *  @returns {Way | null} */
export function wayOf(x) {
  const { steps, greedy, seed } = isRecord(x) ? x : {};
  if (!isSteps(steps) || !isBoolean(greedy) || !isSeed(seed)) return null;
  return { steps: steps.map(({ name, value }) => ({ name, value })), greedy, seed };
}

/** @param {unknown} x */
function isTree(x) {
  try {
    return isRecord(x) && Boolean(Tree.from(/** @type {TreeJSON} */ (/** @type {unknown} */ (x))));
  } catch {
    return false;
  }
}

/** The tree with the ways that hold; tokens of another way count as put there by hand.
 *  @param {TreeJSON} tree
 *  @returns {TreeJSON} */
function mended({ nodes, ways, leaf }) {
  /** @type {Way[]} */
  const kept = [];
  /** @type {Map<number, number>} */
  const places = new Map();
  ways.forEach((raw, i) => {
    const way = wayOf(raw);
    if (way) places.set(i, kept.push(way) - 1);
  });
  return { nodes: nodes.map(([parent, id, way]) => [parent, id, places.get(way) ?? -1]), ways: kept, leaf };
}

/** @type {Check} */
const isToy = (x) =>
  isRecord(x) &&
  isNumber(0.1, 5)(x.temperature) &&
  isWhole(0, 9)(x.top_k) &&
  isNumber(0, 1)(x.u) &&
  x.u < 1 &&
  (x.draws === 0 || x.draws === 1000);

/** @type {Check} */
const isBeams = (x) =>
  isRecord(x) &&
  isWhole(1, 10)(x.beams) &&
  isWhole(1, 200)(x.length) &&
  isNumber(-10, 10)(x.length_penalty) &&
  isBoolean(x.early);

/** @type {Record<keyof State, Check>} */
const CHECKS = {
  panel: isText(40),
  model: isText(64),
  prompt: isText(200_000),
  steps: isSteps,
  greedy: isBoolean,
  seed: isSeed,
  length: isWhole(1, 5000),
  stop: isBoolean,
  shown: isWhole(1, 100),
  order: isOneOf("raw", "final"),
  color: isOneOf("probability", "rank", "entropy", "nothing"),
  speed: isNumber(0.01, 1000),
  tree: isTree,
  selected: isWhole(-200_003, 20_000),
  compared: isList(2, isWhole(0, 20_000)),
  darts: isWhole(0, 20_000),
  ran: isOneOf("", "race", "beams"),
  lanes: isList(12, isRecord), // read through lanesOf()
  beams: isBeams,
  ngram: isWhole(1, 20),
  toy: isToy,
};

/** What can be used of a state from outside, and the names of what can't: {state, wrong}.
 *  @param {unknown} raw */
export function clean(raw) {
  const keys = /** @type {(keyof State)[]} */ (Object.keys(CHECKS));
  const given = isRecord(raw) ? { ...raw } : {};
  if (Object.hasOwn(given, "colour")) given.color ??= given.colour; // its name in links of version 0.1
  const there = keys.filter((key) => Object.hasOwn(given, key));
  const good = there.filter((key) => CHECKS[key](given[key]));
  /** @type {Partial<State>} */
  const state = structuredClone(Object.fromEntries(good.map((key) => [key, given[key]])));
  if (state.steps) state.steps = wholeChain(state.steps);
  if (state.tree) state.tree = mended(state.tree);
  return { state, wrong: there.filter((key) => !good.includes(key)) };
}
