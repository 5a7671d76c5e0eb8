"""Plans: what a person asks of a night, read from TOML or a Markdown checklist.

`parse_plan` turns text into tasks; `read_plan` also judges them against what is there already.
Both report every problem at once, each with its line, so that a plan is mended in one go.
Deliberately absent: reading files (the caller does) and storing tasks (the store does).
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from agentcoord.domain.checklist import parse_checklist
from agentcoord.domain.graph import find_cycles
from agentcoord.domain.ids import TASK_ID_PATTERN, TaskId
from agentcoord.domain.plan_lines import KeyLines, locate_toml
from agentcoord.domain.task import PRIORITIES, OnNeedFailed, TaskSpec
from agentcoord.domain.usage import UsdMicros, usd_micros
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import PlanError
from agentcoord.values import dataclass

MAX_TASKS = 10_000
_PLAN_KEYS = frozenset({"name", "description", "on_need_failed"})
_TASK_KEYS = frozenset(
    {
        "id",
        "title",
        "description",
        "priority",
        "tags",
        "needs",
        "writes",
        "check",
        "budget_usd",
        "budget_tokens",
        "on_need_failed",
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A parsed plan. `lines` tells where each task and key stands, for messages."""

    name: str
    tasks: tuple[TaskSpec, ...]
    lines: tuple[KeyLines, ...] = ()
    """Of each task, in their order."""
    source: str = ""

    def line_of(self, task: TaskId, key: str = "") -> int:
        """The line of a task's key, or of its header; 0 when unknown."""
        return next(
            (at.of(key) for spec, at in zip(self.tasks, self.lines, strict=True) if spec.id == task), 0
        )


def parse_plan(text: str, *, format: str, source: str) -> Plan:  # noqa: A002 (the wire's own word)
    """Read a plan; `format` is `toml` or `markdown`, `source` a name for messages.

    Raises PlanError with every problem that can be seen in the text alone.
    """
    reader = _Reader(source)
    plan = reader.read(text, format)
    reader.raise_if_any()
    return plan


def read_plan(
    text: str,
    *,
    format: str,  # noqa: A002 (the wire's own word)
    source: str,
    known: Collection[TaskId],
    workers: Sequence[WorkerSpec],
) -> Plan:
    """Read a plan and judge it against the tasks that are loaded already (`known`) and the fleet.

    Raises PlanError with all problems in line order: those of the text, every cycle, unknown `needs` and tag
    set that no worker covers.
    """
    reader = _Reader(source)
    plan = reader.read(text, format)
    reader.judge(plan, known, workers)
    reader.raise_if_any()
    return plan


