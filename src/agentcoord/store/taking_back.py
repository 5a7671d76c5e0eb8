"""Taking tasks out of the hands that hold them: one that is given up, leases that ran out, all of them.

Separate from the queue because what becomes of such a task is somebody else's decision, asked for each
(`domain.retries`); here the script's calls are made, and who must hear of it is told. A lease that was
renewed since it was looked at is left alone: the script looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.retries import Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.task import Task
from agentcoord.errors import StoreUnavailableError
from agentcoord.store.scripts import BATCH, ScriptName, Scripts
from agentcoord.store.setback_records import Reason, SetBack, set_back_args
from agentcoord.store.spreading import Spreader
from agentcoord.store.task_reading import TaskReader
from agentcoord.values import dataclass

_LEASE_EXPIRED = "lease expired"
Decide = Callable[[Task, Setback], Verdict]


@dataclass(frozen=True, slots=True)
class TakingBack:
    """Ends claims. Every method may raise StoreUnavailableError."""

    scripts: Scripts
    clock: Clock
    reader: TaskReader
    spreader: Spreader
    lease_ms: int
    on_lease_ended: Callable[[TaskId], None]
    on_ready: Callable[[], None]
    """Called, without awaiting, when tasks may have become ready."""

    async def set_back(self, orders: Sequence[SetBack]) -> tuple[list[int], list[TaskId]]:
        """Take each task back as it is said, at most a batch, and tell what needs it.

        Returns 1 for each that was taken, and the tasks that ended by it.
        """
        found, wave = await self.scripts.run(
            ScriptName.SET_BACK, *self.spreader.args(), *set_back_args(orders)
        )
        return found, await self.spread_on(wave)

    async def spread_on(self, wave: Sequence[Any]) -> list[TaskId]:
        """Pass on what a script told dependents, and tell the rest; return those that ended."""
        ended, ready, left = wave
        fallen = self.spreader.told(ended, ready)
        if left:
            fallen += await self._carry_on()
        return fallen

    async def lapsed(
        self, decide: Decide, model_of: Callable[[Task], str], *, excused_until_ms: int
    ) -> tuple[TaskId, ...]:
        """Take back tasks whose lease has run out, and ready delayed ones now due."""
        now_ms = self.clock.now_ms()
        taken: list[TaskId] = []
        more = 1
        while more:
            named, readied, more = await self.scripts.run(ScriptName.REAP, now_ms, BATCH, 0, self.lease_ms)
            if readied:
                self.on_ready()
            setback_of = {
                member: Setback.ABSENT if int(float(at_ms)) <= excused_until_ms else Setback.LEASE_EXPIRED
                for member, at_ms in zip(named[::2], named[1::2], strict=True)
            }
            now_taken = await self._take(
                setback_of, decide, model_of, why=_LEASE_EXPIRED, only_if_lapsed=True
            )
            taken += now_taken
            if not (readied or now_taken):
                break  # Renewed meanwhile, all of them: the next time will tell.
        return tuple(taken)

    async def everything(
        self, decide: Decide, model_of: Callable[[Task], str], *, why: str
    ) -> tuple[TaskId, ...]:
        """Take back every held task, whatever its lease says."""
        taken: list[TaskId] = []
        more = 1
        while more:
            named, readied, more = await self.scripts.run(
                ScriptName.REAP, self.clock.now_ms(), BATCH, 1, self.lease_ms
            )
            setback_of = dict.fromkeys(named[::2], Setback.RESTARTED)
            now_taken = await self._take(setback_of, decide, model_of, why=why, only_if_lapsed=False)
            taken += now_taken
            if not (readied or now_taken):
                break
        return tuple(taken)

    async def _carry_on(self) -> tuple[TaskId, ...]:
        """Tell what needs a task that has just changed; the change itself is stored already.

        A server that goes away now loses nothing: the next reaping goes on. Returns what ended by it.
        """
        try:
            return await self.spreader.finish()
        except StoreUnavailableError:
            return ()

    async def _take(
        self,
        setback_of: Mapping[str, Setback],
        decide: Decide,
        model_of: Callable[[Task], str],
        *,
        why: str,
        only_if_lapsed: bool,
    ) -> list[TaskId]:
        """Take tasks from their leases, named "<token>:<id>". Returns those that were taken."""
        holders = {TaskId(member.partition(":")[2]): member for member in setback_of}
        orders = []
        for task in await self.reader.read(list(holders)):
            member = holders[task.id]
            setback, token = setback_of[member], FencingToken(int(member.partition(":")[0]))
            verdict = decide(task, setback)
            due_ms = self.clock.now_ms() + verdict.delay_ms if verdict.delay_ms > 0 else 0
            reason = Reason(setback, verdict.told(why), model_of(task))
            counts = verdict.counts_attempt
            orders.append(SetBack(task.id, token, verdict.to, reason, counts, due_ms, only_if_lapsed))
        if not orders:
            return []
        results, _ = await self.set_back(orders)
        taken = [order.task for order, ok in zip(orders, results, strict=True) if ok]
        for task_id in taken:
            self.on_lease_ended(task_id)
        self.on_ready()
        return taken
