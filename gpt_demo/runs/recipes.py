"""What the page and the command line share: prepare a text, create a run, train it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt_demo.devices import pick_device, resolve_precision
from gpt_demo.errors import UserError, check_whole
from gpt_demo.events import Event, Finished, Saved, Started, Stepped
from gpt_demo.memory import give_back_memory
from gpt_demo.model.blank import empty_weights
from gpt_demo.model.gpt import GPT
from gpt_demo.runs.keeping import BEST, config_of, store_model
from gpt_demo.runs.preparing import Prepared, finished, is_streamed, prepare, prepare_large
from gpt_demo.runs.runs import RunFolder, Runs
from gpt_demo.store.folder import check_name, load_weights
from gpt_demo.store.store import ModelInfo, ModelStore
from gpt_demo.text.large import head_of
from gpt_demo.text.reading import clean_text
from gpt_demo.text.tokenizer import Tokenizer
from gpt_demo.training.checkpoint import BASE, latest, link_base, load_checkpoint, save_checkpoint
from gpt_demo.training.config import RunConfig
from gpt_demo.training.counters import reference_losses
from gpt_demo.training.distributed import ALONE, Alone, ProcessLost
from gpt_demo.training.estimate import check_memory
from gpt_demo.training.loop import TrainingDiverged, train
from gpt_demo.training.lora import freeze
from gpt_demo.training.measuring import Evaluation
from gpt_demo.training.state import TrainState, make_optimizer


def create_run(
    runs: Runs,
    store: ModelStore,
    text: str | Path,
    config: RunConfig,
    *,
    preset_name: str = "quick",
    name: str | None = None,
    base: str | None = None,
    owner: str | None = None,
    source: str = "",
    prepared: Prepared | None = None,
) -> RunFolder:
    """Check everything and write the new run's folder, without training. `base`: a stored model to start from.
    `prepared`: what `prepare` has made of just this text and configuration; then `text` may be a file, which is moved.

    Raises UserError on anything that would fail later: the text, the settings, the name, the memory.
    """
    text = clean_text(text) if isinstance(text, str) else text
    tokenizer, parent = None, store.get(base, owner) if base else None
    if parent is not None and prepared is None:
        tokenizer = Tokenizer.load(parent.folder / "tokenizer.json")
        config = continued(config, parent, tokenizer)
    prepared = prepared or prepare(text if isinstance(text, str) else head_of(text), config, tokenizer)
    check_memory(prepared.config, from_model=parent is not None)
    name = name or runs.free_name(preset_name, lambda n: store.folder(n).exists() or store.folder(n + BEST).exists())
    check_run_name(name, store)
    folder = runs.create(
        name,
        owner,
        {"text.txt": text, "tokenizer.json": json.dumps(prepared.tokenizer.to_dict())},
        config=prepared.config.to_dict(),
        preset=preset_name,
        base=base,
        source=source,
    )
    try:
        if parent is not None:
            link_base(parent.folder / "model.safetensors", folder.path)
    except OSError:  # the disk is full, or the model has just been deleted
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return folder


def continued(config: RunConfig, parent: ModelInfo, tokenizer: Tokenizer) -> RunConfig:
    """The configuration of a run from a stored model: it keeps that model's shape and tokenizer."""
    if parent.config.n_vocab != tokenizer.n_vocab:
        raise UserError(f"The model {parent.name} has more tokens than its tokenizer, so it can't be trained further.")
    shape = replace(parent.config, dropout=config.model.dropout)
    return RunConfig(replace(config.data, tokenizer=tokenizer.kind), shape, config.train)


def check_run_name(name: str, store: ModelStore) -> None:
    """Raises UserError if the models of a run, NAME and NAME-best, can't have these names."""
    check_name(name, 64 - len(BEST))
    if name.endswith(BEST):
        raise UserError(f"Names ending in {BEST} are reserved for the best model of a run. Choose another name.")
    store.check_free(name)
    store.check_free(name + BEST)


def resume_run(folder: RunFolder, changes: Mapping[str, Any] | None = None) -> None:
    """Resume a run from its last checkpoint; only settings of its length and monitoring may change.

    Raises UserError on other changes, or if nothing is left to do.
    """
    changes = dict(changes or {})
    fixed = set(changes) - MAY_CHANGE
    if fixed:
        raise UserError(
            f"A resumed run keeps its {', '.join(sorted(fixed))}. These may change: {', '.join(sorted(MAY_CHANGE))}."
        )
    if folder.is_locked():
        raise UserError(f"The run {folder.name} is already running.")
    config = config_of(folder).with_length(changes)
    prepared = prepare_again(folder, config)
    check_memory(config)
    done, total = _steps_done(folder), prepared.plan.total_steps
    end = folder.history().finished
    if end is not None and end.reason == "patience" and not {"patience", "max_steps"} & set(changes):
        raise UserError(
            f"The run {folder.name} ended because its validation loss no longer fell. To continue, set patience to 0."
        )
    if done > total or (done == total and folder.status == "finished"):
        raise UserError(
            f"The run {folder.name} has completed all {done} steps. To continue, raise max_steps above {done}."
        )
    folder.update(config=config.to_dict())


