// The tree of all that has been written after one prompt with one model. Pure: it knows no page and no server.
//
// As JSON (lab.state.tree) it is
//   { nodes: [[parent, id, way], ...], ways: [{steps, greedy, seed}, ...], leaf }
// A node is a token. Its parent comes before it in the list; parent -1 is the prompt. `way` says how the token was
// chosen: the index of the settings it was drawn with, or -1 where a person put it there. `leaf` is the node the text
// shown ends with; -1: the prompt alone. A parent has no two children with the same id, so the same text is the same
// path. What the model thinks of the tokens (numbers) is not in the JSON: it follows from the ids.

const MOST = 20_000; // nodes
const EMPTY = { nodes: [], ways: [], leaf: -1 };

export class Tree {
  constructor() {
    // {parent, id, way, children: [index], numbers: {logprob, rank, entropy} of the model's own, u} or null
    this.nodes = [];
    this.ways = [];
    this.roots = []; // the prompt's children
    this.leaf = -1;
  }

  /** The tree of a JSON form; an Error with a sentence where it is none. */
  static from({ nodes, ways, leaf } = EMPTY) {
    const tree = new Tree();
    const whole = (x, low, high) => Number.isInteger(x) && x >= low && x < high;
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

  toJSON() {
    return { nodes: this.nodes.map(({ parent, id, way }) => [parent, id, way]), ways: this.ways, leaf: this.leaf };
  }

  children(node) {
    return node < 0 ? this.roots : this.nodes[node].children;
  }

  /** The child of a node with this id, -1 if there is none. */
  child(node, id) {
    return this.children(node).find((child) => this.nodes[child].id === id) ?? -1;
  }

  /** The child of `parent` with this id, made if it is not there. */
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

  /** The index of these settings. */
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

  ids(node = this.leaf) {
    return this.path(node).map((at) => this.nodes[at].id);
  }

  /** The end of the branch that was last grown below a node: its newest child's newest child, and so on. */
  tip(node) {
    let at = node;
    while (this.children(at).length) at = this.children(at).at(-1);
    return at;
  }

  /** Every way down, and where the text ends now: [{leaf, start, depth}] so that neighbours stand together.
   *  `start`: the first node it has for itself; `depth`: how many times it parted from others before. */
  branches() {
    const found = [];
    if (this.leaf < 0 && this.nodes.length) found.push({ leaf: -1, start: -1, depth: 0 });
    const open = [...this.roots].reverse().map((at) => ({ at, start: at, depth: this.roots.length > 1 ? 1 : 0 }));
    while (open.length) {
      const { at, start, depth } = open.pop();
      const { children } = this.nodes[at];
      if (!children.length || at === this.leaf) found.push({ leaf: at, start, depth });
      const parting = children.length > 1;
      for (const child of [...children].reverse()) {
        open.push({ at: child, start: parting ? child : start, depth: depth + (parting ? 1 : 0) });
      }
    }
    return found;
  }

  /** Delete the branch that ends in `leaf`, up to where others leave it. Nodes get new numbers. */
  remove(leaf) {
    const gone = new Set();
    let at = leaf;
    do {
      gone.add(at);
      at = this.nodes[at].parent;
    } while (at >= 0 && this.nodes[at].children.every((child) => gone.has(child)));
    const stays = at;
    const places = new Map([[-1, -1]]);
    const nodes = this.nodes;
    const end = gone.has(this.leaf) ? stays : this.leaf;
    this.nodes = [];
    this.roots = [];
    nodes.forEach(
      ({ parent, id, way, numbers }, i) => gone.has(i) || places.set(i, this.add(places.get(parent), id, way, numbers)),
    );
    this.leaf = end === this.leaf ? places.get(end) : this.tip(places.get(end));
  }

  /** Sum of the log-probabilities of the tokens to `leaf`, in the model's own distribution; null where one is unknown.
   *  */
  logprob(leaf = this.leaf) {
    let sum = 0;
    for (let at = leaf; at >= 0; at = this.nodes[at].parent) {
      if (!this.nodes[at].numbers) return null;
      sum += this.nodes[at].numbers.logprob;
    }
    return sum;
  }

  length(leaf = this.leaf) {
    let count = 0;
    for (let at = leaf; at >= 0; at = this.nodes[at].parent) count++;
    return count;
  }
}
