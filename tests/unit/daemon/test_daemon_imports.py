"""What the daemon's process imports until it is ready, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

UNTIL_READY = """
import sys
from agentcoord.daemon.__main__ import import_libraries
import_libraries()
import agentcoord.daemon.service, agentcoord.daemon.compose
print(*sys.modules)
"""


def test_the_agent_and_what_libraries_have_no_use_for_are_not_imported_until_it_is_ready() -> None:
    told = subprocess.run([sys.executable, "-c", UNTIL_READY], capture_output=True, text=True, check=True)
    modules = set(told.stdout.split())
    assert {"redis.asyncio", "structlog", "agentcoord.daemon.running"} <= modules
    wasted = {"opentelemetry", "rich", "anthropic", "argparse", "typing_extensions"}
    rooms = "agent.ports agent.loop review.tamper review.rewrites daemon.adapters domain.plan sandbox.plain"
    rooms += " sandbox.seatbelt"
    wasted |= {f"agentcoord.{name}" for name in rooms.split()}
    assert not modules & wasted
    shapes = ("agentcoord.wire.messages", "agentcoord.wire.answers", "agentcoord.wire.task_views")
    assert not modules & set(shapes), "to make a TypedDict takes time, and only a type checker asks for these"
    assert not [name for name in modules if name.startswith(("opentelemetry.", "rich.", "pydantic"))]
