"""The rules that every script keeps, read from their text."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import ScriptName, load_sources

LUA = resources.files("agentcoord.store") / "lua"
PARTS = (
    "around_writes",
    "finishing",
    "held",
    "leasing",
    "line",
    "money",
    "prelude",
    "reply",
    "setbacks",
    "spreading",
    "waves",
)
BARE = (ScriptName.HAND_OVER, ScriptName.READ_TASKS)
"""They have nothing in front: one writes its count by itself, the other writes nothing."""
FILES = sorted(entry.name for entry in LUA.iterdir() if entry.name.endswith(".lua"))


def _code(name: str) -> str:
    """The script without its comments."""
    return re.sub(r"--[^\n]*", "", (LUA / name).read_text(encoding="utf-8"))


def test_every_file_is_an_operation_or_a_part_of_several() -> None:
    assert sorted(f"{name}.lua" for name in (*ScriptName, *PARTS)) == FILES


@pytest.mark.parametrize("name", [f"{name}.lua" for name in ScriptName])
def test_a_script_says_what_it_takes_gives_and_costs(name: str) -> None:
    header = re.match(r"(--[^\n]*\n)+", (LUA / name).read_text(encoding="utf-8"))
    assert header is not None
    for part in ("-- ARGV", "-- Returns", "-- Cost"):
        assert part in header.group()


@pytest.mark.parametrize("name", FILES)
def test_no_script_spells_a_state_or_reads_a_clock_or_scans(name: str) -> None:
    code = _code(name)
    for state in TaskState:
        assert f"'{state}'" not in code
        assert f'"{state}"' not in code
    assert not re.search(r"'(TIME|KEYS|SCAN|FLUSHALL|FLUSHDB)'", code)


@pytest.mark.parametrize("name", FILES)
def test_every_key_begins_with_the_prefix(name: str) -> None:
    calls = re.findall(r"(?:redis\.call|in_chunks)\('\w+',\s*([^,)]+)", _code(name))
    allowed = re.compile(r"P \.\. '|task_key\(|reply_key$|run$|key\b|unpack\(body_keys")
    assert [key for key in calls if not allowed.match(key)] == []


@pytest.mark.parametrize("name", [f"{name}.lua" for name in ScriptName if name not in BARE])
def test_a_script_ends_by_writing_its_counts(name: str) -> None:
    returns = re.findall(r"^return .*$", _code(name), re.MULTILINE)
    assert returns
    assert all(line.startswith("return finish(") for line in returns)


def _functions(name: str) -> set[str]:
    return set(re.findall(r"^local function (\w+)", _code(name), re.MULTILINE))


async def test_a_source_has_the_parts_that_it_uses_and_no_other() -> None:
    sources = await load_sources()
    for name, source in sources.items():
        there = {part for part in PARTS if (LUA / f"{part}.lua").read_text(encoding="utf-8") in source}
        used, to_look_at = set() if name in BARE else {"prelude"}, {str(name)}
        if "of spreading.lua" in (LUA / f"{name}.lua").read_text(
            encoding="utf-8"
        ):  # Its arguments have names.
            used.add("spreading")
            to_look_at.add("spreading")
        while to_look_at:
            words = set(re.findall(r"\w+", _code(f"{to_look_at.pop()}.lua")))
            more = {part for part in PARTS if _functions(f"{part}.lua") & words} - used
            used |= more
            to_look_at |= more
        assert there == used, name


async def test_every_source_names_its_language_and_has_the_prelude_in_front_but_for_the_bare_ones() -> None:
    sources = await load_sources()
    assert set(sources) == set(ScriptName)
    begins = re.compile(r"#!lua(?: flags=allow-oom)?\n-- Put in front of every script")
    assert [name for name, source in sources.items() if not begins.match(source)] == [*BARE]
    assert sources[ScriptName.HAND_OVER].startswith("#!lua\n-- Adds one task")
    assert sources[ScriptName.READ_TASKS].startswith("#!lua flags=no-writes\n-- Reads tasks")


def test_keys_of_a_project_share_a_slot_and_its_pattern_is_escaped() -> None:
    keys = Keys(ProjectId("shop-1a"))
    assert keys.task("t") == "agentcoord:{shop-1a}:t:t"
    assert Keys(ProjectId("a[b]*?")).scan_pattern == r"agentcoord:{a\[b\]\*\?}:*"
