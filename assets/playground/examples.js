// Built-in examples: each sets the Playground so that it shows one effect, and says in a sentence what to look for.
// They are in assets/examples.json, each with what is claimed of it, which a test computes.

import { h } from "../page/dom.js";
import { button } from "../page/parts.js";
import { extend } from "./core.js";
import { clean } from "./link.js";
import { swap } from "./swap.js";

/** @import { Example } from "../page/protocol.js" */
/** @import { Lab } from "./core.js" */

/** A button that opens a list of buttons; Escape or leaving it closes it.
 *  @param {Lab} lab */
function menu(lab) {
  const opener = button("Examples", "Settings that demonstrate one effect each", () => toggle());
  /** @type {HTMLButtonElement[]} */
  let items = [];
  const list = h("div", "lab-menu");
  list.hidden = true;
  list.id = "lab-examples";
  opener.setAttribute("aria-controls", list.id);
  opener.setAttribute("aria-expanded", "false");
  /** @param {Example} example */
  const itemOf = (example) => {
    const item = button("", "", () => {
      toggle(false);
      opener.focus();
      swap(lab, clean(example.state).state, example.look);
    });
    item.append(h("b", "", example.title), h("span", "quiet", example.about));
    return item;
  };
  const toggle = async (open = list.hidden) => {
    try {
      if (open && !items.length) items = (await lab.ask("examples", {})).examples.map(itemOf);
    } catch (error) {
      lab.say(error instanceof Error ? error.message : String(error));
      return;
    }
    list.replaceChildren(...items);
    list.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) items[0].focus();
  };
  const node = h("div", "lab-examples", opener, list);
  node.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const move = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const at = items.findIndex((item) => item === document.activeElement);
    if (event.key === "Escape") {
      toggle(false);
      opener.focus();
    } else if (move && at >= 0) {
      items[(at + move + items.length) % items.length].focus();
    } else return;
    event.preventDefault();
  });
  /** @param {EventTarget | null} target */
  const isOutside = (target) => target instanceof Node && !node.contains(target);
  node.addEventListener("focusout", ({ relatedTarget }) => isOutside(relatedTarget) && toggle(false));
  document.addEventListener("pointerdown", ({ target }) => !list.hidden && isOutside(target) && toggle(false));
  return node;
}

extend((lab) => lab.tools.append(menu(lab)));
