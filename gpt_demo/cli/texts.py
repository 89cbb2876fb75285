"""Which text a command reads: files, columns of tables, an encoding, or a text that is at hand."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_demo.errors import UserError
from gpt_demo.format import size

if TYPE_CHECKING:
    from gpt_demo.runs.preparing import Prepared
    from gpt_demo.text.tokenizer import Tokenizer
    from gpt_demo.training.config import RunConfig


def text_options(command: argparse.ArgumentParser, files: str) -> None:
    """FILE and how it is read; `files`: "*" or "+" of them."""
    command.add_argument("file", nargs=files, metavar="FILE", help="one or more .txt, .md or .csv files")
    command.add_argument("--columns", metavar="NAME[,NAME...]", help="of the .csv files (default: all that hold text)")
    command.add_argument("--encoding", metavar="NAME", help="of the files, such as cp1251 (default: detected)")


def read_options(options: argparse.Namespace) -> str:
    """The text of the files that were named. A column whose name has a comma is written in "quotes"."""
    from gpt_demo.text.encodings import check_encoding
    from gpt_demo.text.reading import read_texts

    columns = next(csv.reader([options.columns], skipinitialspace=True)) if options.columns else None
    encoding = check_encoding(options.encoding) if options.encoding else None
    return read_texts([Path(file) for file in options.file], columns, encoding)


def large_text(options: argparse.Namespace, config: RunConfig, tokenizer: Tokenizer | None) -> tuple[Path, Prepared]:
    """A copy of the files that were named, as one large text, and what it is as tokens; progress goes to stderr."""
    from gpt_demo.paths import data_home
    from gpt_demo.runs.preparing import prepare_large
    from gpt_demo.text.encodings import check_encoding
    from gpt_demo.text.large import SAMPLE, copy_text

    encoding = check_encoding(options.encoding) if options.encoding else None
    home = data_home()
    home.mkdir(parents=True, exist_ok=True)
    copy = home / f".text.{os.getpid()}.txt"
    try:
        copy_text([Path(file) for file in options.file], copy, encoding)
        if tokenizer is None and config.data.tokenizer == "bpe":
            print(f"The tokenizer is learned from {size(SAMPLE)} spread evenly over the text.", file=sys.stderr)
        return copy, _shown(prepare_large(copy, config, tokenizer), copy.stat().st_size)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _shown(preparing: Generator[int, None, Prepared], total: int) -> Prepared:
    """What it returns; meanwhile how far it is: a bar on a terminal, else a line for every tenth."""
    bar, tenths = sys.stderr.isatty(), 0
    while True:
        try:
            done = next(preparing) / total
        except StopIteration as end:
            print(end="\n" if bar and tenths else "", file=sys.stderr)
            prepared: Prepared = end.value
            return prepared
        if bar:
            print(f"\rtokens [{'#' * int(40 * done):<40}] {done:.0%}", end="", file=sys.stderr, flush=True)
        elif int(10 * done) > tenths:
            print(f"tokens: {done:.0%} of {size(total)}", file=sys.stderr)
        tenths = int(10 * done) or bar


def sample_text(name: str) -> str:
    """A text that is at hand, by its name: story or verdict."""
    from gpt_demo.paths import data_home
    from gpt_demo.text.samples import sample_story, the_verdict

    if name not in ("story", "verdict"):
        raise UserError(f"--sample is {name[:40]!r}; it must be story or verdict.")
    return sample_story() if name == "story" else the_verdict(data_home())
