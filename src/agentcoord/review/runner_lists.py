"""Reading lists in a test runner's configuration: what stands in them, key by key, and at which line.

JavaScript, TypeScript and JSON by their words and brackets, YAML by its lines; nothing is run. Separate from
`tamper_selection`, which knows what the keys mean. Lists in a variable are looked up once. Linear in the
text, and bounded where it is not. Deliberately absent: lists that are put together by code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

from agentcoord.review.source_mask import Language, Masked, masked

IN_PACKAGE = frozenset({"jest", "mocha"})
"""The parts of `package.json` that are a runner's."""
_TEXT_CHARS = 500
"""No pattern is longer; of code that stands in the place of one no more is compared."""
_MOST_SETTINGS, _MOST_KEYS = 200, 2_000
"""With more settings a file is not read; of keys of the same names, whatever they belong to, no more is."""
_MOST_PLACES = 100
_ASSIGNMENT = re.compile(r"\s*(?::[^=;\n]{0,60})?=(?![=>])")
_COMMENT = re.compile(r"//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?+")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][\w]*)\s*")
_NAME_BEFORE = re.compile(
    r"(?P<name>[\w$]+|[\"'][^\"'\n]*[\"'])\s*(?::\s*[\w$.<>]+\s*=|[:=])\s*(?:[\w$.]+\(\s*)?$"
)
"""What stands before the brace of an object: the key or variable that it is given to."""
_LOOK_BACK = 120
_KEY = re.compile(
    r"(?<![\w$.])[A-Za-z_$][\w$]*+\s*+(?::(?!:)|(?P<short>(?=[,}])))|(?P<quote>[\"'])\s*+(?P=quote)\s*+:(?!:)"
)
"""Also one alone, which is given the variable of its name."""
_YAML_KEY = re.compile(r"(?P<name>[A-Za-z]+)\s*:(?P<value>.*)$")
_YAML_ITEM = re.compile(r"\s*-\s+(?P<value>.*)$")


class Listed(NamedTuple):
    """One text of a list, or whatever else stands there."""

    line: int
    text: str


class ListedKey(NamedTuple):
    """A key that picks or leaves out, and what it lists."""

    line: int
    texts: tuple[Listed, ...]


def keys_in(
    path: str, text: str, wanted: Collection[str], within: Collection[str]
) -> list[tuple[str, ListedKey]] | None:
    """Return each of the keys `wanted` in a runner's configuration, by its name, with what it lists.

    Not those that are right within an object of another name than those of `within` (empty: any). A name is
    `<object>.<key>` where the object is one of them or a runner's part of `package.json`. None when the file
    cannot be read, or has so many of them that not all were looked at.
    """
    if path.endswith((".yml", ".yaml")):
        found: Iterator[tuple[str, ListedKey]] = (each for each in _in_yaml(text) if each[0] in wanted)
    else:
        source = masked(text, Language.SCRIPT)
        if source is None:
            return None
        found = _in_script(source, wanted, within, in_package=path.endswith("package.json"))
    keys = list(islice(found, _MOST_SETTINGS + 1))
    return keys if len(keys) <= _MOST_SETTINGS else None


def _in_script(
    source: Masked, wanted: Collection[str], within: Collection[str], *, in_package: bool
) -> Iterator[tuple[str, ListedKey]]:
    braces = [place for place in sorted(source.closing) if source.code[place] == "{"]
    braces.append(len(source.code))
    around, coming = list[int](), 0
    keys = (found for found in _KEY.finditer(source.code) if _key_of(source, found) in wanted)
    for found in islice(keys, _MOST_KEYS):
        while braces[coming] < found.start():
            brace, coming = braces[coming], coming + 1
            _leave(around, source, brace)
            around.append(brace)
        _leave(around, source, found.start())
        key = _key_of(source, found)
        inner = _name_of(source, around[-1]) if around else ""
        if within and inner not in within:
            continue
        if in_package and not any(_name_of(source, brace) in IN_PACKAGE for brace in around[1:2]):
            continue
        short = found["short"] is not None
        if (
            short
            and source.code[max(0, found.start() - _LOOK_BACK) : found.start()].rstrip()[-1:] not in "{,"
        ):
            continue
        name = f"{inner}.{key}" if inner in within or inner in IN_PACKAGE else key
        yield (
            name,
            ListedKey(
                source.line_of(found.start()), _listed(source, found.start() if short else found.end())
            ),
        )


