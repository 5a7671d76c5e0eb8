"""Loading a plan into the queue: what is checked before, and the pieces it goes in.

Separate from the queue because it is the one operation that looks at many tasks and their graph.
Deliberately absent: parsing plans and reporting line numbers, which is `domain.plan`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from agentcoord.clock import Clock
from agentcoord.domain.graph import find_cycles, topological_order
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed, TaskSpec
from agentcoord.errors import PlanError
from agentcoord.store.dispatch_call import OneTask
from agentcoord.store.dispatcher import Dispatcher
from agentcoord.store.place_in_line import encode_writes, priority_bonus_ms
from agentcoord.store.scripts import BATCH, ScriptName
from agentcoord.store.spreading import DEAD_STATES, WORDS_AROUND_A_DEAD_NEED, WORDS_BEFORE_SKIPPED
from agentcoord.store.task_bodies import encode_body
from agentcoord.store.task_records import needs_of
from agentcoord.values import dataclass

EDITABLE_STATES = frozenset({TaskState.BLOCKED, TaskState.QUEUED, TaskState.PARKED})
"""States in which a person may still change what a task asks for."""
NEEDS_A_CALL = 4 * BATCH
"""The most needs that one call is given, unless a single task has more."""


_WORDS = (
    TaskState.DONE,
    TaskState.BLOCKED,
    TaskState.QUEUED,
    TaskState.FAILED,
    ",".join(sorted(EDITABLE_STATES)),
    ",".join(sorted(DEAD_STATES)),
    *WORDS_AROUND_A_DEAD_NEED,
    OnNeedFailed.SKIP,
    OnNeedFailed.RUN,
    TaskState.CANCELLED,
    WORDS_BEFORE_SKIPPED,
)
"""What the script is handed in every call."""


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """What a load did, each in plan order."""

    added: tuple[TaskId, ...] = ()
    unchanged: tuple[TaskId, ...] = ()
    changed: tuple[TaskId, ...] = ()


_OUTCOMES: Sequence[Callable[[tuple[TaskId, ...]], LoadOutcome]] = (
    lambda ids: LoadOutcome(unchanged=ids),
    lambda ids: LoadOutcome(added=ids),
    lambda ids: LoadOutcome(changed=ids),
)
"""By the script's number."""


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads plans into one project."""

    dispatcher: Dispatcher
    clock: Clock

    async def load(self, specs: Sequence[TaskSpec]) -> LoadOutcome:
        """See `TaskQueue.load`."""
        if len(specs) == 1 and specs[0].id not in specs[0].needs:
            self.dispatcher.rouse()
            one = _alone(specs[0])
            piece = [_words_of(specs[0], 0)] if one is None else ()
            _, (outcome,) = await self._load_piece(piece, 1, "", one)
            return _OUTCOMES[outcome]((specs[0].id,))
        ordered = _needs_first(specs)
        rank_of = {spec.id: rank for rank, spec in enumerate(specs)}
        outcome_of: dict[TaskId, int] = {}
        base = ""
        for its_specs in _pieces(ordered):
            piece = [_words_of(spec, rank_of[spec.id]) for spec in its_specs]
            base, outcomes = await self._load_piece(piece, len(specs), base)
            outcome_of |= zip((spec.id for spec in its_specs), outcomes, strict=True)

        def with_outcome(code: int) -> tuple[TaskId, ...]:
            return tuple(spec.id for spec in specs if outcome_of[spec.id] == code)

        return LoadOutcome(added=with_outcome(1), unchanged=with_outcome(0), changed=with_outcome(2))

    async def _load_piece(
        self, piece: Sequence[_Words], count: int, base: str, one: OneTask | None = None
    ) -> tuple[str, Sequence[int]]:
        """Load some of `count` tasks; `one` stands for the piece, if it may be handed over at once."""

        def arguments() -> list[str | int | bytes]:
            words: Sequence[tuple[str | int | bytes, ...]] = [_words_alone(one)] if one else piece
            return [self.clock.now_ms(), base, count, *_WORDS, *chain.from_iterable(words)]

        reply: Any = await self.dispatcher.run_ahead(ScriptName.LOAD, arguments, one=one)
        first_rank, outcomes = reply[0].decode(), reply[1]
        if first_rank == "":
            raise _plan_error(
                [
                    f"task {task.decode()} needs {need.decode()}, which is unknown"
                    for task, need in _pairs(outcomes)
                ]
            )
        return first_rank, outcomes


class _Words(NamedTuple):
    """A task as the script takes it."""

    id: TaskId
    rank: int
    bonus_ms: int
    route: str
    needs: str
    rule: str
    writes: str
    body: bytes


def _words_of(spec: TaskSpec, rank: int) -> _Words:
    rule = "" if spec.on_need_failed is OnNeedFailed.FAIL else spec.on_need_failed
    needs, writes = ",".join(needs_of(spec)), encode_writes(spec.writes)
    bonus_ms = priority_bonus_ms(spec.priority)
    return _Words(spec.id, rank, bonus_ms, spec.route, needs, rule, writes, encode_body(spec))


def _alone(spec: TaskSpec) -> OneTask | None:
    """Return the only task that is loaded, if it may be handed to whoever waits as soon as it is there."""
    if spec.needs or spec.writes or spec.on_need_failed is not OnNeedFailed.FAIL:
        return None
    return OneTask(spec, priority_bonus_ms(spec.priority), spec.route, encode_body(spec))


def _words_alone(one: OneTask) -> _Words:
    return _Words(one.spec.id, 0, one.bonus_ms, one.route, "", "", "", one.body)


def _pieces(ordered: Sequence[TaskSpec]) -> Iterator[list[TaskSpec]]:
    """Cut tasks into lists that one call may load: so many tasks, and so many needs in all."""
    piece: list[TaskSpec] = []
    needs = 0
    for spec in ordered:
        if piece and (len(piece) == BATCH or needs + len(spec.needs) > NEEDS_A_CALL):
            yield piece
            piece, needs = [], 0
        piece.append(spec)
        needs += len(spec.needs)
    if piece:
        yield piece


def _needs_first(specs: Sequence[TaskSpec]) -> list[TaskSpec]:
    """Return the specs so that each comes after those it needs. Raises PlanError if that cannot be."""
    if len({spec.id for spec in specs}) < len(specs):
        twice = [task for task, count in Counter(spec.id for spec in specs).items() if count > 1]
        raise _plan_error([f"task {task} is there twice" for task in twice])
    if not any(spec.needs for spec in specs):
        return list(specs)
    by_id = {spec.id: spec for spec in specs}
    needs = {str(spec.id): [str(need) for need in spec.needs] for spec in specs}
    order = topological_order(needs)
    if len(order) < len(specs):
        raise _plan_error([f"a cycle of needs: {' -> '.join(cycle)}" for cycle in find_cycles(needs)])
    return [by_id[TaskId(task)] for task in order]


def _plan_error(problems: Sequence[str]) -> PlanError:
    return PlanError("the tasks cannot be loaded: " + "; ".join(problems), problems)


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
