"""Keys and commands that decide something: answer, retry, accept, undo; marks; the `:` line; workers."""

from __future__ import annotations

from typing import Any

import pytest
from tui_fakes import event, need, screen_lines, settle, snapshot, task, toasts, worker
from tui_night import a_night, night

from agentcoord.domain.events import EventKind
from agentcoord.tui.commands import Command, Problem, complete, parse_command
from agentcoord.tui.effects import ACCEPT, CANCEL, UNDO, choose, dependents_of
from agentcoord.tui.link import Link, LinkView
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.rates import rates_of, spark
from agentcoord.tui.screens.ask import AskScreen
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.help import HelpScreen
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.screens.worker import WorkerScreen
from agentcoord.wire.messages import Method, Snapshot


def granted(state: str = "queued") -> Any:
    return lambda params: {"id": params["id"], "state": state}


def model_of(taken: Snapshot) -> DashboardModel:
    model = DashboardModel(now_ms=0)
    model.begin({"epoch": taken["epoch"], "seq": taken["seq"], "mode": "resync", "snapshot": taken})
    model.set_link(LinkView(Link.LIVE, 0))
    return model


class TestKeys:
    async def test_retry_asks_nothing_for_one_task_and_tells_its_state(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.RETRY] = granted()
            await n.press("r")
            await n.told("cli is queued.")
            assert n.daemon.answered(Method.RETRY) == [{"id": "cli"}]

    async def test_a_running_task_cannot_be_retried_and_the_key_says_why(self) -> None:
        async with night() as n:
            n.table("tasks").select("api")
            await n.press("r")
            await n.told("api is running: only failed, cancelled and parked tasks can be retried.")
            assert not n.daemon.answered(Method.RETRY)

    async def test_accept_marks_a_landed_task_as_good(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.ACCEPT] = lambda p: {"id": p["id"], "review": "accepted"}
            n.table("tasks").select("tests")
            await n.press("y")
            await n.told("tests is accepted. The commit stays yours.")

    async def test_undo_asks_first_and_says_what_it_takes_back(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.UNDO] = lambda p: {
                "restored": ["t.py"],
                "merged": [],
                "gone": [],
                "absent": ["u.py"],
                "conflicts": [],
            }
            n.table("tasks").select("tests")
            await n.press("u")
            assert isinstance(n.app.screen, ConfirmScreen)
            await n.see("Takes its lines out of 1 file")
            await n.press("y")
            await n.told("tests is undone in 1 file. Nothing of it is in u.py; agentcoord undo again")

    async def test_an_undo_that_conflicts_says_where(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.UNDO] = lambda p: {"restored": [], "merged": [], "conflicts": ["t.py"]}
            n.table("tasks").select("tests")
            await n.press("u", "y")
            await n.told("tests cannot be undone: t.py changed since.")

    async def test_a_question_is_answered_in_a_prompt(self) -> None:
        async with night(a_night(needs_you=[need("api", "question", "May I? (assumed: no)")])) as n:
            n.daemon.answers[Method.ANSWER] = lambda p: {"id": p["id"]}
            n.table("tasks").select("api")
            await n.press("a")
            assert isinstance(n.app.screen, AskScreen)
            await n.see("May I? (assumed: no)")
            await n.press(*"yes", "enter")
            await n.told("api has its answer.")
            assert n.daemon.answered(Method.ANSWER) == [{"id": "api", "text": "yes"}]

    async def test_escape_leaves_a_question_unanswered(self) -> None:
        async with night(a_night(needs_you=[need("api", "question")])) as n:
            n.table("tasks").select("api")
            await n.press("a", *"yes", "escape")
            assert not n.daemon.answered(Method.ANSWER)

    async def test_a_task_that_asks_stands_first(self) -> None:
        async with night(a_night(needs_you=[need("docs", "question")])) as n:
            assert set(n.shown("tasks")[:2]) == {"cli", "docs"}

    async def test_the_detail_has_the_same_keys(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.RETRY] = granted()
            await n.press("enter")
            assert isinstance(n.app.screen, TaskDetailScreen)
            await n.press("r")
            await n.told("cli is queued.")


