"""`agentcoord commit`: real landings, the user's real git, and what must never happen to their work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Outcome, Project, Run
from canned_views import ANSWERS, DETAIL, task_view

from agentcoord.cli.committing.message import SUBJECT_CHARS, message_of
from agentcoord.domain.hunks import read_diff
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.wire.messages import Method
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.repository import Repository
from workspace_kit import HandClock, git, nothing_to_verify, staged, write

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run

LINES = b"".join(b"line %d\n" % n for n in range(20))


def edited(content: bytes, line: int, words: str) -> bytes:
    return content.replace(b"line %d\n" % line, f"{words}\n".encode())


@dataclass
class Scene:
    """A repository in the morning after."""

    root: Path
    lander: Lander
    daemon: CannedDaemon
    run: Run
    settings: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def land(self, task: str, files: Mapping[str, bytes], *, review: str = "unreviewed", **row: Any) -> None:
        """Land a task's contents on top of the files as they are."""

        async def land() -> None:
            pairs = {path: (self.read(path), after) for path, after in files.items()}
            token = FencingToken(len(self.rows) + 1)
            await self.lander.land(
                TaskId(task),
                token,
                f"Improve {task}",
                staged(self.lander._repo, pairs),
                verify=nothing_to_verify,
            )

        asyncio.run(land())
        self.rows[task] = {**task_view(task, "done", review=review, queued_at=0), **row}

    def undo(self, task: str) -> None:
        asyncio.run(self.lander.undo(TaskId(task)))
        self.rows[task]["review"] = "undone"

    def take_out(self, task: str, *marks: str) -> None:
        """Take the hunks out that are of these paths, or have these lines."""

        async def take_out() -> None:
            files = read_diff(await self.lander.diff(TaskId(task)))
            found = [h for file in files for h in file.hunks if h.path in marks or set(marks) & set(h.lines)]
            keys = {hunk.key for hunk in found}
            plan = await self.lander.without(TaskId(task), keys, self.read)
            await self.lander.take_out(TaskId(task), keys, since_ms=0, proven=plan.wanted_sha256)

        asyncio.run(take_out())

    def read(self, path: str) -> bytes | None:
        file = self.root / path
        return file.read_bytes() if file.exists() else None

    def commit(self, *words: str) -> Outcome:
        return self.run("commit", *words, GIT_CONFIG_GLOBAL=str(self.settings), GIT_CONFIG_NOSYSTEM="1")

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    def committed(self, path: str, revision: str = "HEAD") -> bytes:
        return git(self.root, "show", f"{revision}:{path}").encode()

    def hook(self, name: str, script: str) -> None:
        path = self.root / ".git" / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def everything(self) -> tuple[str, bytes, str]:
        """HEAD, the index and the files' status: what a refusal must leave alone."""
        index = self.root / ".git" / "index"
        head = self.git("rev-parse", "-q", "--verify", "HEAD").strip() if self.has_head else ""
        return head, index.read_bytes() if index.exists() else b"", self.git("status", "--porcelain")

    @property
    def has_head(self) -> bool:
        return bool(self.git("rev-list", "-n", "1", "--all"))

    def accepted(self) -> list[str]:
        return [params["id"] for method, params in self.daemon.asked if method == Method.ACCEPT]


@pytest.fixture
def bare(project: Project, daemon: CannedDaemon, run: Run) -> Scene:
    """A repository without a commit."""
    git(project.root, "init", "-q")
    project.paths.make()
    settings = project.root.parent / "gitconfig"
    settings.write_text('[user]\n name = "Ada Lovelace"\n email = ada@example.org\n')

    async def opened() -> Lander:
        repo = await Repository.open(project.root)
        return Lander(repo, project.paths.journal_dir, clock=HandClock())

    scene = Scene(project.root, asyncio.run(opened()), daemon, run, settings)
    daemon.answers.update(ANSWERS)
    daemon.answers[Method.TASKS] = lambda p: {"tasks": list(scene.rows.values()), "next_offset": None}
    daemon.answers[Method.TASK] = lambda p: {
        **DETAIL,
        "task": scene.rows[p["id"]],
        "description": "Why it is wanted.",
        "model": "claude-test",
        "events": [],
    }
    daemon.answers[Method.ACCEPT] = lambda p: {"id": p["id"], "review": "accepted"}
    return scene


