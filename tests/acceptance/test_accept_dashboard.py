"""The dashboard in a real terminal, on a real daemon: start, resize, a killed daemon, resume, quit."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from night_kit import Night, create, finish, one_task, wait_gone
from terminal_kit import Terminal, terminal

from agentcoord.tui.event_text import sentence
from agentcoord.wire.messages import Method

DASHBOARD = "agentcoord dashboard; echo left with $?"
COMMAND = f"stty -g > before; {DASHBOARD}; stty -g > after; exec sleep 60"


def events_shown(lines: list[str]) -> list[str]:
    """What the event pane says, oldest first; long sentences end in an ellipsis."""
    rows = [line.rsplit("││", 1)[1].strip(" │▁▂▃▄▅▆▇█") for line in lines if "││" in line]
    return [row.split(None, 1)[1].strip() for row in rows if row[2:3] == ":" and row[5:6] == ":"]


def is_told(shown: str, said: str) -> bool:
    """Whether a row shows this sentence, after the worker's name, and cut if it is long."""
    wanted = shown.rstrip("…").rstrip()
    return any(said.startswith(part) for part in (wanted, wanted.split(None, 1)[-1]))


def row_of(t: Terminal, name: str) -> str:
    """A task's row with its colours."""
    return next(line for line in t.lines(styled=True) if f" {name} " in line and "│" in line)


@pytest.mark.tmux
def test_the_dashboard_outlives_its_daemon_and_leaves_the_terminal_as_it_was(a_night: Night) -> None:
    a = a_night
    a.script(
        "slowly",
        {"tools": [create("more.py", "X = 1\n")]},
        {"thinking_ms": 60_000, "tools": [finish()]},
    )
    daemon = a.start()
    a.load(one_task("slowly"))
    with terminal(a) as t:
        t.open(COMMAND, columns=120, lines=40)
        t.see("● live")
        t.see("slowly turn 1")  # Also: COLUMNS of the environment is not believed.
        assert t.is_so("alternate_on")
        assert t.is_so("mouse_any_flag")

        t.resize(80, 24)
        small = t.wait(lambda lines: any(line.startswith("─3 Events") for line in lines), "stacked panes")
        assert (len(small), max(map(len, small))) == (24, 80)
        assert "q quit" in small[-1]
        t.resize(200, 50)
        t.wait(lambda lines: any("╮╭─ 3 Events" in line for line in lines), "panes side by side")
        live_row = row_of(t, "slowly")

        os.kill(daemon, signal.SIGKILL)
        assert wait_gone(daemon, 30)
        t.see("▲ stale for")
        t.see("next try in")
        assert row_of(t, "slowly") != live_row, "what may be old is drawn in other colours"
        t.press("p")
        t.see("There is no connection to the daemon now.")

        a.start()
        t.see("● live")
        asyncio.run(a.wait_for("task.claimed", "slowly", resumed=True))
        happened = [sentence(event) for event in asyncio.run(a.all_events())]
        shown = events_shown(t.see("slowly resumed"))[: len(happened)]
        assert len(shown) > 5
        assert len([row for row in shown if "the daemon started" in row]) == 2
        told = happened[: len(shown)]
        assert all(is_told(row, said) for row, said in zip(shown, told, strict=True)), (shown, told)

        t.press("p")
        t.see("● live  paused")
        assert a.call(Method.STATUS)["state"] == "paused"

        t.press("q")
        t.see("left with 0")
        assert not t.is_so("alternate_on")
        assert not t.is_so("mouse_any_flag")
        assert t.is_so("cursor_flag")
        t.wait(lambda _lines: (a.root / "after").exists(), "the terminal's settings")
    assert (a.root / "after").read_text() == (a.root / "before").read_text()
    assert a.call(Method.STATUS)["state"] == "paused", "the daemon goes on"


@pytest.mark.tmux
def test_on_a_terminal_of_sixteen_colours_what_is_wrong_is_yellow_and_not_white(a_night: Night) -> None:
    with terminal(a_night) as t:
        t.open(f"COLORTERM= TERM=xterm {DASHBOARD}; exec sleep 60", columns=80, lines=24)
        t.see("▲ not connected")
        header = t.lines(styled=True)[0]
        assert "\x1b[33m▲ not connected" in header, header
        t.press("q")
        t.see("left with 0")
