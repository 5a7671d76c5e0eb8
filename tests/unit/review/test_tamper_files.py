"""Tamper rules for configuration, thresholds, other languages and silenced warnings."""

from __future__ import annotations

import pytest

from agentcoord.review.flags import MOST_FLAGS, ChangedFile, Flag, FlagKind
from agentcoord.review.tamper import find_flags


def flags(path: str, before: str | None, after: str, *commands: str) -> tuple[Flag, ...]:
    return find_flags(
        [ChangedFile(path, None if before is None else before.encode(), after.encode())], commands
    )


def kinds(path: str, before: str | None, after: str, *commands: str) -> list[FlagKind]:
    return [flag.kind for flag in flags(path, before, after, *commands)]


MARK = "import pytest\n\n\n@pytest.mark.{}\ndef test_a():\n    assert f() == 1\n"
PYPROJECT = """[project]
name = "shop"

[tool.pytest.ini_options]
addopts = "-q"

[tool.coverage.report]
fail_under = 90
"""


def test_check_configuration_is_flagged_with_its_first_changed_line() -> None:
    flag = flags("pytest.ini", "[pytest]\naddopts = -q\n", "[pytest]\naddopts = -q -k nothing\n")[0]
    assert (flag.kind, flag.line, flag.holds) == (FlagKind.CONFIGURATION_CHANGED, 2, True)
    assert kinds("pytest.ini", None, "[pytest]\n") == [FlagKind.CONFIGURATION_CHANGED]


def test_only_the_tables_of_checks_in_a_shared_file_count() -> None:
    assert flags("pyproject.toml", PYPROJECT, PYPROJECT.replace('"shop"', '"store"')) == ()
    found = flags("pyproject.toml", PYPROJECT, PYPROJECT.replace('"-q"', '"-q --ignore=tests"'))
    assert [(flag.kind, flag.words) for flag in found] == [
        (FlagKind.CONFIGURATION_CHANGED, "the settings of pytest")
    ]
    assert kinds("pyproject.toml", PYPROJECT, "[tool") == [FlagKind.CONFIGURATION_CHANGED]
    package = '{"dependencies": {"a": "1"}, "scripts": {"test": "jest"}}'
    assert flags("package.json", package, package.replace('"1"', '"2"')) == ()
    assert kinds("package.json", package, package.replace('"jest"', '"true"')) == [
        FlagKind.CONFIGURATION_CHANGED
    ]
    assert kinds("setup.cfg", "[flake8]\nmax-line-length = 80\n", "[flake8]\nignore = E\n") == [
        FlagKind.CONFIGURATION_CHANGED
    ]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("pyproject.toml", PYPROJECT, PYPROJECT.replace("fail_under = 90", "fail_under = 60")),
        (".coveragerc", "[report]\nfail_under = 90\n", "[report]\nfail_under = 89.5\n"),
        ("pytest.ini", "[pytest]\ntimeout = 20\n", "[pytest]\ntimeout = 600\n"),
        ("jest.config.js", "  branches: 80,\n", "  branches: 8,\n"),
        ("vite.config.ts", "  lines: 80,\n", "  lines: 8,\n"),
        ("vite.config.ts", "  testTimeout: 5000,\n", "  testTimeout: 500000,\n"),
        ("build.gradle", "  minimum = 0.8\n", "  minimum = 0.1\n"),
        ("pom.xml", "<minimum>0.80</minimum>\n", "<minimum>0.10</minimum>\n"),
        ("tests/test_a.py", MARK.format("timeout(5)"), MARK.format("timeout(500)")),
        ("tests/test_a.py", MARK.format("flaky(reruns=1)"), MARK.format("flaky(reruns=50)")),
        ("Makefile", "test:\n\tpytest --cov-fail-under=90\n", "test:\n\tpytest --cov-fail-under=10\n"),
    ],
)
def test_a_lowered_bar_is_a_threshold(path: str, before: str, after: str) -> None:
    found = flags(path, before, after)
    assert [flag.kind for flag in found] == [FlagKind.THRESHOLD_LOWERED]
    assert found[0].line > 0
    assert FlagKind.THRESHOLD_LOWERED not in kinds(path, after, before)


