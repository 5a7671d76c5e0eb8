"""Hostile paths, contents and encodings against the worker's file tools, by name and by dice.

Whatever comes in, the answer is a tool result in words, and no byte outside of the private copy
changes. Each test ends with the same question: are the user's tree, its `.git`, and a canary outside
untouched?
"""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcoord.agent.tools.contract import RESULT_CHARS
from agentcoord.domain.ids import ProjectId
from agentcoord.errors import WorkspaceError
from tools_kit import EDITOR, Tools, tools_in
from workspace_kit import World, git_state, snapshot, write

pytestmark = pytest.mark.redteam

SECRET = "the canary outside"
LATIN = "naïve = 'é'\n".encode("latin-1")
FILES = {
    "src/a.py": b"a = 1\nb = 2\n",
    "src/crlf.py": b"a = 1\r\nb = 2\r\n",
    "src/mixed.py": b"a = 1\r\nb = 2\n",
    "src/bom.py": b"\xef\xbb\xbfa = 1\n",
    "src/latin.py": LATIN,
    "src/binary.py": b"a\0b\xff\xfe",
    "src/empty.py": b"",
    "src/long.py": b"x" * 300_000,
    "other/outside_scope.py": b"o = 1\n",
}


@pytest.fixture
async def tools(tmp_path: Path, valkey_url: str, project_id: ProjectId) -> AsyncIterator[Tools]:
    world = await World.make(tmp_path, FILES, scope=("src/**",), size=1)
    write(tmp_path, "outside/canary.txt", SECRET.encode())
    before, git_before = snapshot(world.root), git_state(world.root)
    async with tools_in(world, valkey_url, project_id) as made:
        make_traps(made.ws.root, tmp_path / "outside")
        yield made
        assert snapshot(world.root) == before
        assert git_state(world.root) == git_before
        assert snapshot(tmp_path / "outside") == {"canary.txt": SECRET.encode()}


def make_traps(copy: Path, outside: Path) -> None:
    """What a worker's command may have left in its copy."""
    (copy / "src/way").symlink_to(outside)
    (copy / "src/link.py").symlink_to(outside / "canary.txt")
    (copy / "src/loop").symlink_to("loop")
    os.mkfifo(copy / "src/pipe")
    (copy / "src/dir.py").mkdir()


async def test_a_file_of_100_mb_is_refused_in_words_with_memory_flat(tools: Tools) -> None:
    with (tools.ws.root / "src/huge.py").open("wb") as huge:
        for _ in range(100):
            huge.write(b"needle = 1\n" * 95_000)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = [
        await tools.edit("view", "src/huge.py"),
        await tools.edit("str_replace", "src/huge.py", old_str="needle", new_str="x"),
        await tools.edit("insert", "src/huge.py", insert_line=0, insert_text="x"),
        await tools.edit("create", "src/huge.py", file_text="x"),
    ]
    assert all(answer.is_error and "at most" in answer.text for answer in answers), answers
    found = await tools.call("search", {"pattern": "needle", "path": "src"})
    assert "No match" in found.text
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 32 * 1024
    assert (tools.ws.root / "src/huge.py").stat().st_size == 100 * 95_000 * 11


@pytest.mark.parametrize("path", ["src/a\0.py", "src/a.py\0", "\0"])
async def test_a_nul_in_a_path_is_refused(tools: Tools, path: str) -> None:
    assert (await tools.edit("create", path, file_text="x")).is_error
    assert (await tools.edit("view", path)).is_error


async def test_a_nul_in_a_text_is_refused(tools: Tools) -> None:
    answer = await tools.edit("create", "src/new.py", file_text="a\0b")
    assert answer.is_error
    assert "NUL" in answer.text
    assert not (tools.ws.root / "src/new.py").exists()


@pytest.mark.parametrize("half_number", [0xD800, 0xDFFF, 0xDC80])
async def test_half_of_a_surrogate_pair_is_refused(tools: Tools, half_number: int) -> None:
    half = chr(half_number)
    for arguments in (
        {"command": "create", "path": "src/new.py", "file_text": f"a{half}"},
        {"command": "create", "path": f"src/{half}.py", "file_text": "a"},
        {"command": "str_replace", "path": "src/a.py", "old_str": "a", "new_str": half},
        {"command": "view", "path": half},
    ):
        answer = await tools.call(EDITOR, dict(arguments))
        assert answer.is_error
        answer.text.encode("utf-8")
    assert (tools.ws.root / "src/a.py").read_bytes() == FILES["src/a.py"]


async def test_crlf_stays_crlf_and_mixed_line_ends_stay_mixed(tools: Tools) -> None:
    for path, after in (("src/crlf.py", b"a = 1\r\nb = 3\r\n"), ("src/mixed.py", b"a = 1\r\nb = 3\n")):
        assert not (await tools.edit("str_replace", path, old_str="b = 2", new_str="b = 3")).is_error
        assert (tools.ws.root / path).read_bytes() == after


async def test_a_byte_order_mark_survives_an_edit(tools: Tools) -> None:
    assert not (await tools.edit("str_replace", "src/bom.py", old_str="a = 1", new_str="a = 2")).is_error
    assert (tools.ws.root / "src/bom.py").read_bytes() == b"\xef\xbb\xbfa = 2\n"


@pytest.mark.parametrize("path", ["src/latin.py", "src/binary.py"])
async def test_what_is_no_utf8_text_is_neither_read_nor_overwritten(tools: Tools, path: str) -> None:
    for answer in (
        await tools.edit("view", path),
        await tools.edit("str_replace", path, old_str="a", new_str="b"),
        await tools.edit("insert", path, insert_line=0, insert_text="b"),
        await tools.edit("create", path, file_text="b = 1\n"),
    ):
        assert answer.is_error
        assert "not UTF-8" in answer.text or "binary" in answer.text
    assert (tools.ws.root / path).read_bytes() == FILES[path]


