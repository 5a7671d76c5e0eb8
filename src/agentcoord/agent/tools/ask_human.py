"""The `ask_human` tool: parks a question with the default that is assumed, and goes on."""

from __future__ import annotations

from collections.abc import Mapping

from agentcoord.agent.ports import Questions
from agentcoord.agent.tools.arguments import words_of
from agentcoord.agent.tools.contract import PreparedCall, ToolDefinition, ToolResult

NAME = "ask_human"
_MOST_QUESTIONS = 5
"""One conversation; who asks more does not decide."""
_TEXT_CHARS = 2_000


def ask_human_definition() -> ToolDefinition:
    return {
        "name": NAME,
        "description": "Store a question for the project's owner, who is asleep, with the default you will "
        "assume. It does not wait: go on with the default. An answer, should one come, is told to you.",
        "input_schema": {
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "One question, answerable in a sentence."},
                "default": {"type": "string", "description": "What you will assume meanwhile."},
            },
            "required": ["question", "default"],
        },
    }


class AskHumanTool:
    """Stores questions, a bounded number."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._asked = 0

    @property
    def name(self) -> str:
        return NAME

    def prepare(self, arguments: Mapping[str, object]) -> PreparedCall:
        question = words_of(arguments, "question")[:_TEXT_CHARS]
        default = words_of(arguments, "default")[:_TEXT_CHARS]
        return PreparedCall("ask a question", False, lambda: self._ask(question, default))

    async def _ask(self, question: str, default: str) -> ToolResult:
        if self._asked >= _MOST_QUESTIONS:
            return ToolResult(
                f"Not stored: {_MOST_QUESTIONS} questions were asked already. Decide yourself, and say "
                "what you decided in `decisions`.",
                is_error=True,
            )
        await self._questions.ask(question, default)
        self._asked += 1
        return ToolResult(f"Stored. Nobody may answer tonight: go on, assuming: {default}")
