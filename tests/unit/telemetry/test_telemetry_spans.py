"""Spans made of events: one tree a run, by the conventions, without a word of what was said."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from typing import Any

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.usage import Usage
from agentcoord.telemetry.spans import Span, SpanBook

RUN = "r20261126-220000"
BEGAN_MS = 1_795_730_400_000
USAGE = Usage(
    input_tokens=10, cache_write_5m_tokens=20, cache_write_1h_tokens=30, cache_read_tokens=40, output_tokens=5
)
_numbers = count(1)


def event(kind: EventKind, after_ms: int, task: str | None = "t", **data: Any) -> Event:
    return Event(kind, BEGAN_MS + after_ms, task, "Architect", data, seq=next(_numbers))


def claimed(after_ms: int, token: int = 7, attempt: int = 1) -> Event:
    return event(EventKind.TASK_CLAIMED, after_ms, token=token, attempt=attempt, model="claude-small")


def night() -> list[Event]:
    turn: dict[str, Any] = {
        "turn": 1,
        "model": "claude-small-1",
        "stop_reason": "tool_use",
        "cost_usd_micros": 1_500,
    }
    return [
        claimed(100),
        event(EventKind.TASK_TURN, 900, usage=USAGE.to_dict(), ms=700, **turn),
        event(EventKind.TASK_TOOL, 1_000, tool="bash", summary="run cat secret", is_error=True, ms=50),
        event(EventKind.TASK_CHECKED, 2_000, check="tests", exit_code=1, ok=False, ms=300),
        event(EventKind.TASK_CHECKED, 2_500, check="tests", exit_code=0, ok=True, ms=300),
        event(EventKind.TASK_LANDING, 2_600),
        event(EventKind.TASK_DONE, 2_700, files=["a.py"], lines_added=3, lines_removed=1),
    ]


def book(**more: Any) -> SpanBook:
    made = SpanBook("shop", **more)
    made.begin(RUN)
    return made


def all_of(made: SpanBook, events: list[Event]) -> list[Span]:
    return [span for each in events for span in made.spans_of(each)]


def test_a_night_is_one_tree_whose_times_lie_within_each_other() -> None:
    made = book()
    spans = all_of(made, night())
    spans += made.run_ended(BEGAN_MS + 3_000)
    assert made.run_ended(BEGAN_MS + 4_000) == [], "a run ends once"
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert {span.trace_id for span in spans} == {spans[0].trace_id}
    tree = {span.name: by_id[span.parent_id].name if span.parent_id else "" for span in spans}
    assert tree == {
        "run r20261126-220000": "",
        "task t": "run r20261126-220000",
        "invoke_agent Architect": "task t",
        "chat claude-small-1": "invoke_agent Architect",
        "execute_tool bash": "invoke_agent Architect",
        "check tests": "invoke_agent Architect",
        "landing": "invoke_agent Architect",
    }
    for span in spans:
        if span.parent_id:
            parent = by_id[span.parent_id]
            assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns, span.name
    assert next(span for span in spans if not span.parent_id).start_ns == BEGAN_MS * 1_000_000


def test_attributes_are_those_of_the_conventions() -> None:
    spans = {span.name: span for span in all_of(book(provider="gcp.vertex_ai"), night())}
    chat = spans["chat claude-small-1"]
    assert chat.is_client
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.vertex_ai",
        "gen_ai.request.model": "claude-small",
        "gen_ai.response.model": "claude-small-1",
        "gen_ai.response.finish_reasons": ("tool_use",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 50,
        "agentcoord.cost_usd": 0.0015,
        "agentcoord.turn": 1,
    }
    tool = spans["execute_tool bash"]
    assert (tool.error, tool.attributes["error.type"]) == ("tool_error", "tool_error")
    assert spans["invoke_agent Architect"].attributes["gen_ai.agent.name"] == "Architect"
    assert spans["task t"].attributes["gen_ai.usage.input_tokens"] == 100


def test_no_word_is_in_a_span_unless_it_is_asked_for_and_then_without_secrets() -> None:
    failed = [claimed(0), event(EventKind.TASK_FAILED, 10, why="cat secret failed", setback="gave_up")]
    silent = str(all_of(book(), night()) + all_of(book(), failed))
    assert "cat" not in silent
    made = book(with_content=True, clean=lambda words: words.replace("secret", "***"))
    told = str(all_of(made, night()) + all_of(made, failed))
    assert "run cat ***" in told
    assert "cat *** failed" in told
    assert "secret" not in told


def test_every_way_an_attempt_can_go_ends_its_span_once() -> None:
    made = book()
    first = all_of(made, [claimed(0), event(EventKind.TASK_REQUEUED, 5, why="no", setback="unproven")])
    assert [(span.name, span.error) for span in first] == [("invoke_agent Architect", "unproven")]
    lost = all_of(made, [claimed(10, token=8, attempt=2), claimed(20, token=9, attempt=2)])
    assert [span.error for span in lost] == ["lost"]
    died = all_of(made, [event(EventKind.DAEMON_STARTED, 30, task=None)])
    assert [span.error for span in died] == ["interrupted"]
    parked = all_of(
        made, [claimed(40, token=10), event(EventKind.TASK_PARKED, 50, why="x", setback="conflict")]
    )
    assert [(span.name, span.error) for span in parked] == [
        ("invoke_agent Architect", "conflict"),
        ("task t", "conflict"),
    ]
    assert len({span.parent_id for span in (*first, *lost, *died, parked[0])}) == 1, "all of one task"
    assert all_of(made, [event(EventKind.TASK_CANCELLED, 60, task="never-begun", why="")]) == []


def test_a_restarted_daemon_names_the_same_spans() -> None:
    events = night()
    first, second = book(), book()
    expected = all_of(first, events)
    for each in events[:4]:
        second.spans_of(each)
    assert all_of(second, events[4:]) == expected[3:]


def test_nothing_of_the_extras_is_imported_by_the_daemon() -> None:
    program = (
        "import sys, agentcoord.daemon.compose; "
        "print(sorted({'opentelemetry.sdk', 'apprise', 'requests', 'http.client'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
