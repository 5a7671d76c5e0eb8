#!/usr/bin/env python3
"""What our loop costs beside the model: CPU a turn, memory a worker, and the longest block.

Our loop (governor, reservation, durable transcript, tools, live text) and a bare loop over the SDK's own
stream play the same conversations against the same rehearsal server, which is a process of its own. Each
measurement is a process of its own too, so that none inherits another's memory. All workers share one
event loop. The bare loop keeps its history in a list and does nothing else.

A measurement ends when all conversations have, or at its deadline: what is told of a turn is told of the
turns that were complete by then, and how many they were is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent_kit import (
    FixedShell,
    OpenLedger,
    agent_loop,
    opened_model,
    paid_model,
    play,
    prose,
    without_proxies,
)

MODEL = "claude-haiku-5-5"
TURNS = 10
SAID_TOKENS = 300
RESULT_TOKENS = 1_000
INSTRUCTION_TOKENS = 3_000
FLEETS = {6: TURNS, 60: TURNS, 600: 4}
"""How many turns each fleet's workers take."""
DEADLINE_S = 150.0
"""Of one measurement."""
MOST_RATIO = 1.25
TICK_S = 0.005
SYSTEM = [{"type": "text", "text": prose(INSTRUCTION_TOKENS + 1_500)}]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process measured."""

    cpu_ms_a_turn: float
    kib_a_worker: float
    longest_block_ms: float
    wall_s: float
    turns: int
    """Complete ones."""
    longest_step_ms: float
    """Processor time of the event loop's longest single step."""
    longest_step: str


