"""Reading test files of JavaScript, TypeScript, Go and Rust as values, by their words and brackets.

There is no parser: comments, strings and regular expressions are blanked (`source_mask`), then tests are
known by how they begin, and reach as far as the bracket that they open. A file whose brackets do not fit
together is not read; the lines of such a file are counted instead (`tamper_text`).

Deliberately absent: what a helper asserts for the test that calls it. Assertions outside of every test are
one entry of their own, so that they cannot vanish either.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from agentcoord.review.code_assertions import assertions_between
from agentcoord.review.code_blocks import Block, children, gaps
from agentcoord.review.code_patience import (
    file_patience,
    inherit,
    is_unlimited,
    set_patience,
    set_patience_within,
)
from agentcoord.review.code_reach import GO_MAIN, guards, leaves, main_hook, reachable
from agentcoord.review.readings import OUTSIDE, FileReading, WrittenTest
from agentcoord.review.source_mask import Language, Masked, masked

_ENDINGS = {
    **dict.fromkeys(("js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts"), Language.SCRIPT),
    "go": Language.GO,
    "rs": Language.RUST,
}
_GROUPS = frozenset({"describe", "context", "suite"})
_SCRIPT_HEAD = re.compile(
    r"(?<![\w.$])([xf]?(?:it|test|specify|describe|context|suite))((?:\.\w+)*+)\s*(?=[(`<])"
)
_SCRIPT_SKIP = re.compile(r"\.(?:skip|todo|failing|fails|fixme|skipIf|runIf|only)\b")
_SCRIPT_SKIP_INSIDE = re.compile(
    r"\b(?:this|t|ctx|context|test|it)\.(?:skip|todo|fixme|fail)\s*\(|(?<![\w.])pending\s*\("
    r"|[{,]\s*(?:skip|todo|only)\s*:\s*(?!false\b|undefined\b)"
)
_GO_HEAD = re.compile(r"^func\s+((?:Test|Fuzz|Example|Benchmark)\w*)\s*\(|\b\w+\.Run\(", re.MULTILINE)
_GO_SKIP_INSIDE = re.compile(r"\bt\.Skip(?:f|Now)?\(")
_GO_BUILD = re.compile(r"^//\s*(?:go:build|\+build)\s.*$", re.MULTILINE)
_RUST_HEAD = re.compile(
    r"((?:#\[[^\]\[]*+(?:\[[^\]\[]*+\][^\]\[]*+)*+\]\s*+){1,20}+)"
    r"(?:pub(?:\([^)]*\))?\s+)?(?:const\s+)?(?:async\s+)?(?:unsafe\s+)?fn\s+(\w+)"
)
_RUST_TEST = re.compile(r"#\[(?:\w+::)*(?:test|rstest|test_case|quickcheck|wasm_bindgen_test)\b")
_RUST_SKIP = re.compile(r"#\[(?:ignore\b|should_panic\b|cfg_attr\b[^\]]*\bignore\b|cfg\()[^\]]*\]")
_RUST_CASE = re.compile(r"#\[(?:case|test_case)\b")
_RUST_FILE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub\s+)?mod\s+(\w+)\s*;")
"""Tests in a file of their own, which is compiled only for this line."""
_RUST_MODULE = re.compile(r"#\[cfg\((?P<condition>[^\]\n]{0,300})\)\]\s*(?:pub\s+)?mod\s+\w+")
_RUST_MODULE_SKIP = re.compile(r"#!\[cfg\([^\]]{0,300}\]")
_OPENING = re.compile(r"[{;]")
_TABLE = re.compile(r"\[\]\s*struct\s*\{")
_STRING = re.compile(r"\s*(['\"`])")
_WORDS_CHARS = 120
_MOST_TABLES = 100
_MOST_NESTED = 50
"""Each test is compared with all that is in it: deeper ones would take for ever."""


def language_of(path: str) -> Language | None:
    """Return the language of a file by its ending, if its tests can be read."""
    return _ENDINGS.get(path.rpartition(".")[2].lower())


def read_code_tests(content: bytes, language: Language) -> FileReading | None:
    """Read one file; None when it cannot be read this way."""
    text = masked(content.decode("utf-8", "replace"), language)
    if text is None:
        return None
    skips: dict[str, int] = {}
    hooks: dict[str, int] = {}
    inside: re.Pattern[str] | None = None
    match language:
        case Language.SCRIPT:
            blocks, inside = list(_script_blocks(text)), _SCRIPT_SKIP_INSIDE
        case Language.GO:
            blocks, inside = list(_go_blocks(text)), _GO_SKIP_INSIDE
            head = text.source[: text.source.find("\npackage ") + 1]
            skips = {found.group().strip(): text.line_of(found.start()) for found in _GO_BUILD.finditer(head)}
            mains = [block for block in blocks if block.name == GO_MAIN]
            said = [(main_hook(text, main.start, main.end), main.start) for main in mains]
            hooks = {words: text.line_of(start) for words, start in said if words is not None}
            blocks = [block for block in blocks if block.name != GO_MAIN]
        case Language.RUST:
            blocks = list(_rust_blocks(text))
            skips = {
                found.group(): text.line_of(found.start()) for found in _RUST_MODULE_SKIP.finditer(text.code)
            }
            skips.update(_rust_modules(text))
    blocks.sort(key=lambda block: block.start)
    reading = _reading(text, language, blocks, inside, skips)
    if reading is not None:
        reading.hooks.update(hooks)
        if language is Language.SCRIPT:
            reading.hooks.update(file_patience(text, _outermost(blocks)))
        for words, place in leaves(text, language, blocks):
            reading.hooks.setdefault(words, text.line_of(place))
    return reading


def _reading(
    text: Masked,
    language: Language,
    blocks: Sequence[Block],
    inside: re.Pattern[str] | None,
    skips: dict[str, int],
) -> FileReading | None:
    """Put every word of the file to the innermost block that it stands in; None where they go too deep."""
    reading = FileReading(skips=skips)
    unlimited = is_unlimited(text)
    named: Counter[str] = Counter()
    around: list[Block] = []
    for number, block in enumerate(blocks):
        while around and around[-1].end < block.start:
            around.pop()
        path = " > ".join([*(each.name for each in around), block.name])
        around.append(block)
        if len(around) > _MOST_NESTED:
            return None
        inner = children(blocks, number)
        own = list(gaps(block.body, block.end, inner))
        for start, end in own:
            for found in inside.finditer(text.code, start, end) if inside else ():
                block.skips.setdefault(_words(text, found.start(), end), text.line_of(found.start()))
        if language is Language.SCRIPT:
            set_patience_within(text, block, own)
            inherit(block, around[:-1], unlimited=unlimited)
        if block.is_group:
            reading.skips.update({f"{path}: {words}": line for words, line in block.skips.items()})
            continue
        for words, place in guards(text, block.body, block.end, own):
            block.skips.setdefault(words, text.line_of(place))
        named[path] += 1
        key = path if named[path] == 1 else f"{path} #{named[path]}"
        reading.tests[key] = WrittenTest(
            name=block.name,
            line=text.line_of(block.start),
            body=" ".join(text.source[block.body : block.end].split()),
            assertions=tuple(
                each
                for start, end in reachable(text, language, block.body, block.end, own)
                for each in assertions_between(text, language, start, end)
            ),
            skips=block.skips,
            cases=block.cases,
            patience_ms=block.patience_ms,
            retries=block.retries,
        )
    if reading.tests:
        _add_outside(text, language, blocks, reading)
    return reading


def _add_outside(text: Masked, language: Language, blocks: Sequence[Block], reading: FileReading) -> None:
    """What helpers and set-up assert; a group's own part is set-up too."""
    tests = [block for block in blocks if not block.is_group]
    found = tuple(
        each
        for start, end in gaps(0, len(text.code), _outermost(tests))
        for each in assertions_between(text, language, start, end)
    )
    if found:
        reading.tests[OUTSIDE] = WrittenTest(OUTSIDE, found[0].line, "", found, {}, 1)


