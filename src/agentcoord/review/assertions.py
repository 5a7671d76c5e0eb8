"""Reading the assertions of Python code from its syntax tree: what can still fail, and how hard it is.

Separate from `python_tests`, which finds the tests; the small readers of names and sources that
both need stand here.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from typing import TypeGuard

from agentcoord.review.python_reach import always, is_empty, returns
from agentcoord.values import dataclass

_BROAD = frozenset({"Exception", "BaseException", "AssertionError"})
_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_TOLERANCES = frozenset({"abs", "rel", "delta", "abs_tol", "rel_tol", "atol", "rtol"})
_PLACES = frozenset({"places", "decimal", "significant"})
_SMALL_TOLERANCE = 1e-6
"""What `approx` allows by itself."""
_TEXT_CHARS = 120
# How hard an assertion is to satisfy: a value, a bound or membership, a mere truth, nothing at all.
EXACT, PARTLY, TRUTHY, VOID = 3, 2, 1, 0
_METHODS = {
    "assertTrue": TRUTHY,
    "assertFalse": TRUTHY,
    "assertIsNotNone": TRUTHY,
    "assertIsNone": EXACT,
    "assertIn": PARTLY,
    "assertNotIn": PARTLY,
    "assertNotEqual": PARTLY,
    "assertIsInstance": PARTLY,
    "assertGreater": PARTLY,
    "assertGreaterEqual": PARTLY,
    "assertLess": PARTLY,
    "assertLessEqual": PARTLY,
    "assertAlmostEqual": PARTLY,
    "assertNotAlmostEqual": PARTLY,
    "assertRegex": PARTLY,
    "assert_called": TRUTHY,
    "assert_awaited": TRUTHY,
    "assert_called_once": PARTLY,
    "assert_awaited_once": PARTLY,
    "assert_any_call": PARTLY,
    "assert_any_await": PARTLY,
}
"""Others, such as assertEqual, are exact."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One thing that a test requires."""

    text: str
    """As source, at most 120 characters."""
    line: int
    strength: int
    shape: str
    """Its source without literals: equal shapes differ in expected values only."""
    upper_bounds: tuple[float, ...] = ()
    """Numbers that something must stay below, tolerances included."""
    lower_bounds: tuple[float, ...] = ()
    tolerance: float = _SMALL_TOLERANCE
    """By how much a value may be another than the expected one."""


def assertions_of(body: Sequence[ast.stmt], named: Collection[str] | None = None) -> Iterator[Assertion]:
    """Every assertion that can still fail, in order.

    `named`: what the test around it names; a function within, of any other name, is never called, but for
    methods: a framework calls those of a class. None: any may be.
    """
    for statement in body:
        match statement:
            case ast.Assert():
                yield _of_test(statement.test, statement.lineno, source_of(statement))
            case ast.If() if (value := always(statement.test)) is not None:
                yield from assertions_of(statement.body if value else statement.orelse, named)
            case ast.While() if always(statement.test) is False:
                yield from assertions_of(statement.orelse, named)
            case ast.For() if is_empty(statement.iter):
                yield from assertions_of(statement.orelse, named)
            case ast.Try() if _swallows(statement):
                yield from assertions_of([*statement.orelse, *statement.finalbody], named)
            case ast.With() | ast.AsyncWith():
                if not any(name_of(called(item.context_expr)) == "suppress" for item in statement.items):
                    yield from _raising(statement)
                    yield from assertions_of(statement.body, named)
            case ast.Expr(value=ast.Call() | ast.Await()):
                yield from _of_call(statement)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if named is None or statement.name in named or statement.decorator_list:
                    yield from assertions_of(statement.body, named)
            case ast.ClassDef():
                yield from assertions_of(statement.body)
            case _:
                for part in bodies_of(statement):
                    yield from assertions_of(part, named)
        if isinstance(statement, _LEAVES) or returns(statement):
            return


def _of_test(test: ast.expr, line: int, text: str) -> Assertion:
    upper: list[float] = []
    lower: list[float] = []
    tolerances = [_SMALL_TOLERANCE]
    for node in ast.walk(test):
        if isinstance(node, ast.Compare):
            _take_bounds(node, upper, lower)
        if isinstance(node, ast.Call):
            tolerances += _tolerances(node)
    return Assertion(text, line, _strength(test), _shape(test), tuple(upper), tuple(lower), max(tolerances))


