"""A plan proposed by a model: one call, judged as any plan is, and asked for once more when it is bad.

Theory of operation. The model answers with the tool `propose_plan`; its input becomes tasks, those are
written as TOML, and the text is read back by the reader that judges plans of people. What that finds, or
what does not fit the tool, goes back to the model as the result of its call, once. Every answer is handed
to `keep` before it is judged, because it was paid for. Deliberately absent: whose money it is (the
gateway), and where the plan goes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from agentcoord.agent import replies
from agentcoord.agent.ports import Gateway
from agentcoord.agent.prompts import checks_list, prompt_text, scope_text
from agentcoord.agent.tools.arguments import text_of, texts_of, words_of
from agentcoord.agent.tools.contract import ToolDefinition, ToolInputError
from agentcoord.domain.ids import TaskId
from agentcoord.domain.plan import read_plan
from agentcoord.domain.plan_text import render_plan
from agentcoord.domain.task import PRIORITIES, TaskSpec
from agentcoord.domain.usage import UsdMicros, usd_micros
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import PlanError
from agentcoord.llm.api import Block, Message, Progress, SpendRefused, StopReason, Turn, TurnRequest
from agentcoord.values import dataclass

TOOL: Final = "propose_plan"
DRAFT_TASK: Final = TaskId("(draft)")
"""Stands where a task's id would, for the rehearsal; no task can be called so."""
ASKED: Final = 2
"""How often the model is asked at most."""
MOST_TASKS: Final = 50
_BUDGET_TIMES: Final = 2
"""A task may spend this much more than was estimated."""
_LEAST_BUDGET_USD: Final = 0.10


@dataclass(frozen=True, slots=True)
class DraftBriefing:
    """All that the model is told."""

    goal: str
    project_name: str
    scope: Sequence[str]
    protect: Sequence[str]
    checks: Mapping[str, str]
    workers: Sequence[WorkerSpec]
    instructions: str
    """The project's own words for agents; may be empty."""
    repo_map: str
    loaded: Collection[TaskId]
    """Tasks that are there already: they may be needed, and not be named again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that loads."""

    text: str
    """TOML."""
    tasks: int
    estimate_usd: float
    cost_usd_micros: UsdMicros
    model: str


class BadDraftError(PlanError):
    """The model gave no plan that loads, asked twice; `problems` are those of its last answer."""


def draft_definition() -> ToolDefinition:
    """The tool that the model answers with."""
    texts = {"type": "array", "items": {"type": "string"}}
    task = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "1 to 64 letters, digits, '.', '_' or '-'; unique."},
            "title": {"type": "string", "description": "One line."},
            "description": {"type": "string", "description": "What and why, for the engineer."},
            "priority": {"type": "integer", "description": "5 critical ... 1 idle; usually 3."},
            "tags": texts,
            "needs": texts,
            "writes": texts,
            "check": {"type": "string"},
            "estimate_usd": {"type": "number"},
        },
        "required": ["id", "title", "description", "estimate_usd"],
    }
    return {
        "name": TOOL,
        "description": "Propose the plan: all of its tasks. Call it once; if something in it is wrong you "
        "are told, and call it again with the whole plan.",
        "input_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "A short name for the plan."},
                "tasks": {"type": "array", "items": task},
            },
            "required": ["name", "tasks"],
        },
    }


async def draft_plan(
    gateway: Gateway,
    briefing: DraftBriefing,
    *,
    model: str,
    effort: str,
    max_tokens: int,
    keep: Callable[[str], Awaitable[None]],
) -> Draft | SpendRefused:
    """Ask for a plan and return it, or the cap that forbids the call.

    `keep` is given each answer as JSON before it is judged. Raises BadDraftError when the second answer
    is no plan that loads either, and what the gateway raises.
    """
    messages: list[Message] = [_first_message(briefing)]
    spent = 0
    problems: Sequence[str] = ()
    for asked in range(1, ASKED + 1):
        request = TurnRequest(
            model=model,
            system=_system(briefing),
            messages=messages,
            tools=[draft_definition()],
            max_tokens=max_tokens,
            effort=effort,
        )
        paid = await gateway.take_turn(request, Progress())
        if isinstance(paid, SpendRefused):
            return paid
        spent += paid.cost_usd_micros
        await keep(json.dumps(list(paid.turn.content), ensure_ascii=False, indent=2))
        try:
            draft = read_draft(paid.turn, briefing)
        except (ToolInputError, PlanError) as error:
            problems = (error.problems if isinstance(error, PlanError) else ()) or (str(error),)
        else:
            return replace(draft, cost_usd_micros=UsdMicros(spent), model=paid.turn.model)
        if asked < ASKED:
            messages = [*messages, *_objection(paid.turn, problems)]
    raise BadDraftError("the model proposed no plan that loads, asked twice", problems)


def _system(briefing: DraftBriefing) -> list[Block]:
    parts = [f"# Project: {briefing.project_name}", scope_text(briefing.scope, briefing.protect)]
    if briefing.checks:
        parts.append(
            "## Checks\n\nEach must exit 0 before any work lands:\n\n" + checks_list(briefing.checks)
        )
    workers = [f"- {w.name} ({w.role}): {', '.join(sorted(w.tags))}" for w in briefing.workers]
    parts.append("## Workers and their tags\n\n" + "\n".join(workers))
    if briefing.instructions.strip():
        words = briefing.instructions.strip()
        parts.append(f"<project_instructions>\n{words}\n</project_instructions>")
    return [
        {"type": "text", "text": prompt_text("draft")},
        {"type": "text", "text": "\n\n".join(parts)},
    ]


