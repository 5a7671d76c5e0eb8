"""A command that no namespace holds ends as it would by itself, and takes with it all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.errors import SandboxError
from agentcoord.sandbox import Limits, Policy, Result, holder
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.held import can_hold
from agentcoord.sandbox.plain import external_sandbox

BASH = Path("/bin/bash")
LIMITS = Limits(timeout_s=15, grace_s=0.2)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere its process group is all there is")


async def run(folder: Path, command: str) -> Result:
    return await external_sandbox(BASH, clock=SystemClock()).run(command, Policy(folder, folder), LIMITS)


@pytest.mark.parametrize(
    "command",
    [
        "echo a; exit 3",
        "kill -9 $$",
        "kill 0",
        "yes | head -n 1; echo ${PIPESTATUS[*]}",
        "trap -p; ulimit -c; ulimit -n",
        "exec no-such-program",
        "env | grep -v agentcoord-command- | sort",
        "[ $(ps -o pgid= -p $$) = $$ ] && [ $(ps -o sid= -p $$) = $$ ] && echo leads",
        "grep SigIgn /proc/self/status",
    ],
)
async def test_a_held_command_sees_and_tells_the_same_as_one_that_is_not(
    tmp_path: Path, command: str
) -> None:
    argv = direct_command_line(BASH, command, LIMITS)
    policy = Policy(tmp_path, tmp_path)
    alone = await run_direct(policy, LIMITS, lambda _: argv, clock=SystemClock(), on_output=None)
    held = await run(tmp_path, command)
    assert (held.exit_code, held.output, held.killed_by) == (alone.exit_code, alone.output, alone.killed_by)


async def test_what_a_command_left_in_sessions_of_their_own_is_gone_with_it(tmp_path: Path) -> None:
    left = "setsid bash -c 'echo $$ >> pids; setsid sleep 300 & echo $! >> pids; wait' &"
    wait = "until [ $(wc -l < pids) = 4 ]; do sleep 0.02; done"
    result = await run(
        tmp_path, f"exec </dev/null >/dev/null; touch pids; {left} (env -i {left}); {wait}; exit 5"
    )
    assert result.exit_code == 5
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 4
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("how", ["KILL", "STOP"])
async def test_a_command_that_turns_on_what_holds_it_ends_nobody_but_itself(tmp_path: Path, how: str) -> None:
    command = f"kill -{how} $PPID; exec sleep 300" if how == "STOP" else f"kill -{how} $PPID; exit 4"
    sandbox = external_sandbox(BASH, clock=SystemClock())
    limits = Limits(timeout_s=1, grace_s=0.1)
    result = await sandbox.run(command, Policy(tmp_path, tmp_path), limits)
    assert result.exit_code == 128 + (signal.SIGKILL if how == "KILL" else signal.SIGTERM)


async def test_where_nothing_can_be_held_the_command_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await can_hold(BASH, clock=SystemClock())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert not await can_hold(BASH, clock=SystemClock())
    assert (await run(tmp_path, "echo runs")).output == "runs\n"


@pytest.mark.parametrize("name", ["os.pidfd_open", "signal.pidfd_send_signal"])
async def test_where_a_filter_forbids_to_hold_the_deadline_ends_the_command_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "filtered")

    monkeypatch.setattr(name, refuse)
    sandbox = external_sandbox(BASH, clock=SystemClock())
    result = await sandbox.run("echo $$; exec sleep 300", Policy(tmp_path, tmp_path), Limits(timeout_s=1))
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.output), 0)


async def test_ending_many_processes_takes_no_more_than_some_looks_at_them() -> None:
    count = 100
    script = f"""if True:
        import os, signal
        from agentcoord.sandbox import holder
        for _ in range({count}):
            if os.fork() == 0:
                signal.pause()
        asked, kill = [], os.kill
        os.kill = lambda pid, number: (asked.append(pid), kill(pid, number))
        holder.end_all()
        print(len(asked))"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert count <= int(done.stdout) < count * count / 4


async def test_an_upgrade_under_a_running_daemon_changes_nothing_for_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, policy = external_sandbox(BASH, clock=SystemClock()), Policy(tmp_path, tmp_path)
    assert (await sandbox.run("exit 3", policy, LIMITS)).exit_code == 3
    monkeypatch.setattr(holder, "__file__", "/nowhere/holder.py")
    assert (await sandbox.run("exit 4", policy, LIMITS)).exit_code == 4
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert (await sandbox.run("exit 5", policy, LIMITS)).exit_code == 5


async def test_what_keeps_a_held_command_from_starting_is_no_exit_code_of_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bash = tmp_path / "bash"
    bash.symlink_to(BASH)
    sandbox, policy = external_sandbox(bash, clock=SystemClock()), Policy(tmp_path, tmp_path)
    assert (await sandbox.run("exit 2", policy, LIMITS)).exit_code == 2
    bash.unlink()
    with pytest.raises(SandboxError, match="bash could not be started: No such file"):
        await sandbox.run("exit 2", policy, LIMITS)
    bash.symlink_to(BASH)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named encodings; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(SandboxError, match="not started: no module named encodings"):
        await sandbox.run("exit 2", policy, LIMITS)


async def test_a_command_does_not_inherit_what_its_holder_tells_by(tmp_path: Path) -> None:
    assert (await run(tmp_path, "ls /proc/self/fd | wc -l")).output == "4\n", "three, and the folder"
