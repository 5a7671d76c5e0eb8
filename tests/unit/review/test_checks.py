"""Check runs: exit codes decide, identical trees are not run twice, workers hear what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.errors import ReviewError
from agentcoord.review.checks import CheckBook, CheckOutcome, CheckReport, commands_for, feedback
from agentcoord.review.green_shelf import LASTS_MS, MOST_VERDICTS, GreenShelf
from agentcoord.review.junit import CaseStatus
from agentcoord.review.verdict import KnownTests, Verdict


class ScriptedRunner:
    """Answers checks from a list of exit codes and outputs, and remembers what was asked."""

    def __init__(self, *results: tuple[int, str]) -> None:
        self._results = list(results)
        self.asked: list[str] = []

    async def __call__(self, name: str, command: str) -> CheckOutcome:
        self.asked.append(command)
        exit_code, output = self._results.pop(0)
        return CheckOutcome(name, command, exit_code, output, 5)


class HandClock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


async def run(
    book: CheckBook, runner: ScriptedRunner, *commands: tuple[str, str], tree: str = "t", around: str = "s"
) -> CheckReport:
    return await book.run(
        commands or [("a", "x")],
        tree_hash=tree,
        surroundings=around,
        run=runner,
        on_outcome=lambda _outcome: None,
    )


async def test_only_exit_code_zero_is_green(tmp_path: Path) -> None:
    runner = ScriptedRunner((0, "FAILED everything"), (1, "all fine"))
    report = await run(CheckBook(tmp_path, HandClock()), runner, ("a", "x"), ("b", "y"))
    assert [outcome.ok for outcome in report.outcomes] == [True, False]
    assert not report.ok


def test_a_check_that_ran_out_of_time_is_red_whatever_its_code() -> None:
    assert not CheckOutcome("a", "x", 0, "", 1, timed_out=True).ok
    assert CheckOutcome("a", "x", 1, "", 1, excused=True).ok
    assert not CheckOutcome("a", "x", 1, "", 1, excused=True).green


async def test_a_green_verdict_of_the_same_tree_and_command_is_used_again(tmp_path: Path) -> None:
    book, runner = CheckBook(tmp_path, HandClock()), ScriptedRunner(*[(0, "")] * 5)
    for tree in ("t1", "t1", "t2"):
        await run(book, runner, tree=tree)
    await run(book, runner, ("a", "other"), tree="t1")
    again = await run(book, runner, ("b", "x"), tree="t1")
    assert runner.asked == ["x", "x", "other"]
    assert again.outcomes[0].name == "b"
    assert book.runs == 3


async def test_a_green_verdict_survives_a_restart_and_holds_for_its_surroundings_alone(
    tmp_path: Path,
) -> None:
    runner = ScriptedRunner(*[(0, "fine")] * 3)
    await run(CheckBook(tmp_path, HandClock()), runner)
    kept = await run(CheckBook(tmp_path, HandClock()), runner)
    assert (runner.asked, kept.outcomes[0].output) == (["x"], "fine")
    await run(CheckBook(tmp_path, HandClock()), runner, around="another environment")
    assert runner.asked == ["x", "x"]


async def test_a_green_verdict_ages_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    clock, runner = HandClock(), ScriptedRunner(*[(0, "")] * 3)
    book = CheckBook(tmp_path, clock)
    await run(book, runner)
    clock.ms += LASTS_MS
    await run(book, runner)
    assert len(runner.asked) == 2
    (stored,) = (tmp_path / "green").glob("*.json")
    stored.write_text("{")
    await run(book, runner)
    assert len(runner.asked) == 3


async def test_stored_green_verdicts_are_bounded(tmp_path: Path) -> None:
    shelf = GreenShelf(tmp_path, HandClock())
    for number in range(MOST_VERDICTS + 2):
        shelf.keep(f"{number}", {"output": "x" * 10_000})
    assert len(list(tmp_path.iterdir())) <= MOST_VERDICTS
    assert shelf.find(f"{MOST_VERDICTS + 1}") is not None
    assert shelf.find("0") is None


async def test_red_and_excused_verdicts_are_run_again(tmp_path: Path) -> None:
    book, runner = CheckBook(tmp_path, HandClock()), ScriptedRunner((1, ""), (0, ""))
    for _ in range(2):
        report = await run(book, runner)
    assert report.ok


async def test_without_a_tree_nothing_stored_is_used(tmp_path: Path) -> None:
    book, runner = CheckBook(tmp_path, HandClock()), ScriptedRunner((0, ""), (0, ""))
    for _ in range(2):
        await run(book, runner, tree="")
    assert len(runner.asked) == 2


async def test_reports_are_stored_and_read_back(tmp_path: Path) -> None:
    book = CheckBook(tmp_path, HandClock())
    verdict = Verdict(new=("t::a",), ran=1, words={"t::a": "it broke"})
    report = CheckReport((CheckOutcome("a", "x", 1, "bytes \udcff and ü", 5, verdict=verdict),), "t")
    book.store("task-1", report)
    stored = book.stored("task-1")
    assert stored is not None
    assert (stored.tree_hash, stored.red[0].exit_code) == ("t", 1)
    assert stored.red[0].verdict == verdict
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


def test_the_fingerprint_of_a_number_of_a_hundred_thousand_digits_is_made_at_once() -> None:
    """Else nothing else runs for minutes: one search lets nobody else have the interpreter."""
    outcome = CheckOutcome("a", "x", 1, f"AssertionError: {'7' * 100_000} != 1 in 0.31s", 1)
    slower = CheckOutcome("a", "x", 1, f"AssertionError: {'7' * 100_000} != 1 in 12.9s", 1)
    assert CheckReport((outcome,), "t").fingerprint() == CheckReport((slower,), "t").fingerprint()


def test_what_a_linter_says_of_another_place_is_another_failure_and_of_a_moved_line_the_same() -> None:
    def report(output: str) -> str:
        outcome = CheckOutcome("lint", "ruff check", 1, f"{output}\nFound 1 error.", 1)
        return CheckReport((outcome,), "t").fingerprint()

    unused = report("src/a.py:1:8: F401 `os` imported but unused")
    assert unused == report("src/a.py:31:8: F401 `os` imported but unused")
    assert unused != report("src/a.py:1:8: F401 `re` imported but unused")
    assert unused != report("src/b.py:1:8: F401 `os` imported but unused")


def test_feedback_leads_with_failing_lines_and_says_what_was_red_before() -> None:
    output = "\n".join([*(f"line {n}" for n in range(500)), "E   AssertionError: 1 != 2", "done"])
    words = feedback(
        CheckReport((CheckOutcome("tests", "make test", 2, output, 1),), "t"), red_before=frozenset({"tests"})
    )
    assert "exit code 2" in words
    assert "AssertionError: 1 != 2" in words.split("End of the output")[0]
    assert "red before you began" in words


def test_feedback_says_whose_failures_they_are_and_is_bounded() -> None:
    many = tuple(f"t::new_{number:04}" for number in range(1_000))
    verdict = Verdict(new=many, before=("t::old",), gone=("t::lost",), words={many[0]: "assert 1 == 2"})
    outcome = CheckOutcome("tests", "pytest", 1, "", 1, verdict=verdict)
    words = feedback(CheckReport((outcome,), "t"), red_before=frozenset({"tests"}))
    assert "1000 tests fail that did not fail before" in words
    assert "- t::new_0000: assert 1 == 2" in words
    assert "1 tests failed before you began and still do; they are not yours: t::old" in words
    assert "not any more: t::lost" in words
    assert "must be green" not in words
    assert len(words) < 4_000


def test_the_tests_that_are_known_are_stored_and_damage_means_none(tmp_path: Path) -> None:
    book = CheckBook(tmp_path, HandClock())
    assert book.stored_known() == KnownTests()
    known = KnownTests({"tests\npytest": {"t::a": CaseStatus.FAILED}})
    book.store_known(known)
    assert CheckBook(tmp_path, HandClock()).stored_known() == known
    for damage in ("{", "[]", '{"a": 1}', '{"a": {"b": "c"}}'):
        (tmp_path / "+known-tests.json").write_text(damage)
        assert book.stored_known() == KnownTests()


def test_the_tasks_own_check_comes_first() -> None:
    assert commands_for("own", {"a": "x"}) == [("task", "own"), ("a", "x")]
    assert commands_for("", {"a": "x"}) == [("a", "x")]
