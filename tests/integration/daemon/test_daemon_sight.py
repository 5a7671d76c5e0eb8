"""What a project keeps out of its workers' sight: no tool shows it, finds it, lists it or changes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentcoord.domain.ids import ProjectId
from agentcoord.workspace.scope import ScopeRules
from tools_kit import EDITOR, Tools, tools_in
from workspace_kit import World, snapshot

FILES = {
    "src/app.py": b"needle = 1\n",
    "src/vendor/lib.py": b"needle = 2\n",
    "src/vendor/README.md": b"needle 3\n",
    "private/plan.md": b"needle 4\n",
}
UNSEEN = "is out of sight: this project's owner does not let workers read it"


@pytest.fixture
async def tools(tmp_path: Path, valkey_url: str, project_id: ProjectId) -> AsyncIterator[Tools]:
    sight = ["**", "!src/vendor/", "src/vendor/README.md", "!private/"]
    world = replace(await World.make(tmp_path, FILES), rules=ScopeRules(["**"], sight=sight))
    async with tools_in(world, valkey_url, project_id) as made:
        yield made


async def test_no_tool_shows_finds_or_lists_it(tools: Tools) -> None:
    for path in ("src/vendor/lib.py", "private/plan.md"):
        answer = await tools.edit("view", path)
        assert answer.is_error
        assert UNSEEN in answer.text
    folder = await tools.edit("view", "private")
    assert folder.is_error
    assert "plan.md" not in folder.text
    assert "needle 3" in (await tools.edit("view", "src/vendor/README.md")).text
    listed = (await tools.edit("view", ".")).text
    assert "src/app.py" in listed
    assert "private" not in listed
    assert (await tools.edit("view", "src/vendor")).text.splitlines()[1:] == ["src/vendor/README.md"]
    found = await tools.call("search", {"pattern": "needle"})
    assert sorted(line.partition(":")[0] for line in found.text.splitlines() if "needle" in line) == [
        "src/app.py",
        "src/vendor/README.md",
    ]


async def test_what_cannot_be_seen_cannot_be_changed_either(tools: Tools) -> None:
    before = snapshot(tools.ws.root)
    for command, more in (
        ("create", {"file_text": "x\n"}),
        ("str_replace", {"old_str": "needle", "new_str": "thread"}),
        ("insert", {"insert_line": 0, "insert_text": "x\n"}),
    ):
        for path in ("src/vendor/lib.py", "private/new.md"):
            answer = await tools.call(EDITOR, {"command": command, "path": path, **more})
            assert answer.is_error
            assert UNSEEN in answer.text
    assert snapshot(tools.ws.root) == before
    assert not (await tools.edit("create", "src/new.py", file_text="x = 1\n")).is_error


async def test_what_a_command_changes_out_of_sight_stays_behind(tools: Tools) -> None:
    tools.ws.files.write_bytes("private/plan.md", b"changed")
    tools.ws.files.write_bytes("src/app.py", b"changed")
    rules = tools.world.rules
    changes = await tools.ws.changes()
    assert [path for path in changes.paths if rules.allows(path)] == ["src/app.py"]
