// What a scene shows, asked of the model now: the same JSON as gpt_demo/presenter/recordings.py records.
//
//   const { data, turn } = await ask(lab, show, state);   // turn(steps, u): the data with other settings

import { START } from "../playground/state.js";
import { bar, dart } from "../playground/darts.js";
import { lanesOf } from "../playground/lanes.js";
import { lastOf, topRows, trace } from "../playground/sampler.js";
import { active, isGreedy, obeyed } from "../playground/steps.js";
import { Tree } from "../playground/tree.js";

/** @import { Happened, Hypothesis, Lane, Questions } from "../page/protocol.js" */
/** @import { About, Lab } from "../playground/core.js" */
/** @import { State } from "../playground/state.js" */
/** @import { Setting } from "../playground/steps.js" */
/** @import { Stage } from "../playground/sampler.js" */
/** @import { Distribution, DrawnToken, Path, Piece, Prompted, Recording, Show, StageShown } from "./recording.js" */

/** What the model has answered; turn(steps, u): the same with other settings.
 *  @typedef {{ data: Recording, turn?: (steps: Setting[], u?: number) => Distribution }} Answer */

const ROWS = 10;

/** @param {Uint8Array} bytes */
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

class Player {
  /** @param {Lab} lab @param {Partial<State>} state @param {About} about @param {number[]} ids */
  constructor(lab, state, about, ids) {
    this.lab = lab;
    this.about = about;
    this.ids = ids;
    /** @type {State} */
    this.state = { ...START, ...state, model: about.model };
  }

  /** @param {Lab} lab @param {Partial<State>} state */
  static async of(lab, state) {
    const about = await lab.open(state.model);
    return new Player(lab, state, about, await lab.encode(state.prompt ?? "", state.model));
  }

  /** @param {number} id
   *  @returns {Piece} */
  piece(id) {
    const { text, bytes } = this.about.vocabulary(id);
    return text.includes("\ufffd") ? { id, text, bytes: hex(bytes) } : { id, text };
  }

  /** @returns {Prompted} */
  get data() {
    return { model: this.about.model, n_vocab: this.about.n_vocab, prompt: this.ids.map((id) => this.piece(id)) };
  }

  /** All events of a job.
   *  @param {Omit<Questions["start"][0], "token" | "model" | "ids">} request */
  async run(request) {
    const { model, seed, stop } = this.state;
    /** @type {Happened["events"]} */
    const found = [];
    await this.lab.run({ model, seed, stop, ids: this.ids, ...request }, (events) => void found.push(...events));
    return found;
  }

  /** What is drawn in lanes: for each its tokens.
   *  @param {Lane[]} lanes
   *  @param {number} count
   *  @returns {Promise<DrawnToken[][]>} */
  async drawn(lanes, count) {
    const events = await this.run({ lanes, count });
    return lanes.map((_, lane) => {
      const tokens = events.filter((event) => event.event === "drawn").filter((event) => event.lane === lane);
      const texts = this.lab.pieces(
        tokens.map((token) => token.id),
        this.about,
      );
      return tokens.map(({ id, u, logprob, raw_logprob, rank }, i) => ({
        id,
        text: texts[i],
        u,
        logprob,
        raw_logprob,
        rank,
      }));
    });
  }

  /** A text that is there, by hand or drawn: what the model thinks of it.
   *  @param {number[]} ids
   *  @returns {Promise<DrawnToken[]>} */
  async given(ids) {
    const { model } = this.state;
    const all = [...this.ids, ...ids];
    /** @type {[logprob: number, rank: number, entropy: number][]} */
    const known = [];
    while (known.length < ids.length) {
      const { scores } = await this.lab.ask("score", { model, ids: all, first: this.ids.length + known.length });
      known.push(...scores);
    }
    const texts = this.lab.pieces(ids, this.about);
    return known.map(([logprob, rank], i) => {
      const token = { id: ids[i], text: texts[i], rank };
      return { ...token, u: null, logprob, raw_logprob: logprob };
    });
  }
}

// The next token ------------------------------------------------------------------------------------------------------

/** @param {Stage} stage @param {number[]} shown
 *  @returns {StageShown} */
const stageOf = (stage, shown) => {
  const probabilities = shown.map((id) => stage.probability(id));
  const left = 1 - probabilities.reduce((sum, p) => sum + p, 0);
  const others = stage.kept > shown.filter((id) => stage.rank(id) >= 0).length ? Math.max(0, left) : 0; // not 1e-16
  return {
    name: stage.name,
    kept: stage.kept,
    removed_mass: stage.removedMass,
    entropy: stage.entropy,
    probabilities,
    others,
  };
};

