"""Picks the sandbox of this machine and tries it, once at the daemon's start.

Separate from the backends because only this knows all of them, and imports what is tried. A sandbox that
does not work is never replaced by less in silence: without the user's `--unsafe-no-sandbox` commands are
refused.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.sandbox.backend import RefusingSandbox, Sandbox
from agentcoord.sandbox.bubblewrap import Bubblewrap
from agentcoord.sandbox.layout import read_layout
from agentcoord.sandbox.mends import other_system_mend, system_install_command
from agentcoord.sandbox.policy import ProbeReport
from agentcoord.sandbox.syscalls import MACHINES
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class SystemPaths:
    """Where the programs of the system are; tests point elsewhere."""

    bubblewrap: tuple[Path, ...] = (Path("/usr/bin/bwrap"), Path("/usr/local/bin/bwrap"), Path("/bin/bwrap"))
    """Tried in order. The system's own comes first: AppArmor's profiles name it by its path."""
    os_release: Path = Path("/etc/os-release")


async def choose_sandbox(
    *, unsafe: bool, clock: Clock, external: bool = False, system: SystemPaths | None = None
) -> Sandbox:
    """Return the sandbox that works here; see `tried_sandbox`."""
    return (await tried_sandbox(unsafe=unsafe, clock=clock, external=external, system=system))[0]


async def tried_sandbox(
    *, unsafe: bool, clock: Clock, external: bool = False, system: SystemPaths | None = None
) -> tuple[Sandbox, ProbeReport]:
    """Return the sandbox that works here, and what it was seen to hold.

    `external`: the user declares that the daemon is inside a sandbox already. `unsafe`: where none
    works, commands run unconfined; where one works, it is used all the same. Otherwise commands are
    refused, with what would help.
    """
    bash = Path(shutil.which("bash") or "/bin/bash")
    if external:
        from agentcoord.sandbox.plain import external_sandbox

        return await _told(external_sandbox(bash, clock=clock))
    candidate = _candidate(system or SystemPaths(), clock)
    if isinstance(candidate, ProbeReport):
        report = candidate
    else:
        report = await candidate.probe()
        if report.ok:
            return candidate, report
    if unsafe:
        from agentcoord.sandbox.plain import unconfined_sandbox

        return await _told(unconfined_sandbox(bash, clock=clock, why=report))
    return RefusingSandbox(report), report


async def _told(sandbox: Sandbox) -> tuple[Sandbox, ProbeReport]:
    return sandbox, await sandbox.probe()


def _candidate(system: SystemPaths, clock: Clock) -> Sandbox | ProbeReport:
    """Return the backend to try, or why there is none."""
    if platform.system() == "Darwin":
        from agentcoord.sandbox.seatbelt import Seatbelt

        return Seatbelt(clock=clock)
    if platform.system() != "Linux":
        return ProbeReport(
            ok=False, backend="none", reasons=("this system has no sandbox",), mend=other_system_mend()
        )
    program = next((path for path in system.bubblewrap if path.is_file()), None)
    if program is None:
        return ProbeReport(
            ok=False,
            backend="none",
            reasons=("bubblewrap is not installed",),
            mend=system_install_command(system.os_release),
        )
    layout = read_layout()
    if layout is None:
        return ProbeReport(
            ok=False,
            backend="none",
            reasons=("bash is not installed",),
            mend="install bash with your system's package manager",
        )
    return Bubblewrap(program, layout, clock=clock, machine=MACHINES.get(platform.machine()))
