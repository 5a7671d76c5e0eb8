"""Recordings are read as they were written, torn or not, and every moment of them is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.daemon.night_writer import NightWriter
from agentcoord.errors import WireError
from agentcoord.wire.night_file import Kept, NightFile, encode_record, night_called, nights_in


def written(folder: Path, run: str, *records: tuple[int, str, dict[str, object]]) -> Path:
    lines = [encode_record(at, method, params) for at, method, params in records]
    NightWriter(folder, run).append(lines, records[-1][0])
    return folder / f"{run}.jsonl"


def a_snapshot(at: int, done: int = 0) -> tuple[int, str, dict[str, object]]:
    status = {"counts": {"done": done, "failed": 1}, "spend": {"spent_usd": 0.5}, "state": "running"}
    return at, Kept.SNAPSHOT, {"status": status, "tasks": [], "workers": []}


def an_event(at: int, number: int) -> tuple[int, str, dict[str, object]]:
    return at, Kept.EVENT, {"kind": "task.turn", "at_ms": at, "task": "a", "data": {"turn": number}}


def test_every_moment_is_found(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "r1",
        a_snapshot(1000),
        an_event(1500, 1),
        (1500, Kept.DETAIL, {"task": {"id": "a"}, "summary": "early"}),
        an_event(2000, 2),
        a_snapshot(2500),
        (2600, Kept.DETAIL, {"task": {"id": "a"}, "summary": "late"}),
        (2600, Kept.DIFF, {"id": "a", "text": "+x"}),
        an_event(3000, 3),
    )
    night = NightFile.read(path)
    assert (night.run, night.begin_ms, night.end_ms, len(night)) == ("r1", 1000, 3000, 8)
    assert [night.until(at) for at in (999, 1000, 1500, 1999, 3000)] == [0, 1, 3, 3, 8]
    assert [night.snapshot_before(count) for count in (0, 1, 4, 5, 8)] == [0, 0, 0, 4, 4]
    assert [e["data"]["turn"] for e in night.events_before(4, 10)] == [1, 2]
    assert [e["data"]["turn"] for e in night.events_before(8, 2)] == [2, 3]
    assert (night.events_counted(4), night.events_counted(8)) == (2, 3)
    assert night.about(Kept.DETAIL, "a", 2) is None
    assert [night.about(Kept.DETAIL, "a", count)["summary"] for count in (3, 5, 6)] == [  # type: ignore[index]  # each is there
        "early",
        "early",
        "late",
    ]
    assert night.about(Kept.DIFF, "b", 8) is None
    assert [night.time_of_event(at, 1) for at in (1000, 1500, 2999, 3000)] == [1500, 2000, 3000, None]
    assert [night.time_of_event(at, -1) for at in (3001, 3000, 1500)] == [3000, 2000, None]


def test_a_torn_line_and_a_clock_that_was_set_back_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "r1", a_snapshot(1000), an_event(2000, 1))
    with path.open("ab") as file:
        file.write(b'{"at":2100,"method":"event","params":{"ki')
    written(tmp_path, "r1", an_event(1500, 2))
    night = NightFile.read(path)
    assert [e["data"]["turn"] for e in night.events()] == [1, 2]
    assert night.end_ms == 2000
    assert not night.cut


def test_what_stands_before_the_first_snapshot_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "r1", an_event(900, 1), a_snapshot(1000))
    assert len(NightFile.read(path)) == 1
    with pytest.raises(WireError, match="is empty"):
        NightFile.read(written(tmp_path, "r2", an_event(900, 1)))
    with pytest.raises(WireError, match="cannot be read"):
        NightFile.read(tmp_path / "r3.jsonl")


def test_half_a_surrogate_pair_in_a_file_name_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "r1", a_snapshot(1), (2, Kept.EVENT, {"data": {"path": "x\udcff"}}))
    assert b"\\udcff" in path.read_bytes()


def test_recordings_are_listed_the_newest_first_and_found_by_name(tmp_path: Path) -> None:
    written(tmp_path, "r1", a_snapshot(1000))
    changed = {"counts": {"done": 3}, "spend": {"spent_usd": 1.5}}
    written(
        tmp_path, "r22", a_snapshot(5000), an_event(6000, 1), (7000, Kept.STATUS, changed), an_event(8000, 2)
    )
    (tmp_path / "r3.jsonl").write_text("no recording\n")
    nights = nights_in(tmp_path)
    assert [(n.run, n.begin_ms, n.end_ms, n.counts["done"], n.spent_usd) for n in nights] == [
        ("r22", 5000, 8000, 3, 1.5),
        ("r1", 1000, 1000, 0, 0.5),
    ]
    assert [night_called(tmp_path, name).stem for name in ("last", "r1", "r2")] == ["r22", "r1", "r22"]
    with pytest.raises(WireError, match="several recordings are called r"):
        night_called(tmp_path, "r")
    with pytest.raises(WireError, match="no recording is called x"):
        night_called(tmp_path, "x")
    with pytest.raises(WireError, match="no run was recorded yet"):
        night_called(tmp_path / "none", "last")


def test_the_oldest_recordings_go(tmp_path: Path) -> None:
    for number in range(5):
        NightWriter(tmp_path, f"r{number}", keep=3).append([encode_record(*a_snapshot(number))], number)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["r2", "r3", "r4"]
