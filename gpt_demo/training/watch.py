"""Monitoring a run: evaluations, samples, and the best model so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from gpt_demo.decoding.generate import generate
from gpt_demo.events import Evaluated, Evaluating, Generated, Sampled
from gpt_demo.model.gpt import GPT
from gpt_demo.text.data import Split
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.distributed import ALONE, Alone
from gpt_demo.training.lora import trained
from gpt_demo.training.measuring import Evaluation, Grace, measure
from gpt_demo.training.plan import Plan, TrainConfig
from gpt_demo.training.state import TrainState, put_weights, remember_weights

UPDATE_SECONDS = 1.0  # from one sign of life of an evaluation to the next


@dataclass
class Watch:
    """Monitors a run: evaluations and samples, abandoned if they would delay a stop."""

    state: TrainState
    split: Split
    tokenizer: Tokenizer
    config: TrainConfig
    plan: Plan
    precision: str
    stopping: Callable[[], bool]
    team: Alone = ALONE

    def __post_init__(self) -> None:
        state, shape = self.state, self.state.model.config
        self.evaluation = Evaluation.of(self.config, shape, self.plan, self.split, state.eval_windows)
        if self.config.evaluate_on == "sample":
            state.eval_windows = self.evaluation.windows
        self.grace = Grace(self.stopping)

    def epoch(self, step: int) -> float:
        """How many epochs have been read after a step."""
        return (step + 1) * self.plan.tokens_per_step / self.plan.tokens_per_epoch

    def evaluate(self) -> Iterator[Evaluating | Evaluated]:
        """Losses of both splits; a new lowest validation loss is remembered together with its weights.

        One that is between two that are due, at a stop or at the end, leaves no trace in the random numbers and the
        patience: the run can continue as if it had not been. Nor does one that is abandoned.
        """
        if self.team.count == 1 and self.grace.is_over():  # a team gives up together, in `measure`
            return
        state, step, started, rng = self.state, self.state.step - 1, time.perf_counter(), torch.get_rng_state()
        total = sum(map(self.evaluation.tokens, (self.split.train, self.split.val)))
        work, shown = measure(state.model, self.evaluation, self.precision, self.grace.is_over, self.team), started
        while True:
            try:
                done = next(work)
            except StopIteration as end:
                losses = end.value
                break
            if time.perf_counter() - shown >= UPDATE_SECONDS:
                shown = time.perf_counter()
                yield Evaluating(step, done, total)
        between = step % self.config.eval_interval != 0
        if between or losses is None:
            torch.set_rng_state(rng)
        if losses is not None:
            seconds = time.perf_counter() - started
            train_loss, val_loss = losses
            _note_losses(state, train_loss, val_loss, between)
            yield Evaluated(step, state.tokens_seen, self.epoch(step), train_loss, val_loss, seconds)

    def sample(self) -> Iterator[Sampled]:
        if self.team.rank > 0:
            return
        started, step = time.perf_counter(), self.state.step - 1
        text = sample(self.state.model, self.tokenizer, self.config, self.stopping)
        if text is not None:
            yield Sampled(step, self.epoch(step), text, time.perf_counter() - started)

    def sample_of_best(self) -> str | None:
        """What the best model writes, unless it is the last one, which has just written."""
        state, best = self.state, self.state.best_step
        if best is None or best == state.step - 1 or self.stopping() or self.team.rank > 0:
            return None
        state.optimizer.zero_grad(set_to_none=True)  # the last weights are put aside where the gradients were
        now = {name: p.clone() for name, p in trained(state.model).items()}
        try:
            put_weights(state.model, state.best_weights)
            return sample(state.model, self.tokenizer, self.config, self.stopping)
        finally:
            put_weights(state.model, now)


def _note_losses(state: TrainState, train_loss: float, val_loss: float, between: bool) -> None:
    state.train_loss, state.val_loss, state.evaluated_step = train_loss, val_loss, state.step - 1
    if val_loss < state.best_val_loss:
        state.best_step, state.best_val_loss, state.waited = state.step - 1, val_loss, 0
        remember_weights(state)
    elif not between and not math.isnan(val_loss):  # there is a validation text
        state.waited += 1


def sample(
    model: GPT, tokenizer: Tokenizer, config: TrainConfig, stopping: Callable[[], bool] = lambda: False
) -> str | None:
    """The fixed prompt continued, with the same draws at every step; none once it is `stopping()`."""
    text = config.sample_prompt
    for event in generate(model, tokenizer, config.sample_prompt, config.sampling, config.sample_tokens):
        if isinstance(event, Generated):
            text = event.text
        elif stopping():
            return None
    return text
