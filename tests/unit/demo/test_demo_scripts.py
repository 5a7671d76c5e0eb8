"""The demo night's scripts, played without a daemon: every landing must leave the project green.

A script is applied to the tree that its `needs` give it, the oldest it may start from, and the
result is merged three-way into the tree of the moment, as a landing does. Shell steps are passed
over: they only look.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import agentcoord
from agentcoord.agent.drafting import DRAFT_TASK, DraftBriefing, read_draft
from agentcoord.domain.plan import read_plan
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import NO_USAGE
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.llm.api import StopReason, Turn
from agentcoord.llm.rehearsal.scripts import load_scripts

DEMO = Path(agentcoord.__file__).parent / "cli" / "demo"
PLAN_FILE = Path(__file__).parents[3] / "config" / "plans" / "overnight.toml"
EDITOR = "str_replace_based_edit_tool"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
TOOLS = {"bash", EDITOR, "search", "finish_task", "ask_human"}

Tree = Mapping[str, str]
"""The text of every file, by its path; never changed, so that each is made once."""


@dataclass(frozen=True, slots=True)
class Script:
    """One `scripts/<task>.toml`."""

    task: str
    turns: Sequence[dict[str, Any]]

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(call["name"], call["input"]) for turn in self.turns for call in turn.get("tool", ())]


def plan() -> dict[str, TaskSpec]:
    read = read_plan(
        PLAN_FILE.read_text(),
        format="toml",
        source="overnight.toml",
        known=(),
        workers=MISSION_WORKERS,
    )
    return {str(task.id): task for task in read.tasks}


def scripts() -> dict[str, Script]:
    found = {}
    for path in sorted((DEMO / "scripts").glob("*.toml")):
        raw = tomllib.loads(path.read_text())
        if raw["task"] != DRAFT_TASK:  # That one proposes a plan, and is no task's.
            found[path.stem] = Script(raw["task"], raw["turn"])
    return found


PLAN = plan()
SCRIPTS = scripts()


@cache
def original_tree() -> Tree:
    root = DEMO / "project"
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


def edit(tree: Tree, given: dict[str, Any]) -> Tree:
    """Do what the editor tool would do; fail the test where it would refuse."""
    path = given["path"]
    assert not path.startswith("/"), path
    match given["command"]:
        case "create":
            return {**tree, path: given["file_text"]}
        case "str_replace":
            matches = tree[path].count(given["old_str"])
            assert matches == 1, f"{matches} matches in {path} of:\n{given['old_str']}"
            return {**tree, path: tree[path].replace(given["old_str"], given["new_str"])}
        case "view":
            assert path in tree, path
            return tree
        case other:
            pytest.fail(f"no script needs {other!r}")


def play(script: Script, tree: Tree, *, until_finish: int | None = None) -> Tree:
    """Apply a script's edits; all of them, or those before the `until_finish`-th claim to be finished."""
    finished = 0
    for name, given in script.calls():
        if name == "finish_task":
            finished += 1
            if finished == until_finish:
                return tree
        elif name == EDITOR:
            tree = edit(tree, given)
    return tree


def merge(base: Tree, mine: Tree, current: Tree) -> Tree:
    """Bring what `mine` changed since `base` into `current`; fail the test on a conflict."""
    merged = dict(current)
    for path, text in mine.items():
        before, now = base.get(path), current.get(path)
        if text == before:
            continue
        merged[path] = text if now == before else merge_text(path, before or "", text, now or "")
    return merged