async def test_names_of_255_bytes_are_written_and_longer_ones_refused(tools: Tools) -> None:
    for name in ("é" * 126 + ".py", "n" * 252 + ".py"):
        answer = await tools.edit("create", f"src/{name}", file_text="x = 1\n")
        assert not answer.is_error, answer
        assert (tools.ws.root / "src" / name).read_bytes() == b"x = 1\n"
        assert (await tools.edit("create", f"src/{name}y", file_text="x")).is_error
    assert (await tools.edit("view", "src/" + "d/" * 3_000)).is_error


async def test_names_that_look_like_options_are_refused_and_those_a_shell_would_read_are_plain(
    tools: Tools,
) -> None:
    for name in ("-rf", "--help"):
        assert "option" in (await tools.edit("create", f"src/{name}", file_text="x\n")).text
        assert not (tools.ws.root / "src" / name).exists()
    for name in ("$(touch owned)", "a b;c", "*.py"):
        assert not (await tools.edit("create", f"src/{name}", file_text="x\n")).is_error
        assert (tools.ws.root / "src" / name).read_bytes() == b"x\n"
    assert not (tools.ws.root / "owned").exists()


async def test_a_catastrophic_pattern_ends_and_nothing_of_it_runs_on(tools: Tools) -> None:
    write(tools.ws.root, "src/bait.txt", b"a" * 60 + b"!\n")
    search = tools.box.find("search")
    assert search is not None
    search._timeout_s = 1.0  # type: ignore[attr-defined]  # The bound itself, shortened.
    answer = await tools.call("search", {"pattern": "^(a+)+$", "path": "src/bait.txt"})
    assert answer.is_error
    assert "Use a simpler pattern" in answer.text


PATHS = st.one_of(
    st.sampled_from([*FILES, "src", ".", "", "/", "..", "~", "@output/1", "src/new/deep/x.py"]),
    st.sampled_from(["src/way/canary.txt", "src/way/new.txt", "src/link.py", "src/loop", "src/pipe"]),
    st.sampled_from([".git/config", ".GIT/x", "src/.git/hooks/x", ".g\u200dit/x", "agentcoord.toml"]),
    st.text(max_size=40),
    st.text(st.characters(codec=None), max_size=20).map(lambda text: f"src/{text}"),
    st.lists(
        st.sampled_from(["src", "..", ".", "", "way", "dir.py", "é", "e\u0301", "a.py"]), max_size=6
    ).map("/".join),
)
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=80),
    st.sampled_from(
        ["a = 1", "b = 2\n", "\r\n", "\ufeff", "\0", "\ud800", "x" * 50_000, "\x1b[2J", "\u2028"]
    ),
)
ANYTHING = st.one_of(PATHS, TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.just([[]]))
NUMBERS = st.one_of(st.integers(-3, 12), ANYTHING)
EDITS = st.fixed_dictionaries(
    {"command": st.sampled_from(["view", "str_replace", "create", "insert", "undo_edit"])},
    optional={
        "path": st.one_of(PATHS, ANYTHING),
        "old_str": st.one_of(TEXTS, ANYTHING),
        "new_str": st.one_of(TEXTS, ANYTHING),
        "file_text": st.one_of(TEXTS, ANYTHING),
        "insert_text": st.one_of(TEXTS, ANYTHING),
        "insert_line": NUMBERS,
        "view_range": st.one_of(st.lists(NUMBERS, max_size=3), ANYTHING),
    },
).map(lambda arguments: (EDITOR, arguments))
SEARCHES = st.fixed_dictionaries(
    {"pattern": st.one_of(TEXTS, st.sampled_from(["(", "a{9999999999}", "(?<=a+)", r"\p", "[", "a|b"]))},
    optional={
        "path": st.one_of(PATHS, ANYTHING),
        "literal": st.one_of(st.booleans(), ANYTHING),
        "ignore_case": st.booleans(),
    },
).map(lambda arguments: ("search", arguments))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(calls=st.lists(st.one_of(EDITS, EDITS, EDITS, SEARCHES), min_size=1, max_size=4))
async def test_any_call_is_answered_in_words_and_touches_nothing_outside(
    tools: Tools, calls: list[tuple[str, dict[str, object]]]
) -> None:
    outside = tools.world.root.parent / "outside"
    before = snapshot(tools.world.root)
    for tool, arguments in calls:
        answer = await tools.call(tool, arguments)
        assert answer.text.strip()
        assert len(answer.text.encode("utf-8")) <= 4 * (RESULT_CHARS + 3_000)
        assert SECRET not in answer.text
    assert snapshot(outside) == {"canary.txt": SECRET.encode()}
    assert snapshot(tools.world.root) == before
    assert not list((tools.ws.root / ".git").iterdir())
    assert (tools.ws.root / "other/outside_scope.py").read_bytes() == FILES["other/outside_scope.py"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, content=st.binary(max_size=200))
async def test_any_path_and_bytes_below_the_tools_are_written_inside_or_refused(
    tools: Tools, path: str, content: bytes
) -> None:
    """The layer that the tools stand on, without their checks of what a text may hold."""
    files = tools.ws.files
    for attempt in (
        lambda: files.write_bytes(path, content),
        lambda: files.read_bytes(path, limit=1_000_000),
        lambda: files.list_dir(path),
        lambda: files.exists(path),
        lambda: files.is_dir(path),
    ):
        try:
            got = attempt()
        except (WorkspaceError, FileNotFoundError):
            continue
        assert got != SECRET.encode()
    assert snapshot(tools.world.root.parent / "outside") == {"canary.txt": SECRET.encode()}
    assert not list((tools.ws.root / ".git").iterdir())
