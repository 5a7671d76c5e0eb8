"""`--unsafe-no-sandbox`: commands run as the user, in the private copy, with nothing around them.

Separate from every other backend so that nobody falls into it by accident: it is built only when
that flag was given and the real sandbox does not work.
"""

from __future__ import annotations

from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.environment import unfit_command
from agentcoord.sandbox.policy import Limits, Policy, ProbeReport, Result


class UnconfinedSandbox:
    """Keeps the scrubbed environment and the bounds, and confines nothing."""

    name = "none"
    confined = False

    def __init__(self, bash: Path, *, clock: Clock, why: ProbeReport | None = None) -> None:
        self._bash = bash
        self._clock = clock
        self._why = why

    async def probe(self) -> ProbeReport:
        """Say that it runs commands, that nothing confines them, and why the real sandbox does not."""
        reasons = self._why.reasons if self._why else ()
        return ProbeReport(
            ok=True,
            backend=self.name,
            reasons=("commands run unconfined, as --unsafe-no-sandbox asks", *reasons),
            mend=self._why.mend if self._why else "",
        )

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash in the workspace itself."""
        refusal = unfit_command(command)
        if refusal:
            return Result(exit_code=126, output=refusal)
        argv = direct_command_line(self._bash, command, limits)
        return await run_direct(policy, limits, lambda _: argv, clock=self._clock, on_output=on_output)