@pytest.fixture
def scene(bare: Scene) -> Scene:
    """Two files, committed."""
    write(bare.root, "src/a.py", LINES)
    write(bare.root, "src/b.py", LINES)
    bare.git("add", "-A")
    bare.git("commit", "-q", "-m", "start")
    return bare


def test_one_commit_a_task_in_landing_order_under_the_users_name(scene: Scene) -> None:
    scene.land(
        "one", {"src/a.py": edited(LINES, 3, "three"), "src/new.py": b"N = 1\n"}, worker="W-1", cost_usd=0.444
    )
    scene.land("two", {"src/a.py": edited(edited(LINES, 3, "THREE"), 9, "nine")})
    done = scene.commit("two", "one")
    assert done.code == 0, done.err
    log = scene.git("log", "--format=%an|%ae|%s", "-2").splitlines()
    assert log == ["Ada Lovelace|ada@example.org|Improve two", "Ada Lovelace|ada@example.org|Improve one"]
    assert scene.git("show", "--format=", "--name-only", "HEAD~1").split() == ["src/a.py", "src/new.py"]
    assert scene.committed("src/a.py", "HEAD~1") == edited(LINES, 3, "three")
    assert scene.committed("src/a.py") == edited(edited(LINES, 3, "THREE"), 9, "nine")
    body = scene.git("log", "--format=%B", "-1", "HEAD~1")
    assert body.startswith("Improve one\n\nWhy it is wanted.\n\nAgentcoord-Task: one\n")
    trailers = scene.git("log", "--format=%(trailers:only,unfold)", "-1", "HEAD~1").split("\n")
    assert "Agentcoord-Worker: W-1" in trailers
    assert "Agentcoord-Model: claude-test" in trailers
    assert "Agentcoord-Cost: $0.44" in trailers
    assert scene.git("status", "--porcelain") == ""
    assert scene.accepted() == ["one", "two"], "what is committed was looked at"
    assert not list((scene.root / ".git").glob("*.lock"))
    again = scene.commit("one")
    assert (again.code, "one is committed already" in again.err) == (0, True)


def test_without_names_it_is_what_was_accepted_and_nothing_else(scene: Scene) -> None:
    scene.land("good", {"src/a.py": edited(LINES, 3, "three")}, review="accepted")
    scene.land("open", {"src/b.py": edited(LINES, 3, "three")})
    done = scene.commit("--json")
    document = json.loads(done.out)
    assert [(row["task"], row["files"]) for row in document["commits"]] == [("good", ["src/a.py"])]
    assert document["commits"][0]["commit"] == scene.git("rev-parse", "HEAD").strip()
    assert scene.git("status", "--porcelain") == " M src/b.py\n"
    assert scene.accepted() == []
    assert "nothing that you accepted waits" in scene.commit().err


def test_a_dry_run_shows_messages_and_commits_nothing(scene: Scene) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    before = scene.everything()
    shown = scene.commit("one", "--dry-run")
    assert "Agentcoord-Task: one" in shown.out
    assert "src/a.py" in shown.out
    assert scene.everything() == before


