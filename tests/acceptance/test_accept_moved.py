"""A repository that was renamed: what is missing is said, and one command takes tasks and journal along."""

from __future__ import annotations

import asyncio
from pathlib import Path

from night_kit import Night, create, finish, one_task
from own_redis import own_server


def renamed(a: Night) -> str:
    """Give the project another name; returns the path it had."""
    former = a.root
    a.root = former.with_name("elsewhere")
    former.rename(a.root)
    return str(former)


def test_a_renamed_repository_is_told_where_its_tasks_are_and_takes_them_along(a_night: Night) -> None:
    a = a_night
    a.script("t", {"tools": [create("more.py", "X = 1\n")]}, {"tools": [finish()]})
    a.script("u", {"tools": [create("later.py", "X = 1\n")]}, {"thinking_ms": 60_000, "tools": [finish()]})
    a.start()
    a.load(one_task() + one_task("u"))
    asyncio.run(a.wait_for("task.done", "t"))
    asyncio.run(a.wait_for("task.turn", "u"))
    assert a.run("agentcoordd", "stop", "--now").code == 0
    a.script("u", {"tools": [create("later.py", "X = 1\n")]}, {"tools": [finish()]})
    old = a.paths
    former = renamed(a)
    said = f"this repository was at {former}"
    assert said in a.run("agentcoord", "undo", "t").err
    a.start()
    for words in (("tasks",), ("undo", "t"), ("review",)):
        assert said in a.run("agentcoord", *words).err, words
    assert a.run("agentcoordd", "stop").code == 0
    old.kept_file.unlink()  # It may be older than what the server knows; here it knows nothing.
    assert a.run("agentcoord", "adopt", "--json").document["root"] == former
    assert [each.name for each in old.state_dir.iterdir()] == ["namespace"]
    a.start()
    assert a.tasks()["t"]["state"] == "done"
    asyncio.run(a.wait_for("task.done", "u"))
    assert a.run("agentcoord", "undo", "t").code == 0
    assert sorted(path.name for path in a.root.glob("*.py")) == ["calc.py", "later.py"]
    assert said not in a.run("agentcoord", "undo", "nothing").err


def test_keys_in_a_redis_of_ones_own_go_along_and_are_nobody_elses(a_night: Night) -> None:
    a = a_night
    a.env["AGENTCOORD_REDIS_URL"] = f"unix://{a.base}/v/sock"
    a.script("t", {"tools": [create("more.py", "X = 1\n")]}, {"tools": [finish()]})
    with own_server(a):
        a.start()
        a.load(one_task())
        asyncio.run(a.wait_for("task.done", "t"))
        assert a.run("agentcoordd", "stop").code == 0
        former = Path(renamed(a))
        a.start()
        assert (a.tasks(), a.run("agentcoordd", "stop").code) == ({}, 0)
        assert a.run("agentcoord", "adopt").code == 0
        a.start()
        assert list(a.tasks()) == ["t"]
        moved, a.root = a.root, former
        a.make_project()
        a.start()
        assert a.tasks() == {}
        assert a.run("agentcoord", "ctl", "cleanup", "--all").code == 0
        assert a.run("agentcoordd", "stop").code == 0
        a.root = moved
        assert list(a.tasks()) == ["t"]
        assert a.run("agentcoordd", "stop").code == 0
