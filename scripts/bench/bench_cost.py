#!/usr/bin/env python3
"""What a task costs, and how much of its prompt comes from the cache: our loop against two others.

Six workers of one project play the same thirty-turn conversations (about 8,000 tokens of prefix and
2,400 a turn) against the rehearsal server, whose cache follows the documented rules and whose books
have prices of their own. The others: no caching at all; a naive loop with the full history and one
breakpoint, once at the end of the system prompt and once at the end of everything. In the second
table the tests of turn 15 take six minutes, so that every mark of five minutes is lost.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from agent_kit import (
    UNLIMITED,
    FixedShell,
    OneBreakpoint,
    OpenLedger,
    agent_loop,
    conversation,
    opened_model,
    paid_model,
    play,
    prose,
    without_proxies,
)

from agentcoord.llm.api import Model
from agentcoord.llm.rehearsal import serve
from agentcoord.llm.rehearsal.books import Books

TURNS = 30
SAID_TOKENS = 300
RESULT_TOKENS = 2_050
INSTRUCTION_TOKENS = 5_300
WORKERS = 6
LONG_TEST_S = 360.0
LEAST_CACHED = 0.90
WAYS = ("ours", "no caching", "one mark, system", "one mark, end")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Transcripts are synced to the disk after each step, which takes time and costs no token."""
MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5")


@dataclass(slots=True)
class JumpingClock:
    """Real time, which the bench moves on when a test run is said to be long."""

    ahead_s: float = 0.0

    def now_ms(self) -> int:
        return round((time.time() + self.ahead_s) * 1_000)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Figures:
    """One way's sums over all workers."""

    prompt_tokens: int
    cached_tokens: int
    usd: float
    booked_usd: float

    @property
    def cached(self) -> float:
        return self.cached_tokens / self.prompt_tokens

    @classmethod
    def of(cls, books: Books, booked_usd_micros: int) -> Figures:
        return cls(
            prompt_tokens=sum(record.prompt.prompt_tokens for record in books.records),
            cached_tokens=sum(record.prompt.cache_read_tokens for record in books.records),
            usd=books.total_usd_micros / 1e6,
            booked_usd=booked_usd_micros / 1e6,
        )


async def measure(way: str, model_name: str, *, workers: int, long_test: bool) -> Figures:
    """Play all conversations one way, one worker after the other with the cache in common."""
    clock, ledger = JumpingClock(), OpenLedger()
    scripts = {f"t{n}": conversation(f"t{n}", TURNS, SAID_TOKENS) for n in range(workers)}

    def run_tests(command: str) -> None:
        if long_test and command.startswith("step 15 "):
            clock.ahead_s += LONG_TEST_S

    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with (
            serve(scripts, options=UNLIMITED, clock=clock) as server,
            opened_model(server.base_url, caching=way == "ours") as plain,
        ):
            model: Model = plain
            if way.startswith("one mark"):
                model = OneBreakpoint(plain, at_the_end=way.endswith("end"))
            paid = paid_model(model, ledger, workers=workers)
            for task in scripts:
                shell = FixedShell(prose(RESULT_TOKENS), run_tests)
                loop = agent_loop(
                    paid, task, Path(folder), shell, model=model_name, instructions=prose(INSTRUCTION_TOKENS)
                )
                await play(loop)
            return Figures.of(server.books, ledger.spent_usd_micros)


def main() -> int:
    without_proxies()
    held = True
    for long_test in (False, True):
        tools = "one test run of six minutes" if long_test else "short tools"
        print(f"\n{tools}, {WORKERS} tasks of {TURNS} turns")
        print("model             way                     prompt   cached  server $  booked $  to ours")
        for model in MODELS:
            ours: Figures | None = None
            for way in WAYS:
                found = asyncio.run(measure(way, model, workers=WORKERS, long_test=long_test))
                ours = ours or found
                print(
                    f"{model:<18}{way:<18}{found.prompt_tokens:>12,}{found.cached:>9.1%}"
                    f"{found.usd:>10.4f}{found.booked_usd:>10.4f}{found.usd / ours.usd:>8.2f}x"
                )
                held = held and found.booked_usd >= found.usd - 1e-9
            assert ours is not None
            held = held and (long_test or ours.cached >= LEAST_CACHED)
    alone = asyncio.run(measure("ours", MODELS[0], workers=1, long_test=False))
    print(f"\none task alone, {TURNS} turns: {alone.cached:.1%} of its prompt tokens read from cache")
    held = held and alone.cached >= LEAST_CACHED
    print("held: at least 90 % cached, and no book below the server's" if held else "NOT HELD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
