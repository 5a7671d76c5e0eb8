"""Nights against a model's server that fails: each fault alone, then all of them at random.

Whatever the server does, every task ends done or failed with a true cause, the tree is green, no more
is spent than the cap by the server's own books, nobody calls inside a retry-after window, and no
request is malformed. Continuous integration plays one night in which each fault meets a task of its
own, nights of three small tasks under some faults alone, and the ten tasks of the demo under all faults by
dice. By hand, with the time it takes (half a minute to two minutes a night):

    make nights SEEDS=50                # all of the below but the small nights
    AGENTCOORD_FAULT_SEEDS=50 python -m pytest tests/acceptance/test_accept_faults.py
    AGENTCOORD_FAULT_NIGHT=each ...     # three small tasks under each fault alone
    AGENTCOORD_FAULT_NIGHT=demo ...     # the ten tasks of the demo under each fault alone
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults_kit import STOPS_THE_RUN, FaultyNight, faulty_server
from night_kit import Night, bash, create, finish, night, one_task, replace, view

from agentcoord.llm.rehearsal.faults import FaultKind

SEEDS = int(os.environ.get("AGENTCOORD_FAULT_SEEDS", "1"))
NIGHT = os.environ.get("AGENTCOORD_FAULT_NIGHT", "")
DEMO = NIGHT == "demo"
SCRIPTS = Path(__file__).parents[2] / "src" / "agentcoord" / "cli" / "demo" / "scripts"
PLAN = Path(__file__).parents[2] / "config" / "plans" / "overnight.toml"
CAP_USD = 1.0
ALONE = 0.06 if DEMO else 0.34
"""How probable a fault is when it is the only one: a few in a night, of some eighty turns or of a dozen."""
TOGETHER = 0.008
"""How probable each is among all: every fifth request of the demo fails in some way."""
WAIT_S = 60
DEMO_WAIT_S = 300

PASSING = tuple(kind for kind in FaultKind if kind not in STOPS_THE_RUN)
ALONE_KINDS = PASSING if NIGHT else (FaultKind.RATE_LIMIT, FaultKind.CUT_TOOL_JSON)
STOPPING_KINDS = sorted(STOPS_THE_RUN) if NIGHT else [FaultKind.SPEND_CAP, FaultKind.UNAUTHENTICATED]

pytestmark = pytest.mark.timeout(DEMO_WAIT_S + 60)


@contextmanager
def faulty_night(
    faults: dict[FaultKind, float],
    seed: int,
    *,
    demo: bool = DEMO,
    write_scripts: Callable[[Night], None] | None = None,
) -> Iterator[FaultyNight]:
    """A project, its scripts, and the server; the daemon is not started yet."""
    with night() as a:
        a.env["AGENTCOORD_BUDGET_RUN_USD"] = str(CAP_USD)
        if write_scripts is not None:
            a.make_project()
            write_scripts(a)
        elif demo:
            shutil.copytree(SCRIPTS.parent / "project", a.root)
            shutil.copytree(SCRIPTS, a.scripts, dirs_exist_ok=True)
            a.make_project({})
        else:
            a.make_project()
            _write_three_scripts(a)
        with faulty_server(a.scripts, faults, seed=seed) as base_url:
            yield FaultyNight(a, base_url)


def plan(*, demo: bool = DEMO) -> str:
    if demo:
        return PLAN.read_text()
    return "".join(one_task(task, extra=extra) for task, extra in _THREE.items())


_THREE = {"sums": 'tags = ["testing"]', "words": 'tags = ["backend"]', "more": 'needs = ["sums"]'}


def _write_three_scripts(a: Night) -> None:
    a.script(
        "sums",
        {"thinking": "First I look.", "tools": [view("calc.py"), view("tests/test_calc.py")]},
        {"text": "Now the edit.", "tools": [replace("calc.py", "return a + b", "return b + a")]},
        {"tools": [bash("python3 -m unittest discover -s tests -q")]},
        {"tools": [finish("Sums commute.")]},
    )
    a.script(
        "words",
        {"tools": [create("words.py", "WORDS = ('a', 'b')\n")]},
        {"tools": [bash("python3 -c 'import words'")]},
        {"tools": [finish("Words.")]},
    )
    a.script(
        "more",
        {"tools": [view("calc.py")]},
        {"tools": [replace("calc.py", "# middle", "# between"), bash("python3 -c 'import calc'")]},
        {"tools": [finish("More.")]},
    )


def _write_a_script_for_each_fault(a: Night) -> None:
    for kind in PASSING:
        a.script(
            f"t-{kind}",
            {"tools": [create(f"{kind}.py", f"NAME = '{kind}'\n")]},
            {"tools": [bash("true")], "fault": kind},
            {"tools": [finish()]},
        )


def wait_for_the_end(f: FaultyNight, *, demo: bool = DEMO) -> None:
    """Wait until nothing is left to do; failed tasks are told by the exit code."""
    wait_s = DEMO_WAIT_S if demo else WAIT_S
    waited = f.night.run("agentcoord", "wait", "--timeout", str(wait_s), timeout_s=wait_s + 10)
    assert waited.code in (0, 7), waited.out + waited.err


def hold_to_the_rules(f: FaultyNight, pid: int, *, demo: bool = DEMO) -> None:
    """What must be true after any night."""
    a = f.night
    tasks, costs = a.tasks(), f.costs()
    for task in tasks.values():
        assert task["state"] in ("done", "failed"), task
        assert task["state"] == "done" or task["why"], task
    books = f.books()
    assert books.malformed() == []
    assert books.sent_too_early() == []
    assert books.raw["at_once"] == 0, "a request is still under way"
    assert books.raw["most_at_once"] <= 6, "one request in flight a worker"
    assert books.usd <= CAP_USD
    assert costs["total_usd"] >= books.usd - 1e-9, "the server wrote down more than we did"
    assert costs["reserved_usd"] == 0
    assert sum(task["cost_usd"] for task in tasks.values()) == pytest.approx(costs["total_usd"], abs=1e-6)
    if not demo:
        changed = {line[3:] for line in a.git("status", "--porcelain", "--untracked-files=all").splitlines()}
        landed = {path for task in tasks.values() for path in task["files"]}
        assert changed == landed
    a.check()
    f.end(pid)


def test_each_fault_meets_a_task_once_and_every_task_is_done() -> None:
    tags = ["testing", "backend", "platform", "docs"]
    with faulty_night({}, seed=0, write_scripts=_write_a_script_for_each_fault) as f:
        pid = f.start()
        f.night.load(
            "".join(one_task(f"t-{k}", extra=f'tags = ["{tags[n % 4]}"]') for n, k in enumerate(PASSING))
        )
        waited = f.night.run("agentcoord", "wait", "--timeout", str(WAIT_S))
        assert {task["state"] for task in f.night.tasks().values()} == {"done"}, waited.out + waited.err
        assert f.books().thrown() == set(PASSING)
        hold_to_the_rules(f, pid)


@pytest.mark.parametrize("kind", ALONE_KINDS)
def test_a_night_under_one_fault_ends_with_true_causes(kind: FaultKind) -> None:
    with faulty_night({kind: ALONE}, seed=7) as f:
        pid = f.start()
        f.night.load(plan())
        wait_for_the_end(f)
        assert kind in f.books().thrown(), "nothing was tested"
        hold_to_the_rules(f, pid)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_demo_night_under_all_faults_at_random_ends_with_true_causes(seed: int) -> None:
    faults = dict.fromkeys(PASSING, TOGETHER)
    with faulty_night(faults, seed, demo=True) as f:
        pid = f.start()
        f.night.load(plan(demo=True))
        wait_for_the_end(f, demo=True)
        assert len(f.books().thrown()) >= 3, "hardly anything was tested"
        hold_to_the_rules(f, pid, demo=True)


@pytest.mark.parametrize("kind", STOPPING_KINDS)
def test_a_provider_that_refuses_the_account_stops_the_run_with_words(kind: FaultKind) -> None:
    with faulty_night({kind: 1.0}, seed=0) as f:
        pid = f.start()
        f.night.load(plan())
        paused = asyncio.run(f.night.wait_for("run.paused"))
        assert paused["data"]["why"]
        asyncio.run(f.night.wait_for("task.parked"))
        states = {task["state"] for task in f.night.tasks().values()}
        assert "done" not in states
        assert "failed" not in states, "the environment's fault costs no attempt"
        books = f.books()
        assert books.usd == 0
        assert len(books.records) <= 6, "nobody hammers on a closed door"
        f.end(pid)