def _outermost(blocks: Sequence[Block]) -> list[Block]:
    outer: list[Block] = []
    for block in blocks:
        if not outer or block.start > outer[-1].end:
            outer.append(block)
    return outer


def _script_blocks(text: Masked) -> Iterator[Block]:
    for found in _SCRIPT_HEAD.finditer(text.code):
        word, modifiers = found.groups()
        opening, cases = found.end(), 1
        if "each" in modifiers or "for" in modifiers.split("."):
            opening, cases = _behind_table(text, opening)
        if text.code[opening : opening + 1] != "(" or opening not in text.closing:
            continue
        name, body = _string_at(text, opening + 1)
        if not body:
            continue  # No test: `test.skip(condition)`, or a function that happens to be called so.
        end = text.closing[opening]
        block = Block(name, found.start(), body, end, word.lstrip("xf") in _GROUPS, cases)
        if word[0] in "xf" or _SCRIPT_SKIP.search(modifiers):
            block.skips[f"{word}{modifiers}({name!r})"] = text.line_of(found.start())
        set_patience(text, block)
        yield block


def _behind_table(text: Masked, opening: int) -> tuple[int, int]:
    """Where the call behind `each(...)` opens, and how many rows the table has."""
    if text.code[opening : opening + 1] == "`":
        end = text.code.find("`", opening + 1)
        rows = text.source.count("\n", opening, end) - 1 if end > 0 else 1
        return text.code.find("(", end), max(rows, 1)
    end = text.closing.get(opening, opening)
    table = text.code.find("[", opening, end)
    return end + 1, _rows(text, table) if table >= 0 and table in text.closing else 1


