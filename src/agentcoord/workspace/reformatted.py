"""Whether two texts are one program, laid out in two ways: what a formatter makes of a file.

Many a project's check formats as it looks (`npm run lint` that is `eslint --fix`), and what is only laid
out anew says nothing of the program. Pure.
"""

from __future__ import annotations

import ast
import re

MOST_BYTES = 50_000
"""Of a larger text nobody says so: to read it holds others up."""
_LAID_OUT = re.compile(rb"[\s,;()'\"`]+")
"""What formatters move, add and take away where blanks mean nothing."""
_PYTHON = (".py", ".pyi")


def is_reformatted(path: str, before: bytes, after: bytes) -> bool:
    """Whether `after` is `before` in another layout, as far as can be told; blanks count in Python."""
    if max(len(before), len(after)) > MOST_BYTES:
        return False
    if path.endswith(_PYTHON):
        return _tree_of(before) == _tree_of(after) != ""
    return _LAID_OUT.sub(b"", before) == _LAID_OUT.sub(b"", after)


def _tree_of(text: bytes) -> str:
    """The program without its layout and its comments; nothing of a text that is none."""
    try:
        return ast.dump(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
