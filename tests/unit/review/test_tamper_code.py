"""Tamper rules for JavaScript, TypeScript, Go and Rust, on files as people write them."""

from __future__ import annotations

import pytest

from agentcoord.review.code_tests import read_code_tests
from agentcoord.review.flags import ChangedFile, Flag, FlagKind
from agentcoord.review.readings import OUTSIDE
from agentcoord.review.source_mask import Language
from agentcoord.review.tamper import JUDGED_BYTES, find_flags

CART = r"""
import { describe, it, expect, beforeEach } from 'vitest';
import { Cart } from '../src/cart';

// it('is not a test', () => { expect(1).toBe(1) })
const fixture = `it('neither', ${'x'} () => {`;

describe('Cart', () => {
  let cart: Cart;
  beforeEach(() => {
    cart = new Cart();
    expect(cart.items).toEqual([]);
  });

  it('adds an item', async () => {
    cart.add({ sku: 'a', price: 5 });
    expect(cart.total()).toBe(5);
    await expect(cart.load("it's")).rejects.toThrow('no " such');
  });

  it.each([
    [1, 2],
    [2, 4],
    [3, 6],
  ])('doubles %i', (n, twice) => {
    expect(cart.double(n)).toBe(twice);
  });

  describe('discounts', () => {
    test('are applied once', () => {
      expect(cart.total()).toBeLessThan(100);
      expect(/^a[/"'(]+$/.test(cart.name)).toBe(true);
    });
  });
});
"""
GO = r"""//go:build linux

package cart

import "testing"

// func TestNothing(t *testing.T) {}
func TestTotal(t *testing.T) {
	cases := []struct {
		name string
		in   []int
		want int
	}{
		{"empty", nil, 0},
		{"one { brace", []int{1}, 1},
		{"two", []int{1, 2}, 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Total(c.in); got != c.want {
				t.Errorf("Total(%v) = %d, want %d", c.in, got, c.want)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	cart := New(`a "raw" { string`)
	if err := cart.Add('\''); err != nil {
		t.Fatal(err)
	}
	require.Equal(t, 1, cart.Len())
	assert.InDelta(t, 1.0, cart.Weight(), 0.01)
}
"""
RUST = r"""
pub fn total(items: &[u32]) -> u32 { items.iter().sum() }

#[cfg(test)]
mod tests {
    use super::*;

    // #[test] fn nothing() { assert!(false); }
    #[test]
    fn sums_up<'a>() {
        let quoted = r#"a " and a { brace"#;
        assert_eq!(total(&[1, 2]), 3, "with {}", quoted);
        assert!(total(&[1]) < 10);
    }

    #[tokio::test]
    #[should_panic(expected = "too many")]
    async fn refuses_too_many() {
        add(b'{').await;
        assert!(matches!(state(), State::Full));
    }

    #[rstest]
    #[case(1, 2)]
    #[case(2, 4)]
    fn doubles(#[case] n: u32, #[case] twice: u32) {
        assert_eq!(double(n), twice);
    }
}
"""
SAMPLES = {"tests/cart.test.ts": CART, "cart/cart_test.go": GO, "src/cart.rs": RUST}
Kind = FlagKind


def flags(path: str, before: str, after: str, *others: ChangedFile) -> tuple[Flag, ...]:
    assert before != after, "the sample does not hold what is to be replaced"
    return find_flags([ChangedFile(path, before.encode(), after.encode()), *others], [])


def changed(path: str, old: str, new: str) -> tuple[Flag, ...]:
    return flags(path, SAMPLES[path], SAMPLES[path].replace(old, new))


