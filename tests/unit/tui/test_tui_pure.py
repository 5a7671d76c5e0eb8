"""The pure half: text, columns, filter, rows, header, events in words, diffs, what keys may do."""

from __future__ import annotations

import pytest
from tui_fakes import NOW_MS, event, need, snapshot, status, task, worker

from agentcoord.domain.events import EventKind
from agentcoord.domain.states import TaskState
from agentcoord.domain.worker import WorkerState
from agentcoord.tui import actions, text
from agentcoord.tui.detail_text import detail_lines
from agentcoord.tui.diff_lines import diff_lines, file_starts
from agentcoord.tui.event_text import sentence, tone_of
from agentcoord.tui.filtering import parse_filter
from agentcoord.tui.glyphs import task_glyph, worker_glyph
from agentcoord.tui.header import header_lines, spend_bar
from agentcoord.tui.link import Link, LinkView
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.rows import (
    EVENT_COLUMNS,
    TASK_COLUMNS,
    WORKER_COLUMNS,
    Order,
    sorted_tasks,
    task_row,
    worker_row,
)
from agentcoord.tui.styled import Span, Tone, plain_text, width_of
from agentcoord.tui.widgets.columns import GAP, Column, lay_out
from agentcoord.wire.messages import StatusView, TaskView
from agentcoord.wire.task_views import TaskDetail


def live_model(view: StatusView | None = None, tasks: list[TaskView] | None = None) -> DashboardModel:
    model = DashboardModel(now_ms=NOW_MS)
    taken = snapshot(tasks)
    if view is not None:
        taken["status"] = view
    model.begin({"epoch": "first", "seq": 2, "mode": "resync", "snapshot": taken})
    model.set_link(LinkView(Link.LIVE, NOW_MS))
    return model


class TestText:
    def test_control_characters_never_reach_the_terminal(self) -> None:
        assert text.one_line("a\x1b[2Jb\u202ec\ud800\nd\te") == "a[2Jbc d e"

    def test_fit_is_exact_in_cells_also_for_wide_characters(self) -> None:
        assert text.fit("abcdef", 4) == "abc…"
        assert text.fit("ab", 4, right=True) == "  ab"
        assert text.fit("日本語", 4) == "日 …"
        assert text.fit("x", 0) == ""

    @pytest.mark.parametrize(
        ("usd", "shown"),
        [(0.0, "$0.00"), (0.0002, "$0.00"), (0.0031, "$0.003"), (4.6249, "$4.62"), (1204.4, "$1,204")],
    )
    def test_money_is_short(self, usd: float, shown: str) -> None:
        assert text.money(usd) == shown

    @pytest.mark.parametrize(
        ("ms", "shown"),
        [(-5, "0:00"), (9_000, "0:09"), (761_000, "12:41"), (3_900_000, "1h05"), (183_600_000, "2d03h")],
    )
    def test_spans_are_short(self, ms: int, shown: str) -> None:
        assert text.span(ms) == shown

    def test_wrapping_keeps_breaks_and_indentation_and_cuts_long_words(self) -> None:
        assert text.wrap("one two three\n  four five", 9) == ["one two", "three", "  four", "  five"]
        assert text.wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]
        assert text.wrap(" \n ", 9) == []


class TestColumns:
    COLUMNS = (Column("a", "A", 4, most=8), Column("b", "B", 5, flex=1), Column("c", "C", 6, rank=1))

    def test_everything_fits_and_the_flexible_takes_the_rest(self) -> None:
        assert lay_out(self.COLUMNS, [6, 0, 0], 40) == [6, 26, 6]

    def test_the_highest_rank_goes_before_content_is_cut(self) -> None:
        assert lay_out(self.COLUMNS, [8, 0, 0], 18) == [8, 9, 0]

    def test_fixed_columns_give_way_when_nothing_else_can_go(self) -> None:
        assert lay_out(self.COLUMNS, [8, 0, 0], 11) == [5, 5, 0]

    @pytest.mark.parametrize("columns", [TASK_COLUMNS, WORKER_COLUMNS, EVENT_COLUMNS])
    def test_our_tables_fill_every_width_from_forty_to_two_hundred(self, columns: tuple[Column, ...]) -> None:
        for width in range(40, 201):
            widths = lay_out(columns, [30] * len(columns), width)
            kept = [w for w in widths if w]
            assert sum(kept) + GAP * (len(kept) - 1) == width


