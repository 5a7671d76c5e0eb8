"""The dashboard as a person meets it: screens at two sizes, keys, effects, lost connections."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from textual.widgets import Input
from tui_fakes import (
    event,
    need,
    refusing,
    screen_lines,
    settle,
    snapshot,
    status,
    task,
    toasts,
    worker,
)
from tui_night import a_night, night

from agentcoord.domain.events import EventKind
from agentcoord.errors import RpcError
from agentcoord.tui.feed import BACKOFF_S
from agentcoord.tui.glyphs import TASK_LEGEND
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.diff import DiffScreen
from agentcoord.tui.screens.help import HelpScreen
from agentcoord.tui.screens.main import MainScreen
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.screens.worker import WorkerScreen
from agentcoord.tui.styled import plain_text
from agentcoord.tui.themes import DAY, FEW_COLOURS, NIGHT, theme_for
from agentcoord.tui.widgets.header_bar import HeaderBar
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method, Notification

DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n"

YELLOW = 3
BRIGHT_BLACK = 8


class TestMainScreen:
    async def test_at_120_columns_tasks_and_events_stand_side_by_side(self) -> None:
        async with night(a_night(needs_you=[need("cli")])) as n:
            await n.see("● live")
            lines = screen_lines(n.app)
            assert lines[0].startswith(" AgentCoord  shop@main  ● live  running")
            assert lines[1].startswith(" 1/2 busy")
            assert "◆1 needs you" in lines[1]
            assert lines[1].rstrip().endswith("$1.50/$6.00  ██▒░░░░░░░  25%  $5.70 to $5.90 at the end")
            assert lines[2].startswith("╭─ 1 Workers ")
            assert lines[3].split() == ["│", "Worker", "Task", "Title", "Doing", "Turn", "Since", "Cost", "│"]
            assert lines[4].split()[:4] == ["│", "●", "Backend-Engineer-1", "api"]
            assert lines[5].split()[:3] == ["│", "·", "Testing-Engineer-1"]
            assert lines[7].startswith("╭─ 2 Tasks 4 ")
            assert lines[7].index("3 Events · follow") == 75
            assert [line.split()[2] for line in lines[9:13]] == ["cli", "api", "docs", "tests"]
            assert (
                lines[38].startswith("╰─ cli: a conflict in cli.py ")
                or "cli: a conflict in cli.py" in lines[38]
            )
            assert lines[39].startswith(" enter open  d diff  x cancel  r retry  ")

    async def test_at_80_columns_the_panes_stack_and_names_are_short(self) -> None:
        async with night(size=(80, 24)) as n:
            await n.see("● live")
            lines = screen_lines(n.app)
            assert lines[2].startswith("─1 Workers─")
            assert lines[4].split()[:3] == ["●", "Backend-1", "api"]
            assert "edits api.py" in lines[4]
            assert lines[6].startswith("─2 Tasks 4─")
            tops = [i for i, line in enumerate(lines) if line.startswith("─3 Events")]
            assert len(tops) == 1
            assert tops[0] > 10
            assert lines[23].rstrip().endswith("q quit")
            assert all(len(line) == 80 for line in lines)

    @pytest.mark.parametrize("size", [(40, 12), (60, 20), (100, 30), (200, 60)])
    async def test_every_size_draws(self, size: tuple[int, int]) -> None:
        async with night(size=size) as n:
            await n.see("live")
            assert len(screen_lines(n.app)) == size[1]

    async def test_resizing_moves_the_panes(self) -> None:
        async with night(size=(120, 40)) as n:
            await n.see("╭─ 3 Events")
            await n.pilot.resize_terminal(80, 24)
            await n.see("─3 Events · follow─")

    async def test_changes_of_the_daemon_appear(self) -> None:
        async with night() as n:
            n.daemon.tell(Notification.TASKS, {"tasks": [task("docs", "running", worker="Architect")]})
            n.daemon.tell(
                Notification.WORKERS, {"workers": [worker("Architect", "working", doing="thinks hard")]}
            )
            n.daemon.tell(Notification.STATUS, dict(status(state="paused")))
            n.daemon.happen(event(3, EventKind.TASK_CLAIMED, "docs", attempt=1))
            await n.see("docs claimed, attempt 1")
            await n.see("thinks hard")
            await n.see("● live  paused")
            assert n.shown("workers") == ["Architect"]

    async def test_ages_grow_with_the_clock(self) -> None:
        async with night() as n:
            await n.see("1:05")
            n.clock.advance(60)
            await n.see("2:05")

    async def test_the_cursor_stays_with_its_task_when_rows_move(self) -> None:
        async with night() as n:
            await n.press("j", "j")
            assert n.table("tasks").cursor_key == "docs"
            n.daemon.tell(Notification.TASKS, {"tasks": [task("docs", "failed")]})
            await settle(n.pilot, until=lambda: n.shown("tasks").index("docs") < 2)
            assert n.table("tasks").cursor_key == "docs"

    async def test_empty_tables_say_what_to_do_next(self) -> None:
        async with night(snapshot([], [], last_seq=0)) as n:
            await n.see("agentcoord load plan.toml")
            await n.see("agentcoord spawn --role")
            await n.see("Nothing has happened yet.")

    async def test_no_color_still_tells_the_states(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        async with night() as n:
            await n.see("◆ cli")
            await n.see("parked")
            colours = {
                segment.style.color.get_truecolor()
                for strip in n.app.screen._compositor.render_strips(n.app.size)
                for segment in strip.apply_filter(n.app._filters[0], n.app.screen.background_colors[1])
                if segment.style is not None and segment.style.color is not None
            }
            assert all(c.red == c.green == c.blue for c in colours)


class TestFilter:
    async def test_typing_filters_and_escape_shows_all_again(self) -> None:
        async with night() as n:
            await n.press("slash", *"state:parked")
            assert n.shown("tasks") == ["cli"]
            await n.press("enter")
            assert n.app.focused is n.table("tasks")
            await n.see("2 Tasks 1 of 4 /state:parked")
            await n.press("escape")
            assert len(n.shown("tasks")) == 4
            assert n.app.screen.query_one(Input).display is False

    async def test_keys_are_letters_while_a_filter_is_typed(self) -> None:
        async with night() as n:
            await n.press("slash", *"qpxd!")
            assert n.app.is_running
            assert n.app.screen.query_one("#filter", Input).value == "qpxd!"
            assert n.daemon.calls == []

    async def test_a_filter_that_finds_nothing_says_so(self) -> None:
        async with night() as n:
            await n.press("slash", *"zzz")
            await n.see("No task matches /zzz.")


class TestKeys:
    async def test_s_sorts_the_tasks_another_way_and_back(self) -> None:
        async with night() as n:
            first = n.shown("tasks")
            await n.press("s")
            assert n.shown("tasks") == ["api", "docs", "cli", "tests"]
            await n.see("2 Tasks 4 · by priority")
            await n.press("s", "s", "s")
            assert n.shown("tasks") == sorted(first)
            await n.press("s")
            assert n.shown("tasks") == first

    async def test_pause_and_resume(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.PAUSE] = lambda _: {"paused": True}
            n.daemon.answers[Method.RESUME] = lambda _: {"paused": False}
            await n.press("p")
            await n.told("Paused")
            n.daemon.tell(Notification.STATUS, dict(status(state="paused")))
            await n.see("p resume")
            await n.press("p")
            await n.told("Resumed")
            assert [m for m, _ in n.daemon.calls] == [Method.PAUSE, Method.RESUME]

    async def test_cancelling_a_task_asks_first(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.CANCEL] = lambda p: {"id": p["id"], "state": "cancelled"}
            await n.press("x")
            assert isinstance(n.app.screen, ConfirmScreen)
            await n.press("n")
            assert n.daemon.calls == []
            await n.press("x", "y")
            await n.told("cli is cancelled.")
            assert n.daemon.answered(Method.CANCEL) == [{"id": "cli", "why": "cancelled in the dashboard"}]

    async def test_enter_on_a_question_means_no(self) -> None:
        async with night() as n:
            await n.press("x", "enter")
            assert isinstance(n.app.screen, MainScreen)
            assert n.daemon.calls == []

    async def test_killing_a_worker_asks_first_and_names_its_task(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.KILL] = lambda p: {"killed": [p["worker"]]}
            await n.press("1", "x")
            await n.see("Its task api goes back to the queue.")
            await n.press("y")
            await n.told("Killed Backend-Engineer-1.")

    async def test_a_key_that_cannot_act_says_why(self) -> None:
        async with night() as n:
            n.table("tasks").select("docs")
            await n.press("d")
            await n.told("docs has landed nothing to show: it is queued.")
            n.table("tasks").select("tests")
            await n.press("x")
            await n.told("tests has ended")
            await n.press("exclamation_mark")
            await n.told("Nothing needs you now.")
            assert isinstance(n.app.screen, MainScreen)

    async def test_a_refusal_of_the_daemon_is_told_with_its_mend(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.PAUSE] = refusing(
                RpcError("Redis is away.", code=4, mend="agentcoordd status")
            )
            await n.press("p")
            await n.told("Redis is away. Try: agentcoordd status")

    async def test_next_that_needs_you_selects_it_even_behind_a_filter(self) -> None:
        async with night(a_night(needs_you=[need("cli", text="a conflict"), need("tests", "question")])) as n:
            await n.press("slash", *"state:queued", "enter", "exclamation_mark")
            assert n.table("tasks").cursor_key == "cli"
            await n.told("cli: a conflict")
            await n.press("exclamation_mark")
            assert n.table("tasks").cursor_key == "tests"
            await n.press("exclamation_mark")
            assert n.table("tasks").cursor_key == "cli"

    async def test_help_opens_and_closes(self) -> None:
        async with night() as n:
            await n.press("question_mark")
            assert isinstance(n.app.screen, HelpScreen)
            await n.see("next task that needs you")
            await n.press("escape")
            assert isinstance(n.app.screen, MainScreen)

    @pytest.mark.parametrize(
        ("keys", "first"), [("", "Everywhere"), ("v", "Review"), ("L", "Log"), ("1 enter", "Worker")]
    )
    async def test_the_help_begins_with_the_keys_of_the_screen(self, keys: str, first: str) -> None:
        async with night() as n:
            await n.press(*keys.split(), "question_mark")
            view = n.app.screen.query_one(LinesView)
            assert plain_text(view.lines[0]).strip() == first

    @pytest.mark.parametrize("size", [(80, 24), (50, 20), (200, 60)])
    async def test_no_word_of_the_help_is_cut_off(self, size: tuple[int, int]) -> None:
        async with night(size=size) as n:
            await n.press("question_mark")
            view = n.app.screen.query_one(LinesView)
            said = [plain_text(line) for line in view.lines if line[1:]]
            assert len(max(said[: -len(TASK_LEGEND)], key=len)) <= max(view.size.width, 46)
            words = " ".join(word for line in view.lines for word in plain_text(line).split())
            assert "down, up, first, last; also the arrows, Home and End" in words

    async def test_q_quits_the_view_only(self) -> None:
        async with night() as n:
            await n.pilot.press("q")
            await n.pilot.pause()
            assert n.app.return_code == 0
            assert n.daemon.calls == []

    async def test_a_click_on_the_key_bar_acts(self) -> None:
        async with night() as n:
            line = screen_lines(n.app)[39]
            await n.pilot.click("#keys", offset=(line.index("? help"), 0))
            await settle(n.pilot)
            assert isinstance(n.app.screen, HelpScreen)

    async def test_a_second_click_on_a_task_opens_it(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"])
            await n.pilot.click("#tasks", offset=(5, 2))
            assert n.table("tasks").cursor_key == "api"
            await n.pilot.click("#tasks", offset=(5, 2), times=2)
            await settle(n.pilot, until=lambda: isinstance(n.app.screen, TaskDetailScreen))


def detail_of(task_id: str, **more: Any) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "task": task(task_id, "running", worker="Backend-Engineer-1"),
        "description": "Make it better.",
        "check": "make test",
        "checks": [],
        "summary": "",
        "decisions": [],
        "questions": [],
        "events": [event(1, EventKind.TASK_CLAIMED, task_id, attempt=1)],
    }
    return detail | more


class TestOtherScreens:
    async def test_enter_shows_the_task_and_q_returns(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"])
            await n.press("j", "enter")
            await n.see("Make it better.")
            await n.see("api · Improve api")
            assert n.daemon.answered(Method.TASK) == [{"id": "api"}]
            await n.press("q")
            assert isinstance(n.app.screen, MainScreen)

    async def test_the_detail_is_read_again_when_the_row_changes(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"])
            await n.press("j", "enter")
            await n.see("Make it better.")
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"], summary="All done now.")
            n.daemon.tell(Notification.TASKS, {"tasks": [task("api", "done")]})
            await settle(n.pilot, until=lambda: n.app.model.tasks["api"]["state"] == "done")
            n.clock.advance(1)
            await n.see("All done now.")
            assert len(n.daemon.answered(Method.TASK)) == 2

    async def test_enter_on_a_worker_shows_it_and_then_its_task(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"])
            await n.press("1", "enter")
            assert isinstance(n.app.screen, WorkerScreen)
            await n.press("enter")
            assert isinstance(n.app.screen, TaskDetailScreen)
            await n.press("escape", "right_square_bracket")
            await n.see("Testing-Engineer-1 · idle")
            await n.press("enter")
            await n.told("Testing-Engineer-1 has no task now.")

    async def test_next_need_in_the_detail_goes_on_to_the_next_task(self) -> None:
        async with night(a_night(needs_you=[need("cli"), need("tests", "question")])) as n:
            n.daemon.answers[Method.TASK] = lambda p: detail_of(p["id"])
            await n.press("enter", "exclamation_mark")
            await settle(n.pilot, until=lambda: getattr(n.app.screen, "task_id", "") == "tests")
            assert len(n.app.screen_stack) == 2

    async def test_the_diff_is_read_in_pieces_and_counted(self) -> None:
        async with night() as n:
            pieces: dict[int, dict[str, Any]] = {
                0: {"text": DIFF[:20], "next_offset": 20},
                20: {"text": DIFF[20:], "next_offset": None, "runs_here": ["Makefile"]},
            }
            n.daemon.answers[Method.DIFF] = lambda p: pieces[p["offset"]]
            await n.press("G", "d")
            assert isinstance(n.app.screen, DiffScreen)
            await n.see("1 file, +1 -1")
            await n.see("▲ Makefile")
            await n.see("+new")
            await n.press("right_square_bracket")
            await n.told("There is no other file")
            await n.press("escape")
            assert isinstance(n.app.screen, MainScreen)

    async def test_a_refused_diff_shows_the_reason_in_its_place(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.DIFF] = refusing(RpcError("The journal is gone.", code=2))
            await n.press("G", "d")
            await n.see("The journal is gone.")


class TestEvents:
    async def test_it_follows_until_a_person_looks_back(self) -> None:
        async with night(a_night(last_seq=50)) as n:
            assert n.table("events").cursor_key == n.shown("events")[-1]
            await n.press("3", "k")
            n.daemon.happen(event(51))
            await n.see("1 new, f follows")
            assert n.table("events").cursor_key == n.shown("events")[-3]
            await n.press("f")
            await n.see("3 Events · follow")
            assert n.table("events").cursor_key == n.shown("events")[-1]

    async def test_news_are_toasted_but_a_snapshot_is_not(self) -> None:
        taken = a_night(last_seq=2)
        taken["events"][1] = event(2, EventKind.TASK_FAILED, "old", why="long ago")
        async with night(taken) as n:
            for seq in range(3, 8):
                n.daemon.happen(event(seq, EventKind.TASK_DONE, f"t{seq}"))
            await n.told("and 2 more")
            assert not any("long ago" in toast for toast in toasts(n.app))
            assert sum("landed" in toast for toast in toasts(n.app)) == 3


class TestConnection:
    async def test_without_a_daemon_it_says_how_to_start_one_and_connects_by_itself(self) -> None:
        async with night(running=False) as n:
            await n.see("▲ not connected")
            await n.see("agentcoordd start")
            n.daemon.running = True
            n.clock.advance(BACKOFF_S[0])
            await n.see("● live")

    async def test_a_restart_greys_the_view_says_how_stale_and_loses_nothing(self) -> None:
        async with night() as n:
            await n.see("● live")
            n.daemon.running = False
            n.daemon.hang_up()
            await n.see("▲ stale for")
            assert n.app.screen.has_class("-stale")
            assert n.shown("tasks") == ["cli", "api", "docs", "tests"], "what was known stays on the screen"
            await n.press("x")
            await n.told("There is no connection to the daemon now.")
            n.daemon.happen(event(3, EventKind.TASK_DONE, "api", files=["a.py"]))
            n.daemon.running = True
            n.clock.advance(BACKOFF_S[0] + BACKOFF_S[1])
            await n.see("● live")
            await n.see("api landed 1 file")
            assert not n.app.screen.has_class("-stale")
            assert [e["seq"] for e in n.app.model.events] == [1, 2, 3]

    async def test_a_stale_view_stops_the_ages(self) -> None:
        async with night() as n:
            await n.see("1:05")
            n.daemon.running = False
            n.daemon.hang_up()
            await n.see("▲ stale for")
            for _ in range(3):
                n.clock.advance(20)
                await settle(n.pilot)
            await n.see("stale for 1 min")
            await n.see("1:05")


def test_until_somebody_wants_them_the_other_screens_are_not_imported() -> None:
    code = (
        "import sys; import agentcoord.tui.app;"
        "later = {'agentcoord.review', 'agentcoord.wire.night_file', 'agentcoord.tui.screens.review',"
        "'agentcoord.tui.screens.task_detail', 'agentcoord.tui.screens.main', 'pygments'};"
        "print(sorted(later & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.strip() == "['agentcoord.tui.screens.main']"


@pytest.mark.parametrize(
    ("colours", "theme"),
    [("standard", "ansi-dark"), ("256", NIGHT.name), ("truecolor", NIGHT.name), (None, NIGHT.name)],
)
def test_a_terminal_of_sixteen_colours_is_drawn_with_those(colours: str | None, theme: str) -> None:
    assert theme_for(colours) == theme


@pytest.mark.parametrize(
    ("colorfgbg", "theme"),
    [
        ("0;15", DAY.name),
        ("0;default;15", DAY.name),
        ("0;7", DAY.name),
        ("15;0", NIGHT.name),
        ("12;8", NIGHT.name),
        ("nonsense", NIGHT.name),
    ],
)
def test_a_light_terminal_that_says_so_is_drawn_light(colorfgbg: str, theme: str) -> None:
    assert theme_for("truecolor", colorfgbg) == theme
    assert theme_for("standard", colorfgbg) == ("ansi-light" if theme == DAY.name else "ansi-dark")


async def test_with_sixteen_colours_grey_words_are_grey_and_the_badge_can_be_read() -> None:
    async with night(a_night(scripted=True)) as n:
        n.app.theme = FEW_COLOURS
        await settle(n.pilot)
        header = n.app.screen.query_one(HeaderBar)
        drawn = {segment.text.strip(): segment.style for y in (0, 1) for segment in header.render_line(y)}
        muted, badge = drawn["busy"], drawn["scripted model"]
        assert muted is not None
        assert muted.color is not None
        assert muted.color.number == BRIGHT_BLACK
        assert badge is not None
        assert badge.bgcolor is not None
        assert badge.bgcolor.number == YELLOW