def test_a_script_that_a_check_runs_is_configuration() -> None:
    changed = ("scripts/check.sh", "pytest\n", "true\n")
    assert kinds(*changed, "bash ./scripts/check.sh") == [FlagKind.CONFIGURATION_CHANGED]
    assert kinds(*changed, "bash scripts/check.sh") == [FlagKind.CONFIGURATION_CHANGED]
    assert flags(*changed, "python -m pytest") == ()


def test_a_makefile_may_grow_but_not_change() -> None:
    before = "test:\n\tpytest $(OPTIONS)\n"
    assert flags("Makefile", before, before + "docs:\n\tmkdocs $(MORE)\nMORE = -q\n.PHONY: docs\n") == ()
    assert kinds("Makefile", before, "test:\n\ttrue\n") == [FlagKind.CONFIGURATION_CHANGED]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("Makefile", "test:\n\ttrue\n"),
        ("Makefile", "override OPTIONS := -k nothing\n"),
        ("Makefile", "lint test:\n\ttrue\n"),
        ("justfile", "test:\n  true\n"),
    ],
)
def test_growth_that_overrules_what_a_makefile_says_is_configuration(path: str, more: str) -> None:
    before = "test:\n\tpytest $(OPTIONS)\n"
    (found,) = flags(path, before, before + more)
    assert found.kind is FlagKind.CONFIGURATION_CHANGED
    assert found.words.startswith("it says anew what the ")
    assert kinds("GNUmakefile", None, before) == [FlagKind.CONFIGURATION_CHANGED]


@pytest.mark.parametrize(
    "line",
    [
        "SHELL := /bin/true",
        "MAKEFLAGS += -i",
        ".IGNORE:",
        ".DEFAULT_GOAL := docs",
        "include more.mk",
        "export PYTEST_ADDOPTS = -k nothing",
    ],
)
def test_a_line_that_decides_for_every_target_is_configuration(line: str) -> None:
    before = "test:\n\tpytest\n"
    (found,) = flags("Makefile", before, f"{before}{line}\n")
    assert (found.kind, found.line) == (FlagKind.CONFIGURATION_CHANGED, 3)
    assert found.words == f"it says for all targets {line}"


@pytest.mark.parametrize(
    ("path", "form", "grown", "command"),
    [
        ("pyproject.toml", "[tool.hatch.envs.default.scripts]\ntest = '{}'\n", "b = 'c'\n", "hatch run test"),
        ("pyproject.toml", "[tool.poe.tasks]\ntest = '{}'\n", "docs = 'b'\n", "poe test"),
        ("pyproject.toml", "[tool.pdm.scripts]\ntest = '{}'\n", "docs = 'b'\n", "pdm run test"),
        ("composer.json", '{{"scripts": {{"test": "{}"}}}}', "", "composer test"),
        ("deno.json", '{{"tasks": {{"test": "{}"}}}}', "", "deno task test"),
        ("Taskfile.yml", "tasks:\n  test:\n    cmds: ['{}']\n", "", "task test"),
        ("Rakefile", "task :test do\n  sh '{}'\nend\n", "", "bundle exec rake test"),
        ("tasks.py", "@task\ndef test(c):\n    c.run('{}')\n", "", "invoke test"),
        (".justfile", "test:\n  {}\n", "docs:\n  b\n", "just test"),
    ],
)
def test_what_a_task_runs_is_configuration_and_another_task_is_not(
    path: str, form: str, grown: str, command: str
) -> None:
    before = form.format("runner")
    assert kinds(path, before, form.format("true"), command) == [FlagKind.CONFIGURATION_CHANGED]
    assert flags(path, before, before + grown, command) == ()


def test_a_script_of_a_package_may_be_added_but_not_around_another() -> None:
    before = '{"scripts": {"test": "jest"}}'
    assert flags("package.json", before, '{"scripts": {"test": "jest", "docs": "typedoc"}}') == ()
    (flag,) = flags("package.json", before, '{"scripts": {"test": "jest", "pretest": "rm -r test"}}')
    assert flag.words == "the task scripts.pretest"


def test_a_new_file_that_is_run_in_the_place_of_a_runner_is_configuration() -> None:
    for path in ("pytest.py", "pytest/__init__.py", "src/unittest/__main__.py", ".cargo/config.toml"):
        assert kinds(path, None, "x = 1\n") == [FlagKind.CONFIGURATION_CHANGED]
    assert flags("src/shop/pytest.py", None, "x = 1\n") == ()


