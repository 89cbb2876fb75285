"""Which text a command reads: files, columns of tables, an encoding, or a text that is at hand."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from gpt_demo.errors import UserError


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


def sample_text(name: str) -> str:
    """A text that is at hand, by its name: story or verdict."""
    from gpt_demo.paths import data_home
    from gpt_demo.text.samples import sample_story, the_verdict

    if name not in ("story", "verdict"):
        raise UserError(f"--sample is {name[:40]!r}; it must be story or verdict.")
    return sample_story() if name == "story" else the_verdict(data_home())
