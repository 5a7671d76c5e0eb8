"""Tamper rules for Python tests: what is flagged, where, and what honest work looks like."""

from __future__ import annotations

import textwrap

import pytest

from agentcoord.review.flags import ChangedFile, Flag, FlagKind
from agentcoord.review.tamper import find_flags

OLD = """
import pytest


def test_sum():
    total = add(1, 2)
    assert total == 3
    assert add(0, 0) == 0


class TestPrices:
    def test_discount(self):
        assert price(10) == 9
"""


def flags(before: str | None, after: str, *, path: str = "tests/test_a.py") -> tuple[Flag, ...]:
    old = None if before is None else textwrap.dedent(before).encode()
    return find_flags([ChangedFile(path, old, textwrap.dedent(after).encode())], [])


def one(before: str, after: str) -> Flag:
    found = flags(before, after)
    assert len(found) == 1, found
    return found[0]


def body(*lines: str) -> str:
    """A test with these lines."""
    return "def test_x():\n" + "\n".join(f"    {line}" for line in lines) + "\n"


def test_a_deleted_test_is_flagged_where_it_stood() -> None:
    flag = one(OLD, OLD[: OLD.index("class TestPrices")])
    assert (flag.kind, flag.line, flag.words) == (
        FlagKind.TEST_DELETED,
        12,
        "TestPrices::test_discount is gone",
    )
    assert flag.holds
    assert str(flag).startswith("tests/test_a.py:12: test deleted: ")


def test_a_renamed_test_with_the_same_body_is_none() -> None:
    assert flags(OLD, OLD.replace("test_sum", "test_sums_of_two")) == ()


def test_a_test_renamed_so_that_it_is_not_collected_is_deleted() -> None:
    assert one(OLD, OLD.replace("test_sum", "_test_sum")).kind is FlagKind.TEST_DELETED
    assert one(OLD, OLD.replace("class TestPrices", "class Prices")).kind is FlagKind.TEST_DELETED


def test_a_test_moved_to_another_file_of_the_same_change_is_none() -> None:
    head, tail = OLD.split("class TestPrices")
    moved = [
        ChangedFile("tests/test_a.py", OLD.encode(), head.encode()),
        ChangedFile("tests/test_b.py", None, ("class TestPrices" + tail).encode()),
    ]
    assert find_flags(moved, []) == ()


@pytest.mark.parametrize(
    "words",
    [
        "@pytest.mark.skip",
        "@pytest.mark.skipif(True, reason='x')",
        "@pytest.mark.xfail",
        "@unittest.expectedFailure",
    ],
)
def test_a_decorator_that_skips_is_flagged_with_its_line(words: str) -> None:
    flag = one(OLD, OLD.replace("def test_sum", f"{words}\ndef test_sum"))
    assert (flag.kind, flag.holds) == (FlagKind.TEST_SKIPPED, True)
    assert "test_sum" in flag.words


@pytest.mark.parametrize(
    "words", ["pytest.skip('later')", "raise unittest.SkipTest", "pytest.importorskip('x')"]
)
def test_a_skip_inside_a_test_is_flagged(words: str) -> None:
    found = flags(OLD, OLD.replace("    total = add", f"    {words}\n    total = add"))
    assert FlagKind.TEST_SKIPPED in {flag.kind for flag in found}


def test_a_skip_of_the_whole_module_or_class_is_flagged() -> None:
    for after in (
        OLD.replace("def test_sum", "pytestmark = pytest.mark.skip\n\n\ndef test_sum"),
        OLD.replace("class TestPrices", "@pytest.mark.skip\nclass TestPrices"),
        OLD.replace("def test_sum", "pytest.skip('x', allow_module_level=True)\n\n\ndef test_sum"),
        OLD.replace("class TestPrices:", "class TestPrices:\n    __test__ = False"),
    ):
        assert one(OLD, after).kind is FlagKind.TEST_SKIPPED


UNITTEST = """
import unittest


class PriceTest(unittest.TestCase):
    def test_a(self):
        self.assertEqual(f(), 3)
"""


