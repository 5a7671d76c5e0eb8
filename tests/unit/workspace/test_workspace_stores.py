"""What is kept beside the copies: contents, manifests and journal records survive the round trip."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.domain.files import FileVersion
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.history import Operation, Phase, Record, Swap, landed_records, standing_landings
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.manifest import Entries, Entry, Manifest
from agentcoord.workspace.signatures import Signature
from agentcoord.workspace.user_tree import Kind
from agentcoord.workspace.versions import version_of

HERE: Signature = "f644 1 2.0 3.0 4"


def file_name(raw: bytes) -> str:
    """Any name that a file can have."""
    return os.fsdecode(raw.replace(b"\0", b"0"))


ENTRY = Entry(Kind.FILE, False, "ab" * 32, HERE, HERE, False)
RECORD = Record(
    number=3,
    operation=Operation.LAND,
    phase=Phase.DONE,
    task=TaskId("a"),
    token=FencingToken(5),
    title="Tïtle\n",
    at_ms=12,
    swaps=(
        Swap("x\udcff\n.py", None, version_of(b"n", 0o644), ".agentcoord-1.tmp", 1, 0),
        Swap("y.py", version_of(b"o", 0o755), version_of(b"n", 0o755), ".agentcoord-2.tmp", 1, 1),
    ),
    made_folders=("d", "d/e"),
    merged=("y.py",),
)


@pytest.mark.parametrize("content", [b"", b"small", b"large" * 500_000])
def test_contents_come_back_from_memory_and_from_files(tmp_path: Path, content: bytes) -> None:
    blobs = BlobStore(tmp_path / "blobs", durable=True)
    (tmp_path / "source").write_bytes(content)
    with (tmp_path / "source").open("rb") as source:
        sha256, _ = blobs.put_file(source.fileno(), len(content))
    assert blobs.put(content) == sha256
    assert blobs.read(sha256) == content
    with (tmp_path / "target").open("w+b") as target:
        blobs.copy_to(sha256, target.fileno())
    assert (tmp_path / "target").read_bytes() == content


def test_a_damaged_or_missing_content_is_an_error_and_never_returned(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, durable=False)
    sha256 = blobs.put(b"content")
    (tmp_path / sha256).write_bytes(b"contenT")
    with pytest.raises(WorkspaceError, match="damaged"):
        blobs.read(sha256)
    with pytest.raises(WorkspaceError, match="gone"):
        blobs.read("0" * 64)


def test_a_content_that_a_crash_cut_short_is_stored_anew(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, durable=False)
    sha256 = blobs.put(b"content")
    os.truncate(tmp_path / sha256, 3)
    assert blobs.put(b"content") == sha256
    assert blobs.read(sha256) == b"content"


def test_only_old_contents_that_nothing_refers_to_are_dropped(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, durable=False)
    kept, dropped, young = blobs.put(b"kept"), blobs.put(b"dropped"), blobs.put(b"young")
    for sha256 in (kept, dropped):
        os.utime(tmp_path / sha256, (0, 0))
    assert blobs.drop_others({kept}) == 1
    assert blobs.read(kept) == b"kept"
    assert blobs.read(young) == b"young"


@given(st.dictionaries(st.binary(min_size=1).map(file_name), st.booleans(), max_size=5))
def test_a_manifest_comes_back_with_any_name(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, bool]
) -> None:
    entries = {n: ENTRY._replace(executable=x, source=HERE if x else None) for n, x in names.items()}
    manifest = Manifest(Entries.of(entries), frozenset({"sub"}))
    path = tmp_path_factory.mktemp("m") / "manifest.json"
    manifest.saved(path)
    loaded = Manifest.load(path)
    assert loaded is not None
    assert (dict(loaded.entries), loaded.nested) == (entries, manifest.nested)
    assert loaded.entries.ignored == set()


def test_a_manifest_that_was_cut_short_is_no_manifest(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "cut"
    Manifest(Entries.of({f"file{n}": ENTRY for n in range(3)})).saved(whole)
    content = whole.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert Manifest.load(path) is None
    assert Manifest.load(whole) is not None


def test_what_changed_is_appended_and_counts_and_what_is_gone_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    first = Manifest(Entries.of({f"file{n}": ENTRY for n in range(3)})).saved(path)
    whole = path.read_bytes()
    entries = first.entries.copied()
    entries.drop("file1")
    entries.put("file2", ENTRY._replace(executable=True))
    entries.put("new", ENTRY)
    second = Manifest(entries, first.nested, first.kept).saved(path, first, ["file1", "file2", "new"])
    assert path.read_bytes().startswith(whole)
    loaded = Manifest.load(path)
    assert loaded is not None
    assert dict(loaded.entries) == dict(entries)
    assert loaded.kept == second.kept


def test_an_appended_change_that_was_cut_short_is_none_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    first = Manifest(Entries.of({"a": ENTRY})).saved(path)
    base_bytes = path.stat().st_size
    other = Manifest(Entries.of({"a": ENTRY._replace(executable=True)}), kept=first.kept)
    other.saved(path, first, ["a"])
    content = path.read_bytes()
    for length in range(base_bytes, len(content)):
        path.write_bytes(content[:length])
        cut = Manifest.load(path)
        assert cut is not None
        assert dict(cut.entries) == {"a": ENTRY}
        Manifest(other.entries, kept=cut.kept).saved(path, cut, ["a"])
        again = Manifest.load(path)
        assert again is not None
        assert dict(again.entries) == dict(other.entries)


def test_nothing_is_appended_to_another_file_nor_without_end(tmp_path: Path) -> None:
    path, other = tmp_path / "manifest.json", tmp_path / "other.json"
    known = Manifest(Entries.of({"a": ENTRY})).saved(path)
    Manifest(Entries.of({"b": ENTRY})).saved(other)
    other.replace(path)
    known = Manifest(known.entries, kept=known.kept).saved(path, known, ["a"])
    assert (loaded := Manifest.load(path)) is not None
    assert list(loaded.entries) == ["a"]
    sizes = []
    for _ in range(3000):
        known = Manifest(known.entries, kept=known.kept).saved(path, known, ["a"])
        sizes.append(path.stat().st_size)
    assert max(sizes[1500:]) == max(sizes[:1500])


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"schema": 99}', '{"schema": 1, "nested": [], "entries": [[1]]}']
)
def test_a_manifest_that_cannot_be_read_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert Manifest.load(tmp_path / "manifest.json") is None
    assert Manifest.load(tmp_path / "none.json") is None


def test_the_tree_hash_knows_content_mode_kind_and_name() -> None:
    base = Manifest(Entries.of({"a": ENTRY}))
    others = [
        Manifest(Entries.of({"b": ENTRY})),
        Manifest(Entries.of({"a": ENTRY._replace(executable=True)})),
        Manifest(Entries.of({"a": ENTRY._replace(kind=Kind.LINK)})),
        Manifest(Entries.of({"a": ENTRY._replace(sha256="cd" * 32)})),
    ]
    hashes = {m.tree_hash({}) for m in (base, *others)}
    assert len(hashes) == 5
    assert base.tree_hash({"a": FileVersion(ENTRY.sha256, 1, 0o644)}) == base.tree_hash({})


def test_records_come_back_and_replace_their_earlier_phase(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.load() == []
    journal.write(replace(RECORD, phase=Phase.PREPARED))
    journal.advance(RECORD, Phase.SETTLED)
    journal.write(replace(RECORD, number=2))
    assert journal.load() == [replace(RECORD, number=2), replace(RECORD, phase=Phase.SETTLED)]
    journal.remove(RECORD)
    assert [r.number for r in journal.load()] == [2]


def test_a_record_of_another_version_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(RECORD)
    path = tmp_path / "records/00000003.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(WorkspaceError, match="another version"):
        journal.load()


def test_only_landings_that_happened_and_were_not_undone_stand() -> None:
    undo = replace(RECORD, number=9, operation=Operation.UNDO, undoes=(3,), at_ms=99)
    abandoned = replace(RECORD, number=4, phase=Phase.ABANDONED)
    again = replace(RECORD, number=10)
    failed_undo = replace(undo, number=11, undoes=(10,), phase=Phase.ABANDONED)
    records = [RECORD, abandoned, undo, again, failed_undo]
    assert standing_landings(records, TaskId("a")) == [again]
    assert standing_landings(records, TaskId("b")) == []
    assert [r.undone_at_ms for r in landed_records(records)] == [99, None]


def test_a_phase_that_a_crash_cut_short_was_not_reached_and_the_next_one_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(replace(RECORD, phase=Phase.PREPARED))
    journal.advance(RECORD, Phase.SWAPPING)
    (path,) = (tmp_path / "records").iterdir()
    before = path.read_bytes()
    assert journal.advance(RECORD, Phase.DONE).phase is Phase.DONE
    whole = path.read_bytes()
    for length in range(len(before), len(whole) + 1):
        path.write_bytes(whole[:length])
        (found,) = Journal(tmp_path).load()
        assert found.phase is (Phase.DONE if length == len(whole) else Phase.SWAPPING)
        Journal(tmp_path).advance(found, Phase.ABANDONED)
        assert Journal(tmp_path).load() == [replace(found, phase=Phase.ABANDONED)]