@pytest.mark.parametrize(
    ("path", "old", "new", "kind", "line"),
    [
        ("tests/cart.test.ts", "it('adds", "it.skip('adds", Kind.TEST_SKIPPED, 15),
        ("tests/cart.test.ts", "it('adds", "xit('adds", Kind.TEST_SKIPPED, 15),
        ("tests/cart.test.ts", "it('adds", "it.only('adds", Kind.TEST_SKIPPED, 15),
        ("tests/cart.test.ts", "it('adds", "it.todo('adds", Kind.TEST_SKIPPED, 15),
        ("tests/cart.test.ts", "it.each(", "it.skip.each(", Kind.TEST_SKIPPED, 21),
        ("tests/cart.test.ts", "describe('disc", "describe.skip('disc", Kind.TEST_SKIPPED, 29),
        ("tests/cart.test.ts", "describe('disc", "xdescribe('disc", Kind.TEST_SKIPPED, 29),
        (
            "tests/cart.test.ts",
            "'are applied once', () =>",
            "'are applied once', { skip: true }, () =>",
            Kind.TEST_SKIPPED,
            30,
        ),
        ("tests/cart.test.ts", "cart.add({", "this.skip(); cart.add({", Kind.TEST_SKIPPED, 16),
        ("tests/cart.test.ts", "    test('are", "    helper('are", Kind.TEST_DELETED, 30),
        ("tests/cart.test.ts", "    [3, 6],\n", "", Kind.TEST_DELETED, 21),
        ("tests/cart.test.ts", "    expect(cart.total()).toBe(5);\n", "", Kind.ASSERTION_REMOVED, 15),
        (
            "tests/cart.test.ts",
            "    expect(cart.total()).toBe(5);",
            "    // expect(cart.total()).toBe(5);",
            Kind.ASSERTION_REMOVED,
            15,
        ),
        ("tests/cart.test.ts", "    expect(cart.items).toEqual([]);\n", "", Kind.TEST_DELETED, 12),
        ("tests/cart.test.ts", ".toBe(5)", ".toBeDefined()", Kind.ASSERTION_WEAKENED, 17),
        (
            "tests/cart.test.ts",
            "expect(cart.total()).toBe(5)",
            "expect(true).toBe(true)",
            Kind.ASSERTION_WEAKENED,
            17,
        ),
        ("tests/cart.test.ts", ".toBe(5)", ".not.toBe(6)", Kind.ASSERTION_WEAKENED, 17),
        ("tests/cart.test.ts", "toBeLessThan(100)", "toBeLessThan(1000)", Kind.THRESHOLD_LOWERED, 31),
        ("tests/cart.test.ts", ".toBe(5)", ".toBe(6)", Kind.EXPECTATION_CHANGED, 17),
        ("cart/cart_test.go", "\tcart := New", '\tt.Skip("later")\n\tcart := New', Kind.TEST_SKIPPED, 28),
        ("cart/cart_test.go", "//go:build linux", "//go:build never", Kind.TEST_SKIPPED, 1),
        ("cart/cart_test.go", "func TestAdd", "func helperAdd", Kind.TEST_DELETED, 27),
        ("cart/cart_test.go", '\t\t{"two", []int{1, 2}, 3},\n', "", Kind.TEST_DELETED, 8),
        ("cart/cart_test.go", "\trequire.Equal(t, 1, cart.Len())\n", "", Kind.ASSERTION_REMOVED, 27),
        ("cart/cart_test.go", "\t\t\t\tt.Errorf(", "\t\t\t\tt.Logf(", Kind.ASSERTION_REMOVED, 19),
        (
            "cart/cart_test.go",
            "require.Equal(t, 1, cart.Len())",
            "require.NotNil(t, cart)",
            Kind.ASSERTION_WEAKENED,
            32,
        ),
        ("cart/cart_test.go", "0.01", "0.5", Kind.THRESHOLD_LOWERED, 33),
        ("src/cart.rs", "#[test]\n    fn", "#[test]\n    #[ignore]\n    fn", Kind.TEST_SKIPPED, 10),
        ("src/cart.rs", "#[test]\n    fn", "#[test]\n    #[should_panic]\n    fn", Kind.TEST_SKIPPED, 10),
        (
            "src/cart.rs",
            "#[test]\n    fn",
            '#[cfg(feature = "x")]\n    #[test]\n    fn',
            Kind.TEST_SKIPPED,
            9,
        ),
        ("src/cart.rs", "    #[test]\n    fn", "    fn", Kind.TEST_DELETED, 9),
        ("src/cart.rs", "    #[case(2, 4)]\n", "", Kind.TEST_DELETED, 23),
        ("src/cart.rs", "        assert!(total(&[1]) < 10);\n", "", Kind.ASSERTION_REMOVED, 9),
        (
            "src/cart.rs",
            'assert_eq!(total(&[1, 2]), 3, "with {}", quoted)',
            "assert!(total(&[1, 2]) > 0)",
            Kind.ASSERTION_WEAKENED,
            12,
        ),
        ("src/cart.rs", "assert!(total(&[1]) < 10)", "assert!(true)", Kind.ASSERTION_WEAKENED, 13),
    ],
)
def test_each_way_to_say_less_is_flagged_in_its_line(
    path: str, old: str, new: str, kind: FlagKind, line: int
) -> None:
    found = changed(path, old, new)
    assert [(flag.kind, flag.line) for flag in found] == [(kind, line)], [str(flag) for flag in found]


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("tests/cart.test.ts", "// it('is not a test', () => { expect(1).toBe(1) })\n", ""),
        ("tests/cart.test.ts", "// it('is", "// it.skip('is"),
        ("tests/cart.test.ts", "const fixture = `it('neither'", "const fixture = `it.only('neither'"),
        ("tests/cart.test.ts", "let cart: Cart;", "let cart: Cart; // skip: true, expect()"),
        (
            "tests/cart.test.ts",
            "    expect(cart.total()).toBe(5);",
            "    expect(cart.total()).toBe(5);\n    expect(cart.items).toHaveLength(1);",
        ),
        (
            "tests/cart.test.ts",
            "    expect(cart.total()).toBe(5);",
            "    expect(\n      cart.total(),\n    ).toBe(5);",
        ),
        ("tests/cart.test.ts", "    [3, 6],\n", "    [3, 6],\n    [4, 8],\n"),
        ("tests/cart.test.ts", "toBeLessThan(100)", "toBeLessThan(50)"),
        ("tests/cart.test.ts", "it('adds an item'", "it('adds one item'"),
        ("tests/cart.test.ts", "describe('Cart'", "describe('The cart'"),
        ("tests/cart.test.ts", ".toBeLessThan(100)", ".toBe(90)"),
        ("cart/cart_test.go", "// func TestNothing(t *testing.T) {}\n", ""),
        ("cart/cart_test.go", "t.Fatal(err)", 't.Fatal("unexpected", err)'),
        (
            "cart/cart_test.go",
            '{"two", []int{1, 2}, 3},',
            '{"two", []int{1, 2}, 3},\n\t\t{"three", []int{1}, 1},',
        ),
        ("cart/cart_test.go", '\tcart := New(`a "raw" { string`)', '\tcart := New(`t.Skip("x")`)'),
        ("src/cart.rs", "    // #[test] fn nothing() { assert!(false); }\n", ""),
        ("src/cart.rs", "items.iter().sum()", "items.iter().copied().sum()"),
        ("src/cart.rs", "#[test]\n    fn", "#[test]\n    #[allow(dead_code)]\n    fn"),
        ("src/cart.rs", "fn sums_up", "fn adds_up"),
    ],
)
def test_honest_work_holds_nothing(path: str, old: str, new: str) -> None:
    assert [str(flag) for flag in changed(path, old, new) if flag.holds] == []


