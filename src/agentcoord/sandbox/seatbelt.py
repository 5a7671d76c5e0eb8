"""Commands confined with macOS's seatbelt (`sandbox-exec`). Untested on a Mac: only its profile's text is.

Written from the documentation of the profile language and from profiles that are in use. Apple
calls `sandbox-exec` deprecated, but ships it and uses profiles itself.

What differs from Linux: there are no mounts, so the private copy is seen at its own path, and no
process namespace, so a process that makes its own session outlives the command (still confined).
There is no bound on the number of processes but the user's own.

The profile denies everything, then allows: reading the system's folders, the toolchains and the
shared dependencies; writing the workspace and the command's scratch folder; processes within the
sandbox. No network, no keychain, no home. Later rules win, so the denials of `.git` come last.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.environment import unfit_command
from agentcoord.sandbox.policy import Limits, Policy, ProbeReport, Result
from agentcoord.sandbox.probe import probe_seatbelt

PROGRAM = Path("/usr/bin/sandbox-exec")
_BASH = Path("/bin/bash")

_SYSTEM_READABLE = (
    "/System",
    "/usr",
    "/bin",
    "/sbin",
    "/dev",
    "/Library/Apple",
    "/Library/Developer/CommandLineTools",
    "/Library/Frameworks",
    "/Applications/Xcode.app",
    "/opt/homebrew",
    "/private/etc/ssl",
    "/private/var/db/timezone",
    "/private/var/db/dyld",
    "/private/var/select",
    "/private/var/db/xcode_select_link",
)
_FIXED = """\
(version 1)
(deny default)
(allow process-exec)
(allow process-fork)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow ipc-posix-sem)
(allow ipc-posix-shm)
(allow mach-lookup
  (global-name "com.apple.system.opendirectoryd.libinfo")
  (global-name "com.apple.system.opendirectoryd.membership")
  (global-name "com.apple.system.logger")
  (global-name "com.apple.bsd.dirhelper"))
(allow file-read-metadata)
(allow file-read* (literal "/"))
(allow file-read* (literal "/private/etc/localtime"))
(allow file-read* (literal "/private/etc/passwd"))
(allow file-read* (literal "/private/etc/hosts"))
(allow file-write-data file-ioctl
  (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty") (literal "/dev/dtracehelper"))
"""


class Seatbelt:
    """The backend for macOS."""

    name = "seatbelt"
    confined = True

    def __init__(self, *, clock: Clock, program: Path = PROGRAM) -> None:
        self._program = program
        self._clock = clock

    async def probe(self) -> ProbeReport:
        """Run commands that try to get out."""
        if platform.system() != "Darwin" or not self._program.exists():
            return ProbeReport(ok=False, backend=self.name, reasons=(f"{self._program} is not there",))
        return await probe_seatbelt(self)

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash in the workspace, under the profile."""
        refusal = unfit_command(command)
        if refusal:
            return Result(exit_code=126, output=refusal)
        inside = direct_command_line(_BASH, command, limits)

        def argv_for(scratch: Path) -> tuple[str, ...]:
            return (str(self._program), "-p", profile(policy, scratch), *inside)

        return await run_direct(policy, limits, argv_for, clock=self._clock, on_output=on_output)


def profile(policy: Policy, scratch: Path) -> str:
    """Return the profile for one command. Paths are resolved: seatbelt sees them without links."""
    workspace = os.path.realpath(policy.workspace)
    readable = [*_SYSTEM_READABLE, *map(os.path.realpath, (*policy.read_only, *policy.toolchains))]
    readable += [os.path.realpath(path) for path in (policy.shadow_git, policy.git_objects) if path]
    rules = [_FIXED]
    rules += [f"(allow file-read* (subpath {_quoted(str(path))}))\n" for path in readable]
    for path in (workspace, str(scratch)):
        rules.append(f"(allow file-read* file-write* (subpath {_quoted(path)}))\n")
    rules.append(f"(deny file-write* (subpath {_quoted(workspace + '/.git')}))\n")
    for shared in (policy.shadow_git, policy.git_objects, *policy.read_only):
        if shared is not None:
            rules.append(f"(deny file-write* (subpath {_quoted(os.path.realpath(shared))}))\n")
    rules.append("(deny network*)\n")
    return "".join(rules)


def _quoted(path: str) -> str:
    """Return a string literal of the profile language."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
