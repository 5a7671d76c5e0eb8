"""Money and tokens: what is set aside for calls under way, and what was spent, by run, task and day.

The worst case of a call is reserved before it is made and settled after it, each in one atomic step,
so that spent + reserved never passes a cap, however many workers ask at once and whatever crashes.
The task cap counts what a task ever cost, over all runs; costs by task are of one run.
Deliberately absent: prices and what a cap should be (`llm`, `config`). Money is in micro-dollars.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

from redis.asyncio import Redis

from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import ZERO_USD, CapUnit, Usage, UsdMicros
from agentcoord.store.keys import Keys
from agentcoord.store.memory import Memory
from agentcoord.store.scripts import ScriptName, Scripts, calling, pieces, read_hash
from agentcoord.store.spend_mirror import Reserved, SpendMirror
from agentcoord.store.task_records import decode_usage, usage_args
from agentcoord.values import dataclass

INTERRUPTED_MODEL = "(interrupted call)"
"""The model on which calls are booked that a crash interrupted."""


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be spent and reserved together; None: no cap."""

    run: UsdMicros | None = None
    task: UsdMicros | None = None
    day: UsdMicros | None = None
    run_tokens: int | None = None
    """Tokens of all kinds: input, cached or not, and output."""
    task_tokens: int | None = None
    day_tokens: int | None = None


