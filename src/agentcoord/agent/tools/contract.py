"""What every tool is: a name, a definition for the model, and calls prepared from its input.

Separate so that the loop can tell a malformed call before anything runs, run read-only calls side by
side, and answer every failure in the same way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from agentcoord.errors import AgentError
from agentcoord.values import dataclass

RESULT_CHARS = 40_000
"""No tool result is longer, where nothing else is asked for."""

ToolDefinition = dict[str, Any]
"""One entry of a request's `tools`."""


class ToolInputError(AgentError):
    """The model's input does not fit the tool's schema; nothing ran."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model reads back."""

    text: str
    is_error: bool = False
    wrote: bool = False
    """A file of the private copy was changed by this call for certain."""


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call whose input is sound: it can be run once."""

    doing: str
    """A few words for people: `edit src/x.py`."""
    read_only: bool
    """May run beside other read-only calls."""
    run: Callable[[], Awaitable[ToolResult]]


class Tool(Protocol):
    """One tool, bound to the ports it needs."""

    @property
    def name(self) -> str: ...

    def prepare(self, arguments: Mapping[str, object]) -> PreparedCall:
        """Check the input. Raises ToolInputError with words for the model."""
        ...
