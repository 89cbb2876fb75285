"""Training: schedule, plan, one step by hand, what is drawn and when, and what is left when it goes wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Sampled, Stepped
from gpt_demo.model.gpt import GPT
from gpt_demo.text.data import Split, split_text
from gpt_demo.text.tokenizer import byte_level
from gpt_demo.training import watch
from gpt_demo.training.loop import TrainingDiverged, _endless_batches, train
from gpt_demo.training.measuring import Evaluation
from gpt_demo.training.plan import Plan, TrainConfig, learning_rate
from gpt_demo.training.state import TrainState, make_optimizer

BYTES = byte_level()
TEXT = "The cat sat on the mat, and the dog ran after the cat until both of them were tired. " * 4
SPLIT = split_text(TEXT, BYTES, 0.1, "tokens")  # 306 and 34 tokens: 19 windows of 16
PLAIN = TrainConfig(
    max_steps=6, batches="windows", batch_size=2, warmup_steps=0, min_learning_rate=None, eval_interval=0,
    sample_interval=1000, sample_prompt="The ", sample_tokens=4, grad_clip=0.0,
)  # fmt: skip


def begin(tiny: Any, config: TrainConfig, **shape: Any) -> TrainState:
    model = tiny(**shape)
    torch.manual_seed(config.seed)
    return TrainState(model, make_optimizer(model, config))


def events(state: TrainState, config: TrainConfig, split: Split = SPLIT) -> list[Event]:
    return list(train(state, split, BYTES, config, "fp32"))


def run(tiny: Any, config: TrainConfig, split: Split = SPLIT, **shape: Any) -> tuple[TrainState, list[Event]]:
    state = begin(tiny, config, **shape)
    return state, events(state, config, split)


def of_kind(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in of_kind(events, Stepped)]


def weights(model: GPT) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *[(name, (0, -1)) for name in ("batch_size", "grad_accum_steps", "sample_tokens", "last_blocks", "lora_rank")],
        *[(name, (-1, math.nan, math.inf)) for name in (
            "epochs", "max_steps", "stride", "min_learning_rate", "warmup_steps", "decay_steps", "weight_decay",
            "grad_clip", "eval_interval", "eval_batches", "sample_interval", "sample_temperature", "sample_top_k",
            "target_loss", "save_seconds", "seed", "window",
        )],
        ("learning_rate", (0, -1e-3, math.nan, math.inf)),
        *[(name, ("sideways", "")) for name in ("batches", "decay", "precision", "init", "trainable", "sample_draw")],
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(UserError, match=f"^{name} is .*; it must be "):
            replace(TrainConfig(), **{name: value})


def test_every_number_is_checked_and_a_run_must_end() -> None:
    numbers = [f.name for f in fields(TrainConfig) if f.type in ("int", "float", "float | None")]
    for name in numbers:
        with pytest.raises(UserError, match=name):
            replace(TrainConfig(), **{name: -1})
    with pytest.raises(UserError, match="would never end"):
        TrainConfig(epochs=0, max_steps=0)


# Learning rate --------------------------------------------------------------------------------------------------------


def test_the_learning_rate_is_the_formula_at_every_step() -> None:
    config = TrainConfig(learning_rate=1.0, min_learning_rate=0.1, warmup_steps=4)
    rates = [learning_rate(config, 12, step) for step in range(15)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    # Step 4 is the highest, step 11 (the last of 12) the lowest: seven parts of half a turn.
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 7)) / 2 for i in range(8)]
    assert rates[4:12] == pytest.approx(cosine, abs=1e-15)
    assert rates[4] == 1.0
    assert rates[11:] == [0.1] * 4


def test_no_decay_and_no_warmup() -> None:
    constant = TrainConfig(learning_rate=0.5, min_learning_rate=None, warmup_steps=0)
    assert [learning_rate(constant, 5, step) for step in range(8)] == [0.5] * 8
    warm = replace(constant, warmup_steps=2)
    assert [learning_rate(warm, 5, step) for step in range(5)] == [0.25, 0.5, 0.5, 0.5, 0.5]
    to_zero = TrainConfig(learning_rate=1.0, min_learning_rate=0.0, warmup_steps=0)
    assert [learning_rate(to_zero, 3, step) for step in range(4)] == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_odd_schedules_stay_between_their_ends() -> None:
    for horizon in (1, 2, 3, 10):
        for warmup in (0, 1, 2, 10, 50):
            config = TrainConfig(learning_rate=1.0, min_learning_rate=0.1, warmup_steps=warmup)
            rates = [learning_rate(config, horizon, step) for step in range(60)]
            assert all(0 < rate <= 1 for rate in rates)
    lower_than_the_lowest = TrainConfig(learning_rate=1e-4, min_learning_rate=2e-4, warmup_steps=0)
    assert [learning_rate(lower_than_the_lowest, 9, step) for step in range(9)] == [1e-4] * 9


@pytest.mark.parametrize(("decay_steps", "horizon"), [(0, 6), (10, 10), (3, 3)])
def test_each_step_is_taken_at_its_rate(tiny: Any, decay_steps: int, horizon: int) -> None:
    config = replace(PLAIN, warmup_steps=2, min_learning_rate=1e-4, decay_steps=decay_steps)
    state, heard = begin(tiny, config), []
    for event in train(state, SPLIT, BYTES, config, "fp32"):
        if isinstance(event, Stepped):
            assert [group["lr"] for group in state.optimizer.param_groups] == [event.learning_rate] * 2
            heard.append(event.learning_rate)
    assert heard == [learning_rate(config, horizon, step) for step in range(6)]


# Plan -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "total", "horizon"),
    [
        ({"epochs": 0, "max_steps": 50}, 50, 50),
        ({"epochs": 3, "max_steps": 0}, 27, 27),
        ({"epochs": 3, "max_steps": 10}, 10, 27),  # ended early, on the schedule of the whole
        ({"epochs": 3, "max_steps": 99}, 27, 27),
        ({"epochs": 3, "max_steps": 10, "decay_steps": 7}, 10, 7),
        ({"epochs": 1, "max_steps": 0, "grad_accum_steps": 2}, 5, 5),  # 9 batches: the last one is read too
        ({"epochs": 10, "max_steps": 0, "grad_accum_steps": 2}, 45, 45),
        ({"epochs": 1, "max_steps": 0, "grad_accum_steps": 20}, 1, 1),
        ({"epochs": 2, "max_steps": 0, "batches": "random"}, 20, 20),  # 612 tokens, 32 per step
    ],
    ids=str,
)
def test_plan(settings: dict[str, Any], total: int, horizon: int) -> None:
    plan = Plan.of(replace(PLAIN, **settings), 16, 306)
    assert (plan.total_steps, plan.horizon) == (total, horizon)


def test_plan_counts_what_the_book_counts(golden: dict[str, Any]) -> None:
    plan = Plan.of(TrainConfig(epochs=10, max_steps=0, batches="windows", batch_size=2), 256, 4612)
    assert plan == Plan(90, 90, 9, golden["windows"]["train_tokens"], 512)


@pytest.mark.parametrize("stride", [0, 1, 5, 16, 30])
@pytest.mark.parametrize("n", [17, 33, 48, 49, 50, 100])
def test_an_epoch_has_as_many_batches_as_the_plan_says(tiny: Any, stride: int, n: int) -> None:
    """For texts that just do or just don't fill a window."""
    config = replace(PLAIN, batch_size=1, stride=stride)
    plan = Plan.of(config, 16, n)
    state = begin(tiny, config)
    batches = _endless_batches(state, torch.arange(n), 16, config)
    places = [int(next(batches)[0][0, 0]) for _ in range(2 * plan.steps_per_epoch)]
    starts = list(range(0, n - 16, stride or 16))
    assert plan.tokens_per_epoch == 16 * len(starts)
    assert sorted(places[: len(starts)]) == sorted(places[len(starts) :]) == starts