class TestMarks:
    async def test_space_marks_and_the_effect_is_for_all_marked(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.CANCEL] = granted("cancelled")
            await n.press("space", "space")
            assert "2 marked" in "\n".join(screen_lines(n.app))
            await n.press("x")
            await n.see("Cancel 2 tasks?")
            await n.press("y")
            await n.told("cancel: 2 tasks done.")
            assert [call["id"] for call in n.daemon.answered(Method.CANCEL)] == ["api", "cli"]
            assert "marked" not in "\n".join(screen_lines(n.app))

    async def test_those_that_cannot_are_named_and_do_not_keep_the_others(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.RETRY] = granted()
            await n.press("asterisk", "r")
            await n.told("And 2 more.")
            await settle(n.pilot, until=lambda: len(n.daemon.answered(Method.RETRY)) == 1)

    async def test_escape_takes_the_marks_away_before_the_filter(self) -> None:
        async with night() as n:
            await n.press("slash", *"cli", "enter", "space", "escape")
            assert n.shown("tasks") == ["cli"]
            await n.press("escape")
            assert len(n.shown("tasks")) == 4

    async def test_a_mark_is_visible_without_colour(self) -> None:
        async with night() as n:
            await n.press("space")
            assert any("▌◆ cli" in line for line in screen_lines(n.app))


class TestCommandLine:
    async def test_a_command_is_completed_entered_and_remembered(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.RETRY] = granted()
            await n.press("colon", *"ret", "tab", "space", *"cl", "tab", "enter")
            await n.told("cli is queued.")
            await n.press("colon", "up", "enter")
            await settle(n.pilot, until=lambda: len(n.daemon.answered(Method.RETRY)) == 2)

    async def test_what_is_typed_can_be_seen_above_the_keys(self) -> None:
        async with night() as n:
            await n.press("colon", *"retr")
            await settle(n.pilot, until=lambda: screen_lines(n.app)[38].startswith("retr"))
            assert "enter open" in screen_lines(n.app)[39]

    async def test_escape_closes_the_line_and_gives_the_keys_back(self) -> None:
        async with night() as n:
            await n.press("colon", *"quit", "escape")
            assert n.app.is_running
            assert n.table("tasks").has_focus

    @pytest.mark.parametrize(
        ("line", "toast"),
        [
            ("nonsense", "There is no command nonsense."),
            ("kill", "Usage: kill WORKER"),
            ("task nope", "There is no task nope."),
            ("worker nope", "There is no worker nope."),
            ("theme nope", "There is no theme nope."),
            ("spawn cook", "Usage: spawn ROLE [N]"),
            ("undo api", "api has not landed: it is running."),
        ],
    )
    async def test_what_cannot_be_done_is_said(self, line: str, toast: str) -> None:
        async with night() as n:
            await n.press("colon", *("space" if c == " " else c for c in line), "enter")
            await n.told(toast)

    async def test_spawn_pause_and_drain_reach_the_daemon(self) -> None:
        async with night() as n:
            n.daemon.answers[Method.SPAWN] = lambda p: {"workers": ["Architect-2"]}
            n.daemon.answers[Method.PAUSE] = lambda p: {"paused": True}
            n.daemon.answers[Method.DRAIN] = lambda p: {"draining": True}
            await n.press("colon", *"spawn", "space", *"architect", "enter")
            await n.told("Started Architect-2.")
            await n.press("colon", *"pause", "enter")
            await n.told("Paused")
            await n.press("colon", *"drain", "enter")
            await n.see("Drain?")
            await n.press("y")
            await n.told("Draining.")

    async def test_a_filter_can_be_typed_as_a_command(self) -> None:
        async with night() as n:
            await n.press("colon", *"filter", "space", *"state:parked", "enter")
            assert n.shown("tasks") == ["cli"]

    async def test_help_is_a_command_too(self) -> None:
        async with night() as n:
            await n.press("colon", *"help", "enter")
            assert isinstance(n.app.screen, HelpScreen)


class TestWorker:
    async def test_it_shows_what_this_worker_did_and_follows(self) -> None:
        async with night() as n:
            await n.press("1", "enter")
            assert isinstance(n.app.screen, WorkerScreen)
            await n.see("backend-engineer, takes backend")
            mine = event(3, EventKind.TASK_TOOL, "api", tool="bash", summary="ran the tests")
            n.daemon.happen(mine | {"worker": "Backend-Engineer-1"})
            n.daemon.happen(event(4, EventKind.TASK_TOOL, "cli", tool="bash", summary="not mine"))
            await n.see("ran the tests")
            assert "not mine" not in "\n".join(screen_lines(n.app))

    async def test_scrolling_up_stops_following_and_f_begins_again(self) -> None:
        async with night(size=(100, 16)) as n:
            await n.press("1", "enter")
            done = [event(i, EventKind.TASK_TOOL, "api", summary=f"step {i}") for i in range(3, 40)]
            for each in done:
                n.daemon.happen(each | {"worker": "Backend-Engineer-1"})
            await n.see("step 39")
            await n.press("k", "k")
            n.daemon.happen(
                event(40, EventKind.TASK_TOOL, "api", summary="x") | {"worker": "Backend-Engineer-1"}
            )
            await n.see("f follows")
            assert "step 39" not in "\n".join(screen_lines(n.app))
            await n.press("f")
            await n.see("step 39")

    async def test_a_worker_that_went_is_told_as_gone(self) -> None:
        async with night() as n:
            await n.press("colon", *"worker", "space", *"Testing-Engineer-1", "enter")
            n.app.model.take_workers([worker("Backend-Engineer-1")])
            await n.see("Testing-Engineer-1 · is gone")


