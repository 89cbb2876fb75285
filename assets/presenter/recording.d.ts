// What a scene has recorded, by what it shows: as gpt_demo/presenter/recordings.py records it and live.js asks for it. A
// visitor's own file may hold anything else: then drawing throws, and the presenter says so.

import type { Toy } from "../playground/state.js";

/** A token; `bytes` in hex where they are no whole characters. */
export interface Piece { id: number; text: string; bytes?: string; }

/** What every recording of a model begins with. */
export interface Prompted { model: string; n_vocab: number; prompt: Piece[]; }

export interface Scored extends Piece { logit: number; }

/** A stage of the choice; the probabilities are those of the tokens shown. */
export interface StageShown {
  name: string;
  kept: number;
  removed_mass: number;
  entropy: number;
  probabilities: number[];
  others: number;
}

/** A part of the cumulative bar. */
export interface BarPart extends Piece { from: number; to: number; }

/** What the dart at `u` hits (null: greedy, no dart), and the first parts of the bar. */
export interface Hit extends Piece { u: number | null; bar: BarPart[]; }

export interface Distribution extends Prompted {
  tokens: Scored[];
  lowest: Scored;
  stages: StageShown[];
  dart: Hit & BarPart;
}

export interface DrawnToken extends Piece { u: number | null; logprob: number; raw_logprob: number; rank: number; }

export interface Written extends Prompted { tokens: DrawnToken[]; }

export interface Lanes extends Prompted { lanes: { name: string; tokens: DrawnToken[] }[]; }

/** The end of a hypothesis; `parent`: its place among those live one step before. */
export interface BeamEnd extends Piece { parent: number; logprob: number; }

export interface BeamStep { live: BeamEnd[]; finished: BeamEnd[]; pruned: BeamEnd[]; }

export interface Path { ids: number[]; texts: string[]; logprob: number; }

export interface Beams extends Prompted { steps: BeamStep[]; best: Path[]; beside: { greedy: Path; drawn: Path }; }

export interface Training {
  run: string;
  prompt: string;
  temperature: number;
  uniform: number;
  samples: { step: number; val_loss: number; text: string }[];
}

export interface Size {
  name: string;
  n_layer: number;
  n_head: number;
  n_embd: number;
  n_params: number;
  n_vocab: number;
  n_ctx: number;
}

export interface Recordings {
  tokens: Prompted;
  logits: Distribution;
  softmax: Distribution;
  distribution: Distribution;
  text: Written;
  lanes: Lanes;
  beams: Beams;
  training: Training;
  sizes: { sizes: Size[] };
  toy: { toy: Toy };
}

export type Show = keyof Recordings;
export type Recording = Recordings[Show];
