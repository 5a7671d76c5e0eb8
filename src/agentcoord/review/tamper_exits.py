"""Tamper rules for code that is no test: what ends a test run, at once and with a code of its choice.

`sys.exit` raises what a test runner catches; `os._exit` and `os.abort` ask nobody. Who has forked may
call them.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterator

from agentcoord.review.flags import ChangedFile, Flag, FlagKind

_MODULES = frozenset({"os", "posix", "nt"})
_ENDS = frozenset({"_exit", "abort"})
_FORKS = frozenset({"fork", "forkpty"})


def exit_flags(file: ChangedFile) -> list[Flag]:
    """Flags for each new mention in a Python file; none where it cannot be read."""
    if b"_exit" not in file.after and b"abort" not in file.after:
        return []
    known = Counter(words for words, _ in _mentions(file.before or b""))
    flags = []
    for words, line in _mentions(file.after):
        if known[words] > 0:
            known[words] -= 1
        else:
            told = f"it can end the test run: {words}"
            flags.append(Flag(FlagKind.CONFIGURATION_CHANGED, file.path, line, told))
    return flags


def _mentions(content: bytes) -> list[tuple[str, int]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sorted(_found(ast.parse(content)), key=lambda each: each[1])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _found(module: ast.Module) -> Iterator[tuple[str, int]]:
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _forks(node):
                continue
            case ast.Attribute(value=ast.Name(id=module_name), attr=name) if (
                module_name in _MODULES and name in _ENDS
            ):
                yield f"{module_name}.{name}", node.lineno
            case ast.ImportFrom(module=origin, names=names) if origin in _MODULES:
                yield from ((f"{origin}.{each.name}", node.lineno) for each in names if each.name in _ENDS)
            case _:
                pass
        waiting += ast.iter_child_nodes(node)


def _forks(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr in _FORKS for node in ast.walk(function))