def _key_of(source: Masked, found: re.Match[str]) -> str:
    return source.source[found.start() : found.end()].removesuffix(":").strip().strip("\"'")


def _leave(around: list[int], source: Masked, place: int) -> None:
    """Take out the objects that end before `place`."""
    while around and source.closing[around[-1]] < place:
        around.pop()


def _name_of(source: Masked, brace: int) -> str:
    """The key or variable that the object at `brace` is given to; empty for none."""
    found = _NAME_BEFORE.search(source.source[max(0, brace - _LOOK_BACK) : brace])
    return found["name"].strip("\"'") if found else ""


def _listed(source: Masked, place: int, *, look_up: bool = True) -> tuple[Listed, ...]:
    """The texts of the value at `place`: of a list each, else the one."""
    code = source.code
    start = _behind_blanks(code, place)
    if code[start : start + 1] == "[":
        return tuple(_split(source, start + 1, source.closing[start]))
    end = next(_value_ends(source, start, len(code)), len(code))
    variable = _VARIABLE.fullmatch(code, start, end) if look_up else None
    given = _assigned(code, variable["name"]) if variable else None
    if given is not None:
        return _listed(source, given, look_up=False)
    return tuple(_split(source, place, end))


def _assigned(code: str, variable: str) -> int | None:
    """Where the value that the variable is given first begins; None when none of its places gives it one."""
    place = -1
    for _ in range(_MOST_PLACES):
        place = code.find(variable, place + 1)
        if place < 0:
            break
        given = _ASSIGNMENT.match(code, place + len(variable))
        if given and not (place and (code[place - 1].isalnum() or code[place - 1] in "_$.")):
            return given.end()
    return None


def _split(source: Masked, start: int, end: int) -> Iterator[Listed]:
    """What stands between the commas, strings without their quotes."""
    place = start
    for comma in [*_value_ends(source, start, end), end]:
        text = source.source[place:comma]
        first = min(_behind_blanks(source.code, place), comma)
        code = source.code[first:comma].rstrip()
        text = source.source[first : first + min(len(code), _TEXT_CHARS)]
        if not code:  # Comments are blank there, and regular expressions too.
            first = place
            text = _COMMENT.sub("", source.source[place : min(comma, place + _TEXT_CHARS)]).strip()
        if text:
            quoted = len(text) > 1 and text[0] in "\"'`" and text[0] == text[-1]
            yield Listed(source.line_of(first), text[1:-1] if quoted else " ".join(text.split()))
        place = comma + 1


def _value_ends(source: Masked, start: int, end: int) -> Iterator[int]:
    """Each comma, semicolon and closing bracket that is in no bracket which opens behind `start`."""
    place = start
    while place < end:
        sign = source.code[place]
        if sign in "([{":
            place = source.closing[place]
        elif sign in ",;)]}":
            yield place
        place += 1


def _behind_blanks(code: str, place: int) -> int:
    while place < len(code) and code[place].isspace():
        place += 1
    return place


def _in_yaml(text: str) -> Iterator[tuple[str, ListedKey]]:
    """Keys at the left edge with a text, a list in brackets, or one item a line."""
    key, line, texts = "", 0, list[Listed]()
    for number, row in enumerate(text.splitlines(), 1):
        plain = row.split(" #", 1)[0].rstrip()
        if not plain or plain.startswith("#"):
            continue
        item, begun = _YAML_ITEM.match(plain), _YAML_KEY.match(plain)
        if item and key:
            texts.append(Listed(number, item["value"].strip().strip("\"'")))
        elif begun:
            if key:
                yield key, ListedKey(line, tuple(texts))
            key, line = begun["name"], number
            values = begun["value"].strip().removeprefix("[").removesuffix("]").split(",")
            texts = [Listed(number, value.strip().strip("\"'")) for value in values if value.strip()]
    if key:
        yield key, ListedKey(line, tuple(texts))