def _rows(text: Masked, opening: int) -> int:
    """How many elements the brackets at `opening` hold, by the commas between them."""
    end, place, commas = text.closing[opening], opening + 1, 0
    last = opening
    while place < end:
        sign = text.code[place]
        if sign in "([{":
            place = last = text.closing[place]
        elif sign == ",":
            commas += 1
        elif not sign.isspace():
            last = place
        place += 1
    trailing = text.code.rfind(",", opening, end) > last
    return 0 if last == opening else commas + (not trailing)


def _go_blocks(text: Masked) -> Iterator[Block]:
    tables = list(_go_tables(text))
    for found in _GO_HEAD.finditer(text.code):
        if found.group(1):
            opening = _opening_brace(text, text.closing.get(found.end() - 1, found.end()))
            name, body = found.group(1), opening
        else:
            opening = found.end() - 1
            name, body = _string_at(text, opening + 1)
            if not body:  # A subtest by a variable: one of a table.
                name, body = " ".join(text.code[opening + 1 : opening + 40].split(",")[0].split()), opening
        if opening in text.closing and name:
            end = text.closing[opening]
            first = bisect_left(tables, (opening, 0))
            rows = sum(rows for place, rows in tables[first : first + _MOST_TABLES] if place < end)
            yield Block(name, found.start(), body, end, cases=max(rows, 1))


def _go_tables(text: Masked) -> Iterator[tuple[int, int]]:
    """Where each table of cases stands, and how many it has."""
    for found in _TABLE.finditer(text.code):
        values = _opening_brace(text, text.closing[found.end() - 1] + 1)
        yield found.start(), _rows(text, values) if values in text.closing else 0


def _rust_blocks(text: Masked) -> Iterator[Block]:
    for found in _RUST_FILE.finditer(text.code):
        yield Block(f"mod {found[1]}", found.start(), found.start(1), found.end())
    for found in _RUST_HEAD.finditer(text.code):
        attributes, name = found.groups()
        if not _RUST_TEST.search(attributes):
            continue
        opening = _opening_brace(text, found.end())
        if opening not in text.closing:
            continue
        block = Block(name, found.start(), opening, text.closing[opening])
        block.cases = max(len(_RUST_CASE.findall(attributes)), 1)
        for skip in _RUST_SKIP.finditer(text.code, found.start(), found.end()):
            block.skips[" ".join(skip.group().split())] = text.line_of(skip.start())
        yield block


def _rust_modules(text: Masked) -> Iterator[tuple[str, int]]:
    """Modules that are compiled under a condition other than `test`."""
    for found in _RUST_MODULE.finditer(text.source):
        words = " ".join(found.group().split())
        if text.code[found.start()] == "#" and found["condition"].strip() != "test":
            yield words, text.line_of(found.start())


def _opening_brace(text: Masked, place: int) -> int:
    """The next brace that opens a block; -1 when the declaration ends without one."""
    found = _OPENING.search(text.code, place)
    return found.start() if found and found.group() == "{" else -1


def _string_at(text: Masked, place: int) -> tuple[str, int]:
    """The string that stands there, without its quotes, and the place behind it; 0 when there is none."""
    found = _STRING.match(text.code, place)
    end = text.code.find(found.group(1), found.end()) if found else -1
    return (text.source[found.end() : end], end + 1) if found and end >= 0 else ("", 0)


def _words(text: Masked, start: int, end: int) -> str:
    line_end = text.source.find("\n", start)
    stop = min(end, line_end if line_end >= 0 else end, start + _WORDS_CHARS)
    return text.source[start:stop].strip().lstrip("{,").strip()
