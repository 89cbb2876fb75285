"""The stories and the starter model that learns from them.

python -m stories text OUT [--stories N] [--seed S]     write a text
python -m stories starter [--home FOLDER] [--to FOLDER]  write the text, train on it, put the model in its place
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stories.starter import SEED, STORIES, make_starter
from stories.write import joined, stories


def main(argv: list[str] | None = None) -> int:
    """The command; 0 done, else what training gave back."""
    parser = argparse.ArgumentParser(prog="python -m stories", description=__doc__.split("\n")[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    text = commands.add_parser("text", help="write a text of stories")
    text.add_argument("out", type=Path, help="the file to be written")
    text.add_argument("--stories", type=int, default=STORIES, metavar="N")
    text.add_argument("--seed", type=int, default=SEED, metavar="S")
    starter = commands.add_parser("starter", help="train the starter model; broken off, the same command goes on")
    starter.add_argument("--home", type=Path, default=Path("made"), help="where the text and the run are kept")
    starter.add_argument("--to", type=Path, default=Path("assets/starter"), help="where the model is put")
    options = parser.parse_args(argv)
    if options.command == "starter":
        return make_starter(options.home, options.to)
    options.out.write_text(joined(stories(options.stories, options.seed)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
