// What server and browser say to each other, written by tests.protocol_types.py from gpt_demo/ui/protocol/.

export type Column = (number | null)[];
export type Status = "waiting" | "running" | "paused" | "stopped" | "interrupted" | "finished" | "failed";
export type Fact = [string, string, string];
export type ModelKind = "busy" | "absent" | "loaded" | "here";
export type FetchState = "running" | "cancelling" | "cancelled" | "failed" | "done";
export type FetchPart = [string, number | null, string];
export type Flow = [number | null, number | null];
export type WorkState = "waiting" | "running" | "stopped" | "failed" | "done";
export type Cell = [string, number, number];
export type Totals = [number, number | null, number | null, number | null];
export type Segment = [string, number, number, number, number, number | null];
export type Shown = Trouble
  | Note
  | Preview
  | Plan
  | RunStatus
  | Sample[]
  | Table
  | Fit
  | Remark
  | Models
  | Fetch
  | Architecture
  | WorkStatus
  | Completions
  | Losses
  | Contrasted
  | null;

/** A path of beam search. */
export interface Hypothesis { ids: number[]; logprob: number; score: number; parent: number; finished: boolean; }

/** One step of beam search is done. The last event's `best` is the result. */
export interface BeamsAdvanced {
  event: "beams";
  step: number;
  live: Hypothesis[];
  finished: Hypothesis[];
  pruned: Hypothesis[];
  best: Hypothesis[];
}

/** The beam lane of a race after one step: its best hypothesis so far. */
export interface BeamsNow {
  event: "beam_lane";
  lane: number;
  ids: number[];
  logprob: number;
  done: boolean;
  logprobs: number[];
}

/** One token was chosen in one lane. */
export interface Drawn {
  event: "drawn";
  lane: number;
  id: number;
  u: number | null;
  logprob: number;
  raw_logprob: number;
  rank: number;
  entropy: number;
  last: boolean;
}

/** Every question says who asks. */
export interface Asked { token: string; }

/** A question to one of the visitor's models. */
export interface AskedOfModel { token: string; model: string; }

/** A text to be turned into tokens. */
export interface AskedText { token: string; model: string; text: string; }

/** The context; the seed of the dart. */
export interface AskedRow { token: string; model: string; ids: number[]; seed?: number; }

/** Scores of ids[first:]. */
export interface AskedScores { token: string; model: string; ids: number[]; first: number; }

/** A transform of the logits by its name. */
export interface Step { name: string; value: number; }

/** One way to choose tokens: steps in their order, or greedy, or beam search. */
export interface Lane { name?: string; steps?: Step[]; greedy?: boolean; beams?: number; length_penalty?: number; }

/** Up to `count` tokens after ids: written in lanes, or else by beam search. */
export interface AskedJob {
  token: string;
  model: string;
  ids: number[];
  seed?: number;
  count?: number;
  stop?: boolean;
  lanes?: Lane[];
  beams?: number;
  length_penalty?: number;
  early_stopping?: boolean;
}

/** A job that was started, by its name. */
export interface AskedMore { token: string; job: string; }

/** Single draws of torch.multinomial from a few logits. */
export interface AskedToy {
  token: string;
  logits: number[];
  temperature?: number;
  top_k?: number;
  seed?: number;
  draws?: number;
}

/** What went wrong, in a sentence; the answer to any question, and what a view of the form shows then. */
export interface Trouble { error: string; }

/** The models that the visitor can use, the starter first. */
export interface Names { models: string[]; }

/** The bytes of all n tokens: joined in the order of their ids, and the lengths as uint16; both in base64. */
export interface Vocabulary { n: number; data: string; lengths: string; }

/** What is known of a model. */
export interface Opened {
  model: string;
  card: string;
  fingerprint: string;
  n_ctx: number;
  n_vocab: number;
  end_of_text: number;
  vocabulary: Vocabulary;
}

/** A text as tokens. */
export interface Ids { ids: number[]; }

/** Logits of n tokens in base64, little endian: logit = value + shift. */
export interface Row { dtype: "float32" | "float16"; data: string; n: number; shift: number; }

/** The logits of the next token, and the uniform number drawn for it. */
export interface RowAndDart { row: Row; dart: number; }

/** Log-probability, rank and entropy of some tokens, maybe not all that were asked for. */
export interface Scores { scores: [number, number, number][]; }

/** The name under which to ask for more. */
export interface Job { job: string; }

/** What a job has done since it was last asked. */
export interface Happened { events: (Drawn | BeamsNow | BeamsAdvanced)[]; done: boolean; seconds: number; }

/** Done. */
export interface Nothing {  }

/** How often each word was drawn. */
export interface Counts { counts: number[]; }

/** One scene of the presenter: the Playground's state, how it is drawn, and with what recording. */
export interface Scene {
  title: string;
  note: string;
  show: string;
  state: Record<string, unknown>;
  recorded?: Record<string, unknown>;
  claims?: Record<string, unknown>[];
}

/** The presenter's scenes. */
export interface Deck { title: string; scenes: Scene[]; }

/** The deck that comes with the app. */
export interface DeckAnswer { deck: Deck; }

/** A state of the Playground that shows one effect, and in a sentence what to look for. */
export interface Example {
  title: string;
  about: string;
  look: string;
  state: Record<string, unknown>;
  claims: Record<string, unknown>[];
}

