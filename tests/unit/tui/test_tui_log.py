"""The daemon's log in the dashboard, and a dashboard that only looks on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

import pytest
from tui_fakes import FakeDaemon, HandClock, need, screen_lines, settle, toasts
from tui_night import Night, a_night

from agentcoord.errors import RpcError
from agentcoord.telemetry.log_file import LogTail
from agentcoord.tui.app import DashboardApp
from agentcoord.tui.link import Mode
from agentcoord.tui.log_text import log_line, with_match
from agentcoord.tui.read_only import READING, ReadOnlySource
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.log import LOOK_S, LogScreen
from agentcoord.tui.screens.review import ReviewScreen
from agentcoord.tui.styled import Span, Tone, plain_text
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method


def a_line(event: str, level: str = "info", minute: int = 0, **more: object) -> str:
    record = {"event": event, "level": level, "timestamp": f"2026-11-21T04:{minute:02}:00Z", **more}
    return json.dumps(record) + "\n"


@asynccontextmanager
async def looking(
    log_file: Path | None, *, mode: Mode = Mode.LIVE, size: tuple[int, int] = (110, 30)
) -> AsyncIterator[Night]:
    daemon, clock = FakeDaemon(a_night(needs_you=[need("api", "question", "Which?")])), HandClock()
    app = DashboardApp(daemon, project_name="shop", clock=clock, zone=UTC, mode=mode, log_file=log_file)
    async with app.run_test(size=size) as pilot:
        n = Night(daemon, clock, app, pilot)
        await settle(pilot, until=lambda: app.model.live)
        yield n


class TestLog:
    async def test_it_follows_the_file_through_rotation_until_a_person_scrolls(self, tmp_path: Path) -> None:
        log = tmp_path / "d.jsonl"
        log.write_text("".join(a_line(f"first-{i}", minute=i) for i in range(50)))
        async with looking(log) as n:
            await n.press("L")
            assert isinstance(n.app.screen, LogScreen)
            await n.see("first-49")
            assert "first-0 " not in "\n".join(screen_lines(n.app))
            with log.open("a") as file:
                file.write(a_line("written-later") + '{"event": "half')
            n.clock.advance(LOOK_S)
            await n.see("written-later")
            await n.press("g")
            await n.see("first-0")
            log.rename(tmp_path / "d.jsonl.1")
            log.write_text(a_line("after-rotation"))
            n.clock.advance(LOOK_S)
            await n.see("f follows")
            assert "after-rotation" not in "\n".join(screen_lines(n.app)), "it stays where the person looks"
            await n.press("f")
            await n.see("after-rotation")
            await n.press("escape")
            assert not isinstance(n.app.screen, LogScreen)

    async def test_it_shows_one_task_and_what_is_serious(self, tmp_path: Path) -> None:
        log = tmp_path / "d.jsonl"
        log.write_text(
            a_line("of-cli", task="cli")
            + a_line("of-api", "warning", task="api", worker="Backend-Engineer-1")
            + a_line("of-nobody", "error")
        )
        async with looking(log) as n:
            n.table("tasks").select("cli")
            await n.press("l")
            await n.see("of-cli")
            assert "of-api" not in "\n".join(screen_lines(n.app))
            await n.press("b")
            await n.see("of-nobody")
            await n.press("L")
            await n.see("warning and worse")
            assert "of-cli" not in "\n".join(screen_lines(n.app))
            await n.press("L")
            await n.see("error and worse")
            assert "of-api" not in "\n".join(screen_lines(n.app))
            await n.press("b")
            await n.see("No line of the log is about cli and of level error.")
            await n.press("escape", "colon", *"log Backend-Engineer-1", "enter")
            await n.see("of-api")
            await n.press("escape", "colon", *"log nobody", "enter")
            await n.told("There is no task and no worker nobody.")

    async def test_a_search_marks_and_goes_from_one_to_the_next(self, tmp_path: Path) -> None:
        log = tmp_path / "d.jsonl"
        log.write_text("".join(a_line("needle" if i % 30 == 0 else "hay") for i in range(90)) + a_line("end"))
        async with looking(log) as n:
            await n.press("L")
            await n.see("end")
            await n.press("n")
            await n.told("Search first")
            await n.press("slash", *"Needle")
            await n.see("3 lines with needle")
            await n.press("enter")
            view = n.app.screen.query_one("#pager", LinesView)
            assert round(view.scroll_y) == 60
            await n.press("N")
            assert round(view.scroll_y) == 30
            await n.press("N", "N")
            await n.told("No more lines match in this direction.")
            assert round(view.scroll_y) == 0
            await n.press("escape")
            assert isinstance(n.app.screen, LogScreen), "the first Esc ends the search"
            await n.press("escape")
            assert not isinstance(n.app.screen, LogScreen)

    async def test_a_log_that_is_not_there_is_told_and_read_when_it_comes(self, tmp_path: Path) -> None:
        log = tmp_path / "d.jsonl"
        async with looking(log) as n:
            await n.press("L")
            await n.see("The daemon has written no log yet")
            log.write_text(a_line("here"))
            n.clock.advance(LOOK_S)
            await n.see("here")


def test_a_tail_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.read(10) == []
    path.write_bytes(b"a\nb\nc\n\xffd")
    assert tail.read(2) == ["b", "c"]
    with path.open("ab") as file:
        file.write(b"e\n")
    assert tail.read(2) == ["\N{REPLACEMENT CHARACTER}de"]
    path.write_bytes(b"new\n")
    assert tail.read(2) == ["new"], "a file that was cut is read from its beginning"


def test_matches_are_marked_in_every_span() -> None:
    line = (Span("One one", Tone.MUTED), Span("tONe"))
    marked = with_match(line, "one")
    assert plain_text(marked) == plain_text(line)
    assert [span.text for span in marked if span.tone is Tone.BADGE] == ["One", "one", "ONe"]
    assert with_match(line, "") == line


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert plain_text(log_line("Traceback\x1b[31m")) == "Traceback[31m"
    assert plain_text(log_line("[1]")) == "[1]"


class TestReadOnly:
    async def test_every_key_that_acts_says_why_it_does_not(self, tmp_path: Path) -> None:
        async with looking(None, mode=Mode.READ_ONLY) as n:
            await n.see("● live  read-only")
            for key in ("p", "x", "r", "y", "u", "a"):
                n.app.clear_notifications()
                await n.press(key)
                assert not isinstance(n.app.screen, ConfirmScreen)
                assert toasts(n.app) == [Mode.READ_ONLY.why_not], key
            await n.press("1", "x")
            assert not isinstance(n.app.screen, ConfirmScreen)
            for command in (
                "drain",
                "spawn architect",
                "cleanup",
                "cleanup --all",
                "kill --all",
                "answer api x",
            ):
                n.app.clear_notifications()
                await n.press("colon", *command, "enter")
                assert toasts(n.app) == [Mode.READ_ONLY.why_not], command
            assert {method for method, _ in n.daemon.calls} <= READING

    async def test_looking_works(self, tmp_path: Path) -> None:
        async with looking(None, mode=Mode.READ_ONLY) as n:
            n.daemon.answers[Method.DIFF] = lambda _: {"text": "+x\n", "next_offset": None}
            n.table("tasks").select("tests")
            await n.press("d")
            await n.see("Diff of tests")
            await n.press("escape", "v")
            assert isinstance(n.app.screen, ReviewScreen)
            await n.press("y")
            await n.told(Mode.READ_ONLY.why_not)

    async def test_the_source_refuses_what_no_screen_should_ask(self) -> None:
        daemon = FakeDaemon(a_night())
        source = ReadOnlySource(daemon)
        for method in set(Method) - READING:
            with pytest.raises(RpcError, match="read-only"):
                await source.call(method)
        assert daemon.calls == []
        assert (await source.call(Method.TASKS))["tasks"]


def test_a_run_that_stands_in_every_line_is_shown_where_it_begins() -> None:
    assert "run" not in plain_text(log_line(a_line("task.done", task="a", run="r1")))
    assert plain_text(log_line(a_line("plan.loaded", run="r1"))).endswith("run=r1")
