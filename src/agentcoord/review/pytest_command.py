"""Commands that run pytest: telling them, asking them for JUnit XML, running single tests alone.

Only a plain command is taken for one run of pytest: with `;`, `&&`, a pipe or a substitution the
last part's report would stand for all of them, so such a command is judged by its exit code.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection

JUNIT_NAME = ".agentcoord-junit.xml"
"""The report's name in the copy; relative, so that it is in the copy with and without a sandbox."""
ADD_OPTIONS = f"--junitxml={JUNIT_NAME} -o junit_family=xunit1"
"""For PYTEST_ADDOPTS. The family that says each test's file; options of the command line win."""
_OPERATORS = re.compile(r"[;&|<>`\n]|\$\(")
_GOES_ON = re.compile(r"[;\n]|\|\||(?<!\|)\|(?!\|)|(?<![&>])&(?![&>])")
_WITH_VALUE = frozenset(
    {
        "-c",
        "--config-file",
        "--rootdir",
        "--confcutdir",
        "--ignore",
        "--ignore-glob",
        "--deselect",
        "--basetemp",
        "-p",
        "-o",
        "-n",
        "-k",
        "-m",
        "-W",
        "--junitxml",
        "--cov",
        "--cov-config",
        "--cov-report",
    }
)
_STOPS_EARLY = frozenset({"-x", "--exitfirst"})
_MORE_THAN_TESTS = re.compile(
    r"coverage failure|required test coverage|^!+ (stopping after|interrupted|xdist.*maxfail)"
    r"|coverage threshold for|does not meet .{0,80}threshold|test suite failed to run|failed suites \d",
    re.IGNORECASE | re.MULTILINE,
)


def is_pytest(command: str) -> bool:
    """Whether the command is one run of pytest and nothing else."""
    return _split(command) is not None


def alone_command(command: str, tests: Collection[str], exists: Callable[[str], bool]) -> str | None:
    """Return the command that runs only `tests`, with the options of `command`.

    `exists` tells whether an argument names something in the copy: such arguments are what the
    command would collect, and give way. None when the tests cannot be named on a command line.
    """
    parts = _split(command)
    if parts is None or not tests or not all(_is_node(test, exists) for test in tests):
        return None
    words, at = parts
    kept: list[str] = []
    takes_value = False
    for word in words[at + 1 :]:
        collected = not takes_value and not word.startswith("-") and exists(word.partition("::")[0])
        if not collected and word not in _STOPS_EARLY:
            kept.append(word)
        takes_value = word in _WITH_VALUE
    return shlex.join([*words[: at + 1], *kept, *sorted(tests)])


def goes_on_after_red(command: str) -> bool:
    """Whether a part of the command runs although one before it failed: then its red may be another's."""
    return _GOES_ON.search(command) is not None


def red_for_more_than_tests(output: str) -> bool:
    """Whether a runner says that it failed for too little coverage, or that it did not run every test."""
    return _MORE_THAN_TESTS.search(output) is not None


def _split(command: str) -> tuple[list[str], int] | None:
    """The command's words and which of them is pytest; None when it is not one run of pytest."""
    if _OPERATORS.search(command):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for at, word in enumerate(words):
        name = word.rpartition("/")[2]
        if name in ("pytest", "py.test") and (at == 0 or not words[at - 1].startswith("-")):
            return words, at
        if name == "pytest" and words[at - 1] == "-m" and "python" in " ".join(words[: at - 1]):
            return words, at
    return None


def _is_node(test: str, exists: Callable[[str], bool]) -> bool:
    file, separator, _ = test.partition("::")
    return bool(separator) and not test.startswith("-") and exists(file)
