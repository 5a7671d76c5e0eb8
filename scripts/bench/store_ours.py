"""Measures our store with everything on: priorities, tags, needs, leases, fencing, events, 1 KB bodies.

One process runs the store and its workers, as the daemon does. Each task is claimed, told to the event
log, done and told again; the log is written by a loop of its own, as the daemon's hub does it.
Deliberately absent: a judgement; `bench_store.py` draws the ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.synchronize import Event as SharedFlag
from pathlib import Path

from store_server import BenchServer, bench_server

from agentcoord.clock import SystemClock
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role, WorkerSpec, worker_of
from agentcoord.store import Store, unix_url

PROJECT = ProjectId("bench")
TAGS = ("backend", "docs", "testing")
GAP_S = 0.01
WARM_UP = 10
_LOADED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Throughput:
    """What emptying a queue gave."""

    tasks_per_s: float
    calls_per_task: float
    """Scripts, those that write the event log included."""
    server_us_per_task: float
    """Server time of the dispatcher's scripts."""


@dataclass(slots=True)
class EventSink:
    """Gathers events and writes what has gathered in one call, as the daemon's hub does."""

    store: Store
    waiting: deque[Event] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, kind: EventKind, task: TaskId, worker: WorkerSpec) -> None:
        self.waiting.append(Event(kind, self.store.queue.clock.now_ms(), task, worker.name))
        self.wake.set()

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            batch = list(self.waiting)
            self.waiting.clear()
            await self.store.events.append(batch)


def specs(count: int, prose: str, *, tags: Sequence[Sequence[str]] = ()) -> list[TaskSpec]:
    """Five priorities, three tag sets, and one task in ten that needs the one before it."""
    tag_sets = tags or [(tag,) for tag in TAGS]
    return [
        TaskSpec(
            id=TaskId(f"t{i}"),
            title=f"Task {i}",
            description=prose[(i * 977) % (len(prose) - 1000) :][:1000],
            priority=1 + i % 5,
            tags=tuple(tag_sets[i % len(tag_sets)]),
            needs=(TaskId(f"t{i - 1}"),) if i % 10 == 9 else (),
        )
        for i in range(count)
    ]


@contextlib.asynccontextmanager
async def opened(server: BenchServer, lease_ms: int = 60_000) -> AsyncIterator[Store]:
    url = unix_url(str(server.socket_path))
    async with Store.open(url, PROJECT, clock=SystemClock(), lease_ms=lease_ms) as store:
        yield store


async def empty_the_queue(server: BenchServer, store: Store, *, workers: int, tasks: int) -> Throughput:
    """Let `workers` do `tasks` tasks, and measure from the first to the last."""
    sink, left, over = EventSink(store), tasks, asyncio.Event()

    def completed(task: TaskId, me: WorkerSpec) -> None:
        nonlocal left
        sink.emit(EventKind.TASK_DONE, task, me)
        left -= 1
        if left == 0:
            over.set()

    async def work(number: int) -> None:
        me = worker_of(f"Worker-{number}", Role.BACKEND_ENGINEER, TAGS)
        claim = await store.queue.claim(me)
        while True:
            sink.emit(EventKind.TASK_CLAIMED, claim.task.id, me)
            claim = await store.queue.complete_and_claim(
                claim,
                (),
                me,
                current=TaskState.RUNNING,
                on_completed=partial(completed, claim.task.id, me),
            )

    server.reset_statistics()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(work(number)) for number in range(workers)]
        running.append(group.create_task(sink.run()))
        await over.wait()
        took_s = time.perf_counter() - began
        for task in running:
            task.cancel()
    calls = server.calls()
    scripts, script_us = calls["evalsha"]
    return Throughput(tasks / took_s, scripts / tasks, script_us / tasks)


def throughput(kind: str, prose: str, *, workers: int, tasks: int) -> Throughput:
    """Tasks a second of a fresh queue that the workers empty."""

    async def measure(server: BenchServer) -> Throughput:
        async with opened(server) as store:
            await store.queue.load(specs(tasks, prose))
            return await empty_the_queue(server, store, workers=workers, tasks=tasks)

    with bench_server(kind) as server:
        return asyncio.run(measure(server))


