"""What a check's run means, test by test: whose failures these are.

A baseline knows the status of every test on the untouched tree, and is brought up to date by
each landing, so that a test that has been green since is excused no more. Exit codes stay what
decides a check that has no report of its tests. Pure; the runs themselves are in `check_runs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from agentcoord.review.junit import Cases, CaseStatus
from agentcoord.review.pytest_command import goes_on_after_red, is_pytest, red_for_more_than_tests
from agentcoord.values import dataclass

_TESTS_FAILED = 1
"""pytest's exit code for failed tests; 2 and up: interrupted, not collected, an error of its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tests of one check run, held against the baseline; names are sorted."""

    new: tuple[str, ...] = ()
    """Failed, and did not fail before: the change broke them, or added them red."""
    before: tuple[str, ...] = ()
    """Failed, as they did before."""
    fixed: tuple[str, ...] = ()
    """Passed, and failed before."""
    flaky: tuple[str, ...] = ()
    """Failed at first, passed alone, and did not fail in a second run of everything."""
    gone: tuple[str, ...] = ()
    """Were run before, and now are not, or are skipped."""
    ran: int = 0
    ran_before: int = 0
    """0 without a baseline."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What the runner says of each new failure."""


@dataclass(frozen=True, slots=True)
class KnownTests:
    """The status of every test before a task, by the check's name and command."""

    by_check: Mapping[str, Mapping[str, CaseStatus]] = field(default_factory=lambda: MappingProxyType({}))
    mended_by: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """By task and check: the tests that failed until it landed, for when that is taken back."""

    def of(self, name: str, command: str) -> Mapping[str, CaseStatus] | None:
        return self.by_check.get(_key(name, command))

    def checks(self) -> Iterator[tuple[str, str]]:
        """Give the name and the command of each check that has reported its tests."""
        for key in self.by_check:
            name, _, command = key.partition("\n")
            yield name, command

    def with_run(self, name: str, command: str, cases: Cases, *, task: str = "") -> KnownTests:
        """Take over the statuses of a run on the tree as it has become, by the landing of `task`."""
        key = _key(name, command)
        mended = tuple(sorted(_failed(self.by_check.get(key, {})) & (cases.ran - cases.failed)))
        mended_by = dict(self.mended_by)
        if task and mended:
            mended_by[task] = {**mended_by.get(task, {}), key: mended}
        by_check = {**self.by_check, key: dict(cases.status)}
        return KnownTests(MappingProxyType(by_check), MappingProxyType(mended_by))

    def without(self, task: str) -> KnownTests:
        """The landing of `task` is taken back: what it mended fails again, as far as anybody knows."""
        mended_by = dict(self.mended_by)
        by_check = dict(self.by_check)
        for key, tests in mended_by.pop(task, {}).items():
            by_check[key] = {**by_check.get(key, {}), **dict.fromkeys(tests, CaseStatus.FAILED)}
        return KnownTests(MappingProxyType(by_check), MappingProxyType(mended_by))

    def to_dict(self) -> dict[str, Any]:
        statuses = {
            key: {test: str(status) for test, status in each.items()} for key, each in self.by_check.items()
        }
        mended = {
            task: {key: list(tests) for key, tests in each.items()} for task, each in self.mended_by.items()
        }
        return {"by_check": statuses, "mended_by": mended}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> KnownTests:
        """Read what `to_dict` wrote, or statuses alone. Raises ValueError, AttributeError or TypeError."""
        statuses = {
            key: {test: CaseStatus(word) for test, word in each.items()}
            for key, each in raw.get("by_check", raw).items()
        }
        mended = {
            task: {key: tuple(str(test) for test in tests) for key, tests in each.items()}
            for task, each in raw.get("mended_by", {}).items()
        }
        return cls(MappingProxyType(statuses), MappingProxyType(mended))


def judge(cases: Cases, known: Mapping[str, CaseStatus] | None) -> Verdict:
    """Hold a run against what was known. With nothing known every failure is new."""
    failed, ran = cases.failed, cases.ran
    before = known or {}
    failed_before = _failed(before)
    ran_before = {test for test, status in before.items() if status is not CaseStatus.SKIPPED}
    new = tuple(sorted(failed - failed_before))
    return Verdict(
        new=new,
        before=tuple(sorted(failed & failed_before)),
        fixed=tuple(sorted(failed_before & (ran - failed))),
        gone=tuple(sorted(ran_before - ran)),
        ran=len(ran),
        ran_before=len(ran_before),
        words={test: cases.words[test] for test in new if cases.words.get(test)},
    )


def only_pre_existing(command: str, exit_code: int, output: str, verdict: Verdict) -> bool:
    """Whether a red run is red for nothing but tests that failed before, and fewer tests hide nothing.

    Every test that was run before must have been run again: a run that stopped at its first
    failure says nothing of the rest.
    """
    if verdict.new or verdict.gone or not verdict.before:
        return False
    if red_for_more_than_tests(output):
        return False
    if is_pytest(command):
        return exit_code == _TESTS_FAILED
    return 0 < exit_code < 126 and not goes_on_after_red(command)


def _failed(statuses: Mapping[str, CaseStatus]) -> set[str]:
    return {test for test, status in statuses.items() if status is CaseStatus.FAILED}


def _key(name: str, command: str) -> str:
    return f"{name}\n{command}"
