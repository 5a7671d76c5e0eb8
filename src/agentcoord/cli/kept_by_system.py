"""A daemon that the system's service manager keeps is started again by that manager, and by nobody else.

Separate from `service_commands`, which installs the service: `restart` and `reload` ask here. One that they
started themselves would be outside of the service, which then neither restarts it nor ends it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.looks_machine import run_tool
from agentcoord.cli.starting import tell_started
from agentcoord.daemon.project_lock import read_identity

START_TIMEOUT_S = 180.0
"""A start may read much data, and wait for the service's pause between two starts."""


def start_command_of(invocation: Invocation) -> Sequence[str]:
    """What has the manager start the daemon that runs now; empty when it does not keep that one."""
    from agentcoord.cli.service_commands import unit_of

    unit = unit_of(invocation, allow_root=True)
    pid = read_identity(invocation.paths()).get("pid")
    if pid is None or not unit.path.exists():
        return ()
    if sys.platform == "darwin":
        place = f"gui/{invocation.uid}/{unit.name}"
        done = run_tool(invocation, ["launchctl", "print", place])
        return (
            ("launchctl", "kickstart", place) if done and re.search(rf"\bpid = {pid}\b", done.stdout) else ()
        )
    show = ["systemctl", "--user", "show", "--property=MainPID", "--value", unit.name]
    done = run_tool(invocation, show)
    return ("systemctl", "--user", "start", unit.name) if done and done.stdout.strip() == str(pid) else ()


def start_again(invocation: Invocation, command: Sequence[str], *, as_json: bool) -> None:
    """Have the manager start it, and tell what came of it. Raises CommandError when it does not."""
    done = run_tool(invocation, command, timeout_s=START_TIMEOUT_S)
    if done is None or done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] if done else []
        raise CommandError(
            f"the daemon has stopped, and its service did not start it again: {''.join(said) or 'no answer'}",
            mend=f"{' '.join(command)}; agentcoordd logs has its last words",
        )
    tell_started(invocation, read_identity(invocation.paths()).get("pid"), as_json=as_json)
