// One position of the text of the panel "Write", the next one or that of a token written: what is said of it, what can
// be put there instead, and its distribution.

import { h, messageOf } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { button, field } from "../page/parts.js";
import { visible } from "../page/visible.js";
import { Distribution } from "./dist.js";
import { wholeChain } from "./steps.js";
import { NEXT, givenIndex } from "./story.js";

/** @import { TroubleLine } from "../page/parts.js" */
/** @import { Lab } from "./core.js" */
/** @import { Story } from "./story.js" */
/** @import { TextView } from "./text.js" */
/** @import { Numbers } from "./tree.js" */

/** What can be done at a position: take a token of the bars, fork there (fresh: with another seed), force words in its
 *  place.
 *  @typedef {{ take: (id: number) => void, fork: (fresh: boolean) => void, force: (words: string) => void }} Acts */

const PUT =
  "Any text: its tokens go here, and a new branch starts from there. Enter inserts it, Shift+Enter starts a new line.";

export class Position {
  selected = NEXT; // a node of story.tree
  turn = 0; // grows with each position shown, so that late answers are dropped
  missing = false; // what failed is the answer for a position
  title = h("h3", "where");
  how = h("p", "quiet how");
  put = button("Put", "Put the text here", () => {});
  forced = field("Put this text here", { tag: "textarea", rows: 1, spellcheck: "false" }, PUT);

  /** @param {Lab} lab @param {Story} story @param {{ text: TextView, failed: TroubleLine } & Acts} parts */
  constructor(lab, story, { text, failed, ...acts }) {
    this.lab = lab;
    this.story = story;
    this.text = text;
    this.failed = failed;
    this.dist = new Distribution(lab, { take: acts.take });
    const forks = /** @type {const} */ ([
      ["Fork here", "Continue after this token with a new seed; the rest is kept as a branch", true],
      ["Fork, same darts", "The same with the same seed: change a setting, then write, to see what it changes", false],
    ]);
    this.forkButtons = forks.map(([label, words, fresh]) => button(label, words, () => acts.fork(fresh)));
    const then = "Restore the settings with which this token was sampled";
    this.thenButton = button("Use its settings", then, () => this.useSettings());
    const buttons = h("div", "row acts", this.thenButton, ...this.forkButtons, this.forcing(acts.force));
    this.node = h("section", "lab-dist", h("div", "dist-head", this.title, buttons, this.how), this.dist.node);
    this.node.setAttribute("aria-label", "Distribution");
  }

  /** @param {Acts["force"]} force */
  forcing(force) {
    const { node, input } = this.forced;
    this.put.addEventListener("click", () => force(input.value));
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      force(input.value);
    });
    return h("span", "row put", node, this.put);
  }

  /** What is shown belongs to a position that is left. */
  wait() {
    ++this.turn;
    this.node.setAttribute("aria-busy", "true");
  }

  get waits() {
    return this.node.getAttribute("aria-busy") === "true";
  }

  /** The bars are of a position that is left; those of the next one come when its token is there. */
  leave() {
    this.wait();
    this.selected = NEXT;
    this.text.select(NEXT);
  }

  /** Show the distribution of a token of the text, or of the next one.
   *  @param {number} at */
  async choose(at) {
    this.selected = at;
    this.text.select(at);
    if (!this.story.ready) return;
    this.lab.set({ selected: at });
    this.describe();
    this.wait();
    const mine = this.turn;
    try {
      const view = await this.story.view(at);
      if (mine !== this.turn) return;
      this.dist.show(view);
      this.node.setAttribute("aria-busy", "false");
      if (this.missing) this.failed.hide();
      this.missing = false;
    } catch (error) {
      if (mine !== this.turn) return;
      this.missing = true;
      this.failed.show(messageOf(error), () => this.choose(at));
    }
  }

  describe() {
    const { story, selected } = this;
    const i = givenIndex(selected);
    const next = selected === NEXT;
    const node = selected >= 0 ? story.tree.nodes[selected] : null;
    const place = next ? story.tree.length() : i >= 0 ? i : story.tree.length(selected) - 1;
    const id = i >= 0 ? story.promptIds[i] : node?.id;
    const token = id !== undefined && story.about ? visible(story.about.vocabulary(id).bytes) : "";
    const named = [`Token ${number(place + 1)}${i < 0 ? "" : " of the prompt"}: `, h("code", "", token)];
    this.title.replaceChildren(...(next ? ["Next token"] : named));
    const way = story.wayOf(selected);
    const same = !way || JSON.stringify(way) === JSON.stringify(story.settings);
    const before = i >= 0 ? i : Math.min(story.promptIds.length + place, story.about?.n_ctx ?? Infinity);
    const where = `After ${number(before)} ${before === 1 ? "token" : "tokens"} of context`;
    const origin = same ? "" : `; sampled with different settings (seed ${way.seed})`;
    const hand = node && !way ? "; inserted by hand" : "";
    const hint = next ? ". Choose a bar to add its token" : i < 0 ? "" : ". The prompt is changed in its own field";
    const numbers = i >= 0 ? story.given[i] : node?.numbers;
    this.how.textContent = `${where}${hint}${given(numbers)}${origin}${hand}.`;
    for (const fork of this.forkButtons) fork.disabled = !node;
    this.thenButton.disabled = same;
    this.put.disabled = this.forced.input.disabled = i >= 0;
  }

  useSettings() {
    const way = this.story.wayOf(this.selected);
    if (way) this.lab.set({ steps: wholeChain(way.steps), greedy: way.greedy, seed: way.seed });
  }
}

/** What the model gave a token, where that is known.
 *  @param {Numbers | null | undefined} numbers */
function given(numbers) {
  if (!numbers) return "";
  return `. The model gave it ${percent(Math.exp(numbers.logprob))}, rank ${number(numbers.rank + 1)}`;
}
