"""A whole night, and what may happen in it: crashes, a person's edits, red checks, failures."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from night_kit import Night, bash, create, finish, night, one_task, replace, until, view, wait_gone

from agentcoord.wire.messages import Method

DEMO_SCRIPTS = Path(__file__).parents[2] / "src" / "agentcoord" / "cli" / "demo" / "scripts"
DEMO_PROJECT = DEMO_SCRIPTS.parent / "project"
DEMO_LATENCY = 0.25
"""The demo at four times its speed: what happens is the same, in less time."""
OVERNIGHT = Path(__file__).parents[2] / "config" / "plans" / "overnight.toml"


@pytest.mark.timeout(120)
def test_the_demo_night_lands_ten_tasks_and_commits_nothing() -> None:
    with night() as a:
        done = a.run("agentcoord", "demo", "--dir", a.root, "--speed", str(1 / DEMO_LATENCY), cwd=a.base)
        assert done.code == 0, done.out + done.err
        assert "10 of 10 tasks done" in done.out
        assert "scripted" in done.out
        assert "6 of 6 at once" in done.out
        changed = a.git("status", "--porcelain", "--untracked-files=all").splitlines()
        assert changed
        assert all(line[:2] in (" M", "??") for line in changed), changed
        assert a.git("rev-list", "--count", "HEAD").strip() == "1"
        assert a.git("stash", "list") == ""
        a.check()


@pytest.mark.parametrize("way", [signal.SIGHUP, signal.SIGTERM])
def test_a_demo_whose_terminal_is_closed_leaves_no_daemon(way: signal.Signals) -> None:
    with night() as a:
        command = ["agentcoord", "demo", "--dir", str(a.root)]
        with subprocess.Popen(command, env=a.env, cwd=a.base, stderr=subprocess.PIPE, text=True) as demo:
            assert demo.stderr is not None
            said = next(line for line in demo.stderr if line.startswith("started agentcoordd"))
            pid = int(said.rsplit(" ", 1)[1])
            demo.send_signal(way)
            demo.stderr.read()
            assert demo.wait() == 130
        assert wait_gone(pid, 10)


@pytest.mark.timeout(180)
def test_kill_9_in_the_middle_of_the_demo_loses_nothing_and_does_nothing_twice() -> None:
    with night() as a:
        shutil.copytree(DEMO_PROJECT, a.root)
        a.make_project({})
        shutil.rmtree(a.scripts)
        shutil.copytree(DEMO_SCRIPTS, a.scripts)
        first = a.start(latency=DEMO_LATENCY)
        a.load(OVERNIGHT.read_text())
        asyncio.run(a.wait_for("task.done"))
        os.kill(first, signal.SIGKILL)
        a.start(latency=DEMO_LATENCY)
        asyncio.run(a.wait_for("task.claimed", resumed=True))  # It was in the middle of something.
        waited = a.run("agentcoord", "wait", "--timeout", "80")
        assert waited.code == 0, waited.out + waited.err
        tasks = a.tasks()
        assert {task["state"] for task in tasks.values()} == {"done"}
        done_events = [e["task"] for e in asyncio.run(a.all_events()) if e["kind"] == "task.done"]
        assert sorted(done_events) == sorted(tasks)
        changed = a.git("status", "--porcelain", "--untracked-files=all").splitlines()
        landed = {path for task in tasks.values() for path in task["files"]}
        assert {line[3:] for line in changed} == landed, "what changed is what landed, and no sibling is left"
        a.check()


def test_a_killed_conversation_goes_on_from_its_last_complete_turn(a_night: Night) -> None:
    a = a_night
    a.script(
        "t",
        {"tools": [view("calc.py")]},
        {"tools": [replace("calc.py", "# middle", "# centre")]},
        {"thinking_ms": 20_000, "tools": [bash("true")]},
    )
    first = a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.turn", "t", turn=2))
    asyncio.run(a.wait_for("task.tool", "t", tool="str_replace_based_edit_tool", summary="edit calc.py"))
    os.kill(first, signal.SIGKILL)
    wait_gone(first, 10)
    a.script("t", {"tools": [bash("exit 1")]}, {"tools": [bash("exit 1")]}, {"tools": [finish("the rest")]})
    a.start()
    event = asyncio.run(a.wait_for("task.done", "t"))
    claimed = asyncio.run(a.wait_for("task.claimed", "t", resumed=True))
    assert claimed["data"]["attempt"] == 1
    assert event["data"]["files"] == ["calc.py"]
    assert "# centre" in (a.root / "calc.py").read_text()
    turns = [e["data"]["turn"] for e in asyncio.run(a.all_events()) if e["kind"] == "task.turn"]
    assert turns == [1, 2, 3], "no turn was paid for twice"


def test_a_file_that_a_person_saves_meanwhile_is_merged(a_night: Night) -> None:
    a = a_night
    a.script(
        "t",
        {"tools": [replace("calc.py", '"""Sums."""', '"""Sums and products."""')]},
        {"thinking_ms": 3_000, "tools": [finish()]},
    )
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.tool", "t"))
    mine = (a.root / "calc.py").read_text().replace("return a * b", "return b * a  # mine")
    (a.root / "calc.py").write_text(mine)
    event = asyncio.run(a.wait_for("task.done", "t"))
    assert event["data"]["merged"] == ["calc.py"]
    assert (a.root / "calc.py").read_text() == mine.replace('"""Sums."""', '"""Sums and products."""')


def test_a_persons_edit_of_the_same_line_wins_and_the_task_is_parked_with_a_patch(a_night: Night) -> None:
    a = a_night
    a.script(
        "t",
        {"tools": [replace("calc.py", '"""Sums."""', '"""Sums and products."""')]},
        {"thinking_ms": 3_000, "tools": [finish()]},
    )
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.tool", "t"))
    mine = (a.root / "calc.py").read_text().replace('"""Sums."""', '"""All mine."""')
    (a.root / "calc.py").write_text(mine)
    asyncio.run(a.wait_for("task.parked", "t"))
    assert (a.root / "calc.py").read_text() == mine
    task = a.tasks()["t"]
    assert (task["state"], "calc.py" in task["why"]) == ("parked", True)
    patch = a.paths.transcripts_dir / "t" / "conflict.patch"
    assert '+"""Sums and products."""' in patch.read_text()
    waited = a.run("agentcoord", "wait", "--timeout", "5")
    assert waited.code == 7


def test_red_checks_go_back_to_the_worker_and_only_green_lands(a_night: Night) -> None:
    a = a_night
    a.script(
        "t",
        {"tools": [replace("calc.py", "return a + b", "return a - b"), finish("broken")]},
        {"tools": [replace("calc.py", "return a - b", "return b + a"), finish("mended")]},
    )
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.done", "t"))
    events = asyncio.run(a.all_events())
    assert [e["data"]["ok"] for e in events if e["kind"] == "task.checked" and e["task"]] == [False, True]
    assert "return b + a" in (a.root / "calc.py").read_text()
    a.check()


def test_a_task_that_never_gets_green_fails_leaves_the_tree_alone_and_fails_its_dependents(
    a_night: Night,
) -> None:
    a = a_night
    a.script("t", *[{"tools": [replace("calc.py", "return a + b", "return a - b"), finish("broken")]}] * 1)
    a.start()
    a.load(one_task() + one_task("after", extra='needs = ["t"]'))
    waited = a.run("agentcoord", "wait", "--timeout", "60")
    assert waited.code == 7, waited.out + waited.err
    tasks = a.tasks()
    assert (tasks["t"]["state"], tasks["after"]["state"]) == ("failed", "failed")
    assert "checks" in tasks["t"]["why"] or "proven" in tasks["t"]["why"]
    assert "t" in tasks["after"]["why"]
    assert a.git("status", "--porcelain") == ""


def test_a_claim_without_a_change_is_not_done(a_night: Night) -> None:
    a = a_night
    a.script("t", *[{"tools": [finish("I did it all")]}] * 8)
    a.start()
    a.load(one_task())
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 7
    assert a.tasks()["t"]["state"] == "failed"


def test_what_lies_outside_the_scope_stays_as_it_is(a_night: Night) -> None:
    a = a_night
    a.script(
        "t",
        {
            "tools": [
                create("notes.txt", "outside\n"),
                bash("echo x > README.md; rm tests/test_calc.py; touch .envrc"),
            ]
        },
        {"tools": [bash("git checkout -q tests 2>&1; true"), create("more.py", "X = 1\n"), finish()]},
    )
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.done", "t"))
    assert a.git("status", "--porcelain", "--untracked-files=all").splitlines() == ["?? more.py"]
    assert (a.root / "tests" / "test_calc.py").is_file()


def test_six_workers_work_at_once_by_priority_and_needs(a_night: Night) -> None:
    a = a_night
    tags = ["testing", "testing", "backend", "backend", "platform", "docs"]
    plan = [one_task(f"t{n}", extra=f'tags = ["{tag}"]\npriority = 5') for n, tag in enumerate(tags)]
    plan += [
        one_task("low", extra='tags = ["testing"]\npriority = 2'),
        one_task("high", extra='tags = ["testing"]\npriority = 4'),
        one_task("last", extra='tags = ["testing"]\npriority = 5\nneeds = ["low"]'),
    ]
    for task in [*(f"t{n}" for n in range(6)), "low", "high", "last"]:
        a.script(task, {"thinking_ms": 700, "tools": [create(f"{task}.py", f"NAME = '{task}'\n"), finish()]})
    a.start()
    a.load("".join(plan))
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    assert a.call(Method.STATUS)["max_parallel"] == 6
    claims = [e for e in asyncio.run(a.all_events()) if e["kind"] == "task.claimed"]
    # Two claims of one moment are told in any order; their tokens say which was handed out first.
    claimed = [e["task"] for e in sorted(claims, key=lambda e: e["data"]["token"])]
    assert set(claimed[:6]) == {f"t{n}" for n in range(6)}
    assert claimed.index("high") < claimed.index("low") < claimed.index("last")
    a.stop()
    a.start()
    until(lambda: a.call(Method.STATUS)["max_parallel"] == 6)  # It reads the log of what was before it.


def test_a_task_can_be_seen_taken_back_alone_and_never_twice(a_night: Night) -> None:
    a = a_night
    before = (a.root / "calc.py").read_text()
    a.script("one", {"tools": [replace("calc.py", "return a + b", "return b + a"), finish()]})
    a.script("two", {"tools": [replace("calc.py", "return a * b", "return b * a"), finish()]})
    a.start()
    a.load(one_task("one") + one_task("two", extra='needs = ["one"]'))
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    diff = a.run("agentcoord", "diff", "one")
    assert "+    return b + a" in diff.out
    assert "b * a" not in diff.out
    refused = a.run("agentcoord", "undo", "one")
    assert (refused.code, "two" in refused.err) == (5, True), "what was built on it is named first"
    undone = a.run("agentcoord", "undo", "one", "--yes")
    assert undone.code == 0, undone.err
    assert (a.root / "calc.py").read_text() == before.replace("return a * b", "return b * a")
    assert a.run("agentcoord", "undo", "one").code == 5
    assert a.run("agentcoord", "undo", "two").code == 0
    assert (a.root / "calc.py").read_text() == before
    assert a.git("status", "--porcelain") == ""


def test_an_undo_takes_back_this_plans_task_and_not_its_namesake_of_an_earlier_night(a_night: Night) -> None:
    a = a_night
    a.script("t", {"tools": [create("first.py", "X = 1\n"), finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.done", "t"))
    assert a.run("agentcoord", "accept", "t").code == 0
    assert a.run("agentcoord", "cleanup", "--all").code == 0
    a.call(Method.STOP)
    a.wait_until_stopped()
    a.script("t", {"tools": [create("second.py", "X = 2\n"), finish()]})
    a.start()
    a.load(one_task())
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    assert "second.py" in a.run("agentcoord", "diff", "t").out
    assert a.run("agentcoord", "undo", "t").code == 0
    assert (a.root / "first.py").is_file()
    assert not (a.root / "second.py").exists()
