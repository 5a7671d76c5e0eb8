"""The two renames, by the kernel, by links, and by renames alone: the same contract for all three."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcoord.workspace.renames import KernelRenames, PlainRenames, Renames

WAYS = [KernelRenames(), PlainRenames(), PlainRenames(links=False)]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "one").write_text("1")
    (tmp_path / "other").write_text("2")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("renames", WAYS)
def test_exchange_swaps_the_names_and_keeps_both_inodes(
    renames: Renames, folder: int, tmp_path: Path
) -> None:
    inodes = (tmp_path / "one").stat().st_ino, (tmp_path / "other").stat().st_ino
    renames.exchange(folder, "one", "other")
    assert ((tmp_path / "other").stat().st_ino, (tmp_path / "one").stat().st_ino) == inodes
    assert names(tmp_path) == ["one", "other"]


@pytest.mark.parametrize("renames", WAYS)
def test_exchange_with_a_missing_name_changes_nothing(renames: Renames, folder: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        renames.exchange(folder, "one", "none")
    assert (tmp_path / "one").read_text() == "1"


@pytest.mark.parametrize("renames", WAYS)
def test_move_never_replaces(renames: Renames, folder: int, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        renames.move(folder, "one", "other")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        renames.move(folder, "one", "dangling")
    renames.move(folder, "one", "free")
    assert names(tmp_path) == ["dangling", "free", "other"]


def test_what_a_crash_left_of_a_plain_exchange_is_mended_from_each_point(folder: int, tmp_path: Path) -> None:
    (tmp_path / "one~").hardlink_to(tmp_path / "other")
    PlainRenames.mend(folder, "one", "other")
    assert names(tmp_path) == ["one", "other"]
    (tmp_path / "one~").hardlink_to(tmp_path / "other")
    (tmp_path / "one").rename(tmp_path / "other")
    PlainRenames.mend(folder, "one", "other")
    assert ((tmp_path / "one").read_text(), (tmp_path / "other").read_text()) == ("2", "1")


def test_what_a_crash_left_of_a_plain_move_is_mended(folder: int, tmp_path: Path) -> None:
    (tmp_path / "new").hardlink_to(tmp_path / "one")
    PlainRenames.mend(folder, "one", "new")
    assert names(tmp_path) == ["new", "other"]


def test_what_a_crash_left_of_an_exchange_without_links_is_mended(folder: int, tmp_path: Path) -> None:
    (tmp_path / "other").rename(tmp_path / "one~")
    PlainRenames.mend(folder, "one", "other")
    assert ((tmp_path / "one").read_text(), (tmp_path / "other").read_text()) == ("1", "2")
    assert names(tmp_path) == ["one", "other"]


class SavedBetween(PlainRenames):
    """The user saves `other` in each instant in which nothing is there, `saves` times."""

    def __init__(self, folder: Path, saves: int) -> None:
        super().__init__(links=False)
        self._folder = folder
        self._left = saves

    def move(self, folder: int, source: str, target: str) -> None:
        if target == "other" and self._left:
            self._left -= 1
            (self._folder / "other").write_text(f"saved {self._left}")
        super().move(folder, source, target)


def test_without_links_a_save_in_the_middle_of_an_exchange_is_what_comes_out(
    folder: int, tmp_path: Path
) -> None:
    SavedBetween(tmp_path, 3).exchange(folder, "one", "other")
    assert ((tmp_path / "one").read_text(), (tmp_path / "other").read_text()) == ("saved 0", "1")
    assert names(tmp_path) == ["one", "other"]


def test_without_links_who_saves_for_ever_keeps_the_last_save(folder: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="busy"):
        SavedBetween(tmp_path, 1000).exchange(folder, "one", "other")
    assert (tmp_path / "one").read_text() == "1"
    assert (tmp_path / "other").read_text() == f"saved {1000 - 16}"
