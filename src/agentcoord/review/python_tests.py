"""Reading Python test files as values: each test, what it asserts and how hard, what skips it.

Separate from `tamper_tests`, which compares two readings. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator, Sequence

from agentcoord.review.assertions import assertions_of, bodies_of, called, name_of, source_of
from agentcoord.review.readings import FileReading, WrittenTest

_SKIPS = frozenset(
    {
        "skip",
        "skipif",
        "skipIf",
        "skipUnless",
        "xfail",
        "expectedFailure",
        "skipTest",
        "SkipTest",
        "importorskip",
    }
)


def read_tests(content: bytes) -> FileReading | None:
    """Read one file; None when it is no Python that can be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(content)
        return _read_module(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _read_module(module: ast.Module) -> FileReading:
    found = FileReading(hooks=dict(_hooks(module)))
    _read_body(module.body, "", found)
    return found


def _read_body(body: Sequence[ast.stmt], prefix: str, found: FileReading) -> None:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name.startswith("test"):
                found.tests[prefix + statement.name] = _read_test(statement)
            case ast.ClassDef() if statement.name.startswith("Test") or statement.bases:
                where = f"{prefix}{statement.name}"
                for words, line in _decorator_skips(statement):
                    found.skips[f"{where}: {words}"] = line
                _read_body(statement.body, f"{where}::", found)
            case ast.Assign() | ast.AnnAssign() | ast.Expr() | ast.Raise():
                _read_plain(statement, prefix, found)
            case ast.If() | ast.Try() | ast.With():
                for part in bodies_of(statement):
                    _read_body(part, prefix, found)
            case _:
                pass


def _read_plain(statement: ast.stmt, prefix: str, found: FileReading) -> None:
    """A statement at the level of a module or a class that may switch tests off."""
    source = source_of(statement)
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    not_collected = "__test__" in names and source.endswith("False")
    marked = (names & {"pytestmark"} or not names) and any(_skip_names(statement))
    if not_collected or marked:
        found.skips[f"{prefix}{source}"] = statement.lineno


def _read_test(function: ast.FunctionDef | ast.AsyncFunctionDef) -> WrittenTest:
    skips = dict(_decorator_skips(function))
    for node in ast.walk(function):
        if isinstance(node, ast.Call | ast.Raise) and any(_skip_names(node, deep=False)):
            skips.setdefault(source_of(node), node.lineno)
    plain = _without_docstring(function.body)
    return WrittenTest(
        name=function.name,
        line=function.lineno,
        body="\n".join(ast.dump(statement) for statement in plain),
        assertions=tuple(assertions_of(plain)),
        skips=skips,
        cases=_cases(function),
    )


def _cases(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    cases = 1
    for decorator in function.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and name_of(decorator.func) == "parametrize"
            and len(decorator.args) > 1
        ):
            values = decorator.args[1]
            if isinstance(values, ast.List | ast.Tuple | ast.Set):
                cases *= len(values.elts)
    return cases


def _decorator_skips(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> Iterator[tuple[str, int]]:
    for decorator in node.decorator_list:
        if any(_skip_names(decorator)):
            yield source_of(decorator), decorator.lineno


def _skip_names(node: ast.AST, *, deep: bool = True) -> Iterator[str]:
    """Names in a decorator, call or statement that skip a test or expect it to fail."""
    if not deep:
        found = called(node.exc if isinstance(node, ast.Raise) else node)
        if name_of(found) in _SKIPS:
            yield name_of(found)
        return
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute) and name_of(inner) in _SKIPS:
            yield name_of(inner)


def _hooks(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("pytest_"):
                yield f"the hook {name}: {_digest(node)}", node.lineno
            case ast.Assign(targets=[ast.Name(id="collect_ignore" | "collect_ignore_glob")]):
                yield source_of(node), node.lineno
            case ast.Call() if source_of(node.func) in ("os._exit", "sys.exit", "pytest.exit"):
                yield f"it ends the test run: {source_of(node)}", node.lineno
            case _:
                pass


def _digest(node: ast.AST) -> str:
    """A few characters that change with the body, so that a changed hook is a new one."""
    return hashlib.sha256(ast.dump(node).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body