def test_a_text_too_short_for_one_batch_is_refused() -> None:
    with pytest.raises(UserError, match="gives 1 windows of 16 tokens, fewer than one batch of 2"):
        Plan.of(PLAIN, 16, 32)


@pytest.mark.parametrize("settings", [
    {"eval_batches": 0}, {"batches": "random", "eval_batches": 2}, {"eval_batches": 1, "stride": 3},
], ids=str)  # fmt: skip
def test_a_short_window_is_a_model_with_as_short_a_context(tiny: Any, settings: dict[str, Any]) -> None:
    """Losses, evaluations and plan are the same, bit for bit."""
    config = replace(PLAIN, eval_interval=2, sample_tokens=2, **settings)
    wide, narrow = begin(tiny, config), begin(tiny, config, n_ctx=8)
    shared = {name: p for name, p in wide.model.state_dict().items() if name != "wpe.weight"}
    narrow.model.load_state_dict({**shared, "wpe.weight": wide.model.wpe.weight.detach()[:8]})
    told = []
    for state, used in ((wide, replace(config, window=8)), (narrow, config)):
        torch.manual_seed(3)
        told.append([replace(e, tokens_per_second=0.0) if isinstance(e, Stepped) else e for e in events(state, used)])
    assert [e for e in told[0] if not isinstance(e, (Finished, Sampled))] == [
        e for e in told[1] if not isinstance(e, (Finished, Sampled))
    ]
    assert len(of_kind(told[0], Evaluated)) >= 3
    assert torch.equal(wide.model.wpe.weight[:8], narrow.model.wpe.weight)
    assert Plan.of(replace(config, window=8), 16, 306) == Plan.of(config, 8, 306)


