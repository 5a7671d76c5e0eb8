"""One program in two layouts, and two programs that only look alike."""

from __future__ import annotations

import pytest

from agentcoord.workspace.reformatted import is_reformatted


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("a.py", b"x = {'a':1,\n 'b':2}\n", b'x = {\n    "a": 1,\n    "b": 2,\n}\n'),
        ("a.py", b"return_ = (1)  # why\n", b"return_ = 1\n"),
        ("a.js", b"const f = x => { return 'a' }", b'const f = (x) => {\n  return "a";\n};\n'),
        ("a.go", b"func f() {\nreturn\n}\n", b"func f() {\n\treturn\n}\n"),
        ("a.rs", b"foo(1,2)", b"foo(\n    1,\n    2,\n)"),
    ],
)
def test_a_formatter_makes_no_other_program(path: str, before: bytes, after: bytes) -> None:
    assert is_reformatted(path, before, after)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("a.py", b"return_ = a + b\n", b"return_ = a * b\n"),
        ("a.py", b"if a:\n    b()\n    c()\n", b"if a:\n    b()\nc()\n"),
        ("a.py", b"a = 1 -(2 - 3)\n", b"a = (1 - 2) - 3\n"),
        ("a.py", b"a = 'x y'\n", b"a = 'xy'\n"),
        ("a.py", b"not python (\n", b"not python\n"),
        ("a.py", b"(" * 5000, b"(" * 5000 + b"\n"),
        ("a.js", b"return a + b", b"return a * b"),
        ("a.js", b"return a", b""),
        ("a.js", b"a" * 400_000, b"a" * 400_000 + b"\n"),
    ],
)
def test_another_program_is_told_from_it(path: str, before: bytes, after: bytes) -> None:
    assert not is_reformatted(path, before, after)
