// The presenter's keys: arrows, PageUp and PageDown, Space, Home and End turn; B blanks the screen, F fills it, Escape
// leaves.

/** @import { Presenter } from "./present.js" */

const CONTROLS = "button, input, textarea, select, a, summary";

/** Whether the presenter has taken the key.
 *  @param {Presenter} presenter @param {KeyboardEvent} event */
export function take(presenter, event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return false;
  const target = event.target instanceof Element ? event.target : null;
  if (presenter.blank) presenter.blank = false;
  else if (event.key === "Escape") presenter.drawer.open ? presenter.drawer.toggle() : presenter.close();
  else if (target?.matches('input:not([type="range"]):not([type="file"]), textarea, select')) return false;
  else if (event.key === " " && target?.matches(CONTROLS)) return false; // it presses them
  else if (event.key.toLowerCase() === "f") presenter.fill();
  else if (event.key.toLowerCase() === "b") presenter.blank = true;
  else return turn(presenter, event, Boolean(target?.matches('input[type="range"]')));
  return true;
}

/** @param {Presenter} presenter @param {KeyboardEvent} event @param {boolean} sliding */
function turn(presenter, event, sliding) {
  const { at, deck } = presenter;
  const space = event.shiftKey ? at - 1 : at + 1;
  /** @type {Record<string, number>} */
  const turns = { PageDown: at + 1, PageUp: at - 1, " ": space };
  if (!sliding) Object.assign(turns, { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: deck.scenes.length - 1 });
  const to = turns[event.key];
  if (to !== undefined) presenter.go(to);
  return to !== undefined;
}