class TestRates:
    async def test_a_broad_terminal_shows_the_last_hour(self) -> None:
        async with night(size=(160, 40)) as n:
            turn = event(
                3,
                EventKind.TASK_TURN,
                "api",
                usage={"input_tokens": 900, "output_tokens": 100},
                cost_usd_micros=500_000,
            )
            n.daemon.happen(turn)
            await n.see("$0.50")
            assert "tokens a minute" in "\n".join(screen_lines(n.app))

    def test_turns_are_counted_into_their_part_of_the_hour(self) -> None:
        turn = {
            "kind": "task.turn",
            "at_ms": 3_599_000,
            "data": {"usage": {"output_tokens": 60}, "cost_usd_micros": 1_000_000},
        }
        old = turn | {"at_ms": 0}
        usage = {"input_tokens": 10, "cache_read_tokens": 30, "output_tokens": 40}
        cached = turn | {"at_ms": 1_000, "data": {"usage": usage}}
        waited = {"kind": "lock.waited", "at_ms": 1_900_000, "data": {}}
        limited = {"kind": "rate.limited", "at_ms": 1_900_000, "data": {}}
        rates = rates_of(
            [old, cached, waited, limited, turn], now_ms=3_600_000, parts=60, short_parts=2, workers=0
        )
        assert rates.tokens_a_minute == (80.0, *(0.0,) * 58, 60.0)
        assert rates.usd_last_hour == pytest.approx(1.0)
        assert rates.cached == (0.75, None)
        assert (rates.waits, rates.rate_limits, rates.idle) == ((0.0, 1.0), 1, (None, None))

    def test_bars_reach_from_the_lowest_to_the_highest(self) -> None:
        assert spark([0, 1, 2]) == "▁▅█"
        assert spark([0, 0]) == "▁▁"
        assert spark([0.5, None, 0], top=1.0) == "▅ ▁"
        assert spark([None, 0]) == " ▁"


class TestPure:
    @pytest.mark.parametrize(
        ("line", "meant"),
        [
            ("", None),
            ("pa", Command("pause")),
            ("accept a b", Command("accept", ("a", "b"))),
            ('answer a "at most eight"', Command("answer", ("a", "at most eight"))),
            ("answer a don't", Command("answer", ("a", "don't"))),
            ("re", Problem("re could be reject or resume or retry or review.")),
        ],
    )
    def test_a_line_is_understood(self, line: str, meant: Command | Problem | None) -> None:
        assert parse_command(line) == meant

    @pytest.mark.parametrize(
        ("line", "completed"),
        [("ret", "retry"), ("retry d", "retry docs"), ("kill Te", "kill Testing-Engineer-1"),
         ("spawn arch", "spawn architect"), ("zz", None), ("", None), ("retry docs", None)],
    )  # fmt: skip
    def test_the_last_word_is_completed(self, line: str, completed: str | None) -> None:
        assert complete(line, model_of(a_night())) == completed

    def test_what_is_possible_is_parted_from_what_is_not(self) -> None:
        choice = choose(CANCEL, model_of(a_night()), ["api", "tests", "nope"])
        assert choice.possible == ("api",)
        assert choice.refused == ("tests has ended: it is done.", "Select a task first.")

    def test_nothing_is_possible_without_a_connection(self) -> None:
        model = model_of(a_night())
        model.set_link(LinkView(Link.LOST, 0))
        assert choose(ACCEPT, model, ["tests"]).possible == ()

    def test_dependents_are_found_through_others(self) -> None:
        model = model_of(
            snapshot([task("a", "done"), task("b", needs=["a"]), task("c", needs=["b"]), task("d")])
        )
        assert dependents_of(model, ["a"]) == ("b", "c")
        assert "Landed on top of it: b, c." in UNDO.consequence(model, ["a"])

    async def test_no_toast_is_left_over(self) -> None:
        async with night() as n:
            assert toasts(n.app) == []
