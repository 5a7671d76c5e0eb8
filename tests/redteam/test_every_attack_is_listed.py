"""docs/red-team.md names every attack and its test; here it is held against this folder."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_attacks import ATTACKS
from test_sandbox_attacks import CONTROLS

pytestmark = pytest.mark.redteam

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "red-team.md"
NOT_ATTACKS = {"test_the_attack_fails", "test_without_the_sandbox_the_same_attack_gets_through"}


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def test_the_page_and_the_folder_name_the_same_tests() -> None:
    there = {name for path in HERE.glob("test_*.py") if path != Path(__file__) for name in names_in(path)}
    assert set(re.findall(r"`(test_\w+)`", PAGE.read_text())) - NOT_ATTACKS == there - NOT_ATTACKS


def test_the_page_names_every_attack_of_one_command_and_which_have_a_twin() -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"\*([a-z][^*]+)\*", row[2])}
    assert named == {attack.name for attack in ATTACKS}
    with_twin = {name for row in rows if "same" in row[3] for name in re.findall(r"\*([a-z][^*]+)\*", row[2])}
    assert set(CONTROLS) <= with_twin
