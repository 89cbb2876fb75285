// A deck of scenes: {title, scenes: [{title, note, show, state, recorded}]}, from the server, a file, a link or the
// page.

import * as storage from "../page/keep.js";
import { clean, isRecord, write } from "../playground/link.js";
import { active } from "../playground/steps.js";
import * as stage from "./stage.js";

/** @import { State } from "../playground/state.js" */
/** @import { Recording, Show } from "./recording.js" */

/** One scene: the Playground's state, how it is drawn, and with what recording.
 *  @typedef {{ title: string, note: string, show: Show, state: Partial<State>, recorded?: Recording }} Scene */
/** @typedef {{ title: string, scenes: Scene[] }} Deck */

const MOST_SCENES = 100;
const MOST_BYTES = 20_000_000;
const LONGEST_LINK = 30_000; // characters; above it the recordings stay behind

/** @param {unknown} x @param {number} most */
const words = (x, most) => (typeof x === "string" ? x.slice(0, most) : "");

/** @param {unknown} raw */
function checkScene(raw) {
  if (!isRecord(raw) || !isRecord(raw.state)) throw new Error();
  const { state } = clean(raw.state);
  if (state.steps) state.steps = active(state.steps);
  /** @type {Scene} */
  const scene = {
    title: words(raw.title, 200),
    note: words(raw.note, 4000),
    show: stage.SHOWS.find((show) => show === raw.show) ?? stage.showOf(state),
    state,
  };
  if (isRecord(raw.recorded) && Object.keys(raw.recorded).length)
    scene.recorded = /** @type {Recording} */ (/** @type {unknown} */ (raw.recorded)); // drawing it shows whether it is
  return scene;
}

/** A deck that can be shown, from whatever came; an Error with a sentence where it is none.
 *  @param {unknown} raw
 *  @returns {Deck} */
export function check(raw) {
  const { title, scenes } = isRecord(raw) ? raw : {};
  try {
    if (!Array.isArray(scenes) || !scenes.length || scenes.length > MOST_SCENES) throw new Error();
    return { title: words(title, 200) || "Scenes", scenes: scenes.map(checkScene) };
  } catch {
    throw new Error(
      `This is not a deck: it must be a JSON {"title", "scenes": [{"title", "note", "state"}, ...]} of 1 to ` +
        `${MOST_SCENES} scenes.`,
    );
  }
}

/** @param {File} file */
export async function fromFile(file) {
  if (file.size > MOST_BYTES) throw new Error("This file is larger than 20 MB. Choose a smaller deck.");
  let raw = null;
  try {
    raw = JSON.parse(await file.text());
  } catch {
    // not JSON: check() says so
  }
  return check(raw);
}

/** What the Playground shows now, as a scene.
 *  @param {State} state
 *  @param {string} title
 *  @param {string} note */
export function sceneOf(state, title, note) {
  const show = state.panel === "write" && state.tree.leaf < 0 ? "distribution" : stage.showOf(state);
  const scene = checkScene({ title, note, state, show });
  scene.title ||= words(state.prompt, 60) || "Scene";
  return scene;
}

const KEPT = "deck";

/** The same without recordings, which the model can give again.
 *  @param {Deck} deck
 *  @returns {Deck} */
const bare = (deck) => ({ ...deck, scenes: deck.scenes.map(({ recorded, ...scene }) => scene) });

/** Keep the deck in this browser, without its recordings where there is no room; whether that was possible.
 *  @param {Deck} deck */
export const keep = (deck) => [deck, bare(deck)].some((one) => storage.keep(KEPT, JSON.stringify(one)));

/** The deck kept in this browser; null where there is none. */
export function kept() {
  try {
    const text = storage.kept(KEPT);
    return text === null ? null : check(JSON.parse(text));
  } catch {
    return null; // not what was kept
  }
}

/** A link to a scene; `own`: the deck is not the one that comes with the app.
 *  @param {Deck} deck
 *  @param {number} at
 *  @param {boolean} own */
export async function link(deck, at, own) {
  const { state } = deck.scenes[at];
  if (!own) return write({ state, present: { at, deck: null } });
  const whole = await write({ state, present: { at, deck } });
  if (whole.length <= LONGEST_LINK) return whole;
  return write({ state, present: { at, deck: bare(deck) } });
}

/** @param {Deck} deck */
export const toJSON = (deck) => `${JSON.stringify(deck, null, 1)}\n`;
