"""What the dashboard is told of a conversation while it goes on, a piece at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentcoord.daemon.params import Answer, Params, no_such_task, number_of, task_id_of
from agentcoord.daemon.task_files import transcript_file
from agentcoord.daemon.workshop import Workshop
from agentcoord.llm.api import ROOMY_TOKENS
from agentcoord.wire.transcript_steps import read_piece

if TYPE_CHECKING:
    from agentcoord.wire.task_views import TranscriptView


async def transcript_piece(shop: Workshop, params: Params) -> Answer:
    """Answer `transcript`: the steps from an offset on. Raises RpcError when there is no such task."""
    task_id = task_id_of(params)
    task = await shop.store.queue.get(task_id)
    if task is None:
        raise no_such_task(task_id)
    attempt = number_of(params, "attempt", default=task.attempt, least=0)
    offset = number_of(params, "offset", default=0, least=0)
    piece = await asyncio.to_thread(read_piece, transcript_file(shop.transcripts, task_id, attempt), offset)
    held = (each for row in shop.board.rows.values() for each in row.tasks)
    at = next((each for each in held if each.claim.task.id == task_id), None)
    view: TranscriptView = {
        "id": task_id,
        "attempt": attempt,
        "steps": piece.steps,
        "next_offset": piece.next_offset,
        "more": piece.more,
        "context_tokens": piece.context_tokens,
        "window_tokens": shop.settings.models.context_tokens
        or shop.windows.get(at.model if at else "", ROOMY_TOKENS),
        "says": at.says if at is not None and attempt == task.attempt else "",
    }
    return view