def depth(
    kind: str, prose: str, *, queued: int, rounds: int, blocked: int = 0, strangers: int = 0
) -> tuple[float, float]:
    """Microseconds of the server a task, six workers: with 1,000 ready tasks, and with `queued`.

    Besides the many, `blocked` tasks wait for one that nobody may do, and `strangers` tag sets, with a
    hundred tasks each, are covered by no worker. Medians of `rounds`, in each of which either server, the
    one with few and the one with many, has a thousand tasks done: the machine's speed drifts.
    """

    async def measure(few: BenchServer, many: BenchServer) -> tuple[float, float]:
        async with opened(few) as small, opened(many) as deep:
            for start in range(0, queued, _LOADED_AT_ONCE):
                await deep.queue.load(_piece(start, min(_LOADED_AT_ONCE, queued - start), prose))
            await deep.queue.load([TaskSpec(TaskId("never"), "Never", tags=("nobody",))])
            await _load_what_nobody_may_do(deep, blocked, strangers)
            costs: list[tuple[float, float]] = []
            for number in range(rounds):
                await small.queue.load(_piece(number * 1000, 1000, prose))
                of_few = await empty_the_queue(few, small, workers=6, tasks=1000)
                of_many = await empty_the_queue(many, deep, workers=6, tasks=1000)
                costs.append((of_few.server_us_per_task, of_many.server_us_per_task))
        return statistics.median(each[0] for each in costs), statistics.median(each[1] for each in costs)

    with bench_server(kind) as few, bench_server(kind) as many:
        return asyncio.run(measure(few, many))


async def _load_what_nobody_may_do(store: Store, blocked: int, strangers: int) -> None:
    needs = (TaskId("never"),)
    for start in range(0, blocked, _LOADED_AT_ONCE):
        await store.queue.load(
            [
                TaskSpec(TaskId(f"blocked{i}"), "Blocked", tags=("docs",), needs=needs, priority=5)
                for i in range(start, min(start + _LOADED_AT_ONCE, blocked))
            ]
        )
    await store.queue.load(
        [
            TaskSpec(TaskId(f"strange{i}"), "Strange", tags=(f"strange{i % strangers}",), priority=5)
            for i in range(strangers * 100)
        ]
    )


def _piece(start: int, count: int, prose: str) -> list[TaskSpec]:
    return [
        TaskSpec(
            id=TaskId(f"t{i}"),
            title=f"Task {i}",
            description=prose[(i * 977) % (len(prose) - 1000) :][:1000],
            priority=1 + i % 5,
            tags=(TAGS[i % 3],),
        )
        for i in range(start, start + count)
    ]


def bytes_per_task(kind: str, texts: Sequence[str]) -> float:
    """Memory of a queued task, each with one of `texts` as its description."""

    async def measure(server: BenchServer) -> float:
        async with opened(server) as store:
            before = server.used_bytes()
            await store.queue.load(
                [
                    TaskSpec(TaskId(f"t{i}"), f"Task {i}", text, tags=(TAGS[i % 3],))
                    for i, text in enumerate(texts)
                ]
            )
            return (server.used_bytes() - before) / len(texts)

    with bench_server(kind) as server:
        return asyncio.run(measure(server))


def idle_reads_per_s(kind: str, *, seconds: float) -> float:
    """Reads of the server while six workers wait and the daemon looks for what falls due every 30 s."""

    async def measure(server: BenchServer) -> float:
        async with opened(server) as store, asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(store.queue.claim(worker_of(f"W{i}", Role.BACKEND_ENGINEER, TAGS)))
                for i in range(6)
            ]
            await store.queue.next_due_ms()  # So that the connection for it is there, as it is all night.
            await asyncio.sleep(0.2)
            server.reset_statistics()
            await store.queue.next_due_ms()
            await asyncio.sleep(seconds)
            reads = server.reads() - 1  # The question itself.
            for one in waiting:
                one.cancel()
            return reads / seconds

    with bench_server(kind) as server:
        return asyncio.run(measure(server))


