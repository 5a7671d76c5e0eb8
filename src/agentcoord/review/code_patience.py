"""How long tests of JavaScript and TypeScript may take, and how often they may fail, where they say so.

Works on masked code. Separate from `code_tests`, which finds the tests: Jest and Vitest take a number
behind a test's function, or an object of options before or behind it; Mocha is told within the function.
What a group says holds for each test in it that says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from agentcoord.review.code_blocks import Block, gaps
from agentcoord.review.code_reach import body_of, brackets_between
from agentcoord.review.source_mask import Masked

DEFAULT_MS = 5_000.0
"""What Jest and Vitest allow who says nothing."""
_NUMBER = r"\d[\d_]*+(?:\.\d++)?+(?:e\d++)?+"
_PRODUCT = rf"{_NUMBER}(?:\s*+\*\s*+{_NUMBER}){{0,4}}"
_ONLY_PRODUCT = re.compile(rf"\s*+({_PRODUCT})\s*+")
_OPTION = re.compile(rf"(?<![\w$.])(timeout|retry|retries)\s*+:\s*+({_PRODUCT})")
_OBJECT = re.compile(r"\s*+\{")
_SET_CONFIG = re.compile(r"\bvi\.setConfig\s*+\(\s*+\{")
_CONFIG = re.compile(rf"(?<![\w$.])(?P<key>testTimeout|hookTimeout|retry)\s*+:\s*+(?P<value>{_PRODUCT})")
_FOR_ALL = re.compile(
    rf"\bjest\.(?P<key>setTimeout|retryTimes)\s*+\(\s*+(?P<value>{_PRODUCT})"
    rf"|\bjasmine\.DEFAULT_TIMEOUT_INTERVAL\s*+=\s*+(?P<interval>{_PRODUCT})"
)
_OWN = re.compile(rf"\bthis\.(?P<key>timeout|retries)\s*+(?P<opening>\()\s*+(?P<value>{_PRODUCT})\s*+\)")
_UNLIMITED = re.compile(r"\b(?:from|require|import)\s*+\(?+\s*+['\"](?:node:test|tape)['\"]")
"""Runners that wait for a test for as long as it takes."""
_MOST_ARGUMENTS = 4


def set_patience(text: Masked, block: Block) -> None:
    """Read what the call of a test says beside its name and its function."""
    for start, end in _arguments(text, block.body, block.end):
        number = _ONLY_PRODUCT.fullmatch(text.code, start, end)
        if number:
            _set(block, "timeout", _value(number[1]))
        elif opened := _OBJECT.match(text.code, start, end):
            for found in _at_its_level(text, _OPTION, opened.end() - 1):
                _set(block, found[1], _value(found[2]))


def set_patience_within(text: Masked, block: Block, own: Sequence[tuple[int, int]]) -> None:
    """Read what the function of a test or a group says, in its `own` stretches."""
    body = body_of(text, block.body, block.end)
    if body is None:
        return
    calls = [found for stretch in own for found in _OWN.finditer(text.code, *stretch)]
    # A hook has a limit of its own, and a class of another name for `this`.
    outermost = frozenset(brackets_between(text, body + 1, text.closing[body])) if calls else frozenset()
    for found in calls:
        if found.start("opening") in outermost:
            _set(block, found["key"], _value(found["value"]))
    for stretch in own:
        for key, value, _, _ in _said_for_all(text, *stretch):
            _set(block, key, value)


def inherit(block: Block, around: Sequence[Block], *, unlimited: bool) -> None:
    """Give a block what the one right around it says or was given; infinity where nobody limits it."""
    for outer in around[-1:]:
        block.patience_ms = outer.patience_ms if block.patience_ms is None else block.patience_ms
        block.retries = block.retries or outer.retries
    if block.patience_ms is None and unlimited:
        block.patience_ms = math.inf


def is_unlimited(text: Masked) -> bool:
    return _UNLIMITED.search(text.source) is not None


def file_patience(text: Masked, outer: Sequence[Block]) -> Iterator[tuple[str, int]]:
    """What a file says for all of its tests, outside of the `outer` ones, and its line."""
    for stretch in gaps(0, len(text.code), outer):
        for key, value, start, end in _said_for_all(text, *stretch):
            if key == "retries" or value > DEFAULT_MS:
                words = text.source[start:end].partition("(")[0].partition("=")[0].strip()
                yield f"it gives its tests more patience: {words}", text.line_of(start)


def _said_for_all(text: Masked, start: int, end: int) -> Iterator[tuple[str, float, int, int]]:
    """What it is, how much, and from where to where it is said."""
    for found in _FOR_ALL.finditer(text.code, start, end):
        key = "retries" if found["key"] == "retryTimes" else "timeout"
        if value := _value(found["value"] or found["interval"]):
            yield key, value, *found.span()
    for call in _SET_CONFIG.finditer(text.code, start, end):
        for found in _at_its_level(text, _CONFIG, call.end() - 1):
            if value := _value(found["value"]):
                yield "retries" if found["key"] == "retry" else "timeout", value, call.start(), call.end()


def _at_its_level(text: Masked, pattern: re.Pattern[str], opening: int) -> Iterator[re.Match[str]]:
    """Matches in an object, outside of all that is in it."""
    place, end = opening + 1, text.closing[opening]
    for bracket in [*brackets_between(text, place, end), end]:
        yield from pattern.finditer(text.code, place, bracket)
        place = text.closing.get(bracket, bracket) + 1


def _arguments(text: Masked, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each argument of a call stands, from behind the name on; a bounded number of them."""
    place = first = start
    for _ in range(_MOST_ARGUMENTS):
        while place < end and text.code[place] != ",":
            place = text.closing.get(place, place) + 1
        yield first, min(place, end)
        first = place = place + 1
        if place >= end:
            return


def _set(block: Block, key: str, value: float) -> None:
    if key == "timeout":
        block.patience_ms = value or math.inf
    else:
        block.retries = value


def _value(product: str) -> float:
    value = 1.0
    for part in product.split("*"):
        value *= float(part.replace("_", ""))
    return value