@pytest.mark.parametrize(
    ("before", "old", "new"),
    [
        (OLD, "def test_sum", "slow = pytest.mark.skip(reason='x')\n\n\n@slow\ndef test_sum"),
        (OLD, "    total = add", "    request.applymarker(pytest.mark.xfail)\n    total = add"),
        (OLD, "    total = add", "    if os.environ.get('CI'):\n        return\n    total = add"),
        (OLD, "    total = add", "    if True:\n        return\n    total = add"),
        (
            OLD,
            "def test_sum",
            "@pytest.fixture(autouse=True)\ndef a():\n    pytest.skip('x')\n\n\ndef test_sum",
        ),
        (OLD, "    total = add", "    yield\n    total = add"),
        (OLD, "    total = add", "    if False:\n        yield\n    total = add"),
        (OLD, "    total = add", "    yield from ()\n    total = add"),
        (OLD, "    total = add", "    total = add((yield), 0)\n    total = add"),
        (UNITTEST, "    def test_a", "    async def test_a"),
        (OLD, "def test_sum", "def setup_module():\n    pytest.skip('x')\n\n\ndef test_sum"),
        (OLD, "class TestPrices:", "class TestPrices:\n    def __init__(self):\n        pass\n"),
        (UNITTEST, "    def test_a", "    def setUp(self):\n        self.skipTest('x')\n\n    def test_a"),
        (
            UNITTEST,
            "    def test_a",
            "    @classmethod\n    def setUpClass(cls):\n        raise unittest.SkipTest\n\n    def test_a",
        ),
    ],
)
def test_a_skip_by_another_name_or_from_around_the_test_is_flagged(before: str, old: str, new: str) -> None:
    flag = one(before, before.replace(old, new))
    assert flag.kind is FlagKind.TEST_SKIPPED
    assert flag.line > 0


def test_a_fixture_that_skips_is_flagged_when_tests_had_it_before() -> None:
    fixture = "import pytest\n\n\n@pytest.fixture\ndef server():\n    return 1\n"
    skips = fixture.replace("return 1", "pytest.skip('x')")
    for path in ("tests/test_a.py", "tests/conftest.py"):
        found = flags(fixture, skips, path=path)
        assert [(flag.kind, flag.line) for flag in found] == [(FlagKind.TEST_SKIPPED, 6)]
        assert flags("import pytest\n", skips, path=path) == ()
    around = skips.replace("fixture", "fixture(autouse=True)")
    assert flags(None, around, path="tests/conftest.py")[0].kind is FlagKind.TEST_SKIPPED


@pytest.mark.parametrize("words", ["del test_sum", "test_sum = None", "TestPrices = None"])
def test_a_test_whose_name_is_taken_away_is_deleted(words: str) -> None:
    assert one(OLD, f"{OLD}\n\n{words}\n").kind is FlagKind.TEST_DELETED


def test_a_marked_row_of_a_table_stays_as_it_was_when_others_are_added() -> None:
    table = "@pytest.mark.parametrize('a', [1, pytest.param(2, marks=pytest.mark.skip)])\n"
    before = f"import pytest\n\n\n{table}def test_x(a):\n    assert f(a) == a\n"
    assert flags(before, before.replace("[1,", "[1, 3,")) == ()
    assert one(before, before.replace("[1,", "[pytest.param(1, marks=pytest.mark.skip),")).holds


def test_a_test_split_in_two_is_not_deleted() -> None:
    before = body("assert f() == 1", "assert g() == 2")
    after = "def test_f():\n    assert f() == 1\n\n\ndef test_g():\n    assert g() == 2\n"
    assert flags(before, after) == ()
    assert one(before, after.replace("== 2", "== 3")).kind is FlagKind.TEST_DELETED


def test_what_a_helper_asserts_is_missed_unless_the_tests_assert_it_themselves() -> None:
    helper = "def check(x):\n    assert x == 1\n\n\n"
    before = helper + body("check(f())")
    found = one(before, before.replace("assert x == 1", "pass"))
    assert (found.kind, found.words) == (FlagKind.TEST_DELETED, "outside of the tests is gone")
    assert flags(before, body("assert f() == 1")) == ()