def test_a_window_too_long_for_the_text_is_called_so() -> None:
    with pytest.raises(UserError, match=r"windows of 9 tokens, fewer than one batch of 2\. Lower batch_size or window"):
        Plan.of(replace(PLAIN, window=9), 16, 18)


# A step ---------------------------------------------------------------------------------------------------------------


def test_weight_decay_acts_on_matrices_or_on_all(tiny: Any) -> None:
    for decay in ("matrices", "all"):
        config = replace(PLAIN, decay=decay, weight_decay=0.5, learning_rate=0.1)
        model = tiny(init="pytorch")
        optimizer, before = make_optimizer(model, config), weights(model)
        grouped = [p for group in optimizer.param_groups for p in group["params"]]
        assert sorted(map(id, grouped)) == sorted(map(id, model.parameters())), "each parameter once"
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for name, p in model.named_parameters():
            factor = 0.95 if decay == "all" or name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else 1.0
            factor = 0.95 if name in ("wte.weight", "wpe.weight") else factor
            torch.testing.assert_close(p.detach(), before[name] * factor, msg=name)


def test_a_step_is_adamw_by_hand(tiny: Any) -> None:
    """Loshchilov and Hutter 2019, algorithm 2, three steps; and the loss told is the one before the update."""
    config = replace(PLAIN, max_steps=3, learning_rate=1e-2, weight_decay=0.1, decay="all", batch_size=19)
    state = begin(tiny, config)
    twin = copy.deepcopy(state.model)
    seen = losses(events(state, config))
    x, y = (ids[: 19 * 16].view(19, 16) for ids in (SPLIT.train, SPLIT.train[1:]))  # all windows, in any order
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in twin.named_parameters()}
    for t in (1, 2, 3):
        twin.zero_grad()
        loss = twin(x, y)[1]
        assert loss is not None
        assert seen[t - 1] == pytest.approx(loss.item(), abs=1e-5)
        loss.backward()
        with torch.no_grad():
            for name, p in twin.named_parameters():
                m, v = moments[name]
                m.mul_(0.9).add_(0.1 * p.grad)
                v.mul_(0.999).add_(0.001 * p.grad**2)
                p.mul_(1 - 1e-2 * 0.1)
                p.sub_(1e-2 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8))
    # Where a gradient is close to nothing Adam magnifies how it was rounded.
    for name, p in twin.named_parameters():
        torch.testing.assert_close(state.model.get_parameter(name), p, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("batches", ["windows", "random"])
def test_two_accumulated_batches_are_one_of_twice_the_size(tiny: Any, batches: str) -> None:
    split = Split(SPLIT.train[: 16 * 16 + 1], SPLIT.val)  # 16 windows: nothing is dropped
    config = replace(PLAIN, batches=batches, batch_size=4, learning_rate=1e-3)
    # Without the bias of query, key and value: a key's has no gradient but rounding, which Adam magnifies.
    whole, told = run(tiny, config, split, qkv_bias=False)
    halves, told_of_halves = run(tiny, replace(config, batch_size=2, grad_accum_steps=2), split, qkv_bias=False)
    assert losses(told_of_halves) == pytest.approx(losses(told), abs=1e-6)
    for name, p in whole.model.named_parameters():
        other = halves.model.get_parameter(name)
        torch.testing.assert_close(other.grad, p.grad, atol=1e-6, rtol=0, msg=name)
        torch.testing.assert_close(other, p, atol=1e-5, rtol=0, msg=name)
    assert [e.tokens_seen for e in of_kind(told, Stepped)] == [e.tokens_seen for e in of_kind(told_of_halves, Stepped)]


def test_gradients_are_clipped_and_the_norm_told_is_the_one_before(tiny: Any) -> None:
    def norm(state: TrainState) -> float:
        return math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in state.model.parameters()))

    def one_step(config: TrainConfig) -> tuple[TrainState, Stepped]:
        state, told = run(tiny, config)
        [step] = of_kind(told, Stepped)
        return state, step

    config = replace(PLAIN, max_steps=1)
    free, step = one_step(config)
    assert step.grad_norm == pytest.approx(norm(free), rel=1e-5)
    clipped, step_clipped = one_step(replace(config, grad_clip=0.01))
    assert step_clipped.grad_norm == pytest.approx(step.grad_norm, rel=1e-6)
    assert norm(clipped) == pytest.approx(0.01, rel=1e-4)
    loose, step_loose = one_step(replace(config, grad_clip=1e6))
    assert norm(loose) == pytest.approx(step_loose.grad_norm, rel=1e-5)


