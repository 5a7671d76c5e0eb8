"""All tools of a conversation: their definitions, and one way to look up, prepare and run a call.

Failures that the model can react to become results here. SandboxError and StoreError (a lost lease,
for one) pass through: the daemon handles those, not the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agentcoord.agent.ports import Files, KeepOutput, Questions, Shell, keep_nothing
from agentcoord.agent.tools.ask_human import AskHumanTool, ask_human_definition
from agentcoord.agent.tools.bash import BashTool, bash_definition
from agentcoord.agent.tools.contract import RESULT_CHARS, PreparedCall, Tool, ToolDefinition, ToolResult
from agentcoord.agent.tools.editor import EditorTool, editor_definition
from agentcoord.agent.tools.finish import NAME as FINISH
from agentcoord.agent.tools.finish import finish_definition
from agentcoord.agent.tools.output_shelf import OutputShelf
from agentcoord.agent.tools.search import SearchTool, search_definition
from agentcoord.errors import WorkspaceError


def tool_definitions(custom: bool) -> list[ToolDefinition]:
    """Return what a request's `tools` holds, always in the same order: it is part of the cached prefix.

    `custom`: bash and the editor as custom schemas, for servers that do not know Anthropic's types.
    """
    return [
        bash_definition(custom=custom),
        editor_definition(custom=custom),
        search_definition(),
        finish_definition(),
        ask_human_definition(),
    ]


class Toolbox:
    """The tools of one conversation, bound to its ports; `finish_task` is the loop's own."""

    def __init__(
        self,
        *,
        shell: Shell,
        files: Files,
        questions: Questions,
        command_timeout_s: float,
        call_deadline_s: float,
        result_chars: int = RESULT_CHARS,
        keep_output: KeepOutput = keep_nothing,
    ) -> None:
        """`result_chars`: no result is longer, but for a few words around it.

        `keep_output` is given what a long command prints while it runs.
        """
        shelf = OutputShelf()
        tools: tuple[Tool, ...] = (
            BashTool(shell, shelf, timeout_s=command_timeout_s, result_chars=result_chars, keep=keep_output),
            EditorTool(files, shelf, result_chars=result_chars),
            SearchTool(files),
            AskHumanTool(questions),
        )
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._call_deadline_s = call_deadline_s
        self._result_chars = result_chars

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the model may call."""
        return (*self._tools, FINISH)

    def find(self, name: str) -> Tool | None:
        """Return the tool of that name, or None."""
        return self._tools.get(name)

    async def run(self, call: PreparedCall) -> ToolResult:
        """Run a prepared call; what goes wrong with files comes back as an error result."""
        try:
            async with asyncio.timeout(self._call_deadline_s):
                result = await call.run()
        except TimeoutError:
            return ToolResult(
                f"Stopped after {self._call_deadline_s:g} s; whether it had an effect is unknown: look "
                "before you repeat it.",
                is_error=True,
            )
        except WorkspaceError as error:
            return ToolResult(error.message, is_error=True)
        except OSError as error:
            return ToolResult(f"The file system refused: {error.strerror or error}.", is_error=True)
        return ToolResult(
            _bounded(result.text, self._result_chars), is_error=result.is_error, wrote=result.wrote
        )


def _bounded(text: str, chars: int) -> str:
    """Make a text that the API takes: valid UTF-8, not blank, bounded."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    if len(clean) > chars + 2_000:
        left = len(clean) - chars
        clean = f"{clean[:chars]}\n[cut: {left} more characters]"
    return clean if clean.strip() else "(nothing)"