IT = "it('adds', async () => {\n  await expect(add(1, 2)).resolves.toBe(3);\n});\n"
SUM = 'package a\n\nfunc TestSum(t *testing.T) {\n\tif Sum(1) != 1 {\n\t\tt.Fatal("no")\n\t}\n}\n'
FLOATS = """#[cfg(test)]
mod tests {
    #[test]
    fn sums() {
        assert!((sum() - 1.0).abs() < 1e-6);
    }
}
"""
SLOW = "it(\n  'adds',\n  async () => {\n    expect(add(1, 2)).toBe(3);\n  },\n  5000,\n);\n"
HELPER = 'func TestHelperProcess(t *testing.T) {\n\tif os.Getenv("HELPER") != "1" {\n\t\treturn\n\t}\n'
CHILD = '    #[test]\n    fn child() {\n        if var("CHILD").is_err() {\n            return;\n        }\n'
MOCHA = "describe('a', function () {\n  it('b', function () {\n    expect(f()).toBe(1);\n  });\n});\n"
SLOW_MOCHA = "function () {\n    this.timeout(20000);\n    f();\n  });\n"
NODE = "import { test } from 'node:test';\ntest('a', () => {\n  assert.equal(f(), 1);\n});\n"
MAIN = "package a\n\nfunc TestMain(m *testing.M) {{\n\t{}\n}}\n"
THREE = "  await expect(add(1, 2)).resolves.toBe(3);"