def merge_text(path: str, base: str, mine: str, current: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, text in (("current", current), ("base", base), ("mine", mine)):
            file = Path(folder) / name
            file.write_text(text)
            names.append(str(file))
        done = subprocess.run(["git", "merge-file", "-p", *names], capture_output=True, text=True)
    assert done.returncode == 0, f"conflict in {path}:\n{done.stdout}"
    return done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a tree lies while its suite runs: in memory where the system has a place there.

    The project's own tests open databases on disk all the time, and would mostly wait for it.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="ac-demo-") as base:
        yield Path(base)


def run_suite(tree: Tree, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the project's own check on a tree, in a new folder and with its temporary files there.

    What is compiled may be written: the project's tests start its program dozens of times.
    """
    for path, text in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    check = tomllib.loads(tree["agentcoord.toml"])["checks"]["tests"].split()
    assert check[0] == "python3"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, *check[1:]],
        cwd=folder,
        env={**env, "TMPDIR": str(folder.parent)},
        capture_output=True,
        text=True,
        timeout=50,
    )


def assert_green(tree: Tree, folder: Path, after: Iterable[str]) -> None:
    done = run_suite(tree, folder)
    assert done.returncode == 0, f"red after {', '.join(after)}:\n{done.stderr}"


def ready(done: Iterable[str]) -> list[str]:
    """The tasks that may land next, in the plan's order."""
    landed = set(done)
    return [name for name, task in PLAN.items() if name not in landed and landed >= set(task.needs)]


def some_order(choose: Callable[[list[str]], str]) -> list[str]:
    order: list[str] = []
    while candidates := ready(order):
        order.append(choose(candidates))
    return order


@cache
def state_of_needs(task: str) -> Tree:
    """The least that has landed when a task starts."""
    tree = original_tree()
    for needed in PLAN[task].needs:
        tree = merge(original_tree(), land_alone(str(needed)), tree)
    return tree


@cache
def land_alone(task: str) -> Tree:
    return play(SCRIPTS[task], state_of_needs(task))


def trees_along(order: Sequence[str]) -> list[Tree]:
    """The tree after each landing, every task having started as early as it could."""
    trees = [original_tree()]
    for task in order:
        trees.append(merge(state_of_needs(task), land_alone(task), trees[-1]))
    return trees[1:]


def test_the_project_is_green_before_the_night(folder: Path) -> None:
    done = run_suite(original_tree(), folder / "project")
    assert done.returncode == 0, done.stderr


def test_every_task_of_the_plan_has_a_script_of_its_name() -> None:
    assert set(SCRIPTS) == set(PLAN)
    assert [script.task for script in SCRIPTS.values()] == list(SCRIPTS)


def test_the_rehearsal_server_accepts_every_script() -> None:
    assert set(load_scripts(DEMO / "scripts")) == {*PLAN, DRAFT_TASK}


def test_the_demo_has_a_plan_for_a_second_night() -> None:
    (turn,) = load_scripts(DEMO / "scripts")[DRAFT_TASK].turns
    (call,) = turn.answer.tools
    block = {"type": "tool_use", "id": "c", "name": call.name, "input": dict(call.input)}
    loaded = {task.id for task in PLAN.values()}
    briefing = DraftBriefing("g", "parcel", ("**",), (), {}, MISSION_WORKERS, "", "", loaded)
    answered = Turn((block,), StopReason.TOOL_USE, NO_USAGE, "m")
    draft = read_draft(answered, briefing)
    tree = original_tree()
    drafted = read_plan(draft.text, format="toml", source="d", known=(), workers=MISSION_WORKERS).tasks
    assert len(drafted) == 3
    for task in drafted:
        assert all(path in tree or not path.startswith(("parcel/", "tests/")) for path in task.writes)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_is_a_believable_piece_of_work(name: str) -> None:
    script = SCRIPTS[name]
    assert 4 <= len(script.turns) <= 9
    assert all(300 <= turn["thinking_ms"] <= 1500 for turn in script.turns)
    assert all(turn["text"].strip() for turn in script.turns)
    assert all(turn["tool"] for turn in script.turns)
    assert {tool for tool, _ in script.calls()} <= TOOLS
    last_tool, last_input = script.calls()[-1]
    assert last_tool == "finish_task"
    assert last_input["summary"]
    assert last_input["decisions"]


@pytest.mark.parametrize("name", sorted(PLAN))
def test_a_task_that_lands_alone_leaves_the_suite_green_and_its_tests_run(name: str, folder: Path) -> None:
    tree = land_alone(name)
    assert_green(tree, folder / "project", [name])
    if PLAN[name].tags != ("docs",):
        assert any(path.startswith("tests/") and path not in original_tree() for path in tree)


@pytest.mark.parametrize("count", range(1, len(PLAN) + 1))
def test_every_landing_of_the_most_urgent_order_leaves_the_suite_green(count: int, folder: Path) -> None:
    order = some_order(lambda names: max(names, key=lambda name: PLAN[name].priority))[:count]
    assert len(order) == count
    assert_green(trees_along(order)[-1], folder / "project", order)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_other_order_ends_in_the_same_green_tree(seed: int, folder: Path) -> None:
    order = some_order(random.Random(seed).choice)
    trees = trees_along(order)
    assert_green(trees[4], folder / "project", order[:5])
    assert trees[-1] == trees_along(some_order(lambda names: names[0]))[-1]


def test_two_tasks_that_run_side_by_side_change_the_same_file_and_merge() -> None:
    before = original_tree()["parcel/storage.py"]
    changed = [name for name in ready([]) if land_alone(name)["parcel/storage.py"] != before]
    assert changed == ["connection-pooling", "health-checks"]


def test_the_first_claim_to_be_finished_is_wrong_once_and_the_check_sees_it(folder: Path) -> None:
    claims = {name: [tool for tool, _ in s.calls()].count("finish_task") for name, s in SCRIPTS.items()}
    assert {name for name, count in claims.items() if count > 1} == {"connection-pooling"}
    half_done = play(SCRIPTS["connection-pooling"], original_tree(), until_finish=1)
    done = run_suite(half_done, folder / "project")
    assert done.returncode == 1
    assert "test_a_failed_write_leaves_nothing_behind" in done.stderr


def test_scripts_stay_inside_the_scope_and_touch_nothing_protected() -> None:
    project = tomllib.loads(original_tree()["agentcoord.toml"])["project"]
    for name in PLAN:
        before, after = state_of_needs(name), land_alone(name)
        for path in (path for path in after if after[path] != before.get(path)):
            assert any(path == s or path.startswith(s.removesuffix("**")) for s in project["scope"]), path
            assert path not in project["protect"]


def test_the_packaged_plan_is_the_one_in_config() -> None:
    assert (DEMO / "overnight.toml").read_text() == PLAN_FILE.read_text()


def test_all_six_workers_find_a_task_at_the_start() -> None:
    open_tasks = sorted((PLAN[name] for name in ready([])), key=lambda task: -task.priority)
    for worker in MISSION_WORKERS:
        fitting = [task for task in open_tasks if worker.covers(task.tags)]
        assert fitting, worker.name
        open_tasks.remove(fitting[0])


def test_the_plan_spans_the_priorities_and_has_needs() -> None:
    assert {task.priority for task in PLAN.values()} == {5, 4, 3, 2}
    assert sum(len(task.needs) for task in PLAN.values()) >= 3
    assert len(PLAN) == 10
