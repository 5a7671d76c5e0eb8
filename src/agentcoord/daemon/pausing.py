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
    async with shop.pausing.turn():
        if why and shop.store.queue.paused and shop.pausing.told and shop.pausing.why == why:
            return  # Another worker ran into the same.
        await shop.store.set_setting(_DAY_SETTING, day)
        await shop.store.set_setting(_SETTING, why)
        await shop.store.queue.set_paused(True)
        _tell(shop, why)


async def resume(shop: Workshop) -> None:
    """Claim again."""
    async with shop.pausing.turn():
        await shop.store.set_setting(_DAY_SETTING, "")
        await shop.store.set_setting(_SETTING, "")
        await shop.store.queue.set_paused(False)
        _tell(shop, None)


async def tell_what_was_not_told(shop: Workshop) -> None:
    """Tell of a pause or its end that is stored, but whose answer was lost: so nobody has told it."""
    paused = shop.store.queue.paused
    if shop.pausing.told is None:
        shop.pausing.told = paused  # As it was at the start.
    if shop.pausing.told is paused:
        return
    async with shop.pausing.turn():
        why = await paused_why(shop)
        if shop.store.queue.paused is not shop.pausing.told:
            _tell(shop, why if shop.store.queue.paused else None)


def _tell(shop: Workshop, why: str | None) -> None:
    """Tell that the run is paused, and why if the daemon did it; None: that it goes on."""
    shop.pausing.told, shop.pausing.why = why is not None, why or ""
    if why is None:
        shop.hub.emit(EventKind.RUN_RESUMED)
    else:
        shop.hub.emit(EventKind.RUN_PAUSED, why=why or "asked for")
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
