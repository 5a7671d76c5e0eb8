"""Which names a disk could take for one, and whether this disk does."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.workspace.one_name import folds_case, may_be_one, twins_among, users_name_of


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


@pytest.fixture
def folding(tmp_path: Path) -> Path:
    """A tree that answers as one on a disk that folds case: its `.git` is found as `.GIT` too."""
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / ".GIT").hardlink_to(tmp_path / ".git")
    return tmp_path


def test_where_case_is_folded_the_users_name_is_what_git_knows_else_what_the_disk_tells(
    folding: Path,
) -> None:
    (folding / "src").mkdir()
    (folding / "src/Gr\u00fcn.py").touch()
    assert folds_case(folding)
    assert users_name_of("SRC/main.py", ["src/main.py", "src/other.py"], folding) == "src/main.py"
    assert users_name_of("SRC/GRU\u0308N.PY", [], folding) == "src/Gr\u00fcn.py"
    assert users_name_of("src/Gr\u00fcn.py", ["src/Gr\u00fcn.py"], folding) is None, "it has no other"
    assert users_name_of("src/none.py", [], folding) is None
    assert users_name_of("none/at/all.py", [], folding) is None
    assert users_name_of("src/Gr\u00fcn.py/below", [], folding) is None, "no folder is there"


def test_where_case_is_kept_apart_a_new_path_has_no_other_name(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "Main.py").touch()
    assert users_name_of("main.py", ["Main.py"], tmp_path) is None
