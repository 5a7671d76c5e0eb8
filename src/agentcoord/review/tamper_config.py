"""Tamper rules for what decides how checks run: their configuration, their thresholds, their scripts.

Whole files by name, or only the tables of a shared file that belong to a check; lines that differ
in nothing but a number of a threshold; comments that silence a warning.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from agentcoord.review.flags import ChangedFile, Flag, FlagKind, is_test, text_of
from agentcoord.review.tamper_cargo import cargo_change
from agentcoord.review.tamper_scripts import MAKEFILE, PREFERRED_MAKEFILE, script_change
from agentcoord.review.tamper_selection import selection_flags, selects_tests

_WHOLE = re.compile(
    r"(^|/)(\.?pytest\.(ini|toml)|tox\.ini|noxfile\.py|\.coveragerc|\.?ruff\.toml|\.?mypy\.ini|\.flake8|\.pylintrc"
    r"|pyrightconfig\.json|agentcoord\.toml|codecov\.ya?ml|\.codecov\.ya?ml|phpunit\.xml(\.dist)?|\.rspec"
    r"|\.mocharc\.\w+|(jest|vitest|karma|playwright|cypress|ava|nyc|eslint)\.conf(ig)?\.\w+|\.nycrc(\.json)?"
    r"|\.eslintrc(\.\w+)?|\.eslintignore|biome\.jsonc?|\.golangci\.ya?ml|clippy\.toml|nextest\.toml|\.swiftlint\.yml"
    r"|\.cargo/config(\.toml)?|\.rubocop\.yml|phpstan\.neon(\.dist)?|\.bandit|\.pre-commit-config\.yaml)$"
)
_TOML_TABLES = frozenset(
    {
        "pytest",
        "coverage",
        "ruff",
        "mypy",
        "pyright",
        "tox",
        "nox",
        "pylint",
        "flake8",
        "bandit",
        "interrogate",
    }
)
_CFG_SECTION = re.compile(r"^(tool:pytest|pytest|coverage|flake8|mypy|pylint|tox|testenv)")
_PACKAGE_KEYS = ("jest", "c8", "nyc", "mocha", "ava", "eslintConfig")
_SHADOW = re.compile(
    r"^(src/)?(_?pytest|unittest|pluggy|coverage|mypy|ruff|tox|nox|doctest)(\.py$|/__(init|main)__\.py$)"
)
"""`python -m pytest` looks in the current folder first."""
_BUILD = re.compile(
    r"(^|/)(pom\.xml|build\.gradle(\.kts)?|tsconfig[\w.-]*\.json|vite\.config\.\w+|CMakeLists\.txt)$"
)
_SWITCHED_OFF = re.compile(
    r"<(?:groups|excludedGroups|test)>|<(?:maven\.test\.skip|skip(?:Tests|ITs)?)>\s*true|testFailureIgnore>\s*true"
    r"|ignoreFailures\s*=\s*true|enabled\s*=\s*false|passWithNoTests"
    r"|\bonlyIf\b|\b(?:include|exclude)(?:Tags|Engines|TestsMatching|Categories)\b|dangerouslyIgnoreUnhandledErrors"
    r"|\"(?:strict\w*|no[A-Z]\w*|allUnreachable\w*)\"\s*:\s*false|\"skipLibCheck\"\s*:\s*true"
)
"""Lines of files that build as well as check, where they make the checks see less."""
_EXCLUDES = re.compile(r"\bexclude\b(?!\s*\(?\s*(?:group|module)\b)")
_LISTS = re.compile(r"\b(?:include|exclude)\b")
"""Lines that may leave something out: of files whose lists are not read, and of those that cannot be."""
_STRICT = re.compile(
    r"\"(?:strict\w*|no[A-Z]\w*)\"\s*:\s*true|\buse(?:JUnitPlatform|TestNG)\b|[cC]overageVerification"
    r"|\b(?:add_test|enable_testing|gtest_discover_tests|catch_discover_tests)\b|<goal>(?:verify|check)<"
)
"""Lines that such a file may not lose."""
_PATIENCE = re.compile(r"\b(?:testTimeout|hookTimeout|retry)\s*:")
"""More of it than there was, where nothing was said."""
_PYTHON_MARK = re.compile(r"^\s*(?:@|pytestmark\b).*(?:time_?out|reruns|retries|flaky)", re.IGNORECASE)
"""What a Python test says of its own patience; its other numbers are its assertions' (`tamper_tests`)."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_AT_LEAST = re.compile(
    r"fail[_-]under|coverage|threshold|\bmin(?:imum)?\b|\bmin_|branches|functions|statements|\blines\b",
    re.IGNORECASE,
)
_AT_MOST_OF_A_BUILD = re.compile(r"time_?out|reruns|\bretr(?:y|ies)\b|tolerance", re.IGNORECASE)
"""Other maxima there are of memory and processes."""
_AT_MOST = re.compile(r"time_?out|\bmax[-_]?\w*|reruns|retries|tolerance|allowed", re.IGNORECASE)
_SILENCER = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no\s*cover|nosec|pylint:\s*disable|pyright:\s*ignore|mypy:\s*ignore)"
    r"|eslint-disable|@ts-(?:ignore|nocheck|expect-error)|istanbul ignore|//\s*nolint|#\[allow\("
    r"|@SuppressWarnings"
)
_LINE_CHARS = 2_000


