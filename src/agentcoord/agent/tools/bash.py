"""The `bash` tool: one command in the sandbox, its outcome shaped for a reader who pays by the line.

Exit code first, then the lines that look like failures, then head and tail; the whole output stays
viewable for a while. Deliberately absent: a lasting shell; each command starts afresh.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from agentcoord.agent.ports import CommandResult, KeepOutput, Shell, keep_nothing
from agentcoord.agent.tools.arguments import flag_of, text_of, words_of
from agentcoord.agent.tools.contract import RESULT_CHARS, PreparedCall, ToolDefinition, ToolResult
from agentcoord.agent.tools.output_shelf import OutputShelf

NAME = "bash"
_HEAD_PERCENT = 15
_TAIL_PERCENT = 35
"""Of what a result may hold: one command is rarely worth all of it."""
_FAILING_LINES = 20
_FAILING_LINE_CHARS = 300
_SHORT_OUTPUT_CHARS = 2_000
"""Below this the failing lines are not repeated in front."""
_RESTARTED = (
    "There is nothing to restart: each command runs in a fresh shell at the root of the repository. "
    "Put `cd` and variables into the command that needs them."
)
_FAILING = re.compile(
    r"\b(?:error|errors|fail|fails|failed|failure|traceback|panic|fatal|\w*Error|\w*Exception)\b",
    re.IGNORECASE,
)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def bash_definition(*, custom: bool) -> ToolDefinition:
    """Return Anthropic's own bash type, or the same tool as a custom schema."""
    if not custom:
        return {"type": "bash_20250124", "name": NAME}
    return {
        "name": NAME,
        "description": "Run a command with bash at the root of the repository, in a fresh shell, "
        "without network.",
        "input_schema": {
            "type": "object",
            "properties": {"command": {"type": "string", "description": "The command to run."}},
            "required": ["command"],
        },
    }


class BashTool:
    """Runs commands through the sandboxed shell; SandboxError passes through to the daemon."""

    def __init__(
        self,
        shell: Shell,
        shelf: OutputShelf,
        *,
        timeout_s: float,
        result_chars: int = RESULT_CHARS,
        keep: KeepOutput = keep_nothing,
    ) -> None:
        self._shell = shell
        self._keep = keep
        self._shelf = shelf
        self._timeout_s = timeout_s
        self._head_chars = result_chars * _HEAD_PERCENT // 100
        self._tail_chars = result_chars * _TAIL_PERCENT // 100

    @property
    def name(self) -> str:
        return NAME

    def prepare(self, arguments: Mapping[str, object]) -> PreparedCall:
        restart = flag_of(arguments, "restart")
        if restart and not text_of(arguments, "command", default="").strip():
            return PreparedCall("restart the shell", True, _restarted)
        command = words_of(arguments, "command")
        return PreparedCall(f"run {_in_short(command)}", False, lambda: self._run(command))

    async def _run(self, command: str) -> ToolResult:
        result = await self._shell.run(command, timeout_s=self._timeout_s, keep=self._keep)
        output = await asyncio.to_thread(_readable, result.output)
        kept_at = self._shelf.keep(output) if len(output) > self._head_chars + self._tail_chars else ""
        text = await asyncio.to_thread(self._shaped, result, output, kept_at)
        return ToolResult(text, is_error=result.timed_out)

    def _shaped(self, result: CommandResult, output: str, kept_at: str) -> str:
        """Lay out a result: outcome, failing lines, output."""
        seconds = result.duration_ms / 1000
        if result.timed_out:
            parts = [f"timed out: killed after {self._timeout_s:g} s; nothing of it runs any more"]
        else:
            parts = [f"exit code {result.exit_code} ({seconds:.1f} s)"]
        if result.truncated:
            parts.append("[the command printed more than is captured: the middle of its output is lost]")
        if result.exit_code != 0 and len(output) > _SHORT_OUTPUT_CHARS:
            parts.extend(_failing_lines(output))
        if not output.strip():
            parts.append("(no output)")
        elif not kept_at:
            parts.append(output.rstrip("\n"))
        else:
            head = _whole_lines_head(output, self._head_chars)
            tail = _whole_lines_tail(output, self._tail_chars)
            left = len(output) - len(head) - len(tail)
            parts.append(
                f"{head}\n[cut: {left} characters; the whole output can be viewed at {kept_at}]\n{tail}"
            )
        return "\n".join(parts)


async def _restarted() -> ToolResult:
    return ToolResult(_RESTARTED)


def _failing_lines(output: str) -> list[str]:
    """Pick the lines that look like failures, numbered as a view of the output numbers them."""
    found = []
    for number, line in enumerate(output.split("\n"), start=1):
        if _FAILING.search(line[:2_000]):
            found.append(f"{number:6d}\t{line[:_FAILING_LINE_CHARS]}")
            if len(found) == _FAILING_LINES:
                break
    return ["Lines that look like failures:", *found, "Output:"] if found else []


def _whole_lines_head(output: str, chars: int) -> str:
    head = output[:chars]
    return head[: head.rfind("\n")] if "\n" in head else head


def _whole_lines_tail(output: str, chars: int) -> str:
    tail = output.rstrip("\n")[-chars:]
    return tail[tail.find("\n") + 1 :] if "\n" in tail else tail


def _readable(output: str) -> str:
    """Take out terminal escapes and control characters; a carriage return alone ends a line."""
    text = _ESCAPES.sub("", output).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _in_short(command: str) -> str:
    first = command.strip().split("\n", 1)[0]
    return first if len(first) <= 60 else first[:57] + "..."
