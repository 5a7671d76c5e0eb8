"""The journal's contents: one file a landing, found again by any process, and dropped without loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.packs import PackedContents


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def never(step: str) -> None:
    """No fault."""


class CrashError(Exception):
    """The process ends here."""


def crash_at(chosen: str) -> Callable[[str], None]:
    def hear(step: str) -> None:
        if step == chosen:
            raise CrashError

    return hear


def test_what_is_stored_together_is_one_file_and_another_process_finds_it(tmp_path: Path) -> None:
    packed, reader = PackedContents(tmp_path / "home"), PackedContents(tmp_path / "home")
    with pytest.raises(WorkspaceError, match="gone"):
        reader.read(sha(b"one"))
    packed.put_all([b"one", b"", b"two\n", b"one"])
    assert len(list((tmp_path / "home").iterdir())) == 1
    for each in (packed, reader):
        assert [each.read(sha(content)) for content in (b"one", b"", b"two\n")] == [b"one", b"", b"two\n"]


def test_what_is_there_already_is_not_stored_again(tmp_path: Path) -> None:
    packed = PackedContents(tmp_path)
    packed.put(b"alone")
    packed.put_all([b"one", b"alone"])
    PackedContents(tmp_path).put_all([b"one", b"two"])
    assert packed.names() == {sha(content) for content in (b"alone", b"one", b"two")}
    sizes = sum(len(content) for content in (b"one", b"two"))
    assert sum(p.read_bytes().partition(b"\n")[2].__len__() for p in tmp_path.glob("pack-*")) == sizes


def test_dropping_keeps_the_rest_of_a_pack_and_tells_what_it_freed(tmp_path: Path) -> None:
    packed, reader = PackedContents(tmp_path), PackedContents(tmp_path)
    packed.put_all([b"kept", b"dropped"])
    packed.put_all([b"whole pack"])
    packed.put(b"alone")
    assert reader.read(sha(b"kept")) == b"kept"
    gone = {sha(b"dropped"), sha(b"whole pack"), sha(b"alone"), sha(b"never there")}
    assert packed.drop_all(gone, never) == len(b"dropped") + len(b"whole pack") + len(b"alone")
    for each in (packed, reader):
        assert each.read(sha(b"kept")) == b"kept"
        with pytest.raises(WorkspaceError, match="gone"):
            each.read(sha(b"dropped"))
    assert packed.names() == {sha(b"kept")}


@pytest.mark.parametrize("step", ["pack kept contents", "drop pack", "drop content"])
def test_a_crash_while_dropping_loses_nothing_and_the_next_time_all_of_it_goes(
    tmp_path: Path, step: str
) -> None:
    packed = PackedContents(tmp_path)
    packed.put_all([b"kept", b"dropped"])
    packed.put(b"alone")
    gone = {sha(b"dropped"), sha(b"alone")}
    with pytest.raises(CrashError):
        packed.drop_all(gone, crash_at(step))
    again = PackedContents(tmp_path)
    assert again.read(sha(b"kept")) == b"kept"
    again.drop_all(gone, never)
    assert again.names() == {sha(b"kept")}


def test_a_damaged_pack_is_never_believed_and_spoils_no_other(tmp_path: Path) -> None:
    packed = PackedContents(tmp_path)
    packed.put_all([b"content"])
    (pack,) = tmp_path.glob("pack-*")
    pack.write_bytes(pack.read_bytes().replace(b"content", b"contenT"))
    with pytest.raises(WorkspaceError, match="damaged"):
        packed.read(sha(b"content"))
    pack.write_bytes(b"no index")
    packed.put_all([b"other"])
    fresh = PackedContents(tmp_path)
    with pytest.raises(WorkspaceError, match="gone"):
        fresh.read(sha(b"content"))
    assert fresh.read(sha(b"other")) == b"other"
