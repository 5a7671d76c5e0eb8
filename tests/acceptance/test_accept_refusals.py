"""What cannot be done is refused in words, with the mend and the right exit code; nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from night_kit import CALC, CONFIG, Night, create, finish, night, one_task, wait_gone

BAD_PLAN = """[[task]]
id = "a"
title = "A"
needs = ["b"]

[[task]]
id = "b"
title = "B"
needs = ["a", "nowhere"]

[[task]]
id = "b"
title = "again"

[[task]]
id = "c"
title = "C"
tags = ["juggling"]
"""


def _fix_line(err: str) -> str:
    return next((line for line in err.splitlines() if line.startswith("fix:")), "")


def test_a_bad_plan_is_told_whole_with_lines_and_loads_nothing(a_night: Night) -> None:
    a = a_night
    a.start()
    done = a.run("agentcoord", "load", a.plan(BAD_PLAN))
    assert done.code == 2
    for words in (
        "plan.toml:4",
        "circle",
        "plan.toml:9",
        "nowhere",
        "plan.toml:12",
        "used twice",
        "juggling",
    ):
        assert words in done.err, done.err
    assert a.tasks() == {}


def test_run_judges_the_plan_before_anything_starts(a_night: Night) -> None:
    done = a_night.run("agentcoord", "run", a_night.plan(BAD_PLAN), env={"ANTHROPIC_API_KEY": "sk-ant-x"})
    assert done.code == 2
    assert "juggling" in done.err
    assert a_night.run("agentcoordd", "status").code == 3


def test_a_second_start_says_who_runs(a_night: Night) -> None:
    pid = a_night.start()
    done = a_night.run("agentcoordd", "start")
    assert done.code == 5
    assert str(pid) in done.err
    assert "agentcoordd status" in _fix_line(done.err)


@pytest.mark.parametrize("command", ["status", "tasks", "workers", "costs", "stats", "load", "undo", "ctl"])
def test_without_a_daemon_the_command_that_starts_it_is_named(a_night: Night, command: str) -> None:
    words = {"load": ["load", str(a_night.plan(one_task()))], "undo": ["undo", "x"], "ctl": ["ctl", "pause"]}
    done = a_night.run("agentcoord", *words.get(command, [command]))
    assert done.code == 3
    assert "agentcoordd start" in done.err
    assert "Traceback" not in done.err


def test_without_key_and_server_run_names_the_three_ways_on(a_night: Night) -> None:
    done = a_night.run("agentcoord", "run", a_night.plan(one_task()))
    assert done.code == 1
    for way in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "agentcoord demo"):
        assert way in done.err
    assert a_night.run("agentcoordd", "status").code == 3


def test_root_is_refused_unless_it_is_said(a_night: Night) -> None:
    if os.geteuid() != 0:
        done = a_night.run("agentcoordd", "start", env={"AGENTCOORD_ALLOW_ROOT": "0"})
        assert done.code == 0, done.err
        return
    for words in (("agentcoordd", "start"), ("agentcoordd", "run"), ("agentcoord", "demo")):
        done = a_night.run(*words, env={"AGENTCOORD_ALLOW_ROOT": "0"})
        assert done.code == 5
        assert "--allow-root" in done.err


def test_a_folder_without_git_is_refused_in_words() -> None:
    with night() as a:
        a.root.mkdir()
        done = a.run("agentcoordd", "start")
        assert done.code in (1, 2)
        assert "not inside a git repository" in done.err
        assert "git init" in _fix_line(done.err)


def test_a_bare_repository_is_refused_in_words() -> None:
    with night() as a:
        subprocess.run(["git", "init", "-q", "--bare", a.root], check=True, env=a.env)
        done = a.run("agentcoordd", "start")
        assert done.code in (1, 2)
        assert "bare" in done.err


@pytest.mark.parametrize("kind", ["empty", "spaces and letters", "dirty"])
def test_unusual_repositories_work(kind: str) -> None:
    name = "mein schönes プロジェクト" if kind == "spaces and letters" else "shop"
    with night(name) as a:
        a.make_project(commit=kind != "empty")
        if kind == "dirty":
            a.git("checkout", "-q", "-b", "feature/x")
            (a.root / "calc.py").write_text(CALC + "\n# uncommitted\n")
            (a.root / "new.py").write_text("# untracked\n")
            a.git("add", "new.py")
        before = a.git("status", "--porcelain", "--untracked-files=all")
        a.script("t", {"tools": [create("more.py", "X = 1\n"), finish()]})
        a.start()
        a.load(one_task())
        waited = a.run("agentcoord", "wait", "--timeout", "60")
        assert waited.code == 0, waited.out + waited.err
        after = a.git("status", "--porcelain", "--untracked-files=all")
        assert set(after.splitlines()) - set(before.splitlines()) == {"?? more.py"}
        assert set(before.splitlines()) <= set(after.splitlines())


def test_a_repository_without_any_file_works_too() -> None:
    with night() as a:
        a.make_project({}, commit=False)
        a.script("t", {"tools": [create("src/more.py", "X = 1\n"), finish()]})
        a.start()
        a.load(one_task())
        waited = a.run("agentcoord", "wait", "--timeout", "60")
        assert waited.code == 0, waited.out + waited.err
        assert (a.root / "src" / "more.py").is_file()


def test_a_wrong_setting_is_told_with_the_nearest_key() -> None:
    with night() as a:
        a.make_project(
            {
                "calc.py": CALC,
                "tests/test_calc.py": "",
                "agentcoord.toml": CONFIG + "[budget]\nrun_us = 1\n",
            }
        )
        done = a.run("agentcoordd", "start")
        assert done.code in (1, 2)
        assert "did you mean run_usd?" in done.err


def test_a_capped_model_without_a_price_is_refused_before_the_night(a_night: Night) -> None:
    done = a_night.run("agentcoordd", "start", env={"AGENTCOORD_MODELS_LADDER": "my-own-model"})
    assert done.code == 1
    assert "my-own-model" in done.err
    assert "models.price_file" in done.err


def test_a_price_file_makes_any_model_callable(a_night: Night) -> None:
    a = a_night
    kinds = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
    prices = ["[[model]]", 'name = "my-own-model"', "as_of = 2026-01-01", *(f"{kind} = 0" for kind in kinds)]
    (a.root / "prices.toml").write_text("\n".join(prices) + "\n")
    env = {"AGENTCOORD_MODELS_LADDER": "my-own-model", "AGENTCOORD_MODELS_PRICE_FILE": "prices.toml"}
    done = a.run("agentcoordd", "start", env=env)
    assert done.code == 0, done.err


def test_a_stale_socket_of_a_killed_daemon_is_no_hindrance(a_night: Night) -> None:
    first = a_night.start()
    os.kill(first, signal.SIGKILL)
    wait_gone(first, 10)
    assert a_night.paths.socket.exists()
    assert a_night.run("agentcoord", "status").code == 3
    a_night.paths.given_up_file.write_text("the supervisor gave up\n")
    a_night.start()
    assert not a_night.paths.given_up_file.exists(), "that was another daemon"
    assert a_night.run("agentcoord", "status").code == 0


def test_unknown_tasks_and_workers_are_not_found(a_night: Night) -> None:
    a_night.start()
    for words in (("task", "x"), ("undo", "x"), ("diff", "x"), ("retry", "x"), ("ctl", "kill", "Nobody")):
        done = a_night.run("agentcoord", *words)
        assert done.code == 4, (words, done.err)
