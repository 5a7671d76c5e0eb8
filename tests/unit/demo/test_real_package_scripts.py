"""The night on a real package: its plan and scripts fit together, as far as that shows without the package.

Whether the edits apply and the package's suite stays green, `prove_on_real_package.py` finds out.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agentcoord.domain.plan import read_plan
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.llm.rehearsal.scripts import load_scripts

SCRIPTS = Path(__file__).parents[3] / "scripts"
MATERIAL = SCRIPTS / "real_package"
PLAN = read_plan(
    (MATERIAL / "plan.toml").read_text(),
    format="toml",
    source="plan.toml",
    known=(),
    workers=MISSION_WORKERS,
)


def calls_of(task: str) -> list[tuple[str, dict[str, Any]]]:
    raw = tomllib.loads((MATERIAL / "turns" / f"{task}.toml").read_text())
    return [(call["name"], call["input"]) for turn in raw["turn"] for call in turn["tool"]]


def test_six_tasks_have_a_script_each_that_the_rehearsal_server_accepts() -> None:
    names = [str(task.id) for task in PLAN.tasks]
    assert len(names) == 6
    assert set(load_scripts(MATERIAL / "turns")) == set(names)


@pytest.mark.parametrize("name", [str(task.id) for task in PLAN.tasks])
def test_a_script_writes_only_what_its_task_declares_and_ends_with_finishing(name: str) -> None:
    declared = next(task.writes for task in PLAN.tasks if task.id == name)
    calls = calls_of(name)
    written = {
        given["path"]
        for tool, given in calls
        if tool == "str_replace_based_edit_tool" and given["command"] != "view"
    }
    assert written == set(declared)
    assert any(path.startswith("tests/") for path in written)
    assert [tool for tool, _ in calls].index("finish_task") == len(calls) - 1


def test_no_two_tasks_that_can_run_side_by_side_write_the_same_file() -> None:
    written = [path for task in PLAN.tasks for path in task.writes]
    assert len(written) == len(set(written))


def test_the_proof_runs_without_anything_installed_but_agentcoord() -> None:
    tree = ast.parse((SCRIPTS / "prove_on_real_package.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
