// What a scene shows, asked of the model now: the same JSON as gpt_demo/presenter/recordings.py records.
//
//   const { data, turn } = await ask(lab, show, state);   // turn(steps, u): the data with other settings

import { START } from "../playground/core.js";
import { bar, dart } from "../playground/darts.js";
import { lanesOf } from "../playground/lanes.js";
import { topRows, trace } from "../playground/sampler.js";
import { active, isGreedy, obeyed } from "../playground/steps.js";

const ROWS = 10;

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

class Player {
  constructor(lab, state, about, ids) {
    this.lab = lab;
    this.about = about;
    this.ids = ids;
    this.state = { ...START, ...state, model: about.model };
  }

  static async of(lab, state) {
    const about = await lab.open(state.model);
    return new Player(lab, state, about, await lab.encode(state.prompt ?? "", state.model));
  }

  piece(id) {
    const { text, bytes } = this.about.vocabulary(id);
    return text.includes("\ufffd") ? { id, text, bytes: hex(bytes) } : { id, text };
  }

  get data() {
    return { model: this.about.model, n_vocab: this.about.n_vocab, prompt: this.ids.map((id) => this.piece(id)) };
  }

  /** All events of a job. */
  async run(request) {
    const { model, seed, stop } = this.state;
    const found = [];
    await this.lab.run({ model, seed, stop, ids: this.ids, ...request }, (events) => void found.push(...events));
    return found;
  }

  /** What is drawn in lanes: for each its tokens. */
  async drawn(lanes, count) {
    const events = await this.run({ lanes, count });
    return lanes.map((_, lane) => {
      const tokens = events.filter((event) => event.event === "drawn" && event.lane === lane);
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
}

// The next token ------------------------------------------------------------------------------------------------------

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

function distributionOf(player, row, steps, greedy, u) {
  const stages = trace(row, player.ids.slice(-player.about.n_ctx), obeyed(active(steps), greedy));
  const [model, last] = [stages[0], stages.at(-1)];
  const shown = topRows([model], ROWS).rows.map((entry) => entry.id);
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

async function nextToken(player) {
  const { model, seed, steps, greedy } = player.state;
  const always = greedy || isGreedy(steps);
  const { row, dart: thrown } = await player.lab.row(player.ids, model, seed);
  const turn = (now, u = thrown) => distributionOf(player, row, now, always, u);
  return { data: turn(steps), turn };
}

// Texts ---------------------------------------------------------------------------------------------------------------

async function textOf(player) {
  const { steps, greedy, length } = player.state;
  const [tokens] = await player.drawn([{ name: "", steps, greedy }], length);
  return { data: { ...player.data, tokens } };
}

async function lanesLive(player) {
  const plain = lanesOf(player.state).filter((lane) => !lane.beams);
  const drawn = await player.drawn(plain, player.state.length);
  return { data: { ...player.data, lanes: plain.map(({ name }, i) => ({ name, tokens: drawn[i] })) } };
}

async function beamsOf(player) {
  const { beams: search, steps: settings } = player.state;
  const { beams: count, length, length_penalty, early } = { ...START.beams, ...search };
  const events = await player.run({ beams: count, count: length, length_penalty, early_stopping: early });
  const node = ({ ids, parent, logprob }) => ({ ...player.piece(ids.at(-1)), parent, logprob });
  const path = (ids, logprob) => ({ ids, texts: player.lab.pieces(ids, player.about), logprob });
  const steps = events.map(({ live, finished, pruned }) => ({
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
  const sum = (tokens) => tokens.reduce((total, token) => total + token.raw_logprob, 0);
  const [greedy, drawn] = beside.map((tokens) =>
    path(
      tokens.map((token) => token.id),
      sum(tokens),
    ),
  );
  const best = events.at(-1).best.map(({ ids, logprob }) => path(ids, logprob));
  return { data: { ...player.data, steps, best, beside: { greedy, drawn } } };
}

const LIVE = {
  tokens: async (player) => ({ data: player.data }),
  logits: nextToken,
  softmax: nextToken,
  distribution: nextToken,
  text: textOf,
  lanes: lanesLive,
  beams: beamsOf,
};

export const ask = async (lab, show, state) => LIVE[show](await Player.of(lab, state));
export const can = (show) => Object.hasOwn(LIVE, show);
export const quick = (show) => ["tokens", "logits", "softmax", "distribution"].includes(show); // one forward pass
