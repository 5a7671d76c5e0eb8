"""Verdicts, tampering and taking back, through the two commands and real checks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from night_kit import CALC, Night, create, finish, night, one_task, replace, wait_gone

from agentcoord.wire.messages import Method

CONFIG = """
[project]
scope = ["*.py", "tests/**"]

[checks]
tests = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python3 -m pytest -q -p no:cacheprovider"
"""
TESTS = """import calc


def test_add():
    assert calc.add(1, 2) == 3


def test_mul():
    assert calc.mul(2, 3) == 6


def test_sub():
    assert calc.sub(2, 3) == -1
"""
PROJECT = {"calc.py": CALC, "tests/test_calc.py": TESTS, "agentcoord.toml": CONFIG, ".gitignore": "*.pyc\n"}
BROKEN_MUL = ("calc.py", "return a * b", "return a + b")


@pytest.fixture
def red_night() -> Iterator[Night]:
    """A project whose `test_sub` was red before the night: there is no `sub`."""
    with night() as made:
        made.make_project(PROJECT)
        yield made


def detail(a: Night, task: str) -> dict[str, Any]:
    return a.run("agentcoord", "task", task, "--json").document


def test_red_from_before_stops_no_task_and_new_red_does(red_night: Night) -> None:
    a = red_night
    a.script("words", {"tools": [replace("calc.py", "# middle", "# centre"), finish()]})
    a.script(
        "breaks",
        {"tools": [replace(*BROKEN_MUL), finish()]},
        {
            "tools": [
                replace("calc.py", "def mul(a, b):\n    return a + b", "def mul(a, b):\n    return b * a"),
                finish(),
            ]
        },
    )
    a.start()
    a.load(one_task("words") + one_task("breaks", extra='needs = ["words"]'))
    asyncio.run(a.wait_for("baseline.ended", ok=False))
    asyncio.run(a.wait_for("task.done", "words"))
    asyncio.run(a.wait_for("task.done", "breaks"))
    checked = [e["data"] for e in asyncio.run(a.all_events()) if e["kind"] == "task.checked" and e["task"]]
    assert [(each["ok"], each["new_failures"], each["old_failures"]) for each in checked] == [
        (True, 0, 1),
        (False, 1, 1),
        (True, 0, 1),
    ]
    assert "return b * a" in (a.root / "calc.py").read_text()
    (check,) = detail(a, "breaks")["checks"]
    assert check["excused"] is True
    assert check["tests"]["old_failures"] == ["tests/test_calc.py::test_sub"]
    shown = a.run("agentcoord", "task", "breaks").out
    assert "1 test failed before and still do: tests/test_calc.py::test_sub" in shown
    heard = (a.paths.transcripts_dir / "breaks" / "attempt-1.jsonl").read_text()
    assert "1 tests fail that did not fail before" in heard
    assert "they are not yours: tests/test_calc.py::test_sub" in heard


def test_a_change_that_deletes_a_red_test_waits_for_a_person_who_lets_it_land(red_night: Night) -> None:
    a = red_night
    gone = "\n\ndef test_sub():\n    assert calc.sub(2, 3) == -1\n"
    a.script("t", {"tools": [replace("tests/test_calc.py", gone, "")]}, {"tools": [finish()]})
    a.start()
    a.load(one_task())
    parked = asyncio.run(a.wait_for("task.parked", "t"))
    assert "tests/test_calc.py:12: test deleted: test_sub is gone" in parked["data"]["why"]
    assert (a.root / "tests/test_calc.py").read_text() == TESTS
    flags = detail(a, "t")["flags"]
    assert (flags[0]["kind"], flags[0]["line"], flags[0]["holds"]) == ("test deleted", 12, True)
    assert "tests/test_calc.py:12: test deleted: test_sub is gone" in a.run("agentcoord", "task", "t").out
    turns = a.tasks()["t"]["turns"]
    landed = a.run("agentcoord", "land", "t")
    assert landed.code == 0, landed.err
    asyncio.run(a.wait_for("task.done", "t"))
    assert "test_sub" not in (a.root / "tests/test_calc.py").read_text()
    assert a.tasks()["t"]["turns"] == turns, "nothing was made anew or paid for"
    again = a.run("agentcoord", "land", "t")
    assert (again.code, "no change of it is held" in again.err) == (5, True)


def test_a_held_change_lands_after_a_crash_and_is_not_replaced_by_another(a_night: Night) -> None:
    a = a_night
    weak = ("tests/test_calc.py", "self.assertEqual(calc.add(1, 2), 3)", "self.assertTrue(calc.add(1, 2))")
    for task in ("kept", "lost"):
        extra = create(f"{task}.py", "A = 1\n")
        a.script(task, {"tools": [extra, replace(*weak), finish()]})
    pid = a.start()
    a.load(one_task("kept") + one_task("lost"))
    for task in ("kept", "lost"):
        asyncio.run(a.wait_for("task.parked", task))
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid, 10)
    pid = a.start()
    assert a.run("agentcoord", "land", "kept").code == 0
    asyncio.run(a.wait_for("task.done", "kept"))
    assert a.tasks()["kept"]["turns"] == 1
    a.call(Method.STOP, now=True)
    wait_gone(pid, 10)
    shutil.rmtree(a.paths.workspaces_dir)
    a.start()
    assert a.run("agentcoord", "land", "lost").code == 0
    asyncio.run(a.wait_for("task.queued", "lost", why="you let its flagged change land"))
    assert a.run("agentcoord", "wait", "--timeout", "30").code == 7
    lost = a.tasks()["lost"]
    assert (lost["state"], "is gone" in lost["why"], lost["turns"]) == ("parked", True, 1)
    assert not (a.root / "lost.py").exists()


def test_flagged_changes_land_when_the_settings_say_so(a_night: Night) -> None:
    a = a_night
    config = (a.root / "agentcoord.toml").read_text()
    (a.root / "agentcoord.toml").write_text(config + 'on_tamper = "flag"\n')
    weak = ("tests/test_calc.py", "self.assertEqual(calc.add(1, 2), 3)", "self.assertTrue(calc.add(1, 2))")
    a.script("t", {"tools": [replace(*weak), finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.done", "t"))
    (flag,) = detail(a, "t")["flags"]
    assert (flag["kind"], flag["path"], flag["line"]) == ("assertion weakened", "tests/test_calc.py", 8)


SLY = """import pathlib

