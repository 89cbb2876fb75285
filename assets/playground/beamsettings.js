// What a beam search is started with: lab.state.beams.

import { clamp } from "../page/numbers.js";
import { START } from "./core.js";

export const BOUNDS = { beams: [1, 10], length: [1, 60], length_penalty: [-10, 10] };

/** The settings of a state, whole and within bounds. */
export function settingsOf(state) {
  const given = state.beams && typeof state.beams === "object" ? state.beams : {};
  const settings = { early: Boolean(given.early) };
  for (const [key, [low, high]] of Object.entries(BOUNDS)) {
    const x = Number.isFinite(given[key]) ? given[key] : START.beams[key];
    settings[key] = clamp(key === "length_penalty" ? x : Math.round(x), low, high);
  }
  return settings;
}
