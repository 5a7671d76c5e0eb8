"""The user declares that the whole daemon runs in a container or a virtual machine.

Separate from `unconfined` because it is a statement about the surroundings, which are then the
sandbox: network, secrets and other folders are what that container gives. It cannot be checked.
"""

from __future__ import annotations

from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.environment import unfit_command
from agentcoord.sandbox.policy import Limits, Policy, ProbeReport, Result


class ExternalSandbox:
    """Runs commands as they are, inside the surroundings that the user vouches for."""

    name = "external"
    confined = True

    def __init__(self, bash: Path, *, clock: Clock) -> None:
        self._bash = bash
        self._clock = clock

    async def probe(self) -> ProbeReport:
        """Repeat the declaration."""
        return ProbeReport(ok=True, backend=self.name, features=("declared by the user, not checked",))

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash in the workspace itself."""
        refusal = unfit_command(command)
        if refusal:
            return Result(exit_code=126, output=refusal)
        argv = direct_command_line(self._bash, command, limits)
        return await run_direct(policy, limits, lambda _: argv, clock=self._clock, on_output=on_output)
