"""A first `agentcoord.toml` for a repository: scope and test command guessed from what is there.

It looks, and never writes: the command that was asked for writes the text after showing it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from agentcoord.values import dataclass

_NOT_SOURCE = frozenset(
    {
        "build",
        "dist",
        "node_modules",
        "venv",
        "env",
        "target",
        "vendor",
        "site-packages",
        "htmlcov",
        "examples",
    }
)
_CODE_FOLDERS = ("src", "lib", "app", "pkg", "cmd", "internal")
_TEST_FOLDERS = ("tests", "test", "spec", "__tests__", "testing")
_DOC_FOLDERS = ("docs", "doc")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `agentcoord init` would write, and why."""

    text: str
    """The whole file."""
    scope: tuple[str, ...]
    checks: tuple[tuple[str, str], ...]
    """Name and command; empty when no test command was found."""
    notes: tuple[str, ...]
    """What each guess rests on, and what the person should look at."""


@dataclass(frozen=True, slots=True)
class _Guess:
    kind: str
    command: str
    because: str
    extra_scope: tuple[str, ...] = ()


def propose(root: Path) -> Proposal:
    """Guess settings for the repository at `root`."""
    guess = next((found for look in _LOOKS if (found := look(root)) is not None), None)
    scope = _guess_scope(root, guess)
    notes = [f"scope: {', '.join(scope)}"]
    checks: tuple[tuple[str, str], ...] = ()
    if guess:
        checks = (("tests", guess.command),)
        notes.append(f"a {guess.kind} project ({guess.because}); the check is `{guess.command}`")
    else:
        notes.append("no test command found: add one under [checks], or nothing proves a change")
    text = (files("agentcoord.config") / "agentcoord.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^scope = .*$", lambda _: f"scope = {_toml_list(scope)}", text, count=1)
    line = f"tests = {json.dumps(guess.command)}" if guess else '# tests = "python -m pytest -q"'
    text = re.sub(r"(?m)^tests = .*$", lambda _: line, text, count=1)
    return Proposal(text, tuple(scope), checks, tuple(notes))


def _guess_scope(root: Path, guess: _Guess | None) -> list[str]:
    folders = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir()
        and not entry.is_symlink()
        and not entry.name.startswith(".")
        and entry.name not in _NOT_SOURCE
    )
    code = [name for name in folders if name in _CODE_FOLDERS or (root / name / "__init__.py").is_file()]
    tests = [name for name in folders if name in _TEST_FOLDERS and name not in code]
    docs = [name for name in folders if name in _DOC_FOLDERS]
    scope = [f"{name}/**" for name in [*code, *tests, *docs]]
    if guess:
        scope += [glob for glob in guess.extra_scope if glob not in scope]
    if not code:  # Code at the top level: its kind of file, wherever it is.
        ending = {"Python": "*.py", "Go": "*.go", "Node": "*.js", "Rust": "*.rs"}.get(
            guess.kind if guess else "", ""
        )
        scope += [ending] if ending and ending not in scope else []
    return scope or ["src/**", "tests/**", "docs/**"]


def _look_for_python(root: Path) -> _Guess | None:
    marks = [
        name for name in ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini") if (root / name).is_file()
    ]
    has_code = bool(marks) or any(root.glob("*.py")) or any(root.glob("*/__init__.py"))
    if not has_code:
        return None
    modules = _single_modules(root)
    for name in (
        "pyproject.toml",
        "setup.cfg",
        "tox.ini",
        "requirements-dev.txt",
        "requirements.txt",
        "pytest.ini",
    ):
        if "pytest" in _read(root / name):
            return _Guess("Python", "python -m pytest -q", f"{name} names pytest", modules)
    if (
        (root / "conftest.py").is_file()
        or any(root.glob("test*/conftest.py"))
        or any(root.glob("test*/**/conftest.py"))
    ):
        return _Guess("Python", "python -m pytest -q", "there is a conftest.py", modules)
    for folder in ("tests", "test"):
        texts = [_read(path) for path in sorted((root / folder).glob("**/test*.py"))[:20]]
        if any(re.search(r"^def test_|import pytest", text, re.MULTILINE) for text in texts):
            return _Guess("Python", "python -m pytest -q", f"{folder}/ holds pytest functions", modules)
        if texts:
            command = f"python -m unittest discover -s {folder}" + (
                " -t . " if (root / folder / "__init__.py").is_file() else ""
            )
            return _Guess("Python", command.strip(), f"{folder}/ holds unittest cases", modules)
    return (
        _Guess("Python", "python -m unittest", ", ".join(marks) or "Python files", modules) if marks else None
    )


def _single_modules(root: Path) -> tuple[str, ...]:
    """Top-level modules that the project itself names as its own."""
    try:
        document = tomllib.loads(_read(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return ()
    name = str(document.get("project", {}).get("name", "")).replace("-", "_")
    return (f"{name}.py",) if name and (root / f"{name}.py").is_file() else ()


def _look_for_node(root: Path) -> _Guess | None:
    text = _read(root / "package.json")
    if not text:
        return None
    try:
        scripts = json.loads(text).get("scripts", {})
    except (json.JSONDecodeError, AttributeError):
        scripts = {}
    if isinstance(scripts, dict) and "test" in scripts and "no test specified" not in str(scripts["test"]):
        return _Guess("Node", "npm test --silent", "package.json has a test script")
    return _Guess("Node", "node --test", "package.json without a test script")


def _look_for_go(root: Path) -> _Guess | None:
    return _Guess("Go", "go test ./...", "go.mod", ("**/*.go",)) if (root / "go.mod").is_file() else None


def _look_for_rust(root: Path) -> _Guess | None:
    if not (root / "Cargo.toml").is_file():
        return None
    crates = ("crates/**",) if (root / "crates").is_dir() else ()
    return _Guess("Rust", "cargo test --quiet --offline", "Cargo.toml", crates)


def _look_for_make(root: Path) -> _Guess | None:
    if re.search(r"(?m)^test\s*:", _read(root / "Makefile")):
        return _Guess("make", "make test", "the Makefile has a test target")
    return None


_LOOKS: Sequence[Callable[[Path], _Guess | None]] = (
    _look_for_rust,
    _look_for_go,
    _look_for_python,
    _look_for_node,
    _look_for_make,
)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200_000)
    except OSError:
        return ""


def _toml_list(items: Sequence[str]) -> str:
    return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in items) + "]"
