"""Which names a disk could take for one, and whether this disk does."""

from __future__ import annotations

from pathlib import Path

from agentcoord.workspace.one_name import folds_case, may_be_one, twins_among


def test_paths_that_differ_in_case_or_composition_are_twins_and_each_knows_another() -> None:
    paths = ["a/One.py", "a/one.py", "A/one.py", "gr\u00fcn", "gru\u0308n", "a/two.py", "one.py"]
    assert twins_among(paths) == {
        "A/one.py": "a/One.py",
        "a/One.py": "A/one.py",
        "a/one.py": "A/one.py",
        "gr\u00fcn": "gru\u0308n",
        "gru\u0308n": "gr\u00fcn",
    }


def test_a_landing_also_asks_about_names_that_windows_shortens() -> None:
    assert may_be_one("a/b.", "A/b")
    assert not may_be_one("a/b", "a/c")
    assert not may_be_one("a/b", "a/b/c")


def test_a_disk_that_keeps_case_apart_is_told_from_one_that_folds(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert not folds_case(tmp_path)
    (tmp_path / ".GIT").mkdir()
    assert not folds_case(tmp_path)
    (tmp_path / ".GIT").rmdir()
    (tmp_path / ".GIT").symlink_to(".git")
    assert not folds_case(tmp_path)
