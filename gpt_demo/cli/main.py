"""The command line: `python -m gpt_demo COMMAND`. One more reader of the events that the page shows.

Torch is imported when a command needs it, so that --help is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gpt_demo.cli import models as commands_models
from gpt_demo.cli.models import open_store, print_json
from gpt_demo.cli.texts import read_options, sample_text, text_options
from gpt_demo.decoding.steps import STEPS
from gpt_demo.errors import UserError
from gpt_demo.events import Evaluated, Event, Finished, Generated, Measured, Sampled, Started, Stepped, TokenChosen

if TYPE_CHECKING:
    from gpt_demo.runs.runs import RunFolder
    from gpt_demo.store.store import ModelStore

COMMANDS = {
    "train": "train a model on a text, from scratch or from a stored model",
    "generate": "continue a prompt with a stored model",
    "evaluate": "loss and perplexity of a stored model on a text",
    "download": "download a GPT-2 from OpenAI or the Hugging Face Hub",
    "import": "add a model from disk to the store",
    "export": "export a stored model for transformers, the book's code or llama.cpp",
    "models": "list the stored models",
}


class Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}. See {self.prog} --help.\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 2 bad input, 130 interrupted."""
    with contextlib.suppress(AttributeError):  # characters the terminal can't show become "?"
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        options = _parse(sys.argv[1:] if argv is None else argv)
        code = _RUN[options.command](options)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of the pipe has closed it
        _leave_output()
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'The disk'}: {error.strerror or error}. Check GPT_DEMO_HOME and the disk.")
    except KeyboardInterrupt:
        return 130


def _leave_output() -> None:
    """Discard all further output."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return 2


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m gpt_demo", description="A GPT-2 written from scratch: train it and generate text.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print the events as JSON, one object per line")
        if name in argv[:1]:
            _OPTIONS[name](command)
    return parser.parse_args(argv)


# train ----------------------------------------------------------------------------------------------------------------


def _train_options(command: argparse.ArgumentParser) -> None:
    from gpt_demo.training.config import FIELDS, PRESETS, describe

    text_options(command, "*")
    command.add_argument("--sample", metavar="NAME", help="instead of FILE: story or verdict (The Verdict, downloaded)")
    command.add_argument("--preset", metavar="NAME", help=f"{', '.join(PRESETS)} (default: quick)")
    command.add_argument("--model", metavar="NAME", help="start from this stored model instead of from scratch")
    command.add_argument("--name", help="name of the run and its model")
    command.add_argument("--resume", metavar="RUN", help="resume a run that was stopped or interrupted")
    settings = command.add_argument_group("settings, each overriding the preset")
    for name in FIELDS:
        settings.add_argument(_option(name), metavar="VALUE", dest=f"set_{name}", help=describe(name))


def _train(options: argparse.Namespace) -> int:
    from gpt_demo.memory import keep_freed_memory
    from gpt_demo.runs.keeping import store_model
    from gpt_demo.runs.outcome import verdict
    from gpt_demo.runs.recipes import train_job

    keep_freed_memory()
    store = open_store()
    folder = _run_folder(options, store)
    reader = _Reader(print_json if options.json else _print_training)
    with folder.working() as finish, _interruptible() as interrupted:
        with contextlib.closing(train_job(folder, store, lambda: interrupted() or reader.gone)) as events:
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


class _Reader:
    """The reader of the output, who may stop reading, as in `train ... | head`."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.gone = False
        self._show = show

    def show(self, event: Event) -> None:
        try:
            self._show(event)
        except BrokenPipeError:
            _leave_output()
            self.gone = True


def _run_folder(options: argparse.Namespace, store: ModelStore) -> RunFolder:
    """A new run, or the one to resume, checked and ready to start."""
    from gpt_demo.paths import data_home
    from gpt_demo.runs.recipes import create_run, resume_run, starts_over
    from gpt_demo.runs.runs import Runs
    from gpt_demo.training.config import FROM_MODEL, preset

    changes = _changes(options)
    runs = Runs(data_home(), see_all=True)
    if options.resume is not None:
        if options.file or options.sample or options.model or options.name or options.preset:
            raise UserError("--resume continues a run as it was: omit FILE, --preset, --model and --name.")
        folder = runs.get(options.resume)
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
    return create_run(
        runs, store, sample_text(options.sample) if options.sample else read_options(options), preset(name, changes),
        preset_name=name, name=options.name, base=options.model, source=options.sample or Path(options.file[0]).name,
    )  # fmt: skip


