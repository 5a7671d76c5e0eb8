"""The loop goes on turning while an answer is due, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agentcoord.store.vigil import IN_VAIN, LEFT_OUT, MOST_S, Vigil


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
        vigil = Vigil(is_due)
        vigil.begin()
        vigil.begin()  # Once more is not twice as often.
        await rounds(20)
        assert asked == [True] * 5 + [False]
        asked.clear()
        vigil.begin()
        await rounds(3)
        assert asked == [True] * 3

    run(work)


def test_it_ends_though_the_answer_does_not_come_and_is_left_out_where_that_is_usual() -> None:
    asked, in_time = 0, False

    def is_due() -> bool:
        nonlocal asked
        asked += 1
        return not in_time

    async def work(loop: HandLoop) -> None:
        nonlocal asked, in_time
        vigil = Vigil(is_due)

        async def asked_in_one() -> int:
            before = asked
            vigil.begin()
            await rounds(2)
            loop.now_s += MOST_S
            await rounds(4)
            return asked - before

        assert [await asked_in_one() for _ in range(IN_VAIN)] == [3] * IN_VAIN
        assert [await asked_in_one() for _ in range(LEFT_OUT)] == [0] * LEFT_OUT
        assert await asked_in_one() == 3, "tried again"
        assert await asked_in_one() == 0
        assert [await asked_in_one() for _ in range(LEFT_OUT - 1)] == [0] * (LEFT_OUT - 1)
        in_time = True
        assert [await asked_in_one() for _ in range(5)] == [1] * 5, "it is worth it now"

    run(work)