/** @param {Player} player
 *  @param {Float32Array} row
 *  @param {Setting[]} steps
 *  @param {boolean} greedy
 *  @param {number} u
 *  @returns {Distribution} */
function distributionOf(player, row, steps, greedy, u) {
  const stages = trace(row, player.ids.slice(-player.about.n_ctx), obeyed(active(steps), greedy));
  const [model, last] = [stages[0], lastOf(stages)];
  const shown = topRows([model], ROWS).rows.map((entry) => entry.id);
  /** @param {number} id */
  const logit = (id) => ({ ...player.piece(id), logit: row[id] });
  const parts = bar(stages, ROWS).map(({ id, from, to }) => ({ ...player.piece(id), from, to }));
  const hit = greedy ? { id: last.idAt(0), from: 0, to: last.probabilityAt(0) } : dart(stages, u);
  return {
    ...player.data,
    tokens: shown.map(logit),
    lowest: logit(model.idAt(model.kept - 1)),
    stages: stages.map((stage) => stageOf(stage, shown)),
    dart: { ...player.piece(hit.id), from: hit.from, to: hit.to, u: greedy ? null : u, bar: parts },
  };
}

/** @param {Player} player
 *  @returns {Promise<Answer>} */
async function nextToken(player) {
  const { model, seed, steps, greedy } = player.state;
  const always = greedy || isGreedy(steps);
  const { row, dart: thrown } = await player.lab.row(player.ids, model, seed);
  /** @param {Setting[]} now */
  const turn = (now, u = thrown) => distributionOf(player, row, now, always, u);
  return { data: turn(steps), turn };
}

// Texts ---------------------------------------------------------------------------------------------------------------

/** @param {Player} player
 *  @returns {Promise<Answer>} */
async function textOf(player) {
  const { steps, greedy, length, tree } = player.state;
  const ids = Tree.from(tree).ids();
  const tokens = ids.length ? await player.given(ids) : (await player.drawn([{ name: "", steps, greedy }], length))[0];
  return { data: { ...player.data, tokens } };
}

/** @param {Player} player
 *  @returns {Promise<Answer>} */
async function lanesLive(player) {
  const plain = lanesOf(player.state).filter((lane) => !lane.beams);
  const drawn = await player.drawn(plain, player.state.length);
  return { data: { ...player.data, lanes: plain.map(({ name }, i) => ({ name, tokens: drawn[i] })) } };
}

/** @param {Player} player
 *  @returns {Promise<Answer>} */
async function beamsOf(player) {
  const { beams: search, steps: settings } = player.state;
  const { beams: count, length, length_penalty, early } = { ...START.beams, ...search };
  const events = await player.run({ beams: count, count: length, length_penalty, early_stopping: early });
  const searched = events.filter((event) => event.event === "beams");
  /** @param {Hypothesis} end */
  const node = ({ ids, parent, logprob }) => ({ ...player.piece(ids[ids.length - 1]), parent, logprob });
  /** @param {number[]} ids @param {number} logprob
   *  @returns {Path} */
  const path = (ids, logprob) => ({ ids, texts: player.lab.pieces(ids, player.about), logprob });
  const steps = searched.map(({ live, finished, pruned }) => ({
    live: live.map(node),
    finished: finished.map(node),
    pruned: pruned.map(node),
  }));
  const beside = await player.drawn(
    [
      { name: "greedy", greedy: true },
      { name: "drawn", steps: settings },
    ],
    length,
  );
  /** @param {DrawnToken[]} tokens */
  const sum = (tokens) => tokens.reduce((total, token) => total + token.raw_logprob, 0);
  const [greedy, drawn] = beside.map((tokens) =>
    path(
      tokens.map((token) => token.id),
      sum(tokens),
    ),
  );
  const best = searched[searched.length - 1].best.map(({ ids, logprob }) => path(ids, logprob));
  return { data: { ...player.data, steps, best, beside: { greedy, drawn } } };
}

/** @type {Partial<Record<Show, (player: Player) => Promise<Answer>>>} */
const LIVE = {
  tokens: async (player) => ({ data: player.data }),
  logits: nextToken,
  softmax: nextToken,
  distribution: nextToken,
  text: textOf,
  lanes: lanesLive,
  beams: beamsOf,
};

/** @param {Lab} lab @param {Show} show @param {Partial<State>} state */
export async function ask(lab, show, state) {
  const play = LIVE[show];
  if (!play) throw new RangeError(`A scene of ${show} asks no model.`);
  return play(await Player.of(lab, state));
}
/** @param {Show} show */
export const can = (show) => Object.hasOwn(LIVE, show);
/** @param {Show} show */
export const quick = (show) => ["tokens", "logits", "softmax", "distribution"].includes(show); // one forward pass
