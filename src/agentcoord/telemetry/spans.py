"""Traces of a run, made of its events: run, task, attempt, model call, tool call, check, landing.

Theory of operation. Nothing of the work is touched: events say what happened and when, so spans are
built when their end is told. Ids are made by hashing what a span is about (the run, the task and its first
claim, the claim's token), so that a span's children can name it before it ends, and after a restart of
the daemon too. Names and attributes follow OpenTelemetry's conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). No text of a conversation, command or file is in a
span, unless `with_content` says so; then the short words of the events are. Pure. Deliberately absent:
sending (`otlp`).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.usage import Usage, usd
from agentcoord.values import dataclass

Attribute = str | int | float | bool | tuple[str, ...]
_NS_A_MS: Final = 1_000_000
_ENDINGS: Final = frozenset(
    {EventKind.TASK_DONE, EventKind.TASK_FAILED, EventKind.TASK_PARKED, EventKind.TASK_CANCELLED}
)


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span."""

    name: str
    trace_id: int
    """128 bits."""
    span_id: int
    """64 bits."""
    parent_id: int
    """0: it has none."""
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]
    is_client: bool = False
    """It calls another service."""
    error: str = ""
    """The kind of failure; empty when there was none."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """An attempt under way."""

    span_id: int
    at_ms: int
    worker: str
    attributes: Mapping[str, Attribute]
    model: str


@dataclass(slots=True)
class _OpenTask:
    """A task under way."""

    span_id: int
    at_ms: int
    claim: _Claim | None = None
    landing_at_ms: int | None = None
    cost_usd_micros: int = 0
    usage: Usage = field(default_factory=Usage)


class SpanBook:
    """Turns events, in their order, into spans."""

    def __init__(
        self,
        project: str,
        *,
        provider: str = "anthropic",
        with_content: bool = False,
        clean: Callable[[str], str] = str,
    ) -> None:
        """`provider`: who serves the model, by the conventions. `clean` cuts secrets out of words."""
        self._project = project
        self._clean = clean
        self._provider = provider
        self._with_content = with_content
        self._run = ""
        self._tasks: dict[str, _OpenTask] = {}
        self._told: str = ""
        """The run whose own span was made."""

    def begin(self, run: str) -> None:
        """Events belong to `run` from here on."""
        if run != self._run:
            self._run = run
            self._tasks.clear()

    def run_ended(self, at_ms: int) -> list[Span]:
        """Return the run's own span, once a run."""
        if not self._run or self._told == self._run:
            return []
        self._told = self._run
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": self._project,
            "agentcoord.run": self._run,
        }
        began = _began_ms(self._run) or at_ms
        return [self._span(f"run {self._run}", self._id("run"), 0, began, at_ms, attributes)]

    def spans_of(self, event: Event) -> list[Span]:
        """Return the spans that this event ends."""
        if event.kind is EventKind.DAEMON_STARTED:
            return [
                span
                for task in list(self._tasks)
                for span in self._end_claim(task, event.at_ms, "interrupted", "")
            ]
        if event.task is None or not self._run:
            return []
        match event.kind:
            case EventKind.TASK_CLAIMED:
                return self._claimed(event, event.task)
            case EventKind.TASK_TURN:
                return self._turn(event, event.task)
            case EventKind.TASK_TOOL:
                return self._tool(event, event.task)
            case EventKind.TASK_CHECKED:
                return self._check(event, event.task)
            case EventKind.TASK_LANDING:
                self._task(event, event.task).landing_at_ms = event.at_ms
                return []
            case EventKind.TASK_REQUEUED | EventKind.TASK_QUEUED:
                error = str(event.data.get("setback", "requeued"))
                return self._end_claim(event.task, event.at_ms, error, str(event.data.get("why", "")))
            case kind if kind in _ENDINGS:
                return self._ended(event, event.task)
            case _:
                return []

    def _claimed(self, event: Event, task: str) -> list[Span]:
        spans = self._end_claim(task, event.at_ms, "lost", "")
        worker, data = event.worker or "", event.data
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": worker,
            "gen_ai.conversation.id": f"{self._run}/{task}/{data.get('attempt', 0)}",
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": str(data.get("model", "")),
            "agentcoord.task.id": task,
            "agentcoord.attempt": int(data.get("attempt", 0)),
            "agentcoord.resumed": bool(data.get("resumed", False)),
        }
        claim_id = self._id("claim", task, str(data.get("token", event.seq)))
        self._task(event, task).claim = _Claim(
            claim_id, event.at_ms, worker, attributes, str(data.get("model", ""))
        )
        return spans

    def _turn(self, event: Event, task: str) -> list[Span]:
        data, found = event.data, self._task(event, task)
        usage = Usage.from_dict(dict(data.get("usage", {})))
        cost = int(data.get("cost_usd_micros", 0))
        found.usage += usage
        found.cost_usd_micros += cost
        model = str(data.get("model", ""))
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": found.claim.model if found.claim else model,
            "gen_ai.response.model": model,
            "gen_ai.response.finish_reasons": (str(data.get("stop_reason", "")),),
            **_usage_attributes(usage, cost),
            "agentcoord.turn": int(data.get("turn", 0)),
        }
        return [self._leaf(event, found, f"chat {model}", attributes, is_client=True)]

    def _tool(self, event: Event, task: str) -> list[Span]:
        tool = str(event.data.get("tool", ""))
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
        }
        if self._with_content:
            attributes["agentcoord.tool.summary"] = self._clean(str(event.data.get("summary", "")))
        error = "tool_error" if event.data.get("is_error") else ""
        return [self._leaf(event, self._task(event, task), f"execute_tool {tool}", attributes, error=error)]

    def _check(self, event: Event, task: str) -> list[Span]:
        data = event.data
        attributes: dict[str, Attribute] = {
            "agentcoord.check.name": str(data.get("check", "")),
            "process.exit.code": int(data.get("exit_code", 0)),
            "agentcoord.check.excused": bool(data.get("excused", False)),
        }
        error = "" if data.get("ok") else "check_failed"
        name = f"check {data.get('check', '')}"
        return [self._leaf(event, self._task(event, task), name, attributes, error=error)]

    def _ended(self, event: Event, task: str) -> list[Span]:
        found = self._tasks.get(task)
        if found is None:
            return []  # It ended without ever having been worked on: because of a need, or by a person.
        data, spans = event.data, []
        done = event.kind is EventKind.TASK_DONE
        why = str(data.get("why", ""))
        error = "" if done else str(data.get("setback") or str(event.kind).removeprefix("task."))
        if done and found.landing_at_ms is not None:
            parent = found.claim.span_id if found.claim else found.span_id
            landed: dict[str, Attribute] = {
                "agentcoord.files": len(data.get("files", ())),
                "agentcoord.lines_added": int(data.get("lines_added", 0)),
                "agentcoord.lines_removed": int(data.get("lines_removed", 0)),
            }
            spans.append(
                self._span(
                    "landing",
                    self._id("landing", str(event.seq)),
                    parent,
                    found.landing_at_ms,
                    event.at_ms,
                    landed,
                )
            )
        spans += self._end_claim(task, event.at_ms, error, why)
        attributes: dict[str, Attribute] = {
            "agentcoord.task.id": task,
            "agentcoord.task.state": str(event.kind).removeprefix("task."),
            **_usage_attributes(found.usage, found.cost_usd_micros),
            **self._words(why),
        }
        parent = self._id("run")
        spans.append(
            self._span(
                f"task {task}", found.span_id, parent, found.at_ms, event.at_ms, attributes, error=error
            )
        )
        del self._tasks[task]
        return spans

    def _end_claim(self, task: str, at_ms: int, error: str, why: str) -> list[Span]:
        found = self._tasks.get(task)
        if found is None or found.claim is None:
            return []
        claim, found.claim, found.landing_at_ms = found.claim, None, None
        attributes = {**claim.attributes, **self._words(why)}
        name = f"invoke_agent {claim.worker}"
        return [self._span(name, claim.span_id, found.span_id, claim.at_ms, at_ms, attributes, error=error)]

    def _task(self, event: Event, task: str) -> _OpenTask:
        """The task; one of which nothing was heard yet begins with this event."""
        if task not in self._tasks:
            span_id = self._id("task", task, str(event.at_ms))
            self._tasks[task] = _OpenTask(span_id, event.at_ms)
        return self._tasks[task]

    def _leaf(
        self,
        event: Event,
        task: _OpenTask,
        name: str,
        attributes: Mapping[str, Attribute],
        *,
        is_client: bool = False,
        error: str = "",
    ) -> Span:
        """A span that took `ms` until its event."""
        parent = task.claim.span_id if task.claim else task.span_id
        began = event.at_ms - int(event.data.get("ms", 0))
        span_id = self._id("event", str(event.seq), str(event.at_ms))
        return self._span(
            name, span_id, parent, began, event.at_ms, attributes, is_client=is_client, error=error
        )

    def _span(
        self,
        name: str,
        span_id: int,
        parent_id: int,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute],
        *,
        is_client: bool = False,
        error: str = "",
    ) -> Span:
        shown = {**attributes, "error.type": error} if error else attributes
        trace_id = _hashed(16, self._project, self._run)
        start_ns, end_ns = start_ms * _NS_A_MS, max(start_ms, end_ms) * _NS_A_MS
        return Span(name, trace_id, span_id, parent_id, start_ns, end_ns, shown, is_client, error)

    def _words(self, why: str) -> dict[str, Attribute]:
        return {"agentcoord.why": self._clean(why)} if why and self._with_content else {}

    def _id(self, *parts: str) -> int:
        return _hashed(8, self._project, self._run, *parts)


def _usage_attributes(usage: Usage, cost_usd_micros: int) -> dict[str, Attribute]:
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return {
        # Of all kinds: that is how the conventions count input.
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": written,
        "agentcoord.cost_usd": usd(cost_usd_micros),
    }


def _hashed(size: int, *parts: str) -> int:
    """A number of `size` bytes that is never 0, the same for the same parts."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=size).digest()
    return int.from_bytes(digest) or 1


def _began_ms(run: str) -> int | None:
    """When a run began, by its id; None for one that does not say it."""
    try:
        moment = datetime.datetime.strptime(run, "r%Y%m%d-%H%M%S").replace(tzinfo=datetime.UTC)
    except ValueError:
        return None
    return int(moment.timestamp() * 1000)
