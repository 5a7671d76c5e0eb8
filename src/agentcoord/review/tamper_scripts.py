"""Tamper rules for what a check's command runs by name: makefiles, and the tasks of other runners.

They hold much besides checks, so they may grow; what they said before may not change. Separate from
`tamper_config`, which knows the files that configure checks.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

MAKEFILE = re.compile(r"(^|/)(GNU)?[Mm]akefile$|\.mk$|(^|/)\.?[Jj]ustfile$")
PREFERRED_MAKEFILE = re.compile(r"(^|/)(GNUmakefile|makefile)$")
"""`make` reads these instead of a `Makefile`."""
_TARGET = re.compile(r"^([^\s:#=][^:#=]*?)\s*::?(?![=:])")
_VARIABLE = re.compile(r"^\s*(?:override\s+|export\s+)*([\w.-]+)\s*(?:[:?!+]|::)?=")
_FOR_ALL = re.compile(
    r"^\s*(?:override\s+|export\s+)*(?:\.?SHELL(?:FLAGS)?|(?:GNU)?MAKEFLAGS|\.DEFAULT_GOAL)\b"
    r"|^\.(?:IGNORE|ONESHELL|DEFAULT)\b|^(?:export|-?include|sinclude|import)\b|^set\s"
)
"""Lines of a makefile or justfile that decide for every target, whatever it says itself."""
_TASK_FILES = (
    (re.compile(r"(^|/)[Tt]askfile(\.dist)?\.ya?ml$"), ("task",)),
    (re.compile(r"(^|/)(Rakefile|.*\.rake)$"), ("rake",)),
    (re.compile(r"(^|/)(tasks|fabfile)\.py$"), ("invoke", "inv", "fab")),
    (re.compile(r"(^|/)dodo\.py$"), ("doit",)),
    (re.compile(r"(^|/)\.?mise\.toml$"), ("mise",)),
    (re.compile(r"(^|/)(gulpfile|[Gg]runtfile)\.\w+$"), ("gulp", "grunt")),
    (re.compile(r"(^|/)(build\.xml|magefile\.go|Earthfile)$"), ("ant", "mage", "earthly")),
)
"""Files that are run whole, and by which programs."""
_PACKAGE_FILES = {"package.json": "scripts", "composer.json": "scripts", "deno.json": "tasks"}
_PYTHON_RUNNERS = {"poe": "tasks", "taskipy": "tasks", "pdm": "scripts", "rye": "scripts", "hatch": "envs"}
_AROUND = re.compile(r"^(?:pre|post)[_:-]?")


def script_change(path: str, before: str, after: str, run_by_checks: Collection[str]) -> str:
    """Say what a file runs otherwise than before, as far as a check may run it; empty for nothing."""
    if MAKEFILE.search(path):
        gone = Counter(before.splitlines()) - Counter(after.splitlines())
        if any(line.strip() and not line.lstrip().startswith("#") for line in gone):
            return "lines of it were changed or taken out"
        return _said_anew(before, after)
    name = path.rpartition("/")[2]
    if name == "pyproject.toml" or name in _PACKAGE_FILES:
        old, new = (dict(_tasks(name, text)) for text in (before, after))
        changed = sorted(key for key, value in old.items() if new.get(key) != value)
        around = sorted(key for key in new.keys() - old.keys() if _is_around(key, old))
        return f"the task {(changed or around)[0]}" if changed or around else ""
    for pattern, programs in _TASK_FILES:
        if pattern.search(path) and any(program in run_by_checks for program in programs):
            return "a check runs this file"
    return ""


def _said_anew(before: str, after: str) -> str:
    """What a longer makefile says of the targets and variables that it had: `make` takes the last word."""
    for line in Counter(after.splitlines()) - Counter(before.splitlines()):
        if _FOR_ALL.search(line):
            return f"it says for all targets {line.strip()[:80]}"
    for what, pattern in (("target", _TARGET), ("variable", _VARIABLE)):
        old, new = (Counter(_names(pattern, text)) for text in (before, after))
        again = sorted(name for name in new - old if name in old or _is_used(name, before))
        if again:
            return f"it says anew what the {what} {again[0]} is"
    return ""


def _names(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """What lines give a meaning to; a rule may be for several targets."""
    for found in map(pattern.match, text.splitlines()):
        if found and not found[1].startswith("."):
            yield from found[1].split()


def _is_used(variable: str, text: str) -> bool:
    return f"$({variable})" in text or f"${{{variable}}}" in text


def _is_around(key: str, old: Mapping[str, Any]) -> bool:
    """Whether a runner runs the new task before or after one that was there."""
    group, _, name = key.partition(".")
    inner = _AROUND.sub("", name)
    return inner != name and f"{group}.{inner}" in old


def _tasks(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """Each task by its runner and name; nothing for a file that cannot be read."""
    try:
        if name == "pyproject.toml":
            tool = tomllib.loads(text).get("tool", {})
            for runner, key in _PYTHON_RUNNERS.items():
                groups = {runner: tool.get(runner, {}).get(key, {})}
                if runner == "hatch":
                    groups = {f"hatch {name}": env.get("scripts", {}) for name, env in groups[runner].items()}
                for group, tasks in groups.items():
                    for task, value in tasks.items():
                        yield f"{group}.{task}", value
        else:
            for task, value in json.loads(text).get(_PACKAGE_FILES[name], {}).items():
                yield f"{_PACKAGE_FILES[name]}.{task}", value
    except (ValueError, AttributeError, RecursionError):
        return
