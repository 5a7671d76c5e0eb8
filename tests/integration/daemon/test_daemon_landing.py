"""Landing under fire: whatever ends a worker then, the store and the user's tree agree."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from daemon_kit import WORKER, Daemonlet, create, daemonlet, finish, own_valkey

from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.errors import RpcError

LANDED_FILE = "src/new.py"


class Gate:
    """Holds a landing at one of its steps until the test lets it go."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.opened = threading.Event()

    def __call__(self, step: str) -> None:
        if step == self._step:
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self.opened.wait(20)


@contextmanager
def gate(d: Daemonlet, step: str) -> Iterator[Gate]:
    made = Gate(step)
    d.fault.append(made)
    try:
        yield made
    finally:
        made.opened.set()
        d.fault.remove(made)


async def asked(d: Daemonlet, method: str, **params: object) -> dict[str, object]:
    """Ask the daemon's own request handler."""
    return dict(await d.requests.answer(method, params))


async def test_a_task_runs_from_claim_to_done(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, checks={"t": "true"}) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], [finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        assert (d.root / LANDED_FILE).read_bytes() == b"Y = 2\n"
        assert (await d.task("t")).files == (LANDED_FILE,)


async def test_a_worker_killed_while_it_lands_still_says_done(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            with gate(d, "swap 0") as held:
                await held.reached.wait()
                assert d.fleet.kill(WORKER.name)
                assert d.fleet.kill(WORKER.name), "a second kill does not tear it either"
                await asyncio.sleep(0)
            stopped = await d.wait_for(EventKind.WORKER_STOPPED)
            assert stopped.worker == WORKER.name
            assert (await d.task("t")).state is TaskState.DONE
        assert (d.root / LANDED_FILE).exists()


async def test_a_task_that_lands_is_not_cancelled_under_its_files(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working(), asyncio.TaskGroup() as group:
            with gate(d, "swap 0") as held:
                await held.reached.wait()
                cancelling = group.create_task(_refusal(d, "cancel", id="t"))
                await asyncio.sleep(0.05)
            assert "done" in await cancelling
        assert (await d.task("t")).state is TaskState.DONE
        assert (d.root / LANDED_FILE).exists()


async def test_a_cancelled_task_never_lands(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thinking = asyncio.Event()

        async def long_thought() -> list[dict[str, object]]:
            thinking.set()
            await asyncio.Event().wait()
            return []

        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], long_thought]
        await d.load("t")
        async with d.working():
            await thinking.wait()
            assert (await asked(d, "cancel", id="t"))["state"] == "cancelled"
            await d.idle()
        assert (await d.task("t")).state is TaskState.CANCELLED
        assert not (d.root / LANDED_FILE).exists()
        assert str(EventKind.TASK_REQUEUED) not in d.kinds("t")


async def test_files_that_landed_just_before_the_daemon_died_are_not_cancelled_but_can_be_undone(
    valkey_url: str, project_id: ProjectId
) -> None:
    """The landing is in the journal, `done` is not in the store."""
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        await d.store.client.hset(d.store.keys.task("t"), "state", "queued")
        assert "landed" in await _refusal(d, "cancel", id="t")
        answer = await asked(d, "undo", id="t")
        assert answer["restored"] == [LANDED_FILE]
        assert not (d.root / LANDED_FILE).exists()


async def test_a_landing_whose_last_word_the_store_missed_is_told_by_the_next_claim() -> None:
    """The store dies between the swap and `done`, on the task's last attempt."""
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p"), attempts=1) as d:
            d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
            await d.load("t")
            async with d.working():
                with gate(d, "settle") as held:
                    await held.reached.wait()
                    valkey.kill()
                await d.idle()
                assert (d.root / LANDED_FILE).exists()
                await asyncio.to_thread(valkey.start)
                await d.wait_until("t", TaskState.DONE)
            assert (await d.task("t")).files == (LANDED_FILE,)
            assert d.model.asked == ["t"], "the work was not done twice"


@pytest.mark.parametrize("state", ["running", "checking"])
async def test_a_lease_lost_before_landing_lands_nothing(
    state: str, valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks={"wait": "sleep 0.3"}) as d:

        async def lose_lease() -> list[dict[str, object]]:
            if state == "running":
                await d.store.client.delete(d.store.keys.of("lease"))
            return [finish()]

        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], lose_lease]
        await d.load("t")
        async with d.working():
            if state == "checking":
                await d.wait_for(EventKind.TASK_CHECKING, "t")
                await d.store.client.delete(d.store.keys.of("lease"))
            else:
                await d.wait_for(EventKind.TASK_CLAIMED, "t")
            await d.idle()
            assert not (d.root / LANDED_FILE).exists()
            assert str(EventKind.WORKER_CRASHED) not in [str(each.kind) for each in d.hub.recent]


async def _refusal(d: Daemonlet, method: str, **params: object) -> str:
    with pytest.raises(RpcError) as refused:
        await d.requests.answer(method, params)
    return refused.value.message


async def test_the_same_checks_failing_twice_alike_end_the_attempt(
    valkey_url: str, project_id: ProjectId
) -> None:
    checks = {"tests": "cat src/note; echo took $RANDOM.5s; false"}
    async with daemonlet(valkey_url, project_id, checks=checks, attempts=1) as d:
        d.model.turns["t"] = [
            [create("src/note", "error: one\n"), finish()],
            [create("src/note", "error: two\n"), finish()],
            [finish()],
            [finish()],
        ]
        await d.load("t")
        async with d.working():
            task = await d.wait_until("t", TaskState.FAILED)
        assert "failed twice alike: tests" in task.why
        # Another failure is another try; the times in the output make no difference.
        assert d.model.asked == ["t"] * 3
        assert not (d.root / "src/note").exists()
