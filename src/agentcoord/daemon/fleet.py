"""The fleet: worker coroutines under one task group, guarded, restarted, spawned and killed.

Theory of operation. Each worker is a child of the fleet's task group; what it raises is caught
at this boundary alone, told, and answered with a back-off and a fresh start. The run of a claim
is a child of its own, so that losing a lease, or a person's cancel, ends the run and not the
worker; while one is only being proven, the next may begin (`task_turns`). What a worker that is cut off
had claimed is given back here, even if the run had not begun.
A store that is away is no crash: the workers wait for it. Assertion failures mean a broken
invariant: they pass through and stop the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.broken_runs import STORE_AWAY, BrokenRuns
from agentcoord.daemon.handing_back import HAND_BACK_TIMEOUT_S
from agentcoord.daemon.later import task_runner
from agentcoord.daemon.task_turns import TaskTurns
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.worker_row import WorkerRow
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import Role, WorkerSpec, WorkerState, worker_of
from agentcoord.errors import DaemonError, StoreUnavailableError

if TYPE_CHECKING:
    from agentcoord.daemon.task_run import TaskRunner

BACK_OFF_FIRST_S = 1.0
BACK_OFF_MOST_S = 60.0
STORE_AWAY_MOST_S = 5.0
"""How long a worker waits at most before it asks a store that was away again."""
MAX_WORKERS = 64
STOP_GRACE_S = 20.0
"""How long a stopping worker may take to end its model turn or tool call before it is cut off."""

log = structlog.get_logger("fleet")


class Fleet:
    """All workers of the daemon. `run()` belongs in the daemon's task group."""

    def __init__(self, shop: Workshop, clock: Clock, *, no_workers_because: str = "") -> None:
        """`no_workers_because`: why none may be spawned (there is no model), or nothing."""
        self._shop = shop
        self._clock = clock
        self._no_workers_because = no_workers_because
        self._group: asyncio.TaskGroup | None = None
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[FencingToken, asyncio.Task[None]] = {}
        self._turns: dict[str, TaskTurns] = {}
        self._interrupted: set[FencingToken] = set()
        """Runs that were ended because their claims had; a worker that is cut off still has its own."""
        self._ahead: set[str] = set()
        """Workers that have, or wait for, a task beside the one that is being proven."""
        self._killed: set[str] = set()
        self._silent: dict[FencingToken, str] = {}
        """Claims whose run was cut off because it showed no sign of life, and the words for it."""
        self._broken = BrokenRuns(shop, clock)
        self._over = asyncio.Event()
        self._draining = False
        self.on_drained: Callable[[], None] = lambda: None
        self.restarts = 0

    @property
    def claims(self) -> list[Claim]:
        """What is held right now, by a run or by a worker that waits to give it back."""
        return [*self._shop.board.claims, *self._broken.owed.values()]

    @property
    def specs(self) -> list[WorkerSpec]:
        return [row.spec for row in self._shop.board.rows.values()]

    async def run(self, specs: Collection[WorkerSpec]) -> None:
        """Start `specs` and keep them going until `stop()`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for spec in specs:
                self._start(spec)
            await self._over.wait()
        self._group = None

    def spawn(self, role: Role, count: int) -> list[str]:
        """Add `count` workers of a role, named after it with the next free number.

        Raises DaemonError when the daemon takes no more work on: it stops, drains, or has no model.
        """
        if self._no_workers_because:
            raise DaemonError(f"no worker can start: {self._no_workers_because}")
        if self._group is None or self._over.is_set() or not self._goes_on:
            raise DaemonError(
                "no worker can start: the daemon is starting, draining or stopping",
                mend="wait until it has started, or ended; then agentcoordd start, and spawn again",
            )
        named: list[str] = []
        stem = "-".join(part.capitalize() for part in role.split("-"))
        number = 1
        while len(named) < count and len(self._shop.board.rows) < MAX_WORKERS:
            name = f"{stem}-{number}"
            number += 1
            if name not in self._shop.board.rows and not (number == 2 and stem in self._shop.board.rows):
                self._start(worker_of(name, role))
                named.append(name)
        # A worker without a copy of its own would hold its task and wait.
        self._shop.pool.grow(len(self._workers) + self._shop.spare_copies)
        return named

    def kill(self, name: str) -> bool:
        """Stop a worker for good; its task goes back to the queue. False when there is none."""
        handle = self._workers.get(name)
        if handle is None:
            return False
        self._killed.add(name)
        handle.cancel()
        return True

    def interrupt(self, task: str, token: FencingToken | None = None) -> bool:
        """End the run of a task whose lease is gone; its worker goes on with something else.

        With `token`, only if it is the run of that claim.
        """
        for claim in self._shop.board.claims:
            if claim.task.id != task or token not in (None, claim.token):
                continue
            if claim.token in self._runs:
                self._interrupted.add(claim.token)
                self._runs[claim.token].cancel()
                return True
        return False

    def give_up(self, row: WorkerRow, claim: Claim, why: str) -> None:
        """Cut off a run that shows no sign of life: its claim goes back, and its worker begins anew.

        One that cannot even be cancelled is left behind the second time: another worker of that name takes
        its worker's place, and the lease, which nobody renews then, runs out.
        """
        run = self._runs.get(claim.token)
        if run is None or self._group is None:
            return
        log.error("worker_silent", worker=row.spec.name, task=claim.task.id, why=why)
        if claim.token not in self._silent:
            self._silent[claim.token] = why
            run.cancel()
            return
        self.restarts += 1
        self._broken.tell_crash(row, DaemonError(f"{why}, and cannot be cancelled"))
        self._silent.pop(claim.token)
        self._turns[row.spec.name].begin_nothing()
        for at in row.tasks:
            self._shop.pool.abandon(at.claim.task.id)
            if other := self._runs.pop(at.claim.token, None):
                other.cancel()
        self._not_ahead(row.spec.name)
        self._start(row.spec)

    def let_go_of_all(self) -> list[FencingToken]:
        """End every run, because the store has lost all claims; return the tokens that were held."""
        claims = self.claims
        for claim in claims:
            self.interrupt(claim.task.id, claim.token)
        return [claim.token for claim in claims]

    def drain(self) -> None:
        """Claim nothing more; `on_drained` is called when the last worker has ended its task."""
        if self._draining:
            return
        self._draining = True
        for name in list(self._workers):
            self._begin_nothing(name)
        if not self._workers:
            self.on_drained()

    async def stop(self, *, now: bool) -> None:
        """Let every worker record what it is at and hand its task back; cut off after the grace."""
        self._shop.stopping.set()
        for name, handle in list(self._workers.items()):
            if now:
                handle.cancel()
            else:
                self._begin_nothing(name)
        waiting = set(self._workers.values())
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=HAND_BACK_TIMEOUT_S if now else STOP_GRACE_S)
            for handle in late:
                handle.cancel()
        self._over.set()

    def _begin_nothing(self, name: str) -> None:
        """Let a worker end what it is at and then go; at once where that is nothing."""
        if not self._shop.board.rows[name].tasks:
            self._workers[name].cancel()
        else:
            self._turns[name].begin_nothing()

    def _start(self, spec: WorkerSpec) -> None:
        assert self._group is not None, "the fleet runs before it spawns"
        row = WorkerRow(spec, own_since_ms=self._clock.now_ms())
        self._shop.board.rows[spec.name] = row
        handle = self._group.create_task(self._guard(row), name=f"worker:{spec.name}")
        self._workers[spec.name] = handle
        handle.add_done_callback(lambda ended: self._gone(spec.name, ended))
        self._shop.hub.emit(EventKind.WORKER_STARTED, worker=spec.name, role=str(spec.role))

    def _gone(self, name: str, handle: asyncio.Task[None]) -> None:
        if self._workers.get(name) is not handle:
            return  # It was left behind long ago.
        self._workers.pop(name)
        self._turns.pop(name, None)
        self._not_ahead(name)
        self._shop.board.set_own_state(self._shop.board.rows[name], WorkerState.STOPPED)
        if name in self._killed:
            self._killed.discard(name)
            del self._shop.board.rows[name]
        self._shop.hub.emit(EventKind.WORKER_STOPPED, worker=name)
        self._shop.board.touch()
        if self._draining and not self._workers:
            self.on_drained()

    @property
    def _goes_on(self) -> bool:
        return not (self._shop.stopping.is_set() or self._draining)

    def _keeps(self, row: WorkerRow) -> bool:
        """Whether the worker of this row may begin anything: it was not left behind for another."""
        return self._goes_on and self._shop.board.rows.get(row.spec.name) is row

    async def _guard(self, row: WorkerRow) -> None:
        """Keep one worker going; whatever ends it, none of its claims stays with nobody."""
        turns = self._turns[row.spec.name] = TaskTurns(self._shop.board, row)
        try:
            async with asyncio.TaskGroup() as runs:
                await self._keep_going(row, turns, runs)
            self._look_at_broken(row, turns)
        except BaseExceptionGroup as errors:
            await to_its_end(self._hand_back_all(row, turns))
            raise errors.exceptions[0] from errors
        except BaseException:
            await to_its_end(self._hand_back_all(row, turns))
            raise

    async def _keep_going(self, row: WorkerRow, turns: TaskTurns, runs: asyncio.TaskGroup) -> None:
        """Begin one task after the other; the one place where anything that a worker raises is caught."""
        back_off_s = BACK_OFF_FIRST_S
        while self._keeps(row):
            pause_s = 0.0
            try:
                await turns.until_free()
                if turns.went_well:
                    turns.went_well, back_off_s = False, BACK_OFF_FIRST_S
                turns.raise_broken()
                if self._keeps(row):
                    await self._begin_next(row, turns, runs)
            except StoreUnavailableError as away:
                pause_s = min(back_off_s, STORE_AWAY_MOST_S)
                log.warning("store_away", worker=row.spec.name, error=str(away))
                self._shop.board.set_own_state(row, WorkerState.WAITING, f"{STORE_AWAY}: {away.message}")
            except Exception as error:
                if _is_broken_invariant(error):
                    raise
                pause_s = back_off_s
                self.restarts += 1
                self._broken.tell_crash(row, error)
                self._shop.board.set_own_state(row, WorkerState.CRASHED, f"restarts in {back_off_s:.0f} s")
            if pause_s and self._goes_on:
                await self._clock.sleep(pause_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_MOST_S)

    async def _begin_next(self, row: WorkerRow, turns: TaskTurns, runs: asyncio.TaskGroup) -> None:
        """Take a task and let its run begin, unless one of the worker's own is to go on first."""
        name = row.spec.name
        if turns.idle:
            self._shop.board.set_own_state(row, WorkerState.IDLE)
        elif len(self._ahead) >= self._shop.spare_copies:
            await turns.change()  # Its next task would wait for a copy, as its last one has its own.
            return
        else:
            self._ahead.add(name)
        runner_of = await task_runner()  # Before the claim: nobody holds one for as long as that may take.
        claim = await turns.claim(self._shop.store.queue)
        if claim is None:
            self._not_ahead(name)
            return
        turns.began(claim)
        runner = runner_of(self._shop, row, turns)
        run = runs.create_task(self._run(runner, row, turns, claim), name=f"run:{claim.task.id}")
        self._runs[claim.token] = run
        run.add_done_callback(lambda _: self._run_over(turns, claim))

    async def _run(self, runner: TaskRunner, row: WorkerRow, turns: TaskTurns, claim: Claim) -> None:
        """Run a claim to its end. Cut off, it leaves the claim to whoever did so."""
        try:
            await self._run_unless_silent(runner, claim)
        except Exception as error:  # noqa: BLE001 - the worker's boundary: told, and raised again by `_begin_next`
            turns.held.pop(claim.token)
            await self._broken.give_back(row, claim, error)
            turns.broken.append(error)
        else:
            turns.held.pop(claim.token)
            turns.went_well = True

    async def _run_unless_silent(self, runner: TaskRunner, claim: Claim) -> None:
        """Run a claim; raises DaemonError when it was given up for its silence."""
        try:
            await runner.run(claim)
        except asyncio.CancelledError:
            if why := self._silent.pop(claim.token, ""):
                raise DaemonError(why) from None  # Nobody but `give_up` wanted it to end.
            raise
        finally:
            self._silent.pop(claim.token, None)

    def _run_over(self, turns: TaskTurns, claim: Claim) -> None:
        self._runs.pop(claim.token, None)
        if claim.token in self._interrupted:
            self._interrupted.discard(claim.token)
            turns.held.pop(claim.token, None)
        turns.ended(claim)
        self._not_ahead(turns.worker)

    def _not_ahead(self, name: str) -> None:
        """A worker has no second task any more: another one may begin its own."""
        self._ahead.discard(name)
        for each in self._turns.values():
            each.tell()

    def _look_at_broken(self, row: WorkerRow, turns: TaskTurns) -> None:
        """Tell of runs that broke when their worker began nothing more."""
        for error in turns.broken:
            if _is_broken_invariant(error):
                raise error
            if not isinstance(error, StoreUnavailableError):
                self._broken.tell_crash(row, error)

    async def _hand_back_all(self, row: WorkerRow, turns: TaskTurns) -> None:
        """Queue again what a worker that was cut off has left."""
        if not turns.held:
            return
        runner_of = await task_runner()
        async with asyncio.TaskGroup() as group:
            for claim in turns.held.values():
                runner = runner_of(self._shop, row, turns)
                group.create_task(runner.hand_back(claim, "its worker was stopped"))


def _is_broken_invariant(error: Exception) -> bool:
    """Whether an assertion failed, if only in one of several things that were done at once."""
    if isinstance(error, ExceptionGroup):
        return error.subgroup(AssertionError) is not None
    return isinstance(error, AssertionError)