@pytest.mark.parametrize(
    ("path", "before", "old", "new", "kind"),
    [
        ("a.test.ts", IT, "  await", "  return;\n  await", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  if (CI) { return; }\n  await", Kind.TEST_SKIPPED),
        (
            "a.test.ts",
            IT,
            "  await expect(add(1, 2)).resolves.toBe(3);",
            "  if (false) { expect(a).toBe(3); }",
            Kind.ASSERTION_REMOVED,
        ),
        (
            "a.test.ts",
            IT,
            "  await expect(add(1, 2)).resolves.toBe(3);",
            "  try { expect(a).toBe(3); } catch (e) { log(e); }",
            Kind.ASSERTION_REMOVED,
        ),
        ("a.test.ts", IT, "  await", " ", Kind.ASSERTION_WEAKENED),
        ("a.test.ts", IT, "toBe(3)", "toEqual(expect.anything())", Kind.ASSERTION_WEAKENED),
        ("a_test.go", SUM, "\tif Sum", "\treturn\n\tif Sum", Kind.ASSERTION_REMOVED),
        (
            "a_test.go",
            SUM,
            "\tif Sum",
            "\tif short {\n\t\treturn\n\t}\n\tif Sum",
            Kind.TEST_SKIPPED,
        ),
        (
            "a_test.go",
            SUM,
            "package a\n",
            MAIN.format("os.Exit(0)"),
            Kind.CONFIGURATION_CHANGED,
        ),
        (
            "a_test.go",
            SUM,
            "package a\n",
            MAIN.format("m.Run(); os.Exit(0)"),
            Kind.CONFIGURATION_CHANGED,
        ),
        ("src/a.rs", FLOATS, "        assert", "        return;\n        assert", Kind.ASSERTION_REMOVED),
        ("src/a.rs", FLOATS, "1e-6", "1e6", Kind.THRESHOLD_LOWERED),
        ("src/a.rs", FLOATS, "cfg(test)", 'cfg(all(test, feature = "slow"))', Kind.TEST_SKIPPED),
        ("a_test.go", SUM, "if Sum(1) != 1", "if false && Sum(1) != 1", Kind.ASSERTION_REMOVED),
        ("a_test.go", SUM, "if Sum(1) != 1", "if 1 == 2 && Sum(1) != 1", Kind.ASSERTION_REMOVED),
        ("a_test.go", SUM, "if Sum(1) != 1", "if Sum(1) != 1 && 3 < 2", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  if (1 === 2) await", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  if (1 !== 1) await", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  return 0;\n  await", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  return void 0;\n  await", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await", "  return Promise.resolve();\n  await", Kind.ASSERTION_REMOVED),
        (
            "src/a.rs",
            FLOATS,
            "        assert",
            "        return Ok(());\n        assert",
            Kind.ASSERTION_REMOVED,
        ),
        ("a_test.go", SUM, "if Sum(1) != 1", "if Sum(1) != 1 && false", Kind.ASSERTION_REMOVED),
        ("a_test.go", SUM, "if Sum(1) != 1", "if got := Sum(1); false", Kind.ASSERTION_REMOVED),
        ("a_test.go", SUM, "if Sum(1) != 1", "for false", Kind.ASSERTION_REMOVED),
        ("a_test.go", SUM, "\tif Sum", "\truntime.Goexit()\n\tif Sum", Kind.CONFIGURATION_CHANGED),
        (
            "a_test.go",
            SUM,
            "package a\n",
            "package a\nfunc init() { os.Exit(0) }\n",
            Kind.CONFIGURATION_CHANGED,
        ),
        ("a.test.ts", IT, "  await expect", "  if (false) await expect", Kind.ASSERTION_REMOVED),
        ("a.test.ts", IT, "  await expect", "  process.exit(0);\n  await expect", Kind.CONFIGURATION_CHANGED),
        (
            "a.test.js",
            MOCHA,
            "() {\n    expect",
            "() {\n    this.timeout(90000);\n    expect",
            Kind.THRESHOLD_LOWERED,
        ),
        ("a.test.js", MOCHA, "() {\n  it(", "() {\n  this.timeout(9 * 1000);\n  it(", Kind.THRESHOLD_LOWERED),
        ("a.test.js", MOCHA, "() {\n  it(", "() {\n  this.retries(3);\n  it(", Kind.THRESHOLD_LOWERED),
        ("a.test.js", MOCHA, "'a', function", "'a', { retry: 3 }, function", Kind.THRESHOLD_LOWERED),
        (
            "a.test.ts",
            IT,
            "it(",
            "vi.setConfig({ fakeTimers: { now: 1 }, testTimeout: 60_000 });\nit(",
            Kind.CONFIGURATION_CHANGED,
        ),
        ("a.test.ts", IT, "it(", "vi.setConfig({ retry: 3 });\nit(", Kind.CONFIGURATION_CHANGED),
        ("a.test.ts", IT, "  await", "  jest.setTimeout(60000);\n  await", Kind.THRESHOLD_LOWERED),
        ("a.test.ts", IT, "it(", "process.exit();\nit(", Kind.CONFIGURATION_CHANGED),
        ("a.test.ts", IT, "it(", "start();\nprocess.exit(0);\nit(", Kind.CONFIGURATION_CHANGED),
        ("a.test.ts", IT, "it(", "describe('x', () => { Deno.exit(0); });\nit(", Kind.CONFIGURATION_CHANGED),
        ("a_test.go", SUM, "\tif Sum", "\tdefer syscall.Exit(0)\n\tif Sum", Kind.CONFIGURATION_CHANGED),
        ("a.test.ts", SLOW, "5000", "5_000 * 60", Kind.THRESHOLD_LOWERED),
        ("a.test.ts", IT, "});\n", "}, 600000);\n", Kind.THRESHOLD_LOWERED),
        ("a.test.ts", IT, "'adds', ", "'adds', { retry: 9 }, ", Kind.THRESHOLD_LOWERED),
        ("a.test.ts", IT, "it(", "jest.setTimeout(600000);\nit(", Kind.CONFIGURATION_CHANGED),
        ("a.test.ts", IT, "it(", "jest.retryTimes(9);\nit(", Kind.CONFIGURATION_CHANGED),
        (
            "src/a.rs",
            FLOATS,
            "        assert",
            "        std::process::exit(0);\n        assert",
            Kind.CONFIGURATION_CHANGED,
        ),
        (
            "src/a.rs",
            FLOATS,
            "        assert!",
            "        if false && x { assert!(y) }\n //",
            Kind.ASSERTION_REMOVED,
        ),
        (
            "src/lib.rs",
            "#[cfg(test)]\nmod tests;\npub fn a() {}\n",
            "#[cfg(test)]\nmod tests;\n",
            "",
            Kind.TEST_DELETED,
        ),
    ],
)
def test_what_can_no_longer_fail_a_test_is_flagged(
    path: str, before: str, old: str, new: str, kind: FlagKind
) -> None:
    (flag,) = flags(path, before, before.replace(old, new))
    assert flag.kind is kind
    assert flag.line > 0


@pytest.mark.parametrize(
    ("path", "before", "old", "new"),
    [
        ("a.test.ts", IT, "  await", "  const f = (x) => {\n    return x;\n  };\n  await"),
        ("a.test.ts", IT, "  await", "  return"),
        (
            "a.test.ts",
            IT,
            "  await expect(add(1, 2)).resolves.toBe(3);",
            f"try {{ {THREE} }} catch (e) {{ throw e; }}",
        ),
        (
            "a_test.go",
            SUM,
            "package a\n",
            MAIN.format("os.Exit(m.Run())"),
        ),
        ("a_test.go", SUM, '\t\tt.Fatal("no")\n', '\t\tt.Fatal("no")\n\t\treturn\n'),
        ("src/a.rs", FLOATS, "1e-6", "1e-9_f64"),
        ("src/a.rs", FLOATS, "#[cfg", "fn main() { std::process::exit(2) }\n#[cfg"),
        ("a_test.go", SUM, "if Sum(1) != 1", "if ok := true; ok || Sum(1) != 1"),
        ("a_test.go", SUM, "\tif Sum", "\tif fast == false && n > 1 {\n\t\tt.Log(n)\n\t}\n\tif Sum"),
        ("a_test.go", SUM, "\tif Sum", "\tfor i := 0; i < 3; i++ {\n\t\tt.Log(i)\n\t}\n\tif Sum"),
        ("a.test.ts", IT, "  await", "  if (!ready) { start(); }\n  if (0 < n) log(n);\n  await"),
        ("a.test.ts", IT, "  await", "  if (1 === 1) { log(1); }\n  await"),
        ("a.test.ts", IT, "  await", "  while (1 < 2) { if (next() !== 1) break; }\n  await"),
        ("a.test.ts", IT, "  await", "  const f = (n) => {\n    return 0;\n  };\n  await"),
        ("a.test.ts", IT, "  await", "  mock(() => { return Promise.resolve(); });\n  await"),
        ("a.test.ts", IT, "  await", "  if (!ready)\n    return false;\n  await"),
        ("a.test.ts", IT, "  await", "  if (ready) f();\n  else return Promise.resolve();\n  await"),
        ("a_test.go", SUM, "\tif Sum", "\tif 11 == n || n != 1 {\n\t\tt.Log(n)\n\t}\n\tif Sum"),
        ("a_test.go", SUM, "if Sum(1) != 1", "if 1 == 2 || Sum(1) != 1"),
        ("a_test.go", SUM, "if Sum(1) != 1", "if 1 == 1.5-0.5 && Sum(1) != 1"),
        ("src/a.rs", FLOATS, ";\n    }", ";\n        return Ok(());\n    }"),
        (
            "src/a.rs",
            FLOATS,
            "        assert",
            "        let Some(n) = first() else {\n            return Ok(());\n        };\n        assert",
        ),
        ("a.test.ts", SLOW, "5000", "1000"),
        ("a.test.ts", IT, "});\n", "}, 5000);\n"),
        ("a.test.ts", IT, "  await", "  client({ timeout: 90000, retry: 3 });\n  await"),
        ("a.test.js", MOCHA, "});\n});\n", f"}});\n  it('new', {SLOW_MOCHA}}});\n"),
        ("a.test.js", MOCHA, "describe(", f"describe('new', {SLOW_MOCHA}describe("),
        ("a.test.js", MOCHA, "  it(", f"  before({SLOW_MOCHA}  it("),
        ("a.test.js", MOCHA, "describe(", "class Client {\n  a() { this.timeout = 30000; }\n}\ndescribe("),
        ("a.test.js", MOCHA, "    expect", "    client({ f() { this.timeout(90000); } });\n    expect"),
        ("a.test.ts", IT, "it(", "vi.setConfig({ fakeTimers: { now: 1700000000000 } });\nit("),
        ("a.test.ts", IT, "it(", "vi.setConfig({ testTimeout: 500, maxConcurrency: 50000 });\nit("),
        ("a.test.ts", IT, "it(", "it('new', () => { vi.setConfig({ testTimeout: 60000 }); });\nit("),
        ("a.test.ts", IT, "'adds', ", "'adds', { meta: { retry: 9, timeout: 90000 } }, "),
        ("a.test.ts", NODE, "'a', ", "'a', { timeout: 10_000 }, "),
        ("a.test.ts", NODE.replace("'a', ", "'a', { timeout: 10_000 }, "), "{ timeout: 10_000 }, ", ""),
        ("a_test.go", SUM, "package a\n", f"package a\n{HELPER}\tdefer os.Exit(0)\n\trun()\n}}\n"),
        ("a_test.go", SUM, "package a\n", f"package a\n{HELPER}\trun()\n\tos.Exit(0)\n}}\n"),
        ("a_test.go", SUM, "\tif Sum", '\tif os.Getenv("CRASH") == "1" {\n\t\tos.Exit(0)\n\t}\n\tif Sum'),
        ("a_test.go", SUM, "\tif Sum", "\tgo func() {\n\t\truntime.Goexit()\n\t}()\n\tif Sum"),
        (
            "a_test.go",
            SUM,
            "package a\n",
            "package a\nfunc init() {\n\tif child() {\n\t\tos.Exit(0)\n\t}\n}\n",
        ),
        ("a_test.go", SUM, "package a\n", "package a\nfunc runChild() {\n\tserve()\n\tos.Exit(0)\n}\n"),
        ("src/a.rs", FLOATS, "    #[test]", f"{CHILD}        std::process::exit(0);\n    }}\n    #[test]"),
        (
            "src/a.rs",
            FLOATS,
            "        assert",
            "        if child() { std::process::exit(0); }\n        assert",
        ),
        ("a.test.ts", IT, "it(", "process.on('SIGTERM', () => process.exit(0));\nit("),
        (
            "a.test.ts",
            IT,
            "it(",
            "const stop = () =>\n  process.exit(0);\nif (CHILD)\n  process.exit(0);\nit(",
        ),
        ("a.test.ts", IT, "it(", "if (CHILD) {\n  serve();\n  process.exit(0);\n}\nit("),
        ("a.test.ts", IT, "it(", "after(() => { process.exit(); });\nit("),
        ("a.test.ts", IT, "  await", "  jest.spyOn(process, 'exit').mockImplementation(() => 0);\n  await"),
    ],
)
def test_a_return_or_a_catch_that_hides_no_failure_is_no_flag(
    path: str, before: str, old: str, new: str
) -> None:
    assert not any(flag.holds for flag in flags(path, before, before.replace(old, new)))


def test_what_is_taken_out_behind_a_return_under_a_condition_is_flagged() -> None:
    before = IT.replace("  await", "  if (!ready) return Promise.resolve();\n  await")
    (flag,) = flags("a.test.ts", before, before.replace(THREE, ""))
    assert flag.kind is Kind.ASSERTION_REMOVED


def test_a_limit_where_there_was_none_is_less_patience_and_a_longer_one_is_more() -> None:
    limited = NODE.replace("'a', ", "'a', { timeout: 10_000 }, ")
    assert flags("a.test.ts", NODE, limited) == ()
    words = [flag.words for flag in flags("a.test.ts", limited, limited.replace("10_000", "900_000"))]
    assert "a has more patience than it had" in words
    # Jest's own limit is shorter.
    assert flags("a.test.ts", NODE.replace("node:test", "jest"), limited.replace("node:test", "jest")) != ()


JAVA = "class PriceTest {\n  @Test\n  void a() {\n    assertEquals(1, f(), 0.1);\n  }\n}\n"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("assertEquals(1, f(), 0.1)", "assertTrue(true)", Kind.ASSERTION_WEAKENED),
        ("assertEquals(1, f(), 0.1)", "assertNotNull(f())", Kind.ASSERTION_WEAKENED),
        ("assertEquals(1, f(), 0.1)", "assertThat(f()).isNotNull()", Kind.ASSERTION_WEAKENED),
        ("0.1", "100.0", Kind.THRESHOLD_LOWERED),
        ("  @Test", "  @DisabledOnOs(OS.LINUX)\n  @Test", Kind.TEST_SKIPPED),
        (
            "  @Test",
            '  @EnabledIfSystemProperty(named = "X")\n  @Test',
            Kind.TEST_SKIPPED,
        ),
        ("    assert", "    assumeTrue(false);\n    assert", Kind.TEST_SKIPPED),
        ("@Test", "@Test(enabled = false)", Kind.TEST_SKIPPED),
        ("    assert", "    if (false) assert", Kind.TEST_SKIPPED),
        ("    assert", "    if (true) return;\n    assert", Kind.TEST_SKIPPED),
        ("    assert", "    if (true) { return; }\n    assert", Kind.TEST_SKIPPED),
    ],
)
def test_what_a_test_that_is_read_by_lines_says_less_is_flagged(old: str, new: str, kind: FlagKind) -> None:
    (flag,) = flags("src/test/java/PriceTest.java", JAVA, JAVA.replace(old, new))
    assert flag.kind is kind
    assert flag.line > 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    assert", "    assertNotNull(f());\n    assert"),
        ("assertEquals(1, f(), 0.1)", "assertThat(f()).isEqualTo(1)"),
        ("0.1", "0.01"),
        ("    assert", "    Runnable r = () -> { return; };\n    assert"),
        ("0.1);\n  }\n", "0.1);\n  }\n  void wait(int n) {\n    if (n < 1) return;\n    sleep(n);\n  }\n"),
        (
            "    assert",
            "    server.on(() -> {\n      if (closed) return;\n      sent++;\n    });\n    assert",
        ),
        ("class", "void check(int n) {\n  if (n < 1) {\n    return;\n  }\n  assertTrue(f());\n}\nclass"),
        ("    assert", "    if (true == f()) {\n      start();\n    }\n    assert"),
        ("    assert", "    if (isReady() == false) {\n      start();\n    }\n    assert"),
    ],
)
def test_what_it_says_besides_or_harder_is_no_flag(old: str, new: str) -> None:
    assert flags("src/test/java/PriceTest.java", JAVA, JAVA.replace(old, new)) == ()


