"""What workers may change, guessed: the folders and kinds of files that hold code, tests and pages.

Separate from `guesses`, which finds the kinds of project. Where there is no folder of code, files are named
by their endings, wherever they are; and there is always a place for new tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from agentcoord.config.guesses import Guess, may_hold_source

NOBODY_KNOWS: Final = ("src/**", "tests/**", "docs/**")
"""Where nothing is there to go by."""
_CODE_FOLDERS: Final = frozenset({"src", "lib", "app", "pkg", "cmd", "internal", "include"})
_TEST_FOLDERS: Final = frozenset({"tests", "test", "spec", "__tests__", "testing"})
_DOC_FOLDERS: Final = frozenset({"docs", "doc"})
_ENDINGS: Final = {
    "Python": (".py",),
    "Go": (".go",),
    "Rust": (".rs",),
    "Node": (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"),
}
"""Of C nothing: its files are looked for in every folder, as those of languages that are not known here."""
_C_ENDINGS: Final = frozenset({".c", ".h", ".cc", ".cpp", ".hpp", ".hh"})
_ANY_ENDINGS: Final = frozenset(
    {
        *(ending for each in _ENDINGS.values() for ending in each),
        *_C_ENDINGS,
        *(".java", ".kt", ".rb", ".php", ".swift", ".lua", ".sh", ".cs", ".ex", ".hs", ".ml", ".pl", ".zig"),
    }
)
_LOOKED_AT: Final = 500
"""Files and folders of one folder; whether it holds code shows early."""


def guessed_scope(root: Path, guesses: Sequence[Guess]) -> list[str]:
    """Return globs for `project.scope`; `NOBODY_KNOWS` where nothing tells."""
    folders = sorted(entry.name for entry in root.iterdir() if may_hold_source(entry))
    shared = [name for name in folders if name in _CODE_FOLDERS]
    packages = [name for name in folders if name not in shared and (root / name / "__init__.py").is_file()]
    code = sorted((*shared, *packages))
    tests = [name for name in folders if name in _TEST_FOLDERS and name not in code]
    docs = [name for name in folders if name in _DOC_FOLDERS and name not in code]
    extra = [glob for guess in guesses for glob in guess.extra_scope]
    places = [guess.place for guess in guesses if guess.place]
    guesses = [guess for guess in guesses if not guess.place]
    if not shared:  # Code at the top level, or in folders of its own.
        for guess in guesses:
            has_place = any("/" in glob for glob in guess.extra_scope) or (
                guess.kind == "Python" and not _TEST_FOLDERS.issuperset(packages)
            )
            extra += [] if has_place else _globs_of(root, guess.kind)
        if not code and not extra:
            others = [name for name in folders if name not in (*tests, *docs) and _holds_code(root / name)]
            extra = [*(f"{name}/**" for name in others), *_globs_of(root)]
    named = [f"{name}/**" for name in [*code, *tests, *docs, *places]]
    scope = list(dict.fromkeys([*named, *extra]))
    if not scope:
        return list(NOBODY_KNOWS)
    if not tests and not _TEST_FOLDERS.intersection(packages) and not _takes_new_tests(scope, guesses):
        scope.append("tests/**")
    return scope


def _globs_of(root: Path, kind: str = "") -> list[str]:
    """The endings of the top level's files that are this kind's; any code's, for no kind."""
    there = {path.suffix for path in islice(root.iterdir(), _LOOKED_AT) if path.is_file()}
    if not kind:
        headers = {".h"} if there & _C_ENDINGS else set()
        return [f"*{ending}" for ending in sorted(there & _ANY_ENDINGS | headers)]
    known = _ENDINGS.get(kind, ())
    if kind == "Node" and (root / "tsconfig.json").is_file():
        there.add(".ts")
    found = [f"*{ending}" for ending in known if ending in there]
    # A language whose files are elsewhere is named by its first ending all the same.
    return found or [f"*{ending}" for ending in known[:1]]


def _holds_code(folder: Path) -> bool:
    return any(path.suffix in _ANY_ENDINGS for path in islice(folder.rglob("*"), _LOOKED_AT))


def _takes_new_tests(scope: Sequence[str], guesses: Sequence[Guess]) -> bool:
    """Whether tests can be written at their usual place: beside the code, or in whatever has its ending."""
    of_django = any(guess.command.endswith("manage.py test") for guess in guesses)
    return of_django or any(glob.startswith(("*.", "**/*.")) for glob in scope)
