"""Reading Python test files as values: each test, what it asserts and how hard, what skips it.

Separate from `tamper_tests`, which compares two readings. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from agentcoord.review.assertions import Assertion, assertions_of, bodies_of, called, name_of, source_of
from agentcoord.review.python_reach import is_generator
from agentcoord.review.readings import OUTSIDE, FileReading, WrittenTest

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
_SETUPS = frozenset(
    {"setUp", "setUpClass", "setUpModule", "asyncSetUp", "setup", "setup_module", "setup_function"}
    | {"setup_class", "setup_method", "tearDown", "teardown_method"}
)
"""Run around every test beside them."""
_ENDS_RUN = frozenset({"os._exit", "sys.exit", "pytest.exit", "os.abort", "exit", "quit", "_exit"})
_MARKERS = frozenset({"applymarker", "add_marker"})
_RUNS_GENERATORS = frozenset({"gen_test", "asyncio_test"})
"""Marks for a plugin that runs a test which yields."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Names(NamedTuple):
    """What names mean in the whole file."""

    skipping: Collection[str]
    """Of marks that skip, and of functions that do."""
    tables: Mapping[str, int]
    """How many elements each list has."""


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
    _read_body(module.body, "", found, _Names(_SKIPS | _skips_by_other_names(module), _tables(module)))
    outside = tuple(_outside_of_tests(module.body))
    if outside:
        found.tests[OUTSIDE] = WrittenTest(OUTSIDE, outside[0].line, "", outside, {}, 1)
    return found


def _skips_by_other_names(module: ast.Module) -> frozenset[str]:
    """Names such as `slow` of `slow = pytest.mark.skipif(...)`."""
    return frozenset(
        target.id
        for statement in module.body
        if isinstance(statement, ast.Assign) and any(_skip_names(statement.value, _SKIPS))
        for target in statement.targets
        if isinstance(target, ast.Name)
    )


def _tables(module: ast.Module) -> dict[str, int]:
    """How many elements the lists have that are given a name, for tests that are run for each of one."""
    found = {}
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List() | ast.Tuple() | ast.Set() as value):
                found[name] = len(value.elts)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.List() | ast.Tuple() | ast.Set() as value):
                found[name] = len(value.elts)
            case _:
                pass
    return found


def _outside_of_tests(body: Sequence[ast.stmt]) -> Iterator[Assertion]:
    """What helpers and set-up assert for the tests that call them."""
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _outside_of_tests(statement.body)
        elif isinstance(statement, _Function) and not _is_collected(statement):
            yield from assertions_of(_without_docstring(statement.body))