def test_the_users_own_lines_stay_out_of_it_staged_or_not(scene: Scene) -> None:
    """Edits before the night, edits after it, staged ones in the same file and in another."""
    mine = edited(LINES, 1, "mine, before")
    write(scene.root, "src/a.py", mine)
    scene.land("one", {"src/a.py": edited(mine, 10, "ten")})
    write(scene.root, "src/b.py", edited(LINES, 5, "staged in b"))
    scene.git("add", "src/b.py")
    write(scene.root, "src/a.py", edited(LINES, 17, "staged in a"))
    scene.git("add", "src/a.py")
    now = edited(edited(edited(LINES, 1, "mine, before"), 10, "ten"), 17, "staged in a, and more")
    write(scene.root, "src/a.py", now)
    staged_before = scene.git("diff", "--cached", "-U0", "--no-color").replace("index", "")
    done = scene.commit("one")
    assert done.code == 0, done.err
    assert scene.committed("src/a.py") == edited(LINES, 10, "ten"), "the task's line and no other"
    assert scene.read("src/a.py") == now
    staged_now = scene.git("diff", "--cached", "-U0", "--no-color")
    assert [row for row in staged_now.splitlines() if row[:1] in "+-"] == [
        row for row in staged_before.splitlines() if row[:1] in "+-"
    ]
    assert scene.git("show", ":src/a.py").encode() == edited(edited(LINES, 10, "ten"), 17, "staged in a")
    assert scene.git("status", "--porcelain") == "MM src/a.py\nM  src/b.py\n"


@pytest.mark.parametrize("hook", ["pre-commit", "commit-msg", "prepare-commit-msg"])
def test_after_a_hook_refused_nothing_is_half_done(scene: Scene, hook: str) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    scene.land("two", {"src/b.py": edited(LINES, 3, "three")})
    write(scene.root, "src/c.py", b"mine\n")
    scene.git("add", "src/c.py")
    scene.hook(hook, "echo no tabs please >&2; exit 1")
    before = scene.everything()
    done = scene.commit("one", "two")
    assert (done.code, "no tabs please" in done.err, "git did not commit one" in done.err) == (5, True, True)
    assert scene.everything() == before
    assert scene.accepted() == []
    assert not list((scene.root / ".git").glob("*.lock"))
    (scene.root / ".git" / "hooks" / hook).unlink()
    assert scene.commit("one", "two").code == 0
    assert scene.git("status", "--porcelain") == "A  src/c.py\n"


def test_a_refused_second_task_leaves_the_first_whole(scene: Scene) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    scene.land("two", {"src/b.py": edited(LINES, 3, "forbidden")})
    scene.hook("pre-commit", "git diff --cached | grep -q forbidden && exit 1; exit 0")
    done = scene.commit("one", "two", "--json")
    assert done.code == 5
    assert [row["task"] for row in json.loads(done.out)["commits"]] == ["one"]
    assert scene.git("log", "--format=%s").split("\n")[0] == "Improve one"
    assert scene.git("status", "--porcelain") == " M src/b.py\n"
    assert scene.accepted() == ["one"]


def test_hooks_see_exactly_the_commit_and_may_rewrite_it(scene: Scene) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    scene.land("two", {"src/b.py": edited(LINES, 3, "three")})
    scene.hook(
        "pre-commit", "git diff --cached --name-only >hook-saw; echo fixed >>src/a.py; git add src/a.py"
    )
    done = scene.commit("one")
    assert done.code == 0, done.err
    assert (scene.root / "hook-saw").read_text() == "src/a.py\n"
    assert scene.committed("src/a.py").endswith(b"fixed\n")
    assert "a hook changed what was committed of src/a.py" in done.err
    assert scene.git("diff", "--cached", "--name-only") == "", "the index follows what the hook made"


def test_a_signature_that_fails_commits_nothing(scene: Scene) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    with scene.settings.open("a") as file:
        file.write("[commit]\n gpgsign = true\n[gpg]\n program = /bin/false\n")
    before = scene.everything()
    done = scene.commit("one")
    assert (done.code, "git did not commit one" in done.err) == (5, True)
    assert scene.everything() == before


