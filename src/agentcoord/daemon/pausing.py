"""Pausing and resuming the run, with the reason kept for people.

Separate because a person, a full disk and a provider's refusal all pause the same way, and only the
reason tells them apart: a run that paused by itself is not watched for ever.
"""

from __future__ import annotations

from agentcoord.daemon.run_book import local_day
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind

_SETTING = "paused_why"
_DAY_SETTING = "paused_day"
_TURN_OF_THE_DAY_MS = 60_000
"""A cap that is met so soon after midnight may be the last day's; at worst it is met again."""


async def pause(shop: Workshop, why: str = "", *, for_the_day: bool = False) -> None:
    """Claim nothing more until `resume`. `why`: what the daemon itself ran into; empty: a person asked.

    `for_the_day`: until tomorrow, see `resume_on_another_day`.
    """
    day = local_day(shop.clock.now_ms() - _TURN_OF_THE_DAY_MS) if for_the_day else ""
    async with shop.pausing:
        if why and await paused_why(shop) == why:
            return  # Another worker ran into the same.
        await shop.store.set_setting(_DAY_SETTING, day)
        await shop.store.set_setting(_SETTING, why)
        await shop.store.queue.set_paused(True)
    shop.hub.emit(EventKind.RUN_PAUSED, why=why or "asked for")
    shop.board.touch()


async def resume(shop: Workshop) -> None:
    """Claim again."""
    async with shop.pausing:
        await shop.store.set_setting(_DAY_SETTING, "")
        await shop.store.set_setting(_SETTING, "")
        await shop.store.queue.set_paused(False)
    shop.hub.emit(EventKind.RUN_RESUMED)
    shop.board.touch()


async def resume_on_another_day(shop: Workshop) -> None:
    """End a pause that was for the day, once that day is over."""
    if not shop.store.queue.paused:
        return
    day = await shop.store.get_setting(_DAY_SETTING)
    if day and day != local_day(shop.clock.now_ms()):
        await resume(shop)


async def paused_why(shop: Workshop) -> str:
    """Why the daemon paused by itself; empty while it is not paused, or when a person asked."""
    if not shop.store.queue.paused:
        return ""
    return await shop.store.get_setting(_SETTING) or ""
