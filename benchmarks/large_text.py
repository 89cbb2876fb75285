"""A large text in bounded memory, at tiktoken's own speed: `python -m benchmarks.large_text`.

Writes a text of --mb MB (the words of the sample story in another order on every line) and trains a few steps of the
quick preset on it, each time in a process of its own: with GPT-2's tokenizer, once with the text to be cut into tokens
and once with the tokens there, and with a vocabulary of the text's own. Of each it tells how much memory the process
took at its highest, beyond what the same model takes on the story alone; fails above --most GB.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpt_demo.text.samples import sample_story
from gpt_demo.text.tokenizer import gpt2

STEPS = ["--max-steps", "5", "--sample-tokens", "5"]
KINDS = {"gpt2": ["--tokenizer", "gpt2"], "bpe": ["--tokenizer", "bpe"]}


def write_text(path: Path, megabytes: int) -> None:
    """Words of the story in another order on every line: no two lines are alike."""
    draw, words = random.Random(1), sample_story().split()
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1e6:
            file.write("".join(" ".join(draw.sample(words, 60)) + "\n" for _ in range(1000)))


def train(home: Path, name: str, *words: str) -> tuple[float, float]:
    """Seconds of the processor, and the most memory in GB, of a training in a process of its own."""
    code = """if True:
        import resource, sys
        from gpt_demo.cli.main import main
        main(sys.argv[1:])
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, used.ru_maxrss)
    """
    command = [sys.executable, "-c", code, "train", *words, "--name", name, *STEPS]
    environment = {**os.environ, "GPT_DEMO_HOME": str(home)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, most = map(float, done.stdout.split()[-2:])
    return seconds, most * (1 if sys.platform == "darwin" else 1024) / 1e9


def tiktoken_speed(path: Path) -> float:
    """MB/s of one thread of tiktoken on 5 MB of the text."""
    with path.open(encoding="utf-8") as file:
        text = file.read(5_000_000)
    started = time.process_time()
    gpt2().encoding.encode_ordinary_batch([text], num_threads=1)
    return len(text) / 1e6 / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_text", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--mb", type=int, default=1000, help="size of the text (default: 1000)")
    parser.add_argument("--most", type=float, default=1.5, help="GB above the model that are allowed (default: 1.5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, text = Path(folder) / "home", Path(folder) / "text.txt"
        write_text(text, options.mb)
        size = text.stat().st_size / 1e6
        models = {kind: train(home, kind, "--sample", "story", *kind_of) for kind, kind_of in KINDS.items()}
        runs = {
            "gpt2, first time": ("gpt2", train(home, "first", str(text), *KINDS["gpt2"])),
            "gpt2, tokens kept": ("gpt2", train(home, "again", str(text), *KINDS["gpt2"])),
            "a vocabulary of its own": ("bpe", train(home, "learned", str(text), *KINDS["bpe"])),
        }
        print(f"{size:,.0f} MB of text, {options.mb / 1000:g} GB")
        for name, (kind, (seconds, most)) in runs.items():
            model = models[kind][1]
            print(f"{name:<24} {seconds:>6.0f} s of the processor, {most - model:.2f} GB above the model's {model:.2f}")
        cutting = size / (runs["gpt2, first time"][1][0] - runs["gpt2, tokens kept"][1][0])
        alone = tiktoken_speed(text)
        print(f"cut into tokens at {cutting:.1f} MB a second of the processor, {cutting / alone:.2f}x tiktoken's own")
        above = max(most - models[kind][1] for kind, (_, most) in runs.values())
        assert above < options.most, f"{above:.2f} GB above the model; {options.most} are allowed"


if __name__ == "__main__":
    main()
