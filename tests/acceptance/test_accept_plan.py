"""A plan drafted, judged, loaded and added to: the commands, a daemon, the SDK's client and its server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from night_kit import Night, create, finish, night

from agentcoord import AgentCoord
from agentcoord.wire.messages import Method

DRAFT = """
task = "(draft)"

[[turn]]
text = "A first try."
[[turn.tool]]
name = "propose_plan"
input = { name = "n", tasks = [{ id = "d", title = "D", description = "d", estimate_usd = 1,needs = ["x"] }] }
[[turn.when]]
last_result_contains = "hopeless"
text = "I would rather not."

[[turn]]
text = "Mended."
[[turn.tool]]
name = "propose_plan"
[turn.tool.input]
name = "sums"
[[turn.tool.input.tasks]]
id = "docs"
title = "Describe the sums"
description = "Say in calc.py\\nwhat each function does."
estimate_usd = 0.1
writes = ["notes.py"]
[[turn.tool.input.tasks]]
id = "more-tests"
title = "Test multiplication"
description = "mul has no test."
estimate_usd = 0.2
needs = ["docs"]
tags = ["testing"]
check = "python3 -m unittest discover -s tests -q"
[[turn.when]]
last_result_contains = "called 0 times"
text = "Still not."
"""
TODO = """
- [ ] Ship (writes: ship.py)
  - [ ] Pack (writes: pack.py) (priority: 5)
  - [x] Decide
"""


@pytest.fixture
def running() -> Iterator[Night]:
    with night() as a:
        a.make_project()
        (a.scripts / "draft.toml").write_text(DRAFT)
        for task in ("docs", "more-tests", "ship", "pack", "tidy-up"):
            a.script(
                task, {"tools": [create(f"{task.replace('-', '_')}.py", "X = 1\n")]}, {"tools": [finish()]}
            )
        a.start()
        yield a


@pytest.mark.timeout(120)
def test_a_plan_is_drafted_judged_loaded_and_never_written_over(running: Night) -> None:
    a = running
    plan = a.root / "plan.toml"
    drafted = a.run("agentcoord", "plan", "draft", "say what the sums do")
    assert drafted.code == 0, drafted.err
    assert "wrote plan.toml: 2 tasks, estimated at $0.30" in drafted.out
    text = plan.read_text()
    assert 'needs = ["docs"]' in text
    costs = a.call(Method.COSTS)
    assert costs["day_usd"] > 0, "a draft is booked"
    assert costs["total_usd"] == 0, "on a run of its own"

    again = a.run("agentcoord", "plan", "draft", "say more")
    assert (again.code, plan.read_text()) == (5, text)
    assert "--out" in again.err
    assert a.call(Method.COSTS)["day_usd"] == costs["day_usd"], "nothing was asked"

    assert asyncio.run(drafted_by_a_script(a)) == text.replace("say what the sums do", "say it in Python")

    hopeless = a.run("agentcoord", "plan", "draft", "a hopeless goal", "--out", "other.toml")
    assert hopeless.code == 1
    assert "propose_plan was called 0 times" in hopeless.err
    assert not (a.root / "other.toml").exists()
    (kept,) = [Path(word) for word in hopeless.err.split() if word.endswith(".json")]
    assert kept.read_text().count("rather not") == 1
    assert "Still not." in kept.read_text()
    assert kept.stat().st_mode & 0o77 == 0

    checked = a.run("agentcoord", "plan", "check", "plan.toml", "--json").document
    assert (checked["tasks"], checked["notes"]) == (["docs", "more-tests"], [])
    plan.write_text(text.replace('["docs"]', '["doc"]'))
    wrong = a.run("agentcoord", "plan", "check", "plan.toml")
    assert wrong.code == 2
    assert "needs 'doc', which no task is called (did you mean 'docs'?)" in wrong.err
    plan.write_text(text)

    list_and_hand(a)


async def drafted_by_a_script(a: Night) -> str:
    async with AgentCoord.connect(a.root, env=a.env) as ac:
        return (await ac.draft("say it in Python"))["text"]


def list_and_hand(a: Night) -> None:
    """The drafted plan, a checklist twice, and a task by hand: all of it is worked off."""
    (a.root / "todo.md").write_text(TODO)
    assert a.run("agentcoord", "load", "plan.toml", "--json").document["added"] == ["docs", "more-tests"]
    assert a.run("agentcoord", "load", "todo.md", "--json").document["added"] == ["ship", "pack"]
    added = a.run("agentcoord", "add", "Tidy up!", "--need", "ship", "--writes", "tidy_up.py")
    assert (added.code, added.out) == (0, "added tidy-up\n"), added.err
    waited = a.run("agentcoord", "wait", "--timeout", "60")
    assert waited.code == 0, waited.out + waited.err
    assert {task["state"] for task in a.call(Method.TASKS)["tasks"]} == {"done"}
    (a.root / "todo.md").write_text(TODO.replace("[ ] Pack", "[x] Pack"))
    again = a.run("agentcoord", "load", "todo.md", "--json").document
    assert (again["added"], again["changed"]) == ([], [])
    assert a.call(Method.TASK, id="ship")["task"]["state"] == "done"
