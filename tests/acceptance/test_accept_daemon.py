"""The daemon as a service: stops in order, pauses, kills, spawns, cleans up, and says it in JSON."""

from __future__ import annotations

import asyncio
import os
import signal

from night_kit import Night, bash, create, finish, one_task, wait_gone

from agentcoord.wire.messages import Method


def test_sigterm_hands_the_task_back_and_the_next_daemon_goes_on(a_night: Night) -> None:
    a = a_night
    a.script(
        "t", {"tools": [create("more.py", "X = 1\n")]}, {"tools": [bash("sleep 3")]}, {"tools": [finish()]}
    )
    first = a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.turn", "t", turn=2))
    os.kill(first, signal.SIGTERM)
    assert wait_gone(first, 30)
    assert not a.paths.socket.exists()
    a.start()
    asyncio.run(a.wait_for("task.done", "t"))
    events = asyncio.run(a.all_events())
    assert [e["data"]["turn"] for e in events if e["kind"] == "task.turn"] == [1, 2, 3]
    assert [e["data"]["why"] for e in events if e["kind"] == "task.requeued"] == ["the daemon stopped"]
    tools = [e["data"] for e in events if e["kind"] == "task.tool" and e["data"]["tool"] == "bash"]
    assert [tool["is_error"] for tool in tools] == [False], "the tool call under way was finished"


def test_a_second_signal_stops_at_once(a_night: Night) -> None:
    a = a_night
    a.script("t", {"thinking_ms": 60_000, "tools": [finish()]})
    first = a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.claimed", "t"))
    os.kill(first, signal.SIGTERM)
    asyncio.run(a.wait_for("daemon.stopping"))
    os.kill(first, signal.SIGTERM)
    assert wait_gone(first, 12)
    a.start()
    assert a.tasks()["t"]["state"] in ("queued", "running")


def test_stop_status_and_start_as_the_contract_says(a_night: Night) -> None:
    a = a_night
    a.start()
    status = a.run("agentcoordd", "status", "--json").document
    assert {"pid", "state", "socket", "version", "started_at"} <= set(status)
    assert a.run("agentcoordd", "stop").code == 0
    assert a.run("agentcoordd", "status", "--json").code == 3
    assert a.run("agentcoordd", "start", env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}).code == 0
    assert a.run("agentcoordd", "stop", "--now").code == 0


def test_pause_holds_new_work_back_and_resume_lets_it_go(a_night: Night) -> None:
    a = a_night
    a.script("t", {"tools": [create("more.py", "X = 1\n"), finish()]})
    a.start()
    assert a.run("agentcoord", "ctl", "pause").code == 0
    a.load(one_task())
    task = a.tasks()["t"]
    assert (task["state"], "resume" in task["why"]) == ("queued", True)
    assert a.run("agentcoord", "ctl", "resume").code == 0
    asyncio.run(a.wait_for("task.done", "t"))


def test_killing_a_worker_hands_its_task_to_another(a_night: Night) -> None:
    a = a_night
    a.script("t", {"thinking_ms": 2_000, "tools": [create("more.py", "X = 1\n"), finish()]})
    a.start()
    a.load(one_task(extra='tags = ["backend"]'))
    holder = asyncio.run(a.wait_for("task.claimed", "t"))["worker"]
    assert a.run("agentcoord", "ctl", "kill", holder).code == 0
    assert asyncio.run(a.wait_for("task.done", "t"))["worker"] != holder
    assert holder not in [
        worker["name"] for worker in a.run("agentcoord", "workers", "--json").document["workers"]
    ]
    assert a.run("agentcoord", "spawn", "--role", "backend-engineer", "-n", "2").code == 0
    assert len(a.call(Method.WORKERS)["workers"]) == 7


def test_cancel_ends_a_running_task_and_nothing_of_it_lands(a_night: Night) -> None:
    a = a_night
    a.script("t", {"tools": [create("more.py", "X = 1\n")]}, {"thinking_ms": 6_000, "tools": [finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.tool", "t"))
    assert a.run("agentcoord", "cancel", "t").code == 0
    assert a.tasks()["t"]["state"] == "cancelled"
    assert a.git("status", "--porcelain") == ""
    assert a.run("agentcoord", "retry", "t").code == 0
    asyncio.run(a.wait_for("task.done", "t"))


def test_drain_ends_the_running_task_claims_no_other_and_stops(a_night: Night) -> None:
    a = a_night
    for task in ("one", "two"):
        a.script(task, {"thinking_ms": 1_500, "tools": [create(f"{task}.py", "X = 1\n"), finish()]})
    pid = a.start()
    a.load(one_task("one", extra='tags = ["platform"]') + one_task("two", extra='tags = ["platform"]'))
    asyncio.run(a.wait_for("task.claimed", "one"))
    assert a.run("agentcoord", "ctl", "drain").code == 0
    assert wait_gone(pid, 30)
    a.start()
    assert (a.root / "one.py").exists()
    assert a.tasks()["one"]["state"] == "done"


def test_cleanup_all_removes_this_projects_keys_and_is_refused_while_tasks_run(a_night: Night) -> None:
    a = a_night
    a.script("t", {"thinking_ms": 30_000, "tools": [finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.claimed", "t"))
    assert a.run("agentcoord", "cleanup", "--all").code == 5
    a.run("agentcoord", "cancel", "t")
    assert a.run("agentcoord", "cleanup", "--all").code == 0
    assert a.tasks() == {}


def test_every_reading_command_prints_its_contract(a_night: Night) -> None:
    a = a_night
    a.script("t", {"tools": [create("more.py", "X = 1\n"), finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.done", "t"))
    wanted = {
        "tasks": {"tasks"},
        "workers": {"workers"},
        "costs": {"total_usd", "cap_usd", "reserved_usd"},
        "status": {"counts", "spend", "needs_you"},
        "stats": {"tasks_done", "max_parallel"},
        "locks": {"locks"},
    }
    for command, keys in wanted.items():
        document = a.run("agentcoord", command, "--json").document
        assert document["schema"] == f"agentcoord.{command}/1"
        assert keys <= set(document), command
    task = a.tasks()["t"]
    contract = "id title state priority tags needs worker attempt cost_usd files why"
    assert set(contract.split()) <= set(task)
    assert task["cost_usd"] > 0
    worker = a.run("agentcoord", "workers", "--json").document["workers"][0]
    assert {"name", "role", "tags", "state", "task", "doing", "since"} <= set(worker)
