// What the panel "Write" writes, without its page: the model's answer about itself, the prompt's tokens, the tree of
// what follows them, and the rows of logits asked for so far. lab.state.tree is kept equal to the tree.
//
//   const story = new Story(lab);
//   story.follow(changed);        // -> true if another text begins: then await story.open()
//   await story.view(at);         // one position: {row, u, context, about, chosen, before}; at: a node of the tree or
//   NEXT

import { dart } from "./darts.js";
import { stagesOf } from "./dist.js";
import { Tree } from "./tree.js";

export const NEXT = -2; // the place behind the text
const ROWS = 12; // kept
const TEXTS = 20; // prompts whose branches are kept while the page is open

export class Story {
  constructor(lab) {
    this.lab = lab;
    this.about = null; // of the model, as lab.open() gives it
    this.promptIds = [];
    this.tree = new Tree();
    this.ready = false; // about and promptIds belong to the model and the prompt
    this.fault = ""; // a sentence where lab.state.tree could not be read
    this.source = null; // model and prompt that the tree belongs to
    this.forest = new Map(); // source -> JSON of its tree
    this.rows = new Map(); // node before the position -> {row, darts: Map(seed -> u)}
    this.publishing = false;
    this.opening = 0;
  }

  /** After a change of the state: whether another text begins (other model, other prompt, a tree from elsewhere). */
  follow(changed) {
    const { state } = this.lab;
    const source = `${state.model}\n${state.prompt}`;
    const given = (changed.includes("tree") && !this.publishing) || this.source === null;
    if (source === this.source && !given) return false;
    this.fault = "";
    this.ready = false;
    if (given) this.adopt(state.tree);
    else {
      if (this.tree.nodes.length) this.forest.set(this.source, this.tree.toJSON());
      if (this.forest.size > TEXTS) this.forest.delete(this.forest.keys().next().value);
      this.tree = Tree.from(this.forest.get(source));
    }
    this.source = source;
    this.publish();
    return true;
  }

  adopt(json) {
    try {
      this.tree = Tree.from(json ?? undefined);
    } catch (error) {
      this.tree = new Tree();
      this.fault = error.message;
    }
  }

  /** Ask for what belongs to model and prompt. False if meanwhile another text has begun. */
  async open() {
    const mine = ++this.opening;
    this.ready = false;
    this.rows = new Map();
    const [about, ids] = await Promise.all([this.lab.open(), this.lab.encode(this.lab.state.prompt)]);
    if (mine !== this.opening) return false;
    [this.about, this.promptIds, this.ready] = [about, ids, true];
    return true;
  }

  publish() {
    this.publishing = true;
    this.lab.set({ tree: this.tree.toJSON() });
    this.publishing = false;
  }

  /** What the next token would be drawn with. */
  get settings() {
    return { steps: this.lab.steps, greedy: this.lab.state.greedy, seed: this.lab.state.seed };
  }

  /** The settings a token was drawn with; null for the next one and for those put by hand. */
  wayOf(at) {
    return at === NEXT || this.tree.nodes[at].way < 0 ? null : this.tree.ways[this.tree.nodes[at].way];
  }

  before(at) {
    return at === NEXT ? this.tree.leaf : this.tree.nodes[at].parent;
  }

  ids(leaf = this.tree.leaf) {
    return [...this.promptIds, ...this.tree.ids(leaf)];
  }

  async view(at) {
    const [before, seed] = [this.before(at), this.wayOf(at)?.seed ?? this.lab.state.seed];
    const context = this.ids(before);
    const { about } = this;
    const chosen = at === NEXT ? null : this.tree.nodes[at].id;
    const { row, darts } = await this.rowBehind(before, context, seed);
    return { row, u: darts.get(seed), context, about, chosen, before };
  }

  async rowBehind(node, context, seed) {
    const { rows } = this; // a late answer must not get among those of another text
    if (rows.get(node)?.darts.has(seed)) return rows.get(node);
    const { row, dart: u } = await this.lab.row(context, this.lab.state.model, seed);
    const entry = rows.get(node) ?? { row, darts: new Map() };
    entry.darts.set(seed, u);
    rows.delete(node);
    rows.set(node, entry);
    if (rows.size > ROWS) rows.delete(rows.keys().next().value);
    return entry;
  }

  /** The token that the dart of a view hits (the first one if greedy), put behind the text; its node. */
  drawFrom(view) {
    const stages = stagesOf(view, this.lab.state);
    const greedy = stages.at(-1).name === "greedy";
    const id = greedy ? stages.at(-1).idAt(0) : dart(stages, view.u).id;
    this.tree.leaf = this.tree.add(this.tree.leaf, id, this.tree.way(this.settings), numbersOf(stages[0], id));
    return this.tree.leaf;
  }

  /** Put a token of the view's distribution at its position by hand; its node. */
  put(before, view, id) {
    const [model] = stagesOf(view, this.lab.state);
    return this.tree.add(before, id, -1, numbersOf(model, id));
  }

  remove(leaf) {
    this.tree.remove(leaf);
    this.rows = new Map();
  }

  /** Ask what the model thinks of tokens that it has not written itself here (of a link, or put by hand); told(): some
   *  are known. Where the server does not answer they stay unknown. */
  async score(told) {
    const { tree, promptIds, lab } = this;
    const { nodes } = tree;
    for (const leaf of [tree.leaf, ...tree.branches().map((branch) => branch.leaf)]) {
      const path = tree.path(leaf);
      for (;;) {
        const unknown = path.findIndex((at) => !nodes[at].numbers);
        if (unknown < 0) break;
        const request = { model: lab.state.model, ids: this.ids(leaf), first: promptIds.length + unknown };
        const { scores } = await lab.ask("score", request).catch(() => ({ scores: [] }));
        if (!scores.length || tree !== this.tree || nodes !== tree.nodes || !this.ready) return;
        scores.forEach(
          ([logprob, rank, entropy], i) => (nodes[path[unknown + i]].numbers ??= { logprob, rank, entropy }),
        );
        told();
      }
    }
  }
}

const numbersOf = (model, id) => ({ logprob: model.logprob(id), rank: model.rank(id), entropy: model.entropy });
