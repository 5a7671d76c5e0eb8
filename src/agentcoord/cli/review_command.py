"""`agentcoord review`: walk through what landed; the dashboard's screen, or plain prompts without one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final, TextIO, cast

import typer

from agentcoord.cli.boundary import problems_of
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import finish, invocation_of, terminal_of
from agentcoord.cli.terminal import Terminal
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.errors import AgentCoordError, DaemonNotRunningError
from agentcoord.tui.diff_page import DiffPages, Layout
from agentcoord.tui.follow_up import follow_up
from agentcoord.tui.rejection import landed_on_top, rejected_words
from agentcoord.tui.review_text import Case, by_risk, case_lines
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.subset_text import subset_words, taken_words
from agentcoord.tui.text import plural
from agentcoord.wire.client import ControlClient
from agentcoord.wire.messages import ExitCode, Method, TaskView
from agentcoord.wire.task_views import TaskDetail

commands = group("")

DIFF_CHARS: Final = 400_000
PAGE_CELLS: Final = 100
KEYS: Final = "[a]ccept  [r]eject REASON  [x] HUNK... out  [c]omment TEXT  [u]ndo  [n]ext  [q]uit"
ASK_AGAIN_S: Final = 0.5
_REJECTING: Final = ("r", "reject", "r!", "reject!")
"""With a mark: although tasks that need it have landed on top of it."""


@commands.command(
    epilog=example("agentcoord review", "printf 'a\\nr no test for the empty list\\n' | agentcoord review")
)
def review(
    context: typer.Context,
    plain: Annotated[bool, typer.Option("--plain", help="Prompts on lines, also in a terminal.")] = False,
) -> None:
    """Walk through what landed, riskiest first: accept, reject with a reason, take hunks out, comment, undo.

    Without a terminal it reads one answer a line from standard input.
    """
    invocation, terminal = invocation_of(context), terminal_of(context)
    if not plain and terminal.width and sys.stdin.isatty():
        from agentcoord.tui.app import run_dashboard

        paths = invocation.paths()
        finish(run_dashboard(paths.socket, project_name=paths.root.name, begin_with_review=True))
    finish(PlainReview(invocation, terminal, sys.stdin).walk())


class PlainReview:
    """Prints a task, reads a verdict, carries it out; ends with the tasks or with the answers."""

    def __init__(self, invocation: Invocation, terminal: Terminal, answers: TextIO) -> None:
        self._invocation = invocation
        self._terminal = terminal
        self._answers = answers
        self._rows: dict[str, TaskView] = {}
        """Every task as it was when the walk began."""

    def walk(self) -> int:
        """Walk through all of them and return the exit code."""
        cases = by_risk(asyncio.run(self._collect()))
        if not cases:
            self._terminal.say("nothing waits for a review")
            if moved := self._invocation.moved_words():
                self._terminal.say(moved)
            return ExitCode.OK
        refused = False
        for number, case in enumerate(cases, 1):
            title = f"{number} of {len(cases)}: {case.task_id}  {case.detail['task']['title']}"
            lines = case_lines(case, None, width=self._terminal.width or PAGE_CELLS)
            self._terminal.lines([(Span(title, Tone.TITLE),), *lines, ()])
            verdict = self._verdict(case)
            if verdict is None:
                break
            refused |= not verdict
        return ExitCode.REFUSED if refused else ExitCode.OK

    def _verdict(self, case: Case) -> bool | None:
        """Ask until there is a verdict; whether it was carried out, None to stop here."""
        while True:
            self._terminal.say(Span(f"{case.task_id}: {KEYS}", Tone.STRONG))
            line = self._answers.readline()
            word, _, rest = line.strip().partition(" ")
            if not line or word in ("q", "quit"):
                return None
            if word in ("n", "next"):
                return True
            if word in ("x", "out"):
                case = self._without_hunks(case, rest.split())
                continue
            landed = landed_on_top(self._rows, case.task_id)
            if word in _REJECTING and not rest.strip():
                self._terminal.say("a reason must follow r")
            elif word in _REJECTING and landed and not word.endswith("!"):
                names = ", ".join(landed)
                self._terminal.say(f"landed on top of it: {names}; r! REASON rejects it and leaves those")
            elif word in ("c", "comment") and not rest.strip():
                self._terminal.say("a comment must follow c")
            elif word in ("a", "accept", "y", "u", "undo", "c", "comment", *_REJECTING):
                return self._carry_out(word[0], case, rest.strip())
            else:
                self._terminal.say("one of these, please")

    def _carry_out(self, word: str, case: Case, reason: str) -> bool:
        """Do it and say what came of it; a refusal is said too, and the walk goes on."""
        try:
            if word in "ay":
                self._invocation.ask(Method.ACCEPT, id=case.task_id)
                self._terminal.say(f"{case.task_id} is accepted")
                return True
            if word == "c":
                return self._comment(case, reason)
            return self._reject(case, reason) if word == "r" else self._undo(case)
        except DaemonNotRunningError:
            raise
        except AgentCoordError as error:
            self._refused(error)
            return False

    def _without_hunks(self, case: Case, numbers: Sequence[str]) -> Case:
        """Have the task proven without some hunks, tell, ask, and take them out; the case as it is then."""
        hunks = DiffPages(case.diff).hunks
        if not numbers or any(not each.isdigit() or not 1 <= int(each) <= len(hunks) for each in numbers):
            self._terminal.say(f"numbers of hunks must follow x, from 1 to {len(hunks)}")
            return case
        keys = sorted({hunks[int(each) - 1].key for each in numbers})
        try:
            answer = self._proven(case, keys)
            self._terminal.say(subset_words(answer))
            if answer["state"] == "broken":
                return case
            self._terminal.say(Span(f"take {plural(len(keys), 'hunk')} out? [y]es  [n]o", Tone.STRONG))
            if self._answers.readline().strip() not in ("y", "yes"):
                self._terminal.say("nothing was taken out")
                return case
            anyway = answer["state"] == "red"
            taken = self._invocation.ask(Method.TAKE_OUT, id=case.task_id, hunks=keys, anyway=anyway)
        except DaemonNotRunningError:
            raise
        except AgentCoordError as error:
            self._refused(error)
            return case
        self._terminal.say(taken_words(taken))
        case = asyncio.run(self._again(case.task_id))
        page = DiffPages(case.diff).page(Layout.UNIFIED, width=self._terminal.width or PAGE_CELLS)
        self._terminal.lines([*page.lines, ()])
        return case

    def _refused(self, error: AgentCoordError) -> None:
        self._terminal.say(Span("refused: ", Tone.BAD), error.message)
        for problem in problems_of(error):
            self._terminal.say(f"  {problem}")
        if error.mend:
            self._terminal.say(Span("  fix: ", Tone.GOOD), error.mend)

    def _proven(self, case: Case, keys: Sequence[str]) -> dict[str, Any]:
        """Wait for the verdict of the checks; they bound themselves."""
        while True:
            answer = self._invocation.ask(Method.PROVE_WITHOUT, id=case.task_id, hunks=list(keys))
            if answer["state"] != "running":
                return answer
            time.sleep(ASK_AGAIN_S)

    async def _again(self, task_id: str) -> Case:
        socket = self._invocation.paths().socket
        async with ControlClient.connect(socket, client_name="agentcoord review") as client:
            return await _case(client, task_id)

    def _comment(self, case: Case, comment: str) -> bool:
        further = follow_up(case.detail, comment, self._rows)
        self._invocation.ask(Method.LOAD, text=further.plan, format="toml", source="comment")
        self._terminal.say(f"{further.id} is asked to follow your comment")
        return True

    def _undo(self, case: Case) -> bool:
        answer = self._invocation.ask(Method.UNDO, id=case.task_id)
        if self._says_conflicts(case, "undone", answer["conflicts"]):
            return False
        gone = answer["gone"]
        rest = f", but for what was removed or renamed since: {', '.join(gone)}" if gone else ""
        absent = answer.get("absent") or []
        again = f"; nothing of it is in {', '.join(absent)}: undo it again when it is back" if absent else ""
        self._terminal.say(f"{case.task_id} is undone{rest}{again}")
        return True

    def _reject(self, case: Case, reason: str) -> bool:
        despite = landed_on_top(self._rows, case.task_id)
        answer = self._invocation.ask(Method.REJECT, id=case.task_id, reason=reason, despite=despite)
        if self._says_conflicts(case, "rejected", answer["conflicts"]):
            return False
        self._terminal.say(rejected_words(answer))
        return True

    def _says_conflicts(self, case: Case, done: str, conflicts: Sequence[str]) -> bool:
        if conflicts:
            changed = f"{plural(len(conflicts), 'file')} changed since: {', '.join(conflicts)}"
            self._terminal.say(Span("refused: ", Tone.BAD), f"{case.task_id} cannot be {done}, {changed}")
        return bool(conflicts)

    async def _collect(self) -> list[Case]:
        socket = self._invocation.paths().socket
        async with ControlClient.connect(socket, client_name="agentcoord review") as client:
            rows = await client.tasks()
            self._rows = {row["id"]: cast("TaskView", row) for row in rows}
            return [await _case(client, row["id"]) for row in rows if _waits(cast("TaskView", row))]


def _waits(row: TaskView) -> bool:
    return row["state"] == TaskState.DONE and row["review"] == ReviewState.UNREVIEWED


async def _case(client: ControlClient, task_id: str) -> Case:
    detail = await client.call(Method.TASK, id=task_id)
    text, offset = "", 0
    while True:
        piece = await client.call(Method.DIFF, id=task_id, offset=offset)
        text += str(piece["text"])
        following = piece["next_offset"]
        if following is None or len(text) >= DIFF_CHARS:
            return Case(cast("TaskDetail", detail), text, cut=following is not None)
        offset = int(following)
