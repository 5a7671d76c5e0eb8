"""What clients may ask, and who answers: one method of the socket, one function here.

Parameters are checked here, at the edge; errors that a person can cause become RpcError with
the exit code and the mend. Deliberately absent: connections and frames (`control`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from agentcoord import __version__
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.later import drafting
from agentcoord.daemon.params import Answer, Params, no_such_task, number_of, task_id_of, text_of
from agentcoord.daemon.pausing import pause, paused_why, resume
from agentcoord.daemon.reviewing import Reviewing
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.subset_proofs import SubsetProofs
from agentcoord.daemon.task_requests import TaskRequests
from agentcoord.daemon.transcript_views import transcript_piece
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.states import HELD_STATES, SETTLED_STATES, TaskState
from agentcoord.domain.worker import Role
from agentcoord.errors import RpcError
from agentcoord.review.unrunnable import why_unrunnable
from agentcoord.wire.protocol import PROTOCOL_VERSION, SPAWN_MOST, ExitCode, Method, RpcCode

if TYPE_CHECKING:
    from agentcoord.daemon.drafting import Drafting
    from agentcoord.domain.plan import Plan


class Requests:
    """The methods of the control socket, apart from `subscribe`, which needs the connection."""

    def __init__(
        self,
        *,
        shop: Workshop,
        fleet: Fleet,
        views: Views,
        runs: RunBook,
        pid: int,
        stop: Callable[[bool, bool], None],
        drain: Callable[[], None],
        on_load: Callable[[], None],
        subsets: SubsetProofs,
        forgetting: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        """`stop` hears whether at once, and whether for a new start.

        `forgetting` is held while everything of the project is removed from the store.
        """
        self._shop = shop
        self._fleet = fleet
        self._views = views
        self._runs = runs
        self._pid = pid
        self._stop = stop
        self._drain = drain
        self._on_load = on_load
        self._forgetting = forgetting
        self._drafting: Drafting | None = None
        reviewing = self._reviewing = Reviewing(shop, views, on_load)
        of_task = TaskRequests(shop, fleet, reviewing)
        self._methods: dict[str, Callable[[Params], Awaitable[Answer]]] = {
            Method.HELLO: self._hello,
            Method.STATUS: self._status,
            Method.TASKS: self._tasks,
            Method.TASK: self._task,
            Method.WORKERS: self._workers,
            Method.COSTS: self._costs,
            Method.STATS: self._stats,
            Method.LOCKS: self._locks,
            Method.LOAD: self._load,
            Method.DRAFT: self._draft,
            Method.SPAWN: self._spawn,
            Method.KILL: self._kill,
            Method.PAUSE: self._pause,
            Method.RESUME: self._resume,
            Method.DRAIN: self._drain_now,
            Method.CLEANUP: self._cleanup,
            Method.RETRY: of_task.retry,
            Method.CANCEL: of_task.cancel,
            Method.ANSWER: of_task.answer,
            Method.DIFF: of_task.diff,
            Method.BLAME: reviewing.blame,
            Method.TRANSCRIPT: partial(transcript_piece, shop),
            Method.LAND: reviewing.land,
            Method.UNDO: reviewing.undo,
            Method.PROVE_WITHOUT: subsets.prove_without,
            Method.TAKE_OUT: subsets.take_out,
            Method.REJECT: reviewing.reject,
            Method.ACCEPT: reviewing.accept,
            Method.STOP: self._stop_now,
        }

    async def answer(self, method: str, params: Params) -> Answer:
        """Answer one request. Raises RpcError, and AgentCoordError of the rooms below."""
        known = self._methods.get(method)
        if known is None:
            raise RpcError(
                f"unknown method {method!r}",
                code=RpcCode.UNKNOWN_METHOD,
                exit_code=ExitCode.USAGE,
                mend="agentcoordd restart, if the daemon is older than this command",
            )
        return await known(params)

    async def _hello(self, params: Params) -> Answer:
        offered = params.get("protocol")
        if not isinstance(offered, list) or PROTOCOL_VERSION not in offered:
            offers = offered if isinstance(offered, list) else "no list of versions"
            raise RpcError(
                f"this daemon speaks protocol {PROTOCOL_VERSION}, the client offers {offers}",
                code=RpcCode.INVALID_PARAMS,
                exit_code=ExitCode.REFUSED,
                mend="agentcoordd restart",
            )
        return {
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "pid": self._pid,
            "project": self._views.project(),
            "epoch": self._shop.hub.epoch,
        }

    async def _status(self, _params: Params) -> Answer:
        return await self._views.status()

    async def _tasks(self, params: Params) -> Answer:
        offset = number_of(params, "offset", default=0, least=0)
        if params.get("dead") is True:
            dead, next_offset = await self._views.dead(offset)
            return {"tasks": dead, "next_offset": next_offset}
        page, next_offset = await self._views.tasks(offset)
        return {"tasks": page, "next_offset": next_offset}

    async def _task(self, params: Params) -> Answer:
        task_id = task_id_of(params)
        detail = await self._views.task(task_id)
        if detail is None:
            raise no_such_task(task_id)
        return detail

    async def _workers(self, _params: Params) -> Answer:
        return {"workers": self._views.workers()}

    async def _costs(self, _params: Params) -> Answer:
        return await self._views.costs()

    async def _stats(self, _params: Params) -> Answer:
        return await self._views.stats()

    async def _locks(self, _params: Params) -> Answer:
        return {"locks": await self._views.locks()}

    async def _load(self, params: Params) -> Answer:
        queue, memory = self._shop.store.queue, self._shop.store.memory
        await memory.begin()
        tasks = await queue.all()
        text, source = text_of(params, "text"), text_of(params, "source", default="plan")
        form = text_of(params, "format", default="toml")
        known = {task.id for task in tasks}
        workers = self._fleet.specs or self._shop.settings.workers

        def read() -> Plan:
            from agentcoord.domain.plan import read_plan  # Nothing else of a daemon's start needs it.

            return read_plan(text, format=form, source=source, known=known, workers=workers)

        plan = await asyncio.to_thread(read)  # A megabyte of TOML would hold up everybody else.
        before = self._runs.run
        run = await self._runs.begin_if_none(any_open=any(t.state not in SETTLED_STATES for t in tasks))
        if run != before and await paused_why(self._shop):
            # An earlier run met a cap, a full disk or a refusal: what still holds this one will meet itself.
            await resume(self._shop)
        outcome = await queue.load(plan.tasks)
        await memory.check()  # What goes into a server that was just wiped is not there for long.
        self._shop.hub.emit(
            EventKind.PLAN_LOADED,
            name=plan.name,
            run=self._runs.run,
            added=list(outcome.added),
            unchanged=list(outcome.unchanged),
            changed=list(outcome.changed),
        )
        self._on_load()
        self._shop.board.touch()
        return {
            "run": run,
            "added": list(outcome.added),
            "unchanged": list(outcome.unchanged),
            "changed": list(outcome.changed),
        }

    async def _spawn(self, params: Params) -> Answer:
        role = text_of(params, "role")
        if role not in list(Role):
            raise RpcError(
                f"no role {role!r}; there are {', '.join(Role)}",
                code=RpcCode.INVALID_PARAMS,
                exit_code=ExitCode.USAGE,
                mend="agentcoord spawn --role backend-engineer",
            )
        count = number_of(params, "n", default=1, least=1, most=SPAWN_MOST)
        names = self._fleet.spawn(Role(role), count)
        if not names:
            raise RpcError(
                "the fleet is full",
                code=RpcCode.REFUSED,
                exit_code=ExitCode.REFUSED,
                mend="agentcoord ctl kill WORKER",
            )
        return {"workers": names}

    async def _kill(self, params: Params) -> Answer:
        names = list(self._shop.board.rows) if params.get("all") is True else [text_of(params, "worker")]
        killed = [name for name in names if self._fleet.kill(name)]
        if not killed and params.get("all") is not True:
            raise RpcError(
                f"no worker is called {names[0]!r}",
                code=RpcCode.NOT_FOUND,
                exit_code=ExitCode.NOT_FOUND,
                mend="agentcoord workers lists them",
            )
        return {"killed": killed}

    async def _pause(self, _params: Params) -> Answer:
        await pause(self._shop)
        return {"paused": True}

    async def _resume(self, _params: Params) -> Answer:
        if why_unrunnable(self._shop.prover.baseline):
            self._on_load()  # It may run now; proofs wait until that is known.
        await resume(self._shop)
        return {"paused": False}

    async def _draft(self, params: Params) -> Answer:
        drafting_of = await drafting()
        if self._drafting is None:
            workers = self._shop.settings.workers
            self._drafting = drafting_of(self._shop, lambda: tuple(self._fleet.specs or workers))
        return await self._drafting.draft(params)

    async def _drain_now(self, _params: Params) -> Answer:
        self._drain()
        return {"draining": True}

    async def _stop_now(self, params: Params) -> Answer:
        self._stop(params.get("now") is True, params.get("restarting") is True)
        return {"stopping": True}

    async def _cleanup(self, params: Params) -> Answer:
        everything = params.get("all") is True
        tasks = await self._shop.store.queue.all()
        if everything and any(task.state in HELD_STATES for task in tasks):
            raise RpcError(
                "tasks are running; cleanup --all would take their locks and leases away",
                code=RpcCode.REFUSED,
                exit_code=ExitCode.REFUSED,
                mend="agentcoord ctl kill --all, then agentcoord cleanup --all",
            )
        live = (
            set()
            if everything
            else {t.id for t in tasks if t.state not in SETTLED_STATES or t.state is TaskState.PARKED}
        )
        workspaces = await self._shop.pool.cleanup(live)
        landings = await self._reviewing.compact(tasks)
        # After a sleep of the machine leases of living runs look dead.
        await self._shop.store.queue.heartbeat(self._fleet.claims)
        async with self._forgetting() if everything else nullcontext():
            outcome = await self._shop.store.cleanup(
                everything=everything, decide=self._shop.retries.decide, at_work=self._shop.drafting
            )
        answer: dict[str, object] = {
            "locks": outcome.locks,
            "leases": outcome.leases,
            "reservations": outcome.reservations,
            "workspaces": workspaces,
            "keys": outcome.keys,
            "landings": landings,
        }
        self._shop.hub.emit(EventKind.CLEANED, task=None, worker=None, **answer)
        self._shop.board.touch()
        return answer
