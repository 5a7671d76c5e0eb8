"""The safe file tree and opening beneath, by the kernel's way and by components."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import READ, in_words, open_beneath, opened_root
from agentcoord.workspace.files import SafeTree


@pytest.fixture
def tree(tmp_path: Path) -> SafeTree:
    root = tmp_path / "copy"
    (root / "src").mkdir(parents=True)
    (root / "src/a.py").write_bytes(b"a\r\n")
    (root / ".git").mkdir()
    return SafeTree(root)


def test_reading_writing_and_listing_round_trip(tree: SafeTree) -> None:
    tree.write_bytes("src/deep/er/b.py", b"\xff\0")
    assert tree.read_bytes("./src//deep/er/b.py", limit=2) == b"\xff\0"
    assert tree.list_dir("") == ["src/"]
    assert tree.list_dir("src") == ["a.py", "deep/"]
    assert tree.exists("src/a.py")
    assert tree.exists("src")
    assert not tree.exists("src/none.py")
    assert tree.is_dir("src")
    assert not tree.is_dir("src/a.py")


def test_a_missing_file_is_the_ordinary_error(tree: SafeTree) -> None:
    with pytest.raises(FileNotFoundError):
        tree.read_bytes("src/none.py", limit=10)
    with pytest.raises(FileNotFoundError):
        tree.list_dir("none")


def test_writing_keeps_the_exec_bit_and_new_files_have_none(tree: SafeTree) -> None:
    (tree.root / "src/a.py").chmod(0o755)
    tree.write_bytes("src/a.py", b"new")
    tree.write_bytes("src/b.py", b"new")
    assert (tree.root / "src/a.py").stat().st_mode & 0o777 == 0o755
    assert (tree.root / "src/b.py").stat().st_mode & 0o777 == 0o644


def test_a_file_larger_than_the_limit_is_not_read(tree: SafeTree) -> None:
    with (tree.root / "big").open("wb") as big:
        big.truncate(1 << 40)
    with pytest.raises(WorkspaceError, match="at most 100"):
        tree.read_bytes("big", limit=100)


def test_a_name_of_255_bytes_works_and_one_of_256_is_refused_in_words(tree: SafeTree) -> None:
    tree.write_bytes("ü" * 127 + "x", b"long")
    assert tree.read_bytes("ü" * 127 + "x", limit=10) == b"long"
    with pytest.raises(WorkspaceError, match="too long"):
        tree.write_bytes("x" * 256, b"")


@pytest.mark.parametrize("by_kernel", [True, False])
def test_both_ways_of_opening_refuse_symlinks_and_find_files(tree: SafeTree, *, by_kernel: bool) -> None:
    (tree.root / "link").symlink_to("src")
    (tree.root / "file-link").symlink_to("src/a.py")
    with opened_root(tree.root) as root_fd:
        os.close(open_beneath(root_fd, "src/a.py", READ, by_kernel=by_kernel))
        for path in ("link/a.py", "file-link"):
            with pytest.raises(OSError) as refused:
                open_beneath(root_fd, path, READ, by_kernel=by_kernel)
            assert refused.value.errno == errno.ELOOP
        with pytest.raises(OSError) as refused:
            open_beneath(root_fd, "../copy/src/a.py", READ, by_kernel=by_kernel)
        assert refused.value.errno == errno.EXDEV
        with pytest.raises(FileNotFoundError):
            open_beneath(root_fd, "src/none", READ, by_kernel=by_kernel)
        with pytest.raises(NotADirectoryError):
            open_beneath(root_fd, "src/a.py/x", READ, by_kernel=by_kernel)


def test_an_interrupted_write_leaves_no_temporary_behind(tree: SafeTree) -> None:
    (tree.root / "src/taken").mkdir()
    with pytest.raises(WorkspaceError, match="is a folder"):
        tree.write_bytes("src/taken", b"x")
    assert tree.list_dir("src") == ["a.py", "taken/"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EISDIR, "is a folder, not a file"),
        (errno.ENXIO, "is not a regular file"),
        (errno.ENAMETOOLONG, "too long for a file name"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "'src/a.py': Input/output error"),
    ],
)
def test_what_the_kernel_says_is_told_with_the_path_and_in_words(code: int, words: str) -> None:
    told = in_words(OSError(code, os.strerror(code)), "src/a.py")
    assert words in told.message
    assert "src/a.py" in told.message


def test_a_path_with_half_a_character_is_refused_in_words(tree: SafeTree) -> None:
    with pytest.raises(WorkspaceError, match="surrogate"):
        tree.read_bytes("src/\ud800.py", limit=10)


def test_removing_takes_files_away_and_nothing_else(tree: SafeTree) -> None:
    tree.remove("src/a.py")
    tree.remove("src/a.py")
    assert tree.list_dir("src") == []
    with pytest.raises(WorkspaceError, match="is a folder"):
        tree.remove("src")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a file that tells no size, as /proc has them"
)
def test_a_file_that_is_longer_than_it_said_is_not_read_beyond_the_limit() -> None:
    tree = SafeTree(Path(f"/proc/{os.getpid()}"))
    assert len(tree.read_bytes("comm", limit=100)) < 100
    with pytest.raises(WorkspaceError, match="grew beyond 10 bytes"):
        tree.read_bytes("maps", limit=10)
