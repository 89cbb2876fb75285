// The row of buttons over the text of the panel "Write".

import { h } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { button } from "../page/parts.js";

/** @import { Lab } from "./core.js" */

const AUTOPLAY = "One token after another, each with its distribution; you can move the sliders meanwhile";

/** @param {Lab} lab
 *  @param {Record<"write" | "stop" | "one" | "autoplay" | "over", () => void>} acts */
export function toolbar(lab, { write, stop, one, autoplay, over }) {
  const writeButton = button("Write", "Continue from the end of the text (Ctrl+Enter)", write, "primary");
  const stopButton = button("Stop", "Stop writing; the text is kept", stop);
  const oneButton = button("One token", "Add the token that the dart hits", one);
  const autoButton = button("Autoplay", AUTOPLAY, autoplay);
  const overButton = button("Start over", "Back to the prompt; the branches are kept", over);
  const pace = h("input");
  Object.assign(pace, { type: "range", min: "0.5", max: "10", step: "0.5", title: "Tokens per second of autoplay" });
  pace.setAttribute("aria-label", "Speed of autoplay, tokens per second");
  pace.addEventListener("input", () => lab.set({ speed: Number(pace.value) }));
  const words = h("span", "quiet pace");
  const auto = h("span", "row auto", autoButton, pace, words);
  return {
    node: h("div", "row toolbar", writeButton, stopButton, oneButton, auto, overButton),
    /** `state`: "idle", "waiting" (for the model) or "writing"; `playing`: by itself, token by token.
     *  @param {"idle" | "waiting" | "writing"} state
     *  @param {boolean} playing */
    show(state, playing) {
      for (const node of [writeButton, oneButton, overButton]) node.disabled = state !== "idle";
      stopButton.disabled = state === "idle";
      autoButton.setAttribute("aria-pressed", String(playing));
    },
    focus: () => writeButton.focus(),
    update() {
      pace.value = String(lab.state.speed);
      words.textContent = `${number(lab.state.speed, 1)} tokens/s`;
    },
  };
}
