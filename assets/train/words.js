// What the chart says of itself.

import { grouped } from "./ticks.js";

export const EMPTY = "The curves appear here as soon as training starts.";

/** @type {Record<string, string[]>} */
export const REFERENCES = {
  uniform: ["uniform guessing", "ln V"],
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
    "The average surprise per token: \u2212ln of the probability the model gave to the actual next token " +
      "(cross-entropy, in nats). Lower is better.",
  ],
  [
    "Training, validation",
    "The loss on text the model is trained on, and on held-out text, both measured with dropout off. " +
      "The faint line is the loss of each step: it is noisy because it is measured on a single batch.",
  ],
  [
    "Overfitting",
    "The training loss still falls while the validation loss rises: the model memorizes its text instead of " +
      "learning the language.",
  ],
  [
    "Dashed lines",
    "Baselines: uniform guessing (ln of the vocabulary size V), token frequencies (unigram), and the frequencies " +
      "given the previous token (bigram). The last two are counted on the training text and scored on the validation " +
      "text, so compare them to the validation loss.",
  ],
  ["Perplexity", "exp(loss): the model is as uncertain as a choice among this many equally likely tokens."],
  ["Learning rate", "How far each step moves the weights."],
  ["Gradient norm", "The size of the gradient over all weights (L2 norm, before clipping)."],
  ["Tokens per second", "The training speed."],
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
