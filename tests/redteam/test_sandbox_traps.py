"""Attacks that take more than one command, or that outlive one."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_scene import SMALL, Scene

from agentcoord.clock import SystemClock
from agentcoord.errors import SandboxError
from agentcoord.sandbox import Limits, Policy, Result, Sandbox, choose_sandbox
from agentcoord.sandbox.bubblewrap import Bubblewrap
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.layout import read_layout
from agentcoord.sandbox.mount_guard import read_only_mounts
from agentcoord.sandbox.plain import external_sandbox, unconfined_sandbox
from agentcoord.sandbox.policy import KilledBy
from agentcoord.sandbox.syscalls import MACHINES

pytestmark = pytest.mark.redteam

HOLD_LOCK = "exec 9>held; flock 9; echo ready > started; echo ready"
"""Whoever lives on keeps the lock on a file of the workspace; the kernel frees it with the last one."""


@pytest.fixture
async def sandbox() -> Sandbox:
    chosen = await choose_sandbox(unsafe=False, clock=SystemClock())
    assert chosen.confined
    return chosen


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def somebody_lives(scene: Scene) -> bool:
    """Whether a process that the command started still holds its lock."""
    with (scene.workspace / "held").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def unguarded_bubblewrap(*, filtered: bool = True) -> Bubblewrap:
    layout = read_layout()
    assert layout is not None
    machine = MACHINES.get(platform.machine()) if filtered else None
    return Bubblewrap(Path("/usr/bin/bwrap"), layout, clock=SystemClock(), machine=machine)


class TestMountTargets:
    """Command one swaps a mount target's parent for a link that leads out; command two's set-up
    would then create the target on the host."""

    async def lay_the_trap(self, scene: Scene, sandbox: Sandbox) -> None:
        swap = f"mv packages/app packages/old && ln -s '/oldroot{scene.outside}' packages/app && echo laid"
        result = await sandbox.run(swap, scene.policy, SMALL)
        assert "laid" in result.output

    async def test_a_swapped_parent_refuses_the_next_command(self, scene: Scene, sandbox: Sandbox) -> None:
        await self.lay_the_trap(scene, sandbox)
        with pytest.raises(SandboxError, match="packages/app/node_modules") as caught:
            await sandbox.run("echo ran > ran", scene.policy, SMALL)
        assert "fresh workspace" in caught.value.mend
        assert not (scene.workspace / "ran").exists()
        assert scene.damage() == []

    async def test_without_the_guard_a_vulnerable_bubblewrap_writes_outside(self, scene: Scene) -> None:
        """The control; where the distribution has mended bubblewrap it cannot get through."""
        unguarded = unguarded_bubblewrap()
        report = await unguarded.probe()
        vulnerable = any("follows links" in feature for feature in report.features)
        await self.lay_the_trap(scene, unguarded)
        mounts = read_only_mounts(scene.policy)
        try:
            await unguarded._run_alone("true", scene.policy, SMALL, mounts, None)
        except SandboxError:
            assert not vulnerable
        assert bool(scene.damage()) is vulnerable

    async def test_git_cannot_be_swapped_either(self, scene: Scene, sandbox: Sandbox) -> None:
        await sandbox.run("true", scene.policy, SMALL)
        (scene.workspace / ".git").rmdir()
        (scene.workspace / ".git").symlink_to(scene.outside)
        with pytest.raises(SandboxError, match=r"\.git"):
            await sandbox.run("true", scene.policy, SMALL)
        assert scene.damage() == []


class TestShadowGit:
    async def test_status_log_and_diff_work(self, scene: Scene, sandbox: Sandbox) -> None:
        result = await sandbox.run(
            "set -e; git status --porcelain; git log --oneline; git diff; git show HEAD:hello.py",
            scene.policy,
            SMALL,
        )
        assert result.exit_code == 0, result.output
        assert " M hello.py" in result.output
        assert "first" in result.output
        assert "+print('hello, world')" in result.output
        assert scene.damage() == []

    async def test_without_a_shadow_there_is_no_git(self, scene: Scene, sandbox: Sandbox) -> None:
        policy = dataclasses.replace(scene.policy, shadow_git=None, git_objects=None)
        result = await sandbox.run("git status", policy, SMALL)
        assert result.exit_code == 128
        assert "not a git repository" in result.output

    async def test_the_real_repository_would_take_the_commit(self, scene: Scene) -> None:
        """The control: only the shadow keeps it from that."""
        unguarded = unconfined_sandbox(Path("/bin/bash"), clock=SystemClock())
        identity = "-c user.name=a -c user.email=a@b"
        commit = f"cd '{scene.repo}'; unset GIT_DIR GIT_WORK_TREE; git {identity} commit -am evil"
        assert (await unguarded.run(commit, scene.policy, SMALL)).exit_code == 0
        assert scene.damage() != []


class TestWhatLivesOn:
    DAEMON = f"(setsid bash -c '{HOLD_LOCK}; exec sleep 300' </dev/null >/dev/null 2>&1 &) ; "
    WAIT = "until [ -s started ]; do sleep 0.02; done; echo done"

    async def test_a_daemon_dies_with_its_command(self, scene: Scene, sandbox: Sandbox) -> None:
        result = await sandbox.run(self.DAEMON + self.WAIT, scene.policy, SMALL)
        assert "done" in result.output
        assert result.exit_code == 0
        assert not somebody_lives(scene)

    async def test_with_nothing_to_hold_it_the_same_daemon_survives(self, scene: Scene) -> None:
        daemon = self.DAEMON.replace("exec sleep", "echo $$ > pid; exec sleep") + self.WAIT + "; cat pid"
        argv = direct_command_line(Path("/bin/bash"), daemon, SMALL)
        result = await run_direct(scene.policy, SMALL, lambda _: argv, clock=SystemClock(), on_output=None)
        assert somebody_lives(scene)
        os.kill(int((scene.workspace / "pid").read_text()), signal.SIGKILL)
        assert result.exit_code == 0

    @pytest.mark.parametrize("change", ["", "env -i ", "nice "], ids=["", "no environment", "by another"])
    async def test_without_a_namespace_it_dies_with_its_command_too(self, scene: Scene, change: str) -> None:
        outside = external_sandbox(Path("/bin/bash"), clock=SystemClock())
        daemon = self.DAEMON.replace("setsid", f"{change}setsid -f")
        result = await outside.run(daemon + self.WAIT + "; exit 3", scene.policy, SMALL)
        assert (result.output.split()[-1], result.exit_code) == ("done", 3)
        assert not somebody_lives(scene)

    async def test_without_a_namespace_it_dies_at_the_deadline_too(self, scene: Scene) -> None:
        outside = external_sandbox(Path("/bin/bash"), clock=SystemClock())
        limits = dataclasses.replace(SMALL, timeout_s=1.0, grace_s=0.2)
        command = f"{self.DAEMON} trap '' TERM; {self.WAIT}; sleep 300"
        result = await outside.run(command, scene.policy, limits)
        assert result.killed_by is KilledBy.TIMEOUT
        assert not somebody_lives(scene)

    async def test_without_a_namespace_it_dies_when_the_command_is_cancelled(self, scene: Scene) -> None:
        await self.cancel_midway(scene, external_sandbox(Path("/bin/bash"), clock=SystemClock()))

    async def test_cancelled_midway_nothing_lives_on(self, scene: Scene, sandbox: Sandbox) -> None:
        await self.cancel_midway(scene, sandbox)

    async def cancel_midway(self, scene: Scene, sandbox: Sandbox) -> None:
        ready = asyncio.Event()

        async def run() -> Result:
            command = f"{self.DAEMON} trap '' TERM; {self.WAIT}; sleep 300"
            return await sandbox.run(command, scene.policy, SMALL, on_output=lambda _: ready.set())

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run())
            await ready.wait()
            assert somebody_lives(scene)
            running.cancel()
        assert running.cancelled()
        assert not somebody_lives(scene)
        assert scene.damage() == []
        assert (await sandbox.run("echo again", scene.policy, SMALL)).output == "again\n"

    @pytest.mark.parametrize("turns", [0, 2, 5, 20, 60, 200, 600, 2000])
    async def test_cancelled_during_set_up_nothing_lives_on(
        self, scene: Scene, sandbox: Sandbox, turns: int
    ) -> None:
        (scene.workspace / "held").touch()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(sandbox.run(f"{HOLD_LOCK}; sleep 300", scene.policy, SMALL))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
        assert running.cancelled()
        assert not somebody_lives(scene)

    @pytest.mark.parametrize("chosen", ["unsafe=False", "external=True, unsafe=False"])
    def test_killing_the_daemon_kills_the_command(self, scene: Scene, chosen: str) -> None:
        script = (
            "import asyncio, sys\n"
            "from pathlib import Path\n"
            "from agentcoord.clock import SystemClock\n"
            "from agentcoord.sandbox import Limits, Policy, choose_sandbox\n"
            "async def main():\n"
            "    sandbox = await choose_sandbox(CHOSEN, clock=SystemClock())\n"
            "    policy = Policy(Path(sys.argv[1]), Path('/repo'))\n"
            "    show = lambda _: print('running', flush=True)\n"
            "    await sandbox.run(sys.argv[2], policy, Limits(timeout_s=60), on_output=show)\n"
            "asyncio.run(main())\n"
        ).replace("CHOSEN", chosen)
        argv = [sys.executable, "-c", script, str(scene.workspace), f"{HOLD_LOCK}; sleep 300"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as daemon:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == b"running\n"
            assert somebody_lives(scene)
            daemon.kill()
        # Blocks until the last one is dead; the test's own deadline bounds it.
        with (scene.workspace / "held").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)


class TestBounds:
    async def test_a_flood_of_output_leaves_memory_flat(self, scene: Scene, sandbox: Sandbox) -> None:
        limits = Limits(timeout_s=40, output_bytes=100_000)
        await sandbox.run("true", scene.policy, limits)
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = await sandbox.run("yes | head -c 150M; echo the end", scene.policy, limits)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        assert grown_kib < 16 * 1024
        assert result.truncated
        assert result.dropped_bytes == 150 * 1024**2 + len("the end\n") - 100_000
        assert len(result.output) < 101_000
        assert result.output.endswith("the end\n")

    async def test_a_command_may_tidy_up_when_its_time_is_over(self, scene: Scene, sandbox: Sandbox) -> None:
        limits = dataclasses.replace(SMALL, timeout_s=0.5, grace_s=5)
        command = "trap 'echo tidy; exit 7' TERM; sleep 300 & wait"
        result = await sandbox.run(command, scene.policy, limits)
        assert (result.killed_by, result.exit_code, result.output) == ("timeout", 7, "tidy\n")
        assert result.duration_ms < 4000

    async def test_a_command_longer_than_an_argument_is_refused_in_words(
        self, scene: Scene, sandbox: Sandbox
    ) -> None:
        result = await sandbox.run(f"echo {'x' * 200_000}", scene.policy, SMALL)
        assert result.exit_code == 126
        assert "Write it to a file" in result.output


class TestFilter:
    PTRACE = (
        "python3 -c 'import ctypes; libc = ctypes.CDLL(None, use_errno=True);"
        " print(libc.ptrace(0, 0, 0, 0), ctypes.get_errno())'"
    )

    async def test_tracing_is_refused(self, scene: Scene, sandbox: Sandbox) -> None:
        assert (await sandbox.run(self.PTRACE, scene.policy, SMALL)).output == "-1 1\n"

    async def test_without_the_filter_tracing_works(self, scene: Scene) -> None:
        unfiltered = unguarded_bubblewrap(filtered=False)
        assert (await unfiltered.run(self.PTRACE, scene.policy, SMALL)).output == "0 0\n"


class TestShared:
    async def test_secrets_of_the_first_process_are_hidden_because_bubblewrap_has_no_environment(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control: `--clearenv` alone leaves the daemon's environment in /proc/1/environ."""
        told = subprocess.run(
            [
                *("/usr/bin/bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/"),
                *("--proc", "/proc", "--clearenv", "--", "/bin/cat", "/proc/1/environ"),
            ],
            env={"CANARY": "in the environment"},
            capture_output=True,
        )
        assert b"in the environment" in told.stdout

    async def test_the_same_workspace_runs_one_command_at_a_time(
        self, scene: Scene, sandbox: Sandbox
    ) -> None:
        alone = "mkdir busy && sync . && rmdir busy"
        async with asyncio.TaskGroup() as tasks:
            runs = [tasks.create_task(sandbox.run(alone, scene.policy, SMALL)) for _ in range(4)]
        assert [run.result().exit_code for run in runs] == [0, 0, 0, 0]

    async def test_a_policy_for_a_missing_workspace_is_an_error_and_no_result(
        self, tmp_path: Path, sandbox: Sandbox
    ) -> None:
        with pytest.raises(SandboxError, match="cannot be opened"):
            await sandbox.run("true", Policy(tmp_path / "gone", Path("/repo")), SMALL)