def test_a_branch_that_is_never_taken_is_no_flag_where_no_tests_are() -> None:
    was = "void wait(int n) {\n  sleep(n);\n}\n"
    assert flags("tests/helpers.c", was, was.replace("  sleep", "  if (0) trace();\n  sleep")) == ()


def test_a_test_that_moves_to_another_file_is_not_gone() -> None:
    moved = "  it('adds an item'" + CART.partition("  it('adds an item'")[2].partition("  it.each")[0]
    other = ChangedFile("tests/add.test.ts", None, f"describe('x', () => {{\n{moved}}});\n".encode())
    assert [
        flag for flag in flags("tests/cart.test.ts", CART, CART.replace(moved, ""), other) if flag.holds
    ] == []


def test_what_is_read_of_a_file() -> None:
    reading = read_code_tests(CART.encode(), Language.SCRIPT)
    assert reading is not None
    assert {name: (len(test.assertions), test.cases) for name, test in reading.tests.items()} == {
        "Cart > adds an item": (2, 1),
        "Cart > doubles %i": (1, 3),
        "Cart > discounts > are applied once": (2, 1),
        OUTSIDE: (1, 1),
    }
    assert reading.skips == {}


def test_a_file_whose_brackets_do_not_fit_is_counted_by_lines() -> None:
    broken = CART + "\nconst odd = <p>a ( b</p>\n"
    assert read_code_tests(broken.encode(), Language.SCRIPT) is None
    found = flags("tests/cart.test.ts", broken, broken.replace("it('adds", "it.skip('adds"))
    assert Kind.TEST_SKIPPED in {flag.kind for flag in found}