def test_a_small_text_is_learned_by_heart(tiny: Any) -> None:
    config = replace(PLAIN, max_steps=120, batch_size=9, learning_rate=1e-2, warmup_steps=10, grad_clip=1.0)
    _, told = run(tiny, config)
    assert losses(told)[0] == pytest.approx(math.log(257), abs=0.3)
    assert sum(losses(told)[-10:]) / 10 < 0.5


def test_bf16_learns_as_fp32_does(tiny: Any) -> None:
    _, told = run(tiny, PLAIN)
    rough = begin(tiny, PLAIN)
    assert losses(list(train(rough, SPLIT, BYTES, PLAIN, "bf16"))) == pytest.approx(losses(told), rel=0.01)
    assert all(p.dtype == torch.float32 for p in rough.model.parameters())
    assert losses(told) != losses(list(train(rough, SPLIT, BYTES, replace(PLAIN, max_steps=12), "bf16")))


# Events ---------------------------------------------------------------------------------------------------------------


def test_events_come_in_order_and_count_right(tiny: Any) -> None:
    config = replace(PLAIN, epochs=2, max_steps=0, eval_interval=4, sample_interval=0)
    state, told = run(tiny, config)
    assert [type(e) for e in told if getattr(e, "step", None) == 8] == [Evaluated, Sampled, Stepped]
    steps = of_kind(told, Stepped)
    assert [e.step for e in steps] == list(range(18))
    assert [e.tokens_seen for e in steps] == [32 * (i + 1) for i in range(18)]
    assert [e.step for e in of_kind(told, Evaluated)] == [0, 4, 8, 12, 16, 17]
    assert [e.epoch for e in of_kind(told, Evaluated)] == [(s + 1) / 9 for s in (0, 4, 8, 12, 16, 17)]
    assert [(e.step, e.epoch) for e in of_kind(told, Sampled)] == [(8, 1.0), (17, 2.0)]
    last = told[-1]
    assert isinstance(last, Finished)
    drawing = run(tiny, replace(config, eval_batches=1))[1]  # such an evaluation at the end would change a longer run
    assert [e.step for e in of_kind(drawing, Evaluated)] == [0, 4, 8, 12, 16]
    assert len(of_kind(told, Finished)) == 1
    assert (last.steps, last.tokens_seen, last.reason) == (18, 18 * 32, "done")
    assert (last.train_loss, last.val_loss) == (of_kind(told, Evaluated)[-1].train_loss, state.val_loss)
    assert 0 < last.seconds == state.seconds
    assert all(e.tokens_per_second > 0 for e in steps)


@pytest.mark.parametrize("accum", [1, 2, 4])
def test_every_epoch_ends_with_a_sample_even_between_two_steps(tiny: Any, accum: int) -> None:
    config = replace(PLAIN, epochs=3, max_steps=0, sample_interval=0, grad_accum_steps=accum)
    _, told = run(tiny, config)
    assert [int(e.epoch) for e in of_kind(told, Sampled)] == [1, 2, 3]


def test_the_reason_of_the_end(tiny: Any) -> None:
    for settings, reason in (
        ({"max_steps": 3}, "done"),
        ({"epochs": 1, "max_steps": 3}, "max_steps"),
        ({"epochs": 1, "max_steps": 0}, "done"),
        ({"max_steps": 3, "target_loss": 99.0, "eval_interval": 1}, "target"),
    ):
        _, told = run(tiny, replace(PLAIN, **settings))
        assert told[-1].reason == reason


def test_a_target_ends_the_run_at_the_evaluation_that_reaches_it(tiny: Any) -> None:
    config = replace(PLAIN, max_steps=100, eval_interval=3, learning_rate=3e-3)
    _, told = run(tiny, config)
    measured = of_kind(told, Evaluated)
    config = replace(config, target_loss=measured[4].val_loss)
    _, short = run(tiny, config)
    assert [e.val_loss for e in of_kind(short, Evaluated)] == [e.val_loss for e in measured[:5]]
    assert (short[-1].reason, short[-1].steps) == ("target", 13)
    assert isinstance(short[-2], Stepped)


