"""A landed task without some of its hunks: proven in a private copy first, then taken out at a person's word.

Theory of operation. A client asks for the checks of exactly one subset; they run in the background, one after
the other, in a proof copy that shows the user's tree without those hunks. The client asks again until there
is a verdict. Only then may it have them taken out: if the tree is what the checks saw, and the files
would become what they saw. Red is no refusal, but a second word is needed (`anyway`). Verdicts are kept in
memory, one a task: they are worth nothing once the tree moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from agentcoord.daemon.params import Answer, Params, bad_params, refused, task_id_of, texts_of
from agentcoord.daemon.review_views import check_views
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.trimming import count_anew
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.domain.listed import listed
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import AgentCoordError
from agentcoord.review.checks import CheckReport, commands_for
from agentcoord.values import dataclass
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.landing import TreeMoved
from agentcoord.workspace.pool import ProofTree
from agentcoord.workspace.user_tree import TreeStamp

if TYPE_CHECKING:
    from agentcoord.wire.answers import SubsetView

MOST_HUNKS = 1_000
MOST_KEPT = 64
"""Verdicts, one a task; the oldest goes first."""


class SubsetState(StrEnum):
    """How far the proof of a subset is."""

    RUNNING = "running"
    GREEN = "green"
    RED = "red"
    BROKEN = "broken"
    """It could not be tried; `why` says the reason."""


@dataclass(slots=True)
class _Subset:
    """One task without some hunks, and what is known of that."""

    task: Task
    hunks: frozenset[str]
    state: SubsetState = SubsetState.RUNNING
    report: CheckReport | None = None
    why: str = ""
    stamp: TreeStamp | None = None
    """The tree as the checks saw it, before the hunks were out."""
    proven: dict[str, str | None] = field(default_factory=dict)
    """The SHA-256 that each changed file had for the checks; None: it was gone."""


class SubsetProofs:
    """Answers `prove_without` and `take_out`; `run()` belongs in the daemon's task group."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._subsets: dict[TaskId, _Subset] = {}
        self._wanted = asyncio.Event()

    async def prove_without(self, params: Params) -> Answer:
        """Say what the checks say of a task without some hunks; begin them if nobody asked that yet."""
        task, hunks = await self._asked(params)
        subset = self._subsets.get(task.id)
        if subset is None or subset.hunks != hunks or not await self._still_holds(subset):
            subset = _Subset(task, hunks)
            self._subsets.pop(task.id, None)
            self._subsets[task.id] = subset
            while len(self._subsets) > MOST_KEPT:
                del self._subsets[next(iter(self._subsets))]
            self._wanted.set()
        return {**_view(subset)}

    async def take_out(self, params: Params) -> Answer:
        """Take hunks out of the user's tree, as they were proven."""
        task, hunks = await self._asked(params)
        subset = self._subsets.get(task.id)
        if subset is None or subset.hunks != hunks or subset.state is SubsetState.RUNNING:
            raise refused(f"{task.id} without these hunks was not proven", mend="prove_without comes first")
        if subset.state is SubsetState.BROKEN:
            raise refused(f"{task.id} without these hunks could not be tried: {subset.why}")
        if subset.state is SubsetState.RED and params.get("anyway") is not True:
            raise refused(f"{task.id} without these hunks is red", mend="say that you want it anyway")
        moved = await self._shop.pool.moved(subset.stamp) if subset.stamp is not None else ()
        if moved:
            raise self._moved(task, moved)
        return {**await to_its_end(self._take_out(subset))}

    async def run(self) -> None:
        """Prove what is asked for, for ever, one after the other."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while (subset := self._next()) is not None:
                try:
                    await self._prove(subset)
                except (AgentCoordError, OSError) as error:
                    subset.state, subset.why = SubsetState.BROKEN, str(error)
                self._shop.hub.emit(
                    EventKind.TASK_SUBSET_PROVEN,
                    task=subset.task.id,
                    hunks=len(subset.hunks),
                    state=str(subset.state),
                    why=subset.why,
                )

    def _next(self) -> _Subset | None:
        waiting = (each for each in self._subsets.values() if each.state is SubsetState.RUNNING)
        return next(waiting, None)

    async def _prove(self, subset: _Subset) -> None:
        shop, task = self._shop, subset.task
        async with shop.pool.proof() as proof:
            subset.stamp = await proof.sync()
            plan = await shop.lander.without(
                task.id, subset.hunks, _reader_of(proof), since_ms=task.queued_at_ms
            )
            if plan.conflicts:
                subset.state = SubsetState.BROKEN
                paths = ", ".join(plan.conflicts)
                subset.why = f"changed since in the same place, or landed by another task as well: {paths}"
                return
            subset.proven = plan.wanted_sha256
            await asyncio.to_thread(proof.put, [(s.path, s.wanted, s.mode) for s in plan.steps])
            commands = commands_for(task.spec.check, shop.settings.checks.commands)
            subset.report = await shop.prover.run_on(proof, commands)
        subset.state = SubsetState.GREEN if subset.report.ok else SubsetState.RED

    async def _take_out(self, subset: _Subset) -> SubsetView:
        task = subset.task
        outcome = await self._shop.lander.take_out(
            task.id, subset.hunks, since_ms=task.queued_at_ms, proven=subset.proven
        )
        if isinstance(outcome, TreeMoved):
            raise self._moved(task, outcome.paths)
        if outcome.conflicts:
            raise self._moved(task, outcome.conflicts)
        del self._subsets[task.id]
        if subset.state is not SubsetState.GREEN:
            await self._shop.prover.unlearn(task.id)
        await count_anew(self._shop.store, self._shop.lander, task)
        files = [*outcome.restored, *outcome.merged]
        self._shop.hub.emit(
            EventKind.TASK_TRIMMED,
            task=task.id,
            hunks=len(subset.hunks),
            files=files,
            state=str(subset.state),
        )
        self._shop.board.touch()
        return {**_view(subset), "files": files}

    async def _asked(self, params: Params) -> tuple[Task, frozenset[str]]:
        hunks = frozenset(texts_of(params, "hunks"))
        if not 0 < len(hunks) <= MOST_HUNKS:
            raise bad_params(f"hunks must name 1 to {MOST_HUNKS} hunks")
        task_id = task_id_of(params)
        task = await self._shop.store.queue.get(task_id)
        if task is None or task.state is not TaskState.DONE or task.review is ReviewState.UNDONE:
            raise refused(f"{task_id} is {task.word if task else 'unknown'}; only a done task has hunks")
        return task, hunks

    async def _still_holds(self, subset: _Subset) -> bool:
        """Whether an older verdict is worth something: nothing in the tree has moved since."""
        if subset.state is SubsetState.RUNNING:
            return True
        return subset.stamp is not None and not await self._shop.pool.moved(subset.stamp)

    @staticmethod
    def _moved(task: Task, paths: tuple[str, ...]) -> AgentCoordError:
        return refused(
            f"{task.id} without these hunks was proven on another tree: {listed(paths, 5)} changed",
            mend="prove it again",
        )


def _view(subset: _Subset) -> SubsetView:
    return {
        "id": subset.task.id,
        "hunks": sorted(subset.hunks),
        "state": str(subset.state),
        "checks": check_views(subset.report),
        "why": subset.why,
        "files": sorted(subset.proven),
    }


def _reader_of(proof: ProofTree) -> Callable[[str], bytes | None]:
    """Reads the copy as the user's tree is read."""
    tree = SafeTree(proof.root)

    def read(path: str) -> bytes | None:
        try:
            return tree.read_bytes(path, limit=MAX_LANDED_FILE_BYTES)
        except FileNotFoundError:
            return None

    return read
