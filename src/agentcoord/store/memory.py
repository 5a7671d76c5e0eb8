"""Whether the server still has what this project gave it, and putting it back when it has not.

A server may be flushed by somebody else, or start again without a file. Then everything looks new: no
task is open, no money is spent, tokens begin at 1. So the first plan leaves a mark in the server. Where
the mark is expected and not there, the memory was lost: money is refused, a plan is refused, and nobody
is told that nothing is left to do, until what was lost has been put back.
Deliberately absent: where the copy is that is put back, and when to look (`daemon.memory_keeper`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType

from redis.asyncio import Redis

from agentcoord.domain.ids import FencingToken
from agentcoord.errors import StoreUnavailableError
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import BATCH, ScriptName, Scripts, calling, pieces, read_text
from agentcoord.values import dataclass

MARK = "memory"
FENCE = "fence"
OUTLIVING = ("events", "events:last", "epoch", "routes:version", FENCE)
"""What restoring leaves alone: the log begins anew by itself, versions and the fence only grow."""
FIELDS_MOST = 500


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task exactly as it is stored."""

    id: str
    rank: str
    body: str
    writes: str
    fields: Mapping[str, str]
    history: Sequence[str] = ()
    """How its attempts ended, the oldest first."""


@dataclass(frozen=True, slots=True)
class RestoredTask:
    """A task as it is to be stored: its row, and what follows from all rows together."""

    row: TaskRow
    state: str
    ready: bool
    undone_needs: tuple[str, ...]
    """Those that are to tell it when they are done, ended or brought back."""
    open_needs: int
    """How many of them it waits for."""


@dataclass(slots=True)
class Memory:
    """The mark of one project's memory in the server."""

    client: Redis
    keys: Keys
    scripts: Scripts
    mark: str
    """What the server is expected to know; empty while there is nothing to lose."""
    on_restored: Callable[[], None]
    """Called, without awaiting, when what was read before is worth nothing."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody found that the memory is gone; cleared by `restore`, and by `is_still_lost`."""

    async def begin(self) -> None:
        """Leave the mark, before the first plan; later calls only `check`. Raises what that raises."""
        if not self.mark:
            mark = uuid.uuid4().hex
            async with calling("mark the memory"):
                await self.client.set(self.keys.of(MARK), mark, nx=True)
            self.mark = await read_text(self.client, self.keys.of(MARK)) or ""
        await self.check()

    async def check(self) -> None:
        """Raise StoreUnavailableError when the server has lost its memory."""
        if (await read_text(self.client, self.keys.of(MARK)) or "") != self.mark:
            raise self.is_gone()

    async def is_still_lost(self) -> bool:
        """Look again before it is put back: an answer from before the last time may be heard after it.
        And of that time the very last answer may have been lost.

        What was done since would be lost by putting an older copy over it.
        """
        stored = await read_text(self.client, self.keys.of(MARK)) or ""
        # Where none was expected none is missed: the answer to its being left was lost, or is on its way.
        self.mark = self.mark or stored
        if stored == self.mark:
            self.lost.clear()
            self.on_restored()
        return self.lost.is_set()

    def is_gone(self) -> StoreUnavailableError:
        """Note that the memory is gone, and return the error that says so."""
        self.lost.set()
        return StoreUnavailableError(
            "Redis has lost what this project had in it: it was flushed, or started again without its file",
            mend="wait: the daemon puts it back from the state folder, or stops and says why it cannot",
        )

    async def fence(self) -> FencingToken:
        """Return the last token given."""
        return FencingToken(int(await read_text(self.client, self.keys.of(FENCE)) or 0))

    async def rows(self, tasks: Sequence[str]) -> list[TaskRow]:
        """Read tasks as they are stored; those not there are left out. Raises what `check` raises."""
        found: list[TaskRow] = []
        for piece in pieces(tasks):
            async with calling("read tasks"), self.client.pipeline(transaction=False) as pipe:
                for task in piece:
                    pipe.zscore(self.keys.of("order"), task)
                    pipe.get(self.keys.body(task))
                    pipe.hget(self.keys.of("writes"), task)
                    pipe.hgetall(self.keys.task(task))
                    pipe.lrange(self.keys.history(task), 0, -1)
                replies = await pipe.execute()
            for task, (rank, body, writes, fields, history) in zip(piece, pieces(replies, 5), strict=True):
                if rank is not None and body is not None and fields:
                    found.append(TaskRow(task, f"{float(rank):.0f}", body, writes or "", fields, history))
        await self.check()  # Afterwards: what is read from a server that has just been wiped is no news.
        return found

    async def hashes(self, suffixes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Read whole hashes; empty ones are left out. Raises what `check` raises."""
        async with calling("read what to keep"), self.client.pipeline(transaction=False) as pipe:
            for suffix in suffixes:
                pipe.hgetall(self.keys.of(suffix))
            replies = await pipe.execute()
        await self.check()
        return {suffix: stored for suffix, stored in zip(suffixes, replies, strict=True) if stored}

    async def restore(
        self,
        mark: str,
        tasks: Sequence[RestoredTask],
        hashes: Mapping[str, Mapping[str, str]],
        *,
        sets: Mapping[str, Collection[str]] = MappingProxyType({}),
        questions: Collection[tuple[int, str]] = (),
    ) -> None:
        """Put everything in place of whatever is there, and then the mark.

        `questions`: number and task of the open ones, whose words are among the hashes. Breaking off
        leaves the mark away, so that it is done again from the start. Raise the fence first.
        """
        await self._remove_the_rest()
        async with calling("put the settings and the ledger back"):
            for suffix, stored in hashes.items():
                await self.client.hset(self.keys.of(suffix), mapping={**stored})  # type: ignore[dict-item]  # Str is allowed, but the type is invariant.
            for suffix, members in sets.items():
                await self.client.sadd(self.keys.of(suffix), *members)
            for number, asker in questions:
                await self.client.zadd(self.keys.of("questions:open"), {f"{number}:{asker}": number})
            if questions:
                await self.client.set(self.keys.of("questions:last"), max(n for n, _ in questions))
            if tasks:
                await self.client.set(self.keys.of("seq"), max((task.row.rank for task in tasks), key=int))
        for some in pieces(tasks, BATCH // 4):
            args: list[str | int] = [FIELDS_MOST]
            for task in some:
                row = task.row
                args += [row.id, row.rank, row.body, row.writes, task.state, int(task.ready)]
                fields = dict(row.fields)
                if "needs" in fields:
                    fields["open"] = str(task.open_needs)
                args += [",".join(task.undone_needs), len(row.history), len(fields)]
                args += [*row.history, *(word for pair in fields.items() for word in pair)]
            await self.scripts.run(ScriptName.RESTORE, *args)
        async with calling("mark the memory"):
            await self.client.set(self.keys.of(MARK), mark)
        self.mark = mark
        self.on_restored()
        self.lost.clear()

    async def _remove_the_rest(self) -> None:
        outliving = {self.keys.of(suffix) for suffix in OUTLIVING}
        async with calling("remove what is left of the old memory"):
            found = [k async for k in self.client.scan_iter(match=self.keys.scan_pattern, count=BATCH)]
            gone = [key for key in found if key not in outliving]
            # The lines of ready tasks first: whoever is handed one finds the rest of it still there.
            gone.sort(key=lambda key: not key.startswith(self.keys.of("r:")))
            for piece in pieces(gone):
                await self.client.unlink(*piece)