@pytest.mark.parametrize(
    ("path", "before", "after", "honest"),
    [
        ("Cargo.toml", "[package]\n", "[package]\nautotests = false\n", "[package]\nedition = '2024'\n"),
        ("pom.xml", "<p/>\n", "<p/>\n<excludedGroups>x</excludedGroups>\n", "<p/>\n<version>2</version>\n"),
        ("build.gradle", "a\n", "a\n  onlyIf { false }\n", "a\n  exclude group: 'a'\n"),
        ("build.gradle", "a\n", "a\n  platform { excludeTags 'slow' }\n", "a\n  useJUnitPlatform()\n"),
        ("build.gradle", "a\n", "a\n  filter { includeTestsMatching '*A' }\n", "a\n  maxHeapSize = '2g'\n"),
        ("build.gradle", "a\n  useJUnitPlatform()\n", "a\n", "b\n  useJUnitPlatform()\n"),
        ("CMakeLists.txt", "add_test(a a)\nx()\n", "x()\n", "add_test(a a)\ny()\n"),
        ("vite.config.ts", "test: {}\n", "test: {}\n  retry: 10,\n", "test: {}\n  globals: true,\n"),
        ("Cargo.toml", "[lib]\n", "[lib]\ntest = false\n", '[lib]\nname = "shop"\n'),
        (
            "Cargo.toml",
            "[[test]]\nname = 'a'\n",
            "[[test]]\nname = 'a'\nharness = false\n",
            "[[test]]\nname = 'a'\n[[bench]]\nname = 'b'\nharness = false\ntest = false\n",
        ),
        (
            "Cargo.toml",
            "[[test]]\nname = 'a'\n",
            "[[test]]\nname = 'a'\ntest = false\n",
            "[[test]]\nname = 'a'\n[[test]]\nname = 'b'\npath = 'tests/b/main.rs'\n",
        ),
        (
            "Cargo.toml",
            "[[test]]\nname = 'a'\n",
            "[[test]]\nname = 'a'\npath = 'empty.rs'\n",
            "[dependencies]\nrand = { version = '1', features = ['std'] }\n[[test]]\nname = 'a'\n",
        ),
        (
            "Cargo.toml",
            "[package]\n",
            "[package]\n[lib]\nharness=false\n",
            "[package]\n[lib]\n[[test]]\nname='a'\nharness=false\n[[bin]]\nname='b'\nharness=false\n",
        ),
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['crates/a', 'crates/b/']\n",
            "[workspace]\nmembers = ['crates/*']\nexclude = ['crates/b']\n",
            "[workspace]\nmembers = ['crates/*']\nexclude = ['crates/old']\n",
        ),
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['crates/a', 'crates/b']\n",
            "[workspace]\nmembers = ['*/a', 'c*']\n",
            "[workspace]\nmembers = ['./crates/?', 'tools']\n",
        ),
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['a', 'b']\n",
            "[workspace]\nmembers = ['a', 'b']\ndefault-members = ['a']\n",
            "[workspace]\nmembers = ['a', 'b']\ndefault-members = ['b', 'a']\n",
        ),
        (
            "Cargo.toml",
            "[package]\n[workspace]\nmembers = ['a', 'b']\n",
            "[package]\n[workspace]\nmembers = ['a', 'b']\ndefault-members = ['a', 'b']\n",
            "[package]\n[workspace]\nmembers = ['a', 'b']\ndefault-members = ['.', 'b']\n",
        ),
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['a', 'b']\ndefault-members = ['a', 'b']\n",
            "[workspace]\nmembers = ['a', 'b']\ndefault-members = ['a']\n",
            "[workspace]\nmembers = ['a', 'b']\n",
        ),
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['a', 'b']\n",
            "[workspace]\nmembers = ['a']\n",
            "[workspace]\nmembers = ['a', 'b', 'c']\n",
        ),
        ("Cargo.toml", "[workspace]\n", "[workspace]\nexclude = ['a']\n", "[workspace]\nresolver = '2'\n"),
        ("pom.xml", "<p/>\n", "<p/>\n<skipTests>true</skipTests>\n", "<p/>\n<version>2</version>\n"),
        ("build.gradle", "test {\n}\n", "test {\n  enabled = false\n}\n", "test {\n}\njar {\n}\n"),
        ("tsconfig.json", '{"strict": true,\n"x": 1}\n', '{"x": 1}\n', '{"strict": true,\n"x": 2}\n'),
        ("tsconfig.json", '{"x": 1}\n', '{"x": 1,\n"noImplicitAny": false}\n', '{"x": 1,\n"outDir": "o"}\n'),
    ],
)
def test_what_a_build_file_says_of_its_checks_is_configuration_and_the_rest_is_not(
    path: str, before: str, after: str, honest: str
) -> None:
    assert kinds(path, before, after) == [FlagKind.CONFIGURATION_CHANGED]
    assert flags(path, before, honest) == ()