def test_a_user_without_a_name_is_told_what_git_says(scene: Scene) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    scene.settings.write_text("[user]\n useConfigOnly = true\n")
    before = scene.everything()
    done = scene.commit("one")
    assert done.code == 5
    assert "user.email" in done.err
    assert scene.everything() == before


def test_a_detached_head_moves_and_is_told(scene: Scene) -> None:
    scene.git("switch", "-q", "--detach", "HEAD")
    main = scene.git("rev-parse", "main")
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    done = scene.commit("one")
    assert (done.code, "HEAD is detached" in done.err) == (0, True)
    assert scene.git("rev-parse", "main") == main
    assert scene.git("log", "--format=%s", "-1").strip() == "Improve one"


def test_the_first_commit_of_all(bare: Scene) -> None:
    write(bare.root, "mine.py", b"M = 1\n")
    bare.git("add", "mine.py")
    bare.land("one", {"src/new.py": b"N = 1\n"})
    done = bare.commit("one")
    assert done.code == 0, done.err
    assert bare.git("ls-tree", "-r", "--name-only", "HEAD").split() == ["src/new.py"]
    assert bare.git("status", "--porcelain") == "A  mine.py\n"


def _edit_its_line(scene: Scene) -> None:
    write(scene.root, "src/a.py", edited(LINES, 3, "rewritten"))


def _stage_its_line(scene: Scene) -> None:
    landed = scene.read("src/a.py") or b""
    write(scene.root, "src/a.py", edited(LINES, 3, "staged there"))
    scene.git("add", "src/a.py")
    write(scene.root, "src/a.py", landed)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_edit_its_line, "has not all of its lines"),
        (lambda s: (s.root / "src/a.py").unlink(), "has not all of its lines"),
        (lambda s: s.undo("one"), "has landed nothing that stands: it is undone"),
        (_stage_its_line, "you have staged other lines in the same place of src/a.py"),
        (
            lambda s: (s.root / ".git/MERGE_HEAD").write_text(s.git("rev-parse", "HEAD")),
            "a merge is under way",
        ),
        (lambda s: (s.root / ".git/index.lock").write_bytes(b""), "another git is at work"),
    ],
)
def test_it_refuses_in_words_and_touches_nothing(
    scene: Scene, spoil: Callable[[Scene], object], words: str
) -> None:
    scene.land("one", {"src/a.py": edited(LINES, 3, "three")})
    spoil(scene)
    index = (scene.root / ".git/index").read_bytes()
    files = {path: scene.read(path) for path in ("src/a.py", "src/b.py")}
    done = scene.commit("one")
    assert (done.code, words in done.err) == (5, True), done.err
    assert (scene.root / ".git/index").read_bytes() == index
    assert {path: scene.read(path) for path in files} == files
    assert scene.git("log", "--format=%s") == "start\n"
    assert scene.accepted() == []


def test_it_refuses_what_builds_on_an_uncommitted_task_that_is_not_named(scene: Scene) -> None:
    scene.land("base", {"src/a.py": edited(LINES, 3, "three")})
    scene.land("same-file", {"src/a.py": edited(edited(LINES, 3, "three"), 9, "nine")})
    scene.land("needs-it", {"src/b.py": edited(LINES, 3, "three")}, needs=["base"])
    for task in ("same-file", "needs-it"):
        done = scene.commit(task)
        assert (done.code, f"{task} builds on base, which is not committed" in done.err) == (5, True)
    assert scene.git("log", "--format=%s") == "start\n"
    assert scene.commit("base").code == 0
    assert scene.git("status", "--porcelain") == " M src/a.py\n M src/b.py\n"
    assert scene.commit("needs-it", "same-file").code == 0
    assert scene.git("status", "--porcelain") == ""