def test_without_validation_text(tiny: Any) -> None:
    split = Split(SPLIT.train, torch.empty(0, dtype=torch.int64))
    for eval_batches in (0, 2):
        config = replace(PLAIN, eval_interval=1, eval_batches=eval_batches, target_loss=99.0)
        state, told = run(tiny, config, split)
        assert all(math.isnan(e.val_loss) and e.train_loss > 0 for e in of_kind(told, Evaluated))
        assert (told[-1].reason, told[-1].best_step, told[-1].best_val_loss) == ("done", None, None)
        assert (told[-1].val_loss, type(told[-1].train_loss)) == (None, float)
        assert state.best_weights == {}


def test_evaluation_reads_both_splits_whole_and_as_much_of_each(tiny: Any) -> None:
    config = replace(PLAIN, max_steps=1, eval_interval=1, evaluate_on="all")
    state, told = run(tiny, config)
    model = state.model.eval()

    @torch.no_grad()
    def by_hand(ids: Tensor) -> float:
        total = 0.0
        for i in range(0, len(ids) - 1, 16):
            y = ids[i + 1 : i + 17]
            total -= float(model(ids[None, i : i + len(y)])[0][0].log_softmax(1)[range(len(y)), y].sum())
        return total / (len(ids) - 1)

    [measured] = of_kind(told, Evaluated)
    assert measured.val_loss == pytest.approx(by_hand(SPLIT.val), abs=1e-5)
    of_train = Evaluation.of(config, model.config, Plan.of(config, 16, len(SPLIT.train)), SPLIT)
    windows = [(x, y) for batch in of_train.batches(SPLIT.train) for x, y in zip(*batch, strict=True)]
    losses = [by_hand(torch.cat([x, y[-1:]])) for x, y in windows]
    assert len(losses) == math.ceil((len(SPLIT.val) - 1) / 16)
    assert measured.train_loss == pytest.approx(sum(losses) / len(losses), abs=1e-5)


@pytest.mark.parametrize("batches", ["windows", "random"])
def test_watching_a_run_does_not_change_it(tiny: Any, batches: str) -> None:
    """Whole evaluations and samples draw nothing from the global generator, and dropout is off meanwhile."""
    watched = replace(PLAIN, batches=batches, eval_interval=1, sample_interval=1, sample_temperature=1.0)
    _, alone = run(tiny, replace(PLAIN, batches=batches), dropout=0.3)
    _, told = run(tiny, watched, dropout=0.3)
    assert losses(told) == losses(alone)
    assert len(of_kind(told, Evaluated)) == len(of_kind(told, Sampled)) == 6


