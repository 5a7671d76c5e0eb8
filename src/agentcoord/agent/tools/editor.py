"""The `str_replace_based_edit_tool`: view, str_replace, create and insert on the private copy.

Answers are exact: where an edit does not apply, the model reads why, with line numbers, and the new
text when the file changed since it was last seen. What the model saw is remembered by content hash,
in memory only: after a restart nothing counts as seen. Deliberately absent: undo.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never

from agentcoord.agent.ports import Files, FileText, WriteOutcome
from agentcoord.agent.tools.arguments import line_range_of, path_of, text_of, whole_number_of
from agentcoord.agent.tools.contract import (
    RESULT_CHARS,
    PreparedCall,
    ToolDefinition,
    ToolInputError,
    ToolResult,
)
from agentcoord.agent.tools.output_shelf import PREFIX, OutputShelf
from agentcoord.agent.tools.text_edits import (
    Edited,
    NotEdited,
    excerpt,
    insert_after,
    numbered_view,
    replace_once,
    split_lines,
)
from agentcoord.errors import WorkspaceError

NAME = "str_replace_based_edit_tool"
_LISTING_ENTRIES = 500
"""A folder's listing is cut at this many lines."""
_UNOPENED = frozenset({".venv/", "venv/", "node_modules/", "__pycache__/", ".mypy_cache/", ".ruff_cache/"})
"""Listed, but not looked into."""
_OPTIMISTIC = (
    "\nNote: another task is changing this file too, so your change may have to be merged with theirs. "
    "Keep it small."
)

Command = Literal["view", "str_replace", "create", "insert"]


def editor_definition(*, custom: bool) -> ToolDefinition:
    """Return Anthropic's own editor type, or the same tool as a custom schema."""
    if not custom:
        return {"type": "text_editor_20250728", "name": NAME}
    return {
        "name": NAME,
        "description": "View, create and edit text files of the repository. Commands: `view` (a file with "
        "line numbers, or a folder two levels deep), `str_replace` (old_str must occur exactly once), "
        "`create` (writes a whole file), `insert` (after a line; 0 is the start).",
        "input_schema": _custom_schema(),
    }


