"""A local server that speaks the Messages API and plays scripts: for tests, rehearsals and the demo."""

from agentcoord.llm.rehearsal.app import Options
from agentcoord.llm.rehearsal.server import RehearsalServer, serve

__all__ = ["Options", "RehearsalServer", "serve"]
