"""What a check's run means, test by test: whose failures these are.

A baseline knows the status of every test on the untouched tree, and is brought up to date by
each landing, so that a test that has been green since is excused no more. Exit codes stay what
decides a check that has no report of its tests. Pure; the runs themselves are in `check_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agentcoord.review.junit import Cases, CaseStatus
from agentcoord.review.pytest_command import is_pytest, red_for_more_than_tests

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

    def of(self, name: str, command: str) -> Mapping[str, CaseStatus] | None:
        return self.by_check.get(_key(name, command))

    def with_run(self, name: str, command: str, cases: Cases) -> KnownTests:
        """Take over the statuses of a run on the tree as it has become."""
        return KnownTests(MappingProxyType({**self.by_check, _key(name, command): dict(cases.status)}))

    def to_dict(self) -> dict[str, dict[str, str]]:
        return {
            key: {test: str(status) for test, status in each.items()} for key, each in self.by_check.items()
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Mapping[str, str]]) -> KnownTests:
        """Read what `to_dict` wrote. Raises ValueError, AttributeError or TypeError for anything else."""
        read = {key: {test: CaseStatus(word) for test, word in each.items()} for key, each in raw.items()}
        return cls(MappingProxyType(read))


def judge(cases: Cases, known: Mapping[str, CaseStatus] | None) -> Verdict:
    """Hold a run against what was known. With nothing known every failure is new."""
    failed, ran = cases.failed, cases.ran
    before = known or {}
    failed_before = {test for test, status in before.items() if status is CaseStatus.FAILED}
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
    if is_pytest(command):
        return exit_code == _TESTS_FAILED and not red_for_more_than_tests(output)
    return 0 < exit_code < 126


def _key(name: str, command: str) -> str:
    return f"{name}\n{command}"
