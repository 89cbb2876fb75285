// The panel "Write": a text grows token by token, every choice can be looked at and changed, and branches are kept.
//
// Its parts: controls.js (what can be turned), toolbar.js and writer.js (writing), text.js and figures.js (the text and
// its numbers), branches.js (its branches), position.js with dist.js (one position's distribution), story.js and
// tree.js (what is written). Here they meet. "Write" runs a job of one lane on the server (gpt_demo.decoding.race);
// "One token" and autoplay take what the dart hits in the distribution shown, which is the token that the server would
// draw.

import { h, messageOf } from "../page/dom.js";
import { keep, kept } from "../page/keep.js";
import { button, onCtrlEnter, trouble } from "../page/parts.js";
import { Branches } from "./branches.js";
import { controls } from "./controls.js";
import { addPanel } from "./core.js";
import { newSeed } from "./state.js";
import { figures } from "./figures.js";
import { Position } from "./position.js";
import { wholeChain } from "./steps.js";
import { NEXT, Story, givenIndex } from "./story.js";
import { TextView } from "./text.js";
import { toolbar } from "./toolbar.js";
import { Writer } from "./writer.js";

/** @import { Change, Lab } from "./core.js" */

// What is claimed here is computed by a test: see assets/examples.json.
const LOOK =
  "press Write, then choose a word of the text. The bars show what else could have come there, and the dart, a " +
  "random number, decides which. The stronger a word's color, the more probable the model found it; " +
  "a few words were not its first choice.";

export class Write {
  /** @type {(() => void) | null} what is to be done as soon as model and prompt have been read */
  wanted = null;
  loading = false; // they are being read
  greeted = false; // the server has said who the visitor is
  waiting = true; // another text is to be opened as soon as the panel is seen
  failed = trouble();

  /** @param {HTMLElement} container @param {Lab} lab */
  constructor(container, lab) {
    this.lab = lab;
    this.story = new Story(lab);
    this.controls = controls(lab);
    this.text = new TextView({
      choose: (at) => this.position.choose(at),
      enter: () => this.position.dist.bars.focus(),
    });
    this.position = new Position(lab, this.story, {
      text: this.text,
      failed: this.failed,
      take: (id) => this.take(id),
      fork: (fresh) => this.fork(fresh),
      force: (words) => this.force(words),
    });
    this.figures = figures(lab, this.story);
    this.branches = new Branches({
      go: (leaf) => this.move(leaf),
      remove: (leaf) => this.remove(leaf),
      compare: (compared) => lab.set({ compared }),
    });
    this.writer = new Writer(this);
    this.toolbar = toolbar(lab, {
      write: () => this.writer.write(),
      stop: () => this.stop(),
      one: () => this.writer.one(),
      autoplay: () => (this.writer.job?.auto ? this.stop() : this.writer.autoplay()),
      over: () => this.move(-1),
    });
    this.root = this.frame();
    container.append(this.root);
    this.setState("idle");
    this.update(["restored", .../** @type {Change[]} */ (Object.keys(lab.state))]);
    lab.on((changed) => this.update(changed));
  }

  frame() {
    const { controls: left, toolbar: top, failed, text, figures: facts, branches, position } = this;
    const parts = [hint(), top.node, failed.node, text.node, facts.node, facts.seen, branches.node, position.node];
    const skip = button("Skip the settings", "Go to the button Write", () => top.focus(), "skip");
    const root = h("div", "lab-write", h("div", "left", left.source, skip, left.settings), h("div", "right", ...parts));
    onCtrlEnter(root, () => this.writer.write());
    return root;
  }

  /** @param {"idle" | "waiting" | "writing"} state */
  setState(state) {
    const writing = state === "writing";
    this.root.dataset.state = state; // waiting: for the model
    this.toolbar.show(state, writing && Boolean(this.writer.job?.auto));
    this.text.node.setAttribute("aria-busy", String(writing));
  }

  // From model and prompt to the first bars ---------------------------------------------------------------------------

  async load() {
    this.position.wait();
    this.failed.hide();
    this.loading = true;
    try {
      if (!(await this.story.open())) return;
    } catch (error) {
      this.loading = false;
      this.forget();
      this.failed.show(messageOf(error), () => this.load());
      return;
    }
    this.loading = false;
    if (this.story.about) this.controls.open(this.story.about);
    const next = this.wanted;
    this.forget();
    this.refresh();
    if (this.story.fault) this.failed.show(this.story.fault);
    else next?.();
  }

  /** Write, or whatever it is, as soon as there is something to write with.
   *  @param {() => void} next */
  wait(next) {
    this.wanted = next;
    this.setState("waiting");
    this.figures.seen.textContent = "The model is being opened. Then it writes.";
    if (!this.loading && !this.waiting) this.load(); // it has failed before
  }

  forget() {
    if (!this.wanted) return;
    this.wanted = null;
    this.setState("idle");
    this.statistics();
  }

