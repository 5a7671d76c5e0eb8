"""Reconnecting: no gap, no duplicate, a growing wait, and a silent daemon is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tui_fakes import EPOCH, FakeDaemon, HandClock, event, refusing, snapshot, task

from agentcoord.errors import WireError
from agentcoord.tui.feed import BACKOFF_S, SILENCE_S, Feed
from agentcoord.tui.link import Link
from agentcoord.tui.model import DashboardModel, Position
from agentcoord.wire.messages import Method, Notification


class Followed:
    """A feed under way, with all that it touches."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.clock = HandClock()
        self.model = DashboardModel(now_ms=self.clock.now_ms())
        self.feed = Feed(daemon, self.model, self.clock)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the feed run until a condition holds; fail if it never does."""
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("the condition never came to hold")

    @property
    def seqs(self) -> list[int]:
        return [e["seq"] for e in self.model.events]


@asynccontextmanager
async def following(daemon: FakeDaemon) -> AsyncIterator[Followed]:
    followed = Followed(daemon)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(followed.feed.run())
        yield followed
        running.cancel()


async def test_it_goes_live_with_the_snapshot() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        assert list(f.model.tasks) == ["a", "b"]
        assert f.daemon.subscriptions == [None]


async def test_each_time_it_goes_live_this_is_told_when_the_model_is_true() -> None:
    daemon = FakeDaemon(snapshot())
    clock = HandClock()
    model = DashboardModel(now_ms=clock.now_ms())
    told: list[tuple[bool, list[str]]] = []
    feed = Feed(daemon, model, clock, on_begin=lambda: told.append((model.live, list(model.tasks))))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        while not told:  # noqa: ASYNC110 - each turn lets the feed go on; nothing here waits for time
            await asyncio.sleep(0)
        running.cancel()
    assert told == [(True, ["a", "b"])]


async def test_after_a_lost_connection_it_resumes_without_gap_or_duplicate() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        f.daemon.happen(event(3))
        await f.until(lambda: f.seqs == [1, 2, 3])
        f.daemon.hang_up()
        await f.until(lambda: f.model.link.link is Link.LOST)
        f.daemon.happen(event(4))
        f.daemon.happen(event(5))
        f.daemon.snapshot["tasks"] = [task("a", "done"), task("b")]
        f.clock.advance(BACKOFF_S[0])
        await f.until(lambda: f.seqs == [1, 2, 3, 4, 5])
        assert f.daemon.subscriptions[1] == Position(EPOCH, 3)
        assert f.model.live
        assert f.model.tasks["a"]["state"] == "done", "a replay brings events alone; the rows are fetched"


async def test_a_new_epoch_starts_from_its_snapshot() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        f.daemon.hang_up()
        await f.until(lambda: f.model.link.link is Link.LOST)
        f.daemon.snapshot = snapshot([task("z")], epoch="second", last_seq=1)
        f.clock.advance(BACKOFF_S[0])
        await f.until(lambda: f.model.live)
        assert list(f.model.tasks) == ["z"]
        assert f.model.position == Position("second", 1)


async def test_the_waits_grow_and_the_last_word_stays_known() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        last_word_ms = f.clock.now_ms()
        f.daemon.running = False
        f.daemon.hang_up()
        for wait_s in (*BACKOFF_S, BACKOFF_S[-1]):
            await f.until(lambda: f.clock.sleeping == 1 and f.model.link.retry_at_ms is not None)
            assert f.model.link.retry_at_ms == f.clock.now_ms() + wait_s * 1000
            assert f.model.link.since_ms == last_word_ms
            attempts = len(f.daemon.subscriptions)
            f.clock.advance(wait_s)
            await f.until(lambda before=attempts: len(f.daemon.subscriptions) > before)  # type: ignore[misc]  # a default binds the loop's value
        await f.until(lambda: f.model.link.mend == "agentcoordd start")


async def test_before_the_first_connection_it_says_why_and_goes_on_trying() -> None:
    daemon = FakeDaemon(snapshot())
    daemon.running = False
    async with following(daemon) as f:
        await f.until(lambda: bool(f.model.link.reason))
        assert f.model.link.link is Link.CONNECTING
        daemon.running = True
        f.clock.advance(BACKOFF_S[0])
        await f.until(lambda: f.model.live)


async def test_a_hole_is_mended_by_a_replay_at_once() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        f.daemon.happen(event(3), told=False)
        f.daemon.happen(event(4))
        await f.until(lambda: f.seqs == [1, 2, 3, 4])
        assert f.model.live
        assert f.daemon.subscriptions == [None, Position(EPOCH, 2)]


async def test_a_hole_that_a_replay_cannot_fill_is_marked_and_passed() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        f.daemon.lost_from_log.add(3)
        f.daemon.happen(event(3), told=False)
        f.daemon.happen(event(4))
        await f.until(lambda: f.model.position == Position(EPOCH, 4))
        assert [e["kind"] for e in f.model.events].count("missed") == 1
        assert len(f.daemon.subscriptions) == 3


async def test_a_notice_it_cannot_read_costs_a_resync_not_the_view() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live)
        f.daemon.tell(Notification.EVENT, {"nonsense": 1})
        await f.until(lambda: f.model.link.link is Link.LOST)
        assert "cannot read" in f.model.link.reason
        f.clock.advance(BACKOFF_S[0])
        await f.until(lambda: f.model.live)
        assert f.daemon.subscriptions == [None, None]


async def test_a_silent_daemon_that_answers_stays_live() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live and f.clock.sleeping == 1)
        f.clock.advance(SILENCE_S)
        await f.until(lambda: bool(f.daemon.answered(Method.STATUS)))
        assert f.model.live


async def test_a_silent_daemon_that_does_not_answer_is_lost() -> None:
    async with following(FakeDaemon(snapshot())) as f:
        await f.until(lambda: f.model.live and f.clock.sleeping == 1)
        f.daemon.answers[Method.STATUS] = refusing(WireError("The daemon did not answer `status`."))
        f.clock.advance(SILENCE_S)
        await f.until(lambda: f.model.link.link is Link.LOST)
        assert "did not answer" in f.model.link.reason


async def test_cancelling_ends_it_while_it_waits_for_a_retry() -> None:
    daemon = FakeDaemon(snapshot())
    daemon.running = False
    async with following(daemon) as f:
        await f.until(lambda: f.clock.sleeping == 1)
    assert f.clock.sleeping == 0
