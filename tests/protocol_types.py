"""gpt_demo/ui/protocol in TypeScript, for the scripts: `python -m tests.protocol_types` writes it.

And the check of what is really sent.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from typing_extensions import NotRequired, get_type_hints, is_typeddict

from gpt_demo.decoding.beams import Hypothesis
from gpt_demo.events import Event
from gpt_demo.ui.playground.server import LabServer
from gpt_demo.ui.protocol import chart, playground, views

TARGET = Path(__file__).parents[1] / "assets" / "page" / "protocol.d.ts"
HEAD = """\
// What server and browser say to each other, written by tests.protocol_types.py from gpt_demo/ui/protocol/.
"""
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", NoneType: "null", Any: "unknown"}
WIDTH = 120

# Name -> what is declared, in its order; aliases by what they stand for.
DECLARED = {name: value for module in (playground, chart, views) for name, value in vars(module).items()}
ALIASES = {value: name for name, value in DECLARED.items() if name[0].isupper() and get_args(value)}


def questions() -> dict[str, tuple[Any, Any]]:
    """What the Playground can ask: name -> the types of question and answer."""
    named = {name: get_type_hints(method) for name, method in inspect.getmembers(LabServer, inspect.isfunction)}
    public = {name: hints for name, hints in named.items() if not name.startswith("_")}
    return {name: (hints["request"], hints["return"]) for name, hints in public.items()}


def declarations() -> str:
    """The whole file."""
    records = [Hypothesis, *(value for value in DECLARED.values() if is_record(value))]
    aliases = [alias(name, value) for value, name in ALIASES.items()]
    asked = [f"  {name}: [{kind(one)}, {kind(other)}];" for name, (one, other) in questions().items()]
    interfaces = [interface(record) for record in records]
    table = ["/** What can be asked: question and answer. */", "export interface Questions {", *asked, "}"]
    return "\n\n".join([HEAD + "\n" + "\n".join(aliases), *interfaces, "\n".join(table)]) + "\n"


def alias(name: str, value: Any) -> str:
    line = f"export type {name} = {kind(value, plain=True)};"
    return line if len(line) <= WIDTH else line.replace(" | ", "\n  | ")


def is_record(value: Any) -> bool:
    return is_typeddict(value) or (is_dataclass(value) and isinstance(value, type))


def is_event(value: Any) -> bool:
    return is_record(value) and issubclass(value, Event)


def interface(record: Any) -> str:
    """A dictionary's keys or a dataclass's fields; an event carries its kind."""
    words = f"/** {(inspect.getdoc(record) or '').splitlines()[0]} */\n"
    one_line = f"export interface {record.__name__} {{ {' '.join(members(record))} }}"
    if len(one_line) <= WIDTH:
        return words + one_line
    lines = "\n".join(f"  {member}" for member in members(record))
    return f"{words}export interface {record.__name__} {{\n{lines}\n}}"


def members(record: Any) -> Iterator[str]:
    hints = get_type_hints(record, include_extras=True)
    if is_typeddict(record):
        for name, hint in hints.items():
            optional = get_origin(hint) is NotRequired
            yield f"{name}{'?' * optional}: {kind(get_args(hint)[0] if optional else hint)};"
        return
    if is_event(record):
        yield f"event: {json.dumps(record.kind)};"
    for field in fields(record):
        yield f"{field.name}: {kind(hints[field.name])};"


def kind(hint: Any, plain: bool = False) -> str:
    """A type in the words of TypeScript; by its name where it has one, unless `plain`."""
    if hint in PLAIN:
        return PLAIN[hint]
    if hint in ALIASES and not plain:
        return ALIASES[hint]
    if is_record(hint):
        return str(hint.__name__)
    origin, of = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(map(json.dumps, of))
    if origin in (Union, UnionType):
        return " | ".join(map(kind, of))
    if origin is dict and of[0] is str:
        return f"Record<string, {kind(of[1])}>"
    if origin is list or of[-1] is ...:
        one = kind(of[0])
        return f"({one})[]" if " | " in one else f"{one}[]"
    assert origin is tuple, hint
    return f"[{', '.join(map(kind, of))}]"


def mismatch(hint: Any, text: str) -> str | None:
    """What is wrong with this JSON as a value of the type: missing, too much, or of another kind."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    try:
        value = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        return str(error)
    said = json.loads(text, object_hook=_without_kind)
    return None if adapter.dump_python(value, mode="json") == said else "There is more than what is declared."


def _without_kind(record: dict[str, Any]) -> dict[str, Any]:
    """An event's fields, if it says of what kind it is."""
    kinds = {one.kind: [field.name for field in fields(one)] for one in DECLARED.values() if is_event(one)}
    if record.get("event") in kinds and record.keys() - {"event"} == set(kinds[record["event"]]):
        del record["event"]
    return record


if __name__ == "__main__":
    TARGET.write_text(declarations(), encoding="utf-8")
