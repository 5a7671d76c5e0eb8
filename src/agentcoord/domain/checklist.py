"""A Markdown checklist read as the raw entries of a plan's tasks.

Theory of operation. Each `- [ ] title` is a task, `- [x] title` one that is done and is no task. At the
end of a title groups such as `(needs: setup, "Fix it")` and `(tags: testing)` say what a TOML plan says
with keys. An item with items indented below it waits for those: it needs them. Text indented below an
item is its description. Ids come from the titles, counted in the order of the file where two titles are
the same; done items are counted too, so that ticking one off renames nobody, and loading the list again
changes nothing that is done. Fenced code is text.
Deliberately absent: judging values (`plan` does, as for TOML).
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from agentcoord.domain.plan_lines import KeyLines
from agentcoord.values import dataclass

_ITEM: Final = re.compile(r"^(?P<indent>[ ]*)(?:[-*+]|\d{1,9}[.)])\s+\[(?P<mark>[ xX])\]\s+(?P<title>\S.*)$")
_GROUP: Final = re.compile(r"\((?P<key>[A-Za-z_]+):(?P<value>.*)\)")
_FENCE: Final = re.compile(r"^[ ]*(```+|~~~+)")
_LISTS: Final = frozenset({"needs", "tags", "writes"})
_KEYS: Final[Mapping[str, str]] = {
    **{key: key for key in ("id", "needs", "tags", "writes", "check", "priority", "on_need_failed")},
    "budget": "budget_usd",
    "budget_usd": "budget_usd",
    "tokens": "budget_tokens",
    "budget_tokens": "budget_tokens",
}
"""What may stand in a group, and the key of a TOML plan that it is."""
_SLUG_CHARS: Final = 48


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One open item as the raw entry of a task."""

    entry: Mapping[str, Any]
    lines: KeyLines


@dataclass(slots=True)
class _Item:
    """An item while the list is read."""

    line: int
    indent: int
    is_open: bool
    title: str
    groups: dict[str, Any]
    body: list[str] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)
    id: str = ""


def parse_checklist(text: str) -> list[ChecklistItem]:
    """Return the open items in the order of the file, each with its line."""
    items = _read_items(text)
    _name(items)
    by_word = {item.title.casefold(): item.id for item in reversed(items)}
    by_word |= {item.id: item.id for item in items}
    done = {item.id for item in items if not item.is_open}
    return [ChecklistItem(_entry(item, by_word, done), KeyLines(item.line)) for item in items if item.is_open]


def id_of_title(title: str) -> str:
    """Return the id that a task with this title is given; empty when the title has no letter of ours."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:_SLUG_CHARS].strip("-")


def _read_items(text: str) -> list[_Item]:
    items: list[_Item] = []
    above: list[_Item] = []
    """The items that what comes next may lie below, outermost first."""
    fence = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.expandtabs(4).rstrip()
        found = None if fence else _ITEM.match(line)
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        if not line:
            if above:
                above[-1].body.append("")
            continue
        indent = len(found["indent"]) if found else len(line) - len(line.lstrip())
        while above and above[-1].indent >= indent:
            above.pop()
        if found:
            title, groups = _take_groups(found["title"])
            item = _Item(number, indent, found["mark"] == " ", title, groups)
            if above:
                above[-1].below.append(item)
            items.append(item)
            above.append(item)
        elif above:
            above[-1].body.append(line)
    return items


def _take_groups(title: str) -> tuple[str, dict[str, Any]]:
    """Cut the groups off the end of a title; what looks like none stays a part of it."""
    groups: dict[str, Any] = {}
    while found := _GROUP.fullmatch(title, _start_of_group(title)):
        word, value = found["key"].lower(), found["value"].strip()
        key = _KEYS.get(word) or (word if difflib.get_close_matches(word, _KEYS, n=1, cutoff=0.75) else "")
        if not key:
            break  # Something in parentheses that people write in titles.
        groups.setdefault(key, _value(key, value))
        title = title[: found.start()].rstrip()
    return title, groups


def _start_of_group(title: str) -> int:
    """Where the parenthesis opens that closes at the very end; the end itself when none does."""
    depth = 0
    for at in range(len(title) - 1, 0, -1):
        depth += (title[at] == ")") - (title[at] == "(")
        if depth == 0:
            return at
    return len(title)


def _value(key: str, words: str) -> Any:
    """What the words of a group mean; where they mean nothing, `plan` says so of the words."""
    if key in _LISTS:
        return [word.strip().strip("\"'`") for word in words.split(",") if word.strip()]
    if key == "priority":
        return int(words) if words.isdecimal() else words
    if key == "budget_usd":
        try:
            return float(words.lstrip("$"))
        except ValueError:
            return words
    if key == "budget_tokens":
        number = words.replace(",", "").replace("_", "")
        return int(number) if number.isdecimal() else words
    return words.strip("`") if key == "check" else words


def _name(items: Sequence[_Item]) -> None:
    """Give every item its id: the written one, else one made of its title."""
    taken: dict[str, int] = {}
    written = {item.groups["id"] for item in items if "id" in item.groups}
    for item in items:
        if "id" in item.groups:
            item.id = str(item.groups["id"])
            continue
        slug = id_of_title(item.title) or f"task-line-{item.line}"
        taken[slug] = taken.get(slug, 0) + 1
        while (name := slug if taken[slug] == 1 else f"{slug}-{taken[slug]}") in written:
            taken[slug] += 1
        item.id = name


def _entry(item: _Item, by_word: Mapping[str, str], done: set[str]) -> dict[str, Any]:
    written = [by_word.get(word, by_word.get(word.casefold(), word)) for word in item.groups.get("needs", ())]
    needs = [need for need in (*written, *(child.id for child in item.below)) if need not in done]
    entry = {
        **item.groups,
        "id": item.id,
        "title": item.title,
        "description": textwrap.dedent("\n".join(item.body)).strip(),
    }
    return {**entry, "needs": list(dict.fromkeys(needs))} if needs or "needs" in item.groups else entry
