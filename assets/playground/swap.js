// Another state in the Playground's place (an example, a scene, a link), and the way back to what was there.

import { button } from "../page/parts.js";

/** @import { Lab } from "./core.js" */
/** @import { State } from "./state.js" */

/** A button that restores what the Playground shows now, with all its branches.
 *  @param {Lab} lab */
export function wayBack(lab) {
  const before = structuredClone(lab.state);
  return button("Back to what was here", "Restore what the Playground showed before", () => {
    lab.restore(before);
    lab.say();
  });
}

/** Show the state and say the sentence, with a way back.
 *  @param {Lab} lab
 *  @param {Partial<State>} state
 *  @param {string} sentence */
export function swap(lab, state, sentence) {
  const back = wayBack(lab);
  lab.restore(state);
  lab.say(sentence, back);
}
