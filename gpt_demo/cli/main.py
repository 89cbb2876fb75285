"""The command line: `python -m gpt_demo COMMAND`. One more reader of the events that the page shows.

Commands import torch when they need it, so that --help is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import NoReturn

from gpt_demo.cli import models, train, write
from gpt_demo.cli.output import leave_output
from gpt_demo.errors import UserError

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
        leave_output()
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'The disk'}: {error.strerror or error}. Check GPT_DEMO_HOME and the disk.")
    except KeyboardInterrupt:
        return 130


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


_OPTIONS = {
    "train": train.train_options,
    "generate": write.generate_options,
    "evaluate": write.evaluate_options,
    "download": models.download_options,
    "import": models.import_options,
    "export": models.export_options,
    "models": models.models_options,
}
_RUN = {
    "train": train.train,
    "generate": write.generate,
    "evaluate": write.evaluate,
    "download": models.download,
    "import": models.import_,
    "export": models.export,
    "models": models.models,
}