class EditorTool:
    """The editor of one conversation; calls that write never run side by side."""

    def __init__(self, files: Files, shelf: OutputShelf, *, result_chars: int = RESULT_CHARS) -> None:
        self._files = files
        self._result_chars = result_chars
        self._shelf = shelf
        self._seen: dict[str, str] = {}

    @property
    def name(self) -> str:
        return NAME

    def prepare(self, arguments: Mapping[str, object]) -> PreparedCall:
        command = _command_of(arguments)
        path = path_of(arguments)
        match command:
            case "view":
                lines = line_range_of(arguments, "view_range")
                return PreparedCall(f"view {path}", True, lambda: self._view(path, lines))
            case "str_replace":
                old = text_of(arguments, "old_str")
                new = text_of(arguments, "new_str", default="")
                if not old:
                    raise ToolInputError(
                        "`old_str` is empty; use insert to add text, or create for a new file"
                    )
                if old == new:
                    raise ToolInputError("`old_str` and `new_str` are the same: nothing would change")
                return PreparedCall(f"edit {path}", False, lambda: self._replace(path, old, new))
            case "create":
                text = text_of(arguments, "file_text")
                return PreparedCall(f"write {path}", False, lambda: self._create(path, text))
            case "insert":
                line = whole_number_of(arguments, "insert_line")
                inserted = text_of(arguments, "insert_text")
                if not inserted:
                    raise ToolInputError("`insert_text` is empty: nothing would change")
                return PreparedCall(f"edit {path}", False, lambda: self._insert(path, line, inserted))
            case _:
                assert_never(command)

    async def _view(self, path: str, lines: tuple[int, int] | None) -> ToolResult:
        if path.startswith(PREFIX):
            text = self._shelf.find(path)
            if text is None:
                return ToolResult(f"{path} is no longer kept: run the command again.", is_error=True)
            return await _numbered(path, text, lines, self._result_chars)
        if path == ".":
            return await self._list_folder(path)
        try:
            file = await self._files.read_text(path)
        except (WorkspaceError, OSError) as error:
            try:
                return await self._list_folder(path)
            except (WorkspaceError, OSError):
                return await self._unreadable(path, error)
        result = await _numbered(path, file.text, lines, self._result_chars)
        if not result.is_error:
            self._saw(path, file.text)
        return result

    async def _replace(self, path: str, old: str, new: str) -> ToolResult:
        file = await self._read_to_edit(path)
        if isinstance(file, ToolResult):
            return file
        old, new = _with_newlines_of(file, old), _with_newlines_of(file, new)
        edited = await asyncio.to_thread(replace_once, file.text, old, new)
        if isinstance(edited, NotEdited) and edited.no_match and self._changed_since_seen(path, file.text):
            self._saw(path, file.text)
            view = await asyncio.to_thread(numbered_view, file.text, chars=self._result_chars)
            return ToolResult(
                f"{path} has changed since you viewed it, and old_str does not occur in it any more. "
                f"It reads now:\n{view or '(the file is empty)'}",
                is_error=True,
            )
        return await self._write_edit(path, file, edited)

    async def _insert(self, path: str, line: int, inserted: str) -> ToolResult:
        file = await self._read_to_edit(path)
        if isinstance(file, ToolResult):
            return file
        inserted = _with_newlines_of(file, inserted)
        return await self._write_edit(path, file, insert_after(file.text, line, inserted))

    async def _create(self, path: str, text: str) -> ToolResult:
        try:
            before: FileText | None = await self._files.read_text(path)
        except FileNotFoundError:
            before = None
        except IsADirectoryError:
            return ToolResult(f"{path} is a folder; name a file in it.", is_error=True)
        newline = before.newline if before is not None else "\n"
        if "\r\n" in text:
            text = text.replace("\r\n", "\n")
            newline = "\r\n" if before is None else newline
        if before is not None and before.text.strip() and not text.strip():
            return ToolResult(
                f"{path} exists and has {_line_count(before.text)}; create does not empty it. "
                "Nothing was written. Deletions are never carried over: say in `decisions` what should go.",
                is_error=True,
            )
        if before is not None and before.text == text:
            self._saw(path, text)
            return ToolResult(f"{path} already reads exactly so; nothing was written.")
        outcome = await self._files.write_text(path, text, newline=newline)
        note = ""
        if before is not None and self._changed_since_seen(path, before.text):
            note = " It had changed since you viewed it: compare with `git diff` when that matters."
        self._saw(path, text)
        done = "Created" if before is None else f"Replaced (it had {_line_count(before.text)})"
        return ToolResult(f"{done}: {path}, {_line_count(text)} now.{note}{_words(outcome)}", wrote=True)

    async def _write_edit(self, path: str, file: FileText, edited: Edited | NotEdited) -> ToolResult:
        if isinstance(edited, NotEdited):
            return ToolResult(f"{path} was not changed: {edited.why}", is_error=True)
        outcome = await self._files.write_text(path, edited.text, newline=file.newline)
        self._saw(path, edited.text)
        shown = await asyncio.to_thread(excerpt, edited)
        return ToolResult(f"Edited {path}. It reads there now:\n{shown}{_words(outcome)}", wrote=True)

    async def _read_to_edit(self, path: str) -> FileText | ToolResult:
        if path.startswith(PREFIX):
            return ToolResult(f"{path} is a kept output; it can only be viewed.", is_error=True)
        try:
            return await self._files.read_text(path)
        except OSError as error:
            return await self._unreadable(path, error)

    async def _list_folder(self, path: str) -> ToolResult:
        """List a folder two levels deep, bounded."""
        rows: list[str] = []
        folder = "" if path == "." else f"{path}/"
        for name in await self._files.list_dir(path):
            rows.append(f"{folder}{name}")
            if name.endswith("/") and name not in _UNOPENED and len(rows) <= _LISTING_ENTRIES:
                below = await self._files.list_dir(f"{folder}{name}".rstrip("/"))
                rows.extend(f"{folder}{name}{child}" for child in below)
        if len(rows) > _LISTING_ENTRIES:
            left = len(rows) - _LISTING_ENTRIES
            rows = [
                *rows[:_LISTING_ENTRIES],
                f"[cut: {left} or more entries are not shown; view a folder below]",
            ]
        return ToolResult(
            "\n".join([f"{path} (two levels):", *rows]) if rows else f"{path} is an empty folder."
        )

    async def _unreadable(self, path: str, error: WorkspaceError | OSError) -> ToolResult:
        """Say why a path cannot be read, with the likeliest path that can."""
        if isinstance(error, WorkspaceError):
            why = error.message
        elif isinstance(error, FileNotFoundError):
            why = f"there is no file {path}."
        else:
            why = f"{path} cannot be read: {error.strerror or error}."
        tracked = await self._files.list_files()
        guess = await asyncio.to_thread(_likeliest, path, tracked)
        return ToolResult(why + (f" Did you mean {guess}?" if guess else ""), is_error=True)

    def _saw(self, path: str, text: str) -> None:
        self._seen[path] = _digest(text)

    def _changed_since_seen(self, path: str, text: str) -> bool:
        return path in self._seen and self._seen[path] != _digest(text)