def test_what_the_user_committed_by_hand_counts_as_committed(scene: Scene) -> None:
    scene.land("base", {"src/a.py": edited(LINES, 3, "three")}, review="accepted")
    scene.land("top", {"src/a.py": edited(edited(LINES, 3, "three"), 9, "nine")}, needs=["base"])
    write(scene.root, "src/a.py", edited(edited(edited(LINES, 3, "three"), 9, "nine"), 15, "mine"))
    scene.git("commit", "-q", "-a", "-m", "all of it, and a line of mine")
    assert "nothing that you accepted waits" in scene.commit().err
    done = scene.commit("top")
    assert (done.code, "top is committed already" in done.err) == (0, True)


def test_an_undone_task_leaves_its_file_to_the_one_that_landed_later(scene: Scene) -> None:
    scene.land("gone", {"src/a.py": edited(LINES, 3, "three")})
    scene.land("kept", {"src/a.py": edited(edited(LINES, 3, "three"), 12, "twelve")})
    scene.undo("gone")
    assert scene.commit("kept").code == 0
    assert scene.committed("src/a.py") == edited(LINES, 12, "twelve")
    assert scene.git("status", "--porcelain") == ""


def test_hunks_that_were_taken_out_are_not_committed(scene: Scene) -> None:
    after = edited(edited(LINES, 3, "three"), 15, "fifteen")
    scene.land("one", {"src/a.py": after, "src/new.py": b"N = 1\n"})
    scene.take_out("one", "src/new.py", "+three")
    assert scene.commit("one").code == 0
    assert scene.committed("src/a.py") == edited(LINES, 15, "fifteen")
    assert scene.git("status", "--porcelain") == ""
    scene.land("two", {"src/new.py": b"N = 2\n", "src/b.py": edited(LINES, 3, "three")})
    assert scene.commit("two").code == 0
    scene.take_out("two", "src/new.py")
    assert scene.git("status", "--porcelain") == " D src/new.py\n"
    assert scene.commit("two").code == 0, "what was taken out after a commit is a commit of its own"
    assert scene.git("log", "--format=%s", "-3").split("\n")[:3] == [
        "Improve two",
        "Improve two",
        "Improve one",
    ]
    assert scene.git("status", "--porcelain") == ""


def test_line_ends_and_executable_bits_are_as_git_would_add_them(scene: Scene) -> None:
    write(scene.root, ".gitattributes", b"*.txt text eol=crlf\n")
    write(scene.root, "n.txt", b"one\r\ntwo\r\n")
    write(scene.root, "run.sh", b"#!/bin/sh\n")
    (scene.root / "run.sh").chmod(0o755)
    scene.git("add", "-A")
    scene.git("commit", "-q", "-m", "more")
    scene.land("one", {"n.txt": b"one\r\nTWO\r\n"})
    assert scene.commit("one").code == 0
    assert scene.committed("n.txt") == b"one\nTWO\n"
    assert scene.git("status", "--porcelain") == ""


def test_a_task_nobody_knows_is_said(scene: Scene) -> None:
    assert scene.commit("nobody").code == 4


def test_a_message_is_harmless_and_its_subject_short() -> None:
    detail: Any = {
        **DETAIL,
        "task": task_view("t", "done", worker="W\n\nSigned-off-by: x", cost_usd=1.0),
        "description": "Do \x1b[31mthis\nat once.\n\n    indented\n- one\n- two\n" + "word " * 40,
        "events": [
            {"kind": "task.claimed", "data": {"model": "one"}},
            {"kind": "task.claimed", "data": {"model": "two"}},
        ],
    }
    text = message_of("t", "x" * 100, detail)
    subject, _, rest = text.partition("\n")
    assert len(subject) == SUBJECT_CHARS
    assert "\x1b" not in text
    assert max(map(len, rest.split("\n"))) <= 72
    assert text.endswith(
        "\n\nAgentcoord-Task: t\nAgentcoord-Worker: W Signed-off-by: x\nAgentcoord-Model: one, two\n"
        "Agentcoord-Cost: $1.00\n"
    )
    assert "this at once.\n\n    indented\n- one\n- two\nword word" in text
