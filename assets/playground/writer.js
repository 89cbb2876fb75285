// How the panel "Write" writes: a job of one lane on the server, one token that the dart hits here, or one after the
// other by itself. One thing at a time.

import { messageOf } from "../page/dom.js";
import { NEXT } from "./story.js";

/** @import { Happened } from "../page/protocol.js" */
/** @import { Write } from "./write.js" */

/** What is being written: `auto` by itself; `kept` when it last went into the state, ms.
 *  @typedef {{ stopped: boolean, auto: boolean, count: number, seconds: number, kept: number | null }} Writing */

const KEEP = 1500; // ms from one time that what is being written goes into the state to the next

export class Writer {
  /** @type {Writing | null} */
  job = null;

  /** @param {Write} panel */
  constructor(panel) {
    this.panel = panel;
    this.lab = panel.lab;
  }

  /** @param {boolean} auto */
  begin(auto) {
    /** @type {Writing} */
    const job = { stopped: false, auto, count: 0, seconds: 0, kept: null };
    this.job = job;
    this.panel.begun();
    return job;
  }

  /** What is written so far stays, and goes into the state.
   *  @param {Writing} mine */
  end(mine) {
    if (this.job !== mine) return;
    this.job = null;
    this.panel.ended();
  }

  stop() {
    if (!this.job) return;
    this.job.stopped = true;
    this.end(this.job);
  }

  /** Another text begins: nothing of this one is kept. */
  drop() {
    if (this.job) this.job.stopped = true;
    this.job = null;
  }

  /** Run `work` while nothing else is written; what goes wrong is said, with a way to try again.
   *  @param {(mine: Writing) => Promise<unknown>} work
   *  @param {() => void} again */
  async busy(work, again, auto = false) {
    if (this.job) return;
    if (!this.panel.story.ready) {
      this.panel.wait(again);
      return;
    }
    const mine = this.begin(auto);
    try {
      await work(mine);
      this.end(mine);
    } catch (error) {
      this.end(mine);
      if (!mine.stopped) this.panel.failed.show(messageOf(error), again);
    }
  }

  write() {
    return this.busy(
      (mine) => this.race(mine),
      () => this.write(),
    );
  }

  /** @param {Writing} mine */
  async race(mine) {
    const { story, position } = this.panel;
    const way = story.tree.way(story.settings);
    const { length: count, greedy, stop } = this.lab.state;
    position.leave();
    const request = { ids: story.ids(), count, stop, lanes: [{ name: "write", steps: this.lab.steps, greedy }] };
    await this.lab.run(request, (events, seconds) => {
      mine.seconds = seconds;
      return !mine.stopped && this.grow(mine, events, way);
    });
  }

  /** @param {Writing} mine @param {Happened["events"]} events @param {number} way */
  grow(mine, events, way) {
    const { story, text } = this.panel;
    const { tree } = story;
    const fresh = [];
    for (const event of events) {
      if (event.event !== "drawn") continue;
      const { id, raw_logprob: logprob, rank, entropy } = event;
      tree.leaf = tree.add(tree.leaf, id, way, { logprob, rank, entropy });
      fresh.push(tree.leaf);
    }
    mine.count += fresh.length;
    text.append(fresh);
    this.panel.statistics(mine);
    this.keep(mine);
    return true;
  }

  /** A page reloaded in the middle finds in its address most of what was written.
   *  @param {Writing} mine */
  keep(mine) {
    const now = performance.now();
    mine.kept ??= now;
    if (now - mine.kept < KEEP) return;
    mine.kept = now;
    this.panel.story.publish();
  }

  /** Add the token that the dart hits behind the text. True if that ends the text.
   *  @param {Writing} mine */
  async token(mine) {
    const { story, position, text } = this.panel;
    position.leave();
    const view = await story.view(NEXT);
    if (mine.stopped) return true;
    const node = story.drawFrom(view);
    text.append([node]);
    this.panel.statistics();
    return this.lab.state.stop && story.tree.nodes[node].id === view.about.end_of_text;
  }

  one() {
    return this.busy(
      (mine) => this.token(mine),
      () => this.one(),
    );
  }

  autoplay() {
    return this.busy(
      (mine) => this.play(mine),
      () => this.autoplay(),
      true,
    );
  }

  /** @param {Writing} mine */
  async play(mine) {
    for (let i = 0; i < this.lab.state.length && !mine.stopped; i++) {
      const began = performance.now();
      if (await this.token(mine)) return;
      await this.panel.position.choose(NEXT);
      const rest = 1000 / this.lab.state.speed - (performance.now() - began);
      if (!mine.stopped && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
    }
  }
}
