"""A worker's screen: its conversation as it grows, folded or not, searched, and of which window."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tui_fakes import event, screen_lines, toasts, worker
from tui_night import Night, night

from agentcoord.domain.events import EventKind
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.screens.worker import READ_S, WorkerScreen
from agentcoord.tui.styled import Tone, plain_text
from agentcoord.tui.transcript_text import gauge, transcript_lines
from agentcoord.wire.messages import Method, Notification
from agentcoord.wire.task_views import StepView


def step(kind: str, title: str = "", text: str = "", *, call: str = "", is_error: bool = False) -> StepView:
    return {"kind": kind, "title": title, "text": text, "is_error": is_error, "call": call}


CONVERSATION = [
    step("asked", "the task", "\n".join(f"line {i}" for i in range(9))),
    step("turn", "claude-x tool_use"),
    step("thought", text="I should look first."),
    step("said", text="I look around."),
    step("ran", "bash ls", "command: ls\nsecretly: long", call="t1"),
    step("ran", "edit x.py", "path: x.py", call="t2"),
    step("result", text="a.py\nb.py", call="t1"),
    step("result", text="no such file", call="t2", is_error=True),
]


class Conversation:
    """What the daemon tells of it, in two pieces at first."""

    def __init__(self) -> None:
        self.steps = list(CONVERSATION)
        self.attempt = 1
        self.says = ""

    def __call__(self, params: dict[str, Any]) -> dict[str, Any]:
        begin = params["offset"]
        end = 4 if begin == 0 else len(self.steps)
        return {
            "id": params["id"],
            "attempt": self.attempt,
            "steps": self.steps[begin:end],
            "next_offset": end,
            "more": end < len(self.steps),
            "context_tokens": 50_000,
            "window_tokens": 200_000,
            "says": self.says,
        }


async def look_on(n: Night) -> Conversation:
    told = Conversation()
    n.daemon.answers[Method.TRANSCRIPT] = told
    await n.press("1", "enter")
    assert isinstance(n.app.screen, WorkerScreen)
    await n.see("I look around.")
    return told


async def test_the_conversation_is_shown_and_grows() -> None:
    async with night() as n:
        told = await look_on(n)
        await n.see("context ███░░░░░░░░░ 25% 50k of 200k")
        await n.see("▶ bash ls")
        lines = [line.strip("│ ").rstrip() for line in screen_lines(n.app)]
        ran = lines.index("▶ bash ls")
        assert lines[ran + 1] == "✔ a.py  (2 lines)"
        assert lines[ran + 2 : ran + 4] == ["▶ edit x.py", "✗ no such file"]
        told.steps.append(step("said", text="Now I know."))
        told.says = "half a sent"
        n.clock.advance(READ_S)
        await n.see("Now I know.")
        await n.see("▌ half a sent")
        assert n.daemon.answered(Method.TRANSCRIPT)[-1] == {"id": "api", "offset": len(CONVERSATION)}


async def test_a_new_attempt_begins_the_conversation_anew() -> None:
    async with night() as n:
        told = await look_on(n)
        n.clock.advance(READ_S)
        await n.see("▶ edit x.py")
        told.attempt, told.steps = 2, [step("said", text=f"Once more, {i}.") for i in range(6)]
        for _ in range(3):
            n.clock.advance(READ_S)
            await n.press("f", "f")
        await n.see("Once more, 0.")
        await n.see("Once more, 5.")
        assert "I look around." not in "\n".join(screen_lines(n.app))


async def test_z_unfolds_calls_and_results_and_e_shows_events() -> None:
    async with night() as n:
        n.daemon.happen(
            {**event(3, EventKind.TASK_TOOL, "api", summary="ran ls"), "worker": "Backend-Engineer-1"}
        )
        await look_on(n)
        await n.see("6 more lines, z unfolds")
        await n.press("z")
        await n.see("secretly: long")
        await n.see("line 8")
        await n.press("e")
        await n.see("ran ls")
        assert "secretly" not in "\n".join(screen_lines(n.app))
        await n.press("e", "z")
        await n.see("6 more lines, z unfolds")


async def test_searching_a_conversation_and_copying_it() -> None:
    async with night() as n:
        await look_on(n)
        await n.press("slash", *"b.PY", "enter")
        await n.told("No line matches.")
        await n.press("escape", "z", "slash", *"B.py", "enter")
        await n.see("1 line with b.py")
        await n.press("c")
        await n.told("Copied ")
        assert "I look around." in n.app.clipboard
        await n.press("escape", "enter")
        assert isinstance(n.app.screen, TaskDetailScreen)


async def test_a_search_whose_match_is_in_sight_says_nothing_of_others() -> None:
    async with night() as n:
        await look_on(n)
        await n.press("slash", *"around", "enter")
        await n.see("1 line with around")
        assert not toasts(n.app)


async def test_an_answer_that_comes_while_the_screen_is_taken_down_is_not_drawn() -> None:
    async with night() as n:
        await look_on(n)
        screen, asked = n.app.screen, asyncio.Event()

        async def late(params: dict[str, Any]) -> dict[str, Any]:
            asked.set()
            while screen.query("#pager"):  # noqa: ASYNC110 - a screen announces no such thing
                await asyncio.sleep(0)
            return Conversation()(params)

        n.daemon.late = late
        n.clock.advance(READ_S)
        await asked.wait()
        await n.press("escape")
        assert not n.app.screen.query("#pager")


async def test_an_idle_worker_shows_what_it_did_last_and_is_asked_no_more() -> None:
    async with night() as n:
        n.daemon.happen({**event(3, EventKind.TASK_DONE, "tests"), "worker": "Backend-Engineer-1"})
        n.daemon.tell(Notification.WORKERS, {"workers": [worker("Backend-Engineer-1")]})
        await n.see("idle")
        await look_on(n)
        assert {params["id"] for params in n.daemon.answered(Method.TRANSCRIPT)} == {"tests"}
        for _ in range(3):
            n.clock.advance(READ_S)
            await n.press("f", "f")
        asked = len(n.daemon.answered(Method.TRANSCRIPT))
        for _ in range(3):
            n.clock.advance(READ_S)
            await n.press("f", "f")
        assert len(n.daemon.answered(Method.TRANSCRIPT)) == asked


async def test_a_daemon_that_cannot_tell_leaves_the_events() -> None:
    async with night() as n:
        await n.press("1", "enter")
        await n.see("It has done nothing yet that this view saw.")


@pytest.mark.parametrize("folded", [True, False])
def test_no_line_is_wider_than_it_may_be(folded: bool) -> None:
    steps = [
        step("asked", "the task", "word " * 100),
        step("turn", "m end_turn"),
        step("said", text="x" * 500),
        step("ran", "bash " + "y" * 300, "z" * 500, call="1"),
        step("result", text="\n".join("r" * 200 for _ in range(300)), call="1"),
        step("result", text="", call="2"),
    ]
    lines = transcript_lines(steps, "now " * 100, width=60, folded=folded)
    assert max(len(plain_text(line)) for line in lines) <= 60
    assert len(lines) < 150
    assert any("\x1b" in plain_text(line) for line in lines) is False


def test_the_gauge_warns_before_the_window_is_full() -> None:
    assert gauge(0, 100) == ()
    assert plain_text(gauge(4_200, 0)) == "context 4.2k"
    tones = [gauge(tokens, 100_000)[1].tone for tokens in (10_000, 70_000, 95_000, 300_000)]
    assert tones == [Tone.GOOD, Tone.WARN, Tone.BAD, Tone.BAD]
