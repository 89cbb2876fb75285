"""The types of the Playground's questions, checked at the door: whoever can post can ask anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from typing_extensions import NotRequired, get_type_hints, is_typeddict

from gpt_demo.errors import UserError, quoted

_OPTIONAL: Any = NotRequired
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def checked(kind: Any, asked: Any) -> dict[str, Any]:
    """The question without what its TypedDict does not name, and without what is null.

    Raises UserError naming what is missing, or the first value of a wrong type.
    """
    if not isinstance(asked, Mapping):
        raise UserError(f"The question is {quoted(asked)}; it must be an object.")
    hints = get_type_hints(kind, include_extras=True)
    found = {name: asked[name] for name in hints if asked.get(name) is not None}
    missing = [n for n, hint in hints.items() if get_origin(hint) is not _OPTIONAL and n not in found]
    if set(missing) - {"token"}:  # before the page has one, nobody asks
        raise UserError(f"The question does not say {', '.join(missing)}.")
    for name, value in found.items():
        _check(name, hints[name], value)
    return found


def _check(name: str, kind: Any, value: Any) -> None:
    if get_origin(kind) is _OPTIONAL:
        kind = get_args(kind)[0]
    if is_typeddict(kind):
        checked(kind, value)
    elif get_origin(kind) is list:
        if not isinstance(value, list):
            raise UserError(f"{name} is {quoted(value)}; it must be a list.")
        for one in value:
            _check(name, get_args(kind)[0], one)
    elif not _is(kind, value):
        raise UserError(f"{name} is {quoted(value)}; it must be {_WORDS[kind]}.")


def _is(kind: Any, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else kind)
