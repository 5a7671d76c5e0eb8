"""Tamper rules for which test files a runner picks: narrowed is flagged at its line, all else is not."""

from __future__ import annotations

import json

import pytest

from agentcoord.review.flags import ChangedFile, Flag, FlagKind
from agentcoord.review.tamper import find_flags

VITE = """import { defineConfig } from 'vitest/config';
// include: ['nothing']
export default defineConfig({
  plugins: [react()],
  optimizeDeps: { include: ['a', 'b'], exclude: ['c'] },
  build: { rollupOptions: { external: ['x'] } },
  test: {
    environment: 'jsdom',
    include: [
      'src/**/*.test.ts', // units
      'e2e/**/*.test.ts',
    ],
    exclude: [...configDefaults.exclude, 'src/old/**'],
    coverage: { include: ['src/**'] },
  },
});
"""
JEST = """module.exports = {
  testMatch: ['<rootDir>/src/**/*.test.js', '<rootDir>/e2e/**/*.test.js'],
  testPathIgnorePatterns: ['/node_modules/'],
};
"""
PACKAGE = {
    "name": "shop",
    "files": ["dist", "src"],
    "jest": {"testMatch": ["**/*.test.js", "**/*.spec.js"], "testPathIgnorePatterns": ["/old/"]},
    "mocha": {"spec": ["test/**/*.js", "e2e/**/*.js"]},
}


def flags(path: str, before: str | None, after: str) -> tuple[Flag, ...]:
    return find_flags([ChangedFile(path, None if before is None else before.encode(), after.encode())], ())


def package(**changed: object) -> str:
    return json.dumps(PACKAGE | changed, indent=2)


@pytest.mark.parametrize("path", ["vite.config.ts", "web/vite.config.js", "vitest.config.mts"])
@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("      'e2e/**/*.test.ts',\n", "", 9, "test.include no longer picks e2e/**/*.test.ts"),
        ("'src/**/*.test.ts'", "'src/a.test.ts'", 9, "test.include no longer picks src/**/*.test.ts"),
        ("'e2e/**/*.test.ts',", "'e2e/**/*.test.ts', '!**/slow*',", 11, "test.include leaves out !**/slow*"),
        ("'src/old/**'", "'src/old/**', `src/new/**`", 13, "test.exclude leaves out src/new/**"),
        ("['src/**']", "['src/a/**']", 14, "coverage.include no longer picks src/**"),
        ("'jsdom',", "'jsdom', dir: 'src',", 8, "test.dir now says what is picked: src"),
        (
            "'jsdom',",
            "'jsdom', testNamePattern: /a/,",
            8,
            "test.testNamePattern leaves out /a/",
        ),
    ],
)
def test_what_vitest_picks_no_more_is_flagged_at_its_line(
    path: str, old: str, new: str, line: int, words: str
) -> None:
    (flag,) = flags(path, VITE, VITE.replace(old, new))
    assert (flag.kind, flag.line, flag.words) == (FlagKind.CONFIGURATION_CHANGED, line, words)
    assert flag.holds


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("include: ['a', 'b'], exclude: ['c']", "include: ['a'], exclude: ['c', 'd']"),
        ("plugins: [react()]", "plugins: [react(), svgr({ include: '**/*.svg', exclude: 'x' })]"),
        ("external: ['x']", "external: ['x'], plugins: [{ exclude: ['y'] }]"),
        ("'e2e/**/*.test.ts',", "'e2e/**/*.test.ts', 'more/**/*.test.ts',"),
        ("'src/**/*.test.ts', // units", '"src/**/*.test.ts", // all units: include, exclude'),
        (", 'src/old/**'", ""),
        ("// include: ['nothing']", "// include: ['other']"),
        ("'jsdom'", "'node'"),
        ("'src/old/**'", "'src/old/**', '**/node_modules/**'"),
        (
            "      'src/**/*.test.ts', // units\n      'e2e",
            "      'e2e/**/*.test.ts', 'src/**/*.test.ts', 'e2e",
        ),
    ],
)
def test_what_picks_no_fewer_tests_is_no_flag_in_a_file_that_builds(old: str, new: str) -> None:
    assert old in VITE
    assert flags("vite.config.ts", VITE, VITE.replace(old, new)) == ()


def test_a_list_that_was_not_there_narrows_and_the_runners_own_does_not() -> None:
    plain = "export default { test: {} }\n"
    own = "export default { test: { include: ['**/*.{test,spec}.?(c|m)[jt]s?(x)'] } }\n"
    fewer = "export default { test: {\n  include: ['src/a.test.ts'],\n} }\n"
    assert flags("vite.config.ts", plain, own) == ()
    assert flags("vite.config.ts", own, plain) == ()
    (flag,) = flags("vite.config.ts", plain, fewer)
    assert (flag.line, flag.words) == (2, "test.include now says what is picked: src/a.test.ts")
    (flag,) = flags("vite.config.ts", None, fewer)
    assert flag.line == 2
    assert flags("vite.config.ts", None, plain) == ()


