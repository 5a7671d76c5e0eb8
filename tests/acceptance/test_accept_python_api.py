"""The Python API: every example of docs/API.md against one real daemon, which is then killed and started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from night_kit import Night, bash, create, finish, night, replace, wait_gone

from agentcoord import AgentCoord, Position
from agentcoord.api import DaemonNotRunningError, PlanError

PAGE = Path(__file__).parents[2] / "docs" / "API.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
PLAN = """
[[task]]
id = "greet"
title = "Say what the module is for"

[[task]]
id = "greet-tests"
title = "Test it"
needs = ["greet"]
"""
TEST = """import unittest


class Greet(unittest.TestCase):
    def test_it(self):
        import calc
"""


@pytest.fixture
def running() -> Iterator[Night]:
    """A daemon whose scripted model plays the tasks of the page."""
    with night() as a:
        a.make_project()
        (a.root / "plan.toml").write_text(PLAN)
        (a.root / ".git" / "info" / "exclude").write_text("plan.toml\n")
        a.script(
            "greet", {"tools": [replace("calc.py", '"""Sums."""', '"""Hello."""')]}, {"tools": [finish()]}
        )
        a.script("greet-tests", {"tools": [create("tests/test_greet.py", TEST)]}, {"tools": [finish()]})
        a.script("shout", {"tools": [replace("calc.py", "# middle", "# MIDDLE")]}, {"tools": [finish()]})
        question = ("ask_human", {"question": "Upper or lower case?", "default": "upper"})
        a.script(
            "ask",
            {"tools": [question]},
            {"thinking_ms": 1_000, "tools": [create("ask.py", "x = 1\n")]},
            {"tools": [finish()]},
        )
        a.script("slow", {"thinking_ms": 30_000, "tools": [bash("true")]}, {"tools": [finish()]})
        a.start()
        yield a


def play(a: Night, example: str) -> str:
    """Run one example as its reader would; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=a.root, env=a.env, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_prints_what_the_page_says_and_a_stream_outlives_the_daemon(running: Night) -> None:
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == PAGE.read_text().count("```python") == 4
    for code, output in examples:
        assert play(running, code) == output
    asyncio.run(kill_the_daemon_under_a_stream(running))


async def kill_the_daemon_under_a_stream(a: Night) -> None:
    async with asyncio.timeout(40), AgentCoord.connect(a.root, env=a.env) as ac:
        status, epoch = await ac.status(), await epoch_of(ac)
        async with ac.subscribe(since=Position(epoch, 0)) as events:
            seen = [await anext(events)]
            os.kill(status["pid"], signal.SIGKILL)
            await asyncio.to_thread(wait_gone, status["pid"], 10.0)
            with pytest.raises(DaemonNotRunningError, match="no daemon runs") as caught:
                await ac.status()
            assert caught.value.mend == "agentcoordd start"
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(a.start))
                while [event.kind for event in seen].count("daemon.started") < 2:
                    seen.append(await anext(events))
        assert (await ac.wait())["ended"]
        numbers = [event.position.seq for event in seen]
        assert numbers == list(range(1, len(seen) + 1)), "no gap, and nothing twice"
        assert {event.position.epoch for event in seen} == {epoch}
        assert not any(event.after_gap for event in seen)
        with pytest.raises(PlanError, match="cannot be read") as unread:
            await ac.load(a.root / "no.toml")
        assert unread.value.mend


async def epoch_of(ac: AgentCoord) -> str:
    async with ac.subscribe() as events:
        assert events.position is not None
        return events.position.epoch
