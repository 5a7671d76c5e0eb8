"""`agentcoord commit`: the only command that commits, at the user's word, as the user, one commit a task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.committing.commits import Committed, commit_one
from agentcoord.cli.committing.landed_changes import ClashError, Landed, LandedChanges, Tree
from agentcoord.cli.committing.message import message_of
from agentcoord.cli.committing.user_git import Entry, UserGit
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import Json, invocation_of, terminal_of
from agentcoord.domain.graph import dependents_of
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.errors import AgentCoordError
from agentcoord.tui.text import plural
from agentcoord.wire.client import ControlClient
from agentcoord.wire.messages import ExitCode, Method, TaskView
from agentcoord.wire.task_views import TaskDetail
from agentcoord.workspace.history import Record, standing_landings
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.subsets import trims_of

commands = group("")
Rows = Mapping[str, TaskView]


@commands.command(epilog=example("agentcoord commit", "agentcoord commit unit-tests --dry-run"))
def commit(
    context: typer.Context,
    task_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The tasks; without any, all you accepted.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show messages and files; commit nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Commit what tasks landed: one commit a task, under your name, with your hooks. Never pushes.

    Only a task's own bytes go in; your other edits, and what you have staged, stay as they are. A task that
    you name is accepted by being committed.
    """
    invocation, terminal = invocation_of(context), terminal_of(context)
    session = CommitSession(invocation, *asyncio.run(_collect(invocation, list(task_ids or ()))))
    wanted = session.wanted(list(task_ids or ()))
    if dry_run:
        found = [{"task": each.task, "files": each.paths, "message": each.message} for each in wanted]
        if as_json:
            terminal.document("agentcoord.commit", {"commits": [], "would": found})
        else:
            terminal.text("\n".join(f"{each.message}\n    {', '.join(each.paths)}\n" for each in wanted))
        return
    made: list[Committed] = []
    try:
        for each in wanted:
            done = commit_one(session.git, session.changes, each)
            if done is None:
                terminal.say(f"{each.task} is committed already")
            else:
                made.append(done)
                _tell(session, done)
            session.accept(each.task)
    finally:
        if as_json:
            rows = [{"task": each.task, "commit": each.commit, "files": list(each.files)} for each in made]
            terminal.document("agentcoord.commit", {"commits": rows})
    if not wanted:
        terminal.say("nothing that you accepted waits for a commit")
    elif made and not session.git.branch():
        terminal.say("HEAD is detached: these commits are on no branch (git switch -c NAME keeps them)")


