// The tree of all that has been written after one prompt with one model. Pure: it knows no page and no server.
//
// As JSON (lab.state.tree) it is
//   { nodes: [[parent, id, way], ...], ways: [{steps, greedy, seed}, ...], leaf }
// A node is a token. Its parent comes before it in the list; parent -1 is the prompt. `way` says how the token was
// chosen: the index of the settings it was drawn with, or -1 where a person put it there. `leaf` is the node the text
// shown ends with; -1: the prompt alone. A parent has no two children with the same id, so the same text is the same
// path. What the model thinks of the tokens (numbers) is not in the JSON: it follows from the ids.

/** @import { Setting } from "./steps.js" */

/** What the model thinks of a token: natural logarithm, rank from 0, and the entropy before it in nats.
 *  @typedef {{ logprob: number, rank: number, entropy: number }} Numbers */
/** The settings a token was drawn with.
 *  @typedef {{ steps: Setting[], greedy: boolean, seed: number }} Way */
/** @typedef {{ parent: number, id: number, way: number, children: number[], numbers: Numbers | null }} TreeNode */
/** @typedef {{ nodes: [parent: number, id: number, way: number][], ways: Way[], leaf: number }} TreeJSON */

/** @param {unknown} x @param {number} low @param {number} high
 *  @returns {x is number} */
const whole = (x, low, high) => typeof x === "number" && Number.isInteger(x) && x >= low && x < high;

const MOST = 20_000; // nodes
/** @type {TreeJSON} */
const EMPTY = { nodes: [], ways: [], leaf: -1 };

export class Tree {
  /** @type {TreeNode[]} */
  nodes = [];
  /** @type {Way[]} */
  ways = [];
  /** @type {number[]} the prompt's children */
  roots = [];
  leaf = -1;

  /** The tree of a JSON form, an Error with a sentence where it is none.
   *  @param {TreeJSON} [json] whose types are checked here */
  static from({ nodes, ways, leaf } = EMPTY) {
    const tree = new Tree();
    const fault = () => new Error("The branches in this link are damaged, so only the prompt is shown.");
    if (!Array.isArray(nodes) || !Array.isArray(ways) || nodes.length > MOST) throw fault();
    tree.ways = structuredClone(ways);
    for (const node of nodes) {
      const [parent, id, way] = Array.isArray(node) ? node : [];
      if (!whole(parent, -1, tree.nodes.length) || !whole(id, 0, 2 ** 21) || !whole(way, -1, ways.length))
        throw fault();
      if (tree.child(parent, id) >= 0) throw fault();
      tree.add(parent, id, way);
    }
    if (!whole(leaf, -1, nodes.length)) throw fault();
    tree.leaf = leaf;
    return tree;
  }

  /** @returns {TreeJSON} */
  toJSON() {
    return { nodes: this.nodes.map(({ parent, id, way }) => [parent, id, way]), ways: this.ways, leaf: this.leaf };
  }

  /** @param {number} node */
  children(node) {
    return node < 0 ? this.roots : this.nodes[node].children;
  }

  /** The child of a node with this id, -1 if there is none.
   *  @param {number} node
   *  @param {number} id */
  child(node, id) {
    return this.children(node).find((child) => this.nodes[child].id === id) ?? -1;
  }

  /** The child of `parent` with this id, made if it is not there.
   *  @param {number} parent
   *  @param {number} id
   *  @param {number} way
   *  @param {Numbers | null} [numbers] */
  add(parent, id, way, numbers = null) {
    const there = this.child(parent, id);
    if (there >= 0) {
      this.nodes[there].numbers ??= numbers;
      return there;
    }
    if (this.nodes.length >= MOST)
      throw new Error("The branches have reached 20,000 tokens in total. Delete some first.");
    this.nodes.push({ parent, id, way, children: [], numbers });
    this.children(parent).push(this.nodes.length - 1);
    return this.nodes.length - 1;
  }

  /** The index of these settings.
   *  @param {Way} settings */
  way(settings) {
    const json = JSON.stringify(settings);
    const there = this.ways.findIndex((way) => JSON.stringify(way) === json);
    return there >= 0 ? there : this.ways.push(structuredClone(settings)) - 1;
  }

  /** The nodes from the prompt to `node`, which is the last of them. */
  path(node = this.leaf) {
    const path = [];
    for (let at = node; at >= 0; at = this.nodes[at].parent) path.push(at);
    return path.reverse();
  }

  /** The ids on that path. */
  ids(node = this.leaf) {
    return this.path(node).map((at) => this.nodes[at].id);
  }

  /** The end of the branch that was last grown below a node: its newest child's newest child, and so on.
   *  @param {number} node */
  tip(node) {
    let at = node;
    for (let child; (child = this.children(at).at(-1)) !== undefined;) at = child;
    return at;
  }

  /** Every way down, and where the text ends now: [{leaf, start, depth}] so that neighbours stand together.
   *  `start`: the first node it has for itself; `depth`: how many times it parted from others before. */
  branches() {
    const found = [];
    if (this.leaf < 0 && this.nodes.length) found.push({ leaf: -1, start: -1, depth: 0 });
    const open = [...this.roots].reverse().map((at) => ({ at, start: at, depth: this.roots.length > 1 ? 1 : 0 }));
    for (let next; (next = open.pop());) {
      const { at, start, depth } = next;
      const { children } = this.nodes[at];
      if (!children.length || at === this.leaf) found.push({ leaf: at, start, depth });
      const parting = children.length > 1;
      for (const child of [...children].reverse()) {
        open.push({ at: child, start: parting ? child : start, depth: depth + (parting ? 1 : 0) });
      }
    }
    return found;
  }

  /** Delete the branch that ends in `leaf`, up to where others leave it. Nodes get new numbers.
   *  @param {number} leaf */
  remove(leaf) {
    const gone = new Set();
    let at = leaf;
    do {
      gone.add(at);
      at = this.nodes[at].parent;
    } while (at >= 0 && this.nodes[at].children.every((child) => gone.has(child)));
    const stays = at;
    const places = new Map([[-1, -1]]);
    /** @param {number} node */
    const placeOf = (node) => places.get(node) ?? -1;
    const nodes = this.nodes;
    const end = gone.has(this.leaf) ? stays : this.leaf;
    this.nodes = [];
    this.roots = [];
    nodes.forEach(
      ({ parent, id, way, numbers }, i) => gone.has(i) || places.set(i, this.add(placeOf(parent), id, way, numbers)),
    );
    this.leaf = end === this.leaf ? placeOf(end) : this.tip(placeOf(end));
  }

  /** Sum of the log-probabilities of the tokens to `leaf`, in the model's own distribution; null where one is unknown.
   *  */
  logprob(leaf = this.leaf) {
    let sum = 0;
    for (let at = leaf; at >= 0; at = this.nodes[at].parent) {
      const { numbers } = this.nodes[at];
      if (!numbers) return null;
      sum += numbers.logprob;
    }
    return sum;
  }

  length(leaf = this.leaf) {
    let count = 0;
    for (let at = leaf; at >= 0; at = this.nodes[at].parent) count++;
    return count;
  }
}
