"""Fakes of what the llm room does not own: time, the model, and the ledger."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import CapUnit, Usage, UsdMicros
from agentcoord.errors import LlmError
from agentcoord.llm.api import Progress, StopReason, Turn, TurnRequest


async def settle_loop() -> None:
    """Let everything that can run now run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class ManualClock:
    """Time that moves only when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        return 1_795_000_000_000 + round(self.now_s * 1_000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now_s + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers in order."""
        await settle_loop()
        target = self.now_s + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            at, _, future = heapq.heappop(self._sleepers)
            self.now_s = max(self.now_s, at)
            if not future.done():
                future.set_result(None)
            await settle_loop()
        self.now_s = target
        await settle_loop()


class JumpingClock(ManualClock):
    """Time that jumps over every sleep: for one worker at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Refused:
    """What the ledger says when a cap is in the way."""

    scope: str
    cap: int
    spent: int
    reserved: int
    unit: CapUnit = CapUnit.USD_MICROS


class FakeLedger:
    """A ledger in memory with a cap on money and one on tokens, that insists on each reservation being
    closed once."""

    def __init__(self, cap: int = 1_000_000_000, *, token_cap: int = 1_000_000_000) -> None:
        self.cap = cap
        self.token_cap = token_cap
        self.spent = 0
        self.tokens_spent = 0
        self.open: dict[str, int] = {}
        self.open_tokens: dict[str, int] = {}
        self.started: set[str] = set()
        self.closed: list[str] = []
        self.settled: list[tuple[str, int, Usage, str]] = []
        self.reserved: list[int] = []
        self.seen: list[dict[str, Any]] = []
        self.when_sent: dict[str, tuple[int, int]] = {}
        """What a reservation says that it may have cost, in money and tokens, if nobody closes it."""
        self.hold: asyncio.Event | None = None
        """When set, settle waits for it."""
        self.tells_reserved = True
        """Whether a refusal says how much others have reserved."""
        self.most_committed = 0

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        tokens: int,
        caps: Any,
        worker: str,
        sent_amount: UsdMicros,
        sent_tokens: int,
    ) -> Refused | None:
        assert reservation not in self.open
        assert sent_amount <= amount
        assert sent_tokens <= tokens
        self.when_sent[reservation] = (sent_amount, sent_tokens)
        self.seen.append({"run": run, "task": task, "worker": worker, "day": day, "caps": caps})
        committed = self.spent + sum(self.open.values())
        if committed + amount > self.cap:
            told = committed - self.spent if self.tells_reserved else 0
            return Refused("run", self.cap, self.spent, told)
        tokens_reserved = sum(self.open_tokens.values())
        if self.tokens_spent + tokens_reserved + tokens > self.token_cap:
            return Refused("task", self.token_cap, self.tokens_spent, tokens_reserved, CapUnit.TOKENS)
        self.open[reservation] = amount
        self.open_tokens[reservation] = tokens
        self.most_committed = max(self.most_committed, committed + amount)
        self.reserved.append(amount)
        return None

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        assert reservation in self.open
        del self.open[reservation]
        assert usage.total_tokens <= self.open_tokens.pop(reservation)
        self.closed.append(reservation)
        self.spent += actual
        self.tokens_spent += usage.total_tokens
        self.most_committed = max(self.most_committed, self.spent + sum(self.open.values()))
        self.settled.append((reservation, actual, usage, model))

    async def release(self, reservation: str) -> None:
        self.open.pop(reservation, None)
        self.open_tokens.pop(reservation, None)
        self.closed.append(reservation)

    async def mark_started(self, reservation: str) -> None:
        assert reservation in self.open
        self.started.add(reservation)


STARTED = Usage(input_tokens=100, output_tokens=1)
"""What `message_start` tells, unless a test says otherwise."""


@dataclass
class Step:
    """One call of the fake model: what it shows, and how it ends."""

    starts: bool = True
    usage: Usage = STARTED
    output_chars: int = 0
    ends: Turn | LlmError | Exception | None = None
    """None: a plain end of turn."""
    waits: Callable[[], Awaitable[None]] | None = None
    """Awaited before it ends."""
    sends: bool = False
    """Whether the request went out and was not refused, also when nothing started."""


class FakeModel:
    """A model that plays steps; the last one again and again."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps or (Step(),)
        self.requests: list[TurnRequest] = []

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        step = self.steps[min(len(self.requests), len(self.steps) - 1)]
        self.requests.append(request)
        progress.sent = step.sends
        if step.starts:
            progress.usage = step.usage
            progress.started = True
            if progress.on_start is not None:
                await progress.on_start()
            progress.output_chars = progress.output_bytes = step.output_chars
        if step.waits is not None:
            await step.waits()
        if isinstance(step.ends, Exception):
            raise step.ends
        if isinstance(step.ends, Turn):
            usage = step.ends.usage
            return turn(replace(usage, output_tokens=min(usage.output_tokens, request.max_tokens)))
        return turn()


def turn(usage: Usage | None = None) -> Turn:
    """A plain end of turn."""
    content = ({"type": "text", "text": "Done."},)
    return Turn(
        content, StopReason.END_TURN, usage or Usage(input_tokens=100, output_tokens=20), "claude-sonnet-5-5"
    )


def request(
    max_tokens: int = 8_000, model: str = "claude-sonnet-5-5", text: str = "Task id: t1"
) -> TurnRequest:
    """A small request."""
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    return TurnRequest(model, [{"type": "text", "text": "You are careful."}], [message], [], max_tokens)
