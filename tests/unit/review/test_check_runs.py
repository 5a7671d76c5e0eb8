"""Running one check: whose failures, what is flaky, and reports that cannot be forged from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agentcoord.review.check_runs import CheckRuns
from agentcoord.review.checks import CUT_SHORT, OWN_CHECK
from agentcoord.review.junit import Cases, CaseStatus
from agentcoord.review.pytest_command import ADD_OPTIONS, JUNIT_NAME
from agentcoord.review.verdict import KnownTests
from agentcoord.sandbox.policy import KilledBy, Result
from agentcoord.workspace.files import SafeTree

PYTEST = "python -m pytest -q"
OWN = f"{PYTEST} tests/test_b.py"
A, B = "tests/test_a.py::test_a", "tests/test_a.py::test_b"
Step = Callable[[Path], Result]


def xml(**failed: bool) -> str:
    cases = "".join(
        f'<testcase classname="tests.test_a" file="tests/test_a.py" name="test_{name}">'
        + ("<failure message='it broke'/>" if red else "")
        + "</testcase>"
        for name, red in failed.items()
    )
    return f"<testsuites><testsuite>{cases}</testsuite></testsuites>"


def ran(
    exit_code: int, report: str = "", *, name: str = JUNIT_NAME, killed_by: KilledBy = KilledBy.NOBODY
) -> Step:
    """A command that writes a report and ends so."""

    def step(root: Path) -> Result:
        if report:
            (root / name).write_text(report)
        return Result(exit_code, "", killed_by=killed_by, duration_ms=10)

    return step


class Copy:
    """A copy in which commands do what the steps say."""

    def __init__(self, root: Path, *steps: Step) -> None:
        (root / "tests").mkdir()
        (root / "tests/test_a.py").write_text("")
        self.root = root
        self.commands: list[str] = []
        self.env: list[Mapping[str, str]] = []
        self.known = KnownTests()
        self._steps = list(steps)

    def runs(self, *, junit_files: tuple[str, ...] = (), excuse: bool = True) -> CheckRuns:
        async def run(command: str, env: Mapping[str, str]) -> Result:
            self.commands.append(command)
            self.env.append(env)
            return self._steps.pop(0)(self.root)

        return CheckRuns(
            run,
            SafeTree(self.root),
            known=lambda: self.known,
            junit_files=junit_files,
            excuse_pre_existing=excuse,
        )

    def knows(self, **failed: bool) -> None:
        status = {
            f"tests/test_a.py::test_{name}": CaseStatus.FAILED if red else CaseStatus.PASSED
            for name, red in failed.items()
        }
        self.known = KnownTests().with_run("tests", PYTEST, Cases(status, {}))


async def test_pytest_is_asked_for_its_report_and_the_report_is_taken_away(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(0, xml(a=False)))
    copy.knows(a=True)
    runs = copy.runs()
    outcome = await runs.check("tests", PYTEST)
    assert outcome.green
    assert outcome.verdict is not None
    assert outcome.verdict.ran == 1
    assert copy.env == [{"PYTEST_ADDOPTS": ADD_OPTIONS}]
    assert (outcome.verdict.ran_before, outcome.verdict.fixed) == (1, (A,)), (
        "a green run is held against it too"
    )
    assert not (tmp_path / JUNIT_NAME).exists()
    assert runs.cases["tests", PYTEST].status == {A: CaseStatus.PASSED}


async def test_a_run_red_for_old_failures_alone_is_excused_if_the_settings_say_so(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1, xml(a=True, b=False)), ran(1, xml(a=True, b=False)))
    copy.knows(a=True, b=False)
    outcome = await copy.runs().check("tests", PYTEST)
    assert (outcome.ok, outcome.green, outcome.excused) == (True, False, True)
    assert outcome.verdict is not None
    assert outcome.verdict.before == (A,)
    assert not (await copy.runs(excuse=False).check("tests", PYTEST)).ok


async def test_what_another_landing_made_known_meanwhile_counts(tmp_path: Path) -> None:
    def red_while_another_lands(root: Path) -> Result:
        copy.knows(a=False)
        return ran(1, xml(a=True))(root)

    copy = Copy(tmp_path, red_while_another_lands, ran(1, xml(a=True)))
    copy.knows(a=True)
    outcome = await copy.runs().check("tests", PYTEST)
    assert outcome.verdict is not None
    assert (outcome.ok, outcome.verdict.new) == (False, (A,))


async def test_a_tasks_own_check_has_no_old_failures(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1, xml(a=True)), ran(1, xml(a=True)))
    copy.knows(a=True)
    assert not (await copy.runs().check("task", "python -m pytest tests/test_a.py")).ok


async def test_a_failure_that_stays_when_run_alone_is_new(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1, xml(a=False, b=True)), ran(1, xml(b=True)))
    copy.knows(a=False, b=False)
    outcome = await copy.runs().check("tests", PYTEST)
    assert copy.commands == [PYTEST, f"{PYTEST} {B}"]
    assert outcome.verdict is not None
    assert (outcome.ok, outcome.verdict.new, outcome.verdict.flaky) == (False, (B,), ())


async def test_a_failure_that_passes_alone_and_then_among_all_is_flaky(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1, xml(a=False, b=True)), ran(0, xml(b=False)), ran(0, xml(a=False, b=False)))
    copy.knows(a=False, b=False)
    outcome = await copy.runs().check("tests", PYTEST)
    assert copy.commands == [PYTEST, f"{PYTEST} {B}", PYTEST]
    assert outcome.verdict is not None
    assert (outcome.green, outcome.verdict.flaky, outcome.duration_ms) == (True, (B,), 20)


async def test_a_test_that_only_fails_beside_the_others_is_no_flake(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1, xml(a=False, b=True)), ran(0, xml(b=False)), ran(1, xml(a=False, b=True)))
    copy.knows(a=False, b=False)
    outcome = await copy.runs().check("tests", PYTEST)
    assert outcome.verdict is not None
    assert (outcome.ok, outcome.verdict.new, outcome.verdict.flaky) == (False, (B,), ())


async def test_without_a_report_the_exit_code_decides(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(1), ran(0), ran(1, "no xml"))
    for command, ok in ((PYTEST, False), ("make test", True), (PYTEST, False)):
        outcome = await copy.runs().check("tests", command)
        assert (outcome.ok, outcome.verdict) == (ok, None)
    assert copy.env[1] == {}


async def test_a_pytest_that_does_not_know_our_options_is_run_without_them(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(4), ran(0), ran(4))
    outcome = await copy.runs().check("tests", PYTEST)
    assert (outcome.ok, outcome.verdict) == (True, None)
    assert copy.env[:2] == [{"PYTEST_ADDOPTS": ADD_OPTIONS}, {}]


async def test_a_run_that_was_ended_is_not_excused(tmp_path: Path) -> None:
    for killed_by in (KilledBy.TIMEOUT, KilledBy.DISK, KilledBy.SIGNAL):
        folder = tmp_path / killed_by
        folder.mkdir()
        copy = Copy(folder, ran(1, xml(a=True), killed_by=killed_by))
        copy.knows(a=True)
        assert not (await copy.runs().check("tests", PYTEST)).ok


async def test_a_report_from_before_and_a_symlink_are_not_read(tmp_path: Path) -> None:
    (tmp_path / JUNIT_NAME).write_text(xml(a=False))

    def link(root: Path) -> Result:
        (root / "elsewhere.xml").write_text(xml(a=False))
        (root / JUNIT_NAME).symlink_to(root / "elsewhere.xml")
        return Result(0, "")

    copy = Copy(tmp_path, ran(0), ran(0), link, ran(0))
    for _ in range(2):
        assert (await copy.runs().check("tests", PYTEST)).verdict is None


async def test_files_of_other_runners_are_read_when_this_run_has_written_them(tmp_path: Path) -> None:
    (tmp_path / "old.xml").write_text(xml(a=True))
    copy = Copy(tmp_path, ran(2, xml(b=True), name="new.xml"))
    outcome = await copy.runs(junit_files=("*.xml",)).check("tests", "gradle test")
    assert outcome.verdict is not None
    assert outcome.verdict.new == (B,)


async def test_a_run_that_ends_well_with_new_failures_in_its_report_is_red(tmp_path: Path) -> None:
    """As when the code under test has the process end with 0 at exit."""
    copy = Copy(tmp_path, ran(0, xml(a=True, b=False)), ran(0, xml(a=True)))
    copy.knows(a=False, b=False)
    outcome = await copy.runs().check("tests", PYTEST)
    assert (outcome.ok, outcome.green) == (False, False)
    assert outcome.verdict is not None
    assert outcome.verdict.new == (A,)
    (tmp_path / "old").mkdir()
    copy = Copy(tmp_path / "old", ran(0, xml(a=True, b=False)))
    copy.knows(a=True, b=False)
    assert (await copy.runs().check("tests", PYTEST)).green, "it failed before"


async def test_a_run_that_ends_well_without_the_report_that_it_had_has_run_no_test(tmp_path: Path) -> None:
    """As when the code under test calls `os._exit(0)`."""
    copy = Copy(tmp_path, ran(0), ran(0, "no xml"))
    copy.knows(a=False, b=False)
    runs = copy.runs()
    for _ in range(2):
        outcome = await runs.check("tests", PYTEST)
        assert outcome.verdict is not None
        assert (outcome.verdict.gone, outcome.verdict.ran, outcome.verdict.ran_before) == ((A, B), 0, 2)
    assert runs.cases["tests", PYTEST].status == {}, (
        "once a person let that land, no task after it is held for it"
    )


async def test_an_own_check_that_ends_well_without_a_report_where_there_can_be_one_is_red(
    tmp_path: Path,
) -> None:
    """As when the code under test calls `os._exit(0)`, and only the task's own check sees it."""
    copy = Copy(tmp_path, ran(0), ran(0, xml()))
    copy.knows(a=False)
    outcome = await copy.runs().check(OWN_CHECK, OWN)
    assert (outcome.ok, outcome.green, outcome.cut_short) == (False, False, True)
    assert outcome.output.strip() == CUT_SHORT
    assert copy.env[1] == {"PYTEST_ADDOPTS": f"{ADD_OPTIONS} --collect-only"}


async def test_where_no_run_of_pytest_leaves_a_report_the_exit_code_decides(tmp_path: Path) -> None:
    """As where the command writes its report elsewhere."""
    copy = Copy(tmp_path, ran(0), ran(0))
    copy.knows(a=False)
    assert (await copy.runs().check(OWN_CHECK, OWN)).green


@pytest.mark.parametrize("name", [OWN_CHECK, "tests"])
async def test_where_pytest_has_never_reported_the_exit_code_decides(tmp_path: Path, name: str) -> None:
    """A project may end its runs by a hook of its own, or have too many tests for a report."""
    copy = Copy(tmp_path, ran(0), ran(0))
    assert (await copy.runs().check(name, OWN)).green
    assert len(copy.commands) == 1


async def test_a_report_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    copy = Copy(tmp_path, ran(0, "<coverage/>"))
    copy.knows(a=False)
    assert (await copy.runs().check(OWN_CHECK, OWN)).green
    assert len(copy.commands) == 1