def config_flags(file: ChangedFile, run_by_checks: Collection[str]) -> list[Flag]:
    """Flags for a file that decides how checks run; none for a file that was not there before."""
    selection = selection_flags(file)
    if file.before is None:
        return _added(file) or selection or []
    thresholds = _threshold_flags(file) if _may_hold_thresholds(file, run_by_checks) else []
    told = [*thresholds, *(selection or ())]
    words = _changed_setting(file, run_by_checks, selection_was_read=selection is not None)
    if not words or told:
        return told
    return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, _first_changed_line(file), words)]


def silenced_flags(file: ChangedFile) -> list[Flag]:
    """New comments that silence a linter, a type checker or the coverage of a line."""
    known = Counter(line.strip() for line in text_of(file.before).splitlines() if _SILENCER.search(line))
    flags = []
    for number, line in enumerate(text_of(file.after).splitlines(), 1):
        text = line.strip()
        if not _SILENCER.search(line[:_LINE_CHARS]):
            continue
        if known[text] > 0:
            known[text] -= 1
        else:
            flags.append(Flag(FlagKind.WARNING_SILENCED, file.path, number, text[:120]))
    return flags


def _added(file: ChangedFile) -> list[Flag]:
    """A new configuration file can overrule the one that was used."""
    if _WHOLE.search(file.path) or PREFERRED_MAKEFILE.search(file.path):
        return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 1, "a new file that configures checks")]
    if _SHADOW.search(file.path):
        return [
            Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 1, "Python may run it in the place of a runner")
        ]
    return []


def _changed_setting(file: ChangedFile, run_by_checks: Collection[str], *, selection_was_read: bool) -> str:
    """What of the file decides how checks run and changed, in words; empty for nothing."""
    name = file.path.rpartition("/")[2]
    if file.path in run_by_checks and not is_test(file.path):
        return "a check runs this file"
    if _WHOLE.search(file.path):
        return "it configures checks"
    runs = script_change(file.path, text_of(file.before), text_of(file.after), run_by_checks)
    if runs:
        return runs
    if name == "pyproject.toml":
        return _tables_changed(_toml_tables(file.before), _toml_tables(file.after))
    if name == "setup.cfg":
        return _tables_changed(_cfg_sections(file.before), _cfg_sections(file.after))
    if name == "package.json":
        return _tables_changed(_package_parts(file.before), _package_parts(file.after))
    if name == "Cargo.toml":
        return cargo_change(text_of(file.before), text_of(file.after))
    if _BUILD.search(file.path):
        excludes = None if selection_was_read else _LISTS if selects_tests(file.path) else _EXCLUDES
        return _switched_off(text_of(file.before), text_of(file.after), excludes)
    return ""


