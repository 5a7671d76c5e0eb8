"""A night that meets the cap of its run: it drains in order, and goes on when the cap is raised."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from faults_kit import FaultyNight, faulty_server
from night_kit import bash, create, finish, night, one_task, wait_gone

from agentcoord.llm.rehearsal.faults import FaultKind
from agentcoord.store.budget_ledger import INTERRUPTED_MODEL

TURNS = 6
BROKEN_OFF = (
    FaultKind.DROP,
    FaultKind.TRUNCATE,
    FaultKind.STREAM_OVERLOADED,
    FaultKind.MALFORMED_TOOL_JSON,
)
"""Calls that the server charges for: nothing that we book too much hides what we leave out."""
MOST_OF_A_PROMPT_USD = 0.1
SLOW_TO_ANSWER = """
task = "t"
[[turn]]
[[turn.tool]]
name = "str_replace_based_edit_tool"
input = { command = "create", path = "t.py", file_text = "X = 1" }
[[turn]]
fault = { kind = "latency", ms = 1000000 }
[[turn.tool]]
name = "finish_task"
input = { summary = "done", decisions = [] }
"""
"""Its second answer begins after ten seconds, as the faulty server scales it; asked again, at once."""
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


@pytest.mark.timeout(120)
def test_a_daemon_killed_before_the_first_byte_of_an_answer_books_what_it_had_sent() -> None:
    with night() as a:
        a.make_project()
        a.env["AGENTCOORD_MODELS_LADDER"] = "claude-sonnet-5-5"
        (a.scripts / "t.toml").write_text(SLOW_TO_ANSWER)
        with faulty_server(a.scripts, {}, seed=0) as base_url:
            f = FaultyNight(a, base_url)
            a.env |= {"AGENTCOORD_MODELS_FIRST_BYTE_S": "60", "AGENTCOORD_MODELS_SILENCE_S": "60"}
            killed = f.start()
            a.load(one_task("t"))
            f.wait_for_books(lambda books: books.raw["at_once"] == 1 and books.raw["requests"] == 1)
            assert f.costs()["reserved_usd"] > 0
            os.kill(killed, signal.SIGKILL)
            assert wait_gone(killed, 10)

            again = f.start()
            waited = a.run("agentcoord", "wait", "--timeout", "60")
            assert waited.code == 0, waited.out + waited.err
            books = f.wait_for_books(lambda books: books.raw["at_once"] == 0)
            assert [record["task"] for record in books.records if record["fault"] == "latency"] == ["t"]
            costs = f.costs()
            (interrupted,) = [each for each in costs["by_model"] if each["model"] == INTERRUPTED_MODEL]
            assert costs["reserved_usd"] == 0
            assert costs["total_usd"] >= books.usd
            assert a.tasks()["t"]["cost_usd"] == costs["total_usd"], "the task's own row tells it too"
            assert costs["total_usd"] - interrupted["usd"] < books.usd, "nothing was tested"
            assert interrupted["usd"] < MOST_OF_A_PROMPT_USD, "all that it might have answered was booked"

            os.kill(again, signal.SIGKILL)
            assert wait_gone(again, 10)
            third = f.start()
            assert f.costs()["total_usd"] == costs["total_usd"], "it was booked twice"
            f.end(third)


@pytest.mark.timeout(120)
def test_a_task_with_a_cap_on_tokens_of_its_own_parks_and_no_other_one() -> None:
    with night() as a:
        a.make_project()
        for task in ("tight", "free"):
            work = [{"tools": [bash(f"echo {task} {n}")]} for n in range(TURNS)]
            a.script(task, {"tools": [create(f"{task}.py", "X = 1\n")]}, *work, {"tools": [finish()]})
        with faulty_server(a.scripts, {}, seed=0) as base_url:
            f = FaultyNight(a, base_url)
            pid = f.start()
            a.load(one_task("tight", extra="budget_tokens = 12_000") + one_task("free"))
            assert a.run("agentcoord", "wait", "--timeout", "60").code != 0
            tasks = a.tasks()
            assert (tasks["free"]["state"], tasks["tight"]["state"]) == ("done", "parked")
            assert tasks["tight"]["why"] == "the task cap of 12,000 tokens is reached"
            assert (tasks["free"]["budget_tokens"], tasks["tight"]["budget_tokens"]) == (None, 12_000)
            spent = sum(_tokens(record) for record in f.books().records if record["task"] == "tight")
            assert 0 < spent <= 12_000
            f.end(pid)


@pytest.mark.timeout(240)
def test_six_workers_at_once_a_faulty_server_and_a_kill_never_pass_a_cap_by_the_servers_books() -> None:
    cap_usd = 0.04
    names = [f"t{n}" for n in range(12)]
    with night() as a:
        a.make_project()
        a.env |= {"AGENTCOORD_BUDGET_RUN_USD": str(cap_usd), "AGENTCOORD_MODELS_LADDER": "claude-haiku-5-5"}
        for task in names:
            work = [{"tools": [bash(f"seq {n} 5000")], "thinking_ms": 30_000} for n in range(TURNS)]
            a.script(task, {"tools": [create(f"{task}.py", "X = 1\n")]}, *work, {"tools": [finish()]})
        with faulty_server(a.scripts, dict.fromkeys(BROKEN_OFF, 0.04), seed=3) as base_url:
            f = FaultyNight(a, base_url)
            killed = f.start()
            a.load("".join(one_task(task) for task in names))
            f.wait_for_books(lambda books: books.raw["answered"] >= 2 * len(names))
            os.kill(killed, signal.SIGKILL)
            assert wait_gone(killed, 10)

            pid = f.start()
            waited = a.run("agentcoord", "wait", "--timeout", "120")
            assert "the run cap of $0.04 is reached" in waited.out, waited
            books = f.wait_for_books(lambda books: books.raw["at_once"] == 0)
            costs, tasks = f.costs(), a.tasks()
            assert {task["state"] for task in tasks.values()} <= {"done", "parked", "queued"}
            assert any("the run cap of $0.04 is reached" in task["why"] for task in tasks.values())
            assert books.raw["most_at_once"] > 1, "nobody was in anybody's way"
            assert cap_usd / 4 < books.usd <= costs["total_usd"] <= cap_usd
            assert costs["reserved_usd"] == 0
            assert books.malformed() == []
            f.end(pid)