class TestFilter:
    TASKS = (
        task("api", "running", tags=["backend"], worker="Backend-Engineer-1"),
        task("docs", "done", tags=["docs"], worker="Architect"),
        task("old", "done", tags=["docs"], review="accepted"),
        task("stuck", "parked", why="a conflict in cli.py"),
    )

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            ("", ["api", "docs", "old", "stuck"]),
            ("state:running", ["api"]),
            ("state:run,parked", ["api", "stuck"]),
            ("state:review", ["docs"]),
            ("state:accepted", ["old"]),
            ("!state:done", ["api", "stuck"]),
            ("tag:docs", ["docs", "old"]),
            ("worker:backend", ["api"]),
            ("CONFLICT", ["stuck"]),
            ("tag:docs !old", ["docs"]),
            ("state:", ["api", "docs", "old", "stuck"]),
            ("!", ["api", "docs", "old", "stuck"]),
            ("color:red", []),
            ("re:^(api|old)$", ["api", "old"]),
            ("!re:^D", ["api", "old", "stuck"]),
            (r"re:\W\w{2}\.py", []),
            (r"re:\Wcli\.py", ["stuck"]),
            ("re:(", []),
            ("re:", ["api", "docs", "old", "stuck"]),
        ],
    )
    def test_terms(self, typed: str, found: list[str]) -> None:
        task_filter = parse_filter(typed)
        assert [t["id"] for t in self.TASKS if task_filter.matches(t)] == found


class TestRows:
    def test_what_needs_a_person_comes_first_then_priority(self) -> None:
        rows = [
            task("d", "done"),
            task("q", priority=5),
            task("r", "running"),
            task("p", "parked"),
            task("q2"),
        ]
        assert [t["id"] for t in sorted_tasks(rows)] == ["p", "r", "q", "q2", "d"]

    def test_tasks_can_be_sorted_in_other_ways(self) -> None:
        rows = [
            task("b", priority=1, cost_usd=0.1, queued_at=3),
            task("a", priority=5, cost_usd=0.3, queued_at=2),
            task("c", "parked", priority=3, cost_usd=0.2, queued_at=1),
        ]
        found = {order: "".join(t["id"] for t in sorted_tasks(rows, order=order)) for order in Order}
        assert found == {
            Order.NEEDS: "cab",
            Order.PRIORITY: "acb",
            Order.COST: "acb",
            Order.AGE: "cab",
            Order.ID: "abc",
        }

    def test_every_state_has_a_sign_and_an_unknown_one_a_dot(self) -> None:
        assert len({task_glyph(s) for s in TaskState}) == len(TaskState)
        assert len({worker_glyph(s) for s in WorkerState}) == len(WorkerState)
        assert task_glyph("teleporting").text == "·"

    def test_a_blocked_task_says_what_it_needs_and_a_done_one_what_it_brought(self) -> None:
        blocked = task_row(task("x", "blocked", needs=["a", "b"]), asks=False)
        done = task_row(task("y", "done", lines_added=9, lines_removed=2, files=["f"]), asks=False)
        assert blocked.cells[-1].text == "needs a, b"
        assert done.cells[-1].text == "+9 -2 in 1"

    def test_a_task_whose_worker_asks_is_marked_though_it_runs(self) -> None:
        row = task_row(task("x", "running"), asks=True)
        assert row.cells[0] == Span("◆", Tone.WARN)
        assert row.cells[2].text == "running"

    def test_a_waiting_task_shows_no_worker_even_if_it_had_one(self) -> None:
        assert task_row(task("x", "queued", worker="Architect"), asks=False).cells[5].text == ""

    def test_an_accepted_task_is_called_accepted(self) -> None:
        assert task_row(task("x", "done", review="accepted"), asks=False).cells[2].text == "accepted"

    def test_a_worker_row_tells_task_doing_and_age(self) -> None:
        row = worker_row(
            worker("Backend-Engineer-1", "working", task="a", doing="edits x.py", cost_usd=0.4, turns=3),
            now_ms=NOW_MS,
            short=True,
        )
        assert [cell.text for cell in row.cells] == [
            "●",
            "Backend-1",
            "a",
            "",
            "edits x.py",
            "3",
            "1:05",
            "$0.40",
        ]

    def test_hostile_titles_are_made_harmless(self) -> None:
        row = task_row(task("x", title="evil\x1b]0;owned\x07\nline"), asks=False)
        assert row.cells[4].text == "evil]0;owned line"


