// How the panel "Write" writes: a job of one lane on the server, one token that the dart hits here, or one after the
// other by itself. One thing at a time.

import { NEXT } from "./story.js";

const KEEP = 1500; // ms from one time that what is being written goes into the state to the next

export class Writer {
  /** `panel`: write.js. */
  constructor(panel) {
    this.panel = panel;
    this.lab = panel.lab;
    this.job = null; // {stopped, auto, count, seconds} while something is written
  }

  begin(auto) {
    this.job = { stopped: false, auto, count: 0, seconds: 0 };
    this.panel.begun();
    return this.job;
  }

  /** What is written so far stays, and goes into the state. */
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

  /** Run `work` while nothing else is written; what goes wrong is said, with a way to try again. */
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
      if (!mine.stopped) this.panel.failed.show(error.message, again);
    }
  }

  write() {
    return this.busy((mine) => this.race(mine), () => this.write());
  }

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

  grow(mine, events, way) {
    const { story, text } = this.panel;
    const { tree } = story;
    const fresh = [];
    for (const { event, id, raw_logprob: logprob, rank, entropy } of events) {
      if (event !== "drawn") continue;
      tree.leaf = tree.add(tree.leaf, id, way, { logprob, rank, entropy });
      fresh.push(tree.leaf);
    }
    mine.count += fresh.length;
    text.append(fresh);
    this.panel.statistics(mine);
    this.keep(mine);
    return true;
  }

  /** A page reloaded in the middle finds in its address most of what was written. */
  keep(mine) {
    const now = performance.now();
    mine.kept ??= now;
    if (now - mine.kept < KEEP) return;
    mine.kept = now;
    this.panel.story.publish();
  }

  /** Add the token that the dart hits behind the text. True if that ends the text. */
  async token(mine) {
    const { story, position, text } = this.panel;
    position.leave();
    const view = await story.view(NEXT);
    if (mine.stopped) return true;
    const node = story.drawFrom(view);
    text.append([node]);
    this.panel.statistics();
    return this.lab.state.stop && story.tree.nodes[node].id === story.about.end_of_text;
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
