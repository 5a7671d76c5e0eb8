"""Verdicts from what a real pytest writes, run as the proof copy runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from agentcoord.review.check_runs import CheckRuns
from agentcoord.review.junit import joined
from agentcoord.review.verdict import KnownTests
from agentcoord.sandbox.policy import Result
from agentcoord.workspace.files import SafeTree

PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider tests"
PLAIN = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Without the plugins that are installed for our own tests: they take longer to import than all else."""
TESTS = """
import pathlib
import pytest


def test_ok():
    assert True


class TestGroup:
    @pytest.mark.parametrize("n", [1, 2])
    def test_each(self, n):
        assert n != 2, "two is wrong"


def test_once():
    mark = pathlib.Path("mark")
    first = not mark.exists()
    mark.touch()
    assert not first


@pytest.mark.skip
def test_off():
    assert False
"""
TWO = "tests/test_real.py::TestGroup::test_each[2]"


def runs_in(root: Path, known: KnownTests) -> CheckRuns:
    async def run(command: str, env: Mapping[str, str]) -> Result:
        child = await asyncio.create_subprocess_shell(
            command,
            cwd=root,
            env={"PATH": os.environ["PATH"], **PLAIN, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await child.communicate()
        assert child.returncode is not None
        return Result(child.returncode, output.decode())

    return CheckRuns(run, SafeTree(root), known=lambda: known)


async def test_real_reports_tell_old_new_and_flaky_failures_apart(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tests / "test_real.py").write_text(TESTS)
    (tmp_path / "mark").touch()
    first = runs_in(tmp_path, KnownTests())
    before = await first.check("tests", PYTEST)
    assert (before.ok, before.exit_code) == (False, 1)
    assert before.verdict is not None
    assert before.verdict.new == (TWO,)
    assert "two is wrong" in before.verdict.words[TWO]
    assert before.verdict.ran == 4
    known = KnownTests().with_run("tests", PYTEST, first.cases["tests", PYTEST])

    (tmp_path / "mark").unlink()
    flaky = await runs_in(tmp_path, known).check("tests", PYTEST)
    assert flaky.verdict is not None
    assert flaky.excused
    assert (flaky.verdict.flaky, flaky.verdict.before) == (("tests/test_real.py::test_once",), (TWO,))

    (tests / "test_real.py").write_text(TESTS.replace("assert True", "assert 1 == 3"))
    broken = await runs_in(tmp_path, known).check("tests", PYTEST)
    assert broken.verdict is not None
    assert (broken.ok, broken.verdict.new) == (False, ("tests/test_real.py::test_ok",))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mark", "pytest.ini", "tests"]


async def test_a_run_that_the_code_under_test_ends_with_0_is_red_without_baseline(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tests / "test_real.py").write_text("import os\n\n\ndef test_ok():\n    os._exit(0)\n")
    known = KnownTests().with_run("tests", f"{PYTEST} tests", joined([]))
    left = await runs_in(tmp_path, known).check("task", PYTEST)
    assert (left.exit_code, left.ok, left.cut_short) == (0, False, True)
    (tests / "test_real.py").write_text("def test_ok():\n    assert True\n")
    for honest in (
        PYTEST,
        f"{PYTEST} -p no:junitxml",
        f"{PYTEST} --junitxml=mine.xml",
        f"{PYTEST} --version",
    ):
        assert (await runs_in(tmp_path, known).check("task", honest)).ok, honest
    (tests / "conftest.py").write_text(
        "import os\n\n\ndef pytest_sessionfinish(exitstatus):\n    os._exit(exitstatus)\n"
    )
    for it_is_known in (known, KnownTests()):
        outcome = await runs_in(tmp_path, it_is_known).check("task", PYTEST)
        assert outcome.ok, "the project ends its runs so"
    nested = tmp_path / "tests" / "deep"
    nested.mkdir()
    (tests / "conftest.py").rename(nested / "conftest.py")
    (tests / "test_real.py").rename(nested / "test_real.py")
    outcome = await runs_in(tmp_path, KnownTests()).check("task", PYTEST)
    assert outcome.ok, "also from a folder that is read only as its tests are found"
