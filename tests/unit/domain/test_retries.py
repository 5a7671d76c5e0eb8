"""What follows a setback: attempts, limits a kind, waits, and what the words say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.lost_claims import ClaimEnd, ClaimFacts, end_of_claim, refusal_words
from agentcoord.domain.retries import RetryPolicy, Verdict, always_again
from agentcoord.domain.setbacks import ENVIRONMENT_FAULTS, OWN_FAULTS, Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec

TASK = Task(TaskSpec(TaskId("t"), "T"), TaskState.RUNNING, attempt=1)
POLICY = RetryPolicy(attempts=3, limits={Setback.CRASHED: 2, Setback.OVERLOADED: 4, Setback.RESTARTED: 2})


def decide(setback: Setback, task: Task = TASK, *, chance: float = 0.0, least_wait_ms: int = 0) -> Verdict:
    return POLICY.decide(task, setback, random=lambda: chance, least_wait_ms=least_wait_ms)


def with_before(setback: Setback, times: int, *, attempt: int = 1) -> Task:
    return structs.replace(TASK, attempt=attempt, setbacks={str(setback): times})


@pytest.mark.parametrize("setback", sorted(OWN_FAULTS))
def test_a_fault_of_its_own_costs_an_attempt_and_the_last_one_fails(setback: Setback) -> None:
    verdict = decide(setback)
    assert (verdict.to, verdict.counts_attempt) == (TaskState.QUEUED, True)
    assert decide(setback, structs.replace(TASK, attempt=3)) == Verdict(TaskState.FAILED)


@pytest.mark.parametrize("setback", sorted(ENVIRONMENT_FAULTS))
def test_a_fault_of_the_environment_costs_none_in_any_attempt(setback: Setback) -> None:
    verdict = decide(setback, structs.replace(TASK, attempt=3))
    assert (verdict.to, verdict.counts_attempt) == (TaskState.QUEUED, False)


def test_a_kind_that_came_as_often_as_its_limit_ends_it() -> None:
    assert decide(Setback.OVERLOADED, with_before(Setback.OVERLOADED, 2)).to is TaskState.QUEUED
    parked = decide(Setback.OVERLOADED, with_before(Setback.OVERLOADED, 3))
    assert (parked.to, parked.counts_attempt) == (TaskState.PARKED, False)
    told = "overloaded (for the 4th time; the limit is retries.overloaded)"
    assert parked.told("overloaded") == told
    failed = decide(Setback.CRASHED, with_before(Setback.CRASHED, 1, attempt=2))
    assert failed.to is TaskState.FAILED
    assert "2nd time; the limit is retries.crashed" in failed.limit


def test_kinds_are_counted_apart_and_what_was_before_a_retry_counts_no_more() -> None:
    assert decide(Setback.RESTARTED, with_before(Setback.OVERLOADED, 30)).to is TaskState.QUEUED
    earlier = structs.replace(TASK, earlier_setbacks={"restarted": 30})
    assert decide(Setback.RESTARTED, earlier).to is TaskState.QUEUED
    assert earlier.all_setbacks == {"restarted": 30}


def test_the_longest_wait_doubles_up_to_its_cap() -> None:
    waits = [POLICY.longest_wait_ms(times) for times in (1, 2, 3, 4, 9, 10, 100_000)]
    assert waits == [2_000, 4_000, 8_000, 16_000, 512_000, 600_000, 600_000]


def test_the_wait_is_any_share_of_the_longest_but_no_less_than_asked_for() -> None:
    third = with_before(Setback.UNREACHABLE, 2)
    assert decide(Setback.UNREACHABLE, third, chance=0.0).delay_ms == 0
    assert decide(Setback.UNREACHABLE, third, chance=0.5).delay_ms == 4_000
    assert decide(Setback.UNREACHABLE, third, chance=0.5, least_wait_ms=9_000).delay_ms == 9_000


def test_only_what_may_pass_by_waiting_is_waited_out() -> None:
    waited = {setback for setback in OWN_FAULTS | ENVIRONMENT_FAULTS if decide(setback, chance=0.5).delay_ms}
    assert waited == {
        Setback.OVERLOADED,
        Setback.UNREACHABLE,
        Setback.REFUSED,
        Setback.BROKEN,
        Setback.CRASHED,
    }


def test_a_stop_in_order_has_no_limit() -> None:
    assert decide(Setback.STOPPED, with_before(Setback.STOPPED, 10_000)) == Verdict(
        TaskState.QUEUED, counts_attempt=False
    )


def test_without_a_policy_it_always_goes_back() -> None:
    assert always_again(structs.replace(TASK, attempt=99), Setback.LEASE_EXPIRED) == Verdict(TaskState.QUEUED)
    assert not always_again(TASK, Setback.RESTARTED).counts_attempt


_FACTS = ClaimFacts(TaskState.RUNNING, FencingToken(7), 100, "", now_ms=50)


@pytest.mark.parametrize(
    ("facts", "end", "words"),
    [
        (_FACTS, ClaimEnd.NOT_ENDED, "holds, but the task is running"),
        (replace(_FACTS, lease_deadline_ms=50), ClaimEnd.EXPIRED, "its lease ran out"),
        (replace(_FACTS, newest_token=FencingToken(9)), ClaimEnd.TAKEN_OVER, "newer one (token 9)"),
        (replace(_FACTS, state=None), ClaimEnd.UNKNOWN_TASK, "not there"),
        (replace(_FACTS, lease_deadline_ms=None), ClaimEnd.EXPIRED, "its lease ran out"),
        (
            replace(_FACTS, state=TaskState.QUEUED, lease_deadline_ms=None, last_setback="lease_expired"),
            ClaimEnd.EXPIRED,
            "its lease ran out",
        ),
        (
            replace(_FACTS, state=TaskState.QUEUED, lease_deadline_ms=None, last_setback="stopped"),
            ClaimEnd.HANDED_BACK,
            "put back in line",
        ),
        (replace(_FACTS, state=TaskState.DONE, lease_deadline_ms=None), ClaimEnd.DONE, "is done"),
        (
            replace(_FACTS, state=TaskState.CANCELLED, lease_deadline_ms=None, last_setback="cancelled"),
            ClaimEnd.CANCELLED,
            "was cancelled",
        ),
        (replace(_FACTS, state=TaskState.PARKED, lease_deadline_ms=None), ClaimEnd.PARKED, "is parked"),
        (replace(_FACTS, state=TaskState.FAILED, lease_deadline_ms=None), ClaimEnd.FAILED, "failed"),
    ],
)
def test_how_a_claim_ended_is_told_apart(facts: ClaimFacts, end: ClaimEnd, words: str) -> None:
    token = FencingToken(7)
    assert end_of_claim(token, facts) is end
    assert words in refusal_words(TaskId("t"), token, end, facts)
