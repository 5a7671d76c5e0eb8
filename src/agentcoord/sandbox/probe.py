"""Finds out by trying whether a backend confines: versions tell little, distributions backport.

Separate from the backends because it runs commands through their public `run` and judges what came
of it. The probe's command prints one line for each thing it could do that it should not; a
sandbox works when there is none and its last line is there.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.mends import mend_for
from agentcoord.sandbox.policy import KilledBy, Limits, Policy, ProbeReport
from agentcoord.sandbox.process import Launch, run_process
from agentcoord.sandbox.scratch import scratch_folder

if TYPE_CHECKING:
    from agentcoord.sandbox.backend import Sandbox

_LIMITS = Limits(timeout_s=15.0, memory_tmpfs_bytes=16 * 1024**2)
_CONFINED = "agentcoord-probe: confined"
_LEAK = "agentcoord-probe: "

# Only bash itself is used, so that the probe needs no other program inside. A datagram needs no
# answer: where there is a route it leaves at once, without one it fails at once. Outside of the probe's
# own folder it only asks what it may write: where nothing confines it, it would really write.
_COMMON = """\
leak() { echo "agentcoord-probe: $1"; }
[ "$(< __CANARY__)" = alive ] 2>/dev/null && leak "it reads files outside of the workspace"
(echo dead > __CANARY__) 2>/dev/null  # Whether that arrived is seen from outside.
(echo > /dev/udp/192.0.2.1/9) 2>/dev/null && leak "it reaches the network"
echo written > probe-was-here || leak "it cannot write the workspace"
"""
_LINUX = """\
while IFS= read -r -d '' entry; do leak "its environment holds $entry"; done < /proc/1/environ
[ -e /root/.bashrc ] && leak "it sees the home of root"
[ -w /usr ] && leak "it writes /usr"
[ -w / ] && leak "it writes the root folder"
[ -w /proc/sys/kernel/core_pattern ] && leak "it sets the kernel's variables"
[ -w /tmp ] || leak "it cannot write /tmp"
interfaces=0
while read -r line; do case $line in *:*) interfaces=$((interfaces + 1));; esac; done < /proc/self/net/dev
[ "$interfaces" -le 1 ] || leak "it has network interfaces besides the loopback"
while read -r key value; do
  [ "$key" = CapBnd: ] || [ "$key" = CapEff: ] || continue
  case $value in *[!0]*) leak "it has capabilities";; esac
done < /proc/self/status
"""
_FILTERED = """\
while read -r key value; do
  [ "$key" = Seccomp: ] && [ "$value" != 2 ] && leak "no filter bounds its system calls"
done < /proc/self/status
"""


async def probe_bubblewrap(sandbox: Sandbox, program: Path, clock: Clock, *, has_filter: bool) -> ProbeReport:
    """Try the whole of the bubblewrap backend, and whether this bwrap follows links for its mounts."""
    version = await _version(program, clock)
    script = _COMMON + _LINUX + (_FILTERED if has_filter else "")
    report = await _probe(sandbox, script, version)
    if not report.ok:
        return report
    follows = await _follows_links(program, clock)
    features = (
        *report.features,
        "system calls are filtered" if has_filter else "no filter of system calls for this machine",
        "mount targets: this bwrap follows links, and every run is guarded against it"
        if follows
        else "mount targets: this bwrap does not follow links",
    )
    return ProbeReport(ok=True, backend=sandbox.name, version=version, features=features)


async def probe_seatbelt(sandbox: Sandbox) -> ProbeReport:
    """Try the whole of the seatbelt backend."""
    return await _probe(sandbox, _COMMON, "")


async def _probe(sandbox: Sandbox, script: str, version: str) -> ProbeReport:
    async with scratch_folder("agentcoord-probe-") as root:
        return await _probe_in(root, sandbox, script, version)


async def _probe_in(root: Path, sandbox: Sandbox, script: str, version: str) -> ProbeReport:
    canary = root / "canary"
    canary.write_text("alive\n")
    workspace = root / "workspace"
    workspace.mkdir()
    policy = Policy(workspace=workspace, mount_at=workspace)
    command = script.replace("__CANARY__", shlex.quote(str(canary))) + f"echo '{_CONFINED}'"

    def failed(*reasons: str, mend: str) -> ProbeReport:
        return ProbeReport(ok=False, backend=sandbox.name, version=version, reasons=reasons, mend=mend)

    try:
        result = await sandbox.run(command, policy, _LIMITS)
    except SandboxError as error:
        return failed(error.message.rstrip("."), mend=error.mend)
    told = [line for line in result.output.splitlines() if line.startswith(_LEAK)]
    leaks = [line.removeprefix(_LEAK) for line in told if line != _CONFINED]
    if canary.read_text() != "alive\n":
        leaks.append("it changed a file outside of the workspace")
    if not (workspace / "probe-was-here").exists():
        leaks.append("what it writes does not arrive in the workspace")
    if leaks or _CONFINED not in told:
        ending = result.killed_by.value if result.killed_by is not KilledBy.NOBODY else result.exit_code
        return failed(*(leaks or [f"a command inside it failed ({ending})"]), mend=mend_for(result.output))
    return ProbeReport(
        ok=True,
        backend=sandbox.name,
        version=version,
        features=("no network", "no environment of ours", "nothing outside of the workspace is written"),
    )


async def _follows_links(program: Path, clock: Clock) -> bool:
    """Lay the trap of CVE-2026-87766: a mount target below a link that leads out of the sandbox."""
    async with scratch_folder("agentcoord-probe-") as root:
        workspace, outside, shown = root / "workspace", root / "outside", root / "shown"
        for folder in (workspace, outside, shown):
            folder.mkdir()
        (workspace / "parent").symlink_to(f"/oldroot{outside}")
        await _run_plain(
            clock,
            *(str(program), "--unshare-user", "--unshare-pid", "--tmpfs", "/"),
            *("--ro-bind", "/usr", "/usr", "--bind", str(workspace), "/workspace"),
            *("--ro-bind", str(shown), "/workspace/parent/target", "--", "/usr/bin/true"),
        )
        return (outside / "target").exists()


async def _version(program: Path, clock: Clock) -> str:
    try:
        return (await _run_plain(clock, str(program), "--version")).strip()
    except SandboxError:
        return ""


def _run_plain(clock: Clock, *argv: str) -> Awaitable[str]:
    async def run() -> str:
        launch = Launch(argv=argv, env={}, cwd=Path("/"))
        ended = await run_process(launch, _LIMITS, clock=clock)
        return ended.capture.text()

    return run()
