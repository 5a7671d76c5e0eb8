"""What kinds of project a repository holds, and the command that runs each one's tests: looked at, never run.

Separate from `init`, which makes settings of it. A command is guessed only where there is something for it to
run: a check that finds no tests is red for every task.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agentcoord.config.bounds import FOLDER_INSIDE
from agentcoord.values import dataclass

_READ_CHARS: Final = 200_000
_TEST_FILES: Final = 20
_NOT_SOURCE: Final = frozenset(
    {
        *("build", "dist", "node_modules", "venv", "env", "target", "vendor"),
        *("site-packages", "htmlcov", "examples"),
    }
)
PYTHON_MARKS: Final = ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini")
_NAMING_PYTEST: Final = (
    *("pyproject.toml", "setup.cfg", "tox.ini", "requirements-dev.txt", "requirements.txt", "pytest.ini"),
)
_PYTHON_FILES: Final = ("*.py", "*/__init__.py", "src/*.py", "test/test*.py", "tests/test*.py")
_PACKAGE_TESTS: Final = ("test*.py", "*/test*.py", "*/tests/test*.py", "src/*/tests/test*.py")
_MAKEFILES: Final = ("GNUmakefile", "makefile", "Makefile")
_C_FILES: Final = ("*.c", "*.cc", "*.cpp", "src/*.c", "src/*.cc", "src/*.cpp", "CMakeLists.txt")


@dataclass(frozen=True, slots=True)
class Guess:
    """One kind of project that is there."""

    kind: str
    """Python, Node, Rust, Go, C or make."""
    command: str
    """Runs its tests; empty where nothing is known that would."""
    because: str
    """What says so; with an empty command: why there is none."""
    extra_scope: tuple[str, ...] = ()
    place: str = ""
    """The folder of the repository that it is in; empty for the top level."""


def may_hold_source(entry: Path) -> bool:
    """Whether a folder may hold what people write, and not what tools make."""
    plain = entry.is_dir() and not entry.is_symlink()
    return plain and not entry.name.startswith(".") and entry.name not in _NOT_SOURCE


def guesses_at(folder: Path) -> list[Guess]:
    """Every kind that is in this folder, by what its languages say alone."""
    return [guess for look in _LANGUAGES if (guess := look(folder)) is not None]


def guesses_of(root: Path) -> list[Guess]:
    """Every kind that is there. Make counts only where nothing else tells how to run the tests."""
    found = guesses_at(root)
    if not any(guess.command for guess in found) and (by_make := _look_for_make(root)) is not None:
        kinds = [guess for guess in found if guess.kind == "C"]
        return [Guess(guess.kind, by_make.command, by_make.because) for guess in kinds[:1]] or [
            *found,
            by_make,
        ]
    return found


def _look_for_python(root: Path) -> Guess | None:
    marks = [name for name in (*PYTHON_MARKS, "manage.py") if (root / name).is_file()]
    if not marks and not any(any(root.glob(glob)) for glob in _PYTHON_FILES):
        return None
    modules = _single_modules(root)
    for name in _NAMING_PYTEST:
        if "pytest" in _read(root / name):
            return Guess("Python", "python -m pytest -q", f"{name} names pytest", modules)
    if any(root.glob("conftest.py")) or any(root.glob("test*/**/conftest.py")):
        return Guess("Python", "python -m pytest -q", "there is a conftest.py", modules)
    if "django" in _read(root / "manage.py"):
        folders = tuple(f"{name}/**" for name in ("templates", "static") if (root / name).is_dir())
        return Guess("Python", "python manage.py test", "manage.py is Django's", (*modules, *folders))
    for folder in ("tests", "test"):
        texts = list(_texts(root / folder, ("**/test*.py",)))
        if _are_pytest(texts):
            return Guess("Python", "python -m pytest -q", f"{folder}/ holds pytest functions", modules)
        if texts:
            top = " -t ." if (root / folder / "__init__.py").is_file() else ""
            command = f"python -m unittest discover -s {folder}{top}"
            return Guess("Python", command, f"{folder}/ holds unittest cases", modules)
    beside = list(_texts(root, _PACKAGE_TESTS))
    if _are_pytest(beside):
        return Guess("Python", "python -m pytest -q", "pytest functions beside the code", modules)
    if any("unittest" in text for text in beside):
        return Guess("Python", "python -m unittest", "unittest cases beside the code", modules)
    return Guess("Python", "", "no tests were found", modules)


def _are_pytest(texts: Sequence[str]) -> bool:
    return any(re.search(r"^(async )?def test_|import pytest", text, re.MULTILINE) for text in texts)


def _texts(folder: Path, globs: Sequence[str]) -> Iterator[str]:
    """The beginnings of the first files that these name."""
    for glob in globs:
        for path in sorted(folder.glob(glob))[:_TEST_FILES]:
            yield _read(path)


def _single_modules(root: Path) -> tuple[str, ...]:
    """Top-level modules that the project itself names as its own."""
    try:
        document = tomllib.loads(_read(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return ()
    name = str(document.get("project", {}).get("name", "")).replace("-", "_")
    return (f"{name}.py",) if name and (root / f"{name}.py").is_file() else ()


def _look_for_node(root: Path) -> Guess | None:
    path = root / "package.json"
    if not path.is_file():
        return None
    try:
        package = json.loads(_read(path))
    except json.JSONDecodeError as error:
        return Guess("Node", "", f"package.json is broken, line {error.lineno}: {error.msg}")
    if not isinstance(package, dict):
        return Guess("Node", "", "package.json is broken: it is no object")
    places = _workspaces(root, package)
    scope = tuple(f"{place}/**" for place in places)
    if _has_tests(package):
        return Guess("Node", "npm test --silent", "package.json has a test script", scope)
    if any(_has_tests(json_of(found)) for place in places for found in _packages_at(root / place)):
        # npm does not read pnpm's file, and finds no workspace there.
        by_pnpm = (root / "pnpm-workspace.yaml").is_file()
        command = "pnpm -r test" if by_pnpm else "npm test --silent --workspaces --if-present"
        return Guess("Node", command, "packages of the workspace have test scripts", scope)
    if any(root.glob("test/*")) or any(root.glob("*.test.*js")) or any(root.glob("src/**/*.test.*js")):
        return Guess("Node", "node --test", "test files, and package.json without a test script", scope)
    return Guess("Node", "", "package.json has no test script, and no tests were found", scope)


def node_members(root: Path) -> list[Path]:
    """The folders of a workspace's packages; none where there is no workspace."""
    if not (root / "package.json").is_file():
        return []
    places = _workspaces(root, json_of(root / "package.json"))
    return [found.parent for place in places for found in _packages_at(root / place)]


