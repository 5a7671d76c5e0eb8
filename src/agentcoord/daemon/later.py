"""What only a task's work needs: imported when the daemon is ready, in a thread, or when the first task asks.

The agent with its tools, and what looks for weakened tests, are a tenth of all that the daemon imports. Who
needs a part awaits it here, because importing it on the event loop would hold up everybody else.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentcoord.daemon.drafting import Drafting
    from agentcoord.daemon.task_run import TaskRunner

_RUNNER: Final = "agentcoord.daemon.task_run"
_DRAFTING: Final = "agentcoord.daemon.drafting"
AHEAD: Final = (_RUNNER, _DRAFTING, "agentcoord.review.tamper", "agentcoord.review.rewrites")
_imported: Final[dict[str, ModuleType]] = {}
"""Whole ones; `sys.modules` has those that another thread is still importing too."""


async def import_ahead() -> None:
    """Import all of it. Raises ImportError and OSError; whoever needs a part then meets the same."""
    for name in AHEAD:
        await _part(name)


async def task_runner() -> type[TaskRunner]:
    """Return what runs a claim."""
    runner: type[TaskRunner] = (await _part(_RUNNER)).TaskRunner
    return runner


async def drafting() -> type[Drafting]:
    """Return what drafts plans."""
    drafts: type[Drafting] = (await _part(_DRAFTING)).Drafting
    return drafts


async def _part(name: str) -> ModuleType:
    """Import a module in a thread; one that is there needs none, and waits for none that is busy."""
    if name not in _imported:
        _imported[name] = await asyncio.to_thread(import_module, name)
    return _imported[name]
