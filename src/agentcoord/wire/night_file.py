"""The recording of one run: JSON lines that a dashboard can play again without a daemon.

Theory of operation. A record is `{"at": ms, "method": ..., "params": {...}}`. Most are notifications of
the control socket, as a subscriber would have been told, but smaller: only the rows and fields that
changed. A `snapshot` holds everything and stands at the beginning, after each start of a daemon, and
from then on as often as its own length allows; whoever jumps to a moment begins at the snapshot before
it. Times never run backwards within a file, whatever the machine's clock did. A torn line (a crash in
mid-write) is passed over.
Deliberately absent: who records (`daemon/night_recorder`), and playing (`tui/replay`).
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from agentcoord.errors import NoSuchNightError, WireError
from agentcoord.values import dataclass

SUFFIX: Final = ".jsonl"
NIGHT_BYTES: Final = 64 * 1024 * 1024
"""The longest recording; a longer night is cut off, with a `cut` record at its end."""
NIGHTS_KEPT: Final = 30
"""How many recordings a project keeps; the oldest go."""
TAIL_BYTES: Final = 512 * 1024
"""How much of a file's end is read to say how the night ended."""


class Kept(StrEnum):
    """What a record tells; `params` in brackets."""

    SNAPSHOT = "snapshot"
    """{status: StatusView, tasks: [TaskView], workers: [WorkerView]}: everything, as it is now"""
    EVENT = "event"
    """a domain Event as JSON"""
    TASKS = "tasks"
    """{tasks: [TaskView]}: rows that changed"""
    WORKERS = "workers"
    """{workers: [WorkerView]}: rows that changed"""
    STATUS = "status"
    """the fields of StatusView that changed, and always `counts` and `spend`"""
    DETAIL = "detail"
    """a TaskDetail without its events"""
    DIFF = "diff"
    """{id, text}: what a task landed"""
    CUT = "cut"
    """{}: the night went on, but this file had reached its bound"""


class _Head(msgspec.Struct):
    """What must be known of each record to find it again; the rest of the line is skipped."""

    at: int
    method: str


class _OfTask(msgspec.Struct):
    """Which task a `detail` or a `diff` is about."""

    id: str = ""
    task: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    params: _OfTask


_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder(dict[str, Any])
_heads = msgspec.json.Decoder(_Head)
_named = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class Record:
    """One record, read."""

    at_ms: int
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NightSummary:
    """One recording in a list of them."""

    run: str
    path: Path
    begin_ms: int
    end_ms: int
    counts: Mapping[str, int]
    """Tasks by state, when it ended."""
    spent_usd: float
    size_bytes: int


def encode_record(at_ms: int, method: str, params: Mapping[str, Any]) -> bytes:
    """One record as a line."""
    record = {"at": at_ms, "method": str(method), "params": params}
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:  # Half a surrogate pair, as in odd file names: JSON can escape it.
        return json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n"