class TestHeader:
    @pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
    def test_lines_are_exactly_as_wide_as_the_terminal(self, width: int) -> None:
        model = live_model(status(needs_you=[need("a")], baseline="red: tests", scripted=True))
        for line in header_lines(model, "shop", width=width, now_ms=NOW_MS):
            assert width_of(line) == width

    def test_the_facts_are_there_at_eighty_columns(self) -> None:
        first, second = map(plain_text, header_lines(live_model(), "shop", width=80, now_ms=NOW_MS))
        assert first.startswith(" AgentCoord  shop@main  ● live  running")
        assert first.endswith("api.anthropic.com ")
        assert second.startswith(" 1/2 busy  0 to do  ✔0  ✗0  ◆0 need you")
        assert second.rstrip().endswith("$1.50/$6.00  ██▒░░░░░░░  25%")

    def test_a_scripted_model_is_never_left_out(self) -> None:
        first, _ = header_lines(live_model(status(scripted=True)), "shop", width=60, now_ms=NOW_MS)
        assert "scripted model" in plain_text(first)

    def test_reviews_are_counted_apart_from_what_waits_for_a_person(self) -> None:
        model = live_model(status(needs_you=[need("a"), need("b", "review"), need("c", "review")]))
        _, second = header_lines(model, "shop", width=120, now_ms=NOW_MS)
        assert "◆1 needs you  2 to review" in plain_text(second)

    def test_the_forecast_warns_when_it_exceeds_the_cap(self) -> None:
        for p90, tone in ((6.0, Tone.MUTED), (7.0, Tone.WARN)):
            model = live_model(status(forecast_usd=5.0, forecast_p90_usd=p90))
            _, second = header_lines(model, "shop", width=120, now_ms=NOW_MS)
            assert Span(f"$5.00 to ${p90:.2f} at the end", tone) in second

    def test_a_cap_on_tokens_shows_how_much_of_it_is_used(self) -> None:
        for tokens, tone in ((790, Tone.MUTED), (800, Tone.WARN)):
            spend = status()["spend"] | {"tokens": tokens, "tokens_cap": 1_000}
            _, second = header_lines(live_model(status(spend=spend)), "shop", width=120, now_ms=NOW_MS)
            assert Span(f"{tokens // 10}% of tokens", tone) in second

    def test_without_a_cap_there_is_no_bar(self) -> None:
        spend = status()["spend"] | {"cap_usd": None}
        _, second = header_lines(live_model(status(spend=spend)), "shop", width=80, now_ms=NOW_MS)
        assert "$1.50  no cap" in plain_text(second)

    def test_the_bar_never_overflows(self) -> None:
        spend = status()["spend"] | {"spent_usd": 9.0, "reserved_usd": 3.0}
        assert plain_text(spend_bar(status(spend=spend)["spend"])) == "█" * 10

    def test_a_lost_connection_says_how_stale_and_when_it_tries_again(self) -> None:
        model = live_model()
        model.set_link(LinkView(Link.LOST, NOW_MS - 12_000, "gone", retry_at_ms=NOW_MS + 3_500))
        first, _ = header_lines(model, "shop", width=100, now_ms=NOW_MS)
        assert "▲ stale for 12 s  next try in 4 s" in plain_text(first)


class TestEventWords:
    def test_every_kind_of_event_has_words_even_without_data(self) -> None:
        for kind in EventKind:
            said = sentence(event(1, kind, None))
            assert said
            assert said != str(kind), f"{kind} has no words of its own"

    def test_a_landing_tells_files_lines_and_money(self) -> None:
        landed = event(
            1,
            EventKind.TASK_DONE,
            "api",
            files=["a"],
            lines_added=5,
            lines_removed=1,
            cost_usd_micros=380_000,
        )
        assert sentence(landed) == "api landed 1 file, +5 -1, $0.38"
        red = {"kind": "task.checked", "task": "api", "data": {"check": "tests", "exit_code": 1, "ms": 2100}}
        assert sentence(red) == "api tests failed with 1 in 2.1 s"
        red["data"] |= {"on_top_of": 2}  # type: ignore[operator]  # A mapping, as above.
        assert sentence(red) == "api tests failed with 1 in 2.1 s, on top of 2 changes not landed yet"
        assert tone_of(landed) is Tone.GOOD

    def test_an_event_of_a_newer_daemon_is_shown_as_it_is(self) -> None:
        assert sentence({"kind": "moon.rose", "data": {"phase": "full"}}) == "moon.rose phase full"

    def test_a_red_check_and_a_failed_tool_stand_out(self) -> None:
        assert tone_of(event(1, EventKind.TASK_CHECKED, ok=False)) is Tone.WARN
        assert tone_of(event(1, EventKind.TASK_TOOL, is_error=True)) is Tone.WARN
        assert tone_of(event(1, EventKind.TASK_TOOL)) is Tone.MUTED


