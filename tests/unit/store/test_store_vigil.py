"""The loop goes on turning while an answer is due, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agentcoord.store.vigil import MOST_S, Vigil


class HandLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is moved by hand."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def run(work: Callable[[HandLoop], Coroutine[Any, Any, None]]) -> None:
    loop = HandLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work(loop))


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_loop_turns_until_nothing_is_due_any_more() -> None:
    asked: list[bool] = []

    def is_due() -> bool:
        asked.append(len(asked) < 5)
        return asked[-1]

    async def work(_: HandLoop) -> None:
        vigil = Vigil(is_due, possible=True)
        vigil.begin()
        vigil.begin()  # Once more is not twice as often.
        await rounds(20)
        assert asked == [True] * 5 + [False]
        asked.clear()
        vigil.begin()
        await rounds(3)
        assert asked == [True] * 3

    run(work)


def test_it_ends_though_the_answer_does_not_come() -> None:
    asked = 0

    def is_due() -> bool:
        nonlocal asked
        asked += 1
        return True

    async def work(loop: HandLoop) -> None:
        vigil = Vigil(is_due, possible=True)
        vigil.begin()
        loop.now_s = MOST_S / 2
        await rounds(4)
        loop.now_s = MOST_S
        await rounds(4)
        assert asked == 4
        Vigil(is_due, possible=False).begin()
        await rounds(4)
        assert asked == 4

    run(work)
