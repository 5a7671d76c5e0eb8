"""Reading JUnit XML: one status a test, from a file that hostile code may have written.

The file comes out of a copy in which a worker's code has run, so it is parsed as a stream with
every doctype and entity refused, and with bounds on size, depth and number of tests. Tests are
named as pytest names them where the file says enough (`tests/test_a.py::Class::test_b`), else
`classname::name`. Deliberately absent: what a failure means (`verdict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from xml.parsers import expat

from agentcoord.errors import ReviewError
from agentcoord.values import dataclass

JUNIT_BYTES = 32 * 1024 * 1024
"""A longer file is not read."""
MOST_CASES = 50_000
_MOST_DEPTH = 40
_WORDS_CHARS = 300
_NAME_CHARS = 500
_CHUNK_BYTES = 1 << 16
_TAG_BYTES = 4 << 20
"""With a longer tag nothing is read: until it ends, the parser looks at all of it again with each chunk."""
_NAMELESS = "a test without a name"


class CaseStatus(StrEnum):
    PASSED = "passed"
    SKIPPED = "skipped"
    FAILED = "failed"
    """A failed assertion, or an error in the test or around it."""


_WORST_LAST = (CaseStatus.SKIPPED, CaseStatus.PASSED, CaseStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Cases:
    """Every test of one run of one check."""

    status: Mapping[str, CaseStatus]
    words: Mapping[str, str]
    """Of failed tests: the first line of what the runner says, at most 300 characters."""

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(name for name, status in self.status.items() if status is CaseStatus.FAILED)

    @property
    def ran(self) -> frozenset[str]:
        """Those that were run to an end, skipped ones left out."""
        return frozenset(name for name, status in self.status.items() if status is not CaseStatus.SKIPPED)


def joined(parts: list[Cases]) -> Cases:
    """Make one of the files of one run; a test that stands in several has its worst status."""
    status: dict[str, CaseStatus] = {}
    words: dict[str, str] = {}
    for part in parts:
        for name, each in part.status.items():
            status[name] = _worse(status.get(name), each)
        words |= part.words
    return Cases(MappingProxyType(status), MappingProxyType(words))


def read_junit(content: bytes) -> Cases:
    """Read one file. Raises ReviewError for one that is damaged, hostile or too large."""
    if len(content) > JUNIT_BYTES:
        raise ReviewError(f"the JUnit file has more than {JUNIT_BYTES >> 20} MB")
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reading.begin
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = reading.refuse_doctype
    parser.EntityDeclHandler = reading.refuse_entity
    try:
        for start in range(0, len(content), _CHUNK_BYTES):
            parser.Parse(content[start : start + _CHUNK_BYTES], False)
            if start - parser.CurrentByteIndex > _TAG_BYTES:
                raise ReviewError(f"the JUnit file has a tag of more than {_TAG_BYTES >> 20} MB")
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # The latter for encodings of its own.
        raise ReviewError(f"the JUnit file is not XML: {error}") from error
    if not reading.saw_suite:
        raise ReviewError("the XML file is no JUnit report: it has no testsuite")
    return Cases(MappingProxyType(reading.status), MappingProxyType(reading.words))


class _Reading:
    """Collects cases as the parser goes."""

    def __init__(self) -> None:
        self.status: dict[str, CaseStatus] = {}
        self.words: dict[str, str] = {}
        self.saw_suite = False
        self._depth = 0
        self._suite = ""
        self._case = ""
        self._case_status = CaseStatus.PASSED
        self._said = ""
        self._listening = False

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ReviewError("the JUnit file is nested too deeply")
        match tag:
            case "testsuite" | "testsuites":
                self.saw_suite = True
                self._suite = attributes.get("name", "")
            case "testcase":
                self._case, self._case_status, self._said = case_name(attributes), CaseStatus.PASSED, ""
                self._refuse_flood()
            case "failure" | "error" if self._case:
                self._case_status = CaseStatus.FAILED
                self._said = self._said or attributes.get("message", "")
                self._listening = not self._said
            case "failure" | "error" if self.saw_suite:
                # Of all that a suite has: it could not even begin.
                name = f"the suite {self._suite}"[:_NAME_CHARS]
                self._refuse_flood()
                self.status[name] = CaseStatus.FAILED
                self.words[name] = attributes.get("message", "").strip()[:_WORDS_CHARS]
            case "skipped" if self._case and self._case_status is not CaseStatus.FAILED:
                self._case_status = CaseStatus.SKIPPED

    def text(self, characters: str) -> None:
        if self._listening and len(self._said) < 4 * _WORDS_CHARS:
            self._said += characters

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag in ("failure", "error"):
            self._listening = False
        if tag == "testcase" and self._case:
            self.status[self._case] = _worse(self.status.get(self._case), self._case_status)
            if self._case_status is CaseStatus.FAILED:
                first = next((line for line in self._said.splitlines() if line.strip()), "")
                self.words[self._case] = first.strip()[:_WORDS_CHARS]
            self._case = ""

    def _refuse_flood(self) -> None:
        if len(self.status) >= MOST_CASES:
            raise ReviewError(f"the JUnit file has more than {MOST_CASES} tests")

    def refuse_doctype(self, *_declared: object) -> None:
        raise ReviewError("the JUnit file declares a document type; none is read")

    def refuse_entity(self, *_declared: object) -> None:
        raise ReviewError("the JUnit file declares an entity; none is read")


def case_name(attributes: Mapping[str, str]) -> str:
    """Name a test as its runner would be told to run it, if the attributes say enough."""
    name, classname = attributes.get("name", ""), attributes.get("classname", "")
    file = attributes.get("file", "").replace("\\", "/")
    module = file.removesuffix(".py").replace("/", ".")
    if file.endswith(".py") and (classname == module or classname.startswith(module + ".")):
        chain = [part for part in classname[len(module) :].split(".") if part]
        return "::".join([file, *chain, name])[:_NAME_CHARS]
    return "::".join(part for part in (classname, name) if part)[:_NAME_CHARS] or _NAMELESS


def _worse(one: CaseStatus | None, other: CaseStatus) -> CaseStatus:
    return other if one is None else max(one, other, key=_WORST_LAST.index)