def _changes(options: argparse.Namespace) -> dict[str, Any]:
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


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM only set a flag, so that the state can be saved first."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _frame: received.append(n)) for number in signals}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# generate, evaluate ---------------------------------------------------------------------------------------------------


def _generate_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--model", required=True, metavar="NAME", help="a stored model (see: models)")
    add("--prompt", default="", help="the text to continue; empty: start from <|endoftext|>")
    add("--max-new-tokens", type=int, default=50, metavar="N", help="tokens to generate (default: 50)")
    add("--greedy", action="store_true", help="always the most probable token")
    for step in STEPS.values():
        greedy = "" if step.greedy is None else f"; {step.greedy:g}: greedy"
        add(
            _option(step.name), type=int if step.whole else float, default=step.off, metavar=step.field.upper()[:1],
            help=f"{step.words} (default: {step.off:g}, off{greedy})",
        )  # fmt: skip
    add("--beams", type=int, default=0, metavar="B", help="beam search with B beams instead of sampling")
    add("--length-penalty", type=float, default=1.0, metavar="A", help="for beam search: above 0 favors longer texts")
    add("--seed", type=int, default=0, metavar="N", help="random seed, as in the Playground (default: 0)")
    add(
        "--draw",
        default="darts",
        metavar="NAME",
        help="how to sample: darts, as on the page, or multinomial, as in the book (default: darts)",
    )
    add("--precision", default="fp32", help="weights in fp32, bf16 or int8 (default: fp32)")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _generate(options: argparse.Namespace) -> int:
    from gpt_demo.decoding.generate import Sampling, generate, generate_beams

    steps = {name: getattr(options, name) for name in STEPS} | ({"temperature": 0.0} if options.greedy else {})
    sampling = Sampling(**steps, seed=options.seed, draw=options.draw)
    model = open_store().load(options.model, precision=options.precision)
    if options.beams:
        events = generate_beams(*model, options.prompt, options.beams, options.length_penalty, options.max_new_tokens)
    else:
        events = generate(*model, options.prompt, sampling, options.max_new_tokens)
    if not options.json:
        print(options.prompt, end="", flush=True)
    with _interruptible() as interrupted:
        for event in events:
            (print_json if options.json else _print_text)(event)
            if interrupted():
                return 130
    return 0


def _print_text(event: Event) -> None:
    if isinstance(event, TokenChosen):
        print(event.text, end="", flush=True)
    elif isinstance(event, Generated):
        print()


def _evaluate_options(command: argparse.ArgumentParser) -> None:
    text_options(command, "+")
    command.add_argument("--model", required=True, metavar="NAME", help="a stored model (see: models)")
    command.add_argument("--precision", default="fp32", help="weights in fp32, bf16 or int8 (default: fp32)")


def _evaluate(options: argparse.Namespace) -> int:
    from gpt_demo.training.evaluation import evaluate

    text = read_options(options)
    for event in evaluate(*open_store().load(options.model, precision=options.precision), text):
        if options.json:
            print_json(event)
        elif isinstance(event, Measured):
            print(f"loss {event.loss:.4f}  perplexity {event.perplexity:,.2f}  tokens {event.tokens:,}")
    return 0


_OPTIONS = {
    "train": _train_options,
    "generate": _generate_options,
    "evaluate": _evaluate_options,
    "download": commands_models.download_options,
    "import": commands_models.import_options,
    "export": commands_models.export_options,
    "models": commands_models.models_options,
}
_RUN = {
    "train": _train,
    "generate": _generate,
    "evaluate": _evaluate,
    "download": commands_models.download,
    "import": commands_models.import_,
    "export": commands_models.export,
    "models": commands_models.models,
}

if __name__ == "__main__":
    raise SystemExit(main())