def test_skips_that_were_there_before_and_new_tests_that_skip_are_none() -> None:
    skipped = OLD.replace("def test_sum", "@pytest.mark.skip\ndef test_sum")
    assert flags(skipped, skipped.replace("total == 3", "total == 3  # three")) == ()
    assert flags(None, skipped) == ()
    assert (
        flags(
            OLD, OLD + "\n\n@pytest.mark.skipif(WINDOWS, reason='x')\ndef test_new():\n    assert f() == 1\n"
        )
        == ()
    )


def test_a_removed_assertion_is_flagged_with_what_it_was() -> None:
    flag = one(OLD, OLD.replace("    assert add(0, 0) == 0\n", ""))
    assert flag.kind is FlagKind.ASSERTION_REMOVED
    assert "assert add(0, 0) == 0" in flag.words


@pytest.mark.parametrize(
    "lines",
    [
        ("if False:", "    assert f() == 1"),
        ("return", "assert f() == 1"),
        ("try:", "    assert f() == 1", "except Exception:", "    pass"),
        ("with contextlib.suppress(AssertionError):", "    assert f() == 1"),
        ("for x in []:", "    assert f() == 1"),
        ("for x in range(0):", "    assert f() == 1"),
        ("while False:", "    assert f() == 1"),
        ("if False and ready:", "    assert f() == 1"),
        ("if not True:", "    assert f() == 1"),
        ("if 1 == 2:", "    assert f() == 1"),
        ("if TYPE_CHECKING:", "    assert f() == 1"),
        ("def inner():", "    assert f() == 1"),
        ("while True:", "    return", "assert f() == 1"),
        ("with server:", "    return", "assert f() == 1"),
        ("pass",),
    ],
)
def test_an_assertion_that_can_no_longer_fail_is_removed(lines: tuple[str, ...]) -> None:
    assert one(body("assert f() == 1"), body(*lines)).kind is FlagKind.ASSERTION_REMOVED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("assert f() == 1", "assert f()"),
        ("assert f() == 1", "assert f() is not None"),
        ("assert f() == 1", "assert True"),
        ("assert f() == 1", "assert f() == f()"),
        ("assert f() == 1", "assert f() == 1 or True"),
        ("assert f() == 1", "assert isinstance(f(), int)"),
        ("assert f() == 1", "assert (f() == 1, 'always true')"),
        ("assert f() == 1", "assert f() == mock.ANY"),
        ("assert f() == {'a': 1}", "assert f() == {'a': ANY}"),
        ("m.assert_called_once_with(1)", "m.assert_called_once()"),
        ("m.assert_called_with(1)", "m.assert_called()"),
        (
            "with pytest.raises(KeyError):\n        f()",
            "with pytest.raises((KeyError, Exception)):\n        f()",
        ),
        ("self.assertEqual(f(), 1)", "self.assertTrue(f())"),
        ("self.assertEqual(f(), 1)", "self.assertIsInstance(f(), int)"),
        ("with pytest.raises(KeyError):\n        f()", "with pytest.raises(Exception):\n        f()"),
        (
            "with pytest.raises(KeyError, match='x'):\n        f()",
            "with pytest.raises(KeyError):\n        f()",
        ),
    ],
)
def test_a_weaker_assertion_is_flagged(before: str, after: str) -> None:
    flag = one(body(before), body(after))
    assert (flag.kind, flag.holds) == (FlagKind.ASSERTION_WEAKENED, True)
    assert (
        one(body(after, "assert g() == 1"), body(before, "assert g() >= 1")).kind
        is FlagKind.ASSERTION_WEAKENED
    )
    assert not any(each.holds for each in flags(body(after), body(before))), (
        "the other way round it is stronger"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("assert seconds < 0.5", "assert seconds < 5"),
        ("assert coverage >= 90", "assert coverage >= 50"),
        ("assert 90 <= coverage", "assert 50 <= coverage"),
        ("assert x == pytest.approx(1.0, abs=0.01)", "assert x == pytest.approx(1.0, abs=1)"),
        ("self.assertLess(seconds, 1)", "self.assertLess(seconds, 60)"),
        ("assert x == 1.0", "assert x == pytest.approx(1.0, abs=1)"),
        ("assert x == pytest.approx(1.0)", "assert x == pytest.approx(1.0, 0.5)"),
        ("np.testing.assert_allclose(x, y)", "np.testing.assert_allclose(x, y, rtol=1)"),
        ("self.assertAlmostEqual(x, 1.0, places=7)", "self.assertAlmostEqual(x, 1.0, places=1)"),
        ("self.assertAlmostEqual(x, 1.0)", "self.assertAlmostEqual(x, 1.0, 1)"),
    ],
)
def test_a_bound_that_moves_outwards_is_a_lowered_threshold(before: str, after: str) -> None:
    assert one(body(before), body(after)).kind is FlagKind.THRESHOLD_LOWERED
    assert not any(flag.holds for flag in flags(body(after), body(before)))