class _Reader:
    """Collects problems while it turns raw entries into tasks."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: list[tuple[int, str]] = []
        self._seen: dict[str, int] = {}
        self._on_need_failed = OnNeedFailed.FAIL
        """Of the whole plan, for tasks that do not say otherwise."""

    def say(self, line: int, words: str) -> None:
        self._problems.append((line, words))

    def raise_if_any(self) -> None:
        if self._problems:
            problems = [
                f"{self._source}:{line}: {words}" if line else f"{self._source}: {words}"
                for line, words in sorted(self._problems)
            ]
            count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise PlanError(
                f"the plan has {count}; nothing was loaded",
                problems,
                mend="mend what is named above, and try again",
            )

    def read(self, text: str, format: str) -> Plan:  # noqa: A002 (the wire's own word)
        """Read all that can be read; what cannot is said and left out."""
        text = text.removeprefix("\ufeff")
        if format == "markdown":
            name, entries = self._source, [(dict(item.entry), item.lines) for item in parse_checklist(text)]
            if not entries:
                self.say(1, "no `- [ ] title` line: nothing to do")
        elif format == "toml":
            name, entries = self._read_toml(text)
        else:
            raise PlanError(f"unknown plan format {format!r}", mend="use `toml` or `markdown`")
        if len(entries) > MAX_TASKS:
            self.say(1, f"{len(entries)} tasks; a plan may hold {MAX_TASKS}")
            entries = []
        specs = tuple(self._read_task(raw, lines) for raw, lines in entries)
        return Plan(name, specs, tuple(lines for _, lines in entries), self._source)

    def judge(self, plan: Plan, known: Collection[TaskId], workers: Sequence[WorkerSpec]) -> None:
        """Say every unknown `needs`, tag set that nobody covers, and cycle."""
        every_id = {spec.id for spec in plan.tasks} | set(known)
        all_tags = sorted(set().union(*(worker.tags for worker in workers)))
        for spec, lines in zip(plan.tasks, plan.lines, strict=True):
            for need in spec.needs:
                if need not in every_id:
                    self.say(
                        lines.of("needs"),
                        f"task {spec.id!r} needs {need!r}, which no task is called{_nearest(need, every_id)}",
                    )
            if not any(worker.covers(spec.tags) for worker in workers):
                self.say(
                    lines.of("tags"),
                    f"task {spec.id!r} has the tags {', '.join(spec.tags)}, which no single worker has"
                    f" (there are: {', '.join(all_tags)})",
                )
        needs: dict[str, set[str]] = {}
        for spec in plan.tasks:  # An id that is used twice may still close a circle.
            needs.setdefault(spec.id, set()).update(spec.needs)
        for cycle in find_cycles(needs):
            loop = " -> ".join([*cycle, cycle[0]])
            self.say(
                plan.line_of(TaskId(cycle[0]), "needs"), f"these tasks need each other in a circle: {loop}"
            )

    def _read_toml(self, text: str) -> tuple[str, list[tuple[dict[str, Any], KeyLines]]]:
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # Also numbers and nesting beyond what Python reads.
            self.say(0, f"not valid TOML: {error}")
            return "", []
        located = locate_toml(text)
        for key in document.keys() - {"plan", "task"}:
            self.say(located.tables.get(key, 0), f"unknown table [{key}]{_nearest(key, ('plan', 'task'))}")
        head = document.get("plan", {})
        if not isinstance(head, dict):
            self.say(0, "[plan] is not a table")
            head = {}
        for key in head.keys() - _PLAN_KEYS:
            self.say(located.plan.of(key), f"unknown key {key!r} in [plan]{_nearest(key, _PLAN_KEYS)}")
        self._on_need_failed = self._rule(head, located.plan)
        raw_tasks = document.get("task", [])
        if not isinstance(raw_tasks, list) or not all(isinstance(raw, dict) for raw in raw_tasks):
            self.say(0, "tasks are written as [[task]]")
            return "", []
        if not raw_tasks:
            self.say(0, "no [[task]]: nothing to do")
        task_lines = located.tasks
        if len(task_lines) != len(raw_tasks):  # An inline array of tables has no headers to point at.
            task_lines = [KeyLines(0, {})] * len(raw_tasks)
        return str(head.get("name", self._source)), list(zip(raw_tasks, task_lines, strict=True))

    def _read_task(self, raw: Mapping[str, Any], lines: KeyLines) -> TaskSpec:
        for key in raw.keys() - _TASK_KEYS:
            self.say(lines.of(key), f"unknown key {key!r}{_nearest(key, _TASK_KEYS)}")
        task_id = self._read_id(raw, lines)
        title = self._text(raw, "title", lines)
        if not title.strip():
            self.say(lines.of("title"), f"task {task_id!r} has no title")
        return TaskSpec(
            id=TaskId(task_id),
            title=title.strip(),
            description=self._text(raw, "description", lines).strip(),
            priority=self._priority(raw, lines),
            tags=tuple(sorted(set(self._texts(raw, "tags", lines)))),
            needs=tuple(TaskId(need) for need in dict.fromkeys(self._texts(raw, "needs", lines))),
            writes=self._texts(raw, "writes", lines),
            check=self._text(raw, "check", lines).strip(),
            budget_usd_micros=self._budget(raw, lines),
            budget_tokens=self._token_budget(raw, lines),
            on_need_failed=self._rule(raw, lines),
        )

    def _read_id(self, raw: Mapping[str, Any], lines: KeyLines) -> str:
        task_id = raw.get("id", "")
        line = lines.of("id")
        if task_id == "":
            self.say(line, "a task has no id")
            return ""
        if not isinstance(task_id, str) or not TASK_ID_PATTERN.fullmatch(task_id):
            self.say(line, f"id {task_id!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
            return str(task_id)
        if task_id in self._seen:
            self.say(line, f"id {task_id!r} is used twice; first in line {self._seen[task_id]}")
        self._seen.setdefault(task_id, line)
        return task_id

    def _text(self, raw: Mapping[str, Any], key: str, lines: KeyLines) -> str:
        value = raw.get(key, "")
        if isinstance(value, str):
            return value
        self.say(lines.of(key), f"{key} is a text in quotes, not {value!r}")
        return ""

    def _texts(self, raw: Mapping[str, Any], key: str, lines: KeyLines) -> tuple[str, ...]:
        value = raw.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            if key == "writes" and any(item.startswith("/") or ".." in item.split("/") for item in value):
                self.say(lines.of(key), "writes names files of the repository: no leading / and no ..")
            if key == "tags" and any("," in item for item in value):
                self.say(lines.of(key), "a tag holds no comma: write each tag in quotes of its own")
            return tuple(value)
        self.say(lines.of(key), f"{key} is a list of texts, not {value!r}")
        return ()

    def _priority(self, raw: Mapping[str, Any], lines: KeyLines) -> int:
        value = raw.get("priority", 3)
        if isinstance(value, int) and not isinstance(value, bool) and value in PRIORITIES:
            return value
        self.say(lines.of("priority"), f"priority is a number from 1 (idle) to 5 (critical), not {value!r}")
        return 3

    def _rule(self, raw: Mapping[str, Any], lines: KeyLines) -> OnNeedFailed:
        value = raw.get("on_need_failed", self._on_need_failed)
        if value in list(OnNeedFailed):
            return OnNeedFailed(value)
        words = " or ".join(f'"{rule}"' for rule in OnNeedFailed)
        self.say(lines.of("on_need_failed"), f"on_need_failed is {words}, not {value!r}")
        return self._on_need_failed

    def _budget(self, raw: Mapping[str, Any], lines: KeyLines) -> UsdMicros | None:
        value = raw.get("budget_usd")
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
            return usd_micros(value)
        self.say(lines.of("budget_usd"), f"budget_usd is a number of dollars above 0, not {value!r}")
        return None

    def _token_budget(self, raw: Mapping[str, Any], lines: KeyLines) -> int | None:
        value = raw.get("budget_tokens")
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53):
            return value
        words = f"budget_tokens is a whole number of tokens above 0, not {value!r}"
        self.say(lines.of("budget_tokens"), words)
        return None


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or nothing when no known word is near."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