  /** Redraw everything, from the tree. */
  refresh() {
    const { story } = this;
    this.text.show(this.lab.state.prompt, story);
    this.showBranches();
    this.statistics();
    const { selected } = this.position;
    this.position.choose(story.has(selected) ? selected : NEXT);
    story.score(() => this.scored());
  }

  scored() {
    this.text.recolor();
    this.statistics();
    this.showBranches();
    this.position.describe();
  }

  showBranches() {
    const { tree, about } = this.story;
    if (about) this.branches.show(tree, about);
  }

  /** @param {{ count: number, seconds: number } | null} job */
  statistics(job = null) {
    Object.assign(this.root.dataset, this.figures.show(job));
  }

  // Writing -----------------------------------------------------------------------------------------------------------

  begun() {
    this.controls.fold();
    this.failed.hide();
    this.setState("writing");
    this.reveal();
  }

  /** On a small screen the text would begin below its edge. */
  reveal() {
    const { top, bottom } = this.text.node.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) this.toolbar.node.scrollIntoView({ block: "start" });
  }

  ended() {
    this.setState("idle");
    this.story.publish();
    this.showBranches();
    this.statistics();
    this.position.choose(this.position.selected);
  }

  stop() {
    this.forget();
    this.writer.stop();
  }

  // Branches ----------------------------------------------------------------------------------------------------------

  /** The text ends with this node from now on.
   *  @param {number} leaf */
  move(leaf) {
    if (!this.story.ready) return;
    this.stop();
    this.story.tree.leaf = leaf;
    this.changed();
  }

  /** @param {number} leaf */
  remove(leaf) {
    this.stop();
    this.story.remove(leaf);
    this.changed();
  }

  changed() {
    this.position.selected = NEXT;
    this.story.publish();
    this.refresh();
  }

  /** Put a token at the chosen position: the next one, or instead of one that is there.
   *  @param {number} id */
  take(id) {
    const { story, position } = this;
    const at = position.selected;
    const late = !this.writer.job && position.waits;
    const { view } = position.dist;
    if (!story.ready || late || view?.before !== story.before(at)) return; // the bars are of another one
    if (givenIndex(at) >= 0) return; // the prompt is written in its own field
    this.stop();
    const path = story.tree.path();
    if (at !== NEXT && story.tree.nodes[at].id === id) position.choose(path[path.indexOf(at) + 1] ?? NEXT);
    else this.move(story.put(view, id));
  }

  /** @param {string} words */
  async force(words) {
    const { story, position } = this;
    if (!story.ready || !words || givenIndex(position.selected) >= 0) return;
    this.stop();
    const { nodes } = story.tree;
    let node = story.before(position.selected);
    try {
      const ids = await this.lab.encode(words);
      if (nodes !== story.tree.nodes) return;
      for (const id of ids) node = story.tree.add(node, id, -1);
      position.forced.input.value = "";
      this.move(node);
    } catch (error) {
      this.failed.show(messageOf(error), () => this.force(words));
    }
  }

  /** @param {boolean} fresh with another seed */
  fork(fresh) {
    const leaf = this.position.selected;
    this.stop();
    if (fresh) this.lab.set({ seed: newSeed() });
    this.move(leaf);
  }

  // What others change ------------------------------------------------------------------------------------------------

  /** @param {Change[]} changed */
  update(changed) {
    const { lab, position, story } = this;
    const whole = wholeChain(lab.state.steps);
    if (JSON.stringify(whole) !== JSON.stringify(lab.state.steps)) lab.set({ steps: whole });
    this.controls.update(changed);
    this.toolbar.update();
    if (changed.includes("color")) this.text.node.dataset.color = this.figures.color();
    if (changed.includes("models")) this.greeted = true;
    const restored = changed.includes("restored");
    if (restored) this.branches.compared = [...lab.state.compared];
    if (story.follow(changed)) this.anotherText(restored ? lab.state.selected : NEXT);
    if (this.waiting && this.greeted && lab.state.panel === "write") {
      this.waiting = false;
      this.load();
    } else if (story.ready) {
      if (changed.includes("seed")) position.choose(position.selected);
      position.dist.draw();
      position.describe();
    }
  }

  /** @param {number} selected */
  anotherText(selected) {
    this.writer.drop();
    this.wanted = null;
    this.setState("idle");
    this.position.selected = selected;
    this.waiting = true;
  }
}

/** What to look for, until a visitor has had enough of it. */
function hint() {
  const hide = () => {
    keep("hint", "hidden");
    node.hidden = true;
  };
  const node = h("p", "quiet first-hint", h("strong", "", "What to look for: "), LOOK, " ");
  node.append(button("Hide", "Hide this hint in this browser", hide, "small"));
  node.hidden = kept("hint") !== null;
  return node;
}

addPanel({ name: "write", title: "Write", mount: (container, lab) => new Write(container, lab) });