class CapScope(StrEnum):
    """What a cap is on; the order is the one in which `reserve.lua` looks."""

    RUN = "run"
    TASK = "task"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was reserved: it could have passed this cap."""

    scope: CapScope
    cap: int
    """In `unit`, as the other two."""
    spent: int
    reserved: int
    """Set aside for calls under way; when they settle for less, there may be room again."""
    unit: CapUnit = CapUnit.USD_MICROS


@dataclass(frozen=True, slots=True)
class Spend:
    """What one task, one model or one worker cost in a run."""

    usd_micros: UsdMicros
    usage: Usage


@dataclass(frozen=True, slots=True)
class Totals:
    """The state of the ledger for one run and one day."""

    run_spent_usd_micros: UsdMicros
    run_reserved_usd_micros: UsdMicros
    day_spent_usd_micros: UsdMicros
    day_reserved_usd_micros: UsdMicros
    usage: Usage
    """Of the run."""
    by_model: Mapping[str, Spend]
    by_worker: Mapping[str, Spend] = field(default_factory=lambda: MappingProxyType({}))
    run_tokens: int = 0
    """Of all kinds; calls that a crash interrupted are counted at what was reserved for them."""
    run_tokens_reserved: int = 0
    day_tokens: int = 0
    day_tokens_reserved: int = 0


@dataclass(frozen=True, slots=True)
class BudgetLedger:
    """The ledger of one project."""

    client: Redis
    keys: Keys
    scripts: Scripts
    memory: Memory
    mirror: SpendMirror = field(default_factory=SpendMirror)

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        caps: Caps,
        tokens: int = 0,
        worker: str = "",
        sent_amount: UsdMicros = ZERO_USD,
        sent_tokens: int = 0,
    ) -> Refusal | None:
        """Set `amount` and `tokens` aside, or say which cap forbids it.

        `worker`: on whose account the call is shown. `sent_amount`, `sent_tokens`: what the call may have
        cost once it is sent, whatever becomes of it; `end` books that much. Repeating a reservation
        changes nothing.
        Like everything here but reading, it raises StoreUnavailableError while the server has lost its
        memory: it knows of no money that was spent.
        """
        in_order = _caps_in_order(caps)
        args = ["" if cap is None else cap for _, _, cap in in_order]
        words = (reservation, run, task, day, amount, tokens, worker, sent_amount, sent_tokens)
        made = Reserved(
            run,
            task,
            day,
            amount,
            tokens=tokens,
            worker=worker,
            sent_amount=sent_amount,
            sent_tokens=sent_tokens,
        )
        if reservation not in self.mirror.open:
            self.mirror.doubtful[reservation] = made
        refused = await self._run(ScriptName.RESERVE, *words, *args)
        self.mirror.doubtful.pop(reservation, None)
        if not refused:
            self.mirror.open.setdefault(reservation, made)
            return None
        which, spent, reserved = refused
        scope, unit, cap = in_order[which - 1]
        assert cap is not None
        return Refusal(scope, cap, spent, reserved, unit)

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        """Book what the call cost in place of what was reserved; settling twice books once."""
        sums = await self._run(ScriptName.SETTLE, reservation, actual, model, *usage_args(usage))
        if not sums:  # Booked before, it may be, by a call whose answer was lost.
            await self._read_sums_of([reservation])
        self.mirror.settled(reservation, sums)

    async def mark_started(self, reservation: str) -> None:
        """Note that the answer began to arrive: if nobody settles it, it counts as billed in full."""
        await self._run(ScriptName.MARK_STARTED, reservation)
        reserved = self.mirror.open.get(reservation)
        if reserved is not None:
            self.mirror.open[reservation] = replace(reserved, started=True)

    async def release(self, reservation: str) -> None:
        """Give up a reservation whose call was not made or was refused; repeating it changes nothing."""
        await self._run(ScriptName.RELEASE, "", reservation)
        self.mirror.closed(reservation)

    async def open_reservations(self) -> dict[str, TaskId]:
        """Return every reservation that is neither settled nor released, and its task."""
        stored = await read_hash(self.client, self.keys.of("reservations"))
        return {reservation: TaskId(json.loads(raw)[1]) for reservation, raw in stored.items()}

    async def reconcile(self, live: Collection[str]) -> tuple[str, ...]:
        """End every reservation that is not `live`: a crash left it. Returns those ended, sorted.

        Started ones are booked at the reserved amount, the others at what sending them may have cost: a
        reservation is made just before its call, so whoever finds one open cannot know that it was not sent.
        """
        return await self.end(set(await self.open_reservations()) - set(live))

    async def end(self, reservations: Collection[str]) -> tuple[str, ...]:
        """End these as `reconcile` does; return those that were open, sorted."""
        dead = sorted(reservations)
        ended: list[str] = []
        for piece in pieces(dead):
            ended += await self._run(ScriptName.RELEASE, INTERRUPTED_MODEL, *piece)
            await self._read_sums_of(piece)
            for reservation in piece:
                self.mirror.closed(reservation)
        return tuple(ended)

    async def _read_sums_of(self, reservations: Sequence[str]) -> None:
        """Learn what the scopes of these have spent, where their end did not tell."""
        known = [self.mirror.open[each] for each in reservations if each in self.mirror.open]
        scopes = sorted({scope for reserved in known for scope in reserved.scopes})
        if scopes:
            self.mirror.learned(await self.memory.hashes(scopes))

    async def _run(self, name: ScriptName, *args: str | int) -> Any:
        """Run a script of the ledger, unless the server's memory is gone."""
        answer = await self.scripts.run(name, self.memory.mark, *args)
        if answer is None:
            raise self.memory.is_gone()
        return answer

    async def task_spent(self, task: TaskId) -> Mapping[CapUnit, int]:
        """Return what `task` ever cost, over all runs, without what is reserved."""
        spent = await read_hash(self.client, self.keys.task_spend(task))
        return {
            CapUnit.USD_MICROS: _number(spent, "spent"),
            CapUnit.TOKENS: _number(spent, "tokens_spent"),
        }

    async def totals(self, *, run: str, day: str) -> Totals:
        """Return what was spent and reserved in `run` and on `day`, and the run's by model and worker.

        However many tasks there are, it reads no more.
        """
        of_run = await read_hash(self.client, self.keys.run_spend(run))
        of_day = await read_hash(self.client, self.keys.day_spend(day))
        return Totals(
            run_spent_usd_micros=UsdMicros(_number(of_run, "spent")),
            run_reserved_usd_micros=UsdMicros(_number(of_run, "reserved")),
            day_spent_usd_micros=UsdMicros(_number(of_day, "spent")),
            day_reserved_usd_micros=UsdMicros(_number(of_day, "reserved")),
            usage=decode_usage(of_run),
            by_model=_parts(of_run, "model"),
            by_worker=_parts(of_run, "worker"),
            run_tokens=_number(of_run, "tokens_spent"),
            run_tokens_reserved=_number(of_run, "tokens_reserved"),
            day_tokens=_number(of_day, "tokens_spent"),
            day_tokens_reserved=_number(of_day, "tokens_reserved"),
        )

    async def by_task(self, run: str) -> dict[TaskId, Spend]:
        """Return what each task has cost in `run`, in order of name."""
        key = self.keys.spenders(run)
        async with calling("list the costs"):
            tasks = sorted(cast("set[str]", await self.client.smembers(key)))
        found: dict[TaskId, Spend] = {}
        for piece in pieces(tasks):
            async with calling("read the costs"), self.client.pipeline(transaction=False) as pipe:
                for task in piece:
                    pipe.hgetall(self.keys.task_spend(task))
                books = await pipe.execute()
            found |= {TaskId(t): _spend(book, f"{run}|") for t, book in zip(piece, books, strict=True)}
        return found

    async def spenders(self, run: str, among: Sequence[TaskId]) -> frozenset[TaskId]:
        """Return which of these tasks have cost something in `run`."""
        if not among:
            return frozenset()
        async with calling("ask who has spent"):
            flags = await self.client.smismember(self.keys.spenders(run), list(among))
        return frozenset(task for task, flag in zip(among, flags, strict=True) if flag)


def _caps_in_order(caps: Caps) -> tuple[tuple[CapScope, CapUnit, int | None], ...]:
    """Return the caps as `reserve.lua` looks at them."""
    return (
        (CapScope.RUN, CapUnit.USD_MICROS, caps.run),
        (CapScope.TASK, CapUnit.USD_MICROS, caps.task),
        (CapScope.DAY, CapUnit.USD_MICROS, caps.day),
        (CapScope.RUN, CapUnit.TOKENS, caps.run_tokens),
        (CapScope.TASK, CapUnit.TOKENS, caps.task_tokens),
        (CapScope.DAY, CapUnit.TOKENS, caps.day_tokens),
    )


def _parts(fields: Mapping[str, str], kind: str) -> dict[str, Spend]:
    """Collect the fields `kind|name|what` by name, in order of name."""
    names = sorted({f.split("|", 1)[1].rpartition("|")[0] for f in fields if f.startswith(f"{kind}|")})
    return {name: _spend(fields, f"{kind}|{name}|") for name in names}


def _spend(fields: Mapping[str, str], prefix: str) -> Spend:
    return Spend(UsdMicros(_number(fields, f"{prefix}spent")), decode_usage(fields, prefix))


def _number(fields: Mapping[str, str], name: str) -> int:
    return int(fields.get(name, 0))
