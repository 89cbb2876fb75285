// What the panel "Write" writes, without its page: the model's answer about itself, the prompt's tokens, the tree of
// what follows them, and the rows of logits asked for so far. lab.state.tree is kept equal to the tree.
//
//   const story = new Story(lab);
//   story.follow(changed);        // -> true if another text begins: then await story.open()
//   await story.view(at);         // one position: {row, u, context, about, chosen, before}; at: a node of the tree or
//   NEXT

import { messageOf } from "../page/dom.js";
import { dart } from "./darts.js";
import { stagesOf } from "./dist.js";
import { lastOf } from "./sampler.js";
import { Tree } from "./tree.js";

/** @import { Scores } from "../page/protocol.js" */
/** @import { About, Change, Lab } from "./core.js" */
/** @import { Stage } from "./sampler.js" */
/** @import { Numbers, TreeJSON, Way } from "./tree.js" */

/** One position: its row of logits, its dart, the tokens before it, the token that is there, the node before it.
 *  @typedef {{
 *    row: Float32Array, u: number, context: number[], about: About, chosen: number | null, before: number,
 *  }} View */
/** @typedef {{ row: Float32Array, darts: Map<number, number> }} Row a row of logits, and its darts by seed */

// Places: a node of the tree is one, and there are
export const NEXT = -2; // the place behind the text
const GIVEN = -3; // and below it: the tokens of the prompt
/** The place of a token of the prompt, by its index. @param {number} i */
export const givenAt = (i) => GIVEN - i;
/** The index of a token of the prompt; -1 for other places. @param {number} at */
export const givenIndex = (at) => (at <= GIVEN ? GIVEN - at : -1);
const ROWS = 12; // kept
const TEXTS = 20; // prompts whose branches are kept while the page is open

export class Story {
  /** @type {About | null} of the model */
  about = null;
  /** @type {number[]} */
  promptIds = [];
  /** @type {(Numbers | null)[]} what the model thinks of the prompt's tokens, the first one left out */
  given = [];
  tree = new Tree();
  ready = false; // about and promptIds belong to the model and the prompt
  fault = ""; // a sentence where lab.state.tree could not be read
  /** @type {string | null} model and prompt that the tree belongs to */
  source = null;
  /** @type {Map<string, TreeJSON>} trees by their sources */
  forest = new Map();
  /** @type {Map<number, Row>} by the node before the position */
  rows = new Map();
  publishing = false;
  opening = 0;

  /** @param {Lab} lab */
  constructor(lab) {
    this.lab = lab;
  }

  /** After a change of the state: whether another text begins (other model, other prompt, a tree from elsewhere).
   *  @param {Change[]} changed */
  follow(changed) {
    const { state } = this.lab;
    const source = `${state.model}\n${state.prompt}`;
    const before = this.source;
    const given = changed.includes("tree") && !this.publishing;
    if (source === before && !given) return false;
    this.fault = "";
    this.ready = false;
    if (given || before === null) this.adopt(state.tree);
    else {
      if (this.tree.nodes.length) this.forest.set(before, this.tree.toJSON());
      for (const oldest of this.forest.keys()) if (this.forest.size > TEXTS) this.forest.delete(oldest);
      this.tree = Tree.from(this.forest.get(source));
    }
    this.source = source;
    this.publish();
    return true;
  }

  /** @param {TreeJSON} json */
  adopt(json) {
    try {
      this.tree = Tree.from(json);
    } catch (error) {
      this.tree = new Tree();
      this.fault = messageOf(error);
    }
  }

  /** Ask for what belongs to model and prompt. False if meanwhile another text has begun. */
  async open() {
    const mine = ++this.opening;
    this.ready = false;
    this.rows = new Map();
    const [about, ids] = await Promise.all([this.lab.open(), this.lab.encode(this.lab.state.prompt)]);
    if (mine !== this.opening) return false;
    [this.about, this.promptIds, this.given, this.ready] = [about, ids, [], true];
    return true;
  }

  publish() {
    this.publishing = true;
    this.lab.set({ tree: this.tree.toJSON() });
    this.publishing = false;
  }

  /** What the next token would be drawn with.
   *  @returns {Way} */
  get settings() {
    return { steps: this.lab.steps, greedy: this.lab.state.greedy, seed: this.lab.state.seed };
  }

  /** The settings a token was drawn with; null for the next one and for those put by hand.
   *  @param {number} at */
  wayOf(at) {
    return at < 0 || this.tree.nodes[at].way < 0 ? null : this.tree.ways[this.tree.nodes[at].way];
  }

