"""The `finish_task` tool: the worker's claim to be finished. The daemon alone decides.

It is no `Tool` that runs: the loop takes the claim out, and its result is the checks' verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentcoord.agent.tools.arguments import texts_of, words_of
from agentcoord.agent.tools.contract import ToolDefinition
from agentcoord.values import dataclass

NAME = "finish_task"
_SUMMARY_CHARS = 4_000
_DECISIONS = 20
_DECISION_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Claim:
    """What the worker says of its work."""

    summary: str
    decisions: tuple[str, ...]


def finish_definition() -> ToolDefinition:
    return {
        "name": NAME,
        "description": "Say that the task is finished. The project's checks are run then; when one is red "
        "you get its output and go on. Call it alone, after your edits, when you have seen the checks pass.",
        "input_schema": {
            "type": "object",
            "properties": {
                "summary": {
                    "type": "string",
                    "description": "What changed and why, in a few sentences for the project's owner.",
                },
                "decisions": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Decisions and assumptions the owner should know of; defects you saw "
                    "and left.",
                },
            },
            "required": ["summary"],
        },
    }


def claim_of(arguments: Mapping[str, object]) -> Claim:
    """Read a claim, bounded. Raises ToolInputError when it has no summary."""
    summary = words_of(arguments, "summary")[:_SUMMARY_CHARS]
    decisions = tuple(text[:_DECISION_CHARS] for text in texts_of(arguments, "decisions")[:_DECISIONS])
    return Claim(summary, decisions)
