"""Blame: lines followed through landings, a person's edits, and undos."""

from __future__ import annotations

import hashlib

import pytest

from agentcoord.domain.files import FileVersion
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import ReviewError
from agentcoord.review.blame import MOST_LINES, blame
from agentcoord.workspace.history import Operation, Phase, Record, Swap


class History:
    """Records of one file, and the contents they name."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.records: list[Record] = []

    def landed(self, task: str, before: str | None, after: str, *, phase: Phase = Phase.DONE) -> int:
        return self._add(Operation.LAND, task, before, after, phase, ())

    def undone(self, number: int, before: str, after: str | None) -> None:
        self._add(Operation.UNDO, self.records[number - 1].task, before, after, Phase.DONE, (number,))

    def authors(self, current: str) -> list[str]:
        found = blame("a.py", self.records, self.blobs.__getitem__, current.encode())
        assert "".join(f"{line.text}\n" for line in found) == current
        return [line.task for line in found]

    def _add(
        self,
        operation: Operation,
        task: str,
        before: str | None,
        after: str | None,
        phase: Phase,
        undoes: tuple[int, ...],
    ) -> int:
        number = len(self.records) + 1
        swap = Swap("a.py", self._version(before), self._version(after), "sibling")
        other = Swap("b.py", None, self._version("other\n"), "sibling")
        self.records.append(
            Record(
                number=number,
                operation=operation,
                phase=phase,
                task=TaskId(task),
                token=FencingToken(number),
                title=task,
                at_ms=number,
                swaps=(other, swap),
                undoes=undoes,
            )
        )
        return number

    def _version(self, text: str | None) -> FileVersion | None:
        if text is None:
            return None
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.blobs[sha256] = text.encode()
        return FileVersion(sha256, len(text), 0o644)


def test_lines_of_tasks_and_of_people_are_told_apart() -> None:
    history = History()
    history.landed("one", "a\nb\nc\n", "a\nB1\nc\n")
    history.landed("two", "a\nB1\nc\nmine\n", "a\nB1\nc2\nmine\n")
    assert history.authors("a\nB1\nc2\nmine\nlast\n") == ["", "one", "two", "", ""]


def test_a_file_that_a_task_created_is_its_own() -> None:
    history = History()
    history.landed("one", None, "a\nb\n")
    assert history.authors("a\nmine\nb\n") == ["one", "", "one"]


def test_an_undo_gives_lines_back_to_who_wrote_them() -> None:
    history = History()
    history.landed("one", "a\nb\n", "a\nB1\n")
    second = history.landed("two", "a\nB1\n", "a\nB2\nnew\n")
    history.undone(second, "a\nB2\nnew\n", "a\nB1\n")
    assert history.authors("a\nB1\n") == ["", "one"]


def test_what_never_happened_and_other_files_do_not_count() -> None:
    history = History()
    history.landed("one", "a\n", "b\n", phase=Phase.PREPARED)
    assert history.authors("a\n") == [""]
    assert history.authors("other\n") == [""]


def test_an_empty_file_has_no_lines_and_carriage_returns_are_no_edit() -> None:
    history = History()
    history.landed("one", "a\r\n", "b\r\n")
    assert blame("a.py", history.records, history.blobs.__getitem__, b"") == []
    assert history.authors("b\n") == ["one"]


def test_binary_and_endless_files_are_refused() -> None:
    for content in (b"a\0b", b"\n" * (MOST_LINES + 1)):
        with pytest.raises(ReviewError):
            blame("a.py", [], History().blobs.__getitem__, content)