def test_another_expected_value_is_told_and_holds_nothing() -> None:
    flag = one(body("assert f() == 1"), body("assert f() == 2"))
    assert (flag.kind, flag.holds) == (FlagKind.EXPECTATION_CHANGED, False)


def test_fewer_parametrized_cases_are_deleted_tests() -> None:
    cases = "@pytest.mark.parametrize('a', [1, 2, 3])\ndef test_x(a):\n    assert f(a) == a\n"
    assert one(cases, cases.replace("[1, 2, 3]", "[1]")).words == "test_x had 3 cases and has 1"
    assert flags(cases, cases.replace("[1, 2, 3]", "[1, 2, 3, 4]")) == ()
    named = f"ALL: list[int] = [1, 2, 3]\n\n\n{cases.replace('[1, 2, 3]', 'ALL')}"
    assert one(named, named.replace("[1, 2, 3]", "[1]")).words == "test_x had 3 cases and has 1"
    assert flags(cases, named) == ()
    assert flags(named, named.replace("= [1, 2, 3]", "= read_cases()")) != ()


def test_hooks_that_steer_the_run_are_flagged_and_fixtures_are_not() -> None:
    conftest = "import pytest\n\n\n@pytest.fixture\ndef a():\n    return 1\n"
    hook = "\n\ndef pytest_collection_modifyitems(items):\n    items.clear()\n"
    found = flags(conftest, conftest + hook, path="conftest.py")
    assert [(flag.kind, flag.line) for flag in found] == [(FlagKind.CONFIGURATION_CHANGED, 9)]
    assert (
        flags(conftest, conftest + "\n\n@pytest.fixture\ndef b():\n    return 2\n", path="conftest.py") == ()
    )
    assert flags("", "import os\n\nos._exit(0)\n", path="tests/conftest.py")[0].line == 3
    for words in (
        "pytest_collection_modifyitems = lambda items: items.clear()",
        "from elsewhere import pytest_collection_modifyitems",
        "from elsewhere import choose as pytest_collection_modifyitems",
        "pytest_plugins = ['elsewhere']",
        "from os import _exit as leave",
        "globals()['pytest_collection_modifyitems'] = lambda items: items.clear()",
        "setattr(sys.modules[__name__], 'pytest_collection_modifyitems', lambda items: items.clear())",
        "atexit.register(os._exit, 0)",
        "def load_tests(loader, tests, pattern):\n    return tests",
    ):
        (flag,) = flags(conftest, f"{conftest}\n\n{words}\n", path="conftest.py")
        assert (flag.kind, flag.line) == (FlagKind.CONFIGURATION_CHANGED, 9), words
    for words in (
        "globals()['CASES'] = read_cases()",
        "hook = globals()['pytest_collection_modifyitems']",
        "setattr(sys.modules['app'], 'debug', True)",
        "setattr(config, 'pytest_seen', True)",
        "atexit.register(server.stop)",
        "atexit.register(shutil.rmtree, folder)",
    ):
        assert flags(conftest, f"{conftest}\n\n{words}\n", path="conftest.py") == (), words