calc = pathlib.Path(__file__).parent.parent / "calc.py"
calc.write_text(calc.read_text().replace("return a + b  # times", "return a * b"))


def test_nothing():
    pass
"""


def test_a_test_that_mends_the_code_while_the_checks_run_is_found_out(red_night: Night) -> None:
    a = red_night
    broken = ("calc.py", "return a * b", "return a + b  # times")
    a.script("t", {"tools": [replace(*broken), create("tests/test_a.py", SLY), finish()]})
    a.script("honest", {"tools": [create("tests/test_b.py", SLY.partition("calc =")[0]), finish()]})
    a.start()
    a.load(one_task(extra='needs = ["honest"]') + one_task("honest"))
    asyncio.run(a.wait_for("task.done", "t"))
    asyncio.run(a.wait_for("task.done", "honest"))
    checked = [e["data"] for e in asyncio.run(a.all_events()) if e["kind"] == "task.checked" and e["task"]]
    assert all(each["ok"] for each in checked), "it was green, and nothing else speaks against it"
    (flag,) = detail(a, "t")["flags"]
    assert (flag["kind"], flag["path"], flag["holds"]) == ("file changed by a check", "calc.py", False)
    assert "calc.py: file changed by a check: tests wrote over it" in a.run("agentcoord", "task", "t").out
    assert detail(a, "honest")["flags"] == []


def test_undo_lists_what_was_built_on_top_and_blame_knows_who_wrote_what(a_night: Night) -> None:
    a = a_night
    before = (a.root / "calc.py").read_bytes()
    a.script("base", {"tools": [replace("calc.py", '"""Sums."""', '"""Sums, base."""'), finish()]})
    a.script(
        "top", {"tools": [replace("calc.py", "# middle", "# top"), create("top.py", "A = 1\n"), finish()]}
    )
    a.start()
    a.load(one_task("base") + one_task("top", extra='needs = ["base"]'))
    asyncio.run(a.wait_for("task.done", "top"))
    text = (a.root / "calc.py").read_text()
    (a.root / "calc.py").write_text(text + "\n# mine\n")
    blamed = a.run("agentcoord", "blame", "calc.py", "--json").document["lines"]
    authors = {line["text"]: line["task"] for line in blamed}
    assert (authors['"""Sums, base."""'], authors["# top"], authors["# mine"]) == ("base", "top", None)
    assert "top   8  # top" in a.run("agentcoord", "blame", "calc.py").out
    assert a.run("agentcoord", "blame", "nothing.py").code == 4
    assert a.run("agentcoord", "blame", "../x").code == 2
    (a.root / "calc.py").write_text(text)

    refused = a.run("agentcoord", "undo", "base")
    assert (refused.code, "top: Task top" in refused.err, "--yes" in refused.err) == (5, True, True)
    assert (a.root / "calc.py").read_text() == text
    refused = a.run("agentcoord", "reject", "base", "--reason", "no")
    assert (refused.code, "--reason ... --despite top" in refused.err) == (5, True)
    rejected = a.run("agentcoord", "reject", "top", "--reason", "too short", "--json").document
    assert "top.py" in rejected["restored"]
    asyncio.run(a.wait_for("task.rejected", "top"))
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    assert (a.root / "calc.py").read_text() == text
    assert "too short" in (a.paths.transcripts_dir / "top" / "attempt-1.jsonl").read_text()
    assert a.run("agentcoord", "undo", "base", "--yes").code == 0
    assert "# top" in (a.root / "calc.py").read_text()
    assert '"""Sums."""' in (a.root / "calc.py").read_text()
    undone = a.run("agentcoord", "undo", "--all", "--json").document
    assert [view["id"] for view in undone["tasks"]] == ["top"]
    assert (a.root / "calc.py").read_bytes() == before
    assert not (a.root / "top.py").exists()


def test_accepting_all_keeps_undo_all_from_taking_it_back(a_night: Night) -> None:
    a = a_night
    a.script("one", {"tools": [create("one.py", "A = 1\n"), finish()]})
    a.script("two", {"tools": [create("two.py", "A = 2\n"), finish()]})
    a.start()
    a.load(one_task("one") + one_task("two"))
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    assert a.run("agentcoord", "accept").code == 2
    assert a.run("agentcoord", "undo", "one", "--all").code == 2
    accepted = a.run("agentcoord", "accept", "--all", "--json").document
    assert sorted(accepted["tasks"]) == ["one", "two"]
    assert {task["review"] for task in a.tasks().values()} == {"accepted"}
    assert a.run("agentcoord", "accept", "--all").out.strip() == "accepted nothing"
    assert a.run("agentcoord", "undo", "--all").out.strip() == "nothing to undo"
    assert (a.root / "one.py").exists()
    assert json.loads(a.run("agentcoord", "undo", "one", "--json").out)["restored"] == ["one.py"]
    a.git("clean", "-fdxq", "-e", "two.py")
    assert a.run("agentcoord", "cleanup", "--all").code == 0
    assert a.tasks() == {}
    assert "+A = 2" in a.run("agentcoord", "diff", "two").out
    assert a.run("agentcoord", "undo", "two").code == 0, "the journal outlives the tasks"
    assert not (a.root / "two.py").exists()
    assert a.run("agentcoord", "undo", "two").code == 5


def test_cleanup_drops_what_undoing_takes_of_work_accepted_long_ago_and_of_no_other(a_night: Night) -> None:
    a = a_night
    for name in ("one", "two"):
        a.script(name, {"tools": [create(f"{name}.py", f"A = '{name}'\n"), finish()]})
    pid = a.start()
    a.load(one_task("one") + one_task("two"))
    assert a.run("agentcoord", "wait", "--timeout", "60").code == 0
    assert a.run("agentcoord", "accept", "one").code == 0
    assert a.run("agentcoord", "cleanup", "--json").document["landings"] == 0
    journal = Path(a.run("agentcoord", "status", "--json").document["state_dir"]) / "journal"
    a.run("agentcoordd", "stop")
    assert wait_gone(pid, 30)
    aged = 0
    for record in (journal / "records").glob("*.json"):
        first, *phases = record.read_text().splitlines(keepends=True)
        facts = json.loads(first)
        if facts["accepted_at_ms"] is not None:
            facts["accepted_at_ms"] -= 91 * 24 * 3600 * 1000
            record.write_text("".join([json.dumps(facts), "\n", *phases]))
            aged += 1
    assert aged == 1
    a.start()
    assert a.run("agentcoord", "cleanup", "--json").document["landings"] == 1
    assert a.run("agentcoord", "cleanup", "--json").document["landings"] == 0
    refused = a.run("agentcoord", "undo", "one")
    assert refused.code != 0
    assert "was accepted" in refused.err
    assert (a.root / "one.py").exists()
    assert a.run("agentcoord", "undo", "two").code == 0
    assert not (a.root / "two.py").exists()


def test_a_proof_stands_when_only_files_moved_that_no_check_reads(a_night: Night) -> None:
    a = a_night
    config = (a.root / "agentcoord.toml").read_text()
    slow = 'python3 -c "import time; time.sleep(3)"'
    (a.root / "agentcoord.toml").write_text(config + f"slow = '{slow}'\n" + 'unread_files = ["*.md"]\n')
    a.script("t", {"tools": [replace("calc.py", "# middle", "# centre"), finish()]})
    a.start()
    a.load(one_task())
    asyncio.run(a.wait_for("task.checking", "t"))
    asyncio.run(a.wait_for("task.checked", "t", check="tests"))
    (a.root / "README.md").write_text("mine\n")
    asyncio.run(a.wait_for("task.done", "t"))
    checked = [e for e in asyncio.run(a.all_events()) if e["kind"] == "task.checked" and e["task"] == "t"]
    assert [each["data"]["check"] for each in checked] == ["tests", "slow"], "neither ran twice"
    assert (a.root / "README.md").read_text() == "mine\n"
