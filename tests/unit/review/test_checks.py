"""Check runs: exit codes decide, identical trees are not run twice, workers hear what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.errors import ReviewError
from agentcoord.review.checks import CheckBook, CheckOutcome, CheckReport, commands_for, feedback
from agentcoord.sandbox.policy import KilledBy, Result


class ScriptedRunner:
    """Answers commands from a list, and remembers what was asked."""

    def __init__(self, *results: Result) -> None:
        self._results = list(results)
        self.asked: list[str] = []

    async def __call__(self, command: str) -> Result:
        self.asked.append(command)
        return self._results.pop(0)


def _ignore(_outcome: CheckOutcome) -> None:
    pass


async def test_only_exit_code_zero_is_green(tmp_path: Path) -> None:
    runner = ScriptedRunner(Result(0, "FAILED everything"), Result(1, "all fine"))
    report = await CheckBook(tmp_path).run(
        [("a", "x"), ("b", "y")], tree_hash="t", run=runner, on_outcome=_ignore
    )
    assert [outcome.ok for outcome in report.outcomes] == [True, False]
    assert not report.ok


async def test_a_check_that_ran_out_of_time_is_red_whatever_its_code(tmp_path: Path) -> None:
    runner = ScriptedRunner(Result(0, "", killed_by=KilledBy.TIMEOUT))
    report = await CheckBook(tmp_path).run([("a", "x")], tree_hash="t", run=runner, on_outcome=_ignore)
    assert not report.ok


async def test_a_green_verdict_of_the_same_tree_and_command_is_used_again(tmp_path: Path) -> None:
    book, runner = CheckBook(tmp_path), ScriptedRunner(Result(0, ""), Result(0, ""), Result(0, ""))
    for tree in ("t1", "t1", "t2"):
        await book.run([("a", "x")], tree_hash=tree, run=runner, on_outcome=_ignore)
    await book.run([("a", "other")], tree_hash="t1", run=runner, on_outcome=_ignore)
    assert runner.asked == ["x", "x", "other"]
    assert book.runs == 3


async def test_a_red_verdict_is_run_again(tmp_path: Path) -> None:
    book, runner = CheckBook(tmp_path), ScriptedRunner(Result(1, ""), Result(0, ""))
    for _ in range(2):
        report = await book.run([("a", "x")], tree_hash="t", run=runner, on_outcome=_ignore)
    assert report.ok


async def test_reports_are_stored_and_read_back(tmp_path: Path) -> None:
    book = CheckBook(tmp_path)
    report = CheckReport((CheckOutcome("a", "x", 1, "bytes \udcff and ü", 5),), "t")
    book.store("task-1", report)
    stored = book.stored("task-1")
    assert stored is not None
    assert (stored.tree_hash, stored.red[0].exit_code) == ("t", 1)
    assert book.stored("nobody") is None
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ReviewError):
        book.stored("bad")


def test_the_fingerprint_is_blind_to_times_and_addresses_only() -> None:
    def report(output: str) -> CheckReport:
        return CheckReport((CheckOutcome("a", "x", 1, output, 1),), "t")

    same = report("FAILED test_x at 0x7fab in 0.31s"), report("FAILED test_x at 0x1234 in 12.9s")
    assert same[0].fingerprint() == same[1].fingerprint()
    assert same[0].fingerprint() != report("FAILED test_y at 0x7fab in 0.31s").fingerprint()


def test_feedback_leads_with_failing_lines_and_says_what_was_red_before() -> None:
    output = "\n".join([*(f"line {n}" for n in range(500)), "E   AssertionError: 1 != 2", "done"])
    words = feedback(
        CheckReport((CheckOutcome("tests", "make test", 2, output, 1),), "t"), red_before=frozenset({"tests"})
    )
    assert "exit code 2" in words
    assert "AssertionError: 1 != 2" in words.split("End of the output")[0]
    assert "red before you began" in words


def test_the_tasks_own_check_comes_first() -> None:
    assert commands_for("own", {"a": "x"}) == [("task", "own"), ("a", "x")]
    assert commands_for("", {"a": "x"}) == [("a", "x")]
