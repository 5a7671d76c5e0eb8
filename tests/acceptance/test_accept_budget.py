"""A night that meets the cap of its run: it drains in order, and goes on when the cap is raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults_kit import FaultyNight, faulty_server
from night_kit import bash, create, finish, night, one_task

TURNS = 6
TASKS = ("a", "b", "c", "d")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("setting", "cap", "raised", "words"),
    [
        ("AGENTCOORD_BUDGET_RUN_TOKENS", 40_000, 10_000_000, "the run cap of 40,000 tokens is reached"),
        ("AGENTCOORD_BUDGET_RUN_USD", 0.035, 10.0, "the run cap of $0.04 is reached"),
    ],
)
def test_at_the_runs_cap_tasks_park_and_nothing_new_begins_until_it_is_raised(
    setting: str, cap: float, raised: float, words: str
) -> None:
    with night() as a:
        a.make_project()
        a.env[setting] = str(cap)
        a.env["AGENTCOORD_MODELS_LADDER"] = "claude-sonnet-5-5"
        for task in TASKS:
            work = [{"tools": [bash(f"echo {task} {n}")]} for n in range(TURNS)]
            a.script(task, {"tools": [create(f"{task}.py", "X = 1\n")]}, *work, {"tools": [finish()]})
        with faulty_server(a.scripts, {}, seed=0) as base_url:
            f = FaultyNight(a, base_url)
            pid = f.start()
            needs = {"b": "a", "c": "b", "d": "c"}
            a.load("".join(one_task(t, extra=f'needs = ["{needs[t]}"]' if t in needs else "") for t in TASKS))
            asyncio.run(a.wait_for("run.paused"))
            waited = a.run("agentcoord", "wait", "--timeout", "60")
            assert waited.code != 0
            assert words in waited.out
            tasks, books = a.tasks(), f.books()
            parked = [task for task in tasks.values() if task["state"] == "parked"]
            assert [task["why"] for task in parked] == [words]
            assert not [task for task in tasks.values() if task["state"] == "failed"]
            spent = sum(_tokens(record) for record in books.records)
            assert (spent if "TOKENS" in setting else books.usd) <= cap
            assert f.costs()["reserved_usd"] == 0
            f.end(pid)

            a.env[setting] = str(raised)
            f.start()
            for words_of in (("ctl", "resume"), ("retry", parked[0]["id"])):
                assert a.run("agentcoord", *words_of).code == 0
            waited = a.run("agentcoord", "wait", "--timeout", "60")
            assert waited.code == 0, waited.out + waited.err
            assert {task["state"] for task in a.tasks().values()} == {"done"}
            again = f.books()
            turns = [(record["task"], record["turn"]) for record in again.records]
            assert len(turns) == len(set(turns)), "a turn was paid for twice"


def _tokens(record: dict[str, Any]) -> int:
    """All tokens that the server charged for a request."""
    return sum(count for kind, count in record.items() if kind.endswith("_tokens"))
