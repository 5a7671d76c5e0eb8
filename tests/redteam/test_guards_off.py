"""What the attacks would do if a guard of landing, the change set, the copies or the tools were not there.

Each test does what a program without that guard does, in a tree of its own, and shows the harm: an attack
that could not succeed proves nothing. The guarded sides are in the other files; docs/red-team.md pairs them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentcoord.workspace.renames import KernelRenames
from workspace_kit import git, make_repo, save, snapshot, write

pytestmark = pytest.mark.redteam

SECRET = b"the canary outside"
OWNED = "owned"
OURS = b"ours\n"


@dataclass
class Night:
    """A tree, a worker's copy of it, and a canary; all of it is thrown away afterwards."""

    tree: Path
    copy: Path
    canary: Path

    def land_everything(self) -> None:
        """Land as a program does that only copies: whatever is there, wherever it leads."""
        shutil.copytree(self.copy, self.tree, dirs_exist_ok=True, symlinks=False)

    def mirror(self) -> None:
        """Land as a program does that makes the tree equal to the copy."""
        for path in sorted(self.tree.iterdir()):
            if path.name != ".git" and not (self.copy / path.name).exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.land_everything()

    def run(self, *words: str, cwd: Path | None = None, **variables: str) -> str:
        """What the user does later."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.canary.parent), **variables}
        done = subprocess.run(words, cwd=cwd or self.tree, env=env, capture_output=True, check=False)
        return done.stdout.decode() + done.stderr.decode()

    @property
    def was_owned(self) -> bool:
        return (self.canary.parent / OWNED).exists()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    tree = make_repo(
        tmp_path / "tree", {"src/a.py": b"a = 1\n", "keep/b.py": b"b = 1\n", "notes": b"n" * 3000}
    )
    write(tmp_path, "outside/canary.txt", SECRET)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, ignore=shutil.ignore_patterns(".git"))
    return Night(tree, copy, tmp_path / "outside/canary.txt")


def test_a_landing_that_followed_links_would_bring_what_is_outside_into_the_tree(night: Night) -> None:
    (night.copy / "src/a.py").unlink()
    (night.copy / "src/a.py").symlink_to(night.canary)
    night.land_everything()
    assert (night.tree / "src/a.py").read_bytes() == SECRET


def test_a_landing_through_a_folder_that_became_a_link_would_write_outside(night: Night) -> None:
    (night.tree / "src").rename(night.tree / "was")
    (night.tree / "src").symlink_to(night.canary.parent)
    write(night.copy, "src/canary.txt", b"owned")
    night.land_everything()
    assert night.canary.read_bytes() == b"owned"


def test_a_check_before_an_open_would_be_outrun_by_a_swap(night: Night) -> None:
    (night.copy / "other").symlink_to(night.canary.parent)
    (night.copy / "race").mkdir()
    assert not (night.copy / "race").is_symlink()
    folder = os.open(night.copy, os.O_RDONLY)  # The worker's program, between the two calls of the other.
    KernelRenames().exchange(folder, "race", "other")
    os.close(folder)
    (night.copy / "race/canary.txt").write_bytes(b"owned")
    assert night.canary.read_bytes() == b"owned"


@pytest.mark.parametrize(
    ("path", "content", "later"),
    [
        (".git/hooks/post-checkout", "#!/bin/sh\ntouch {owned}\n", "git checkout -q -b next"),
        (".git/config", '[core]\n\tfsmonitor = "touch {owned}; false"\n', "git status"),
        (".gitattributes", "* filter=evil\n", "git -c 'filter.evil.clean=touch {owned}; cat' add -A"),
        ("src/sitecustomize.py", "open({owned!r}, 'w')\n", "{python} -c pass"),
        ("src/usercustomize.py", "open({owned!r}, 'w')\n", "{python} -c 'import usercustomize'"),
        (
            "src/x.pth",
            "import os; open({owned!r}, 'w')\n",
            "{python} -c 'import site; site.addsitedir(\"src\")'",
        ),
        (".envrc", "touch {owned}\n", ". ./.envrc"),
        ("conftest.py", "open({owned!r}, 'w')\n", "{python} -m pytest -q"),
    ],
    ids=[
        "hook",
        "git's settings",
        "attributes",
        "sitecustomize",
        "usercustomize",
        "pth",
        "envrc",
        "conftest",
    ],
)
def test_what_runs_or_rules_later_would_have_run(night: Night, path: str, content: str, later: str) -> None:
    """Also of `conftest.py`, which does land: that is why it is listed under "runs on your machine"."""
    owned = str(night.canary.parent / OWNED)
    if path == ".git/config":
        content = (night.tree / path).read_text() + content
    write(night.copy, path, content.format(owned=owned).encode())
    (night.copy / path).chmod(0o755)
    night.land_everything()
    assert not night.was_owned
    said = night.run(
        *("sh", "-c", later.format(owned=owned, python=sys.executable)),
        # Where pytest is, whoever's interpreter this is; and no plugin, which may lack what it needs.
        PYTHONPATH=os.pathsep.join(["src", *sys.path]),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert night.was_owned, said


def test_git_asked_within_the_copy_would_have_run_what_a_worker_planted(night: Night) -> None:
    git(night.copy, "init", "-q")
    git(night.copy, "config", "core.fsmonitor", f"touch {night.canary.parent / OWNED}; false")
    night.run("git", "status", cwd=night.copy)
    assert night.was_owned


def test_git_asked_within_the_copy_would_not_have_seen_what_a_worker_hides(night: Night) -> None:
    git(night.copy, "init", "-q")
    write(night.copy, ".gitignore", b"*\n")
    write(night.copy, "src/hidden.py", b"h")
    assert "hidden" not in night.run("git", "status", "--porcelain", "-uall", cwd=night.copy)


def test_a_landing_that_took_modes_over_would_make_a_set_id_file(night: Night) -> None:
    (night.copy / "src/a.py").chmod(0o4755)
    night.land_everything()
    assert (night.tree / "src/a.py").stat().st_mode & stat.S_ISUID


@pytest.mark.parametrize(
    ("name", "later"), [("-rf", "rm *"), ("x\nnotes", "ls x* | xargs rm"), ("a;touch owned", "ls a* | sh")]
)
def test_a_treacherous_name_would_have_done_its_work(night: Night, name: str, later: str) -> None:
    write(night.copy, name, b"")
    night.land_everything()
    before = snapshot(night.tree)
    night.run("sh", "-c", later)
    gone, new = before.keys() - snapshot(night.tree).keys(), snapshot(night.tree).keys() - before.keys()
    assert (gone - {name} if name != "a;touch owned" else new) != set()


def test_a_worker_that_deletes_would_have_deleted(night: Night) -> None:
    shutil.rmtree(night.copy / "keep")
    write(night.copy, "notes", b"")
    night.mirror()
    assert not (night.tree / "keep/b.py").exists()
    assert (night.tree / "notes").read_bytes() == b""


def test_a_file_in_place_of_a_folder_would_have_removed_what_was_in_it(night: Night) -> None:
    shutil.rmtree(night.copy / "keep")
    write(night.copy, "keep", b"a file")
    (night.tree / "keep").rename(night.tree.parent / "gone")  # What a copy does with `--force`.
    night.land_everything()
    assert (night.tree / "keep").read_bytes() == b"a file"


@pytest.mark.parametrize("what", ["a save", "a deletion"])
def test_a_landing_that_simply_wrote_would_lose_what_the_user_did_meanwhile(night: Night, what: str) -> None:
    write(night.copy, "src/a.py", OURS)
    if what == "a save":
        save(night.tree, "src/a.py", b"the user's own\n")
    else:
        (night.tree / "src/a.py").unlink()
    night.land_everything()
    assert (night.tree / "src/a.py").read_bytes() == OURS
    assert not [c for c in snapshot(night.tree).values() if c == b"the user's own\n"]


def test_an_undo_that_simply_removed_would_remove_the_users_own(night: Night) -> None:
    write(night.tree, "src/new.py", OURS)
    save(night.tree, "src/new.py", b"the user's own by now")
    (night.tree / "src/new.py").unlink()
    assert b"the user's own by now" not in snapshot(night.tree).values()


def test_a_landing_that_wrote_in_place_would_write_into_a_hard_links_double(night: Night) -> None:
    (night.canary.parent / "double").hardlink_to(night.tree / "src/a.py")
    (night.tree / "src/a.py").write_bytes(OURS)
    assert (night.canary.parent / "double").read_bytes() == OURS


def test_a_landing_of_one_file_after_the_other_would_leave_half_of_it_after_a_kill(night: Night) -> None:
    code = (
        "import os, pathlib; pathlib.Path('src/a.py').write_text('new');"
        "os.kill(os.getpid(), 9); pathlib.Path('keep/b.py').write_text('new')"
    )
    night.run(sys.executable, "-c", code)
    assert (night.tree / "src/a.py").read_bytes() == b"new"
    assert (night.tree / "keep/b.py").read_bytes() == b"b = 1\n"


async def test_a_fifo_would_have_blocked_whoever_opens_it(night: Night) -> None:
    os.mkfifo(night.copy / "pipe")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await opened_as_usual(night.copy / "pipe")


async def opened_as_usual(path: Path) -> None:
    reader = await asyncio.create_subprocess_exec("cat", str(path))
    try:
        await reader.wait()
    finally:
        reader.kill()
        await reader.wait()


async def test_a_catastrophic_pattern_would_have_run_on() -> None:
    code = "import re; re.search(r'(a+)+$', 'a' * 40 + 'b')"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await ended(sys.executable, "-c", code)


async def ended(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words)
    try:
        await process.wait()
    finally:
        process.kill()
        await process.wait()


def test_a_flood_that_is_simply_collected_would_fill_memory() -> None:
    code = (
        "import resource, subprocess;"
        "subprocess.run(['sh', '-c', 'yes | head -c 60M'], stdout=subprocess.PIPE);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) > 60 * 1024


@pytest.mark.parametrize("how", ["asked to end", "its parent killed"])
def test_a_command_lives_on_that_is_only_asked_or_whose_parent_is_killed(how: str, tmp_path: Path) -> None:
    """It lives on where nobody kills it, or nothing dies with its parent."""
    command = f"trap '' TERM; echo $$ > {tmp_path}/pid; echo ready; exec sleep 60"
    parent = [sys.executable, "-c", f"import subprocess; subprocess.run(['sh', '-c', {command!r}])"]
    words = ["sh", "-c", command] if how == "asked to end" else parent
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        pid = int((tmp_path / "pid").read_text())
        process.send_signal(signal.SIGTERM if how == "asked to end" else signal.SIGKILL)
        try:
            os.kill(pid, 0)
        finally:
            os.kill(pid, signal.SIGKILL)


def naive_git_name(component: str) -> bool:
    """What a check does that compares names as they are written."""
    return component == ".git"


@pytest.mark.parametrize("spelling", [".Git", ".GIT", ".g\u200cit", "\uff0egit", "git~1"])
def test_a_name_compared_as_it_is_written_would_let_git_through(spelling: str) -> None:
    """On the file systems that fold case, ignore such characters, or give short names, it is `.git`."""
    assert not naive_git_name(spelling)


Naive = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("content", "naive"),
    [
        (b"a = 1\r\nb = 2\n", lambda raw: raw.decode().replace("\r\n", "\n").replace("1", "3").encode()),
        (b"\xef\xbb\xbfa = 1\n", lambda raw: raw.decode("utf-8-sig").replace("1", "3").encode()),
        (b"na\xefve = 1\n", lambda raw: raw.decode("utf-8", "replace").replace("1", "3").encode()),
    ],
    ids=["line ends", "byte order mark", "latin-1"],
)
def test_an_edit_by_plain_decoding_would_change_more_than_it_says(content: bytes, naive: Naive) -> None:
    assert naive(content) != re.sub(rb"1", b"3", content)
