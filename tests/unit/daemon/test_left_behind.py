"""What a landing does not carry over, in words."""

from __future__ import annotations

from agentcoord.daemon.left_behind import left_behind
from agentcoord.domain.files import Change, ChangeKind, ChangeSet, FileVersion

VERSION = FileVersion("0" * 64, 1, 0o644)
LANDS = Change("lands.py", ChangeKind.ADDED, None, VERSION)


def test_nothing_left_behind_is_no_word() -> None:
    assert left_behind(ChangeSet((LANDS,))) == []


def test_many_files_are_named_up_to_a_bound() -> None:
    gone = tuple(Change(f"{n:02d}.py", ChangeKind.DELETED, VERSION, None) for n in range(12))
    outside = tuple(f"out/{n}" for n in range(3))
    assert left_behind(ChangeSet((LANDS,), gone, outside)) == [
        "Removed or renamed in its copy, which no landing does to your tree: "
        + ", ".join(f"{n:02d}.py" for n in range(10))
        + " and 2 more",
        "Written outside the scope, and left behind: out/0, out/1, out/2",
    ]
