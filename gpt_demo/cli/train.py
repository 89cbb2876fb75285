"""`train`: a run on a text, from scratch, from a stored model, or resumed."""

from __future__ import annotations

import argparse
import contextlib
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_demo.cli.output import Reader, print_json
from gpt_demo.cli.shared import interruptible, open_store, option
from gpt_demo.cli.texts import large_text, read_options, sample_text, text_options
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Sampled, Started, Stepped

if TYPE_CHECKING:
    from gpt_demo.runs.preparing import Prepared
    from gpt_demo.runs.runs import RunFolder
    from gpt_demo.store.store import ModelStore
    from gpt_demo.training.config import RunConfig
    from gpt_demo.training.distributed import Alone


def train_options(command: argparse.ArgumentParser) -> None:
    from gpt_demo.training.config import FIELDS, PRESETS, describe

    text_options(command, "*")
    command.add_argument("--sample", metavar="NAME", help="instead of FILE: story or verdict (The Verdict, downloaded)")
    command.add_argument("--preset", metavar="NAME", help=f"{', '.join(PRESETS)} (default: quick)")
    command.add_argument("--model", metavar="NAME", help="start from this stored model instead of from scratch")
    command.add_argument("--name", help="name of the run and its model")
    command.add_argument("--resume", metavar="RUN", help="resume a run that was stopped or interrupted")
    settings = command.add_argument_group("settings, each overriding the preset")
    for name in FIELDS:
        settings.add_argument(option(name), metavar="VALUE", dest=f"set_{name}", help=describe(name))


def train(options: argparse.Namespace) -> int:
    from gpt_demo.memory import keep_freed_memory
    from gpt_demo.training.distributed import processes

    keep_freed_memory()
    with processes() as team:
        return _lead(options, team) if team.rank == 0 else _follow(team)


def _lead(options: argparse.Namespace, team: Alone) -> int:
    """The run, in the only process or in the first of several: it speaks and saves."""
    from gpt_demo.runs.keeping import store_model
    from gpt_demo.runs.outcome import verdict
    from gpt_demo.runs.recipes import train_job

    store = open_store()
    folder = _told(options, store, team)
    reader = Reader(print_json if options.json else _print_training)
    with folder.working() as finish, interruptible() as interrupted:
        job = train_job(folder, store, lambda: interrupted() or reader.gone, team=team)
        with contextlib.closing(job) as events:
            for event in events:
                reader.show(event)
        if isinstance(event, Finished):
            finish("finished")
            if not options.json and not reader.gone:
                print(verdict(folder.name, folder.history()))
            return 0
        finish("stopped")
        store_model(folder, store)
    print(f"Stopped; the model and its state are saved. To resume: train --resume {folder.name}", file=sys.stderr)
    return 0 if reader.gone else 130


def _told(options: argparse.Namespace, store: ModelStore, team: Alone) -> RunFolder:
    """The run's folder, of which the other processes are told; nothing, if there is none."""
    path = ""
    try:
        folder = _run_folder(options, store, team.count)
        path = str(folder.path.resolve())
        return folder
    finally:
        team.same(path)


def _follow(team: Alone) -> int:
    """Another process of the run: all its part is to compute."""
    from gpt_demo.runs.folder import RunFolder
    from gpt_demo.runs.following import follow_job
    from gpt_demo.training.distributed import ProcessLost
    from gpt_demo.training.loop import TrainingDiverged

    path = team.same("")
    if not path:  # the first process says why
        return 2
    if not Path(path).exists():
        raise UserError(f"{path} is not there on {platform.node()}. All machines must see the folder GPT_DEMO_HOME.")
    try:
        with interruptible() as interrupted:
            follow_job(RunFolder(Path(path)), interrupted, team)
    except (ProcessLost, TrainingDiverged):  # the first process says so
        return 2
    return 0


def _run_folder(options: argparse.Namespace, store: ModelStore, processes: int) -> RunFolder:
    """A new run, or the one to resume, checked and ready to start."""
    from gpt_demo.paths import data_home
    from gpt_demo.runs.keeping import config_of
    from gpt_demo.runs.recipes import create_run, resume_run, starts_over
    from gpt_demo.runs.runs import Runs
    from gpt_demo.training.config import FROM_MODEL, preset
    from gpt_demo.training.distributed import check_batch

    changes = changes_of(options)
    runs = Runs(data_home(), see_all=True)
    if options.resume is not None:
        if options.file or options.sample or options.model or options.name or options.preset:
            raise UserError("--resume continues a run as it was: omit FILE, --preset, --model and --name.")
        folder = runs.get(options.resume)
        check_batch(config_of(folder).train.batch_size, processes)
        resume_run(folder, changes)
        if again := starts_over(folder):
            print(again, file=sys.stderr)
        return folder
    if bool(options.file) == bool(options.sample):
        raise UserError("No text file is given. Give one, or --sample NAME, or --resume RUN.")
    kept = FROM_MODEL & set(changes)
    if options.model and kept:
        raise UserError(f"A run from --model keeps that model's {', '.join(sorted(kept))}. Omit these options.")
    name = options.preset or "quick"
    config = preset(name, changes)
    check_batch(config.train.batch_size, processes)
    text, prepared = _text(options, store, config)
    try:
        return create_run(
            runs, store, text, config, preset_name=name, name=options.name, base=options.model,
            source=options.sample or Path(options.file[0]).name, prepared=prepared,
        )  # fmt: skip
    finally:
        if isinstance(text, Path):  # a copy, and there still if there is no run
            text.unlink(missing_ok=True)


def _text(options: argparse.Namespace, store: ModelStore, config: RunConfig) -> tuple[str | Path, Prepared | None]:
    """The text to train on; a large one as a file, together with its tokens."""
    from gpt_demo.runs.preparing import is_streamed
    from gpt_demo.runs.recipes import continued
    from gpt_demo.text.tokenizer import Tokenizer

    if options.sample:
        return sample_text(options.sample), None
    parent, tokenizer = store.get(options.model) if options.model else None, None
    if parent is not None:
        tokenizer = Tokenizer.load(parent.folder / "tokenizer.json")
        config = continued(config, parent, tokenizer)
    if is_streamed([Path(file) for file in options.file], config, tokenizer):
        return large_text(options, config, tokenizer)
    return read_options(options), None


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings given, converted to their types."""
    from gpt_demo.training.config import FIELDS, parse_value

    given = {name: getattr(options, f"set_{name}") for name in FIELDS}
    return {name: parse_value(name, value) for name, value in given.items() if value is not None}


def _print_training(event: Event) -> None:
    """One line per event, but only every 50th step."""
    if isinstance(event, Started):
        print(
            f"{event.run}: {event.n_params:,} parameters, {event.train_tokens:,} training and {event.val_tokens:,} "
            f"validation tokens, steps {event.step} to {event.total_steps - 1} on {event.device} in {event.precision}"
        )
    elif isinstance(event, Stepped) and event.step % 50 == 0:
        print(f"step {event.step:>6}  loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s", flush=True)
    elif isinstance(event, Evaluated):
        from gpt_demo.training.evaluation import perplexity

        print(
            f"step {event.step:>6}  train loss {event.train_loss:.3f}  validation loss {event.val_loss:.3f}  "
            f"perplexity {perplexity(event.val_loss):,.1f}",
            flush=True,
        )
    elif isinstance(event, Sampled):
        print(f"step {event.step:>6}  {' '.join(event.text.split())}", flush=True)
    elif isinstance(event, Finished):
        print(f"finished after {event.steps} steps and {event.seconds:,.1f} s")