class BlockMeter:
    """How late the event loop comes to a task that wants to run every few milliseconds, and how much
    processor time its longest single step took, which a busy machine does not change."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.longest_step_s = 0.0
        self.longest_step = ""

    @contextlib.contextmanager
    def every_step(self) -> Iterator[None]:
        """Time each callback that the event loop runs inside the block."""
        plain = asyncio.Handle._run  # noqa: SLF001 - there is no other place to measure

        def timed(handle: Any) -> None:
            begun = time.thread_time()
            plain(handle)
            took = time.thread_time() - begun
            if took > self.longest_step_s:
                self.longest_step_s, self.longest_step = took, repr(handle)

        asyncio.Handle._run = timed  # type: ignore[assignment,method-assign]  # noqa: SLF001 - as above
        try:
            yield
        finally:
            asyncio.Handle._run = plain  # type: ignore[method-assign]  # noqa: SLF001 - as it was

    async def run(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - due)


async def run_ours(base_url: str, workers: int, turns: int, folder: Path, told: Callable[[], None]) -> None:
    async with opened_model(base_url, caching=True) as model:
        paid = paid_model(model, OpenLedger(on_settled=told), workers=workers)
        shell, instructions = FixedShell(prose(RESULT_TOKENS)), prose(INSTRUCTION_TOKENS)
        async with asyncio.TaskGroup() as group:
            for n in range(workers):
                loop = agent_loop(paid, f"t{n}", folder, shell, model=MODEL, instructions=instructions)
                group.create_task(play(loop))


async def run_bare(base_url: str, workers: int, turns: int, folder: Path, told: Callable[[], None]) -> None:
    import anthropic
    import httpx2

    from agentcoord.agent.tools.registry import tool_definitions

    tools: Any = tool_definitions(custom=False)
    # As many connections as ours: the SDK's own client allows a thousand.
    async with anthropic.AsyncAnthropic(
        api_key="bench",
        base_url=base_url,
        max_retries=0,
        timeout=600.0,
        http_client=httpx2.AsyncClient(trust_env=False, limits=anthropic.DEFAULT_CONNECTION_LIMITS),
    ) as client:

        async def converse(n: int) -> None:
            first = {"role": "user", "content": [{"type": "text", "text": f"Task id: t{n}\n{prose(400)}"}]}
            messages: list[Any] = [first]
            for _ in range(turns):
                system: Any = [{**SYSTEM[0], "cache_control": {"type": "ephemeral"}}]
                async with client.messages.stream(
                    model=MODEL, max_tokens=16_000, system=system, tools=tools, messages=messages
                ) as stream:
                    message = await stream.get_final_message()
                messages.append({"role": "assistant", "content": [b.to_dict() for b in message.content]})
                results = [
                    {"type": "tool_result", "tool_use_id": block.id, "content": prose(RESULT_TOKENS)}
                    for block in message.content
                    if block.type == "tool_use"
                ]
                messages.append({"role": "user", "content": results})
                told()

        async with asyncio.TaskGroup() as group:
            for n in range(workers):
                group.create_task(converse(n))


async def measure(way: str, base_url: str, workers: int, turns: int) -> Figures:
    """Warm up with one conversation, then measure a fleet."""
    run = run_ours if way == "ours" else run_bare
    with tempfile.TemporaryDirectory() as warm:
        await run(base_url, 1, turns, Path(warm), lambda: None)
    gc.collect()
    if way == "ours":
        gc.freeze()  # As the daemon does when it has begun.
    meter = BlockMeter()
    complete: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        rss_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu, wall = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(meter.run())
            with contextlib.suppress(TimeoutError), meter.every_step():
                async with asyncio.timeout(DEADLINE_S):
                    await run(base_url, workers, turns, Path(folder), lambda: complete.append(1))
            watching.cancel()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before
    done = len(complete)
    cpu_ms = cpu * 1_000 / done if done else math.inf
    return Figures(
        cpu_ms,
        rss / workers,
        meter.longest_s * 1_000,
        wall,
        done,
        meter.longest_step_s * 1_000,
        meter.longest_step,
    )


@contextlib.contextmanager
def rehearsal(scripts: Path) -> Iterator[str]:
    """Run the server, which answers at once and refuses nothing."""
    command = [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", str(scripts)]
    command += ["--latency-scale", "0", "--exit-with-parent", "--requests-per-minute", "10000000"]
    command += ["--tokens-per-minute", "100000000000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.kill()


def write_script(folder: Path, count: int) -> None:
    """One script for every task."""
    words = prose(SAID_TOKENS // 2)
    step = f'[[turn]]\ntext = "{words}"\n[[turn.tool]]\nname = "bash"\n'
    turns = [f'{step}input = {{ command = "step {n} # {words}" }}\n' for n in range(count - 1)]
    turns.append('[[turn]]\n[[turn.tool]]\nname = "finish_task"\ninput = { summary = "Did it." }\n')
    (folder / "all.toml").write_text('task = "*"\n' + "".join(turns))


def measured_apart(way: str, workers: int) -> Figures:
    """Measure in a process of its own, against a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        turns = FLEETS.get(workers, TURNS)
        write_script(Path(folder), turns)
        with rehearsal(Path(folder)) as base_url:
            command = [sys.executable, __file__, "--one", way, str(workers), str(turns), base_url]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Figures(**json.loads(done.stdout))


def main() -> int:
    without_proxies()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("WAY", "WORKERS", "TURNS", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--fleets", type=int, nargs="+", default=tuple(FLEETS))
    args = parser.parse_args()
    if args.one:
        way, workers, turns, base_url = args.one
        print(json.dumps(asdict(asyncio.run(measure(way, base_url, int(workers), int(turns))))))
        return 0
    print(f"{TURNS} turns a worker (600 workers: 4), {RESULT_TOKENS:,} tokens a result")
    print("workers  way   turns  CPU a turn  memory a worker  longest block  a step        wall  CPU to bare")
    held = True
    for workers in args.fleets:
        bare = measured_apart("bare", workers)
        ours = measured_apart("ours", workers)
        for way, found in (("bare", bare), ("ours", ours)):
            ratio = found.cpu_ms_a_turn / bare.cpu_ms_a_turn
            print(
                f"{workers:>7}  {way}  {found.turns:>5}  {found.cpu_ms_a_turn:>7.2f} ms"
                f"  {found.kib_a_worker:>11,.0f} KiB  {found.longest_block_ms:>10.1f} ms"
                f"  {found.longest_step_ms:>5.1f} ms  {found.wall_s:>6.1f} s  {ratio:>10.2f}x",
                flush=True,
            )
        held = held and ours.cpu_ms_a_turn <= MOST_RATIO * bare.cpu_ms_a_turn
    print(
        f"held: at most {MOST_RATIO} times a bare loop" if held else f"NOT HELD: more than {MOST_RATIO} times"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
