#!/usr/bin/env python3
"""What the sandbox adds to a command: bubblewrap against the same command without a sandbox.

Three commands: one that does nothing, one that starts Python, and half a second of work. Each is run in turn
in the sandbox, by our runner without one, and as a bare subprocess, so that load on the machine meets all
three alike. Medians, their difference and their ratio, and the difference of the fastest runs, which is
what an idle machine would show; the sandbox was probed before and is not part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from agentcoord.clock import SystemClock
from agentcoord.sandbox import Limits, Policy, Sandbox, choose_sandbox
from agentcoord.sandbox.plain import unconfined_sandbox

COMMANDS = {
    "nothing": "true",
    "python starts": "python3 -c pass",
    "half a second of work": "python3 -c 'sum(range(12_000_000))'",
}
BOUND_MS = 25.0
BASH = Path("/bin/bash")
PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def in_sandbox(sandbox: Sandbox, command: str, workspace: Path) -> Callable[[], Awaitable[None]]:
    policy, limits = Policy(workspace=workspace, mount_at=workspace), Limits(timeout_s=60.0)

    async def run() -> None:
        result = await sandbox.run(command, policy, limits)
        assert result.exit_code == 0, result.output

    return run


def bare(command: str, workspace: Path) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            *(str(BASH), "-c", command), cwd=workspace, env=PATH, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0

    return run


async def main(runs: int) -> int:
    clock = SystemClock()
    confined = await choose_sandbox(unsafe=False, clock=clock)
    report = await confined.probe()
    if not report.ok:
        print(f"no sandbox works here: {'; '.join(report.reasons)}; fix: {report.mend}", file=sys.stderr)
        return 1
    print(f"{report.version or report.backend}, {runs} runs of each, medians in ms\n")
    print("| command | bare | without sandbox | in the sandbox | adds | ratio | adds, fastest |")
    print("|---|---|---|---|---|---|---|")
    added: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="agentcoord-bench-") as name:
        for label, command in COMMANDS.items():
            ways = (
                bare(command, Path(name)),
                in_sandbox(unconfined_sandbox(BASH, clock=clock), command, Path(name)),
                in_sandbox(confined, command, Path(name)),
            )
            took: list[list[float]] = [[], [], []]
            for turn in range(runs + 2):
                for figures, way in zip(took, ways, strict=True):
                    begun = time.perf_counter()
                    await way()
                    if turn > 1:  # The first ones fill the caches.
                        figures.append((time.perf_counter() - begun) * 1_000)
            bare_ms, plain_ms, sandbox_ms = (statistics.median(figures) for figures in took)
            added[label] = sandbox_ms - plain_ms
            print(
                f"| {label} | {bare_ms:.1f} | {plain_ms:.1f} | {sandbox_ms:.1f} | {added[label]:.1f} "
                f"| {sandbox_ms / plain_ms:.2f} | {min(took[2]) - min(took[1]):.1f} |",
                flush=True,
            )
    worst = max(added.values())
    print(f"\nThe sandbox adds {worst:.1f} ms at most; the bound is {BOUND_MS:.0f} ms.")
    return 0 if worst <= BOUND_MS else 1


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=40)
    sys.exit(asyncio.run(main(arguments.parse_args().runs)))
