"""`download`, `import`, `export` and `models`."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from gpt_demo.cli.output import ProgressPrinter, print_json
from gpt_demo.cli.shared import open_store
from gpt_demo.events import Event, finite

# download, import, export ---------------------------------------------------------------------------------------------


def download_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model",
        metavar="SIZE|ORG/NAME",
        help="124M, 355M, 774M or 1558M (stored as gpt2-SIZE), or a GPT-2 on the Hugging Face Hub (stored as NAME)",
    )
    command.add_argument(
        "--source",
        help="openai (needs TensorFlow to convert) or huggingface (default: openai; ORG/NAME: huggingface)",
    )
    command.add_argument(
        "--keep-files",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="keep the downloaded files after conversion (default: yes, except on a Space)",
    )


def download(options: argparse.Namespace) -> int:
    from gpt_demo.exchange.hub import is_repository
    from gpt_demo.exchange.pretrained import download_model

    source = options.source or ("huggingface" if is_repository(options.model) else "openai")
    again = f"download {options.model} --source {source}"
    events = download_model(open_store(), options.model, source, keep_files=options.keep_files)
    return _show(events, options.json, f"Stopped; the partial download is kept. To resume: {again}")


def import_options(command: argparse.ArgumentParser) -> None:
    from gpt_demo.exchange.unsaid import SETTINGS
    from gpt_demo.training.config import describe

    command.add_argument(
        "path",
        metavar="PATH",
        help="a folder in OpenAI's, Hugging Face's or this app's layout, a zip, a .safetensors file, or a PyTorch file "
        "(the book's model.pth, nanoGPT's ckpt.pt)",
    )
    command.add_argument("--name", required=True, help="name of the model in the store")
    unsaid = command.add_argument_group("settings that a file of weights does not contain")
    for name in SETTINGS:
        unsaid.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", dest=f"set_{name}", help=describe(name))
    unsaid.add_argument(
        "--tokenizer", metavar="NAME", help="gpt2, cl100k_base, bytes, or a folder with tokenizer files"
    )


def import_(options: argparse.Namespace) -> int:
    from gpt_demo.exchange.pretrained import import_model
    from gpt_demo.exchange.unsaid import SETTINGS
    from gpt_demo.training.config import parse_value

    given = {name: getattr(options, f"set_{name}") for name in SETTINGS}
    said = {name: parse_value(name, value) for name, value in given.items() if value is not None}
    said |= {"tokenizer": options.tokenizer} if options.tokenizer is not None else {}
    events = import_model(open_store(), Path(options.path), options.name, said=said)
    return _show(events, options.json, "Stopped; nothing was imported.")


def export_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, metavar="NAME", help="a stored model (see: models)")
    command.add_argument("--to", required=True, metavar="DIR", help="a new or empty folder")
    command.add_argument(
        "--format",
        default="transformers",
        help="transformers (a folder), book (its model.pth) or gguf (a file for llama.cpp) (default: transformers)",
    )


def export(options: argparse.Namespace) -> int:
    from gpt_demo.exchange.pretrained import export_model

    events = export_model(open_store(), options.model, Path(options.to), form=options.format)
    return _show(events, options.json, "Stopped; nothing was exported.")


def _show(events: Iterator[Event], as_json: bool, stopped: str) -> int:
    """Print the events as they arrive and return the exit code. Ctrl-C and SIGTERM end the job at once, cleanly."""
    printer = ProgressPrinter()
    show = print_json if as_json else printer.show
    # Set for both: a shell that starts a job in the background lets it ignore Ctrl-C.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                show(event)
        return 0
    except KeyboardInterrupt:
        printer.end_line()
        print(stopped, file=sys.stderr)
        return 130
    finally:
        printer.end_line()
        for number, handler in before.items():
            signal.signal(number, handler)


# models ---------------------------------------------------------------------------------------------------------------


def models_options(command: argparse.ArgumentParser) -> None:
    """No options besides --json."""


def models(options: argparse.Namespace) -> int:
    for info in open_store().list():
        if options.json:
            about = {key: value for key, value in info.about.items() if key != "owner"}
            record = {"event": "model", "name": info.name, "parameters": info.config.n_params, "bytes": info.bytes}
            print(json.dumps(finite({**record, "config": info.config.to_dict(), "about": about}), allow_nan=False))
        else:
            print(f"{info.name:<24} {info.config.n_params:>13,} parameters  {info.bytes / 1e6:>8,.1f} MB")
    return 0