class CommitSession:
    """What one run of the command knows: the journal, the user's git, and the daemon's word on the tasks."""

    def __init__(self, invocation: Invocation, rows: Rows, details: Mapping[str, TaskDetail]) -> None:
        paths = invocation.paths()
        self.invocation = invocation
        self.git = UserGit(paths.root, invocation.env)
        self._rows = rows
        self._details = details
        journal = Journal(paths.journal_dir)
        self._records = journal.load()
        self.changes = LandedChanges(self.git, journal.blobs, self._records)

    def wanted(self, named: Sequence[str]) -> list[Landed]:
        """What to commit, in the order in which it landed. Raises CommandError with all that forbids it."""
        self.git.refuse_unready()
        head = self.git.head()
        if named:
            tasks = list(dict.fromkeys(named))
            landed = [self._landed(task) for task in tasks]
            landed.sort(key=lambda each: each.records[0].number)
        else:
            landed = self._accepted(head)
        tree = self._tree(head, landed)
        open_ones = [each for each in landed if not self.changes.is_in(tree, each)]
        problems = [words for each in open_ones for words in self._missing(each, landed, tree)]
        problems += self._clashes(landed, tree)
        if problems:
            raise CommandError(
                "nothing was committed",
                exit_code=ExitCode.REFUSED,
                problems=problems,
                mend="name what is missing too, or commit those lines yourself with git",
            )
        return landed

    def accept(self, task: str) -> None:
        """What is committed was looked at: committing is the stronger word."""
        row = self._rows.get(task)
        if row is None or row["review"] != ReviewState.UNREVIEWED:
            return
        try:
            self.invocation.ask(Method.ACCEPT, id=task)
        except AgentCoordError as error:
            self.invocation.terminal.say(
                f"{task} is committed, but was not marked as accepted: {error.message}"
            )

    def _landed(self, task: str) -> Landed:
        row = self._rows.get(task)
        records = self._standing(task)
        if not records:
            known = row is not None or any(record.task == task for record in self._records)
            if not known:
                raise CommandError(
                    f"no task is called {task!r}",
                    exit_code=ExitCode.NOT_FOUND,
                    mend="agentcoord tasks lists them",
                )
            word = row["review"] if row is not None and row["review"] == ReviewState.UNDONE else ""
            word = word or (row["state"] if row is not None else ReviewState.UNDONE)
            raise CommandError(
                f"{task} has landed nothing that stands: it is {word}",
                exit_code=ExitCode.REFUSED,
                mend="agentcoord tasks shows the states",
            )
        if any(record.compacted_at_ms is not None for record in records):
            raise CommandError(
                f"{task} was accepted long ago, and a cleanup dropped its contents",
                exit_code=ExitCode.REFUSED,
                mend="git add -p, git commit: its lines are in your files",
            )
        return Landed(task, tuple(records), message_of(task, records[-1].title, self._details.get(task)))

    def _accepted(self, head: str) -> list[Landed]:
        """Everything that was accepted, stands, and is not committed."""
        accepted = [
            row["id"]
            for row in self._rows.values()
            if row["state"] == TaskState.DONE and row["review"] == ReviewState.ACCEPTED
        ]
        standing = [(task, self._standing(task)) for task in accepted]
        whole = [
            task for task, records in standing if records and all(r.compacted_at_ms is None for r in records)
        ]
        landed = sorted((self._landed(task) for task in whole), key=lambda each: each.records[0].number)
        tree = self._tree(head, landed)
        return [each for each in landed if not self.changes.is_in(tree, each)]

    def _missing(self, landed: Landed, wanted: Sequence[Landed], tree: Tree) -> list[str]:
        """Why this task alone cannot be committed with those: what it builds on, and what is not there."""
        named = {each.task for each in wanted}
        words = [
            f"{landed.task}: {path} has not all of its lines any more; you changed or removed them"
            for path in self.changes.not_in_files(landed)
        ]
        below = [task for task in self._needs_of(landed.task) if task not in named]
        below += [
            task
            for path in landed.paths
            if not self.changes.begins_at(tree, path, landed)
            for task in self.changes.earlier(path, landed)
            if task not in named
        ]
        open_ones = [task for task in dict.fromkeys(below) if self._is_open(task)]
        return words + [
            f"{landed.task} builds on {task}, which is not committed: name it too" for task in open_ones
        ]

    def _is_open(self, task: str) -> bool:
        """Whether a task stands in the tree and is not committed."""
        records = [record for record in self._standing(task) if record.compacted_at_ms is None]
        if not records:
            return False
        landed = Landed(task, tuple(records), "")
        return not self.changes.is_in(self._tree(self.git.head(), [landed]), landed)

    def _clashes(self, wanted: Sequence[Landed], tree: Tree) -> list[str]:
        """Play all commits through: where the user's own lines, committed or staged, are in the way."""
        now = dict(tree)
        paths = sorted({path for each in wanted for path in each.paths})
        index = self.git.place("index")
        staged: dict[str, Entry | None] = {}
        if index.exists() and paths:
            staged |= self.git.staged(index, paths)
        problems = []
        for each in wanted:
            if self.changes.is_in(now, each):
                continue
            try:
                changed = self.changes.on_top_of(now, each)
            except ClashError as clash:
                problems.append(
                    f"{each.task}: in {clash.path} it changed lines of yours that are not committed"
                )
                continue
            for path, entry in changed.items():
                try:
                    staged[path] = self.changes.rebased(path, now.get(path), staged.get(path), entry)
                except ClashError:
                    problems.append(f"{each.task}: you have staged other lines in the same place of {path}")
            now |= changed
        return problems

    def _tree(self, head: str, landed: Sequence[Landed]) -> dict[str, Entry]:
        return self.git.entries(head, sorted({path for each in landed for path in each.paths}))

    def _standing(self, task: str) -> list[Record]:
        row = self._rows.get(task)
        since_ms = row["queued_at"] if row is not None else 0
        landings = standing_landings(self._records, TaskId(task), since_ms)
        return sorted([*landings, *trims_of(self._records, landings)], key=lambda record: record.number)

    def _needs_of(self, task: str) -> list[str]:
        """What it needs, directly or through others."""
        above = {name: row["needs"] for name, row in self._rows.items()}
        return [name for name in above if task in dependents_of(above, [name])]


def _tell(session: CommitSession, done: Committed) -> None:
    terminal = session.invocation.terminal
    if done.said:
        terminal.say(done.said)
    terminal.say(f"{done.commit[:10]} {done.task}: {plural(len(done.files), 'file')}")
    if done.hook_changed:
        terminal.say(f"a hook changed what was committed of {', '.join(done.hook_changed)}")


async def _collect(invocation: Invocation, named: Sequence[str]) -> tuple[Rows, dict[str, TaskDetail]]:
    """All rows, and the details of the tasks that may be committed."""
    async with ControlClient.connect(invocation.paths().socket, client_name="agentcoord commit") as client:
        by_id = {row["id"]: cast("TaskView", row) for row in await client.tasks()}
        asked = (
            [task for task in named if task in by_id]
            if named
            else [row["id"] for row in by_id.values() if row["review"] == ReviewState.ACCEPTED]
        )
        details = {task: cast("TaskDetail", await client.call(Method.TASK, id=task)) for task in asked}
    return by_id, details