def test_no_mode_leaks(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(PLAIN, eval_interval=2, sample_interval=2, eval_batches=1)
    state = begin(tiny, config, dropout=0.3)
    modes: list[bool] = []
    forward = GPT.forward
    monkeypatch.setattr(GPT, "forward", lambda self, *a, **k: [modes.append(self.training), forward(self, *a, **k)][1])
    for _event in train(state, SPLIT, BYTES, config, "fp32"):
        assert state.model.training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert False in modes, "an evaluation in training mode"


def test_samples_use_the_prompt_the_seed_and_the_settings(tiny: Any) -> None:
    def samples(**settings: Any) -> list[str]:
        config = replace(PLAIN, sample_interval=5, sample_tokens=12, **settings)
        return [e.text for e in of_kind(run(tiny, config)[1], Sampled)]

    drawn = samples(sample_temperature=1.5)
    assert len(drawn) == 2
    assert all(text.startswith("The ") for text in drawn)
    assert drawn == samples(sample_temperature=1.5)
    assert drawn != samples(sample_temperature=1.5, sample_top_k=2)
    assert drawn != samples(sample_temperature=1.5, sample_draw="multinomial")
    assert samples() == samples(sample_temperature=0.7, sample_top_k=1), "one token left is the greedy choice"


def test_the_seed_decides_what_a_sample_draws(tiny: Any) -> None:
    model, state = tiny(), torch.get_rng_state()
    texts = [watch.sample(model, BYTES, replace(PLAIN, sample_temperature=2.0, seed=seed)) for seed in (5, 6, 5)]
    assert texts[0] == texts[2] != texts[1]
    assert torch.equal(torch.get_rng_state(), state)


# The best weights -----------------------------------------------------------------------------------------------------


def test_the_best_weights_are_those_of_the_best_step(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([3.0, 1.5, 2.0, 1.5, math.nan, 4.0])

    def told_losses(*_args: Any) -> Iterator[int]:
        yield 1
        return 9.0, next(scripted)

    monkeypatch.setattr(watch, "measure", told_losses)
    config = replace(PLAIN, eval_interval=1)
    state, snapshots = begin(tiny, config), []
    for event in train(state, SPLIT, BYTES, config, "fp32"):
        if isinstance(event, Stepped):
            snapshots.append(weights(state.model))
    assert isinstance(event, Finished)
    assert (event.best_step, event.best_val_loss) == (1, 1.5) == (state.best_step, state.best_val_loss)
    assert all(torch.equal(state.best_weights[name], snapshots[1][name]) for name in snapshots[1])
    assert not any(torch.equal(state.best_weights[name], snapshots[2][name]) for name in ("wte.weight", "wpe.weight"))


def test_remembering_the_best_takes_its_memory_once(tiny: Any) -> None:
    config = replace(PLAIN, max_steps=12, eval_interval=1, learning_rate=3e-3)
    state, places = begin(tiny, config), set()
    for event in train(state, SPLIT, BYTES, config, "fp32"):
        if isinstance(event, Evaluated) and state.best_step == event.step:
            places.add(state.best_weights["wte.weight"].data_ptr())
            assert torch.equal(state.best_weights["wte.weight"], state.model.wte.weight)
    assert state.best_step is not None
    assert state.best_step > 3
    assert len(places) == 1
    assert state.model.wte.weight.data_ptr() not in places


# Going wrong ----------------------------------------------------------------------------------------------------------


def everything(state: TrainState) -> dict[str, Any]:
    """All that a state is, copied."""
    moments = {
        (name, key): value.clone()
        for name, p in state.model.named_parameters()
        for key, value in state.optimizer.state[p].items()
    }
    rest = {
        f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("model", "optimizer", "best_weights")
    }
    best = {("best", name): p.clone() for name, p in state.best_weights.items()}
    return {**weights(state.model), **moments, **best, **rest, "random": torch.get_rng_state()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[Any]:
    def same(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b or (a != a and b != b)

    return [
        key for key in one.keys() | other.keys() if key not in one or key not in other or not same(one[key], other[key])
    ]


@pytest.mark.parametrize("step", [1, 8, 9])  # inside an epoch, at its end, at the beginning of the next
@pytest.mark.parametrize(("what", "batches"), [("loss", "windows"), ("gradient", "windows"), ("loss", "random")])
def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_state(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, step: int, what: str, batches: str
) -> None:
    config = replace(PLAIN, max_steps=20, batches=batches, eval_interval=3, grad_accum_steps=2, grad_clip=1.0)
    state = begin(tiny, config, dropout=0.2)
    calls = 0
    hidden = GPT.hidden_states

    def breaks(self: GPT, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal calls
        x: Tensor = hidden(self, *args, **kwargs)
        calls += self.training
        if self.training and calls == 2 * step + 2:  # the second batch of the step
            return x * math.nan if what == "loss" else x.register_hook(lambda grad: grad * math.inf) and x
        return x

    monkeypatch.setattr(GPT, "hidden_states", breaks)
    told: list[Event] = []
    before: list[dict[str, Any]] = []

    def follow() -> None:
        for event in train(state, SPLIT, BYTES, config, "fp32"):
            told.append(event)
            before[:] = [everything(state)]

    with pytest.raises(TrainingDiverged, match=f"The {what} became NaN or infinite at step {step}, .*learning_rate"):
        follow()
    assert isinstance(told[-1], Stepped)
    assert (told[-1].step, state.step) == (step - 1, step)
    assert differences(everything(state), before[0]) == []
    monkeypatch.setattr(GPT, "hidden_states", hidden)  # the state is whole: it goes on as if nothing had happened
    assert losses(told) + losses(events(state, config)) == losses(run(tiny, config, dropout=0.2)[1])


def test_a_learning_rate_far_too_high_ends_with_a_sentence(tiny: Any) -> None:
    config = replace(PLAIN, learning_rate=1e30)
    state = begin(tiny, config)
    with pytest.raises(UserError, match="Try a lower learning_rate"):
        events(state, config)
    assert all(p.isfinite().all() for p in state.model.parameters())
    assert state.step == 1
