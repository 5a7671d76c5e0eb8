"""Telling dependents what became of their need, in steps that never hold up the server for long.

Theory of operation. A task that ends, or is brought back, begins a wave in the same script call
(`prelude.lua`, `begin_wave`); `spread.lua` carries waves on, a bounded number of dependents a call,
until none is left. Whoever begins one sees it through; what a crash or an absent server cut short is
finished at the next `TaskQueue.reap()`, and at the daemon's start. Separate from the queue because the
dispatcher, too, begins waves: thousands may need one task. Deliberately absent: what anybody is told of
it; `on_ended` hears it once, whoever carried the wave on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcoord.clock import Clock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState, advance
from agentcoord.domain.task import OnNeedFailed
from agentcoord.store.scripts import BATCH, ScriptName, Scripts
from agentcoord.values import dataclass

DEAD_STATES = frozenset({TaskState.FAILED, TaskState.CANCELLED})
"""States of a need that never become done by themselves."""
WORDS_AROUND_A_DEAD_NEED = ("needs ", ", which failed or was cancelled")
WORDS_BEFORE_SKIPPED = "skipped: "
_WORDS_AFTER_A_NEED = (", which failed", ", which was cancelled", ", which was skipped")


def words_of_dead_need(need: TaskId, state: TaskState, *, need_was_skipped: bool, skipped: bool) -> str:
    """Why a task ended that was not tried, as `spreading.lua` says it; `skipped`: by its own rule."""
    failed, cancelled, was_skipped = _WORDS_AFTER_A_NEED
    after = failed if state is not TaskState.CANCELLED else was_skipped if need_was_skipped else cancelled
    return f"{WORDS_BEFORE_SKIPPED if skipped else ''}{WORDS_AROUND_A_DEAD_NEED[0]}{need}{after}"


@dataclass(frozen=True, slots=True)
class EndedByNeed:
    """A task that ended, without having been tried, because of a need."""

    task: TaskId
    need: TaskId
    to: TaskState
    """FAILED, or CANCELLED when it is skipped."""


@dataclass(slots=True)
class Spreader:
    """Carries waves on. May raise StoreUnavailableError; nothing is lost by it."""

    scripts: Scripts
    clock: Clock
    on_ended: Callable[[EndedByNeed], None] = lambda _: None
    """Called, without awaiting, for each task that a wave ended."""
    on_ready: Callable[[], None] = lambda: None
    """Called, without awaiting, when tasks may have become ready."""
    most: int = BATCH
    """The most dependents told in one call, and in the call of the change itself."""

    async def finish(self) -> tuple[TaskId, ...]:
        """Carry on until no wave is left. Returns the tasks that ended by it."""
        fallen: list[TaskId] = []
        left = 1
        while left:
            ended, left = await self.once(self.most)
            fallen += ended
        return tuple(fallen)

    async def once(self, most: int) -> tuple[list[TaskId], int]:
        """Tell at most `most` dependents. Returns those that ended, and 1 when more are left."""
        ended, ready, left = await self.scripts.run(ScriptName.SPREAD, *self.args(most))
        return self.told(ended, ready), left

    def args(self, most: int | None = None) -> list[str | int]:
        """What every script takes first that has `spreading.lua` in it."""
        before, after_another = WORDS_AROUND_A_DEAD_NEED
        return [
            self.clock.now_ms(),
            TaskState.BLOCKED,
            advance(TaskState.BLOCKED, TaskState.QUEUED),
            advance(TaskState.BLOCKED, TaskState.FAILED),
            advance(TaskState.BLOCKED, TaskState.CANCELLED),
            ",".join(sorted(DEAD_STATES)),
            OnNeedFailed.SKIP,
            OnNeedFailed.RUN,
            before,
            *_WORDS_AFTER_A_NEED,
            after_another,
            WORDS_BEFORE_SKIPPED,
            self.most if most is None else most,
        ]

    def told(self, ended: Sequence[str], ready: int) -> list[TaskId]:
        """Pass on what a script told, and return those that ended."""
        told = [
            EndedByNeed(TaskId(task), TaskId(need), TaskState(to))
            for task, need, to in zip(ended[::3], ended[1::3], ended[2::3], strict=True)
        ]
        for each in told:
            self.on_ended(each)
        if ready:
            self.on_ready()
        return [each.task for each in told]