class _Bare(asyncio.Protocol):
    """Nothing but bytes: what no client of an idle server can be faster than in Python."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.set()


def round_trip_ms(kind: str, *, samples: int) -> list[float]:
    """A PING on a bare connection, as far apart as the pick-ups, sorted: the floor under them."""

    async def measure(server: BenchServer) -> list[float]:
        delays: list[float] = []
        loop = asyncio.get_running_loop()
        transport, bare = await loop.create_unix_connection(_Bare, str(server.socket_path))
        for _ in range(WARM_UP + samples):
            await asyncio.sleep(GAP_S)
            bare.heard.clear()
            began_ns = time.monotonic_ns()
            transport.write(b"PING\r\n")
            await bare.heard.wait()
            delays.append((time.monotonic_ns() - began_ns) / 1e6)
        transport.close()
        return sorted(delays[WARM_UP:])

    with bench_server(kind) as server:
        return asyncio.run(measure(server))


def pickup_ms(kind: str, *, samples: int, from_outside: bool) -> list[float]:
    """Delay from the enqueue to an idle worker, sorted; `from_outside`: another process asks for it.

    Another process never writes to Redis by itself: it tells the daemon over a Unix socket, which loads
    the task and wakes its worker. The measurement takes the same way.
    """

    async def measure(server: BenchServer) -> list[float]:
        delays: list[float] = []
        heard = asyncio.Event()
        async with opened(server) as store, asyncio.TaskGroup() as group:

            async def work() -> None:
                me = worker_of("Idle", Role.BACKEND_ENGINEER, TAGS)
                claim = await store.queue.claim(me)
                while True:
                    delays.append((time.monotonic_ns() - int(claim.task.spec.title)) / 1e6)
                    heard.set()
                    claim = await store.queue.complete_and_claim(claim, (), me, current=TaskState.RUNNING)

            async def enqueue(number: int, sent_ns: int) -> None:
                await store.queue.load([TaskSpec(TaskId(f"t{number}"), str(sent_ns), tags=("docs",))])

            working = group.create_task(work())
            if from_outside:
                await _serve_enqueues(enqueue, WARM_UP + samples)
            else:
                for number in range(WARM_UP + samples):
                    await asyncio.sleep(GAP_S)
                    await enqueue(number, time.monotonic_ns())
            while len(delays) < WARM_UP + samples:
                heard.clear()
                await heard.wait()
            working.cancel()
        return sorted(delays[WARM_UP:])

    with bench_server(kind) as server:
        return asyncio.run(measure(server))


async def _serve_enqueues(enqueue: Callable[[int, int], Awaitable[None]], count: int) -> None:
    number, all_in = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        while line := await reader.readline():
            await enqueue(number, json.loads(line)["sent_ns"])
            number += 1
            if number == count:
                all_in.set()
        writer.close()

    with tempfile.TemporaryDirectory(prefix="ac-bench-") as folder:
        path = Path(folder) / "daemon.sock"
        server = await asyncio.start_unix_server(serve, path)
        other = multiprocessing.get_context("spawn").Process(target=_ask_from_outside, args=(path, count))
        other.start()
        await all_in.wait()
        server.close()
        await asyncio.to_thread(other.join)


def _ask_from_outside(path: Path, count: int) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(path))
        for _ in range(count):
            time.sleep(GAP_S)
            connection.sendall(json.dumps({"sent_ns": time.monotonic_ns()}).encode() + b"\n")


def recovery_s(kind: str, *, lease_ms: int, same_daemon: bool) -> float:
    """From `kill -9` of a process that holds six tasks until another holds them all."""

    async def take_over(server: BenchServer, killed_at: float) -> float:
        async with opened(server, lease_ms) as store:
            workers = [worker_of(f"W{i}", Role.BACKEND_ENGINEER, TAGS) for i in range(6)]
            async with asyncio.TaskGroup() as group:
                claims = [group.create_task(store.queue.claim(worker)) for worker in workers]
                if same_daemon:
                    await store.queue.release_all_leases(why="the daemon was killed")
                while not all(claim.done() for claim in claims):
                    due_ms = await store.queue.next_due_ms()
                    wait_s = max(((due_ms or 0) - time.time_ns() // 1_000_000) / 1000, 0.001)
                    await asyncio.wait(claims, timeout=wait_s)
                    await store.queue.reap()
            return time.monotonic() - killed_at

    with bench_server(kind) as server:
        context = multiprocessing.get_context("spawn")
        holds = context.Event()
        holder = context.Process(target=_hold_six, args=(str(server.socket_path), lease_ms, holds))
        holder.start()
        holds.wait()
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        holder.join()
        return asyncio.run(take_over(server, killed_at))


def _hold_six(socket_path: str, lease_ms: int, holds: SharedFlag) -> None:
    async def hold() -> None:
        async with Store.open(
            unix_url(socket_path), PROJECT, clock=SystemClock(), lease_ms=lease_ms
        ) as store:
            await store.queue.load([TaskSpec(TaskId(f"t{i}"), "Held", tags=("docs",)) for i in range(6)])
            for i in range(6):
                await store.queue.claim(worker_of(f"Lost{i}", Role.BACKEND_ENGINEER, TAGS))
            holds.set()
            await asyncio.Event().wait()

    asyncio.run(hold())