def test_production_code_in_rust_is_not_judged_by_its_assertions() -> None:
    before = "pub fn f(x: u32) { debug_assert!(x > 1); }\n"
    assert flags("src/lib.rs", before, "pub fn f(x: u32) {}\n") == ()


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "hostile",
    [
        *('"', "`", "/*", "/[", "'", "`${", "\\", 'r#"', "r#", "/a", "(", "#[a]", "it(", "it.each("),
        *("if && ", "for ;", "t.Run(", "fn f", "'\\'", "expect(a).", "func Test(", "assert!(", "[]struct{"),
    ],
)
def test_no_file_takes_long_to_read(language: Language, hostile: str) -> None:
    """Bounded by the test's own time limit: anything quadratic would take hours."""
    content = hostile * (128 * 1024 // len(hostile))
    read_code_tests(content.encode(), language)


@pytest.mark.parametrize("language", Language)
def test_a_hundred_thousand_blanks_in_a_row_do_not_take_long_to_read(language: Language) -> None:
    lines = ["if~x {}", "for ;~x {}", "if x &&~x {}", "if (false~x) {}", "if x {return~x}", "return~x"]
    lines += ["this.timeout(5~x)", "process.exit(~x)"]
    head, tail = {
        Language.SCRIPT: ("it('a',()=>{try{}catch~x\n", "})"),
        Language.GO: ("func TestA(t *T) {", "}"),
        Language.RUST: ("#[test]\nfn a() {", "}"),
    }[language]
    content = "\n".join([head, *lines, tail]).replace("~", " " * 100_000)
    reading = read_code_tests(content.encode(), language)
    assert reading is not None
    assert len(reading.tests) == 1


@pytest.mark.parametrize(
    ("language", "opened", "closed"),
    [
        (Language.SCRIPT, "it('a',()=>{", "});"),
        (Language.SCRIPT, "describe('a',()=>{", "});"),
        (Language.SCRIPT, "it('a',()=>{expect(1);});", ""),
        (Language.SCRIPT, "it('a',()=>{if(a){return};try{}catch(e){}});", ""),
        (Language.GO, 't.Run("a",func(){', "})"),
        (Language.RUST, "#[cfg(test)]\nmod a;\n", ""),
    ],
)
def test_no_file_of_the_largest_that_is_judged_takes_long_to_read(
    language: Language, opened: str, closed: str
) -> None:
    times = JUDGED_BYTES // len(opened + closed)
    read_code_tests((opened * times + closed * times).encode(), language)


@pytest.mark.parametrize(
    ("body", "flagged"),
    [
        ("os.Exit(0)", True),
        ("m.Run()\n\tos.Exit(0)", True),
        ("_ = m.Run()\n\tos.Exit(0)", True),
        ("m.Run()\n\tstop()\n\tos.Exit(0)", True),
        ("m.Run()\n\tstop()", False),
        ("os.Exit(m.Run())", False),
        ("code := m.Run()\n\tstop()\n\tos.Exit(code)", False),
        ("goleak.VerifyTestMain(m)", False),
        ("if err := run(m); err != nil {\n\t\tos.Exit(1)\n\t}", False),
        ('if os.Getenv("CHILD") != "" {\n\t\tmain()\n\t\tos.Exit(0)\n\t}\n\tos.Exit(m.Run())', False),
    ],
)
def test_a_new_file_of_go_that_keeps_its_package_from_being_tested_is_flagged(
    body: str, flagged: bool
) -> None:
    new = ChangedFile("main_test.go", None, MAIN.format(body).encode())
    flags = find_flags([new], ["go test ./..."])
    assert [each.kind for each in flags] == [Kind.CONFIGURATION_CHANGED] * flagged


def test_a_test_of_go_that_is_called_testmain_and_tests_main_is_a_test() -> None:
    new = ChangedFile("main_test.go", None, b"package a\n\nfunc TestMain(t *testing.T) {\n\tmain()\n}\n")
    assert not find_flags([new], ["go test ./..."])
