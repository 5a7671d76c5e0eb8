"""How tasks are to be after the server has lost them: from their kept rows and the landing journal. Pure.

What ended stays as it ended, or a cancelled task would run again. What the journal says has landed is
done, even where its row had not heard of it. What was held goes back into the line and costs no attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from agentcoord.daemon.rejections import pending_rejection
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, HELD_STATES, TaskState
from agentcoord.domain.task import OnNeedFailed
from agentcoord.store.memory import RestoredTask, TaskRow
from agentcoord.store.task_records import RULE_FIELD, decode_task, landed_fields
from agentcoord.workspace.journal import LandedRecord

WHY = "Redis had lost its memory"
_OF_A_LANDING = frozenset({"review", "files", "lines_added", "lines_removed", "ended_at"})


def rebuilt(rows: Collection[TaskRow], landings: Sequence[LandedRecord]) -> list[RestoredTask]:
    """Return every task as it is to be stored, in plan order."""
    standing = {record.task: record for record in landings if record.undone_at_ms is None}
    settled = [_settled(row, standing, landings) for row in sorted(rows, key=lambda row: int(row.rank))]
    states = {row.id: TaskState(row.fields["state"]) for row in settled}
    return [_linked(row, states) for row in settled]


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


def _linked(row: TaskRow, states: Mapping[str, TaskState]) -> RestoredTask:
    """The row with its needs counted, blocked or in line accordingly."""
    needs = [need for need in row.fields.get("needs", "").split(",") if need]
    undone = tuple(need for need in needs if states.get(need) is not TaskState.DONE)
    runs_anyway = row.fields.get(RULE_FIELD) == OnNeedFailed.RUN
    waits_for = [need for need in undone if not (runs_anyway and states.get(need) in ENDED_STATES)]
    state = states[row.id]
    if state in {TaskState.QUEUED, TaskState.BLOCKED}:
        state = TaskState.BLOCKED if waits_for else TaskState.QUEUED
    ready = state is TaskState.QUEUED
    return RestoredTask(row, state, ready=ready, undone_needs=undone, open_needs=len(waits_for))
