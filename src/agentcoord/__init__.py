"""AgentCoord: a night shift for a repository.

`from agentcoord import AgentCoord` is the Python API (docs/API.md). Its names are fetched when one is
asked for: the commands import this package too, and must answer at once.
"""

from __future__ import annotations

TYPE_CHECKING = False  # As in `typing`, whose import is a tenth of what a fast command may take.
if TYPE_CHECKING:
    from agentcoord.api import AgentCoord, AgentCoordError, Event, EventStream, Position

__version__ = "0.1.0"
__all__ = ["AgentCoord", "AgentCoordError", "Event", "EventStream", "Position", "__version__"]

if not TYPE_CHECKING:  # A type checker would take any name for granted otherwise.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'agentcoord' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module("agentcoord.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