def extend_run(folder: RunFolder, steps: int) -> None:
    """Extend a finished run by a number of steps, whatever ended it; its learning rate continues as planned.

    Raises UserError on an invalid number of steps, or if the run is running.
    """
    check_whole("max_steps", steps, 1, 10**9)
    if folder.is_locked():
        raise UserError(f"The run {folder.name} is already running.")
    config = config_of(folder)
    horizon = prepare_again(folder, config).plan.horizon
    longer = {"max_steps": _steps_done(folder) + steps, "epochs": 0, "decay_steps": horizon}
    config = config.changed({**longer, "patience": 0, "target_loss": 0.0})
    check_memory(config)
    folder.update(config=config.to_dict())


def prepare_again(folder: RunFolder, config: RunConfig) -> Prepared:
    """The run's text, tokenized and split again."""
    path, tokenizer = folder.path / "text.txt", Tokenizer.load(folder.path / "tokenizer.json")
    if is_streamed([path], config, tokenizer):
        return finished(prepare_large(path, config, tokenizer))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"The text of the run {folder.name} can't be read: {error}") from error
    return prepare(text, config, tokenizer)


def starts_over(folder: RunFolder) -> str:
    """A message if a resumed run starts over because nothing was saved; else empty."""
    return "" if latest(folder.path) else f"The run {folder.name} had saved nothing yet, so it starts over."


def _steps_done(folder: RunFolder) -> int:
    """The number of steps, from the last checkpoint."""
    checkpoint = latest(folder.path)
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


MAY_CHANGE = {
    "epochs", "max_steps", "eval_interval", "eval_batches", "evaluate_on", "sample_interval", "sample_prompt",
    "sample_tokens", "sample_temperature", "sample_top_k", "sample_draw", "target_loss", "patience",
    "save_seconds",
}  # fmt: skip


def train_job(
    folder: RunFolder,
    store: ModelStore,
    stopping: Callable[[], bool] = lambda: False,
    prepared: Prepared | None = None,
    team: Alone = ALONE,
) -> Generator[Event, None, None]:
    """Start the run of a folder, or resume it from its last checkpoint, and record its events.

    Saves at intervals, when it is closed after a `Stepped`, and when `stopping()`: then it ends after the current step,
    with an evaluation. When it has finished, the model is stored. The others of a `team` follow (`follow_job`).
    """
    return folder.record(_train_job(folder, store, stopping, prepared, team), _steps_done(folder))


def _train_job(
    folder: RunFolder, store: ModelStore, stopping: Callable[[], bool], prepared: Prepared | None, team: Alone
) -> Generator[Event, None, None]:
    config = config_of(folder)
    prepared = prepared or prepare_again(folder, config)
    device = pick_device()
    precision = precision_of(folder, config, device)
    folder.update(precision=precision)
    state = open_state(folder, config, device)
    yield _started(folder, prepared, state, device, precision)

    saved_at, saved_step, whole = time.monotonic(), state.step, False
    finished: Finished | None = None
    try:
        for event in train(state, prepared.split, prepared.tokenizer, config.train, precision, stopping, team):
            if isinstance(event, Finished):
                finished, whole = event, True
                break
            whole = isinstance(event, Stepped)
            yield event
            if whole and time.monotonic() - saved_at >= config.train.save_seconds:
                path = save_checkpoint(folder.path, state)
                saved_at, saved_step = time.monotonic(), state.step
                yield Saved(str(path))
            whole = False  # now the next step is computed
        else:
            whole = True  # it was asked to stop
    except (TrainingDiverged, ProcessLost):
        whole = True  # the step was not taken
        raise
    finally:
        if whole and (state.step > saved_step or latest(folder.path) is None):
            save_checkpoint(folder.path, state)
        del state  # so that storing the model can use its memory
        give_back_memory()
    if finished is not None:
        yield Saved(str(store_model(folder, store)))
        yield finished


def precision_of(folder: RunFolder, config: RunConfig, device: torch.device) -> str:
    """What the run began with, or what its settings are on this machine."""
    said: str | None = folder.info.get("precision")
    return said or resolve_precision(config.train.precision, device, config.model.n_embd)


def open_state(folder: RunFolder, config: RunConfig, device: torch.device) -> TrainState:
    """The last checkpoint's state, or a new one: seeded, then built at once."""
    checkpoint = latest(folder.path)
    if checkpoint is not None:
        return load_checkpoint(checkpoint, config.train, device)
    torch.manual_seed(config.train.seed)
    if folder.info.get("base"):
        with empty_weights():
            model = GPT(config.model, "pytorch")
        load_weights(model, folder.path / BASE)
    else:
        model = GPT(config.model, config.train.init)
    freeze(model, config.train)
    model = model.to(device)
    return TrainState(model, make_optimizer(model, config.train))


def _started(folder: RunFolder, prepared: Prepared, state: TrainState, device: torch.device, precision: str) -> Started:
    config, split = prepared.config, prepared.split
    evaluation = Evaluation.of(config.train, config.model, prepared.plan, split, state.eval_windows)
    return Started(
        run=folder.name,
        step=state.step,
        total_steps=prepared.plan.total_steps,
        steps_per_epoch=prepared.plan.steps_per_epoch,
        tokens_per_epoch=prepared.plan.tokens_per_epoch,
        total_tokens=prepared.plan.total_steps * prepared.plan.tokens_per_step,
        n_params=config.model.n_params,
        n_vocab=config.model.n_vocab,
        train_tokens=len(split.train),
        val_tokens=len(split.val),
        device=device.type,
        precision=precision,
        references=reference_losses(split.train, split.val, config.model.n_vocab),
        config=config.to_dict(),
        eval_tokens=evaluation.tokens(split.val),
    )
