// The chain of five steps in the panel "Write", in their order: a handle moves its step by drag or by arrow keys, Alt
// and an arrow key do from anywhere in the step.

import { h } from "../page/dom.js";
import { STEPS, STEP_NAMES } from "./steps.js";
import { StepControl } from "./stepcontrol.js";

/** @import { Lab } from "./core.js" */
/** @import { State } from "./state.js" */
/** @import { Move } from "./stepcontrol.js" */

/** @param {Lab} lab @param {(sentence: string) => void} say */
export function chainList(lab, say) {
  const list = h("ol", "chain");
  list.setAttribute("aria-label", "Steps from the model's logits to the draw, in their order");
  const parts = STEP_NAMES.map((name) => new StepControl(lab, name, move));
  for (const part of parts) draggable(part, move);

  /** @type {Move} */
  function move(name, by) {
    const steps = [...lab.state.steps];
    const from = steps.findIndex((other) => other.name === name);
    const to = from + by;
    if (to < 0 || to >= steps.length) return;
    [steps[from], steps[to]] = [steps[to], steps[from]];
    lab.set({ steps });
    say(`${STEPS[name].label} is now step ${to + 1} of ${steps.length}.`);
  }

  /** @param {State} state */
  function show(state) {
    const focused = document.activeElement;
    state.steps.forEach(({ name }, i) => {
      const item = parts.find((part) => part.name === name)?.item;
      if (item && list.children[i] !== item) list.insertBefore(item, list.children[i] ?? null);
    });
    if (document.activeElement !== focused && focused instanceof HTMLElement && list.contains(focused)) focused.focus();
    for (const part of parts) part.show(state);
  }

  /** @param {number} V */
  const open = (V) => parts.forEach((part) => part.open(V));
  return { list, show, open };
}

/** The neighbours move, never the item under the pointer: so the pointer stays caught.
 *  @param {StepControl} part
 *  @param {Move} move */
function draggable({ name, item, handle }, move) {
  /** @param {PointerEvent} event */
  const over = (event) => {
    /** @type {[Element | null, number][]} */
    const neighbors = [
      [item.previousElementSibling, -1],
      [item.nextElementSibling, 1],
    ];
    for (const [other, by] of neighbors) {
      if (!other) continue;
      const { top, height } = other.getBoundingClientRect();
      if ((event.clientY - top - height / 2) * by <= 0) continue;
      if (by < 0) item.after(other);
      else item.before(other);
      return move(name, by);
    }
  };
  const end = () => {
    item.classList.remove("dragged");
    handle.removeEventListener("pointermove", over);
  };
  handle.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    item.classList.add("dragged");
    handle.addEventListener("pointermove", over);
  });
  handle.addEventListener("pointerup", end);
  handle.addEventListener("pointercancel", end);
}