  /** The node before a place; before a token of the prompt there is none, so it stands for itself.
   *  @param {number} at */
  before(at) {
    if (givenIndex(at) >= 0) return at;
    return at === NEXT ? this.tree.leaf : this.tree.nodes[at].parent;
  }

  /** Whether this place is on screen.
   *  @param {number} at */
  has(at) {
    const i = givenIndex(at);
    return i < 0 ? at === NEXT || this.tree.path().includes(at) : i > 0 && i < this.promptIds.length;
  }

  ids(leaf = this.tree.leaf) {
    return [...this.promptIds, ...this.tree.ids(leaf)];
  }

  /** One position, as soon as its row has come.
   *  @param {number} at
   *  @returns {Promise<View>} */
  async view(at) {
    const [before, seed] = [this.before(at), this.wayOf(at)?.seed ?? this.lab.state.seed];
    const i = givenIndex(at);
    const context = i < 0 ? this.ids(before) : this.promptIds.slice(0, i);
    const chosen = i >= 0 ? this.promptIds[i] : at === NEXT ? null : this.tree.nodes[at].id;
    const [about, { row, u }] = await Promise.all([
      this.about ?? this.lab.open(),
      this.rowBehind(before, context, seed),
    ]);
    return { row, u, context, about, chosen, before };
  }

  /** @param {number} node @param {number[]} context @param {number} seed */
  async rowBehind(node, context, seed) {
    const { rows } = this; // a late answer must not get among those of another text
    const there = rows.get(node);
    const known = there?.darts.get(seed);
    if (there && known !== undefined) return { row: there.row, u: known };
    const { row, dart: u } = await this.lab.row(context, this.lab.state.model, seed);
    const entry = rows.get(node) ?? { row, darts: new Map() };
    entry.darts.set(seed, u);
    rows.delete(node);
    rows.set(node, entry);
    for (const oldest of rows.keys()) if (rows.size > ROWS) rows.delete(oldest);
    return { row: entry.row, u };
  }

  /** The token that the dart of a view hits (the first one if greedy), put behind the text; its node.
   *  @param {View} view */
  drawFrom(view) {
    const stages = stagesOf(view, this.lab.state);
    const last = lastOf(stages);
    const id = last.name === "greedy" ? last.idAt(0) : dart(stages, view.u).id;
    this.tree.leaf = this.tree.add(this.tree.leaf, id, this.tree.way(this.settings), numbersOf(stages[0], id));
    return this.tree.leaf;
  }

  /** Put a token of the view's distribution at its position by hand; its node.
   *  @param {View} view
   *  @param {number} id */
  put(view, id) {
    const [model] = stagesOf(view, this.lab.state);
    return this.tree.add(view.before, id, -1, numbersOf(model, id));
  }

  /** @param {number} leaf */
  remove(leaf) {
    this.tree.remove(leaf);
    this.rows = new Map();
  }

  /** Ask what the model thinks of tokens that it has not written itself here (of a link, or put by hand); told(): some
   *  are known. Where the server does not answer they stay unknown.
   *  @param {() => void} told */
  async score(told) {
    await this.scoreGiven(told);
    const { tree, promptIds, lab } = this;
    const { nodes } = tree;
    for (const leaf of [tree.leaf, ...tree.branches().map((branch) => branch.leaf)]) {
      const path = tree.path(leaf);
      for (;;) {
        const unknown = path.findIndex((at) => !nodes[at].numbers);
        if (unknown < 0) break;
        const request = { model: lab.state.model, ids: this.ids(leaf), first: promptIds.length + unknown };
        const { scores } = await lab.ask("score", request).catch(() => /** @type {Scores} */ ({ scores: [] }));
        if (!scores.length || tree !== this.tree || nodes !== tree.nodes || !this.ready) return;
        scores.forEach(
          ([logprob, rank, entropy], i) => (nodes[path[unknown + i]].numbers ??= { logprob, rank, entropy }),
        );
        told();
      }
    }
  }

  /** The prompt's tokens, where the model sees all of them at once.
   *  @param {() => void} told */
  async scoreGiven(told) {
    const { promptIds: ids, about, given, lab } = this;
    if (given.length || ids.length < 2 || !about || ids.length > about.n_ctx) return;
    const request = { model: lab.state.model, ids, first: 1 };
    const { scores } = await lab.ask("score", request).catch(() => /** @type {Scores} */ ({ scores: [] }));
    if (given !== this.given || given.length || !scores.length) return;
    given.push(null, ...scores.map(([logprob, rank, entropy]) => ({ logprob, rank, entropy })));
    told();
  }
}

/** @param {Stage} model @param {number} id
 *  @returns {Numbers} */
const numbersOf = (model, id) => ({ logprob: model.logprob(id), rank: model.rank(id), entropy: model.entropy });
