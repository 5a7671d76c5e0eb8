"""Places that are full, read-only, not ours or unreadable, and a Redis that is away: words and exit codes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from night_kit import Done, Night, bash, create, finish, one_task, until, wait_gone
from own_redis import own_server

from agentcoord.wire.messages import Method


class SmallDisk:
    """The state folder's home as a disk of its own, in a mount namespace that only its commands see."""

    def __init__(self, shell: subprocess.Popen[str]) -> None:
        self._shell = shell

    def run(self, words: str) -> Done:
        """Run one line of shell there."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'( {words} ) 2>&1 </dev/null; echo "exit $?"\n')
        self._shell.stdin.flush()
        said: list[str] = []
        for line in self._shell.stdout:
            if line.startswith("exit "):
                return Done(int(line.split()[1]), "".join(said), "".join(said))
            said.append(line)
        raise AssertionError(f"the shell ended: {said}")

    def fill(self) -> None:
        """Leave not a byte."""
        for size in ("1M", "1k"):
            filled = self.run(
                f'dd if=/dev/zero of="$XDG_STATE_HOME/filler" oflag=append conv=notrunc bs={size}'
            )
            assert "No space left" in filled.out

    def free(self) -> None:
        """Make room again."""
        assert self.run('rm "$XDG_STATE_HOME/filler"').code == 0


@pytest.fixture
def small_disk(a_night: Night) -> Iterator[SmallDisk]:
    """A disk with room for a few private copies; a user who is not root gets it in a user namespace."""
    (a_night.base / "s").mkdir()
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    with subprocess.Popen(
        [*alone, "sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=a_night.env,
        cwd=a_night.root,
        text=True,
    ) as shell:
        disk = SmallDisk(shell)
        try:
            mounted = disk.run('mount -t tmpfs -o size=230m none "$XDG_STATE_HOME"')
            assert mounted.code == 0, mounted.out
            yield disk
            disk.run("agentcoordd stop --now")
        finally:
            shell.kill()


def test_a_full_disk_at_the_start_is_said_and_leaves_nothing_running(
    a_night: Night, small_disk: SmallDisk
) -> None:
    small_disk.fill()
    done = small_disk.run("agentcoordd start")
    assert done.code in (1, 2)
    assert "No space left on device" in done.out
    assert "fix: " in done.out
    assert "free some disk" in done.out
    assert a_night.run("agentcoordd", "status").code == 3


def test_a_start_on_a_full_disk_is_no_daemon_that_died(a_night: Night, small_disk: SmallDisk) -> None:
    identity = a_night.paths.identity_file
    assert small_disk.run(f"agentcoordd start --rehearse {a_night.scripts} && agentcoordd stop").code == 0
    small_disk.fill()
    assert small_disk.run("agentcoordd start").code == 1
    assert small_disk.run(f"test -e {identity}").code == 1


def test_a_disk_that_fills_up_later_is_said_and_the_work_goes_on_when_there_is_room(
    a_night: Night, small_disk: SmallDisk
) -> None:
    a = a_night
    for task in ("one", "two"):
        a.script(task, {"tools": [create(f"{task}.py", "X = 1\n"), finish()]})
    started = small_disk.run(f"agentcoordd start --rehearse {a.scripts}")
    assert started.code == 0, started.out
    small_disk.fill()
    a.load(one_task("one"))
    until(lambda: a.run("agentcoord", "load", a.plan(one_task("two"))).code == 1)
    refused = a.run("agentcoord", "load", a.plan(one_task("two")))
    assert "No space left on device" in refused.err
    assert "fix: free space" in refused.err
    small_disk.free()
    until(lambda: a.run("agentcoord", "load", a.plan(one_task("two"))).code == 0)
    # The run is paused where a task met the full disk before its server did.
    assert a.run("agentcoord", "ctl", "resume").code == 0
    waited = a.run("agentcoord", "wait", "--timeout", "60")
    assert waited.code == 0, waited.out
    stopped = small_disk.run("agentcoordd stop")
    assert (stopped.code, stopped.out) == (0, "stopped\n")


def test_a_read_only_state_folder_is_said(a_night: Night, small_disk: SmallDisk) -> None:
    assert small_disk.run('mount -o remount,ro "$XDG_STATE_HOME"').code == 0
    done = small_disk.run("agentcoordd start")
    assert done.code == 2
    assert f"error: cannot make the folder {a_night.paths.state_dir}: Read-only file system" in done.out
    assert "XDG_STATE_HOME" in done.out
    looked = small_disk.run("agentcoord doctor")
    assert looked.code == 1
    assert f"✗ state       nothing can be written below {a_night.base / 's'}" in looked.out


def test_a_read_only_folder_in_the_tree_parks_the_task_and_the_daemon_starts_again(
    a_night: Night, small_disk: SmallDisk
) -> None:
    a = a_night
    mounted = small_disk.run("mkdir vendor && mount -t tmpfs none vendor && mount -o remount,ro vendor")
    assert mounted.code == 0, mounted.out
    a.script("one", {"tools": [create("one.py", "X = 1\n"), create("vendor/one.py", "X = 1\n"), finish()]})
    started = small_disk.run(f"agentcoordd start --rehearse {a.scripts}")
    assert started.code == 0, started.out
    a.load(one_task("one"))
    assert a.run("agentcoord", "wait", "--timeout", "20").code == 7, a.run("agentcoord", "task", "one").out
    why = a.run("agentcoord", "task", "one").out
    assert "'vendor/one.py' cannot be changed: Read-only file system" in " ".join(why.split())
    assert not (a.root / "one.py").exists()
    again = small_disk.run(f"agentcoordd stop && agentcoordd start --rehearse {a.scripts}")
    assert again.code == 0, again.out


def test_a_folder_that_others_may_read_is_closed_and_one_that_is_no_folder_is_refused(
    a_night: Night,
) -> None:
    a = a_night
    for folder in (a.paths.state_dir, a.paths.runtime_dir):
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    a.start()
    for folder in (a.paths.state_dir, a.paths.runtime_dir):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert a.run("agentcoordd", "stop").code == 0
    shutil.rmtree(a.paths.runtime_dir)
    a.paths.runtime_dir.symlink_to(a.base)
    done = a.run("agentcoordd", "start")
    assert done.code == 2
    assert f"error: {a.paths.runtime_dir} is not a folder of yours" in done.err
    assert f"fix: move {a.paths.runtime_dir} away, or set XDG_STATE_HOME" in done.err


def link_to_nowhere(path: str) -> None:
    Path(path).symlink_to("nowhere.toml")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, link_to_nowhere])
def test_a_configuration_that_cannot_be_read_is_said(a_night: Night, make: Callable[[str], None]) -> None:
    config = a_night.root / "agentcoord.toml"
    config.unlink()
    make(str(config))
    for words in (("agentcoordd", "start"), ("agentcoord", "config")):
        done = a_night.run(*words)
        assert done.code == 2
        assert done.err.startswith(f"error: cannot read {config}: ")
        assert "fix: make agentcoord.toml a readable file in UTF-8" in done.err
    assert a_night.run("agentcoordd", "status").code == 3


def test_a_redis_that_is_away_at_the_start_is_said(a_night: Night) -> None:
    url = f"unix://{a_night.base}/v/sock"
    done = a_night.run("agentcoordd", "start", env={"AGENTCOORD_REDIS_URL": url})
    assert done.code == 1
    assert done.err.startswith("error: Redis cannot be reached")
    assert "redis.url" in done.err
    assert a_night.run("agentcoordd", "status").code == 3


def test_a_redis_that_goes_away_later_is_said_and_the_work_goes_on_when_it_is_back(a_night: Night) -> None:
    a = a_night
    a.env["AGENTCOORD_REDIS_URL"] = f"unix://{a.base}/v/sock"
    a.script("t", {"tools": [create("more.py", "X = 1\n"), bash("sleep 1")]}, {"tools": [finish()]})
    with own_server(a) as server:
        pid = a.start()
        a.load(one_task())
        asyncio.run(a.wait_for("task.turn", "t"))
        server.send_signal(signal.SIGTERM)
        server.wait(10)
        done = a.run("agentcoord", "tasks")
        assert done.code == 1
        assert done.err.startswith("error: Redis cannot be reached")
        assert a.call(Method.HELLO, protocol=[1], client="test")["pid"] == pid
    with own_server(a):
        until(lambda: a.run("agentcoord", "status").code == 0)
        asyncio.run(a.wait_for("task.done", "t"))
        assert a.run("agentcoordd", "stop").code == 0
        assert wait_gone(pid, 20)


def test_a_start_says_who_runs_where_and_where_its_log_is(a_night: Night) -> None:
    a = a_night
    done = a.run("agentcoordd", "start", env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"})
    assert done.code == 0
    said = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert said == {"pid": said["pid"], "socket": str(a.paths.socket), "log": str(a.paths.log_file)}
    stopped = a.run("agentcoordd", "stop")
    assert (stopped.code, stopped.out) == (0, "stopped\n")
    again = a.run("agentcoordd", "stop")
    assert again.code == 3
    assert again.err.startswith("error: no daemon runs for this project")


def test_a_daemon_that_crashed_is_told_and_the_next_goes_on_over_its_socket(
    a_night: Night,
) -> None:
    a = a_night
    first = a.run("agentcoordd", "start", "--rehearse", a.scripts, "--json").document["pid"]
    os.kill(first, signal.SIGKILL)
    assert wait_gone(first, 10)
    assert a.paths.socket.exists()
    for program in ("agentcoordd", "agentcoord"):
        gone = a.run(program, "status")
        assert gone.code == 3
        nobody = f"error: no daemon runs for this project (nobody listens on {a.paths.socket})"
        assert gone.err == f"{nobody}\nfix: agentcoordd start\n"
    again = a.run("agentcoordd", "start")
    assert (again.code, again.err) == (
        0,
        "goes on as it was started before: a rehearsal (scripted model)\n",
    )
    assert a.run("agentcoordd", "status", "--json").document["pid"] != first
    refused = a.run("agentcoordd", "start")
    assert refused.code == 5
    assert refused.err.startswith(f"error: a daemon runs for {a.root} already"), "nothing goes on by this one"
    stopped = a.run("agentcoordd", "stop")
    assert (stopped.code, stopped.out) == (0, "stopped\n")
