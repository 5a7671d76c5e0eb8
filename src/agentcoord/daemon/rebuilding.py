"""How tasks are to be after the server has lost them: from their kept rows and the landing journal. Pure.

What ended stays as it ended, or a cancelled task would run again. What the journal says has landed is
done, even where its row had not heard of it. What was held goes back into the line and costs no attempt.
Whoever had not heard yet what became of its need, because the store was still telling or the copy is a
little older, hears it here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter

from agentcoord.daemon.rejections import pending_rejection
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, HELD_STATES, TaskState
from agentcoord.domain.task import OnNeedFailed
from agentcoord.store.memory import RestoredTask, TaskRow
from agentcoord.store.setback_records import EARLIER_SETBACK_PREFIX, SETBACK_PREFIX
from agentcoord.store.spreading import (
    DEAD_STATES,
    WORDS_AROUND_A_DEAD_NEED,
    WORDS_BEFORE_SKIPPED,
    EndedByNeed,
    words_of_dead_need,
)
from agentcoord.store.task_records import RULE_FIELD, decode_task, landed_fields
from agentcoord.workspace.history import LandedRecord

WHY = "Redis had lost its memory"
_WAITING = frozenset({TaskState.QUEUED, TaskState.BLOCKED})
_GONE_WITH_A_RETURN = frozenset({"cause", "ended_at", "setback", "due"})
_OF_A_LANDING = frozenset({"review", "files", "lines_added", "lines_removed", "ended_at"})


def rebuilt(rows: Collection[TaskRow], landings: Sequence[LandedRecord]) -> list[RestoredTask]:
    """Return every task as it is to be stored, in plan order."""
    standing = {record.task: record for record in landings if record.undone_at_ms is None}
    settled = [_settled(row, standing, landings) for row in sorted(rows, key=lambda row: int(row.rank))]
    told = _told_of_their_needs({row.id: row for row in settled})
    states = {row.id: _state(row) for row in told}
    return [_linked(row, states) for row in told]


def ended_by_need(rows: Collection[TaskRow], tasks: Collection[RestoredTask]) -> list[EndedByNeed]:
    """Return those of the rebuilt `tasks` that ended by it, which nobody was told yet."""
    before = {row.id: row.fields["state"] for row in rows}
    return [
        EndedByNeed(TaskId(task.row.id), TaskId(task.row.fields["cause"]), TaskState(task.state))
        for task in tasks
        if task.state in DEAD_STATES and before[task.row.id] != task.state
    ]


def _settled(
    row: TaskRow, standing: Mapping[TaskId, LandedRecord], landings: Sequence[LandedRecord]
) -> TaskRow:
    """The row in a state that nobody holds."""
    task = decode_task(row.body.encode(errors="surrogateescape"), row.fields)
    record = standing.get(task.id)
    is_own = record is not None and record.stands(since_ms=task.queued_at_ms)
    if task.state not in ENDED_STATES and record is not None and is_own:
        flat = [str(word) for word in landed_fields(record.files)]
        changed = {"state": str(TaskState.DONE), "why": "", "ended_at": str(record.at_ms)}
        changed |= dict(zip(flat[::2], flat[1::2], strict=True))
    elif task.state in HELD_STATES:
        changed = {"state": str(TaskState.QUEUED), "why": WHY, "attempt": str(max(0, task.attempt - 1))}
    elif pending_rejection(task, landings):
        # Rejected after the copy was made.
        left = {name: value for name, value in row.fields.items() if name not in _OF_A_LANDING}
        changed = {"state": str(TaskState.QUEUED), "attempt": "0", "why": ""}
        return replace(row, fields={**left, **changed})
    else:
        return row
    return replace(row, fields={**row.fields, **changed})


def _told_of_their_needs(rows: dict[str, TaskRow]) -> list[TaskRow]:
    """The rows after every end and every return of a need has reached those that need it."""
    needs = {row.id: [need for need in _needs(row) if need in rows] for row in rows.values()}
    for task in TopologicalSorter(needs).static_order():
        if rows[task].fields.get(RULE_FIELD) != OnNeedFailed.RUN:
            rows[task] = _told(rows[task], [rows[need] for need in needs[task]])
    return list(rows.values())


def _told(row: TaskRow, needs: Sequence[TaskRow]) -> TaskRow:
    dead = {need.id: need for need in needs if _state(need) in DEAD_STATES}
    cause = row.fields.get("cause")
    if dead and _state(row) in _WAITING:
        return _ended_by(row, next(iter(dead.values())))
    if _state(row) not in DEAD_STATES or cause is None or cause in dead:
        return row
    return _kept_by_another(row, next(iter(dead))) if dead else _brought_back(row)


def _ended_by(row: TaskRow, need: TaskRow) -> TaskRow:
    skipped = row.fields.get(RULE_FIELD) == OnNeedFailed.SKIP
    why = words_of_dead_need(
        TaskId(need.id), _state(need), need_was_skipped="cause" in need.fields, skipped=skipped
    )
    to = TaskState.CANCELLED if skipped else TaskState.FAILED
    changed = {"state": str(to), "cause": need.id, "why": why, "ended_at": need.fields.get("ended_at", "0")}
    return replace(row, fields={**row.fields, **changed})


def _kept_by_another(row: TaskRow, need: str) -> TaskRow:
    """What it ended by was brought back, and another of its needs was not."""
    before = WORDS_BEFORE_SKIPPED if row.fields.get(RULE_FIELD) == OnNeedFailed.SKIP else ""
    why = before + need.join(WORDS_AROUND_A_DEAD_NEED)
    return replace(row, fields={**row.fields, "cause": need, "why": why})


def _brought_back(row: TaskRow) -> TaskRow:
    """As `bring_back` of the store's scripts does it: as if never attempted, the history stays."""
    fields = {name: value for name, value in row.fields.items() if name not in _GONE_WITH_A_RETURN}
    for name in [name for name in fields if name.startswith(SETBACK_PREFIX)]:
        earlier = EARLIER_SETBACK_PREFIX + name.removeprefix(SETBACK_PREFIX)
        fields[earlier] = str(int(fields.get(earlier, "0")) + int(fields.pop(name)))
    return replace(row, fields={**fields, "state": str(TaskState.QUEUED), "attempt": "0", "why": ""})


def _state(row: TaskRow) -> TaskState:
    return TaskState(row.fields["state"])


def _needs(row: TaskRow) -> list[str]:
    return [need for need in row.fields.get("needs", "").split(",") if need]


def _linked(row: TaskRow, states: Mapping[str, TaskState]) -> RestoredTask:
    """The row with its needs counted, blocked or in line accordingly."""
    needs = _needs(row)
    undone = tuple(need for need in needs if states.get(need) is not TaskState.DONE)
    runs_anyway = row.fields.get(RULE_FIELD) == OnNeedFailed.RUN
    waits_for = [need for need in undone if not (runs_anyway and states.get(need) in ENDED_STATES)]
    state = states[row.id]
    if state in _WAITING:
        state = TaskState.BLOCKED if waits_for else TaskState.QUEUED
    ready = state is TaskState.QUEUED
    return RestoredTask(row, state, ready=ready, undone_needs=undone, open_needs=len(waits_for))
