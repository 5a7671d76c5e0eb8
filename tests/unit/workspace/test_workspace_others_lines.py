"""Whose lines an undo would take: told from little of large files, and wherever in a file the lines are."""

from __future__ import annotations

from collections import Counter

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.history import Operation, Phase, Record, Swap
from agentcoord.workspace.others_lines import OthersLines
from agentcoord.workspace.undo import plan_undo
from agentcoord.workspace.versions import version_of


class Journal:
    """Landings of one file, each of another task, and the contents they refer to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.contents: dict[str, bytes] = {}
        self.reads: Counter[str] = Counter()

    def land(self, before: bytes, after: bytes) -> Record:
        versions = [version_of(content, 0o644) for content in (before, after)]
        self.contents |= {version_of(content, 0).sha256: content for content in (before, after)}
        number = len(self.records) + 1
        record = Record(
            number=number,
            operation=Operation.LAND,
            phase=Phase.SETTLED,
            task=TaskId(f"t{number}"),
            token=FencingToken(number),
            title="",
            at_ms=number,
            swaps=(Swap("f", versions[0], versions[1], "staged"),),
        )
        self.records.append(record)
        return record

    def read(self, sha256: str) -> bytes:
        self.reads[sha256] += 1
        return self.contents[sha256]


def test_contents_that_many_tasks_left_one_to_the_next_are_read_once() -> None:
    journal = Journal()
    lines = [b"line %d" % number for number in range(200)]
    left = [b"\n".join(lines)]
    for number in range(0, 200, 5):
        lines[number] = b"changed %d" % number
        left.append(b"\n".join(lines))
        journal.land(*left[-2:])
    plan = plan_undo(journal.records[:1], journal.records, lambda _: left[-1], journal.read)
    assert [step.wanted for step in plan.steps] == [left[-1].replace(b"changed 0\n", b"line 0\n")]
    assert {journal.reads[version_of(content, 0).sha256] for content in left[2:-1]} == {1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"xx"),
        (b"", b"xx\n"),
        (b"a\n", b"xx\na\n"),
        (b"a\n", b"a\nxx\n"),
        (b"a\n", b"a\nxx"),
        (b"a", b"a\nxx"),
        (b"xxx\nx\n", b"xxx\nxx\nx\n"),
        (b"x\nxxx\n", b"x\nxx\nxxx\n"),
        (b"xx\nxx\n", b"xx\nxx\nxx\n"),
        (b"xx\n\n\nxx\n", b"xx\n\nxx\n\nxx\n"),
        (b"a\r\nb\r\n", b"a\r\nxx\r\nb\r\n"),
        (b"xx\na\n", b"a\n"),
        (b"x\nxx\nxxx", b"x\nxxx"),
        (b"a\nxx", b"a\n"),
        (b"a\nxx", b"a\nxy"),
    ],
)
def test_what_another_task_did_as_well_when_ours_was_away_is_taken_wherever_it_is(
    before: bytes, after: bytes
) -> None:
    journal = Journal()
    mine = journal.land(before, after)
    journal.land(before, after)
    assert OthersLines([mine], journal.records, journal.read).are_taken("f", after, before)


def test_what_another_task_wrote_beside_a_line_of_ours_is_not_taken() -> None:
    journal = Journal()
    mine = journal.land(b"a\n", b"xx\na\n")
    journal.land(b"xx\na\n", b"xx\na\nxx\nb\n")
    others = OthersLines([mine], journal.records, journal.read)
    assert not others.are_taken("f", b"xx\na\nxx\nb\n", b"a\nxx\nb\n")
