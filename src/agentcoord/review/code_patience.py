"""How long tests of JavaScript and TypeScript may take, and how often they may fail, where they say so.

Works on masked code. Separate from `code_tests`, which finds the tests: Jest and Vitest take a number
behind a test's function, or an object of options before or behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agentcoord.review.code_blocks import Block
from agentcoord.review.source_mask import Masked

DEFAULT_MS = 5_000.0
"""What Jest and Vitest allow who says nothing."""
_NUMBER = r"\d[\d_]*(?:\.\d+)?(?:e\d+)?"
_PRODUCT = re.compile(rf"\s*({_NUMBER}(?:\s*\*\s*{_NUMBER}){{0,4}})\s*")
_OPTION = re.compile(rf"[{{,]\s*(timeout|retry|retries)\s*:\s*({_NUMBER}(?:\s*\*\s*{_NUMBER}){{0,4}})")
_FOR_ALL = re.compile(
    r"\b(?P<time>jest\.setTimeout|vi\.setConfig|jasmine\.DEFAULT_TIMEOUT_INTERVAL|this\.timeout)\s*(?:\(|=)"
    rf"[^;\n\d]{{0,80}}(?P<ms>{_NUMBER}(?:\s*\*\s*{_NUMBER}){{0,4}})"
    r"|\b(?:jest\.retryTimes|this\.retries)\s*\(\s*[1-9]"
)
_MOST_ARGUMENTS = 4


def set_patience(text: Masked, block: Block) -> None:
    """Read what the call of a test says beside its name and its function."""
    for start, end in _arguments(text, block.body, block.end):
        number = _PRODUCT.fullmatch(text.code, start, end)
        if number:
            block.patience_ms = _value(number[1])
        elif text.code[start:end].lstrip().startswith("{"):
            for found in _OPTION.finditer(text.code, start, end):
                if found[1] == "timeout":
                    block.patience_ms = _value(found[2])
                else:
                    block.retries = _value(found[2])


def file_patience(text: Masked) -> Iterator[tuple[str, int]]:
    """What a file says for all of its tests, where it is more than nothing said, and its line."""
    for found in _FOR_ALL.finditer(text.code):
        if found["time"] is None or _value(found["ms"]) > DEFAULT_MS:
            words = text.source[found.start() : found.end()].partition("(")[0].strip()
            yield f"it gives its tests more patience: {words}", text.line_of(found.start())


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


def _value(product: str) -> float:
    value = 1.0
    for part in product.split("*"):
        value *= float(part.replace("_", ""))
    return value
