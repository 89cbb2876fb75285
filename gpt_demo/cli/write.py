"""`generate` and `evaluate`: a stored model continues a prompt, or predicts a text."""

from __future__ import annotations

import argparse
import sys

from gpt_demo.cli.output import print_json
from gpt_demo.cli.shared import interruptible, open_store, option
from gpt_demo.cli.texts import read_options, text_options
from gpt_demo.decoding.steps import STEPS
from gpt_demo.errors import UserError
from gpt_demo.events import Event, Generated, Measured, TokenChosen


def generate_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--model", required=True, metavar="NAME", help="a stored model (see: models)")
    add("--prompt", default="", help="the text to continue; empty: start from <|endoftext|>")
    add("--max-new-tokens", type=int, default=50, metavar="N", help="tokens to generate (default: 50)")
    add("--greedy", action="store_true", help="always the most probable token")
    for step in STEPS.values():
        greedy = "" if step.greedy is None else f"; {step.greedy:g}: greedy"
        add(
            option(step.name), type=int if step.whole else float, default=step.off, metavar=step.field.upper()[:1],
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


def generate(options: argparse.Namespace) -> int:
    from gpt_demo.decoding import generate as decoding
    from gpt_demo.model.decode_step import slower

    _refuse_ignored(options)
    steps = {name: getattr(options, name) for name in STEPS} | ({"temperature": 0.0} if options.greedy else {})
    sampling = decoding.Sampling(**steps, seed=options.seed, draw=options.draw)
    model = open_store().load(options.model, precision=options.precision)
    if options.beams:
        events = decoding.generate_beams(
            *model, options.prompt, options.beams, options.length_penalty, options.max_new_tokens
        )
    else:
        events = decoding.generate(*model, options.prompt, sampling, options.max_new_tokens)
    if not options.json:
        print(options.prompt, end="", flush=True)
    with interruptible() as interrupted:
        for event in events:
            (print_json if options.json else _print_text)(event)
            if interrupted():
                return 130
    if said := slower(model[0].config):
        print(said, file=sys.stderr)
    return 0


def _refuse_ignored(options: argparse.Namespace) -> None:
    """UserError on options that would be ignored without a word."""
    if not options.beams:
        if options.length_penalty != 1.0:
            raise UserError("--length-penalty belongs to beam search. Give --beams too, or leave it out.")
        return
    unused = {step.name: step.off for step in STEPS.values()} | {"greedy": False, "seed": 0, "draw": "darts"}
    given = [option(name) for name, default in unused.items() if getattr(options, name) != default]
    if given:
        raise UserError(f"Beam search does not sample, so it ignores {', '.join(given)}. Leave out these or --beams.")


def _print_text(event: Event) -> None:
    if isinstance(event, TokenChosen):
        print(event.text, end="", flush=True)
    elif isinstance(event, Generated):
        print()


def evaluate_options(command: argparse.ArgumentParser) -> None:
    text_options(command, "+")
    command.add_argument("--model", required=True, metavar="NAME", help="a stored model (see: models)")
    command.add_argument("--precision", default="fp32", help="weights in fp32, bf16 or int8 (default: fp32)")


def evaluate(options: argparse.Namespace) -> int:
    from gpt_demo.training import evaluation

    text = read_options(options)
    for event in evaluation.evaluate(*open_store().load(options.model, precision=options.precision), text):
        if options.json:
            print_json(event)
        elif isinstance(event, Measured):
            print(f"loss {event.loss:.4f}  perplexity {event.perplexity:,.2f}  tokens {event.tokens:,}")
    return 0