@pytest.mark.parametrize(
    "before",
    [
        "const picked: string[] = ['a/**', 'b/**'];\nexport default { test: { include: picked } };\n",
        "const include = ['a/**', 'b/**'];\nexport default { test: { dom: true, include } };\n",
        "const test: InlineConfig = { include: ['a/**', 'b/**'] };\nexport default { test };\n",
    ],
)
def test_a_list_in_a_variable_is_read_there(before: str) -> None:
    (flag,) = flags("vite.config.ts", before, before.replace(", 'b/**'", ""))
    assert flag.words == "test.include no longer picks b/**"
    assert flags("vite.config.ts", before, before.replace("'b/**'", "'b/**', 'c/**'")) == ()


def test_a_file_that_cannot_be_read_is_judged_by_its_lines() -> None:
    before = "export default { test: {\n"
    for line in ("exclude: ['src/**'],", "include: ['src/**'],"):
        (flag,) = flags("vite.config.ts", before, f"{before}  {line}\n")
        assert (flag.line, flag.words) == (2, f"it says {line}")
    many = "test: { include: ['a'] },\n" * 300
    (flag,) = flags("vite.config.ts", many, many + "test: { include: ['b'] },\n")
    assert flag.line == 301


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            ", '<rootDir>/e2e/**/*.test.js'",
            "",
            2,
            "testMatch no longer picks <rootDir>/e2e/**/*.test.js",
        ),
        ("'/node_modules/'", "'/node_modules/', '/api/'", 3, "testPathIgnorePatterns leaves out /api/"),
        ("};", "  roots: ['src'],\n};", 4, "roots now says what is picked: src"),
    ],
)
def test_what_jest_picks_no_more_is_flagged_at_its_line(old: str, new: str, line: int, words: str) -> None:
    (flag,) = flags("jest.config.js", JEST, JEST.replace(old, new))
    assert (flag.kind, flag.line, flag.words) == (FlagKind.CONFIGURATION_CHANGED, line, words)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("jest", {"testMatch": ["**/*.test.js"]}, "jest.testMatch no longer picks **/*.spec.js"),
        (
            "jest",
            {**PACKAGE["jest"], "testPathIgnorePatterns": ["/old/", "/new/"]},  # type: ignore[dict-item]
            "jest.testPathIgnorePatterns leaves out /new/",
        ),
        ("mocha", {"spec": "test/**/*.js"}, "mocha.spec no longer picks e2e/**/*.js"),
        ("mocha", {**PACKAGE["mocha"], "grep": "one"}, "mocha.grep leaves out one"),  # type: ignore[dict-item]
    ],
)
def test_the_runners_parts_of_a_package_file_are_read(part: str, value: object, words: str) -> None:
    after = package(**{part: value})
    (flag,) = flags("package.json", package(), after)
    assert flag.words == words
    key = words.partition(" ")[0].rpartition(".")[2]
    assert (
        f'"{key}"' in after.splitlines()[flag.line - 1]
        or words.rpartition(" ")[2] in after.splitlines()[flag.line - 1]
    )


def test_other_parts_of_a_package_file_are_no_flag() -> None:
    assert flags("package.json", package(), package(files=["dist"], exclude=["x"], name="store")) == ()


@pytest.mark.parametrize(
    ("path", "before", "after", "line", "words"),
    [
        (".mocharc.json", '{"spec": ["a", "b"]}', '{"spec": ["a"]}', 1, "spec no longer picks b"),
        (
            ".mocharc.js",
            "module.exports = {\n spec: 'a/**' }",
            "module.exports = {\n spec: 'a/b' }",
            2,
            "a/**",
        ),
        (".mocharc.yml", "spec:\n  - 'a'\n  - b\n", "spec:\n  - 'a'\n", 1, "spec no longer picks b"),
        (".mocharc.yaml", "files: [a, b]\n", "ui: bdd\nfiles: a\n", 2, "files no longer picks b"),
        (".mocharc.yml", "spec: a\n", "spec: a\n# ignore\nignore:\n- c # x\n", 4, "ignore leaves out c"),
    ],
)
def test_what_mocha_picks_no_more_is_flagged_at_its_line(
    path: str, before: str, after: str, line: int, words: str
) -> None:
    (flag,) = flags(path, before, after)
    assert (flag.kind, flag.line) == (FlagKind.CONFIGURATION_CHANGED, line)
    assert words in flag.words


def test_other_settings_of_a_runners_own_file_are_told_as_any_change_of_it() -> None:
    for path, before in (("vitest.config.ts", VITE), ("jest.config.js", JEST), (".mocharc.yml", "spec: a\n")):
        (flag,) = flags(path, before, before + "// bail\n")
        assert flag.words == "it configures checks"


def test_a_file_made_to_be_slow_is_judged_quickly() -> None:
    nested = "{include:[" * 40_000 + "]}" * 40_000
    many = "export default {test:{" + "include:['a'],exclude:b," * 30_000 + "}}"
    for text in (nested, many):
        flags("vite.config.ts", text, text + " ")
