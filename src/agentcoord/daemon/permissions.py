"""A person's word to land a flagged change: good for one try, on the attempt that made it.

Separate from `flagging`, which finds what is flagged, and from `task_run`, which acts on the word.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Claim
from agentcoord.review.flag_book import FlagBook


async def as_let_land(book: FlagBook, claim: Claim) -> Claim:
    """Return the claim, on the attempt whose flagged change a person lets land, if there is one.

    Its private copy and its transcript go by that attempt; its last turn is the claim to be
    finished, which is simply heard again.
    """
    noted = await asyncio.to_thread(book.of, claim.task.id)
    if noted is None or not noted.permitted:
        return claim
    return replace(claim, task=replace(claim.task, attempt=noted.attempt))


async def is_let_land(book: FlagBook, task: TaskId) -> bool:
    """Whether a person lets this task's flagged change land."""
    noted = await asyncio.to_thread(book.of, task)
    return noted is not None and noted.permitted


async def spend_permission(book: FlagBook, task: TaskId) -> None:
    """Take the word as used."""
    if await is_let_land(book, task):
        await asyncio.to_thread(book.set_permitted, task, permitted=False)