def _read_body(body: Sequence[ast.stmt], prefix: str, found: FileReading, names: _Names) -> None:
    """Read the statements of a module or a class; `names` are those of the whole file."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _is_collected(statement):
                found.tests[prefix + statement.name] = _read_test(statement, names)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                _read_surroundings(statement, prefix, found)
            case ast.ClassDef() if statement.name.startswith("Test") or statement.bases:
                where = f"{prefix}{statement.name}"
                for words, line in _decorator_skips(statement, names.skipping):
                    found.skips[f"{where}: {words}"] = line
                found.classes.add(where)
                _read_body(statement.body, f"{where}::", found, names)
                if any(source_of(base) == "unittest.TestCase" for base in statement.bases):
                    _note_never_awaited(statement.body, f"{where}::", found)
            case ast.Delete():
                _take_away(statement.targets, prefix, found)
            case ast.Assign() | ast.AnnAssign() | ast.Expr() | ast.Raise():
                _read_plain(statement, prefix, found, names.skipping)
            case ast.If() | ast.Try() | ast.With():
                for part in bodies_of(statement):
                    _read_body(part, prefix, found, names)
            case _:
                pass


def _note_never_awaited(body: Sequence[ast.stmt], prefix: str, found: FileReading) -> None:
    """A plain TestCase calls its tests and awaits none."""
    for statement in body:
        test = found.tests.get(f"{prefix}{statement.name}") if isinstance(statement, _Function) else None
        if test is not None and isinstance(statement, ast.AsyncFunctionDef):
            test.skips["a plain TestCase does not await it"] = statement.lineno


def _is_collected(function: _Function) -> bool:
    return function.name.startswith("test") and _fixture(function) is None


def _fixture(function: _Function) -> ast.expr | None:
    return next((each for each in function.decorator_list if name_of(called(each)) == "fixture"), None)


def _read_surroundings(function: _Function, prefix: str, found: FileReading) -> None:
    """A function that runs around tests, and may skip them."""
    fixture = _fixture(function)
    skips = {f"{prefix}{function.name}: {words}": line for words, line in _skips_inside(function)}
    if function.name in _SETUPS or (fixture is not None and "autouse=True" in source_of(fixture)):
        found.skips.update(skips)
    elif fixture is not None:
        found.fixtures[prefix + function.name] = skips
    elif function.name == "__init__" and prefix.startswith("Test"):
        found.skips[f"{prefix}__init__, so that pytest passes the class over"] = function.lineno


def _take_away(targets: Sequence[ast.expr], prefix: str, found: FileReading) -> None:
    """Forget the tests whose names are deleted or given to something else."""
    for name in (f"{prefix}{target.id}" for target in targets if isinstance(target, ast.Name)):
        found.tests.pop(name, None)
        if name in found.classes:
            found.classes.remove(name)
            for key in [key for key in found.tests if key.startswith(f"{name}::")]:
                del found.tests[key]


def _read_plain(statement: ast.stmt, prefix: str, found: FileReading, skipping: Collection[str]) -> None:
    """A statement at the level of a module or a class that may switch tests off."""
    source = source_of(statement)
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    _take_away(targets, prefix, found)
    names = {name_of(target) for target in targets}
    not_collected = "__test__" in names and source.endswith("False")
    marked = (names & {"pytestmark"} or not names) and any(_skip_names(statement, skipping))
    if not_collected or marked:
        found.skips[f"{prefix}{source}"] = statement.lineno


def _read_test(function: _Function, names: _Names) -> WrittenTest:
    skips = dict(_decorator_skips(function, names.skipping))
    for words, line in _skips_inside(function):
        skips.setdefault(words, line)
    if is_generator(function) and all(map(_leaves_generators, function.decorator_list)):
        skips["it yields, so that calling it runs nothing of it"] = function.lineno
    plain = _without_docstring(function.body)
    named = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    for statement in plain:
        if isinstance(statement, ast.If) and any(isinstance(each, ast.Return) for each in statement.body):
            skips.setdefault(f"it returns early if {source_of(statement.test)}", statement.lineno)
    return WrittenTest(
        name=function.name,
        line=function.lineno,
        body="\n".join(ast.dump(statement) for statement in plain),
        assertions=tuple(assertions_of(plain, named)),
        skips=skips,
        cases=_cases(function, names.tables),
    )


def _leaves_generators(decorator: ast.expr) -> bool:
    """Whether it surely runs no test which yields: a mark does not, and any other decorator may."""
    words = ast.unparse(called(decorator) or decorator)
    return words.startswith(("pytest.mark.", "mark.")) and name_of(called(decorator)) not in _RUNS_GENERATORS


def _skips_inside(function: _Function) -> Iterator[tuple[str, int]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and name_of(node.func) in _MARKERS:
            skips = any(_skip_names(node, _SKIPS))
        elif isinstance(node, ast.Call | ast.Raise):
            skips = name_of(called(node.exc if isinstance(node, ast.Raise) else node)) in _SKIPS
        else:
            continue
        if skips:
            yield source_of(node), node.lineno


def _cases(function: _Function, tables: Mapping[str, int]) -> int:
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
            elif isinstance(values, ast.Name):
                cases *= tables.get(values.id, 1)
    return cases


def _decorator_skips(node: _Function | ast.ClassDef, names: Collection[str]) -> Iterator[tuple[str, int]]:
    for decorator in node.decorator_list:
        marked = [decorator]
        if name_of(called(decorator)) == "parametrize":
            # One row of the table may be marked, and others added.
            rows = [each for each in ast.walk(decorator) if name_of(called(each)) == "param"]
            marked = [each for each in rows if isinstance(each, ast.Call)] or marked
        for each in marked:
            if any(_skip_names(each, names)):
                yield source_of(each), each.lineno


def _skip_names(node: ast.AST, names: Collection[str]) -> Iterator[str]:
    """Names in a decorator, call or statement that skip a test or expect it to fail."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute) and name_of(inner) in names:
            yield name_of(inner)


def _hooks(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if _is_hook(name):
                yield f"the hook {name}: {_digest(node)}", node.lineno
            case ast.Assign(targets=[ast.Name(id=name)]) if _is_hook(name) or name.startswith(
                "collect_ignore"
            ):
                yield source_of(node), node.lineno
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="globals")),
                slice=ast.Constant(value=str(name)),
                ctx=ast.Store(),
            ) if _is_hook(name):
                yield source_of(node), node.lineno
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, ast.Constant(value=str(name)), _]) if (
                _is_hook(name) and source_of(owner).startswith("sys.modules[")
            ):
                yield source_of(node), node.lineno
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="atexit"), attr="register"), args=[ended, *_]
            ) if source_of(ended) in _ENDS_RUN:
                yield f"it ends the test run: {source_of(node)}", node.lineno
            case ast.ImportFrom(names=names) if any(_is_hook(each.asname or each.name) for each in names):
                yield source_of(node), node.lineno
            case ast.ImportFrom(module=origin, names=names) if any(
                f"{origin}.{each.name}" in _ENDS_RUN for each in names
            ):
                yield f"it can end the test run: {source_of(node)}", node.lineno
            case ast.Call() if source_of(node.func) in _ENDS_RUN:
                yield f"it ends the test run: {source_of(node)}", node.lineno
            case _:
                pass


def _is_hook(name: str) -> bool:
    return name.startswith("pytest_") or name == "load_tests"


def _digest(node: ast.AST) -> str:
    """A few characters that change with the body, so that a changed hook is a new one."""
    return hashlib.sha256(ast.dump(node).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body
