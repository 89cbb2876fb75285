// Links: the state of the Playground as the part of an address behind "#", and back.
//
//   #lab=j<base64url of the JSON>   or   #lab=z<base64url of the JSON, compressed with deflate-raw>
//
// The JSON is {"state": lab.state} and, for a scene, {"present": {"at": n, "deck": null for the one that comes with the
// app, or the deck}}. A link comes from anywhere, so what is in it is checked value by value before it is used.

import { LARGEST_SEED, START } from "./core.js";
import { STEP_NAMES, holds, isStepName, wholeChain } from "./steps.js";
import { Tree } from "./tree.js";

export const PREFIX = "#lab=";
const LONG = 300; // characters of JSON from which compressing pays
const MOST = 4_000_000; // characters of JSON that are read
const BROKEN = "This link can't be read: a part of it is missing or was changed. Ask for it again, or for the JSON.";

export const isLink = (hash) => hash.startsWith(PREFIX);

// Characters ----------------------------------------------------------------------------------------------------------

function toBase64url(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function fromBase64url(text) {
  if (!/^[\w-]+$/.test(text)) throw new Error(BROKEN);
  const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** All bytes of a stream, up to `most`: a few characters can be compressed gigabytes. */
async function collect(stream, most) {
  const reader = stream.getReader();
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

const through = (bytes, transform, most) => collect(new Blob([bytes]).stream().pipeThrough(transform), most);

/** {"state", ...} to "#lab=...". */
export async function write(payload) {
  const json = JSON.stringify(payload);
  const bytes = new TextEncoder().encode(json);
  if (json.length < LONG || !globalThis.CompressionStream) return `${PREFIX}j${toBase64url(bytes)}`;
  return `${PREFIX}z${toBase64url(await through(bytes, new CompressionStream("deflate-raw"), Infinity))}`;
}

/** "#lab=..." to what was written. Rejects with a sentence. */
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
    throw error.message.startsWith("This link") ? error : new Error(BROKEN);
  }
}

// Values --------------------------------------------------------------------------------------------------------------

export const isRecord = (x) => typeof x === "object" && x !== null && !Array.isArray(x);
export const isText = (most) => (x) => typeof x === "string" && x.length <= most;
export const isBoolean = (x) => typeof x === "boolean";
export const isWhole = (low, high) => (x) => Number.isInteger(x) && x >= low && x <= high;
export const isNumber = (low, high) => (x) => typeof x === "number" && x >= low && x <= high;
export const isList = (most, item) => (x) => Array.isArray(x) && x.length <= most && x.every(item);

const isOneOf =
  (...values) =>
  (x) =>
    values.includes(x);

const isStep = (x) => isRecord(x) && isStepName(x.name) && holds(x.name, x.value);
export const isSeed = isWhole(0, LARGEST_SEED);
const isUnique = (names) => new Set(names).size === names.length;
export const isSteps = (x) => isList(STEP_NAMES.length, isStep)(x) && isUnique(x.map((step) => step.name));

/** How tokens were drawn. */
const isWay = (x) => isRecord(x) && isSteps(x.steps) && isBoolean(x.greedy) && isSeed(x.seed);

function isTree(x) {
  try {
    return isRecord(x) && Boolean(Tree.from(x));
  } catch {
    return false;
  }
}

/** The tree with the ways that hold; tokens of another way count as put there by hand. */
function mended({ nodes, ways, leaf }) {
  const [kept, places] = [[], new Map()];
  ways.forEach((way, i) => {
    if (isWay(way)) places.set(i, kept.push({ steps: way.steps, greedy: way.greedy, seed: way.seed }) - 1);
  });
  return { nodes: nodes.map(([parent, id, way]) => [parent, id, places.get(way) ?? -1]), ways: kept, leaf };
}

const isToy = (x) =>
  isRecord(x) &&
  isNumber(0.1, 5)(x.temperature) &&
  isWhole(0, 9)(x.top_k) &&
  isNumber(0, 1)(x.u) &&
  x.u < 1 &&
  (x.draws === 0 || x.draws === 1000);

const isBeams = (x) =>
  isRecord(x) &&
  isWhole(1, 10)(x.beams) &&
  isWhole(1, 200)(x.length) &&
  isNumber(-10, 10)(x.length_penalty) &&
  isBoolean(x.early);

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
  colour: isOneOf("probability", "rank", "entropy", "nothing"),
  speed: isNumber(0.01, 1000),
  tree: isTree,
  lanes: isList(12, isRecord), // read through lanesOf()
  beams: isBeams,
  ngram: isWhole(1, 20),
  toy: isToy,
};

/** Like the value at the start: the same type, for records the same types of the same entries. */
function isLike(start, x) {
  if (Array.isArray(start)) return isList(20_000, (item) => !start.length || isLike(start[0], item))(x);
  if (isRecord(start)) return isRecord(x) && Object.keys(start).every((key) => isLike(start[key], x[key]));
  return start === null || (typeof x === typeof start && (typeof x !== "number" || Number.isFinite(x)));
}

const MENDED = { steps: wholeChain, tree: mended };

/** What can be used of a state from outside, and the names of what can't: {state, wrong}. */
export function clean(raw) {
  /** @type {Record<string, any>} */
  const state = {};
  const wrong = [];
  for (const key of Object.keys(START)) {
    if (!isRecord(raw) || !Object.hasOwn(raw, key)) continue;
    const isGood = CHECKS[key] ?? ((x) => isLike(START[key], x));
    if (isGood(raw[key])) state[key] = structuredClone((MENDED[key] ?? ((x) => x))(raw[key]));
    else wrong.push(key);
  }
  return { state, wrong };
}