def _packages_at(folder: Path) -> list[Path]:
    return sorted((*folder.glob("package.json"), *folder.glob("*/package.json")))


def json_of(path: Path) -> Mapping[str, Any]:
    """An object of a file; empty for anything else."""
    try:
        found = json.loads(_read(path))
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _has_tests(package: Mapping[str, Any]) -> bool:
    scripts = package.get("scripts")
    return isinstance(scripts, dict) and "no test specified" not in str(
        scripts.get("test", "no test specified")
    )


def _workspaces(root: Path, package: Mapping[str, Any]) -> tuple[str, ...]:
    """The folders that a workspace of npm, yarn or pnpm has its packages in."""
    named = package.get("workspaces")
    if isinstance(named, dict):
        named = named.get("packages")
    globs = [str(each) for each in named] if isinstance(named, list) else []
    globs += re.findall(r"(?m)^\s*-\s*['\"]?([^'\"#\s]+)", _read(root / "pnpm-workspace.yaml"))
    return _folders_of(root, (glob for glob in globs if glob[:1] != "!"))


def _folders_of(root: Path, globs: Iterable[str]) -> tuple[str, ...]:
    """The folders in `root` that globs of members name, up to their first star, as far as they are there."""
    places = (glob.removeprefix("./").partition("*")[0].rstrip("/") for glob in globs)
    inside = (place for place in places if re.fullmatch(FOLDER_INSIDE, place))
    return tuple(dict.fromkeys(place for place in inside if (root / place).is_dir()))


def _look_for_go(root: Path) -> Guess | None:
    if modules := _modules_in_use(_read(root / "go.work")):
        # In a workspace `./...` means the modules below that it names only where one is at its top.
        return Guess("Go", f"go test {' '.join(modules)}", "go.work", ("**/*.go",))
    return Guess("Go", "go test ./...", "go.mod", ("**/*.go",)) if (root / "go.mod").is_file() else None


def _modules_in_use(go_work: str) -> list[str]:
    """The packages of the modules that a `go.work` names."""
    lines = re.sub(r"//.*", "", go_work)
    used = re.findall(r"(?m)^use\s+([^\s(]+)", lines)
    for block in re.findall(r"(?ms)^use\s*\((.*?)\)", lines):
        used += block.split()
    folders = (each.strip('"').removeprefix("./").strip("/") for each in used)
    return ["./..." if folder in ("", ".") else f"./{shlex.quote(folder)}/..." for folder in folders]


def _look_for_rust(root: Path) -> Guess | None:
    if not (root / "Cargo.toml").is_file():
        return None
    try:
        workspace = tomllib.loads(_read(root / "Cargo.toml")).get("workspace")
    except tomllib.TOMLDecodeError:
        workspace = None
    members = workspace.get("members", []) if isinstance(workspace, dict) else []
    folders = _folders_of(root, ("crates", *(str(each) for each in members)))
    # Of a workspace with a package at its top, cargo tests that one alone.
    everything = " --workspace" if workspace is not None else ""
    scope = tuple(f"{folder}/**" for folder in folders)
    return Guess("Rust", f"cargo test --quiet --offline{everything}", "Cargo.toml", scope)


def _look_for_c(root: Path) -> Guess | None:
    if not any(any(root.glob(glob)) for glob in _C_FILES):
        return None
    return Guess("C", "", "no test or check target was found in a Makefile")


def _look_for_make(root: Path) -> Guess | None:
    for name in _MAKEFILES:
        if target := re.search(r"(?m)^(test|check)\s*:(?!=)", _read(root / name)):
            return Guess("make", f"make {target[1]}", f"the {name} has a {target[1]} target")
    return None


_LANGUAGES: Sequence[Callable[[Path], Guess | None]] = (
    *(_look_for_rust, _look_for_go, _look_for_python, _look_for_node, _look_for_c),
)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_READ_CHARS)
    except OSError:
        return ""