class TestDiff:
    DIFF = (
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-- old\n+\x1b[31mnew\n same\n"
        "diff --git a/y b/y\n--- a/y\n+++ b/y\n@@ -0,0 +1 @@\n+y\n\\ No newline at end of file\n"
    )

    def test_lines_are_toned_by_the_hunks_counts(self) -> None:
        tones = [line[0].tone for line in diff_lines(self.DIFF)]
        t = Tone
        assert tones == [
            t.TITLE, t.TITLE, t.TITLE, t.ACCENT, t.REMOVED, t.ADDED, t.PLAIN,
            t.TITLE, t.TITLE, t.TITLE, t.ACCENT, t.ADDED, t.MUTED,
        ]  # fmt: skip

    def test_escape_sequences_in_a_diff_are_disarmed(self) -> None:
        assert diff_lines(self.DIFF)[5][0].text == "+[31mnew"

    def test_files_are_found(self) -> None:
        assert file_starts(diff_lines(self.DIFF)) == [0, 7]

    def test_a_hunk_header_that_lies_does_not_swallow_the_next_file(self) -> None:
        lines = diff_lines("@@ -1,9 +1,9 @@\n-a\ndiff --git a/y b/y\n--- a/y\n")
        assert [line[0].tone for line in lines] == [Tone.ACCENT, Tone.REMOVED, Tone.TITLE, Tone.TITLE]

    def test_an_empty_diff_has_no_lines(self) -> None:
        assert diff_lines("") == []


class TestActions:
    def test_everything_is_refused_without_a_connection(self) -> None:
        model = live_model()
        model.set_link(LinkView(Link.LOST, NOW_MS))
        reasons = (
            actions.why_not_pause(model),
            actions.why_not_kill(model, "Backend-Engineer-1"),
            actions.why_not_cancel(model, "a"),
            actions.why_not_diff(model, "a"),
        )
        assert set(reasons) == {actions.NO_CONNECTION}

    def test_a_queued_task_has_no_diff_and_an_ended_one_cannot_be_cancelled(self) -> None:
        model = live_model(tasks=[task("q"), task("d", "done"), task("l", "landing"), task("r", "running")])
        assert "landed nothing" in actions.why_not_diff(model, "q")
        assert actions.why_not_diff(model, "d") == ""
        assert "has ended" in actions.why_not_cancel(model, "d")
        assert "is landing" in actions.why_not_cancel(model, "l")
        assert actions.why_not_cancel(model, "r") == ""
        assert actions.why_not_cancel(model, None) == actions.NO_TASK

    def test_a_draining_daemon_cannot_be_paused(self) -> None:
        assert actions.why_not_pause(live_model(status(state="draining"))) == "The daemon is draining."
        assert actions.why_not_pause(live_model(status(state="paused"))) == ""

    def test_needs_are_walked_round_and_round(self) -> None:
        needs = [need("a"), need("b"), need("b", "question")]
        assert [actions.next_need(needs, after) for after in (None, "a", "b", "gone")] == [
            needs[0], needs[1], needs[0], needs[0],
        ]  # fmt: skip
        assert actions.next_need([], "a") is None

    def test_reviews_come_only_when_nothing_else_waits(self) -> None:
        reviews = [need("x", "review"), need("y", "review")]
        assert actions.next_need([*reviews, need("a")], "a") == need("a")
        assert actions.next_need(reviews, "x") == reviews[1]


def test_the_detail_tells_why_checks_files_questions_and_decisions() -> None:
    detail: TaskDetail = {
        "task": task("x", "failed", why="same failure twice", files=["src/a.py"], ended_at=NOW_MS),
        "description": "Do it.",
        "check": "make test",
        "checks": [
            {
                "name": "tests",
                "command": "make test",
                "exit_code": 2,
                "ok": False,
                "ms": 900,
                "output": "boom\x1b[0m",
            }
        ],
        "summary": "",
        "decisions": ["no new dependency"],
        "questions": [{"number": 1, "question": "Public?", "default": "no"}],
        "locks": [
            {
                "path": "src/a.py",
                "task": "x",
                "since": NOW_MS - 90_000,
                "waiters": ["y"],
                "waits": [{"task": "y", "since": NOW_MS - 30_000}],
            },
            {
                "path": "src/b.py",
                "task": "z",
                "since": NOW_MS - 90_000,
                "waiters": ["x"],
                "waits": [{"task": "x", "since": NOW_MS - 60_000}],
            },
        ],
        "events": [event(1, EventKind.TASK_CLAIMED, "x", attempt=1)],
    }
    shown = [plain_text(line) for line in detail_lines(detail, width=60, now_ms=NOW_MS, zone=None)]
    whole = "\n".join(shown)
    for fact in (
        "✗ failed  took 0:50", "same failure twice", "Do it.", "✗ tests  exit 2, 0.9 s  make test", "boom[0m",
        "src/a.py", "· no new dependency", "Public?", "goes on with: no", "claimed, attempt 1",
        "src/a.py: held for 1 min; wanted by y for 30 s",
        "src/b.py: wanted for 1 min; z holds it",
    ):  # fmt: skip
        assert fact in whole
    assert "Summary" not in whole, "a section with nothing in it is left out"