async def _numbered(path: str, text: str, lines: tuple[int, int] | None, chars: int) -> ToolResult:
    total = len(split_lines(text)) if text else 0
    first, last = lines if lines is not None else (1, -1)
    if total == 0:
        return ToolResult(f"({path} is empty)")
    if not 1 <= first <= total or (last != -1 and last < first):
        return ToolResult(
            f"view_range [{first}, {last}] does not fit: {path} has {_line_count(text)}, counted from 1; "
            "-1 as the second means the end.",
            is_error=True,
        )
    return ToolResult(await asyncio.to_thread(numbered_view, text, first, last, chars=chars))


def _with_newlines_of(file: FileText, text: str) -> str:
    """Return what a model wrote with `\\n` alone, unless the file itself mixes line ends."""
    return text if "\r\n" in file.text else text.replace("\r\n", "\n")


def _command_of(arguments: Mapping[str, object]) -> Command:
    command = text_of(arguments, "command")
    match command:
        case "view" | "str_replace" | "create" | "insert":
            return command
        case _:
            raise ToolInputError(f"`command` {command!r} is not one of view, str_replace, create, insert")


def _likeliest(path: str, tracked: Sequence[str]) -> str | None:
    """Guess the tracked file that was meant: by the end of the path, by name, then by likeness."""
    parts = [part for part in path.split("/") if part]
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        ends = [file for file in tracked if file == tail or file.endswith(f"/{tail}")]
        if len(ends) == 1:
            return ends[0]
        if ends:
            return None
    close = difflib.get_close_matches(path, tracked[:5_000], n=1, cutoff=0.8)
    return close[0] if close else None


def _words(outcome: WriteOutcome) -> str:
    match outcome:
        case WriteOutcome.WRITTEN:
            return ""
        case WriteOutcome.WRITTEN_OPTIMISTICALLY:
            return _OPTIMISTIC
        case _:
            assert_never(outcome)


def _line_count(text: str) -> str:
    count = len(split_lines(text)) if text else 0
    return f"{count} line{'s' if count != 1 else ''}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _custom_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": ["view", "str_replace", "create", "insert"]},
            "path": {"type": "string", "description": "Relative to the root of the repository."},
            "view_range": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "For view: [first line, last line], counted from 1; -1 is the end.",
            },
            "old_str": {"type": "string", "description": "For str_replace: occurs exactly once."},
            "new_str": {"type": "string", "description": "For str_replace: what takes its place."},
            "file_text": {"type": "string", "description": "For create: the whole file."},
            "insert_line": {"type": "integer", "description": "For insert: after this line; 0 is the start."},
            "insert_text": {"type": "string", "description": "For insert: the lines to insert."},
        },
        "required": ["command", "path"],
    }