@dataclass(slots=True)
class NightFile:
    """A recording that was read: its lines as bytes, and where each kind of record stands."""

    run: str
    _lines: list[bytes]
    _times: list[int]
    _methods: list[str]
    _snapshots: list[int]
    _about: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Where `detail` and `diff` records stand, by method and task."""

    @classmethod
    def read(cls, path: Path) -> NightFile:
        """Read a whole recording. Blocking: 64 MB at most.

        Raises WireError when it cannot be read, or holds no snapshot to begin with.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise WireError(f"the recording {path} cannot be read: {error.strerror}") from error
        night = cls(path.stem, [], [], [], [])
        newest = 0
        for line in raw.split(b"\n"):
            newest = night._take(line, newest)
        if not night._snapshots:
            raise WireError(f"the recording {path} is empty", mend="agentcoord dashboard --replay")
        return night

    @property
    def begin_ms(self) -> int:
        return self._times[0]

    @property
    def end_ms(self) -> int:
        return self._times[-1]

    @property
    def cut(self) -> bool:
        """Whether the night went on after the end of this file."""
        return Kept.CUT in self._methods[-1:]

    def __len__(self) -> int:
        return len(self._lines)

    def until(self, at_ms: int) -> int:
        """How many records are not later than a moment."""
        return bisect_right(self._times, at_ms)

    def snapshot_before(self, count: int) -> int:
        """The index of the newest snapshot among the first `count` records; the first one at least."""
        return self._snapshots[max(0, bisect_right(self._snapshots, count - 1) - 1)]

    def record(self, index: int) -> Record:
        """Read one record."""
        raw = _decoder.decode(self._lines[index])
        return Record(self._times[index], self._methods[index], raw["params"])

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """Read the records from `start` to before `stop`."""
        for index in range(start, stop):
            yield self.record(index)

    def events_before(self, count: int, most: int) -> list[dict[str, Any]]:
        """The newest `most` events among the first `count` records, oldest first."""
        found: list[dict[str, Any]] = []
        for index in range(count - 1, -1, -1):
            if self._methods[index] == Kept.EVENT:
                found.append(self.record(index).params)
                if len(found) == most:
                    break
        return found[::-1]

    def events_counted(self, count: int) -> int:
        """How many of the first `count` records are events."""
        return sum(method == Kept.EVENT for method in self._methods[:count])

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event, oldest first."""
        for index, method in enumerate(self._methods):
            if method == Kept.EVENT:
                yield self.record(index).params

    def time_of_event(self, after_ms: int, by: int) -> int | None:
        """When the next event after a moment (`by` 1), or the last one before it (`by` -1), happened."""
        start = self.until(after_ms) if by > 0 else self.until(after_ms - 1) - 1
        for index in range(start, len(self._lines) if by > 0 else -1, by):
            if self._methods[index] == Kept.EVENT:
                return self._times[index]
        return None

    def about(self, method: Kept, task: str, count: int) -> dict[str, Any] | None:
        """The newest `detail` or `diff` of a task among the first `count` records."""
        places = self._about.get((method, task), [])
        place = bisect_right(places, count - 1)
        return self.record(places[place - 1]).params if place else None

    def _take(self, line: bytes, newest: int) -> int:
        """Note one line; return the time up to which the file now reaches."""
        try:
            head = _heads.decode(line)
            if head.method in (Kept.DETAIL, Kept.DIFF):
                params = _named.decode(line).params
                task = str(params.task["id"]) if params.task else params.id
                self._about.setdefault((head.method, task), []).append(len(self._lines))
        except (msgspec.DecodeError, KeyError):
            return newest
        if head.method == Kept.SNAPSHOT:
            self._snapshots.append(len(self._lines))
        elif not self._snapshots:
            return newest  # Nothing to hang it on: its beginning is lost.
        at_ms = max(newest, head.at)
        self._lines.append(line)
        self._times.append(at_ms)
        self._methods.append(head.method)
        return at_ms


def nights_in(folder: Path) -> list[NightSummary]:
    """Every recording of a folder that can be played, the newest first. Blocking."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            summary = _summary_of(path)
        except OSError:
            continue
        if summary is not None:
            found.append(summary)
    return sorted(found, key=lambda night: night.begin_ms, reverse=True)


def night_called(folder: Path, name: str) -> Path:
    """The recording of a run; the newest for `last`, and the beginning of a name is enough.

    Raises NoSuchNightError when there is none, or several begin so.
    """
    nights = nights_in(folder)
    if not nights:
        raise NoSuchNightError("no run was recorded yet", mend="agentcoord run plan.toml")
    fitting = [n for n in nights if n.run == name] or [n for n in nights if n.run.startswith(name)]
    if name == "last":
        fitting = nights[:1]
    if len(fitting) == 1:
        return fitting[0].path
    what = "several recordings are" if fitting else "no recording is"
    raise NoSuchNightError(f"{what} called {name}", mend="agentcoord dashboard --replay lists them")


def _summary_of(path: Path) -> NightSummary | None:
    """Read the beginning and the end of a recording; None when it holds nothing to play."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.readline()
        try:
            begin = Record(_heads.decode(first).at, Kept.SNAPSHOT, _decoder.decode(first)["params"])
            status = dict(begin.params["status"])
        except (msgspec.DecodeError, KeyError):
            return None
        file.seek(max(0, size - TAIL_BYTES), os.SEEK_SET)
        tail = file.read().split(b"\n")
    end_ms, known = begin.at_ms, False
    for line in reversed(tail):
        try:
            head = _heads.decode(line)
            end_ms = max(end_ms, head.at)
            if head.method in (Kept.STATUS, Kept.SNAPSHOT):
                params = _decoder.decode(line)["params"]
                status |= params.get("status", params)
                known = True
        except (msgspec.DecodeError, KeyError):
            continue
        if known:
            break
    return NightSummary(
        path.stem,
        path,
        begin.at_ms,
        end_ms,
        status.get("counts") or {},
        float((status.get("spend") or {}).get("spent_usd") or 0.0),
        size,
    )
