"""Verdicts: whose failures these are, and when a red run may be excused."""

from __future__ import annotations

import pytest

from agentcoord.review.junit import Cases, CaseStatus
from agentcoord.review.pytest_command import alone_command, is_pytest
from agentcoord.review.verdict import KnownTests, Verdict, judge, only_pre_existing

PYTEST = "python -m pytest -q"
P, F, S = CaseStatus.PASSED, CaseStatus.FAILED, CaseStatus.SKIPPED


def cases(**status: CaseStatus) -> Cases:
    return Cases(status, {name: "it broke" for name, each in status.items() if each is F})


def test_each_test_is_held_against_what_it_was() -> None:
    verdict = judge(
        cases(mended=P, still=F, broke=F, fresh=F, off=S, ok=P),
        {"mended": F, "still": F, "broke": P, "off": P, "ok": P, "lost": P},
    )
    assert verdict.new == ("broke", "fresh")
    assert verdict.before == ("still",)
    assert verdict.fixed == ("mended",)
    assert verdict.gone == ("lost", "off")
    assert (verdict.ran, verdict.ran_before) == (5, 6)
    assert verdict.words == {"broke": "it broke", "fresh": "it broke"}


def test_without_a_baseline_every_failure_is_new() -> None:
    assert judge(cases(a=F, b=P), None) == Verdict(new=("a",), ran=2, words={"a": "it broke"})


def test_only_a_run_red_for_nothing_but_old_failures_is_excused() -> None:
    old = judge(cases(a=F, b=P), {"a": F, "b": P})
    assert only_pre_existing(PYTEST, 1, "1 failed, 1 passed", old)
    assert not only_pre_existing(PYTEST, 1, "", judge(cases(a=F, b=F), {"a": F, "b": P}))
    assert not only_pre_existing(PYTEST, 1, "", judge(cases(a=F), {"a": F, "b": P})), "b was not run"
    assert not only_pre_existing(PYTEST, 1, "", judge(cases(a=P, b=P), {"a": F, "b": P})), "red for no test"


@pytest.mark.parametrize("exit_code", [2, 3, 4, 5, 137])
def test_a_run_that_did_not_come_to_its_end_is_not_excused(exit_code: int) -> None:
    assert not only_pre_existing(PYTEST, exit_code, "", judge(cases(a=F), {"a": F}))


@pytest.mark.parametrize(
    "output",
    [
        "FAIL Required test coverage of 90% not reached. Total coverage: 12.00%",
        "!!!!!!!!!! stopping after 1 failures !!!!!!!!!!!",
        "!!!!!!!!!! Interrupted: 1 error during collection !!!!!!!!!!",
    ],
)
def test_a_run_red_for_more_than_its_tests_is_not_excused(output: str) -> None:
    assert not only_pre_existing(PYTEST, 1, f"1 failed\n{output}\n", judge(cases(a=F), {"a": F}))


@pytest.mark.parametrize(
    "output",
    [
        'Jest: "global" coverage threshold for lines (80%) not met: 50%',
        "ERROR: Coverage for lines (50%) does not meet global threshold (80%)",
        "FAIL src/new.test.js\n  ● Test suite failed to run\n",
        "⎯⎯⎯ Failed Suites 1 ⎯⎯⎯",
    ],
)
def test_a_run_of_another_runner_that_is_red_for_more_than_its_tests_is_not_excused(output: str) -> None:
    old = judge(cases(a=F, b=P), {"a": F, "b": P})
    assert only_pre_existing("npm test", 1, "1 failed, 1 passed", old)
    assert not only_pre_existing("npm test", 1, f"1 failed\n{output}\n", old)


def test_a_command_of_which_another_part_may_be_red_is_not_excused() -> None:
    old = judge(cases(a=F, b=P), {"a": F, "b": P})
    assert only_pre_existing("npm run build && npm test", 1, "", old)
    assert only_pre_existing("npm test 2>&1", 1, "", old)
    for command in (
        "npm test; npm run lint",
        "npm test || npm run lint",
        "npm test | tee log",
        "a & npm test",
    ):
        assert not only_pre_existing(command, 1, "", old), command


def test_a_test_that_has_been_green_since_is_excused_no_more() -> None:
    known = KnownTests().with_run("tests", PYTEST, cases(a=F, b=P))
    known = known.with_run("tests", PYTEST, cases(a=P, b=P))
    assert judge(cases(a=F, b=P), known.of("tests", PYTEST)).new == ("a",)
    assert KnownTests.from_dict(known.to_dict()) == known
    assert known.of("tests", "another command") is None


@pytest.mark.parametrize(
    "command",
    ["pytest", "python -m pytest -q", ".venv/bin/python3 -m pytest tests", "uv run pytest -x", "A=1 py.test"],
)
def test_plain_runs_of_pytest_are_known(command: str) -> None:
    assert is_pytest(command)


@pytest.mark.parametrize(
    "command",
    [
        "pytest a && pytest b",
        "pytest | tee log",
        "pytest; true",
        "sh -c 'pytest'",
        "make test",
        "pytest $(cat list)",
        "echo 'pytest",
        "tox -e pytest-unit",
        "grep -r pytest2 .",
        "",
    ],
)
def test_anything_else_is_judged_by_its_exit_code(command: str) -> None:
    assert not is_pytest(command)


def test_single_tests_take_the_place_of_what_the_command_collects() -> None:
    there = {"tests", "tests/unit", "tests/test_a.py", "pytest.ini"}
    alone = alone_command(
        "python -m pytest -q -x -c pytest.ini tests tests/unit -k 'a b'",
        ["tests/test_a.py::test_b[x y]"],
        there.__contains__,
    )
    assert alone == "python -m pytest -q -c pytest.ini -k 'a b' 'tests/test_a.py::test_b[x y]'"


def test_tests_that_no_command_line_can_name_are_not_run_alone() -> None:
    there = {"tests/test_a.py"}.__contains__
    assert alone_command(PYTEST, ["prices::adds"], there) is None
    assert alone_command(PYTEST, ["--co::x"], there) is None
    assert alone_command(PYTEST, [], there) is None
    assert alone_command("make test", ["tests/test_a.py::test_b"], there) is None
