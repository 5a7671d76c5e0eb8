"""Which Python code of a test is never reached, as far as its syntax tree alone can tell.

Separate from `assertions`, which reads what a test requires where it is reached.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_MAKERS = frozenset({"list", "tuple", "set", "dict", "frozenset", "iter", "range"})


def always(test: ast.expr) -> bool | None:
    """What a condition is whatever happens; None when that depends."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            known = always(operand)
            return None if known is None else not known
        case ast.BoolOp(op=op, values=values):
            parts = [always(value) for value in values]
            decisive = isinstance(op, ast.Or)
            if decisive in parts:
                return decisive
            return None if None in parts else not decisive
        case ast.Compare(
            left=ast.Constant(value=left), ops=[op], comparators=[ast.Constant(value=right)]
        ) if isinstance(op, ast.Eq | ast.NotEq):
            return (left == right) is isinstance(op, ast.Eq)
        case _:
            return None


def is_empty(iterated: ast.expr) -> bool:
    """Whether a loop over it is never entered."""
    match iterated:
        case ast.List(elts=[]) | ast.Tuple(elts=[]) | ast.Dict(keys=[]) | ast.Constant(value=""):
            return True
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(stop))]):
            return stop <= 0
        case ast.Call(func=ast.Name(id=name), args=[], keywords=[]):
            return name in _MAKERS
        case _:
            return False


def returns(statement: ast.stmt) -> bool:
    """Whether the function surely ends with this statement, although it is none that says so itself."""
    match statement:
        case ast.Return():
            return True
        case ast.With() | ast.AsyncWith():
            return _just_returns(statement.body[0])
        case ast.While() if always(statement.test):
            return returns(statement.body[0])
        case ast.Try(body=[first, *_], handlers=handlers, finalbody=last):
            caught = all(any(map(_leaves, handler.body)) for handler in handlers)
            return any(map(returns, last)) or _just_returns(first) or (returns(first) and caught)
        case _:
            return False


def _just_returns(statement: ast.stmt) -> bool:
    """Whether nothing can be raised on the way, which what is around it may catch."""
    return isinstance(statement, ast.Return) and isinstance(statement.value, ast.Constant | None)


def _leaves(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Raise) or returns(statement)


def is_generator(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether calling it runs nothing of it."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(function))


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _Scope):
            waiting += ast.iter_child_nodes(node)
