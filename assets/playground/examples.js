// Built-in examples: each sets the Playground so that it shows one effect, and says in a sentence what to look for.
// Their prompts come from the world of the starter model's story, and mean something to every other model too.

import { h } from "../page/dom.js";
import { button } from "../page/parts.js";
import { extend } from "./core.js";
import { clean } from "./link.js";

/** @import { Lane } from "../page/protocol.js" */
/** @import { Lab, State } from "./core.js" */
/** @import { Setting, StepName } from "./steps.js" */

/** @typedef {{ title: string, about: string, look: string, state: Partial<State> }} Example */

/** @param {StepName} name @param {number} value @returns {Setting} */
const step = (name, value) => ({ name, value });
/** @param {string} name @param {Setting[]} steps @returns {Lane} */
const lane = (name, ...steps) => ({ name, steps, greedy: false, beams: 0, length_penalty: 1 });
/** @param {string} name @param {Setting[]} steps @returns {Lane} */
const greedy = (name, ...steps) => ({ ...lane(name, ...steps), greedy: true });

/** @type {Example[]} */
export const EXAMPLES = [
  {
    title: "Temperature ramp",
    about: "four lanes, from cautious to wild",
    look:
      "The same darts at four temperatures: press Start the race, and see the words go from safe and repeated " +
      "to surprising and broken.",
    state: {
      panel: "race",
      prompt: "In the town of Haddle",
      seed: 3,
      length: 60,
      lanes: [0.2, 0.6, 1, 1.6].map((t) => lane(`Temperature ${t}`, step("temperature", t))),
    },
  },
  {
    title: "Top-k cliff",
    about: "a cutoff between two equally good tokens",
    look:
      "Top-k keeps five tokens and cuts the sixth, which is about as probable as the fifth. Move k by one and " +
      "watch which token is removed and which ones gain its share.",
    state: { panel: "write", prompt: "Nell looked at the", steps: [step("top_k", 5)], seed: 1, shown: 15 },
  },
  {
    title: "Greedy loop",
    about: "always the most probable token",
    look:
      "Press Start the race: the greedy lane soon repeats itself, because what it has just written becomes more " +
      "probable. A repetition penalty or sampling breaks the loop.",
    state: {
      panel: "race",
      prompt: '"Let it settle," said Ambrose.',
      seed: 1,
      length: 120,
      lanes: [
        greedy("Greedy"),
        greedy("Greedy, repetition penalty", step("repetition_penalty", 1.3)),
        lane("Drawn, temperature 0.8", step("temperature", 0.8)),
      ],
    },
  },
  {
    title: "Top-p and top-k: many tokens fit",
    about: "a flat distribution",
    look:
      "Many tokens fit here. Top-p 0.9 keeps all of them that matter; then top-k 10 cuts most of what is left. " +
      "The ledger shows the mass that each removes.",
    state: {
      panel: "write",
      prompt: "Nell and Jory went to the",
      steps: [step("top_p", 0.9), step("top_k", 10)],
      seed: 1,
      shown: 20,
    },
  },
  {
    title: "Top-p and top-k: one token fits",
    about: "a peaked distribution",
    look:
      "One or two tokens fit here. Top-p 0.9 keeps just these, and top-k 10 finds nothing left to cut; alone it " +
      "would keep ten, most of them wrong. Turn top-p off (1) to see it.",
    state: {
      panel: "write",
      prompt: '"Let it settle,"',
      steps: [step("top_p", 0.9), step("top_k", 10)],
      seed: 1,
      shown: 20,
    },
  },
  {
    title: "Beam search is dull",
    about: "the most probable text is not the best",
    look:
      "Press Start the race and compare: the beam lane has the highest log-probability per token and repeats " +
      "the most; the drawn lane has the lowest, and says more.",
    state: {
      panel: "race",
      prompt: "Hester Rusk",
      seed: 2,
      length: 60,
      lanes: [{ ...lane("Beam search, 4 beams"), beams: 4 }, greedy("Greedy"), lane("Drawn")],
    },
  },
];

/** Set the example; the previous state can be restored.
 *  @param {Lab} lab
 *  @param {Example} example */
function apply(lab, { look, state }) {
  const before = structuredClone(lab.state);
  lab.restore(clean(state).state);
  const back = button("Back to what was here", "Restore what the Playground showed before", () => {
    lab.restore(before);
    lab.say();
  });
  lab.say(look, back);
}

/** A button that opens a list of buttons; Escape or leaving it closes it.
 *  @param {Lab} lab */
function menu(lab) {
  const opener = button("Examples", "Settings that demonstrate one effect each", () => toggle());
  const items = EXAMPLES.map((example) => {
    const item = button("", "", () => {
      toggle(false);
      opener.focus();
      apply(lab, example);
    });
    item.append(h("b", "", example.title), h("span", "quiet", example.about));
    return item;
  });
  const list = h("div", "lab-menu", ...items);
  list.hidden = true;
  list.id = "lab-examples";
  opener.setAttribute("aria-controls", list.id);
  opener.setAttribute("aria-expanded", "false");
  const toggle = (open = list.hidden) => {
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
