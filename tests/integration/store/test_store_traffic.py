"""Calls on their way: late, given up, cut short by closing, too many at once, failing in our own hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import pytest
from store_kit import ANYBODY, HandClock, claim, load, open_store, spec, start_claim, states, task_of

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Store, dispatcher, traffic
from agentcoord.store.dispatch_call import Appended, Call, Waiter
from agentcoord.store.hand_outs import HandOuts
from agentcoord.store.lane import LaneCall, Listener, ScriptsForgottenError
from agentcoord.store.scripts import BATCH, ScriptName

_S = TaskState


async def test_a_call_that_arrives_after_its_repetition_does_nothing(
    valkey_url: str, project_id: ProjectId
) -> None:
    loop = asyncio.get_running_loop()
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"))
        waiter, event = Waiter(ANYBODY, loop.create_future()), Appended(1, b"[1]", loop.create_future())
        call = Call(1_000, (), (), (), (waiter,), (event,))

        async def arrives(*, repeated: bool) -> Any:
            args = store.queue.dispatcher.hand_outs.arguments_of(call, repeated=repeated)
            return await store.queue.scripts.run(ScriptName.DISPATCH, *args)

        first = await arrives(repeated=True)
        assert await arrives(repeated=False) == []
        assert await states(store) == {"a": _S.RUNNING, "b": _S.QUEUED}
        assert await store.events.last_seq() == 1
        again = await arrives(repeated=True)
        assert first[0].split("|")[2:4] == ["1", "0"], "the first token, and who gets it"
        assert again[:2] == first[:2], "a second repetition hears the same"
        assert again[2][:2] == [1, 1], "and what the task's hash says, at its first attempt"


async def test_closing_while_an_answer_is_handed_out_puts_the_rest_back_in_line(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock, closed = HandClock(), False
    got: list[Claim] = []
    told: list[StoreUnavailableError] = []

    async def want(store: Store) -> None:
        nonlocal closed
        try:
            got.append(await store.queue.claim(ANYBODY))
        except StoreUnavailableError as error:
            told.append(error)
            return
        if not closed:
            closed = True
            store.queue.dispatcher.close()

    async with open_store(valkey_url, project_id, clock) as store, asyncio.TaskGroup() as group:
        await load(store, *(spec(f"t{i}") for i in range(6)))
        for _ in range(6):
            group.create_task(want(store))
    assert got
    assert len(got) + len(told) == 6
    async with open_store(valkey_url, project_id, clock) as store:
        counts = await store.queue.counts()
    assert (counts[_S.RUNNING], counts[_S.QUEUED]) == (len(got), len(told))


async def test_nobody_is_handed_the_next_task_before_his_last_is_booked_however_many_finish(
    valkey_url: str, project_id: ProjectId
) -> None:
    crowd, booked = BATCH + 100, set[str]()
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for start in range(0, 2 * crowd, BATCH):
            await load(store, *(spec(f"t{i}") for i in range(start, min(start + BATCH, 2 * crowd))))
        async with asyncio.TaskGroup() as group:
            claiming = [group.create_task(store.queue.claim(ANYBODY)) for _ in range(crowd)]

        async def go_on(one: Claim) -> None:
            await store.queue.complete_and_claim(
                one, (), ANYBODY, current=_S.RUNNING, on_completed=lambda: booked.add(one.task.id)
            )
            assert one.task.id in booked

        async with asyncio.TaskGroup() as group:
            for one in claiming:
                group.create_task(go_on(one.result()))
        assert len(booked) == crowd


@pytest.mark.one_server
async def test_a_log_that_is_lost_twice_has_three_epochs(valkey_url: str, project_id: ProjectId) -> None:
    epochs = []
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for _ in range(3):
            (stored,) = await store.events.append([Event(EventKind.RUN_PAUSED, 1)])
            assert stored.seq == 1
            epochs.append(store.events.epoch)
            await store.client.delete(*(store.keys.of(key) for key in ("epoch", "events", "events:last")))
    assert len(set(epochs)) == 3


async def test_half_a_surrogate_pair_harms_nobody(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a", title="\ud800"), spec("b"))
        held = await claim(store)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING, why="a \ud800 b \udcff")
        other = await claim(store)
        await store.questions.answer(other.task.id, "\udfff")
        await store.queue.park(other, why="\ud800")
        assert (await task_of(store, "b")).why == "?"
        assert ascii((await task_of(store, "a")).why) == r"'a ? b \udcff'"


async def _unavailable(store: Store) -> None:
    with pytest.raises(StoreUnavailableError, match="closing"):
        await store.queue.claim(ANYBODY)


async def test_whoever_waits_is_told_when_the_dispatcher_is_cancelled(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        group.create_task(_unavailable(store))
        await store.ping()
        (running,) = (task for task in asyncio.all_tasks() if task.get_name() == "store dispatcher")
        running.cancel()


@pytest.mark.parametrize("broken", ["t0", "t4"], ids=["first half", "second half"])
async def test_a_body_that_cannot_be_read_is_raised_and_leaves_nobody_waiting(
    valkey_url: str, project_id: ProjectId, broken: str
) -> None:
    async def wait_for_tasks() -> None:
        async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
            await load(store, *(spec(f"t{i}") for i in range(6)))
            await store.client.set(store.keys.body(broken), "no body")
            claiming = [group.create_task(_claim_or_be_told(store)) for _ in range(7)]
            await asyncio.wait(claiming, timeout=5)

    with pytest.raises(BaseExceptionGroup) as raised:
        await wait_for_tasks()
    assert raised.group_contains(ValueError)


async def _claim_or_be_told(store: Store) -> None:
    try:
        await store.queue.claim(ANYBODY)
    except StoreUnavailableError:
        return


async def test_who_waits_is_handed_what_was_loaded_when_the_server_had_forgotten_its_scripts(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        await load(store, spec("other", tags=["nobody"]))
        waiting = await start_claim(store, group, ANYBODY)
        await store.client.script_flush()
        await load(store, spec("a"))
        async with asyncio.timeout(5):
            assert (await waiting).task.id == "a"


async def test_all_that_a_server_refused_unseen_is_sent_again(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        waiting = [await start_claim(store, group, ANYBODY) for _ in range(3)]
        await load(store, spec("other", tags=["nobody"]))
        await store.client.script_flush()
        async with asyncio.timeout(5):
            loads = [group.create_task(load(store, spec(f"t{i}"))) for i in range(12)]
            event = group.create_task(store.events.append([Event(EventKind.RUN_PAUSED, 1)]))
            assert {(await one).task.id for one in waiting} <= {f"t{i}" for i in range(12)}
            await asyncio.wait(loads)
            assert [stored.seq for stored in await event] == [1]
        counts = await store.queue.counts()
        assert (counts[_S.RUNNING], counts[_S.QUEUED]) == (3, 10)


class _ClosingLane:
    """A lane whose connection closes some rounds of the loop before anybody is told, as with TLS."""

    def __init__(self) -> None:
        self.depth, self.is_open = 2, False
        self.sent: list[str] = []
        self.connections = self.roused = self.told = 0

    def listen(self, listener: Listener) -> None:
        self.listener = listener

    def begin(self, parent: asyncio.TaskGroup) -> None:
        pass

    async def connect(self) -> None:
        if not self.is_open:
            self.connections += 1
            self.is_open = True

    def send(self, calls: Sequence[LaneCall]) -> None:
        for _, args in calls:
            number, repeated = str(args[1]).split("\n")[4:6]
            self.sent.append(number + ("again" if repeated == "1" else ""))

    def rouse(self, script: ScriptName) -> None:
        assert (self.is_open, script) == (True, ScriptName.HAND_OVER)
        self.roused += 1

    def tell_again(self) -> None:
        self.told += 1

    def hang_up(self) -> None:
        self.is_open = False

    async def drop(self) -> None:
        self.hang_up()


def _as_number(name: str) -> str:
    """Words of a call that has this in the place of its number."""
    return f"\n\n\n\n{name}\n0\n"


async def test_an_answer_of_a_new_connection_is_never_taken_for_that_of_a_call_on_the_old_one() -> None:
    lane = _ClosingLane()
    dispatch = dispatcher.Dispatcher(HandOuts(lane, HandClock(), 60_000, "name"), _nothing)

    def answer(epoch: bytes) -> None:
        lane.listener.answered([b"|1|||v|" + epoch + b"|1", []])

    async with asyncio.TaskGroup() as group:
        running = group.create_task(dispatch.run())
        first = group.create_task(dispatch.append(1, b"[1]"))
        await _until(lambda: lane.sent == ["1"])
        lane.is_open = False  # Closing: `lost` comes later.
        second = group.create_task(dispatch.run_ahead(ScriptName.LOAD, lambda: (0, _as_number("load"))))
        await _until(lambda: lane.sent[-1] == "1again")
        answer(b"of the first")
        await _until(lambda: len(lane.sent) == 3)
        lane.listener.answered(b"loaded")
        assert (await first, await second) == (("of the first", 1), b"loaded")
        assert (lane.sent, lane.connections) == (["1", "1again", "load"], 2)
        dispatch.close()
        await running


async def test_a_server_is_roused_only_when_it_may_sleep_and_somebody_waits() -> None:
    lane = _ClosingLane()
    dispatch = dispatcher.Dispatcher(HandOuts(lane, HandClock(), 60_000, "name"), _nothing)
    nothing_for_it: list[object] = [b"|1|||v||", []]
    dispatch.rouse()  # Not running yet.
    async with asyncio.TaskGroup() as group:
        running = group.create_task(dispatch.run())
        first = group.create_task(dispatch.append(1, b"[1]"))
        await _until(lambda: lane.sent == ["1"])
        lane.listener.answered([b"|1|||v|of the log|1", []])
        await first
        dispatch.rouse()
        assert lane.roused == 0  # Nobody waits.
        waiting = group.create_task(dispatch.claim(ANYBODY))
        await _until(lambda: lane.sent[-1] == "2")
        dispatch.rouse()
        assert lane.roused == 0  # It is at work.
        lane.listener.answered(nothing_for_it)
        dispatch.rouse()
        assert lane.roused == 1
        lane.is_open = False
        dispatch.rouse()
        assert lane.roused == 1  # Closing.
        waiting.cancel()
        dispatch.close()
        await running


async def test_what_was_refused_unseen_goes_before_what_came_later() -> None:
    lane = _ClosingLane()
    dispatch = dispatcher.Dispatcher(HandOuts(lane, HandClock(), 60_000, "name"), _nothing)

    def ahead(name: str) -> Coroutine[Any, Any, Any]:
        return dispatch.run_ahead(ScriptName.LOAD, lambda: (0, _as_number(name)))

    async with asyncio.TaskGroup() as group:
        running = group.create_task(dispatch.run())
        first, second = group.create_task(ahead("one")), group.create_task(ahead("two"))
        await _until(lambda: lane.sent == ["one", "two"])
        lane.listener.answered(ScriptsForgottenError("forgotten"))
        later = group.create_task(ahead("three"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert lane.sent == ["one", "two"], "nothing new while an answer is to come"
        lane.listener.answered(b"ran after all")
        assert await second == b"ran after all"
        await _until(lambda: lane.sent == ["one", "two", "one", "three"])
        assert (lane.connections, lane.told) == (1, 1)
        lane.listener.answered(b"1")
        lane.listener.answered(b"3")
        assert (await first, await later) == (b"1", b"3")

        dispatch.close()
        await running


async def test_a_server_that_never_learns_its_scripts_is_given_up() -> None:
    lane = _ClosingLane()
    dispatch = dispatcher.Dispatcher(HandOuts(lane, HandClock(), 60_000, "name"), _nothing)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(dispatch.run())
        never = group.create_task(
            _told(dispatch.run_ahead(ScriptName.LOAD, lambda: (0, _as_number("never"))))
        )
        for times in range(1, traffic.TELL_AGAIN + 2):
            await _until(partial(_has_sent, lane, times))
            lane.listener.answered(ScriptsForgottenError("forgotten"))
        assert "forgotten" in await never
        dispatch.close()
        await running


def _has_sent(lane: _ClosingLane, calls: int) -> bool:
    return len(lane.sent) == calls


async def _told(asking: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(StoreUnavailableError) as told:
        await asking
    return str(told.value)


async def _nothing() -> None:
    pass


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if holds():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")