def _strength(test: ast.expr) -> int:
    match test:
        case ast.Constant():
            return VOID if test.value else EXACT
        case ast.Tuple() | ast.List() | ast.Dict() | ast.JoinedStr() | ast.Lambda():
            return VOID
        case ast.BoolOp(op=ast.Or()):
            return min(TRUTHY, *(_strength(value) for value in test.values))
        case ast.BoolOp():
            return max(_strength(value) for value in test.values)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if ast.dump(left) == ast.dump(right) or "ANY" in (name_of(left), name_of(right)):
                return VOID
            if isinstance(op, ast.Eq):
                return EXACT
            if isinstance(op, ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
                return TRUTHY
            return EXACT if isinstance(op, ast.Is) else PARTLY
        case ast.Compare():
            return PARTLY
        case ast.Call() if name_of(test.func) in ("isinstance", "hasattr", "callable", "issubclass"):
            return PARTLY
        case _:
            return TRUTHY


def _of_call(statement: ast.Expr) -> Iterator[Assertion]:
    call = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
    if not isinstance(call, ast.Call):
        return
    name = name_of(call.func)
    if name.startswith("assert") and len(name) > len("assert"):
        strength = _METHODS.get(name, EXACT)
        literals = [argument for argument in call.args if isinstance(argument, ast.Constant)]
        if call.args and len(literals) == len(call.args) and not _is_of_a_mock(name):
            strength = VOID
        numbers = [float(arg.value) for arg in literals if _is_number(arg.value)]
        below = numbers if name.startswith("assertLess") else []
        above = numbers if name.startswith("assertGreater") else []
        yield Assertion(
            source_of(statement),
            statement.lineno,
            strength,
            _shape(call),
            tuple(below),
            tuple(above),
            max([_SMALL_TOLERANCE, *_tolerances(call)]),
        )
    elif name in ("fail", "raises", "warns") and not isinstance(statement.value, ast.Await):
        yield Assertion(source_of(statement), statement.lineno, EXACT, _shape(call))


def _is_of_a_mock(method: str) -> bool:
    """Whether it tells how a stand-in was called; its arguments may well be literals."""
    return method.startswith("assert_") and ("call" in method or "await" in method)


def _raising(statement: ast.With | ast.AsyncWith) -> Iterator[Assertion]:
    """`with pytest.raises(...)`: naming a base of all exceptions requires nearly nothing."""
    for item in statement.items:
        call = item.context_expr
        name = name_of(called(call))
        if isinstance(call, ast.Call) and (name in ("raises", "warns") or name.startswith("assert")):
            kinds = call.args[0].elts if call.args and isinstance(call.args[0], ast.Tuple) else call.args[:1]
            broad = any(name_of(kind) in _BROAD for kind in kinds)
            narrow = any(keyword.arg == "match" for keyword in call.keywords)
            strength = TRUTHY if broad else EXACT if narrow else PARTLY
            yield Assertion(source_of(call), statement.lineno, strength, _shape(call))


def _take_bounds(compare: ast.Compare, upper: list[float], lower: list[float]) -> None:
    sides = [compare.left, *compare.comparators]
    for left, op, right in zip(sides, compare.ops, sides[1:], strict=False):
        ascending = isinstance(op, ast.Lt | ast.LtE)
        if not ascending and not isinstance(op, ast.Gt | ast.GtE):
            continue
        for side, is_right in ((left, False), (right, True)):
            if isinstance(side, ast.Constant) and _is_number(side.value):
                (upper if ascending == is_right else lower).append(float(side.value))


def _tolerances(call: ast.Call) -> list[float]:
    given = [(keyword.arg or "", keyword.value) for keyword in call.keywords]
    match name_of(call.func):
        case "approx":
            given += [("rel", value) for value in call.args[1:3]]
        case "assertAlmostEqual":
            given += [("places", value) for value in call.args[2:3]]
        case _:
            pass
    numbers = [
        (name, float(value.value))
        for name, value in given
        if isinstance(value, ast.Constant) and _is_number(value.value)
    ]
    places = [10.0 ** -min(max(number, -9.0), 99.0) for name, number in numbers if name in _PLACES]
    return places + [number for name, number in numbers if name in _TOLERANCES]


def _swallows(statement: ast.Try) -> bool:
    """Whether a failing assertion in the body would go unnoticed."""
    for handler in statement.handlers:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        broad = any(kind is None or name_of(kind) in _BROAD for kind in kinds)
        if broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler)):
            return True
    return False


def bodies_of(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        part = getattr(statement, name, None)
        if isinstance(part, list):
            yield part
    for handler in getattr(statement, "handlers", []):
        yield handler.body
    for case in getattr(statement, "cases", []):
        yield case.body


def _shape(node: ast.AST) -> str:
    """The tree's text with every literal taken out."""
    return "".join(
        f"{type(inner).__name__}:{getattr(inner, 'id', getattr(inner, 'attr', ''))};"
        for inner in ast.walk(node)
        if not isinstance(inner, ast.expr_context)
    )


def called(node: ast.AST | None) -> ast.AST | None:
    return node.func if isinstance(node, ast.Call) else node


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def source_of(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"
