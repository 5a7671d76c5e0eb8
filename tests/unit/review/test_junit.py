"""JUnit XML: one status a test, and nothing that a hostile file could do."""

from __future__ import annotations

import pytest

from agentcoord.errors import ReviewError
from agentcoord.review.junit import JUNIT_BYTES, MOST_CASES, CaseStatus, case_name, joined, read_junit

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" tests="5">
<testcase classname="tests.test_a" name="test_ok" file="tests/test_a.py" line="2" time="0.1" />
<testcase classname="tests.test_a.TestB" name="test_red[a::b]" file="tests/test_a.py" line="9">
  <failure message="AssertionError: assert 1 == 2&#10;more">def test_red...</failure></testcase>
<testcase classname="tests.test_a" name="test_skip" file="tests/test_a.py"><skipped message="no" /></testcase>
<testcase classname="tests.test_a" name="test_error" file="tests/test_a.py"><error>
  fixture broke</error></testcase>
<testcase classname="tests.test_a" name="test_error" file="tests/test_a.py" />
</testsuite></testsuites>"""


def test_a_report_of_pytest_is_read_under_the_names_that_pytest_takes() -> None:
    cases = read_junit(PYTEST)
    assert dict(cases.status) == {
        "tests/test_a.py::test_ok": CaseStatus.PASSED,
        "tests/test_a.py::TestB::test_red[a::b]": CaseStatus.FAILED,
        "tests/test_a.py::test_skip": CaseStatus.SKIPPED,
        "tests/test_a.py::test_error": CaseStatus.FAILED,
    }
    assert cases.words["tests/test_a.py::TestB::test_red[a::b]"] == "AssertionError: assert 1 == 2"
    assert cases.words["tests/test_a.py::test_error"] == "fixture broke"
    assert len(cases.failed) == 2
    assert len(cases.ran) == 3


def test_other_runners_name_classes() -> None:
    assert case_name({"classname": "com.shop.PriceTest", "name": "adds"}) == "com.shop.PriceTest::adds"
    assert case_name({"classname": "prices", "name": "adds", "file": "a.test.js"}) == "prices::adds"
    assert case_name({"name": "adds"}) == "adds"


def test_of_several_files_the_worst_status_counts() -> None:
    green = read_junit(b'<testsuite><testcase name="a"/><testcase name="b"/></testsuite>')
    red = read_junit(b'<testsuite><testcase name="a"><failure/></testcase></testsuite>')
    assert dict(joined([red, green]).status) == {"a": CaseStatus.FAILED, "b": CaseStatus.PASSED}
    assert joined([green, red]).failed == {"a"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<html></html>",
        b"<testsuite><testcase name='a'>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite>&b;</testsuite>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>',
        b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><testsuite>&b;</testsuite>',
        *(b"<?xml version='1.0' encoding='%s'?><testsuite/>" % each for each in (b"nope", b"gbk", b"idna")),
        b"<testsuite>" + b"<a>" * 100 + b"</a>" * 100 + b"</testsuite>",
        b"<testsuite>"
        + b"".join(b"<testcase name='%d'/>" % n for n in range(MOST_CASES + 1))
        + b"</testsuite>",
    ],
    ids=lambda content: content[:60].decode(),
)
def test_damaged_and_hostile_files_are_refused(content: bytes) -> None:
    with pytest.raises(ReviewError):
        read_junit(content)


def test_a_tag_that_goes_on_and_on_is_refused_before_it_takes_long() -> None:
    with pytest.raises(ReviewError, match="a tag of more than 4 MB"):
        read_junit(b"<testsuite><testcase name='" + b"n" * (JUNIT_BYTES - 100) + b"'/></testsuite>")


def test_a_suite_that_could_not_begin_and_a_test_without_a_name_have_failed_too() -> None:
    cases = read_junit(
        b"<testsuites><testsuite name='prices'><error message='no database'/></testsuite>"
        b"<testsuite name='b'><testcase><failure/></testcase><testcase name='a'/></testsuite></testsuites>"
    )
    assert cases.failed == {"the suite prices", "a test without a name"}
    assert cases.words["the suite prices"] == "no database"


def test_words_and_names_are_bounded() -> None:
    content = b"<testsuite><testcase name='%s'><failure>%s</failure></testcase></testsuite>" % (
        b"n" * 100_000,
        b"w" * 1_000_000,
    )
    cases = read_junit(content)
    (name,) = cases.status
    assert len(name) <= 500
    assert len(cases.words[name]) <= 300