/** The examples that come with the app. */
export interface ExamplesAnswer { examples: Example[]; }

/** The Playground's value: who the visitor is, and the models. */
export interface Greeting { token: string; models: string[]; }

/** Optimizer steps, at most 400 of them; `loss` in nats per token. */
export interface StepColumns {
  step: Column;
  tokens: Column;
  epoch: Column;
  loss: Column;
  learning_rate: Column;
  grad_norm: Column;
  tokens_per_second: Column;
}

/** Evaluations; losses in nats per token. */
export interface EvaluationColumns {
  step: Column;
  tokens: Column;
  epoch: Column;
  train_loss: Column;
  val_loss: Column;
}

/** An evaluation that is marked. */
export interface Place { step: number | null; tokens: number | null; epoch: number | null; val_loss: number | null; }

/** One run; the columns of a table have one length. */
export interface ChartRun {
  name: string;
  color_index: number;
  current: boolean;
  stepped: StepColumns;
  evaluated: EvaluationColumns;
  best: Place | null;
  overfit_from: Place | null;
}

/** All that the chart draws: the current run first, the others behind it; reference losses in nats per token. */
export interface Snapshot {
  runs: ChartRun[];
  references: Record<string, number | null>;
  total_tokens: number | null;
  tokens_per_epoch: number | null;
}

/** A quiet sentence where a text would be. */
export interface Note { note: string; }

/** The text as the model will read it: its first tokens as [id, text], and why it can't be used, if so. */
export interface Preview { facts: Fact[]; fault: string; tokens: number; pieces: [number, string][]; more: boolean; }

/** The learning rate over a run. */
export interface Schedule { values: number[]; label: string; }

/** What a run will be. */
export interface Plan { facts: Fact[]; schedule: Schedule; }

/** The status of a run. */
export interface RunStatus {
  name: string;
  state: Status;
  step: number;
  fraction: number;
  label: string;
  facts: Fact[];
  message: string;
}

/** What the model wrote during its training. */
export interface Sample { step: string; epoch: string; prompt: string; text: string; }

/** The first cell of a row names it. */
export interface Table { head: string[]; rows: string[][]; note?: string; wrap?: boolean; caption?: string; }

/** What this machine has room for. */
export interface Fit { text: string; note: string; }

/** A sentence on the chosen model. */
export interface Remark { text: string; trouble: boolean; }

/** A model: its cells after the name. */
export interface ModelRow { name: string; cells: string[]; kind: ModelKind; }

/** Models under one heading. */
export interface ModelGroup { key: string; title: string; rows: ModelRow[]; }

/** The table of models; a column is [label, what it is]. */
export interface Models { head: [string, string][]; groups: ModelGroup[]; note: string; chosen?: string | null; }

/** A download or an import. */
export interface Fetch {
  name: string;
  state: FetchState;
  title: string;
  facts: Fact[];
  parts: FetchPart[];
  message: string;
}

/** A part of a model; `share`: of all parameters. */
export interface Part {
  name: string;
  words: string;
  shape: string;
  params: number;
  count: string;
  share: number;
  flow: Flow;
  branch: string;
}

/** One of the equal blocks. */
export interface Block { params: string; all: string; share: number; parts: Part[]; }

/** The parts of a model in the order of computation. */
export interface Architecture {
  name: string;
  params: number;
  width: number;
  layers: number;
  heads: number;
  head_width: number;
  before: Part[];
  block: Block;
  after: Part[];
  total: string;
}

/** The status of long-running work. */
export interface WorkStatus { text: string; fraction: number; state: WorkState; troubles: string[]; }

/** Rows are prompts, columns models; null where there is no result yet. */
export interface Completions { models: string[]; failed: boolean[]; prompts: string[]; rows: ((Cell | null)[])[]; }

/** How well a model predicts the text; losses in nats per token. */
export interface LossRow {
  model: string;
  vocabulary: number;
  train_loss: number | null;
  val_loss: number | null;
  train_perplexity: number | null;
  val_perplexity: number | null;
  bits_per_byte: number | null;
  tokens: number;
  reported_loss: number | null;
}

/** Of the first `measured` of `of` characters of the text; `mixed`: the tokenizers differ. */
export interface Losses { rows: LossRow[]; text: string; measured: number; of: number; mixed: boolean; }

/** One text under two models. */
export interface Contrasted { models: [string, string]; totals: Totals[]; segments: Segment[]; }

/** What each view draws; null: nothing yet. */
export interface Views {
  preview: Trouble | Note | Preview | null;
  plan: Trouble | Plan | null;
  status: RunStatus | null;
  samples: Sample[] | null;
  table: Table | null;
  fit: Fit | null;
  note: Remark | null;
  models: Models | null;
  fetch: Fetch | null;
  architecture: Architecture | null;
  work: WorkStatus | null;
  completions: Completions | null;
  losses: Losses | null;
  contrast: Contrasted | null;
}

/** What can be asked: question and answer. */
export interface Questions {
  close: [AskedMore, Nothing];
  deck: [Asked, DeckAnswer];
  encode: [AskedText, Ids];
  examples: [Asked, ExamplesAnswer];
  models: [Asked, Names];
  more: [AskedMore, Happened];
  open: [AskedOfModel, Opened];
  row: [AskedRow, RowAndDart];
  score: [AskedScores, Scores];
  start: [AskedJob, Job];
  toy: [AskedToy, Counts];
}