JAVASCRIPT = """describe('prices', () => {
  it('adds', () => {
    expect(add(1, 2)).toBe(3);
  });
  it('takes off', () => {
    expect(off(3)).toBe(2);
  });
});
"""
GO = 'func TestSum(t *testing.T) {\n\tif Sum(1) != 1 {\n\t\tt.Fatal("no")\n\t}\n}\n'
RUST = "#[test]\nfn sums() {\n    assert_eq!(sum(1), 1);\n}\n"


@pytest.mark.parametrize(
    ("path", "before", "after", "kind"),
    [
        ("a.test.js", JAVASCRIPT, JAVASCRIPT.replace("it('adds'", "it.skip('adds'"), FlagKind.TEST_SKIPPED),
        ("a.test.js", JAVASCRIPT, JAVASCRIPT.replace("it('adds'", "it.only('adds'"), FlagKind.TEST_SKIPPED),
        (
            "a.test.js",
            JAVASCRIPT,
            JAVASCRIPT.replace("    expect(off(3)).toBe(2);\n", ""),
            FlagKind.ASSERTION_REMOVED,
        ),
        ("a_test.go", GO, GO.replace("\tif Sum", '\tt.Skip("later")\n\tif Sum'), FlagKind.TEST_SKIPPED),
        ("a_test.go", GO, GO.replace("TestSum", "helperSum"), FlagKind.TEST_DELETED),
        ("tests/a.rs", RUST, RUST.replace("#[test]\n", "#[test]\n#[ignore]\n"), FlagKind.TEST_SKIPPED),
        ("tests/a.rs", RUST, RUST.replace("    assert_eq!(sum(1), 1);\n", ""), FlagKind.ASSERTION_REMOVED),
        (
            "src/test/AText.java",
            "@Test\nvoid a() { assertEquals(1, f()); }\n",
            "void a() { assertEquals(1, f()); }\n",
            FlagKind.TEST_DELETED,
        ),
    ],
)
def test_other_languages_lose_tests_and_assertions_too(
    path: str, before: str, after: str, kind: FlagKind
) -> None:
    found = flags(path, before, after)
    assert kind in {flag.kind for flag in found}
    assert all(flag.line > 0 for flag in found)
    assert not any(flag.holds for flag in flags(path, before, before + "\n// more\n"))


def test_silenced_warnings_are_told_and_hold_nothing() -> None:
    found = flags("src/a.py", "x = f()\n", "x = f()  # type: ignore[arg-type]\ny = g()  # noqa: E501\n")
    assert [(flag.kind, flag.line, flag.holds) for flag in found] == [
        (FlagKind.WARNING_SILENCED, 1, False),
        (FlagKind.WARNING_SILENCED, 2, False),
    ]


def test_plain_code_is_never_flagged() -> None:
    assert flags("src/contest.py", "def skip():\n    assert a\n", "timeout = 5\n") == ()
    assert flags("README.md", "assert\n", "") == ()
    for more in (
        "pid = os.fork()\nif not pid:\n    os._exit(0)\n",
        "from os import _exit, fork\n\n\ndef start():\n    if not fork():\n        _exit(0)\n",
        "def run_child():\n    serve()\n    os._exit(0)\n",
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n",
        "def give_up():\n    os.abort()\n",
    ):
        assert flags("src/shop/cli.py", "import os\n", f"import os\n{more}") == ()
        assert flags("src/shop/moved.py", None, f"import os\n{more}") == ()


def test_flags_are_bounded_and_the_weightiest_come_first() -> None:
    many = "\n".join(f"x{n} = 1  # noqa" for n in range(1_000))
    found = find_flags(
        [
            ChangedFile("a.py", b"", many.encode()),
            ChangedFile("pytest.ini", b"[pytest]\n", b"[pytest]\nx=1\n"),
        ],
        [],
    )
    assert len(found) == MOST_FLAGS
    assert found[0].path == "pytest.ini"
