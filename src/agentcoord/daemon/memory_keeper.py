"""Keeps in the state folder what the server must not be the only one to know, and puts it back.

Theory of operation. Every two seconds the rows of tasks that events told of, the settings, the open
questions and the ledger are copied into a file; the ledger's newest sums and open reservations are known
in memory to the cent. The same round looks at the server's mark (`store.memory`); a refused reservation
wakes it at once. When the memory is gone: what runs is let go of, between two landings; the fence is
raised above every token that the journal or a claim knows; tasks, settings and money are put back; the
mark last. Runs go on from their last complete turn. At a start the same is done from the file alone; a
reservation that was open counts as spent. A file that was removed under us is written anew, whole.
Deliberately absent: the event log, which begins anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.kept_file import KeptFile
from agentcoord.daemon.rebuilding import ended_by_need, rebuilt
from agentcoord.daemon.run_book import RunBook
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.states import TaskState
from agentcoord.errors import AgentCoordError, DaemonError, StoreError, StoreUnavailableError
from agentcoord.store.connection import Store
from agentcoord.store.memory import TaskRow
from agentcoord.store.spend_mirror import OF_TASK, Reserved, spenders_of, with_mirror
from agentcoord.values import dataclass
from agentcoord.workspace.landing import Lander

LOOK_EVERY_S = 2.0
AWAY_S = 1.0
"""The pause after a round that the store or the disk did not let pass."""
_MARK, _OPEN, _TASK, _HASH = "mark", "open", "t:", "h:"
_SETTINGS, _QUESTIONS, _RESERVATIONS = "settings", "questions", "reservations"
_OF_SETTINGS = frozenset({EventKind.RUN_PAUSED, EventKind.RUN_RESUMED})

log = structlog.get_logger("memory")


@dataclass(frozen=True, slots=True)
class _Copy:
    """What the file says."""

    mark: str
    rows: list[TaskRow]
    hashes: dict[str, dict[str, str]]
    reserved: dict[str, Reserved]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> _Copy:
        return cls(
            mark=str(values.get(_MARK, "")),
            rows=[TaskRow(k.removeprefix(_TASK), *v) for k, v in values.items() if k.startswith(_TASK)],
            hashes={k.removeprefix(_HASH): v for k, v in values.items() if k.startswith(_HASH) and v},
            reserved={name: Reserved.from_stored(each) for name, each in values.get(_OPEN, {}).items()},
        )


async def restore_at_start(store: Store, lander: Lander, path: Path) -> str:
    """Put back what the server has lost since the last daemon; return what to tell, or nothing.

    Raises DaemonError when the file cannot be read, and what the store raises.
    """
    try:
        copy = _Copy.of(await asyncio.to_thread(KeptFile(path).read))
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise DaemonError(
            f"{path} cannot be read: {error}", mend="move it away; it only helps when Redis loses its memory"
        ) from error
    if not copy.mark or store.memory.mark:
        return ""  # Nothing was there, or the server knows something: then it knows better.
    await lander.recover()
    spent = {name: replace(each, started=True) for name, each in copy.reserved.items()}
    return await _put_back(store, lander, copy, spent, {}, {}, above=())


async def _put_back(
    store: Store,
    lander: Lander,
    copy: _Copy,
    reserved: Mapping[str, Reserved],
    spent: Mapping[str, int],
    tokens_spent: Mapping[str, int],
    *,
    above: Iterable[FencingToken],
) -> str:
    """Restore everything and return it in words."""
    landings = await lander.history()
    known = [FencingToken(int(row.fields.get("token", 0))) for row in copy.rows]
    known += [*above, *(record.token for record in landings)]
    await store.raise_fence(max(known, default=FencingToken(0)))
    store.queue.dispatcher.paused = copy.hashes.get(_SETTINGS, {}).get("paused") == "1"
    tasks = rebuilt(copy.rows, landings)
    hashes = with_mirror(copy.hashes, reserved, spent, tokens_spent)
    if reserved:
        hashes[_RESERVATIONS] = {name: json.dumps(each.to_stored()) for name, each in reserved.items()}
    questions = [
        (int(number), str(json.loads(raw)["task"])) for number, raw in hashes.get(_QUESTIONS, {}).items()
    ]
    await store.memory.restore(copy.mark, tasks, hashes, sets=spenders_of(hashes), questions=questions)
    for ended in ended_by_need(copy.rows, tasks):
        store.queue.spreader.on_ended(ended)
    run = copy.hashes.get(_SETTINGS, {}).get("run", "")
    usd = int(hashes.get(f"spend:run:{run}", {}).get("spent", 0)) / 1_000_000
    done = sum(task.state == TaskState.DONE for task in tasks)
    return (
        "Redis had lost what this project had in it (flushed, or started again without its file); put back "
        f"from the state folder: {len(tasks)} tasks, {done} of them done, and ${usd:.2f} spent in this run"
    )


class MemoryKeeper:
    """Copies, watches and restores while the daemon runs. `run()` belongs in the daemon's task group."""

    def __init__(
        self,
        store: Store,
        hub: EventHub,
        runs: RunBook,
        lander: Lander,
        path: Path,
        *,
        let_go: Callable[[], list[FencingToken]],
        between_landings: Callable[[], AbstractAsyncContextManager[None]],
        restored: Callable[[], None],
    ) -> None:
        """`let_go` ends every run and returns its tokens; `restored` hears that tasks are there again."""
        self._store = store
        self._hub = hub
        self._runs = runs
        self._lander = lander
        self._kept = KeptFile(path)
        self._path = path
        self._let_go = let_go
        self._between_landings = between_landings
        self._restored = restored
        self._turn = asyncio.Lock()
        self._told_of = ""
        self._facts: Subscription | None = None
        self._dirty: set[str] = set()
        self._settings_told = False
        """Whether a setting has changed of which no task tells: a pause, or its end."""
        self._highest = 0
        """The highest token that was seen in a row."""

    async def run(self) -> None:
        """Keep and watch, for ever. Raises DaemonError when a lost memory cannot be put back."""
        self._kept = await asyncio.to_thread(KeptFile.open, self._path)
        with self._hub.subscribed() as facts:
            self._facts = facts
            self._dirty.update(task.id for task in await self._known_tasks())
            while True:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._store.memory.lost.wait()
                except TimeoutError:
                    pass
                self._dirty |= await self._named_in(facts)
                await self._one_round(self._dirty)

    async def keep_last(self) -> None:
        """Copy what the last round did not, before an end in order. What prevents it is told to the log."""
        if self._facts is None:
            return
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                dirty = self._dirty | await self._named_in(self._facts)
                async with self._turn:
                    if not self._store.memory.lost.is_set():
                        await self._copy(dirty)
        except (StoreError, OSError) as error:  # A TimeoutError is one.
            self._tell_once(
                f"the last changes are not in {self._path}: {str(error) or 'Redis does not answer'}"
            )

    async def _one_round(self, dirty: set[str]) -> None:
        """Copy, or restore; `dirty` is empty afterwards unless the store or the disk is away."""
        try:
            async with self._turn:
                if self._store.memory.lost.is_set():
                    if await self._store.memory.is_still_lost():
                        await self._restore()
                    else:  # Put back in the last round, it may be, and nobody was told.
                        self._store.queue.dispatcher.wake()
                        self._restored()
                await self._copy(dirty)
            dirty.clear()
            self._told_of = ""
        except StoreError as error:
            self._tell_once(error.message)
        except OSError as error:
            self._tell_once(f"{self._path} cannot be read or written: {error}")
        else:
            return
        await self._store.queue.clock.sleep(AWAY_S)

    @asynccontextmanager
    async def forgetting(self) -> AsyncIterator[None]:
        """Inside, the project's keys are removed at a person's word: they are not to come back."""
        async with self._turn:
            await asyncio.to_thread(self._kept.clear)
            yield

    async def _copy(self, tasks: Iterable[str]) -> None:
        store = self._store
        if not store.memory.mark:
            return
        if await asyncio.to_thread(self._kept.is_gone):
            await asyncio.to_thread(self._kept.begin_again)
            self._tell_gone()
        if not len(self._kept):  # It was cleared or removed; no event tells of what is in the server still.
            self._dirty.update(task.id for task in await store.queue.all())
        named = sorted({*tasks, *self._dirty})
        if not (named or self._settings_told) and self._kept.holds(_MARK, store.memory.mark):
            await self._look()
            return
        rows = await store.memory.rows(named)
        spends = [f"spend:run:{self._runs.run}", f"spend:day:{self._runs.day()}"]
        spends += [f"{OF_TASK}{task}" for task in named]
        hashes = await store.memory.hashes([_SETTINGS, _QUESTIONS, *spends])
        values: dict[str, Any] = {_MARK: store.memory.mark, _HASH + _QUESTIONS: {}}
        values |= {
            _TASK + row.id: [row.rank, row.body, row.writes, dict(row.fields), list(row.history)]
            for row in rows
        }
        values |= {_HASH + name: stored for name, stored in hashes.items()}
        values[_OPEN] = {name: each.to_stored() for name, each in store.ledger.mirror.open.items()}
        await asyncio.to_thread(self._kept.put, values)
        store.ledger.mirror.forget_kept(hashes)
        self._settings_told = False
        self._highest = max([self._highest, *(int(row.fields.get("token", 0)) for row in rows)])
        await self._look()

    async def _look(self) -> None:
        """See that the memory is there, and that the fence has not gone back with a failover."""
        await self._store.memory.check()
        await self._store.raise_fence(FencingToken(self._highest))

    async def _restore(self) -> None:
        mirror = self._store.ledger.mirror
        try:
            copy = _Copy.of(await asyncio.to_thread(self._kept.read))
            if not copy.mark:
                raise DaemonError("it was lost before anything was copied")
            copy.hashes[_SETTINGS] = {**copy.hashes.get(_SETTINGS, {}), **self._settings_now()}
            async with self._between_landings():
                tokens = self._let_go()
                words = await _put_back(
                    self._store,
                    self._lander,
                    copy,
                    mirror.open,
                    mirror.spent,
                    mirror.tokens_spent,
                    above=tokens,
                )
        except StoreUnavailableError:
            raise
        except (AgentCoordError, ValueError, KeyError, TypeError) as error:
            raise DaemonError(
                f"Redis has lost what this project had in it, and it cannot be put back: {error}",
                mend=f"read {self._path}; then agentcoordd start, and load the plan again",
            ) from error
        log.warning("memory_restored", words=words)
        self._hub.emit(EventKind.ERROR, where="store", error=words)
        self._store.queue.dispatcher.wake()
        self._restored()

    def _settings_now(self) -> dict[str, str]:
        """What this process knows better than its copy."""
        return {"run": self._runs.run, "paused": str(int(self._store.queue.paused))}

    async def _named_in(self, facts: Subscription) -> set[str]:
        """The tasks of which something was told since the last round; all, when some of it was missed."""
        events, missed = facts.take_all(), facts.lagged
        facts.lagged = False
        named = {event.task for event in events if event.task}
        self._settings_told |= missed or any(event.kind in _OF_SETTINGS for event in events)
        for event in events:
            if event.kind is EventKind.PLAN_LOADED:
                named.update(str(task) for key in ("added", "changed") for task in event.data.get(key, ()))
        if missed:
            named.update(task.id for task in await self._known_tasks())
        return named

    async def _known_tasks(self) -> list[Any]:
        try:
            return list(await self._store.queue.all())
        except StoreUnavailableError:
            return []

    def _tell_gone(self) -> None:
        words = (
            f"{self._path} was removed while the daemon runs; the tasks and what was spent are written there "
            "anew. If its whole folder was, so are transcripts and what undo needs: restart the daemon"
        )
        log.warning("memory_kept_anew", words=words)
        self._hub.emit(EventKind.ERROR, where="store", error=words)

    def _tell_once(self, words: str) -> None:
        if words != self._told_of:
            self._told_of = words
            log.warning("memory_not_kept", words=words)
