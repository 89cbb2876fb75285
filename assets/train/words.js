// What the chart says of itself.

import { grouped } from "./ticks.js";

export const EMPTY = "The curves appear here as soon as training starts.";

/** @type {Record<string, string[]>} */
export const REFERENCES = {
  uniform: ["knows nothing", "ln V"],
  unigram: ["token frequencies", "unigram"],
  bigram: ["previous token", "bigram"],
  unigram_in_sample: ["token frequencies of the training text", "unigram"],
  bigram_in_sample: ["pairs of the training text", "bigram"],
};

export const AXES = { tokens: "tokens seen", epoch: "epochs", step: "steps" };

/** @type {[string, string][]} */
export const MEANING = [
  [
    "Loss",
    "The average surprise per token: \u2212ln of the probability the model gave to the token that came next " +
      "(cross-entropy, in nats). Lower is better.",
  ],
  [
    "Training, validation",
    "The loss on text the model learns from, and on text it never learns from, both measured with dropout off. " +
      "The faint line is the loss of each single step: it is noisy, because it sees one batch only.",
  ],
  [
    "Overfitting",
    "The training loss still falls while the validation loss rises: the model learns its text by heart instead of " +
      "the language.",
  ],
  [
    "Dashed lines",
    "What a model would reach that knows nothing and guesses evenly (ln of the vocabulary size V), one that knows " +
      "only how frequent each token is (unigram), one that knows only which token came before (bigram). The last two " +
      "are counted on the training text and scored on the validation text, so they belong to the validation loss.",
  ],
  ["Perplexity", "exp(loss): the model is as uncertain as a choice among this many equally likely tokens."],
  ["Learning rate", "How far each step moves the weights."],
  ["Gradient norm", "How hard the batch pulls at all weights together (L2 norm, before clipping)."],
  ["Tokens per second", "The speed of training."],
];

export const SPOKEN = {
  loss: "loss of the step",
  train_loss: "training loss",
  val_loss: "validation loss",
  train_perplexity: "training perplexity",
  val_perplexity: "validation perplexity",
  learning_rate: "learning rate",
  grad_norm: "gradient norm",
  tokens_per_second: "tokens per second",
};

/** @param {string} title */
export const meaningOf = (title) => MEANING.find(([term]) => term === title)?.[1] ?? "";

/** Where a point is: its step, tokens and epoch.
 *  @param {{ step: number, tokens: number, epoch: number }} point */
export function placeText({ step, tokens, epoch }) {
  const parts = [`step ${grouped(step)}`, `${grouped(tokens)} tokens`];
  if (Number.isFinite(epoch)) parts.push(`epoch ${epoch.toFixed(2)}`);
  return parts.join(", ");
}
