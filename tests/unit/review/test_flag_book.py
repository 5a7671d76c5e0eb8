"""Flags on disk, and permission for exactly one change."""

from __future__ import annotations

from pathlib import Path

from agentcoord.domain.files import Change, ChangeKind, FileVersion
from agentcoord.domain.ids import TaskId
from agentcoord.review.flag_book import FlagBook, fingerprint_of, why_held
from agentcoord.review.flags import Flag, FlagKind

T = TaskId("t")
DELETED = Flag(FlagKind.TEST_DELETED, "tests/test_a.py", 3, "test_a is gone")
TOLD = Flag(FlagKind.WARNING_SILENCED, "a.py", 1, "# noqa")


def change(content: str, *, mode: int = 0o644) -> Change:
    return Change("a.py", ChangeKind.ADDED, None, FileVersion(content, 1, mode))


def test_a_permission_is_for_the_same_contents_and_outlives_the_daemon(tmp_path: Path) -> None:
    book = FlagBook(tmp_path / "flags")
    assert book.of(T) is None
    assert book.set_permitted(T, permitted=True) is None
    assert not book.note(T, 1, "one", [DELETED]).permitted
    assert book.set_permitted(T, permitted=True) is not None
    again = FlagBook(tmp_path / "flags").note(T, 2, "one", [DELETED, TOLD])
    assert (again.permitted, again.attempt, again.flags) == (True, 2, (DELETED, TOLD))
    assert not book.note(T, 2, "another", [DELETED]).permitted
    assert not book.note(T, 2, "one", [DELETED]).permitted, "it is not remembered behind another change"


def test_damage_means_that_nothing_is_permitted(tmp_path: Path) -> None:
    book = FlagBook(tmp_path)
    book.note(T, 1, "one", [DELETED])
    book.set_permitted(T, permitted=True)
    (tmp_path / "t.json").write_text("{")
    assert book.of(T) is None
    assert not book.note(T, 1, "one", [DELETED]).permitted


def test_the_fingerprint_is_of_paths_contents_and_modes() -> None:
    assert fingerprint_of([change("x")]) == fingerprint_of([change("x")])
    assert (
        len({fingerprint_of(each) for each in ([change("x")], [change("y")], [change("x", mode=0o755)], [])})
        == 4
    )


def test_why_it_is_held_names_the_place_and_the_command() -> None:
    words = why_held(T, [DELETED, TOLD])
    assert "tests/test_a.py:3: test deleted: test_a is gone" in words
    assert "agentcoord land t" in words
    assert "more" not in words
    assert "and 1 more" in why_held(T, [DELETED, DELETED])
