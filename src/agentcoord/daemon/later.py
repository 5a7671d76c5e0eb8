"""What only a task's work needs: imported when the daemon is ready, in a thread, or when the first task asks.

The agent with its tools, and what looks for weakened tests, are a tenth of all that the daemon imports. Who
needs a part awaits it here, because importing it on the event loop would hold up everybody else.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentcoord.daemon.drafting import Drafting
    from agentcoord.daemon.task_run import TaskRunner

_RUNNER: Final = "agentcoord.daemon.task_run"
_DRAFTING: Final = "agentcoord.daemon.drafting"
AHEAD: Final = (_RUNNER, _DRAFTING, "agentcoord.review.tamper")


async def import_ahead() -> None:
    """Import all of it. Raises ImportError and OSError; whoever needs a part then meets the same."""
    for module in AHEAD:
        await asyncio.to_thread(import_module, module)


async def task_runner() -> type[TaskRunner]:
    """Return what runs a claim."""
    await asyncio.to_thread(import_module, _RUNNER)
    from agentcoord.daemon.task_run import TaskRunner  # By now it is there.

    return TaskRunner


async def drafting() -> type[Drafting]:
    """Return what drafts plans."""
    await asyncio.to_thread(import_module, _DRAFTING)
    from agentcoord.daemon.drafting import Drafting  # By now it is there.

    return Drafting
