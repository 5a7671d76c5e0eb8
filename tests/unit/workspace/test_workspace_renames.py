"""The two renames, by the kernel and by links alone: the same contract for both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcoord.workspace.renames import KernelRenames, PlainRenames, Renames

WAYS = [KernelRenames(), PlainRenames()]


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
