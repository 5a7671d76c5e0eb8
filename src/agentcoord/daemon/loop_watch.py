"""A thread that notices from outside when the event loop no longer turns.

Separate because everything else in the daemon runs on that loop and would be silent together with it:
heartbeats, events, the control socket. The thread says where the loop is stuck, and after a long while
ends the process, so that locks are freed and the next start goes on. Deliberately absent: short hangs,
which `LoopLag` measures from inside.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

LOOK_EVERY_S = 5.0
TOLD_AFTER_S = 10.0
"""Of silence; then the stack of the loop's thread is logged, once a hang."""
ENDED_AFTER_S = 120.0
"""Of silence; then the process ends. Longer than a lease: its tasks are given up by then."""
STOP_MOST_S = 120.0
"""How long an orderly stop may take, from the first request to the end of the process."""
STUCK_EXIT_CODE = 70

log = structlog.get_logger("loop")


def end_the_process(code: int = STUCK_EXIT_CODE) -> None:
    """Without clean-up: whatever is stuck would be waited for."""
    os._exit(code)


@contextmanager
def watched_loop(
    *,
    look_every_s: float = LOOK_EVERY_S,
    told_after_s: float = TOLD_AFTER_S,
    ended_after_s: float = ENDED_AFTER_S,
    end: Callable[[], None] = end_the_process,
) -> Iterator[None]:
    """Watch the running loop, whose thread calls this, until the block ends."""
    watch = _Watch(asyncio.get_running_loop(), threading.get_ident())
    thread = threading.Thread(
        target=watch.run,
        args=(look_every_s, told_after_s, ended_after_s, end),
        name="loop-watch",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        watch.over.set()


class StopTimer:
    """Ends the process when an orderly stop takes too long, whatever hangs: a thread, a command, a disk."""

    def __init__(
        self, *, stop_most_s: float = STOP_MOST_S, end: Callable[[], None] = end_the_process
    ) -> None:
        self._end = end
        self._timer = threading.Timer(stop_most_s, self._give_up)
        self._timer.daemon = True

    def start(self) -> None:
        """Begin to count; again does nothing."""
        if not self.started:
            self._timer.start()

    @property
    def started(self) -> bool:
        return self._timer.ident is not None

    def cancel(self) -> None:
        """The stop came to its end."""
        self._timer.cancel()

    def _give_up(self) -> None:
        stacks = {
            number: "".join(traceback.format_stack(frame))
            for number, frame in sys._current_frames().items()  # noqa: SLF001 - documented for exactly this
        }
        log.critical("stop_given_up", stacks=stacks)
        self._end()


class _Watch:
    """Asks the loop to show a sign of life, again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        self._loop = loop
        self._loop_thread = loop_thread
        self.over = threading.Event()

    def run(
        self, look_every_s: float, told_after_s: float, ended_after_s: float, end: Callable[[], None]
    ) -> None:
        """Watch until it is over. In the watching thread."""
        while not self.over.is_set():
            answered = threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                return  # The loop is closed.
            self._wait_for(answered, look_every_s, told_after_s, ended_after_s, end)
            self.over.wait(look_every_s)

    def _wait_for(
        self,
        answered: threading.Event,
        look_every_s: float,
        told_after_s: float,
        ended_after_s: float,
        end: Callable[[], None],
    ) -> None:
        asked_at = time.monotonic()
        if answered.wait(told_after_s) or self.over.is_set():
            return
        log.error("loop_stuck", seconds=told_after_s, stack=self._stack())
        # A process that was stopped and goes on may have used up the time without the loop's fault.
        answered.wait(max(ended_after_s - told_after_s, 0.0))
        if not answered.wait(min(look_every_s, 1.0)) and not self.over.is_set():
            log.critical("loop_given_up", seconds=ended_after_s, stack=self._stack())
            end()
            answered.wait()
        log.warning("loop_goes_on", seconds=round(time.monotonic() - asked_at, 1))

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented for exactly this
        return "".join(traceback.format_stack(frame)) if frame else "it has no thread"
