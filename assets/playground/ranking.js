// A ranking: the tokens of a row of logits in order, the most probable first, equal ones by id.

/** The first `n` entries count. Tokens with the logit -inf are not in it. */
export class Ranking {
  /** @param {number} V */
  constructor(V) {
    this.n = 0;
    this.ids = new Int32Array(V); // by rank
    this.logits = new Float32Array(V); // by rank, descending
    this.weights = new Float64Array(V); // exp(logit - highest logit), by rank
    this.places = new Int32Array(V); // by id: its rank, -1 for none; made when first asked for
    this.placed = false;
  }

  /** @param {number} id @param {number} logit */
  add(id, logit) {
    this.ids[this.n] = id;
    this.logits[this.n++] = logit;
  }

  /** To be called when all tokens are in. Rounding can make logits equal: then the lower id comes first again. */
  finish() {
    const { n, ids, logits, weights } = this;
    for (let r = 1, from = 0; r < n; r++) {
      if (logits[r] !== logits[from]) from = r;
      else if (ids[r] < ids[r - 1]) {
        while (r + 1 < n && logits[r + 1] === logits[from]) r++;
        ids.subarray(from, r + 1).sort();
      }
    }
    for (let r = 0; r < n; r++) weights[r] = Math.exp(logits[r] - logits[0]);
    this.placed = false;
    return this;
  }

  /** @param {number} id */
  place(id) {
    if (!this.placed) {
      this.places.fill(-1);
      for (let r = 0; r < this.n; r++) this.places[this.ids[r]] = r;
      this.placed = true;
    }
    return this.places[id] ?? -1;
  }
}

/** The ranking of a row as the model gave it, by one native sort of numbers that hold the logit's bits and the id.
 *  @param {Float32Array} row */
export function rankingOf(row) {
  const ranking = new Ranking(row.length);
  const keys = new Float64Array(row.length);
  const floats = row.map((x) => x + 0); // -0 becomes 0, its equal
  const bits = new Uint32Array(floats.buffer);
  let n = 0;
  for (let id = 0; id < row.length; id++) {
    if (!(floats[id] < Infinity)) throw new RangeError("A row of logits holds NaN or infinity.");
    if (floats[id] === -Infinity) continue;
    const descending = bits[id] & 0x80000000 ? bits[id] : ~bits[id] & 0x7fffffff;
    keys[n++] = descending * 2 ** 21 + id; // 32 + 21 bits: all that a float64 holds exactly
  }
  if (n === 0) throw new RangeError("A row of logits holds no token that could be chosen.");
  keys.subarray(0, n).sort();
  for (let r = 0; r < n; r++) {
    const id = keys[r] % 2 ** 21;
    ranking.add(id, floats[id]);
  }
  return ranking.finish();
}
