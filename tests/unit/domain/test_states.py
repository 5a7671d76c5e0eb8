"""The machine of task states: the table is closed, and every path can end."""

from __future__ import annotations

import pytest

from agentcoord.domain.states import (
    ENDED_STATES,
    HELD_STATES,
    LEGAL_MOVES,
    SETTLED_STATES,
    TaskState,
    advance,
)
from agentcoord.errors import IllegalMoveError


def test_every_state_has_a_row_in_the_table() -> None:
    assert set(LEGAL_MOVES) == set(TaskState)


@pytest.mark.parametrize("state", list(TaskState))
def test_every_state_can_reach_an_ended_one(state: TaskState) -> None:
    reached = {state}
    while True:
        further = reached | {to for at in reached for to in LEGAL_MOVES[at]}
        if further == reached:
            break
        reached = further
    assert reached & ENDED_STATES


def test_what_is_done_can_only_be_asked_for_again() -> None:
    assert LEGAL_MOVES[TaskState.DONE] == {TaskState.QUEUED, TaskState.BLOCKED}


def test_only_landing_leads_to_done() -> None:
    assert [state for state in TaskState if TaskState.DONE in LEGAL_MOVES[state]] == [TaskState.LANDING]


@pytest.mark.parametrize("state", sorted(HELD_STATES))
def test_a_held_task_can_be_handed_back_parked_failed_and_cancelled(state: TaskState) -> None:
    assert LEGAL_MOVES[state] >= {TaskState.QUEUED, TaskState.PARKED, TaskState.FAILED, TaskState.CANCELLED}


def test_parked_is_settled_but_not_ended() -> None:
    assert TaskState.PARKED in SETTLED_STATES - ENDED_STATES


def test_advance_returns_the_new_state_or_raises() -> None:
    assert advance(TaskState.QUEUED, TaskState.RUNNING) is TaskState.RUNNING
    with pytest.raises(IllegalMoveError, match="a queued task cannot become done"):
        advance(TaskState.QUEUED, TaskState.DONE)