def _switched_off(before: str, after: str, excludes: re.Pattern[str] | None) -> str:
    """What makes checks see less in a file that builds as well."""
    old, new = Counter(before.splitlines()), Counter(after.splitlines())
    for line in new - old:
        patience = _PATIENCE.search(line[:_LINE_CHARS])
        if patience and patience.group() not in before:
            return f"it says {line.strip()[:80]}"
        patterns = (_SWITCHED_OFF, excludes) if excludes else (_SWITCHED_OFF,)
        if any(pattern.search(line[:_LINE_CHARS]) for pattern in patterns):
            return f"it says {line.strip()[:80]}"
    for line in old - new:
        if _STRICT.search(line[:_LINE_CHARS]) and not any(line.strip().rstrip(",") in each for each in new):
            return f"it says {line.strip()[:80]} no more"
    return ""


def _tables_changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if before is None or after is None:
        return "it cannot be read any more" if after is None else "what it was could not be read"
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return f"the settings of {', '.join(changed)}" if changed else ""


def _toml_tables(content: bytes | None) -> dict[str, Any] | None:
    try:
        tool = tomllib.loads(text_of(content)).get("tool", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    return (
        {key: value for key, value in tool.items() if key in _TOML_TABLES} if isinstance(tool, dict) else {}
    )


def _cfg_sections(content: bytes | None) -> dict[str, Any] | None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text_of(content))
    except configparser.Error:
        return None
    return {name: dict(parser[name]) for name in parser.sections() if _CFG_SECTION.match(name)}


def _package_parts(content: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text_of(content))
    except (ValueError, RecursionError):
        return None
    return {key: found[key] for key in _PACKAGE_KEYS if key in found} if isinstance(found, dict) else {}


def _may_hold_thresholds(file: ChangedFile, run_by_checks: Collection[str]) -> bool:
    name = file.path.rpartition("/")[2]
    known = name in ("pyproject.toml", "setup.cfg", "package.json")
    return bool(
        known
        or any(pattern.search(file.path) for pattern in (_WHOLE, _BUILD, MAKEFILE))
        or file.path in run_by_checks
        or is_test(file.path)
    )


def _threshold_flags(file: ChangedFile) -> list[Flag]:
    """Lines that differ in a number alone, where the number is a bar that was made easier to pass."""
    at_most = _AT_MOST_OF_A_BUILD if _BUILD.search(file.path) else _AT_MOST
    marks_alone = is_test(file.path) and file.path.endswith(".py")
    before: dict[str, list[str]] = {}
    after_lines = text_of(file.after).splitlines()
    same = Counter(after_lines)
    for line in text_of(file.before).splitlines():
        if same[line] > 0:
            same[line] -= 1
        else:
            before.setdefault(_NUMBER.sub("#", line).strip(), []).append(line)
    same = Counter(text_of(file.before).splitlines())
    flags = []
    for number, line in enumerate(after_lines, 1):
        if same[line] > 0:
            same[line] -= 1
            continue
        old = before.get(_NUMBER.sub("#", line).strip())
        if marks_alone and not _PYTHON_MARK.search(line[:_LINE_CHARS]):
            continue
        if old and _is_easier(old.pop(0), line, at_most):
            words = f"is now {line.strip()[:120]}"
            flags.append(Flag(FlagKind.THRESHOLD_LOWERED, file.path, number, words))
    return flags


def _is_easier(before: str, after: str, at_most: re.Pattern[str]) -> bool:
    pairs = list(zip(_NUMBER.findall(before), _NUMBER.findall(after), strict=False))
    lower = any(float(new) < float(old) for old, new in pairs)
    higher = any(float(new) > float(old) for old, new in pairs)
    if at_most.search(after) or _PYTHON_MARK.search(after):
        return higher
    return lower and _AT_LEAST.search(after) is not None


def _first_changed_line(file: ChangedFile) -> int:
    before = text_of(file.before).splitlines()
    for number, line in enumerate(text_of(file.after).splitlines(), 1):
        if number > len(before) or before[number - 1] != line:
            return number
    return len(before)