def test_more_tests_and_more_assertions_are_honest_work() -> None:
    more = OLD.replace("    assert total == 3\n", "    assert total == 3\n    assert total > 2\n")
    assert flags(OLD, more + "\n\ndef test_new():\n    assert add(2, 2) == 4\n") == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    assert f() == 1\n", "    def lines():\n        yield 1\n\n    assert f(lines()) == 1\n"),
        ("    assert f() == 1\n", "    with server():\n        assert f() == 1\n"),
        (
            "    assert f() == 1\n",
            "    while True:\n        if f():\n            break\n    assert f() == 1\n",
        ),
        (
            "    assert f() == 1\n",
            "    if WINDOWS and ready():\n        assert f() == 2\n    assert f() == 1\n",
        ),
        (
            "    assert f() == 1\n",
            "    def run():\n        assert f() == 1\n\n    pool.submit(run).result()\n",
        ),
        ("    assert f() == 1\n", "    @app.route('/')\n    def home():\n        assert f() == 1\n"),
        ("    assert f() == 1\n", "    for x in range(3):\n        assert f() == 1\n"),
        (
            "    def on_msg(m):\n        assert m == 1\n\n    run(on_msg)\n",
            "    class On:\n        def on_msg(self, m):\n            assert m == 1\n\n    run(On)\n",
        ),
        (
            "    assert f() == 1\n",
            "    with suppress(OSError):\n        return stop()\n    assert f() == 1\n",
        ),
    ],
)
def test_what_is_still_reached_is_no_flag(before: str, after: str) -> None:
    assert flags(f"def test_x():\n{before}", f"def test_x():\n{after}") == ()


def test_a_test_that_yields_to_who_runs_it_is_no_flag() -> None:
    plain = "class PageTest(AsyncHTTPTestCase):\n    def test_x(self):\n        self.assertEqual(f(), 1)\n"
    made = plain.replace("    def", "    @gen_test\n    def").replace("f()", "(yield f())")
    assert not any(flag.holds for flag in flags(plain, made))
    for decorator, held in (("@cocotb.test()", False), ("@pytest.mark.slow", True), ("@mark.slow(1)", True)):
        was = f"{decorator}\ndef test_x(dut):\n    assert dut.out == 1\n"
        assert bool(flags(was, was.replace("    assert", "    yield Timer(1)\n    assert"))) is held
    assert (
        flags("@pytest.fixture\ndef a():\n    return 1\n", "@pytest.fixture\ndef a():\n    yield 1\n") == ()
    )


def test_what_a_method_of_a_class_in_a_test_asserts_is_missed() -> None:
    server = "def test_x():\n    class H:\n        def do_GET(self):\n            {}\n\n    assert serve(H)\n"
    made = one(server.format('assert self.path == "/x"'), server.format("pass"))
    assert made.kind is FlagKind.ASSERTION_REMOVED


@pytest.mark.parametrize(("handler", "flagged"), [("pass", False), ("raise Slow", True), ("return 0", True)])
def test_a_try_ends_a_helper_only_where_each_handler_leaves_too(handler: str, flagged: bool) -> None:
    was = "def wait_for(p):\n    wait(p)\n    assert p.done\n\n\ndef test_x():\n    wait_for(1)\n"
    tried = f"    try:\n        return wait(p)\n    except TimeoutError:\n        {handler}\n"
    assert bool(flags(was, was.replace("    wait(p)\n", tried))) is flagged


def test_a_test_that_becomes_a_fixture_is_deleted() -> None:
    made = one(body("assert f() == 1"), "@pytest.fixture\n" + body("assert f() == 1"))
    assert made.kind is FlagKind.TEST_DELETED


def test_hostile_sources_are_flagged_and_end_nobody() -> None:
    for after in ("def (", "x = " + "(" * 5_000 + ")" * 5_000, "a\0b"):
        assert one(OLD, after).holds
    assert one(OLD, "# " + "x" * 2_000_000).holds


def test_a_file_in_which_every_test_is_another_is_judged_quickly() -> None:
    before, after = ("".join(f"def test_{name}{n}():{name}({n})\n" for n in range(20_000)) for name in "ab")
    assert flags(before, after) != ()
