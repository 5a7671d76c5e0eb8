"""What a worker is told: the stable system prefix, and the first message of a task.

The system prefix is the same for all workers of a project, byte for byte, so that they share one
cached prefix; role and task come in the first user message. The words live in `text/*.md`.
Deliberately absent: anything that changes from turn to turn, and cache markers (`llm` sets them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

from agentcoord.agent.repository_map import repository_map
from agentcoord.domain.globs import EVERYTHING
from agentcoord.domain.ids import WorkerName
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role
from agentcoord.llm.api import Block, Message
from agentcoord.values import dataclass

__all__ = [
    "PROMPT_VERSION",
    "Briefing",
    "build_first_message",
    "build_system",
    "checks_list",
    "prompt_hash",
    "prompt_text",
    "repository_map",
    "scope_text",
]

PROMPT_VERSION = 1
"""Grows when the meaning of the prompts changes; the hash tells any change of words."""

INSTRUCTIONS_CHARS = 32_000
"""Project instructions beyond this are cut, with words."""
REASONS_CHARS = 8_000
REJECTED_DIFF_CHARS = 12_000
"""Reasons of rejections, and what was rejected, are each cut at this."""
NOTES_CHARS = 12_000
"""What the needs changed, and what an earlier attempt left, are each cut at this."""

_TEXTS = ("system", "summarise", *(str(role) for role in Role))


@dataclass(frozen=True, slots=True)
class Briefing:
    """Everything that a worker is told before its first turn."""

    project_name: str
    role: Role
    worker: WorkerName
    instructions: str
    """The project's own words for agents (`AGENTS.md`, else `CLAUDE.md`); may be empty."""
    task: TaskSpec
    checks: Mapping[str, str]
    """The project's checks: name to command."""
    scope: Sequence[str]
    """Globs of files that may be added or modified."""
    protect: Sequence[str]
    """Globs that never change, even inside the scope."""
    sight: Sequence[str]
    """Globs of what may be read."""
    needs_notes: Sequence[str]
    """For each task that this one needs: what it changed."""
    repo_map: str
    """From `repository_map`."""
    rejections: Sequence[str]
    """Why the project's owner took back what this task had landed before, the newest last."""
    rejected_diff: str
    """What the newest of those had changed, as far as it is known."""
    earlier_attempt: str
    """What the attempt before this one tried, and how it ended; empty for the first."""


def prompt_text(name: str) -> str:
    """Return one of the shipped texts: `system`, `summarise`, `draft`, or the name of a role."""
    source = resources.files("agentcoord.agent").joinpath("text", f"{name}.md")
    return source.read_text(encoding="utf-8").strip()


def prompt_hash() -> str:
    """Return the SHA-256 over version and all shipped texts: it goes into each transcript's opening."""
    digest = hashlib.sha256(f"version {PROMPT_VERSION}\n".encode())
    for name in _TEXTS:
        digest.update(f"{name}\n{prompt_text(name)}\n".encode())
    return digest.hexdigest()


def build_system(briefing: Briefing) -> list[Block]:
    """Return the system blocks: tool rules, then what holds for the project as a whole.

    Depends on the project alone, never on worker, role or task.
    """
    project = [
        f"# Project: {briefing.project_name}",
        scope_text(briefing.scope, briefing.protect, briefing.sight),
    ]
    if briefing.checks:
        project.append(
            "## Checks\n\nEach must exit 0 before your work lands:\n\n" + checks_list(briefing.checks)
        )
    if briefing.instructions.strip():
        project.append(
            "## Project instructions\n\nWritten by the project's owner for engineers like you. "
            "Follow them where they do not contradict the rules above.\n\n<project_instructions>\n"
            + _cut(briefing.instructions.strip(), INSTRUCTIONS_CHARS)
            + "\n</project_instructions>"
        )
    return [
        {"type": "text", "text": prompt_text("system")},
        {"type": "text", "text": "\n\n".join(project)},
    ]


def build_first_message(briefing: Briefing) -> Message:
    """Return the opening user message: the task and all that is particular to it.

    Its first line is `Task id: <id>`, alone.
    """
    task = briefing.task
    parts = [f"Task id: {task.id}\nTitle: {_one_line(task.title)}"]
    parts.append("## What to do\n\n" + (task.description.strip() or task.title))
    if briefing.rejections:
        parts.append(_rejected(briefing))
    if task.writes:
        listed = "\n".join(f"- `{path}`" for path in task.writes)
        parts.append("## Files this task expects to write\n\n" + listed)
    parts.append("## Checks\n\n" + _task_checks(task, briefing.checks))
    parts.append(f"## Your role\n\nYou are {briefing.worker}. {prompt_text(briefing.role)}")
    if briefing.needs_notes:
        notes = "\n".join(f"- {note.strip()}" for note in briefing.needs_notes)
        parts.append("## What the tasks before this one changed\n\n" + _cut(notes, NOTES_CHARS))
    if briefing.earlier_attempt.strip():
        parts.append(
            "## An earlier attempt at this task\n\nIt did not succeed; do not repeat what failed.\n\n"
            + _cut(briefing.earlier_attempt.strip(), NOTES_CHARS)
        )
    if briefing.repo_map.strip():
        parts.append("## Map of the repository\n\n```\n" + briefing.repo_map.strip("\n") + "\n```")
    return {"role": "user", "content": [{"type": "text", "text": "\n\n".join(parts)}]}


def _rejected(briefing: Briefing) -> str:
    """Say what was wrong with what landed before: the weightiest words after the task itself."""
    said = "\n\n".join(f"<reason>\n{reason.strip()}\n</reason>" for reason in briefing.rejections)
    text = (
        "## Rejected before\n\nThis task was done, its checks were green, and it landed. The project's owner "
        "looked at it, took it back out of the tree, and wants it done again. Do what these words ask for; "
        "green checks alone will not do. Why it was rejected, the newest last:\n\n"
        f"{_cut(said, REASONS_CHARS)}"
    )
    if briefing.rejected_diff.strip():
        diff = _cut(briefing.rejected_diff.strip("\n"), REJECTED_DIFF_CHARS)
        text += f"\n\nWhat was rejected last; none of it is in the tree now:\n\n```diff\n{diff}\n```"
    return text


def scope_text(scope: Sequence[str], protect: Sequence[str], sight: Sequence[str] = EVERYTHING) -> str:
    """Say which files may change, and which may be read where that is not all of them."""
    if scope:
        lines = ["## Scope", "", "You may add or modify files that match:", ""]
        lines += [f"- `{glob}`" for glob in scope]
    else:
        lines = ["## Scope", "", "You may add or modify any file of the repository that git does not ignore."]
    if protect:
        lines += ["", "Never these, even where the scope matches:", ""]
        lines += [f"- `{glob}`" for glob in protect]
    if tuple(sight) != EVERYTHING:
        lines += [
            "",
            "The tools show only what these match, the last one deciding; leave the rest alone:",
            "",
        ]
        lines += [f"- `{glob}`" for glob in sight]
    return "\n".join(lines)


def checks_list(checks: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: `{command}`" for name, command in checks.items())


def _task_checks(task: TaskSpec, checks: Mapping[str, str]) -> str:
    """List the task's own check first: it is the narrowest."""
    lines = [f"- this task: `{task.check}`"] if task.check else []
    if checks:
        lines.append(checks_list(checks))
    return "\n".join(lines) or "None are configured: verify your change yourself with `bash`."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, chars: int) -> str:
    """Bound a text, saying so where it was cut."""
    if len(text) <= chars:
        return text
    return text[:chars] + f"\n[cut: {len(text) - chars} more characters]"
