"""What it would bring to send the store's other calls of a moment together, in one pipeline.

`python scripts/bench/bench_coalescing.py [--quick] [--server redis|valkey]`. Each worker makes the calls of a
model's turn (reserve, mark started, settle, book) one after the other, as fast as it can: today's
way, each call alone, and all workers' calls of the moment in one pipeline. Both in turn, medians of five.
The last column is what the calls cost the event loop at a turn every five seconds, which is fast.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis
from store_server import bench_server

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.task import TaskSpec
from agentcoord.store import Store, unix_url
from agentcoord.store.scripts import BATCH, ScriptName, Scripts, load_sources

WORKERS = (6, 60)
TURN_EVERY_S = 5.0
_names = itertools.count()

Run = Callable[..., Awaitable[object]]


@dataclass(slots=True)
class Together:
    """Sends whatever gathered while its last pipeline was under way in the next one."""

    client: Redis
    prefix: str
    shas: dict[ScriptName, str]
    _waiting: list[tuple[ScriptName, tuple[str | int, ...], asyncio.Future[object]]] = field(
        default_factory=list
    )
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, name: ScriptName, *args: str | int) -> object:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, args, answer))
        self._stirred.set()
        return await answer

    async def serve(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            calls, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            async with self.client.pipeline(transaction=False) as pipe:
                for name, args, _ in calls:
                    pipe.evalsha(self.shas[name], 1, self.prefix, *args)
                for (_, _, answer), reply in zip(calls, await pipe.execute(), strict=True):
                    answer.set_result(reply)


async def turn(run: Run, task: TaskId) -> None:
    """The store's calls of one turn of a model."""
    name = f"r{next(_names)}"
    await run(ScriptName.RESERVE, "", name, "run", task, "2026-01-01", 90_000, 6_000_000_000, "", "")
    await run(ScriptName.MARK_STARTED, "", name)
    await run(ScriptName.SETTLE, "", name, 1_000, "model", "input_tokens", 100, "output_tokens", 20)
    await run(ScriptName.BOOK, task, "cost", 1_000, "turns", 1, "input_tokens", 100)


CALLS_A_TURN = 4


async def calls_per_s(run: Run, workers: int, turns: int) -> float:
    async def work(number: int) -> None:
        for _ in range(turns):
            await turn(run, TaskId(f"t{number}"))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(work(number))
    return workers * turns * CALLS_A_TURN / (time.perf_counter() - began)


async def measure(url: str, quick: bool) -> None:
    print(
        "| workers | each alone, calls/s | together, calls/s | ratio | loop time at a turn every 5 s, alone |"
    )
    print("|---|---|---|---|---|")
    async with Store.open(url, ProjectId("bench"), clock=SystemClock()) as store:
        await store.queue.load([TaskSpec(TaskId(f"t{n}"), "t") for n in range(max(WORKERS))])
        alone = Scripts(store.client, store.keys, await load_sources())
        shas = {name: await store.client.script_load(text) for name, text in (await load_sources()).items()}
        together = Together(store.client, store.keys.prefix, shas)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(together.serve())
            for workers in WORKERS:
                turns = (200 if quick else 2_000) // workers + 1
                rates: dict[str, list[float]] = {"alone": [], "together": []}
                for _ in range(1 if quick else 5):
                    rates["alone"].append(await calls_per_s(alone.run, workers, turns))
                    rates["together"].append(await calls_per_s(together.run, workers, turns))
                one, other = (statistics.median(found) for found in rates.values())
                share = workers * CALLS_A_TURN / TURN_EVERY_S / one
                print(f"| {workers} | {one:,.0f} | {other:,.0f} | {other / one:.1f} | {share:.1%} |")
            serving.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, one run")
    parser.add_argument("--server", choices=("redis", "valkey"), default="valkey")
    options = parser.parse_args()
    with bench_server(options.server) as server:
        asyncio.run(measure(unix_url(str(server.socket_path)), options.quick))


if __name__ == "__main__":
    main()
