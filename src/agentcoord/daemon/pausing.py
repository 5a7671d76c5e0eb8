"""Pausing and resuming the run, with the reason kept for people.

Separate because a person, a full disk and a provider's refusal all pause the same way, and only the
reason tells them apart: a run that paused by itself is not watched for ever.
"""

from __future__ import annotations

from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind

_SETTING = "paused_why"


async def pause(shop: Workshop, why: str = "") -> None:
    """Claim nothing more until `resume`. `why`: what the daemon itself ran into; empty: a person asked."""
    await shop.store.set_setting(_SETTING, why)
    await shop.store.queue.set_paused(True)
    shop.hub.emit(EventKind.RUN_PAUSED, why=why or "asked for")
    shop.board.touch()


async def resume(shop: Workshop) -> None:
    """Claim again."""
    await shop.store.set_setting(_SETTING, "")
    await shop.store.queue.set_paused(False)
    shop.hub.emit(EventKind.RUN_RESUMED)
    shop.board.touch()


async def paused_why(shop: Workshop) -> str:
    """Why the daemon paused by itself; empty while it is not paused, or when a person asked."""
    if not shop.store.queue.paused:
        return ""
    return await shop.store.get_setting(_SETTING) or ""
