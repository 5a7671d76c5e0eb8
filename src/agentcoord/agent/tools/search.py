"""The `search` tool: lines that match a regular expression or a plain text, in all tracked files.

A regular expression runs in a child process that is killed at the deadline (`regex_child` says why);
plain text is found in a thread, in linear time. Files are read through the `Files` port, in batches,
so that memory stays bounded and the safe-path rules hold here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentcoord.agent.ports import Files
from agentcoord.agent.tools.arguments import flag_of, path_of, text_of
from agentcoord.agent.tools.contract import PreparedCall, ToolDefinition, ToolInputError, ToolResult
from agentcoord.domain.globs import glob_matches
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass

NAME = "search"
_MOST_MATCHES = 100
_LINE_CHARS = 300
_BATCH_CHARS = 2_000_000
_PATTERN_CHARS = 1_000
_ANSWER_LIMIT_BYTES = 4 * 1024**2
"""Of one line from the child: 100 matches of 400 characters, escaped, fit many times."""
_CHILD = Path(__file__).with_name("regex_child.py")

Batch = list[tuple[str, str]]
"""Path and text of some files."""


@dataclass(frozen=True, slots=True)
class Match:
    """One matching line."""

    path: str
    line: int
    """1-based."""
    text: str


class _PatternError(Exception):
    """The regular expression does not compile; `str()` says why."""


class _ChildDiedError(Exception):
    """The child ended by itself: it ran into its limit on memory or CPU time."""


@dataclass(frozen=True, slots=True)
class _Query:
    pattern: str
    literal: bool
    ignore_case: bool
    where: str
    """`.`, a folder, a file, or a glob."""


def search_definition() -> ToolDefinition:
    return {
        "name": NAME,
        "description": "Find lines in the repository's files. Answers `path:line: text`, at most "
        f"{_MOST_MATCHES} lines. Patterns are Python regular expressions, matched within one line.",
        "input_schema": {
            "type": "object",
            "properties": {
                "pattern": {
                    "type": "string",
                    "description": "A regular expression, or plain text with literal.",
                },
                "literal": {"type": "boolean", "description": "Take the pattern as plain text."},
                "ignore_case": {"type": "boolean"},
                "path": {
                    "type": "string",
                    "description": "A folder, a file or a glob such as src/**/*.py; by default everything.",
                },
            },
            "required": ["pattern"],
        },
    }


class SearchTool:
    """Searches the private copy; `timeout_s` bounds one search as a whole."""

    def __init__(self, files: Files, *, timeout_s: float = 20.0) -> None:
        self._files = files
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        return NAME

    def prepare(self, arguments: Mapping[str, object]) -> PreparedCall:
        pattern = text_of(arguments, "pattern")
        if not pattern:
            raise ToolInputError("`pattern` is empty")
        if len(pattern) > _PATTERN_CHARS:
            raise ToolInputError(f"`pattern` is longer than {_PATTERN_CHARS} characters")
        query = _Query(
            pattern,
            literal=flag_of(arguments, "literal"),
            ignore_case=flag_of(arguments, "ignore_case"),
            where=path_of(arguments, default="."),
        )
        if query.literal and "\n" in pattern:
            raise ToolInputError("`pattern` spans lines; search for one of them")
        return PreparedCall(f"search {pattern[:40]!r}", True, lambda: self._search(query))

    async def _search(self, query: _Query) -> ToolResult:
        tracked = await self._files.list_files()
        paths = await asyncio.to_thread(_chosen, tracked, query.where)
        if not paths:
            return ToolResult(f"No file matches the path {query.where}.", is_error=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                if query.literal:
                    matches = await self._find_literal(query, paths)
                else:
                    matches = await self._find_regex(query, paths)
        except TimeoutError:
            return ToolResult(
                f"The search was stopped after {self._timeout_s:g} s. Use a simpler pattern (nested "
                "repetition such as (a+)+ is slow), plain text with literal, or a narrower path.",
                is_error=True,
            )
        except _PatternError as error:
            return ToolResult(f"The regular expression is not valid: {error}", is_error=True)
        except _ChildDiedError:
            return ToolResult("The search ran out of memory or time. Use a simpler pattern.", is_error=True)
        return ToolResult(_listed(matches, len(paths)))

    async def _find_literal(self, query: _Query, paths: Sequence[str]) -> list[Match]:
        found: list[Match] = []
        async for batch in self._batches(paths):
            found += await asyncio.to_thread(_literal_matches, batch, query, _MOST_MATCHES + 1 - len(found))
            if len(found) > _MOST_MATCHES:
                break
        return found

    async def _find_regex(self, query: _Query, paths: Sequence[str]) -> list[Match]:
        found: list[Match] = []
        async with _regex_child() as child:
            most = _MOST_MATCHES + 1
            opening = {"pattern": query.pattern, "ignore_case": query.ignore_case, "most": most}
            answer = await _exchange(child, opening)
            if answer["error"] is not None:
                raise _PatternError(answer["error"])
            async for batch in self._batches(paths):
                answer = await _exchange(child, batch)
                found += [Match(path, line, text) for path, line, text in answer["found"]]
                if len(found) >= most:
                    break
        return found

    async def _batches(self, paths: Sequence[str]) -> AsyncIterator[Batch]:
        """Read files a few megabytes at a time, passing over what is no text or has gone."""
        batch: Batch = []
        chars = 0
        for path in paths:
            try:
                text = (await self._files.read_text(path)).text
            except (WorkspaceError, OSError):
                continue
            batch.append((path, text))
            chars += len(text)
            if chars >= _BATCH_CHARS:
                yield batch
                batch, chars = [], 0
        if batch:
            yield batch


@asynccontextmanager
async def _regex_child() -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the matching child; it is killed and reaped on the way out, whatever happened."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_CHILD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        limit=_ANSWER_LIMIT_BYTES,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        # A killed child is reaped in milliseconds; shielded so that a second cancellation leaves no zombie.
        # What it may still have said is read away, or its pipe would stay open.
        await asyncio.shield(child.communicate())


async def _exchange(child: asyncio.subprocess.Process, message: object) -> Any:
    """Send one line, read one line."""
    assert child.stdin is not None
    assert child.stdout is not None
    line = await asyncio.to_thread(json.dumps, message)
    try:
        child.stdin.write(line.encode("ascii") + b"\n")
        await child.stdin.drain()
        answer = await child.stdout.readline()
    except (BrokenPipeError, ConnectionResetError) as error:
        raise _ChildDiedError from error
    if not answer:
        raise _ChildDiedError
    return json.loads(answer)


def _chosen(tracked: Sequence[str], where: str) -> list[str]:
    """Return the files that `where` names: everything, one file, a folder, or a glob."""
    if where == ".":
        return list(tracked)
    below = [path for path in tracked if path == where or path.startswith(f"{where}/")]
    if below or not any(sign in where for sign in "*?["):
        return below
    return [path for path in tracked if glob_matches(where, path)]


def _literal_matches(batch: Batch, query: _Query, most: int) -> list[Match]:
    """Find plain text line by line; files without it are passed over in one search each."""
    wanted = query.pattern.casefold() if query.ignore_case else query.pattern
    found: list[Match] = []
    for path, text in batch:
        if wanted not in (text.casefold() if query.ignore_case else text):
            continue
        for number, row in enumerate(text.split("\n"), start=1):
            if wanted in (row.casefold() if query.ignore_case else row):
                found.append(Match(path, number, row[:_LINE_CHARS]))
                if len(found) >= most:
                    return found
    return found


def _listed(matches: Sequence[Match], files_searched: int) -> str:
    if not matches:
        return f"No match in {files_searched} file{'s' if files_searched != 1 else ''}."
    rows = [f"{m.path}:{m.line}: {m.text.strip()[:_LINE_CHARS]}" for m in matches[:_MOST_MATCHES]]
    if len(matches) > _MOST_MATCHES:
        rows.append(f"[cut: there are more than {_MOST_MATCHES} matches; narrow the pattern or the path]")
    return "\n".join(rows)
