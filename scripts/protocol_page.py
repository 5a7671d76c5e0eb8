"""The methods in `docs/reference/protocol.md`, and the shapes that they speak of, made from the types.

Separate from `make_reference` because they are part of a page that people write, between two marks.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from doc_sources import SOURCE, base_names, between_marks, class_docstring, documented_fields, table

from agentcoord.wire.messages import ErrorData, StatusView
from agentcoord.wire.methods import SIGNATURES, Signature
from agentcoord.wire.protocol import Method

METHODS_BEGIN: Final = "<!-- methods: made by scripts/make_reference.py -->"
METHODS_END: Final = "<!-- end of methods -->"
_PLAIN: Final = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_UNASKED: Final = (StatusView, ErrorData)
"""Spoken of outside the methods too, so that they have a place of their own."""


def with_methods(text: str) -> str:
    """Return the text of the page with what stands between its marks made anew.

    Raises ValueError when the marks are not there.
    """
    return between_marks(
        "docs/reference/protocol.md", text, METHODS_BEGIN, METHODS_END, f"\n{methods_and_shapes()}\n"
    )


def methods_and_shapes() -> str:
    """Every method with its parameters, result and errors; then every shape that is not spelled there."""
    shapes = shared_shapes()
    said = documented_fields(SOURCE / "wire" / "protocol.py", "Method")
    lines: list[str] = []
    for method in Method:
        lines += [f"### `{method}`", "", said[method.name], "", *_signature(SIGNATURES[method], shapes)]
    lines += ["## Shapes", "", "What the methods and notifications above and below speak of, by name.", ""]
    for shape in sorted(shapes, key=lambda each: each.__name__):
        lines += [f"### {shape.__name__}", ""]
        if words := class_docstring(Path(str(sys.modules[shape.__module__].__file__)), shape.__name__):
            lines += [" ".join(words.split()), ""]
        lines += [*table(("Field", "Type", "Meaning"), _result_rows(shape, shapes)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _signature(signature: Signature, shapes: set[type]) -> Iterator[str]:
    rows = list(_param_rows(signature.params, shapes))
    if rows:
        yield from [*table(("Parameter", "Type", "Left out", "Meaning"), rows), ""]
    else:
        yield from ["No parameters.", ""]
    for number, result in enumerate(signature.results):
        title = f"Result, with `{signature.second_with}`" if number else "Result"
        if result in shapes:
            yield from [f"{title}: {_link(result)}.", ""]
        else:
            rows = list(_result_rows(result, shapes))
            yield from [f"{title}:", "", *table(("Field", "Type", "Meaning"), rows), ""]
    if signature.errors:
        words = "; ".join(f"{int(code)}: {when}" for code, when in signature.errors.items())
        yield from [f"Errors: {words}.", ""]


def _param_rows(params: type[msgspec.Struct], shapes: set[type]) -> Iterator[tuple[str, ...]]:
    said, hints = _said_of(params), typing.get_type_hints(params)
    for each in msgspec.structs.fields(params):
        if each.required:
            default = "required"
        elif each.default_factory is not msgspec.NODEFAULT:
            made = each.default_factory()
            default = "all" if made else "none"
        elif each.default is msgspec.UNSET:
            default = "it may be"
        else:
            default = f"`{msgspec.json.encode(each.default).decode()}`"
        yield f"`{each.name}`", _words_of(hints[each.name], shapes), default, said[each.name]


def _result_rows(shape: type, shapes: set[type]) -> Iterator[tuple[str, ...]]:
    said = _said_of(shape)
    for name, hint in typing.get_type_hints(shape, include_extras=True).items():
        optional = typing.get_origin(hint) is typing.NotRequired
        words = _words_of(typing.get_args(hint)[0] if optional else hint, shapes)
        yield f"`{name}`", f"{words}; may be missing" if optional else words, said[name]


def _words_of(hint: Any, shapes: set[type]) -> str:
    """A type as the reader of a page in no particular language knows it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint in shapes:
        return _link(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return " or ".join(f"`{each}`" for each in hint)
    if origin is list:
        return f"list of {_words_of(inner[0], shapes)}"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {_words_of(inner[1], shapes)}"
    if origin is typing.Literal:
        return " or ".join(f"`{each}`" for each in inner)
    assert origin in (types.UnionType, typing.Union), hint
    return " or ".join(_words_of(each, shapes) for each in inner if each is not msgspec.UnsetType)


def _link(shape: type) -> str:
    return f"[{shape.__name__}](#{shape.__name__.lower()})"


def shared_shapes() -> set[type]:
    """The TypedDicts that stand within others, or that more than one method answers with."""
    results = [result for signature in SIGNATURES.values() for result in signature.results]
    shapes = {result for result in results if results.count(result) > 1} | set(_UNASKED)
    params = [signature.params for signature in SIGNATURES.values()]
    for outer in [*results, *params, *_UNASKED]:
        shapes |= set(_within(outer))
    return shapes


def _within(outer: Any) -> Iterator[type]:
    for hint in typing.get_type_hints(outer).values():
        for each in _parts_of(hint):
            yield each
            yield from _within(each)


def _parts_of(hint: Any) -> Iterator[type]:
    if typing.is_typeddict(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _parts_of(inner)


def _said_of(shape: type) -> dict[str, str]:
    """What the strings beneath the fields say, those of the shapes that it is built on included."""
    module = sys.modules[shape.__module__]
    path = Path(str(module.__file__))
    said: dict[str, str] = {}
    # A TypedDict forgets what it was built on; its source does not.
    for name in base_names(path, shape.__name__):
        base = vars(module).get(name)
        if isinstance(base, type) and base.__module__.startswith("agentcoord."):
            said |= _said_of(base)
    # Python's word for it is not everybody's.
    own = documented_fields(path, shape.__name__).items()
    return said | {name: re.sub(r"\bNone\b", "null", words) for name, words in own}
