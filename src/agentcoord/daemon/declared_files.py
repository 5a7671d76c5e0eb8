"""Before a task begins: the locks of the files that it says it will write, all or none.

Separate from `adapters`, where a conversation under way takes the lock of each file as it writes it. Here
nothing is spent yet, so waiting costs no money: while another task works on one of these files, this one
waits, and then its private copy begins with what that one landed. Deliberately absent: globs, which say
too little of what will be written to keep others from it; they stay a hint for handing out tasks.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from agentcoord.daemon.adapters import tell_of_lock
from agentcoord.daemon.worker_row import TaskAtHand
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerState
from agentcoord.store.file_locks import LockAnswer, LockOutcome
from agentcoord.store.place_in_line import single_files
from agentcoord.store.scripts import BATCH

DECLARED_WAIT_S = 300.0
"""How long a task waits at most before it begins all the same; a worker is idle meanwhile."""


async def take_declared(shop: Workshop, at: TaskAtHand, claim: Claim) -> None:
    """Take the locks of the declared files, or go on without any of them when waiting did not end.

    A daemon that stops ends the wait. Raises LeaseLostError when the claim has ended.
    """
    paths = [path for path in single_files(claim.task.spec.writes) if shop.rules.allows(path)][:BATCH]
    if not paths:
        return
    doing = at.doing
    shop.board.set_state(at, WorkerState.WAITING, f"for the lock of {', '.join(paths)}")
    try:
        answer = await _until_stopping(shop, claim, paths)
    finally:
        shop.board.set_state(at, WorkerState.WORKING, doing)
    if answer is None:
        return
    first, *others = paths if answer.outcome is LockOutcome.TAKEN else [answer.path or paths[0]]
    tell_of_lock(shop.hub, at.spec.name, claim.task.id, first, answer)
    for path in others:  # They were waited for together, which is told once.
        tell_of_lock(shop.hub, at.spec.name, claim.task.id, path, replace(answer, waited_ms=0))


async def _until_stopping(shop: Workshop, claim: Claim, paths: list[str]) -> LockAnswer | None:
    """Ask for the locks; None when the daemon stops meanwhile."""
    answers: list[LockAnswer] = []

    async def acquire() -> None:
        answers.append(await shop.store.locks.acquire_all(paths, claim, timeout_s=DECLARED_WAIT_S))

    try:
        async with asyncio.TaskGroup() as group:
            acquiring = group.create_task(acquire(), name=f"declared:{claim.task.id}")
            stopping = group.create_task(shop.stopping.wait())
            await asyncio.wait({acquiring, stopping}, return_when=asyncio.FIRST_COMPLETED)
            acquiring.cancel()
            stopping.cancel()
    except ExceptionGroup as group_of_one:
        raise group_of_one.exceptions[0] from None
    return answers[0] if answers else None
