"""A client killed at every step of its life: before each question to the server, and before each answer.

Killed before question N is also killed after reading answer N - 1: nothing of it is at the server in
between. So two deaths for each N are all that the server can tell apart, and every one of them is died
here by a real process, with SIGKILL, while a proxy holds what it says or would hear.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fault_proxy import Way, fault_proxy
from life_process import LATER, PLAN
from server_kit import private_folder
from store_kit import ANYBODY, LEASE_MS, HandClock, open_store
from store_observer import observer
from store_watch import Watch

from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.store import Store
from agentcoord.store.keys import Keys

_S = TaskState
LIFE = Path(__file__).with_name("life_process.py")
PARTS = 4
"""The deaths are dealt out to so many tests, which may run at the same time."""
ROUSED = 1
"""How often a life rouses the server, for a task that it adds while it waits: one question with the call that
follows, or one more if the answer was quicker."""


@dataclass
class Lives:
    """The process that forks lives, and the last one's facts."""

    process: asyncio.subprocess.Process
    facts: list[list[str]] = field(default_factory=list)

    async def begin(self, url: str, project: ProjectId) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{url} {project}\n".encode())
        return int((await self._line())[1])

    async def end(self) -> None:
        """Wait until the life is over, however it ended."""
        self.facts = []
        while (fact := await self._line())[0] != "over":
            self.facts.append(fact)

    async def _line(self) -> list[str]:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().split()
        assert line, "the process of lives has ended"
        return line

    def told(self, kind: str) -> list[str]:
        return [word for fact in self.facts if fact[0] == kind for word in fact[1:]]


@asynccontextmanager
async def lives() -> AsyncIterator[Lives]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LIFE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Lives(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    with private_folder() as folder:
        yield folder


async def _live(one: Lives, url: str, project: ProjectId, folder: Path, *, dies: tuple[Way, int]) -> int:
    """Live until that death, or to the end; return how many questions the server was asked."""
    pid = asyncio.get_running_loop().create_future()

    async def gate(way: Way, number: int) -> bool:
        if (way, number) != dies:
            return number < dies[1] or (number == dies[1] and way is Way.QUESTION)
        os.kill(await pid, signal.SIGKILL)
        return False

    async with fault_proxy(url, folder) as (through, proxy):
        proxy.gate = gate
        pid.set_result(await one.begin(through, project))
        async with asyncio.timeout(15):
            await one.end()
        return proxy.questions


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_client_killed_at_any_question_or_answer_loses_nothing_and_leaves_nothing(
    valkey_url: str, folder: Path, part: int
) -> None:
    async with lives() as one:
        for _ in range(2):  # The first life teaches the server its scripts.
            project = ProjectId(f"life-{uuid.uuid4().hex[:10]}")
            questions = await _live(one, valkey_url, project, folder, dies=(Way.QUESTION, 1 << 30))
            assert one.facts[-1] == ["end"]
            await _judge(valkey_url, project, one)
        assert questions > 60
        deaths = [(way, number) for number in range(1, questions + 1) for way in Way]
        for death in deaths[part::PARTS]:
            project = ProjectId(f"life-{uuid.uuid4().hex[:10]}")
            asked = await _live(one, valkey_url, project, folder, dies=death)
            if ["end"] in one.facts:
                assert questions - ROUSED <= asked < death[1], (death, one.facts)
            else:
                assert asked == death[1], (death, one.facts)
            try:
                await _judge(valkey_url, project, one)
            except BaseException as error:
                error.add_note(f"killed before {death[0]} {death[1]}, after {one.facts}")
                raise


async def _judge(url: str, project: ProjectId, one: Lives) -> None:
    """Look from outside, start again as a daemon does, work off what is left, compare with what was told."""
    with observer(url) as client:
        watch = Watch(client, Keys(project).prefix, {"run:r": 100, "day:d": 100, "task:a": 60, "task:c": 60})
        states = watch.look().states
        assert {states[task] for task in one.told("done")} <= {_S.DONE}
        assert set(one.told("loaded")) <= set(states)
        assert set(one.told("cancelled")) <= {task for task, state in states.items() if state == _S.CANCELLED}
        spent = int(client.hget(f"{watch.prefix}spend:run:r", "spent") or 0)
        assert spent in {sum(map(int, one.told("spent"))), sum(map(int, one.told("spent"))) + _next(one)}
        before = {task for task, state in states.items() if state == _S.DONE}
        async with open_store(url, project, HandClock()) as store:
            await _start_again(store)
            watch.look()
            done = await _work_off(store)
            assert before.isdisjoint(done), "a task was done twice"
            assert await store.queue.next_due_ms() is None
            assert await store.ledger.open_reservations() == {}
            await store.locks.release_dead()
            assert await store.locks.holders() == []
            assert await store.events.last_seq() >= max(map(int, one.told("logged")), default=0)
            await _events_tell_a_true_story(store, before | set(done))
            ended = set(watch.look().states.values())
            assert ended <= {_S.DONE, _S.CANCELLED}, ended
            await store.cleanup(everything=True)


def _next(one: Lives) -> int:
    """What the next settlement that was not told of may have booked."""
    return {0: 30, 1: 20}.get(len(one.told("spent")), 0)


async def _start_again(store: Store) -> None:
    await store.queue.release_all_leases(why="the daemon was restarted")
    await store.locks.release_dead()
    await store.ledger.reconcile([])
    await store.queue.load([*PLAN, *LATER[:2]])
    await store.queue.set_paused(False)


async def _work_off(store: Store) -> list[str]:
    """Bring back what waits for a person, and do everything that is left; return what was done."""
    clock = store.queue.clock
    assert isinstance(clock, HandClock)
    clock.time_ms += LEASE_MS
    await store.queue.reap()
    for task in await store.queue.all():
        if task.state in {_S.PARKED, _S.FAILED}:
            await store.queue.retry(task.id)
    done: list[str] = []
    while (await store.queue.counts())[_S.QUEUED]:
        claim = await store.queue.claim(ANYBODY)
        await store.queue.complete(claim, (), current=_S.RUNNING)
        done.append(claim.task.id)
    return done


async def _events_tell_a_true_story(store: Store, done: set[str]) -> None:
    """From the log alone: numbers without holes, tokens that grow, and what is said to be done is."""
    events = await store.events.read(after=0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    tokens = [event.data["token"] for event in events if event.kind is EventKind.TASK_CLAIMED]
    assert tokens == sorted(set(tokens))
    said = [TaskId(event.task or "") for event in events if event.kind is EventKind.TASK_DONE]
    assert len(set(said)) == len(said)
    assert set(said) <= done
