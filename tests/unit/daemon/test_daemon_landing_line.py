"""The line of those who mean to land: whom each counts on, and what becomes void when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType

import pytest

from agentcoord.daemon.landing_line import LandingLine, Place
from agentcoord.domain.files import FileVersion
from agentcoord.workspace.staged import Staged, StagedFile
from agentcoord.workspace.user_tree import TreeStamp


def staged(path: str) -> Staged:
    file = StagedFile(path, None, FileVersion(path, 1, 0o644), b"x")
    return Staged(TreeStamp(MappingProxyType({}), MappingProxyType({}), 0), (file,), tree_hash=path)


def a_line() -> LandingLine:
    """A line in which no check reads what is under docs."""
    return LandingLine(lambda each: not each.files[0].path.startswith("docs/"))


async def show(place: Place, path: str) -> None:
    place.show(staged(path), await place.offers_before())


async def test_who_comes_later_counts_on_all_before_it_in_order() -> None:
    line = a_line()
    async with line.stand() as one, line.stand() as two, line.stand() as three:
        await show(one, "a")
        await show(two, "b")
        offers = await three.offers_before()
        assert [offer.staged.tree_hash for offer in offers] == ["a", "b"]


async def test_who_comes_later_waits_until_those_before_it_have_shown_what_they_would_land() -> None:
    line = a_line()
    async with line.stand() as one, line.stand() as two, asyncio.TaskGroup() as group:
        asking = group.create_task(two.offers_before())
        await asyncio.sleep(0)
        assert not asking.done()
        await show(one, "a")
        assert len(await asking) == 1


async def test_when_those_before_it_have_landed_it_is_first_and_stands() -> None:
    line = a_line()
    async with line.stand() as two_holder:
        async with asyncio.TaskGroup() as group:
            line.leave(two_holder)
            async with line.stand() as one:
                two_holder.step_in()
                await show(one, "a")
                await show(two_holder, "b")
                waiting = group.create_task(two_holder.first())
                await asyncio.sleep(0)
                assert not waiting.done()
                one.has_landed()
            assert await waiting
        assert not two_holder.void.is_set()


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("_no_collector")
async def test_who_has_left_is_forgotten_however_long_the_line_is_busy() -> None:
    def kept() -> list[str]:
        return sorted(each.tree_hash for each in gc.get_objects() if type(each) is Staged)

    line = a_line()
    standing = AsyncExitStack()
    await show(await standing.enter_async_context(line.stand()), "0")
    for number in range(1, 4):  # Each counts on the one before it, which then lands and leaves.
        following = AsyncExitStack()
        place = await following.enter_async_context(line.stand())
        await show(place, str(number))
        line.places[0].has_landed()
        await standing.aclose()
        standing = following
        assert place.stands
        assert kept() == [str(number - 1), str(number)]
    await standing.aclose()
    del place, following, standing
    assert kept() == [], "it goes at once, and does not wait for the collector"


async def test_who_leaves_without_landing_makes_void_what_counted_on_it() -> None:
    line = a_line()
    async with line.stand() as zero:
        one, two = Place(line), Place(line)
        one.step_in()
        two.step_in()
        await show(zero, "z")
        await show(one, "a")
        await show(two, "b")
        line.leave(one)
        assert two.void.is_set()
        assert not zero.void.is_set()
        assert not await two.first(), "it is told at once, although somebody is still before it"


async def test_what_no_check_reads_makes_nothing_void_but_does_not_stand_either() -> None:
    line = a_line()
    one, two = Place(line), Place(line)
    one.step_in()
    two.step_in()
    await show(one, "docs/a.md")
    await show(two, "b")
    line.leave(one)
    assert not two.void.is_set()
    assert not await two.first()


async def test_another_offer_makes_void_what_counted_on_the_one_before() -> None:
    line = a_line()
    one, two = Place(line), Place(line)
    one.step_in()
    two.step_in()
    await show(one, "a")
    await show(two, "b")
    await show(one, "a2")
    assert two.void.is_set()
    await show(two, "b")
    assert not two.void.is_set()
    assert [offer.staged.tree_hash for offer in two.counts_on] == ["a2"]


async def test_what_was_staged_on_somebody_who_left_meanwhile_is_void_from_the_start() -> None:
    line = a_line()
    one, two = Place(line), Place(line)
    one.step_in()
    two.step_in()
    await show(one, "a")
    before = await two.offers_before()
    line.leave(one)
    two.show(staged("b"), before)
    assert two.void.is_set()
    await show(two, "b")
    assert not two.void.is_set()


async def test_who_steps_out_holds_nobody_up_and_hears_whether_it_was_its_own_fault() -> None:
    line = a_line()
    one, two, three = Place(line), Place(line), Place(line)
    for place in (one, two, three):
        place.step_in()
    await show(one, "a")
    await show(two, "b")
    await show(three, "c")
    async with asyncio.TaskGroup() as group:
        red = group.create_task(two.stepped_out())
        await asyncio.sleep(0)
        assert three.void.is_set(), "it counted on the red one"
        assert len(await three.offers_before()) == 1
        assert not red.done(), "the one before it is not decided yet"
        one.has_landed()
        line.leave(one)
        assert await red
    two.step_in()
    assert line.places == [three, two]


async def test_work_ends_when_its_place_becomes_void() -> None:
    line = a_line()
    one, two = Place(line), Place(line)
    one.step_in()
    two.step_in()
    await show(one, "a")
    await show(two, "b")
    begun = asyncio.Event()
    ended: list[str] = []

    async def for_ever() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleanly")
        return "never"

    async with asyncio.TaskGroup() as group:
        working = group.create_task(two.unless_void(for_ever()))
        await begun.wait()
        line.leave(one)
        assert await working is None
    assert ended == ["cleanly"]


async def test_work_gives_its_result_and_raises_its_own_error() -> None:
    place = Place(a_line())

    async def right() -> int:
        return 4

    async def wrong() -> int:
        raise KeyError("x")

    assert await place.unless_void(right()) == 4
    with pytest.raises(KeyError):
        await place.unless_void(wrong())


async def test_a_cancelled_worker_cancels_its_work_and_leaves_the_line() -> None:
    line = a_line()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def worker() -> None:
        async with line.stand() as place:
            await place.unless_void(for_ever())

    async with asyncio.TaskGroup() as group:
        working = group.create_task(worker())
        await begun.wait()
        working.cancel()
        await ended.wait()
    assert line.places == []


async def test_who_begins_is_told_what_will_land_in_its_files_and_what_that_stands_on() -> None:
    def is_b(path: str) -> bool:
        return path == "b"

    line = a_line()
    async with line.stand() as one, line.stand() as two, line.stand() as three:
        await show(one, "a")
        assert line.offers_of(is_b) == ()
        await show(two, "b")
        three.show(replace(staged("b"), files=staged("b").files + staged("a").files), ())
        assert line.offers_of(is_b) == (one.offer, two.offer, three.offer)
        assert line.offers_of(lambda path: path == "c") == ()
        line.leave(one)
        assert two.void.is_set()
        assert line.offers_of(is_b) == (three.offer,), "what is void is not begun on"