def _first_message(briefing: DraftBriefing) -> Message:
    parts = [f"Task id: {DRAFT_TASK}", f"## The goal\n\n{briefing.goal.strip()}"]
    if briefing.loaded:
        known = ", ".join(sorted(briefing.loaded)[:500])
        parts.append(f"## Tasks that are there already\n\nTheir ids are taken, and may be needed: {known}")
    if briefing.repo_map.strip():
        parts.append("## Map of the repository\n\n```\n" + briefing.repo_map.strip("\n") + "\n```")
    return {"role": "user", "content": [{"type": "text", "text": "\n\n".join(parts)}]}


def _objection(turn: Turn, problems: Sequence[str]) -> list[Message]:
    """The bad answer, and what is wrong with it."""
    words = "This plan cannot be loaded:\n\n" + "\n".join(f"- {problem}" for problem in problems)
    words += f"\n\nCall {TOOL} again with the whole plan, mended."
    calls = [block for block in turn.content if block.get("type") == "tool_use"]
    answers = [replies.tool_result(str(call["id"]), words, is_error=True) for call in calls]
    content = list(turn.content) or [{"type": "text", "text": "(nothing)"}]
    return [
        {"role": "assistant", "content": content},
        {"role": "user", "content": answers or [{"type": "text", "text": words}]},
    ]


def read_draft(turn: Turn, briefing: DraftBriefing) -> Draft:
    """Turn an answer into a plan. Raises ToolInputError or PlanError in words for the model."""
    if turn.stop_reason is StopReason.REFUSAL:
        raise ToolInputError("the answer was stopped by the model's safety rules")
    if turn.stop_reason is StopReason.MAX_TOKENS:
        raise ToolInputError(
            "the answer reached its output limit and was cut: propose fewer, or shorter, tasks"
        )
    calls = [block for block in turn.content if block.get("type") == "tool_use" and block.get("name") == TOOL]
    if len(calls) != 1:
        raise ToolInputError(f"{TOOL} was called {len(calls)} times; call it once, with the whole plan")
    arguments = calls[0].get("input")
    if not isinstance(arguments, dict):
        raise ToolInputError("the input must be an object with `name` and `tasks`")
    name = words_of(arguments, "name")
    entries = arguments.get("tasks")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ToolInputError("`tasks` must be a list of objects")
    if not 0 < len(entries) <= MOST_TASKS:
        raise ToolInputError(f"`tasks` holds {len(entries)}; propose 1 to {MOST_TASKS}")
    read = [_task(entry, number) for number, entry in enumerate(entries, start=1)]
    tasks, estimates = [task for task, _ in read], [estimate for _, estimate in read]
    if taken := [f"id {task.id!r} is a loaded task's" for task in tasks if task.id in briefing.loaded]:
        raise PlanError("ids are taken", taken)
    text = render_plan(
        name,
        tasks,
        head=_head(briefing.goal, len(tasks), sum(estimates)),
        notes={task.id: f"estimated ${estimate:.2f}" for task, estimate in read},
    )
    read_plan(text, format="toml", source=TOOL, known=briefing.loaded, workers=briefing.workers)
    return Draft(text, len(tasks), round(sum(estimates), 2), UsdMicros(0), turn.model)


def _task(entry: dict[str, Any], number: int) -> tuple[TaskSpec, float]:
    """One task and its estimate in dollars; what `read_plan` judges is left to it."""
    try:
        estimate = entry.get("estimate_usd")
        if isinstance(estimate, bool) or not isinstance(estimate, int | float) or not 0 < estimate < 1_000:
            raise ToolInputError("`estimate_usd` must be a number of dollars above 0")  # noqa: TRY301
        priority = entry.get("priority", 3)
        if isinstance(priority, bool) or priority not in PRIORITIES:
            raise ToolInputError("`priority` must be a whole number from 1 to 5")  # noqa: TRY301
        task = TaskSpec(
            id=TaskId(words_of(entry, "id")),
            title=" ".join(words_of(entry, "title").split()),
            description=words_of(entry, "description"),
            priority=priority,
            tags=tuple(sorted(set(texts_of(entry, "tags")))),
            needs=tuple(TaskId(need) for need in dict.fromkeys(texts_of(entry, "needs"))),
            writes=texts_of(entry, "writes"),
            check=text_of(entry, "check", default="").strip(),
            budget_usd_micros=usd_micros(max(_LEAST_BUDGET_USD, round(_BUDGET_TIMES * estimate, 2))),
        )
    except ToolInputError as error:
        raise ToolInputError(f"task {number}: {error}") from error
    return task, float(estimate)


def _head(goal: str, count: int, estimate_usd: float) -> list[str]:
    words = " ".join(goal.split())
    shown = words if len(words) <= 200 else words[:199] + "…"
    return [
        f"A draft, proposed by a model for: {shown}",
        f"{count} tasks, estimated at ${estimate_usd:.2f} together; each may spend twice its estimate.",
        "Read it and change what you like; `agentcoord plan check` says whether it still loads.",
    ]
